//! One part of the federation, that is one OneFlow template and its service: made, changed, replaced or removed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use onefed_federation::{Action, Change, ObjectKind, Part, merge_template, service_template};
use onefed_opennebula::{ServiceId, ServiceTemplateId, oneflow};

use super::Work;
use super::wait::{self, Gate};
use crate::failure::{Exit, Failure};
use crate::state::HubAddress;
use crate::zones::ZoneClients;

/// How long a service may take to go.
const LEAVE_PATIENCE: Duration = Duration::from_secs(180);

/// A part that is there and ready.
pub(super) struct Deployed {
    /// The first address of its first VM.
    pub(super) address: Option<IpAddr>,
}

/// Makes a part as the plan wants it and waits until it is ready.
pub(super) async fn deploy(
    work: &Work,
    part: Part<'_>,
    hub: Option<&HubAddress>,
) -> Result<Deployed, Failure> {
    let zone_name = match part {
        Part::Coordinator => &work.federation.coordinator.zone,
        Part::Site(name) => match work.federation.site(name) {
            Some(site) => &site.zone,
            None => return Err(Failure::new(Exit::Failed, "site", format!("the plan has no site {name}"))),
        },
    };
    let no_zone = || Failure::new(Exit::BadInput, "zone", format!("the plan has no zone {zone_name}"));
    let zone = work.zones.get(zone_name.as_str()).ok_or_else(no_zone)?;
    let name = work.federation.object_name(part);
    let changes: Vec<&Change> = work.plan.changes().filter(|change| change.name == name).collect();
    let step = |kind| changes.iter().copied().find(|change| change.kind == kind);
    let bad = |why: onefed_federation::ObjectError| Failure::new(Exit::Failed, "object", why);

    let template = match step(ObjectKind::ServiceTemplate) {
        Some(change) if change.action == Action::Keep => change.id,
        Some(change) => {
            let ids = work.ids.get(zone_name.as_str()).ok_or_else(no_zone)?;
            let body = service_template(&work.federation, part, ids).map_err(bad)?;
            work.state.journal("begin", zone_name.as_str(), "service template", &name)?;
            let id = match change.id {
                Some(id) => {
                    let id = template_id(zone, id);
                    zone.oneflow.update_service_template(&id, &body).await?;
                    id.id
                }
                None => zone.oneflow.create_service_template(&body).await?.id.id,
            };
            work.state.journal("done", zone_name.as_str(), "service template", &format!("{name} is {id}"))?;
            work.output.say(format!("  {zone_name}: template {name} is {id}"));
            Some(id)
        }
        None => None,
    };
    let service = match step(ObjectKind::Service) {
        Some(change) if change.action == Action::Keep => change.id,
        Some(change) => {
            if let Some(old) = change.id {
                work.output.say(format!("  {zone_name}: replacing service {old} ({})", change.why));
                work.state.journal("begin", zone_name.as_str(), "service gone", &format!("{name} {old}"))?;
                leave(&zone.oneflow, &ServiceId::new(zone.oneflow.zone().clone(), old)).await?;
                // Its one-time key has been used up.
                work.state.forget_enrol_key(&name);
                work.state.journal("done", zone_name.as_str(), "service gone", &format!("{name} {old}"))?;
            }
            let template = template
                .ok_or_else(|| Failure::new(Exit::Failed, "template", format!("{name} has no template")))?;
            let merge = merge_template(&work.federation, part, &work.inputs(part, hub)?).map_err(bad)?;
            work.state.journal("begin", zone_name.as_str(), "service", &name)?;
            let id = zone.oneflow.instantiate(&template_id(zone, template), &merge).await?;
            work.state.journal("done", zone_name.as_str(), "service", &format!("{name} is {}", id.id))?;
            work.output.say(format!("  {zone_name}: service {name} is {}, {}", id.id, change.detail));
            Some(id.id)
        }
        None => None,
    };
    let service = service
        .ok_or_else(|| Failure::new(Exit::Failed, "service", format!("the plan has no service {name}")))?;
    let id = ServiceId::new(zone.oneflow.zone().clone(), service);
    let gate = Gate { work, zone, name: &name, id: &id, key: work.state.enrol_key(&name)? };
    let vms = wait::until_ready(&gate).await?;
    Ok(Deployed { address: vms.first().and_then(|vm| vm.nics.iter().find_map(|nic| nic.ip)) })
}

/// Removes what the plan does not want any more.
pub(super) async fn remove_unwanted(work: &Work) -> Result<(), Failure> {
    for zone_plan in &work.plan.zones {
        let Some(zone) = work.zones.get(zone_plan.zone.as_str()) else { continue };
        let removals = zone_plan.changes.iter().filter(|change| change.action == Action::Remove);
        // Services before the templates that they are made from.
        let (services, templates): (Vec<&Change>, Vec<&Change>) =
            removals.partition(|change| change.kind == ObjectKind::Service);
        for change in services.into_iter().chain(templates) {
            let Some(id) = change.id else { continue };
            work.output.say(format!("  {}: removing {} ({})", zone_plan.zone, change.name, change.why));
            work.state.journal("begin", zone_plan.zone.as_str(), "removal", &change.name)?;
            match change.kind {
                ObjectKind::Service => {
                    leave(&zone.oneflow, &ServiceId::new(zone.oneflow.zone().clone(), id)).await?;
                    work.state.forget_enrol_key(&change.name);
                }
                ObjectKind::ServiceTemplate => {
                    zone.oneflow.delete_service_template(&template_id(zone, id)).await?
                }
            }
            work.state.journal("done", zone_plan.zone.as_str(), "removal", &change.name)?;
        }
    }
    Ok(())
}

/// Undeploys a service and waits until it is gone.
pub(crate) async fn leave(oneflow: &oneflow::Client, id: &ServiceId) -> Result<(), Failure> {
    let started = Instant::now();
    let mut asked = false;
    loop {
        let service = match oneflow.service(id).await {
            Err(why) if why.is_not_found() => return Ok(()),
            other => other?,
        };
        if !asked {
            // A plain delete is refused in transient and failed states; recover takes those.
            let answer = if service.state.accepts_delete() {
                oneflow.delete_service(id).await
            } else {
                oneflow.recover_delete(id).await
            };
            match answer {
                Ok(()) => asked = true,
                Err(why) if why.is_not_found() => return Ok(()),
                // The state moved between the two calls: look again.
                Err(onefed_opennebula::Error::Conflict { .. }) => {}
                Err(why) => return Err(why.into()),
            }
        }
        if started.elapsed() > LEAVE_PATIENCE {
            let text =
                format!("service {id} is still {} after {} s", service.state, LEAVE_PATIENCE.as_secs());
            return Err(Failure::new(Exit::TryAgain, "service-stuck", text)
                .hint("run the same command again; it goes on"));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn template_id(zone: &ZoneClients, id: u32) -> ServiceTemplateId {
    ServiceTemplateId::new(zone.oneflow.zone().clone(), id)
}
