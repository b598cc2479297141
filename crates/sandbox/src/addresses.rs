//! Which loopback address is what: everything of a sandbox is inside `127.<net>.0.0/16`.

use std::net::Ipv4Addr;

/// XML-RPC port.
pub(crate) const XMLRPC: u16 = 2633;
/// OneFlow port.
pub(crate) const ONEFLOW: u16 = 2474;
/// OneGate port.
pub(crate) const ONEGATE: u16 = 5030;

/// First lease of a zone's networks.
pub(crate) const FIRST: u8 = 10;
/// Leases of a zone's networks together.
pub(crate) const SIZE: u8 = 200;
/// Zones that fit: their inside addresses use the third octets from 101.
pub(crate) const MAX_ZONES: usize = 99;

/// The addresses of one zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    net: u8,
    zone: u8,
}

impl Plan {
    /// `index` counts zones from 0 and is below [`MAX_ZONES`].
    pub(crate) fn new(net: u8, index: usize) -> Self {
        Self { net, zone: u8::try_from(index + 1).unwrap_or(u8::MAX) }
    }

    fn at(self, third: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net, third, last)
    }

    /// Where the zone's services listen.
    pub(crate) fn api(self) -> Ipv4Addr {
        self.at(self.zone, 1)
    }

    /// The network's own address, of a /24.
    pub(crate) fn network(self) -> Ipv4Addr {
        self.at(self.zone, 0)
    }

    /// A VM's address in the zone's network.
    pub(crate) fn outside(self, octet: u8) -> Ipv4Addr {
        self.at(self.zone, octet)
    }

    /// What stands for that VM's own 127.0.0.1.
    pub(crate) fn inside(self, octet: u8) -> Ipv4Addr {
        self.at(self.zone + 100, octet)
    }

    /// The octet of an address of this zone.
    pub(crate) fn octet(self, address: Ipv4Addr) -> Option<u8> {
        let [_, _, _, last] = address.octets();
        (address == self.outside(last)).then_some(last)
    }

    /// MAC address of a lease.
    pub(crate) fn mac(self, octet: u8) -> String {
        format!("02:00:7f:{:02x}:{:02x}:{octet:02x}", self.net, self.zone)
    }

    pub(crate) fn url(self, port: u16, path: &str) -> String {
        format!("http://{}:{port}{path}", self.api())
    }
}

/// Last octets for VMs without a network, which still need an address of their own here.
pub(crate) fn hidden() -> std::ops::RangeInclusive<u8> {
    FIRST + SIZE..=254
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan() {
        let second = Plan::new(77, 1);
        assert_eq!(second.api().to_string(), "127.77.2.1");
        assert_eq!(second.outside(10).to_string(), "127.77.2.10");
        assert_eq!(second.inside(10).to_string(), "127.77.102.10");
        assert_eq!(second.octet("127.77.2.10".parse().unwrap()), Some(10));
        for foreign in ["127.77.1.10", "10.77.2.10"] {
            assert_eq!(second.octet(foreign.parse().unwrap()), None, "{foreign}");
        }
        assert_eq!(Plan::new(1, MAX_ZONES - 1).inside(10).to_string(), "127.1.199.10");
    }
}
