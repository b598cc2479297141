//! The names that a certificate is for.

use std::fmt;
use std::net::IpAddr;

use rcgen::SanType;

use crate::{Error, Result};

/// One subject alternative name: an address or a DNS name (with or without a leading `*.`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SanName {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A DNS name, compared without regard to case.
    Dns(String),
}

impl SanName {
    /// Reads a host as it is dialled: an address if it parses as one, else a DNS name.
    pub fn of_host(host: &str) -> Self {
        match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Dns(host.to_ascii_lowercase()),
        }
    }

    /// Whether a client that dials `dialled` accepts a certificate with this name. A leading `*` stands for exactly
    /// one label, as clients have it.
    pub fn covers(&self, dialled: &Self) -> bool {
        match (self, dialled) {
            (Self::Dns(own), Self::Dns(dialled)) => {
                let under =
                    |rest: &str| dialled.split_once('.').is_some_and(|(_, d)| d.eq_ignore_ascii_case(rest));
                own.eq_ignore_ascii_case(dialled)
                    || own.strip_prefix("*.").is_some_and(|rest| !dialled.starts_with("*.") && under(rest))
            }
            (own, dialled) => own == dialled,
        }
    }

    pub(crate) fn to_rcgen(&self) -> Result<SanType> {
        match self {
            Self::Ip(ip) => Ok(SanType::IpAddress(*ip)),
            Self::Dns(name) => {
                let name = name.as_str().try_into();
                name.map(SanType::DnsName).map_err(|why| Error::malformed("a DNS name", why))
            }
        }
    }

    pub(crate) fn from_rcgen(san: &SanType) -> Option<Self> {
        match san {
            SanType::IpAddress(ip) => Some(Self::Ip(*ip)),
            SanType::DnsName(name) => Some(Self::Dns(name.as_str().to_ascii_lowercase())),
            _ => None,
        }
    }
}

impl fmt::Display for SanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "IP:{ip}"),
            Self::Dns(name) => write!(f, "DNS:{name}"),
        }
    }
}
