//! Clients for the zones of a plan: who logs in, where, and whom https may trust.

mod operator;
mod places;

use std::collections::BTreeMap;

use onefed_federation::{Federation, Zone};
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{Credentials, VmState, ZoneName, oneflow, xmlrpc};

use crate::failure::{Exit, Failure, join};
pub(crate) use operator::{Operator, login};
pub(crate) use places::is_here;

/// So many VMs of a service are asked for at once: a stock oned serves 15 connections, and others use it too.
pub(crate) const AT_ONCE: usize = 4;

/// The clients of one zone.
#[derive(Clone)]
pub(crate) struct ZoneClients {
    pub(crate) xmlrpc: xmlrpc::Client,
    pub(crate) oneflow: oneflow::Client,
}

/// All zones of a plan, by name.
pub(crate) type Zones = BTreeMap<String, ZoneClients>;

/// Makes the clients of all zones. Zones whose plan says where they are, are not called. All zones that lack something
/// are named.
pub(crate) async fn clients(federation: &Federation) -> Result<Zones, Failure> {
    let (zones, failures) = reachable(federation).await;
    join(failures.into_iter().map(|(_, why)| why).collect()).map_or(Ok(zones), Err)
}

/// Makes the clients of the zones that can have some, and says of each other one, in the order of the plan, why not.
pub(crate) async fn reachable(federation: &Federation) -> (Zones, Vec<(String, Failure)>) {
    let operator = Operator::here();
    let mut places = places::find(&federation.zones, &operator).await;
    let (mut zones, mut failures) = (Zones::new(), Vec::new());
    for zone in &federation.zones {
        let name = zone.name.to_string();
        let place = places.remove(&name).unwrap_or_else(|| Err(bad(zone, "it has no place".to_owned())));
        match place.and_then(|place| client(zone, place, &operator)) {
            Ok(client) => {
                zones.insert(name, client);
            }
            Err(why) => failures.push((name, why)),
        }
    }
    (zones, failures)
}

fn bad(zone: &Zone, why: String) -> Failure {
    Failure::new(Exit::BadInput, "zone", format!("zone {}: {why}", zone.name))
}

fn client(zone: &Zone, place: places::Place, operator: &Operator) -> Result<ZoneClients, Failure> {
    let name: ZoneName = zone.name.as_str().parse().map_err(|why| bad(zone, format!("{why}")))?;
    let credentials = credentials(zone, operator)?;
    let mut clients = ZoneClients {
        xmlrpc: xmlrpc::Client::new(name.clone(), place.endpoint, credentials.clone())?,
        oneflow: oneflow::Client::new(name, place.oneflow, credentials)?,
    };
    if let Some(pem) = authority(zone)? {
        clients.xmlrpc = clients.xmlrpc.with_ca(&pem)?;
        clients.oneflow = clients.oneflow.with_ca(&pem)?;
    }
    Ok(clients)
}

/// The content of the zone's `ca` file.
fn authority(zone: &Zone) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &zone.ca else { return Ok(None) };
    let read = std::fs::read(path).map_err(|why| {
        let failure = Failure::new(Exit::BadInput, "zone-ca", format!("zone {}: {path}: {why}", zone.name));
        failure.hint("`ca` of the zone names a file with the CA of its https endpoints in PEM")
    });
    read.map(Some)
}

/// `user:password` from the zone's `auth` file, else the operator's own.
fn credentials(zone: &Zone, operator: &Operator) -> Result<Credentials, Failure> {
    let login = match &zone.auth {
        Some(path) => operator::login(path.as_ref()),
        None => operator.login(),
    };
    login.map_err(|why| {
        Failure::new(Exit::Permission, "zone-login", format!("zone {}: {why}", zone.name))
            .hint("name a file that holds user:password as `auth` in the plan's zone, or in ONE_AUTH")
    })
}

/// Whether a VM does not run any more and will not by itself.
pub(crate) fn is_off(vm: &Vm) -> bool {
    matches!(
        vm.state,
        VmState::Poweroff | VmState::Stopped | VmState::Suspended | VmState::Undeployed | VmState::Done
    )
}
