//! The network that VMs get their NIC in.

use onefed_federation::Reference;
use onefed_opennebula::{NetworkState, VnetId};

use super::Look;
use super::templates::list;

impl Look<'_> {
    /// The id of the zone's network, if it is there; `more` VMs want an address of it.
    pub(super) async fn network(&mut self, more: i64) -> Option<u32> {
        let wanted = self.zone.network.clone();
        let all: Vec<(u32, String, String)> =
            self.seen.networks.iter().map(|it| (it.id.id, it.name.clone(), it.owner.uname.clone())).collect();
        let Some(id) = self.choose("network", "network", &wanted, &all) else {
            let mut refused = false;
            if let Reference::Id(id) = wanted {
                let id = VnetId::new(self.clients.xmlrpc.zone().clone(), id);
                refused = self.clients.xmlrpc.network(&id).await.is_err_and(|why| why.is_unauthorized());
            }
            self.missing("network", "network", &wanted, refused, &format!("there are: {}", list(&all)));
            return None;
        };
        let network = self.seen.networks.iter().find(|network| network.id.id == id)?;
        let (state, free, has_ranges) = (network.state, network.free(), !network.ranges.is_empty());
        if state != NetworkState::Ready {
            let message = format!("network {wanted} is {state}");
            let hint = format!("`onevnet show {id}` says why; `onevnet recover {id}` may help");
            self.error("zone::network-state", "network", message, hint);
        }
        let more = u64::try_from(more).unwrap_or(0);
        if more > free {
            let message = if has_ranges {
                format!("network {wanted} has {free} free addresses, and the plan needs {more} more")
            } else {
                format!("network {wanted} has no address range, and the plan needs {more} addresses")
            };
            let hint = format!("add a range with `onevnet addar {id}`, or name another network");
            self.error("zone::network-full", "network", message, hint);
        }
        Some(id)
    }
}
