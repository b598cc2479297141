//! What the plan calls by name or id in each zone, VM templates and networks: looked up in all zones before anything
//! is made in one of them.

use std::collections::BTreeMap;

use onefed_context::Role;
use onefed_federation::{Action, Federation, Plan, Reference, VmTemplate, Zone, ZoneIds};

use crate::failure::{Exit, Failure};
use crate::zones::{ZoneClients, Zones};

/// The ids by zone, or what is missing there; nothing where the plan changes nothing at all.
pub(crate) async fn look_up(
    federation: &Federation,
    zones: &Zones,
    plan: &Plan,
) -> BTreeMap<String, Result<ZoneIds, Failure>> {
    // Also zones that are to stay as they are: when the hub moves, their services are made anew.
    let used = plan
        .zones
        .iter()
        .filter(|zone| !plan.is_empty() && zone.changes.iter().any(|change| change.action != Action::Remove));
    let asked = used.filter_map(|used| {
        let (zone, clients) = (federation.zone(&used.zone)?, zones.get(used.zone.as_str())?);
        Some(async move { (zone.name.to_string(), in_zone(federation, zone, clients).await) })
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// The ids in one zone, or all that is missing there.
pub(crate) async fn in_zone(
    federation: &Federation,
    zone: &Zone,
    clients: &ZoneClients,
) -> Result<ZoneIds, Failure> {
    let templates: Vec<(u32, String)> =
        clients.xmlrpc.templates().await?.into_iter().map(|it| (it.id.id, it.name)).collect();
    let networks: Vec<(u32, String)> =
        clients.xmlrpc.networks().await?.into_iter().map(|it| (it.id.id, it.name)).collect();
    let mut search = Search { missing: Vec::new() };
    // A template for a role that no VM of this zone has is not missed, and neither is one that is still to be made.
    let roles = federation.roles_in(&zone.name);
    let mut template = |role: Role| match zone.templates.of(role) {
        VmTemplate::Given(wanted) if roles.contains(&role) => search.find("VM template", wanted, &templates),
        VmTemplate::Given(_) => 0,
        VmTemplate::Made => {
            let name = federation.vm_template_name(role);
            templates.iter().find(|(_, have)| *have == name).map_or(0, |(id, _)| *id)
        }
    };
    let superlink_template = template(Role::SuperLink);
    let gateway_template = template(Role::Gateway);
    let supernode_template = template(Role::SuperNode);
    let network = search.find("network", &zone.network, &networks);
    search.missing.dedup();
    if search.missing.is_empty() {
        return Ok(ZoneIds { superlink_template, gateway_template, supernode_template, network });
    }
    let text = format!("zone {}: {}", zone.name, search.missing.join("; "));
    Err(Failure::new(Exit::Configuration, "zone-objects", text)
        .hint("correct [zone.…] in the plan file, or ask the zone's administrator for the right to use them"))
}

struct Search {
    missing: Vec<String>,
}

impl Search {
    /// The id of an object; 0 where there is none, which has been noted then.
    fn find(&mut self, what: &str, wanted: &Reference, have: &[(u32, String)]) -> u32 {
        let found = have.iter().find(|(id, name)| match wanted {
            Reference::Id(wanted) => id == wanted,
            Reference::Name(wanted) => name == wanted,
        });
        found.map(|(id, _)| *id).unwrap_or_else(|| {
            let all: Vec<String> = have.iter().map(|(id, name)| format!("{name} #{id}")).collect();
            let all = if all.is_empty() { "none that this login may use".to_owned() } else { all.join(", ") };
            self.missing.push(format!("no {what} {wanted} (there are: {all})"));
            0
        })
    }
}
