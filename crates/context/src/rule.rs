//! Which values a variable may have. Every rule ends in the parser of the type that the value becomes.

use std::net::IpAddr;

use crate::endpoint::{Endpoint, HUB_PORT};
use crate::fingerprint::CaFingerprint;
use crate::name::is_plain_name;
use crate::node_config::NodeConfig;
use crate::pem::{CaBundle, CaBundleError, is_private_key};
use crate::problem::Problem;
use crate::runtime::ContainerImage;
use crate::san::parse_san_list;
use crate::variable::Variable;
use crate::vm::FlowerVersion;

/// The largest count that is accepted anywhere: nine digits.
const MOST: u32 = 999_999_999;

/// The range of a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// 0 or more.
    NotNegative,
    /// More than 0.
    Positive,
    /// More than 0 and less than 0.5.
    BelowHalf,
    /// 0 to 1, both included.
    Share,
}

/// The rule of a variable's value. Every rule is exact about case but [`Rule::YesNo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anything; known by name only.
    Text,
    /// `YES` or `NO` in any case.
    YesNo,
    /// One word of a list.
    OneOf(&'static [&'static str]),
    /// One word of a list, of which onefed supports only the first.
    OnlyFirstOf(&'static [&'static str]),
    /// Three dot-separated decimal numbers.
    Version,
    /// A decimal number without leading zeros, from the given one to 999999999.
    Count(u32),
    /// A decimal number without leading zeros, from the first to the second, both included.
    Within(u32, u32),
    /// 0, or as [`Rule::Within`].
    ZeroOrWithin(u32, u32),
    /// A decimal number in a range: digits, then optionally a point and digits, then optionally an exponent.
    Decimal(Span),
    /// A port from 1024 on that is none of Flower's own (9091 to 9093).
    MetricsPort,
    /// `all`, or device numbers of up to three digits, separated by commas.
    Devices,
    /// An absolute path without `..`, of letters, digits, `.`, `_`, `-` and `/`.
    AbsolutePath,
    /// A private key in PEM, possibly in base64. Only its wrapping is looked at.
    PrivateKey,
    /// An OpenNebula id: 0 to 2^31 - 1.
    Id,
    /// `host:port` to listen on.
    Listen,
    /// `host:port` or `host` to dial, port 9092 by default; not `0.0.0.0` or `[::]`.
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
    /// A container image with a tag or a digest.
    Image,
}

impl Rule {
    /// The words of a closed list, for forms and references.
    pub fn options(self) -> Option<&'static [&'static str]> {
        match self {
            Self::OneOf(words) | Self::OnlyFirstOf(words) => Some(words),
            _ => None,
        }
    }

    /// The rule in words, for references.
    pub fn words(self) -> String {
        match self {
            Self::Text => "anything".to_owned(),
            Self::YesNo => "YES or NO, in any case".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::OnlyFirstOf(words) => {
                let first = words.first().copied().unwrap_or_default();
                format!("one of {}; only {first} is supported, the rest is planned", words.join(", "))
            }
            Self::Version => "X.Y.Z, decimal numbers".to_owned(),
            Self::Count(least) => format!("integer from {least} to {MOST}"),
            Self::Within(least, most) => format!("integer from {least} to {most}"),
            Self::ZeroOrWithin(least, most) => format!("0, or integer from {least} to {most}"),
            Self::Decimal(Span::NotNegative) => "decimal number, 0 or more".to_owned(),
            Self::Decimal(Span::Positive) => "decimal number above 0".to_owned(),
            Self::Decimal(Span::BelowHalf) => "decimal number above 0 and below 0.5".to_owned(),
            Self::Decimal(Span::Share) => "decimal number from 0 to 1".to_owned(),
            Self::MetricsPort => "integer from 1024 to 65535, not 9091 to 9093".to_owned(),
            Self::Devices => "`all`, or device numbers separated by commas".to_owned(),
            Self::AbsolutePath => "absolute path without `..`".to_owned(),
            Self::PrivateKey => "one private key in PEM, also in base64".to_owned(),
            Self::Id => "integer from 0 to 2147483647".to_owned(),
            Self::Listen => "host:port with a port from 1 to 65535".to_owned(),
            Self::Dial => "host:port with a port from 1 to 65535; no address of all interfaces".to_owned(),
            Self::RelativePath => "relative path without `..`".to_owned(),
            Self::NodeConfig => "blank-separated key=value, values as in TOML".to_owned(),
            Self::Certificates => "certificates in PEM, also in base64, no private key".to_owned(),
            Self::SanList => "comma-separated IP:addr or DNS:name, wildcards allowed".to_owned(),
            Self::Name => "lower-case letter, then up to 30 letters, digits or hyphens".to_owned(),
            Self::OneTimeKey => "32 to 128 characters of base64url".to_owned(),
            Self::Fingerprint => "sha256: and 64 hexadecimal digits".to_owned(),
            Self::HttpUrl => "http or https URL".to_owned(),
            Self::Address => "IP address".to_owned(),
            Self::Image => "repository:tag or repository@sha256:digest".to_owned(),
        }
    }

    /// Whether the value is allowed; if not, why, in addition to the variable's message.
    fn refusal(self, value: &str) -> Result<(), Option<String>> {
        let holds = |ok: bool| if ok { Ok(()) } else { Err(None) };
        match self {
            Self::Text => Ok(()),
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
            Self::Within(least, most) => holds(count(value).is_some_and(|n| (least..=most).contains(&n))),
            Self::ZeroOrWithin(least, most) => {
                holds(count(value).is_some_and(|n| n == 0 || (least..=most).contains(&n)))
            }
            Self::Decimal(span) => holds(decimal(value).is_some_and(|number| span.contains(number))),
            Self::MetricsPort => holds(
                count(value)
                    .is_some_and(|port| (1024..=65535).contains(&port) && !(9091..=9093).contains(&port)),
            ),
            Self::Devices => holds(
                value == "all"
                    || value.split(',').all(|number| {
                        (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
                    }),
            ),
            Self::AbsolutePath => {
                holds(value.strip_prefix('/').is_some_and(|rest| value.len() <= 200 && is_path(rest)))
            }
            Self::PrivateKey => holds(is_private_key(value)),
            Self::Id => holds(id(value).is_some()),
            Self::Listen => because(value.parse::<Endpoint>()).map(drop),
            Self::Dial => {
                let endpoint = because(Endpoint::parse_or(value, HUB_PORT))?;
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
            Self::Image => because(value.parse::<ContainerImage>()).map(drop),
            Self::Address => holds(value.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified())),
        }
    }
}

impl Variable {
    /// Checks a value against this variable alone, whatever the role. An empty value is unset and passes.
    ///
    /// # Errors
    /// The [`Problem`] with the variable's literal message.
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
            Rule::OnlyFirstOf([first, ..]) if *first != value => {
                let message = format!("{}={value} is planned, and not supported yet.", self.name);
                Err(Problem::error("context::unsupported", self.name, message)
                    .with_hint(format!("use {first}")))
            }
            _ => Ok(()),
        }
    }

    /// Code and message where a rule has more than one.
    fn own_refusal(&self, value: &str) -> Option<(&'static str, String)> {
        match self.rule {
            Rule::RelativePath | Rule::AbsolutePath if value.trim().is_empty() => {
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

/// A decimal number as Flower's run configuration and OpenNebula's forms both read it: `0.1`, `2`, `1e-3`.
pub(crate) fn decimal(value: &str) -> Option<f64> {
    let (mantissa, exponent) = match value.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (value, None),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok =
        exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)) && e.len() <= 4);
    let ok = digits(whole) && part.is_none_or(digits) && exponent_ok && value.len() <= 64;
    ok.then(|| value.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

impl Span {
    fn contains(self, number: f64) -> bool {
        match self {
            Self::NotNegative => number >= 0.0,
            Self::Positive => number > 0.0,
            Self::BelowHalf => number > 0.0 && number < 0.5,
            Self::Share => (0.0..=1.0).contains(&number),
        }
    }
}

fn is_relative_path(value: &str) -> bool {
    value.len() <= 200 && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && is_path(value)
}

/// Letters, digits, `.`, `_`, `-` and `/`, at least one, and no `..`.
fn is_path(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && !value.split('/').any(|part| part == "..")
}

/// As it is written, not as a browser would mend it: no blanks, no control characters, two slashes.
fn is_http_url(value: &str) -> bool {
    let plain = value.bytes().all(|b| b.is_ascii_graphic()) && value.contains("://");
    plain
        && url::Url::parse(value).is_ok_and(|url| {
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
