//! Which values a variable may have. Every rule ends in the parser of the type that the value becomes.

use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::fingerprint::CaFingerprint;
use crate::name::is_plain_name;
use crate::node_config::NodeConfig;
use crate::pem::{CaBundle, CaBundleError};
use crate::problem::{Problem, Severity};
use crate::san::parse_san_list;
use crate::variable::Variable;
use crate::vm::FlowerVersion;

/// The largest count that is accepted anywhere: nine digits.
const MOST: u32 = 999_999_999;

/// The rule of a variable's value. Every rule is exact about case but [`Rule::YesNo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anything; known by name only.
    Text,
    /// `YES` or `NO` in any case.
    YesNo,
    /// Anything, but `YES` draws this warning.
    BetterNo(&'static str),
    /// One word of a list.
    OneOf(&'static [&'static str]),
    /// One word of a list, of which onefed supports only the first.
    OnlyFirstOf(&'static [&'static str]),
    /// Three dot-separated decimal numbers.
    Version,
    /// A decimal number without leading zeros, from the given one to 999999999.
    Count(u32),
    /// An OpenNebula id: 0 to 2^31 - 1.
    Id,
    /// `host:port` to listen on.
    Listen,
    /// `host:port` to dial; not `0.0.0.0` or `[::]`.
    Dial,
    /// A relative path without `..`, of letters, digits, `.`, `_`, `-` and `/`.
    RelativePath,
    /// Flower's node configuration.
    NodeConfig,
    /// PEM certificates, possibly in base64.
    Certificates,
    /// Comma-separated `IP:` and `DNS:` entries.
    SanList,
    /// A name as of sites and federations.
    Name,
    /// 32 to 128 characters of base64url.
    OneTimeKey,
    /// `sha256:` and 64 hexadecimal digits.
    Fingerprint,
    /// An `http` or `https` URL with a host.
    HttpUrl,
    /// An IP address of this VM.
    Address,
}

impl Rule {
    /// The words of a closed list, for forms and references.
    pub fn options(self) -> Option<&'static [&'static str]> {
        match self {
            Self::OneOf(words) | Self::OnlyFirstOf(words) => Some(words),
            _ => None,
        }
    }

    /// Whether the value is allowed; if not, why, in addition to the variable's message.
    fn refusal(self, value: &str) -> Result<(), Option<String>> {
        let holds = |ok: bool| if ok { Ok(()) } else { Err(None) };
        match self {
            Self::Text | Self::BetterNo(_) => Ok(()),
            Self::YesNo => holds(yes_no(value).is_some()),
            Self::OneOf(words) | Self::OnlyFirstOf(words) => {
                if words.contains(&value) {
                    return Ok(());
                }
                let near = crate::suggest::nearest(value, words.iter().copied());
                Err(near.map(|word| format!("did you mean {word}?")))
            }
            Self::Version => holds(value.parse::<FlowerVersion>().is_ok()),
            Self::Count(least) => holds(count(value).is_some_and(|number| number >= least)),
            Self::Id => holds(id(value).is_some()),
            Self::Listen => because(value.parse::<Endpoint>()).map(drop),
            Self::Dial => {
                let endpoint = because(value.parse::<Endpoint>())?;
                let message = "this address stands for all interfaces; it can be listened on, not dialled";
                if endpoint.is_unspecified() { Err(Some(message.to_owned())) } else { Ok(()) }
            }
            Self::RelativePath => holds(is_relative_path(value)),
            Self::NodeConfig => because(value.parse::<NodeConfig>()).map(drop),
            Self::Certificates => holds(value.parse::<CaBundle>().is_ok()),
            Self::SanList => because(parse_san_list(value)).map(drop),
            Self::Name => holds(is_plain_name(value)),
            Self::OneTimeKey => holds(
                (32..=128).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            ),
            Self::Fingerprint => holds(value.parse::<CaFingerprint>().is_ok()),
            Self::HttpUrl => holds(is_http_url(value)),
            Self::Address => holds(value.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified())),
        }
    }
}

impl Variable {
    /// Checks a value against this variable alone, whatever the role. An empty value is unset and passes.
    ///
    /// # Errors
    /// The [`Problem`] with the variable's literal message. Its severity may be a warning: the value is usable then.
    pub fn check(&self, value: &str) -> Result<(), Problem> {
        if value.is_empty() {
            return Ok(());
        }
        if value == "null" || value == "undefined" {
            let message =
                format!("{} is '{value}': a form sent this word in place of an empty value.", self.name);
            let hint = "leave the variable empty, or give it a value";
            return Err(Problem::error("context::null", self.name, message).with_hint(hint));
        }
        if let Err(hint) = self.rule.refusal(value) {
            let own = self.own_refusal(value).unwrap_or(("context::invalid", self.refusal(value)));
            let problem = Problem::error(own.0, self.name, own.1);
            return Err(Problem { hint, ..problem });
        }
        match self.rule {
            Rule::BetterNo(warning) if yes_no(value) == Some(true) => {
                let problem = Problem::error("context::better-no", self.name, warning);
                Err(Problem { severity: Severity::Warning, ..problem })
            }
            Rule::OnlyFirstOf([first, ..]) if *first != value => {
                let message = format!("{}={value} is not supported yet.", self.name);
                Err(Problem::error("context::unsupported", self.name, message)
                    .with_hint(format!("use {first}")))
            }
            _ => Ok(()),
        }
    }

    /// Code and message where a rule has more than one.
    fn own_refusal(&self, value: &str) -> Option<(&'static str, String)> {
        match self.rule {
            Rule::RelativePath if value.trim().is_empty() => {
                Some(("context::empty", format!("{} cannot be empty.", self.name)))
            }
            Rule::Certificates if value.parse::<CaBundle>() == Err(CaBundleError::PrivateKey) => {
                let message =
                    format!("{} contains a private key. It must hold certificates only.", self.name);
                Some(("context::private-key", message))
            }
            _ => None,
        }
    }
}

/// `YES` or `NO` in any case.
pub(crate) fn yes_no(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("YES") {
        Some(true)
    } else if value.eq_ignore_ascii_case("NO") {
        Some(false)
    } else {
        None
    }
}

/// A decimal number of at most nine digits without leading zeros.
pub(crate) fn count(value: &str) -> Option<u32> {
    digits(value).filter(|number| *number <= MOST)
}

/// An id of OpenNebula, which keeps them in 32 signed bits.
pub(crate) fn id(value: &str) -> Option<u32> {
    digits(value).filter(|number| *number <= i32::MAX.cast_unsigned())
}

fn digits(value: &str) -> Option<u32> {
    let plain = value == "0" || !value.starts_with('0');
    (plain && value.bytes().all(|b| b.is_ascii_digit())).then(|| value.parse().ok()).flatten()
}

fn is_relative_path(value: &str) -> bool {
    value.len() <= 200
        && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && !value.split('/').any(|part| part == "..")
}

fn is_http_url(value: &str) -> bool {
    url::Url::parse(value).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

/// An error as the reason of a refusal.
fn because<T, E: ToString>(result: Result<T, E>) -> Result<T, Option<String>> {
    result.map_err(|error| Some(error.to_string()))
}
