//! Virtual networks.

use super::{ALL_VISIBLE, Client, Owner, Permissions, common, int, wire::Param};
use crate::xml::Element;
use crate::{ClusterId, Error, NetworkState, VnetId, ZoneName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// Its id.
    pub id: VnetId,
    /// Its name, unique only per owner.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// STATE; only a READY one can be used.
    pub state: NetworkState,
    /// Its clusters: only their hosts can run a VM in this network.
    pub clusters: Vec<ClusterId>,
    /// Addresses in use, reserved ones too.
    pub used: u64,
    /// Its address ranges.
    pub ranges: Vec<AddressRange>,
    /// Plain attributes of its template: NETWORK_ADDRESS, NETWORK_MASK, GATEWAY, DNS, ...
    pub attributes: BTreeMap<String, String>,
}

/// An address range of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// AR_ID.
    pub id: u32,
    /// IP4, IP6, IP4_6, ETHER, ...
    pub kind: String,
    /// First IPv4 (or static IPv6) address; ETHER ranges have none.
    pub first: Option<IpAddr>,
    /// First MAC address.
    pub mac: String,
    /// Number of addresses.
    pub size: u64,
    /// Addresses of it in use; `None` in a pool of a server that says it only for the whole network.
    pub used: Option<u64>,
}

impl VirtualNetwork {
    /// Addresses that are not in use. 0 for one without address ranges.
    pub fn free(&self) -> u64 {
        let size = self.ranges.iter().map(|range| range.size).fold(0, u64::saturating_add);
        size.saturating_sub(self.used)
    }
}

/// What every VNET has.
const VNET: (&str, &str) = ("VNET", "ID or NAME");

impl Client {
    /// The virtual networks that the user may use (`one.vnpool.info`).
    ///
    /// # Errors
    /// As any call.
    pub async fn networks(&self) -> Result<Vec<VirtualNetwork>, Error> {
        self.pool("one.vnpool.info", &ALL_VISIBLE, VNET, network).await
    }

    /// One virtual network with the use of each range (`one.vn.info`).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn network(&self, id: &VnetId) -> Result<VirtualNetwork, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false)];
        self.object("one.vn.info", &number.to_string(), &params, VNET, network).await
    }
}

fn network(zone: &ZoneName, xml: &Element) -> Option<VirtualNetwork> {
    let ranges = xml.child("AR_POOL").into_iter().flat_map(|p| p.all("AR"));
    Some(VirtualNetwork {
        id: VnetId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: common::owner(xml),
        permissions: common::permissions(xml),
        // A server that has no states for networks has none that is not ready.
        state: NetworkState::from(xml.number_of("STATE").unwrap_or(1)),
        clusters: common::clusters(zone, xml),
        used: xml.number_of("USED_LEASES").unwrap_or(0),
        ranges: ranges.filter_map(range).collect(),
        attributes: xml.child("TEMPLATE").map(Element::attributes).unwrap_or_default(),
    })
}

fn range(xml: &Element) -> Option<AddressRange> {
    Some(AddressRange {
        id: xml.number_of("AR_ID")?,
        kind: xml.text_of("TYPE").unwrap_or_default().to_owned(),
        first: xml.number_of("IP").or_else(|| xml.number_of("IP6")),
        mac: xml.text_of("MAC").unwrap_or_default().to_owned(),
        used: xml.number_of("USED_LEASES"),
        size: xml.number_of("SIZE").unwrap_or(0),
    })
}
