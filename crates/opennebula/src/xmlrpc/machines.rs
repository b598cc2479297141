//! Hosts, the machines that VMs run on.

use super::Client;
use crate::xml::Element;
use crate::{ClusterId, Error, HostId, HostState, ZoneName};

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// STATE.
    pub state: HostState,
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// CPU in hundredths of a core.
    pub cpu: Allocation,
    /// Memory in KiB.
    pub memory: Allocation,
    /// How many VMs it runs.
    pub running_vms: u32,
}

/// How much of something is given to VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// What VMs have.
    pub used: i64,
    /// What VMs may have, overcommitment and reservations counted in; 0 until the host was monitored.
    pub total: i64,
}

impl Host {
    /// Takes new VMs: not in error, not disabled, not offline.
    pub fn is_usable(&self) -> bool {
        self.state == HostState::Monitored
    }
}

impl Client {
    /// The hosts that the user may see (`one.hostpool.info`). Ordinary users may run VMs on hosts that they do not see:
    /// see [`host_access`](Self::host_access).
    ///
    /// # Errors
    /// As any call.
    pub async fn hosts(&self) -> Result<Vec<Host>, Error> {
        self.pool("one.hostpool.info", &[], ("HOST", "ID, NAME or STATE"), host).await
    }
}

fn host(zone: &ZoneName, xml: &Element) -> Option<Host> {
    let share = xml.child("HOST_SHARE");
    let number = |name| share.and_then(|s| s.number_of(name)).unwrap_or(0);
    Some(Host {
        id: HostId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        state: HostState::from(xml.number_of::<i32>("STATE")?),
        cluster: xml.number_of("CLUSTER_ID").map(|id| ClusterId::new(zone.clone(), id)),
        cpu: Allocation { used: number("CPU_USAGE"), total: number("MAX_CPU") },
        memory: Allocation { used: number("MEM_USAGE"), total: number("MAX_MEM") },
        running_vms: share.and_then(|s| s.number_of("RUNNING_VMS")).unwrap_or(0),
    })
}
