//! Clients for the zones of a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onefed_federation::{Federation, Zone};
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{Credentials, VmState, ZoneName, oneflow, xmlrpc};

use crate::failure::{Exit, Failure, join};

/// The clients of one zone.
#[derive(Clone)]
pub(crate) struct ZoneClients {
    pub(crate) xmlrpc: xmlrpc::Client,
    pub(crate) oneflow: oneflow::Client,
}

/// All zones of a plan, by name.
pub(crate) type Zones = BTreeMap<String, ZoneClients>;

/// Makes the clients. Nothing is called yet. All zones without a login are named.
pub(crate) fn clients(federation: &Federation) -> Result<Zones, Failure> {
    let (mut zones, mut failures) = (Zones::new(), Vec::new());
    for zone in &federation.zones {
        match client(zone) {
            Ok(client) => {
                zones.insert(zone.name.to_string(), client);
            }
            Err(why) => failures.push(why),
        }
    }
    join(failures).map_or(Ok(zones), Err)
}

fn client(zone: &Zone) -> Result<ZoneClients, Failure> {
    let bad = |why: String| Failure::new(Exit::BadInput, "zone", format!("zone {}: {why}", zone.name));
    let name: ZoneName = zone.name.as_str().parse().map_err(|why| bad(format!("{why}")))?;
    let unknown = |key: &str| bad(format!("the plan does not say its `{key}`"));
    let endpoint = zone.endpoint.clone().ok_or_else(|| unknown("endpoint"))?;
    let oneflow = zone.oneflow.clone().ok_or_else(|| unknown("oneflow"))?;
    let credentials = credentials(zone)?;
    Ok(ZoneClients {
        xmlrpc: xmlrpc::Client::new(name.clone(), endpoint, credentials.clone())?,
        oneflow: oneflow::Client::new(name, oneflow, credentials)?,
    })
}

/// `user:password` from the zone's `auth` file, else from `ONE_AUTH`'s, else from `~/.one/one_auth`.
fn credentials(zone: &Zone) -> Result<Credentials, Failure> {
    let home = || Some(Path::new(&std::env::var_os("HOME")?).join(".one/one_auth"));
    let path = zone.auth.as_ref().map(PathBuf::from);
    let path = path.or_else(|| std::env::var_os("ONE_AUTH").map(PathBuf::from)).or_else(home);
    let fail = |text: String| {
        Failure::new(Exit::Permission, "zone-login", format!("zone {}: {text}", zone.name))
            .hint("name a file that holds user:password as `auth` in the plan's zone, or in ONE_AUTH")
    };
    let path = path.ok_or_else(|| fail("no credentials".to_owned()))?;
    let text = std::fs::read_to_string(&path).map_err(|why| fail(format!("{}: {why}", path.display())))?;
    Credentials::parse(text.trim()).map_err(|why| fail(format!("{}: {why}", path.display())))
}

/// Whether a VM does not run any more and will not by itself.
pub(crate) fn is_off(vm: &Vm) -> bool {
    matches!(
        vm.state,
        VmState::Poweroff | VmState::Stopped | VmState::Suspended | VmState::Undeployed | VmState::Done
    )
}
