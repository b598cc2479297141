//! Addresses: a host and a port, IPv4, IPv6 in brackets, or a DNS name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The port of a hub where an address does not name one: that of Flower's Fleet API.
pub const HUB_PORT: u16 = 9092;

/// A host: an address or a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A DNS name in lower case, without a final dot.
    Name(String),
}

/// A host and a port, `host:port`. The port is never 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where.
    pub host: Host,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

/// Why a text is no [`Host`] or [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No `:port` at the end.
    #[error("the port is missing")]
    NoPort,
    /// The port is no number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// Neither an address nor a DNS name.
    #[error("the host is neither an IP address nor a DNS name")]
    Host,
    /// An IPv6 address without brackets before its port.
    #[error("an IPv6 address needs brackets, for instance [2001:db8::1]:9092")]
    Brackets,
}

impl Endpoint {
    /// An endpoint from its parts; `None` for port 0.
    pub fn new(host: Host, port: u16) -> Option<Self> {
        (port != 0).then_some(Self { host, port })
    }

    /// Reads `host:port`, or `host` alone with this port. An IPv6 address needs its brackets in both cases.
    ///
    /// # Errors
    /// [`EndpointError`], as for `host:port`; never [`EndpointError::NoPort`].
    pub fn parse_or(text: &str, port: u16) -> Result<Self, EndpointError> {
        match text.parse() {
            Err(EndpointError::NoPort) => Self::new(text.parse()?, port).ok_or(EndpointError::Port),
            read => read,
        }
    }

    /// The socket address, where the host is an address and needs no look-up.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// Whether the host is `0.0.0.0` or `::`: good to listen on, impossible to dial.
    pub fn is_unspecified(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl fmt::Display for Host {
    /// An IPv6 address comes without brackets here; [`Endpoint`] adds them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for Host {
    type Err = EndpointError;

    /// Takes an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| EndpointError::Host);
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if is_dns_name(text) { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(EndpointError::Host) }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if text.starts_with('[') && text.ends_with(']') {
            return Err(EndpointError::NoPort);
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(EndpointError::Brackets);
        }
        let host = match host.strip_prefix('[') {
            Some(_) => host.parse()?,
            None if is_host(host) => host.parse()?,
            None => return Err(EndpointError::Host),
        };
        let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| port.parse().ok()).flatten().ok_or(EndpointError::Port)?;
        Self::new(host, port).ok_or(EndpointError::Port)
    }
}

/// Whether a text is a host name. An underscore is allowed, because internal zones do have such names; a last
/// label of digits only is not, because it is always a mistyped address.
fn is_dns_name(text: &str) -> bool {
    is_dns_labels(text, true)
}

/// Whether a text is an IPv4 address or a host name.
pub(crate) fn is_host(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || is_dns_name(text)
}

/// Whether a text is made of DNS labels: 1 to 63 letters, digits and inner hyphens each, 253 in all.
pub(crate) fn is_dns_labels(text: &str, underscore: bool) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || (underscore && b == b'_'))
    };
    text.len() <= 253
        && text.split('.').all(label)
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_can_be_listened_on_or_dialled() {
        for good in [
            "0.0.0.0:9092",
            "[::]:9092",
            "hub.example.com:1",
            "[2001:db8::1]:65535",
            "localhost:9443",
            "a_b:2",
        ] {
            assert_eq!(good.parse::<Endpoint>().map(|e| e.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("Hub.Example:80".parse::<Endpoint>().unwrap().to_string(), "hub.example:80");
        assert!("[::]:9092".parse::<Endpoint>().unwrap().is_unspecified());
        assert!("hub:1".parse::<Endpoint>().unwrap().socket_addr().is_none());
    }

    #[test]
    fn the_port_may_be_left_out_where_there_is_a_default() {
        for (text, whole) in [
            ("10.0.0.1", "10.0.0.1:9092"),
            ("Hub.example.com", "hub.example.com:9092"),
            ("[fd00::1]", "[fd00::1]:9092"),
            ("[FD00:0::1]:443", "[fd00::1]:443"),
        ] {
            assert_eq!(Endpoint::parse_or(text, HUB_PORT).unwrap().to_string(), whole);
        }
        use EndpointError::*;
        for (bad, why) in [("fd00::1", Brackets), ("", Host), ("hub:", Port), ("10.0.0", Host), ("[x]", Host)]
        {
            assert_eq!(Endpoint::parse_or(bad, HUB_PORT), Err(why), "{bad}");
        }
    }

    #[test]
    fn says_why_it_refuses() {
        use EndpointError::*;
        for (bad, why) in [
            ("", NoPort),
            ("hub", NoPort),
            ("[::1]", NoPort),
            ("hub:", Port),
            ("hub:0", Port),
            ("hub:99999", Port),
            ("hub:+80", Port),
            ("hub:000080", Port),
            (" :1", Host),
            ("x/y:80", Host),
            ("999.1.1.1:80", Host),
            ("[::1:80", Host),
            ("[1.2.3.4]:80", Host),
            ("-a:80", Host),
            ("a..b:80", Host),
            ("[fe80::1%eth0]:80", Host),
            ("::1:80", Brackets),
            ("http://hub:80", Brackets),
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Endpoint>();
            let _ = text.parse::<Host>();
        }

        #[test]
        fn every_socket_round_trips(ip: IpAddr, port in 1u16..) {
            let endpoint = Endpoint::new(Host::Ip(ip), port).unwrap();
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }
}
