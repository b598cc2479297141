//! `onefed plan`: what would be created, changed or removed in each zone.

use onefed_appliance::attribute;
use onefed_federation::{Condition, Existing, Federation, ObjectKind, Plan, ZoneExisting, diff};
use onefed_opennebula::ServiceState;
use onefed_opennebula::oneflow::Service;
use serde::Serialize;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::plan_file;
use crate::zone_objects;
use crate::zones::{self, Zones};

/// Shows the plan. Exit code 0 when there is nothing to do, 2 when there is.
pub(crate) async fn run(place: &Place, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let zones = zones::clients(&federation).await?;
    let plan = make(&federation, &zones).await?;
    // What an `apply` would stumble on is said now.
    zone_objects::look_up(&federation, &zones, &plan).await?;
    output.text(plan.render());
    output.json(&Document { schema_version: 1, plan: &plan });
    Ok(if plan.is_empty() { Exit::Ok } else { Exit::ChangesPending })
}

/// A plan as a JSON document.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// Asks every zone of the plan what is there, and compares. All zones that do not answer are named.
pub(crate) async fn make(federation: &Federation, zones: &Zones) -> Result<Plan, Failure> {
    let asked =
        zones.iter().map(|(name, clients)| async move { (name, existing(federation, clients).await) });
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (name, answer) in futures_util::future::join_all(asked).await {
        let zone =
            federation.zones.iter().find(|zone| zone.name.as_str() == name).map(|zone| zone.name.clone());
        match (zone, answer) {
            (Some(zone), Ok(objects)) => found.push(ZoneExisting { zone, objects }),
            (_, Err(why)) => failures.push(Failure::from(why)),
            (None, Ok(_)) => {}
        }
    }
    match join(failures) {
        None => Ok(diff(federation, &found)),
        Some(failure) => Err(failure),
    }
}

/// The objects of this federation in one zone.
async fn existing(
    federation: &Federation,
    zone: &zones::ZoneClients,
) -> Result<Vec<Existing>, onefed_opennebula::Error> {
    zone.xmlrpc.check_version().await?;
    let templates = zone.oneflow.service_templates().await?;
    let services = zone.oneflow.services().await?;
    let mut objects = Vec::new();
    for template in templates {
        if let Some(digest) = digest_of(federation, &template.body) {
            let kind = ObjectKind::ServiceTemplate;
            let (id, state) = (Some(template.id.id), Condition::Good);
            objects.push(Existing { id, kind, name: template.name, digest, state });
        }
    }
    for service in services {
        if let Some(digest) = digest_of(federation, &service.body) {
            let state = condition(zone, &service).await?;
            let (id, kind) = (Some(service.id.id), ObjectKind::Service);
            objects.push(Existing { id, kind, name: service.name, digest, state });
        }
    }
    Ok(objects)
}

/// The digest that an object of this federation carries; `None` for objects that are not ours.
fn digest_of(federation: &Federation, body: &serde_json::Value) -> Option<String> {
    let label = body.get("onefed")?;
    let ours = label.get("federation")?.as_str()? == federation.name.as_str();
    ours.then(|| label.get("digest").and_then(|digest| digest.as_str()).unwrap_or_default().to_owned())
}

async fn condition(
    zone: &zones::ZoneClients,
    service: &Service,
) -> Result<Condition, onefed_opennebula::Error> {
    Ok(match service.state {
        ServiceState::Undeploying | ServiceState::UndeployingNets | ServiceState::Done => Condition::Leaving,
        state if state.is_failed() => Condition::Failed,
        _ if has_failed_vm(zone, service).await? => Condition::Failed,
        ServiceState::Running | ServiceState::Warning => Condition::Good,
        _ => Condition::Busy,
    })
}

/// Whether a VM says that it failed to boot, or is off. OneFlow does not see the one, and takes the other for a
/// success.
async fn has_failed_vm(
    zone: &zones::ZoneClients,
    service: &Service,
) -> Result<bool, onefed_opennebula::Error> {
    for id in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
        match zone.xmlrpc.vm(id).await {
            Ok(vm) => {
                let says_failed =
                    vm.user_template.get(attribute::STATE).is_some_and(|state| state == "failed");
                if says_failed || zones::is_off(&vm) {
                    return Ok(true);
                }
            }
            Err(why) if why.is_not_found() => {}
            Err(why) => return Err(why),
        }
    }
    Ok(false)
}
