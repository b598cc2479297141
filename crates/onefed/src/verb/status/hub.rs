//! Finding and asking the hub. Where it is follows from the plan file and the zone; the state directory's note is only
//! what is left when its zone does not answer.

use onefed_context::{Host, Role};
use onefed_federation::Federation;
use onefed_link::connect::AdminClient;
use onefed_link::status::HubStatus;

use super::model::{AskedHub, Known, ServiceLine, ZoneLine};
use crate::failure::Failure;
use crate::state::State;

/// Asks the hub how it is. `home` is what the coordinator's zone has said.
pub(super) async fn ask(
    federation: &Federation,
    state: &State,
    home: &(ZoneLine, Vec<ServiceLine>),
) -> (Option<AskedHub>, Known<HubStatus>) {
    let at = match find(federation, state, &home.1) {
        Ok(at) => at,
        Err(why) => return (None, Known::Unknown(why)),
    };
    let answer = async {
        let identity = state.client(federation.name.as_str())?;
        let client = AdminClient::new(&at.host, at.port, &state.ca_pem()?, &identity)?;
        client.status().await.map_err(Failure::from)
    };
    let hub = match answer.await {
        Ok(hub) => Known::Known(hub),
        Err(why) => Known::Unknown(why.message),
    };
    (Some(at), hub)
}

/// Where the hub is: the plan's address, else that of the SuperLink's VM, else where the last `apply` has left it.
fn find(federation: &Federation, state: &State, services: &[ServiceLine]) -> Result<AskedHub, String> {
    let zone = &federation.coordinator.zone;
    let name = federation.object_name(onefed_federation::Part::Coordinator);
    let service = services.iter().find(|service| service.name == name);
    if service.is_some_and(|service| service.state == "absent") {
        return Err(format!("zone {zone} has no service {name}"));
    }
    let port = federation.coordinator.admin_port;
    if let Some(address) = &federation.coordinator.address {
        let host = match address {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        };
        return Ok(AskedHub { host, port, from: "the plan file" });
    }
    let vms = service.into_iter().flat_map(|service| &service.vms);
    let superlink = vms.filter(|vm| vm.role == Role::SuperLink.as_str()).find_map(|vm| vm.address.clone());
    if let Some(host) = superlink {
        return Ok(AskedHub { host, port, from: "the SuperLink's VM" });
    }
    match state.inventory() {
        Ok(Some(known)) => {
            let (host, port) = (known.hub.host, known.hub.admin_port);
            Ok(AskedHub { host, port, from: "the last apply" })
        }
        Ok(None) => Err(format!("zone {zone} does not say the address of the SuperLink's VM")),
        Err(why) => Err(why.message),
    }
}
