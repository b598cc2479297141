//! Networks, images and hosts of a zone, as XML-RPC shows them.

use crate::access::{Caller, Owned};
use crate::addresses::{FIRST, Plan, SIZE};
use crate::attributes::{cdata, xml};
use crate::federation::Federation;
use crate::world::{HostWorld, ImageState, ImageWorld, NetworkWorld, OwnerWorld};
use serde_json::{Value, json};

/// A virtual network: a part of the zone's addresses.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) owned: Owned,
    /// Last octet of its first lease.
    pub(crate) first: u8,
    pub(crate) size: u8,
}

impl Network {
    /// All networks of a zone, one after another in its addresses. A world has checked that they fit.
    pub(crate) fn all(worlds: &[NetworkWorld], federation: &Federation) -> Vec<Self> {
        let said: u32 = worlds.iter().filter_map(|w| w.size).map(u32::from).sum();
        let open = u32::try_from(worlds.iter().filter(|w| w.size.is_none()).count()).unwrap_or(1).max(1);
        let part = u8::try_from(u32::from(SIZE).saturating_sub(said) / open).unwrap_or(SIZE);
        let mut first = FIRST;
        let mut all = Vec::new();
        for world in worlds {
            let size = world.size.unwrap_or(part);
            all.push(Self { name: world.name.clone(), owned: owned(&world.owner, federation), first, size });
            first = first.saturating_add(size);
        }
        all
    }

    /// Its leases.
    pub(crate) fn octets(&self) -> std::ops::Range<u8> {
        self.first..self.first.saturating_add(self.size)
    }

    /// `used` is how many leases are taken.
    pub(crate) fn to_xml(&self, id: u32, plan: Plan, used: usize) -> String {
        let template = json!({
            "BRIDGE": "lo",
            "NETWORK_ADDRESS": plan.network().to_string(),
            "NETWORK_MASK": "255.255.255.0",
            "VN_MAD": "dummy",
        });
        let template = template.as_object().map(xml).unwrap_or_default();
        format!(
            "<VNET><ID>{id}</ID>{}<NAME>{}</NAME>{}<CLUSTERS><ID>0</ID></CLUSTERS><BRIDGE>lo</BRIDGE>\
             <BRIDGE_TYPE>linux</BRIDGE_TYPE><STATE>1</STATE><PREV_STATE>0</PREV_STATE><PARENT_NETWORK_ID/><VN_MAD>dummy</VN_MAD>\
             <PHYDEV/><VLAN_ID/><USED_LEASES>{used}</USED_LEASES><VROUTERS/><TEMPLATE>{template}</TEMPLATE><AR_POOL><AR>\
             <AR_ID>0</AR_ID><IP>{}</IP><MAC>{}</MAC><SIZE>{}</SIZE><TYPE>IP4</TYPE><USED_LEASES>{used}</USED_LEASES></AR>\
             </AR_POOL></VNET>",
            self.owned.ids_xml(),
            cdata(&self.name),
            self.owned.permissions_xml(),
            plan.outside(self.first),
            plan.mac(self.first),
            self.size,
        )
    }
}

/// An image. What a VM boots is the same whatever its image.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) owned: Owned,
    pub(crate) state: ImageState,
    /// MB.
    pub(crate) size: u32,
    pub(crate) registered: u64,
}

impl Image {
    pub(crate) fn new(world: &ImageWorld, federation: &Federation) -> Self {
        Self {
            name: world.name.clone(),
            owned: owned(&world.owner, federation),
            state: world.state,
            size: world.size,
            registered: crate::zone::now(),
        }
    }

    /// oned's words for an image that no VM can have now.
    pub(crate) fn unusable(&self, id: u32) -> Option<String> {
        match self.state {
            ImageState::Ready => None,
            ImageState::Locked => Some(format!("Cannot acquire image {id}, it is locked")),
            ImageState::Disabled => Some(format!("Cannot acquire image {id}, it is disabled")),
            ImageState::Error => Some(format!("Cannot acquire image {id}, it is in an error state")),
        }
    }

    /// `vms` are those that use it.
    pub(crate) fn to_xml(&self, id: u32, vms: &[u32]) -> String {
        let state = match self.state {
            ImageState::Ready if vms.is_empty() => 1,
            ImageState::Ready => 2,
            ImageState::Disabled => 3,
            ImageState::Locked => 4,
            ImageState::Error => 5,
        };
        format!(
            "<IMAGE><ID>{id}</ID>{}<NAME>{}</NAME>{}<TYPE>0</TYPE><DISK_TYPE>0</DISK_TYPE><PERSISTENT>0</PERSISTENT>\
             <REGTIME>{}</REGTIME><MODTIME>0</MODTIME><SOURCE/><PATH/><FORMAT>qcow2</FORMAT><FS/><SIZE>{}</SIZE>\
             <STATE>{state}</STATE><PREV_STATE>0</PREV_STATE><RUNNING_VMS>{}</RUNNING_VMS><CLONING_OPS>0</CLONING_OPS>\
             <CLONING_ID>-1</CLONING_ID><TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT><DATASTORE_ID>1</DATASTORE_ID>\
             <DATASTORE>default</DATASTORE><VMS>{}</VMS><CLONES/><APP_CLONES/><TEMPLATE/><SNAPSHOTS/></IMAGE>",
            self.owned.ids_xml(),
            cdata(&self.name),
            self.owned.permissions_xml(),
            self.registered,
            self.size,
            vms.len(),
            ids(vms),
        )
    }
}

/// A hypervisor.
#[derive(Debug)]
pub(crate) struct VmHost {
    pub(crate) name: String,
    /// Cores.
    pub(crate) cpu: f64,
    /// MB.
    pub(crate) memory: f64,
    pub(crate) on: bool,
}

impl VmHost {
    pub(crate) fn new(world: &HostWorld) -> Self {
        Self {
            name: world.name.clone(),
            cpu: f64::from(world.cpu),
            memory: f64::from(world.memory),
            on: world.on,
        }
    }

    /// With what its VMs use of it.
    pub(crate) fn to_xml(&self, id: u32, vms: &[u32], cpu: f64, memory: f64) -> String {
        let state = if self.on { 2 } else { 4 };
        // CPU in percent of a core, memory in KB.
        let (all_cpu, used_cpu) = (self.cpu * 100.0, cpu * 100.0);
        let (all, used) = (self.memory * 1024.0, memory * 1024.0);
        format!(
            "<HOST><ID>{id}</ID><NAME>{}</NAME><STATE>{state}</STATE><PREV_STATE>{state}</PREV_STATE><IM_MAD>kvm</IM_MAD>\
             <VM_MAD>kvm</VM_MAD><CLUSTER_ID>0</CLUSTER_ID><CLUSTER>default</CLUSTER><HOST_SHARE><MEM_USAGE>{used}</MEM_USAGE>\
             <CPU_USAGE>{used_cpu}</CPU_USAGE><TOTAL_MEM>{all}</TOTAL_MEM><TOTAL_CPU>{all_cpu}</TOTAL_CPU><MAX_MEM>{all}</MAX_MEM>\
             <MAX_CPU>{all_cpu}</MAX_CPU><RUNNING_VMS>{}</RUNNING_VMS></HOST_SHARE><VMS>{}</VMS><TEMPLATE/><MONITORING/></HOST>",
            cdata(&self.name),
            vms.len(),
            ids(vms),
        )
    }
}

fn ids(vms: &[u32]) -> String {
    vms.iter().map(|id| format!("<ID>{id}</ID>")).collect()
}

/// Owner and permissions that a world gives.
pub(crate) fn owned(world: &OwnerWorld, federation: &Federation) -> Owned {
    Owned { mode: world.mode, ..federation.named(&world.owner).owned() }
}

/// Finds an object the way a VM template names it: by `KEY_ID`, or by `KEY` among those of the caller, or of KEY_UNAME or
/// KEY_UID.
///
/// `Err` is oned's text.
pub(crate) fn resolve<'a>(
    part: &Value,
    key: &str,
    what: &str,
    pool: impl Iterator<Item = (&'a u32, &'a str, &'a Owned)> + Clone,
    caller: &Caller,
    federation: &Federation,
) -> Result<Option<u32>, String> {
    let attribute = |suffix: &str| {
        let value = part.get(format!("{key}{suffix}")).map(crate::attributes::text);
        value.filter(|v| !v.is_empty())
    };
    if let Some(id) = attribute("_ID") {
        let found = pool.clone().find(|(known, _, _)| known.to_string() == id);
        let (id, _, _) = found.ok_or_else(|| match key {
            "NETWORK" => format!("Virtual network with ID: {id} does not exist"),
            _ => format!("Image with ID: {id}  does not exist"),
        })?;
        return Ok(Some(*id));
    }
    let Some(name) = attribute("") else { return Ok(None) };
    let owner = match (attribute("_UID"), attribute("_UNAME")) {
        (Some(uid), _) => uid.parse().unwrap_or(u32::MAX),
        (None, Some(user)) => {
            federation.user_id(&user).ok_or_else(|| format!("User {user} does not exist"))?
        }
        (None, None) => caller.id,
    };
    let mut named = pool.filter(|(_, known, owned)| **known == name && owned.uid == owner);
    let found = named.next().map(|(id, _, _)| *id);
    let place = if key == "NETWORK" { "NIC" } else { "DISK" };
    found.map(Some).ok_or_else(|| {
        format!("User {owner} does not own {what} with name: {name} . Set {key}_UNAME or {key}_UID of owner in {place}.")
    })
}
