//! What one zone has of a federation, found by its labels.

use onefed_appliance::attribute;
use onefed_federation::{Condition, Existing, Facts, Federation, Names, ObjectKind};
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::{Error, ServiceState};

use crate::zones::{self, ZoneClients};

/// The objects of this federation in one zone, in no particular order.
pub(super) async fn zone(federation: &Federation, zone: &ZoneClients) -> Result<Vec<Existing>, Error> {
    zone.xmlrpc.check_version().await?;
    // Both to their ends: of two errors the same one is told every time.
    let (templates, services) = tokio::join!(zone.oneflow.service_templates(), zone.oneflow.services());
    let (templates, services) = (templates?, services?);
    let mut objects = Vec::new();
    for template in templates {
        if let Some(digest) = digest_of(federation, &template.body) {
            let kind = ObjectKind::ServiceTemplate;
            let (id, state) = (Some(template.id.id), Condition::Good);
            let facts = Facts::of_document(&template.body, &Names::default());
            objects.push(Existing {
                id,
                kind,
                name: template.name,
                digest,
                state,
                trouble: String::new(),
                facts,
            });
        }
    }
    for service in services {
        if let Some(digest) = digest_of(federation, &service.body) {
            let state = condition(zone, &service).await?;
            let (id, kind) = (Some(service.id.id), ObjectKind::Service);
            let facts = Facts::of_document(&service.body, &Names::default());
            objects.push(Existing {
                id,
                kind,
                name: service.name,
                digest,
                state,
                trouble: String::new(),
                facts,
            });
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

async fn condition(zone: &ZoneClients, service: &Service) -> Result<Condition, Error> {
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
async fn has_failed_vm(zone: &ZoneClients, service: &Service) -> Result<bool, Error> {
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
