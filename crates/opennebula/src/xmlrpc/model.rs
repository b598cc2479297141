//! What oned's XML says, as types.

use crate::xml::Element;
use crate::{Attributes, LcmState, VmId, VmState, VmTemplateId, VnetId, ZoneName};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// A version of OpenNebula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// As the server wrote it.
    pub text: String,
}

impl Version {
    /// Reads `7.4.0` and `6.99.80`; only the first two numbers matter.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor, text: text.trim().to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A zone of the federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its number, 0 for the master.
    pub id: u32,
    /// Its name, as the administrator wrote it.
    pub name: String,
    /// Not disabled by the administrator; says nothing about being alive.
    pub enabled: bool,
    /// XML-RPC endpoint. `http://localhost:2633/RPC2` until the administrator sets it.
    pub endpoint: Option<String>,
    /// OneFlow endpoint, where the administrator set the attribute ONEFLOW_ENDPOINT.
    pub oneflow: Option<String>,
}

/// Whose an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user.
    pub uname: String,
    /// Name of the group.
    pub gname: String,
}

/// Who may do what with an object, as `onetemplate chmod` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The owner.
    pub owner: Rights,
    /// The members of its group.
    pub group: Rights,
    /// Everybody.
    pub other: Rights,
}

/// The three rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// See it and use it.
    pub usage: bool,
    /// Change it.
    pub manage: bool,
    /// Give it away, change its permissions.
    pub admin: bool,
}

impl Permissions {
    /// Reads an octal number of three digits such as `640`: use is 4, manage 2, admin 1.
    pub fn from_octal(octal: u16) -> Self {
        let rights = |bits: u16| Rights { usage: bits & 4 != 0, manage: bits & 2 != 0, admin: bits & 1 != 0 };
        Self { owner: rights(octal >> 6), group: rights(octal >> 3), other: rights(octal) }
    }

    /// The nine bits in the order of oned's chmod calls: owner, group, other; use, manage, admin.
    pub fn bits(&self) -> [bool; 9] {
        let (u, g, o) = (self.owner, self.group, self.other);
        [u.usage, u.manage, u.admin, g.usage, g.manage, g.admin, o.usage, o.manage, o.admin]
    }
}

/// A VM template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTemplate {
    /// Its id.
    pub id: VmTemplateId,
    /// Its name, unique only per owner.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// When it was made, in seconds since 1970 of oned's clock.
    pub registered: u64,
    /// The whole TEMPLATE: every attribute, nested ones too, such as DISK and labels of a tool.
    pub attributes: Attributes,
    /// USER_INPUTS: name to `M|text|description|options|default`.
    pub user_inputs: BTreeMap<String, String>,
    /// CONTEXT as written in the template, before any variable is replaced.
    pub context: BTreeMap<String, String>,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// Its id.
    pub id: VnetId,
    /// Its name, unique only per owner.
    pub name: String,
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
    /// Number of addresses.
    pub size: u64,
}

/// A network interface of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// IPv4 address, unless the network has none.
    pub ip: Option<IpAddr>,
    /// MAC address.
    pub mac: String,
    /// Network name.
    pub network: String,
    /// Network id.
    pub network_id: Option<VnetId>,
}

/// A VM with everything that onefed asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// STATE.
    pub state: VmState,
    /// LCM_STATE, meaningful while ACTIVE.
    pub lcm_state: LcmState,
    /// USER_TEMPLATE without its nested attributes: what the VM published and what OneFlow put there.
    pub user_template: BTreeMap<String, String>,
    /// TEMPLATE/CONTEXT.
    pub context: BTreeMap<String, String>,
    /// Interfaces in order.
    pub nics: Vec<Nic>,
    /// The OneFlow service, in the same zone. Written by OneFlow, but a user may overwrite it.
    pub service_id: Option<u32>,
    /// The role in the service.
    pub role_name: Option<String>,
}

fn some(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
}

pub(super) fn zone(xml: &Element) -> Option<Zone> {
    let attribute = |name| some(xml.child("TEMPLATE").and_then(|t| t.text_of(name)));
    Some(Zone {
        id: xml.number_of("ID")?,
        name: xml.text_of("NAME")?.to_owned(),
        enabled: xml.number_of::<i32>("STATE").is_none_or(|s| s == 0),
        endpoint: attribute("ENDPOINT"),
        oneflow: attribute("ONEFLOW_ENDPOINT"),
    })
}

pub(super) fn owner(xml: &Element) -> Owner {
    let text = |name| xml.text_of(name).unwrap_or_default().to_owned();
    Owner {
        uid: xml.number_of("UID").unwrap_or_default(),
        gid: xml.number_of("GID").unwrap_or_default(),
        uname: text("UNAME"),
        gname: text("GNAME"),
    }
}

pub(super) fn permissions(xml: &Element) -> Permissions {
    let Some(xml) = xml.child("PERMISSIONS") else { return Permissions::default() };
    let rights = |who: &str| {
        let has = |what: &str| xml.number_of::<u8>(&format!("{who}_{what}")) == Some(1);
        Rights { usage: has("U"), manage: has("M"), admin: has("A") }
    };
    Permissions { owner: rights("OWNER"), group: rights("GROUP"), other: rights("OTHER") }
}

pub(super) fn template(zone: &ZoneName, xml: &Element) -> Option<VmTemplate> {
    let attributes = xml.child("TEMPLATE").map(Attributes::of).unwrap_or_default();
    let part = |name| attributes.vector(name).cloned().unwrap_or_default();
    Some(VmTemplate {
        id: VmTemplateId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: owner(xml),
        permissions: permissions(xml),
        registered: xml.number_of("REGTIME").unwrap_or_default(),
        user_inputs: part("USER_INPUTS"),
        context: part("CONTEXT"),
        attributes,
    })
}

pub(super) fn network(zone: &ZoneName, xml: &Element) -> Option<VirtualNetwork> {
    let ranges = xml.child("AR_POOL").into_iter().flat_map(|p| p.all("AR"));
    Some(VirtualNetwork {
        id: VnetId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        ranges: ranges.filter_map(range).collect(),
        attributes: xml.child("TEMPLATE").map(Element::attributes).unwrap_or_default(),
    })
}

fn range(xml: &Element) -> Option<AddressRange> {
    Some(AddressRange {
        id: xml.number_of("AR_ID")?,
        kind: xml.text_of("TYPE").unwrap_or_default().to_owned(),
        first: xml.number_of("IP").or_else(|| xml.number_of("IP6")),
        size: xml.number_of("SIZE").unwrap_or(0),
    })
}

pub(super) fn vm(zone: &ZoneName, xml: &Element) -> Option<Vm> {
    let template = xml.child("TEMPLATE");
    let user_template = xml.child("USER_TEMPLATE").map(Element::attributes).unwrap_or_default();
    let nic = |n: &Element| Nic {
        ip: n.number_of("IP").or_else(|| n.number_of("IP6")),
        mac: n.text_of("MAC").unwrap_or_default().to_owned(),
        network: n.text_of("NETWORK").unwrap_or_default().to_owned(),
        network_id: n.number_of("NETWORK_ID").map(|id| VnetId::new(zone.clone(), id)),
    };
    Some(Vm {
        id: VmId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        state: VmState::from(xml.number_of::<i32>("STATE")?),
        lcm_state: LcmState::from(xml.number_of::<i32>("LCM_STATE").unwrap_or(0)),
        context: template.and_then(|t| t.child("CONTEXT")).map(Element::attributes).unwrap_or_default(),
        nics: template.into_iter().flat_map(|t| t.all("NIC")).map(nic).collect(),
        service_id: user_template.get("SERVICE_ID").and_then(|s| s.trim().parse().ok()),
        role_name: user_template.get("ROLE_NAME").cloned(),
        user_template,
    })
}
