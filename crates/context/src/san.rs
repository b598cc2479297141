//! Names that a server certificate must carry besides its own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::endpoint::{Host, is_dns_labels};

/// One subject alternative name: `IP:` and an address, or `DNS:` and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum San {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A DNS name in lower case; `*.` may stand at its front.
    Dns(String),
}

/// The entry of a list that is no [`San`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry `{entry}` is neither IP:<address> nor DNS:<name>")]
pub struct SanError {
    /// The entry without the blanks around it, shortened if it is long.
    pub entry: String,
}

/// Parses a comma-separated list (`FL_CERT_EXTRA_SAN`). Blanks around entries are dropped, and so are repetitions.
///
/// # Errors
/// [`SanError`] for the first entry that is wrong; an empty entry is wrong too.
pub fn parse_san_list(text: &str) -> Result<Vec<San>, SanError> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in text.split(',') {
        let san: San = entry.parse()?;
        if seen.insert(san.clone()) {
            list.push(san);
        }
    }
    Ok(list)
}

impl From<Host> for San {
    fn from(host: Host) -> Self {
        match host {
            Host::Ip(ip) => Self::Ip(ip),
            Host::Name(name) => Self::Dns(name),
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "IP:{ip}"),
            Self::Dns(name) => write!(f, "DNS:{name}"),
        }
    }
}

impl FromStr for San {
    type Err = SanError;

    fn from_str(text: &str) -> Result<Self, SanError> {
        let entry = text.trim();
        let ip = || entry.strip_prefix("IP:")?.parse().ok().map(Self::Ip);
        let dns = || {
            let name = entry.strip_prefix("DNS:")?;
            is_dns_labels(name.strip_prefix("*.").unwrap_or(name), false)
                .then(|| Self::Dns(name.to_ascii_lowercase()))
        };
        ip().or_else(dns).ok_or_else(|| SanError { entry: crate::problem::shown(entry) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_names() {
        let list =
            parse_san_list("IP:10.10.9.0 , DNS:*.FL.example.org,IP:fd00::1,DNS:hub,IP:10.10.9.0").unwrap();
        let texts: Vec<_> = list.iter().map(San::to_string).collect();
        assert_eq!(texts, ["IP:10.10.9.0", "DNS:*.fl.example.org", "IP:fd00::1", "DNS:hub"]);
    }

    #[test]
    fn refuses_what_openssl_would_refuse_later() {
        for bad in [
            "10.0.0.1",
            "IP:10.0.0.1;x",
            "IP:10.0.0.1/24",
            "IP:999.1.1.1",
            "IP:....",
            "IP:[::1]",
            "DNS:..",
            "DNS:-",
            "DNS:a.*.b",
            "DNS:*",
            "DNS:10.0.0.1",
            "DNS:under_score",
            "IP:1.2.3.4,",
            ",",
            "dns:x",
        ] {
            assert!(parse_san_list(bad).is_err(), "{bad}");
        }
    }
}
