//! `one.vn.*`, `one.image.*`, `one.host.*`, `one.datastorepool.info` and their pools, as far as they only read.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler, page};
use crate::access::{Caller, Mode, Owned, Right};
use crate::objects::Network;
use crate::refusal::Refusal;
use onefed_opennebula::VmState;

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("vn", "info") => network,
        ("vnpool", "info") => networks,
        ("image", "info") => image,
        ("imagepool", "info") => images,
        ("host", "info") => host,
        ("hostpool", "info") => hosts,
        ("datastorepool", "info") => datastores,
        _ => return None,
    })
}

fn number(id: i64) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}

impl Call<'_> {
    fn network_xml(&self, id: u32, network: &Network) -> String {
        let octets = network.octets();
        let used = self.state.leases.iter().filter(|octet| octets.contains(octet)).count();
        network.to_xml(id, self.zone.plan, used)
    }

    /// Its VMs.
    fn image_vms(&self, image: u32) -> Vec<u32> {
        let vms =
            self.state.vms.values().filter(|vm| vm.state != VmState::Done && vm.images.contains(&image));
        vms.map(|vm| vm.id).collect()
    }

    fn host_xml(&self, id: u32) -> Option<String> {
        let host = self.state.hosts.get(&id)?;
        let (vms, used) = self.state.on_host(id);
        Some(host.to_xml(id, &vms, used.cpu, used.memory))
    }
}

fn network(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let network =
        call.state.networks.get(&number(id)).ok_or_else(|| Refusal::missing("virtual network", id))?;
    if !call.zone.grants(&call.caller) {
        Refusal::unless(&network.owned, &call.caller, Right::Use, "NET", number(id))?;
    }
    Ok(Outcome::Text(call.network_xml(number(id), network)))
}

fn networks(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (filter, start, end) = arguments.range()?;
    // Everything that is granted is seen by "all" alone.
    let granted = filter == -2 && call.zone.grants(&call.caller);
    let seen = call.state.networks.iter().filter(|(_, n)| granted || n.owned.passes(&call.caller, filter));
    let all = seen.map(|(id, network)| (*id, call.network_xml(*id, network))).collect();
    Ok(Outcome::Text(format!("<VNET_POOL>{}</VNET_POOL>", page(all, start, end).concat())))
}

fn image(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let image = call.state.images.get(&number(id)).ok_or_else(|| Refusal::missing("image", id))?;
    Refusal::unless(&image.owned, &call.caller, Right::Use, "IMAGE", number(id))?;
    Ok(Outcome::Text(image.to_xml(number(id), &call.image_vms(number(id)))))
}

fn images(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (filter, start, end) = arguments.range()?;
    let seen = call.state.images.iter().filter(|(_, i)| i.owned.passes(&call.caller, filter));
    let all = seen.map(|(id, image)| (*id, image.to_xml(*id, &call.image_vms(*id)))).collect();
    Ok(Outcome::Text(format!("<IMAGE_POOL>{}</IMAGE_POOL>", page(all, start, end).concat())))
}

fn host(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let xml = call.host_xml(number(id)).ok_or_else(|| Refusal::missing("host", id))?;
    if !call.caller.is_admin() {
        return Err(Refusal::unauthorized(&call.caller, Right::Use, &format!("HOST [{id}]")).into());
    }
    Ok(Outcome::Text(xml))
}

/// Administrators only: what a VDC gives its groups is MANAGE, for their VMs to be placed; the pool shows what one may USE.
fn hosts(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let seen = call.state.hosts.keys().filter(|_| call.caller.is_admin());
    let all: String = seen.filter_map(|id| call.host_xml(*id)).collect();
    Ok(Outcome::Text(format!("<HOST_POOL>{all}</HOST_POOL>")))
}

/// The stock ones, all oneadmin's. A VDC gives its groups their use.
fn datastores(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let granted = call.zone.grants(&call.caller);
    let owner = Owned { mode: Mode(0o640), ..Caller::oneadmin().owned() };
    let one = |(id, name, kind): (u32, &str, u32)| {
        let images = if kind == 0 {
            call.state.images.keys().map(|id| format!("<ID>{id}</ID>")).collect()
        } else {
            String::new()
        };
        format!(
            "<DATASTORE><ID>{id}</ID>{}<NAME>{name}</NAME>{}<DS_MAD>fs</DS_MAD><TM_MAD>local</TM_MAD><BASE_PATH/>\
             <TYPE>{kind}</TYPE><DISK_TYPE>0</DISK_TYPE><STATE>0</STATE><CLUSTERS><ID>0</ID></CLUSTERS><TOTAL_MB>1048576</TOTAL_MB>\
             <FREE_MB>524288</FREE_MB><USED_MB>524288</USED_MB><IMAGES>{images}</IMAGES><TEMPLATE/></DATASTORE>",
            owner.ids_xml(),
            owner.permissions_xml()
        )
    };
    let stock = [(0, "system", 1), (1, "default", 0), (2, "files", 2)];
    let all: String = stock.into_iter().filter(|_| granted).map(one).collect();
    Ok(Outcome::Text(format!("<DATASTORE_POOL>{all}</DATASTORE_POOL>")))
}
