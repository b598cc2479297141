//! One part of the federation, that is one OneFlow template and its service: made, changed, replaced or removed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use onefed_federation::{Action, Change, ObjectKind, Part, merge_template, service_template};
use onefed_opennebula::{ServiceId, ServiceTemplateId, oneflow};

use super::Work;
use super::wait::{self, Awaited};
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

/// Makes a part as the plan wants it and waits until it is ready. With `anew`, a service that would be kept is
/// replaced, for that reason.
pub(super) async fn deploy(
    work: &Work,
    part: Part<'_>,
    hub: Option<&HubAddress>,
    anew: Option<&str>,
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
    // Ids are those of this zone and no other: a part that moves is a removal there and a creation here.
    let here = work.plan.zones.iter().filter(|plan| &plan.zone == zone_name).flat_map(|plan| &plan.changes);
    let here: Vec<&Change> =
        here.filter(|change| change.name == name && change.action != Action::Remove).collect();
    let missing =
        || Failure::new(Exit::Failed, "plan", format!("the plan does not say what to do with {name}"));
    let find = |kind| here.iter().copied().find(|change| change.kind == kind).ok_or_else(missing);
    let (template, service) = (find(ObjectKind::ServiceTemplate)?, find(ObjectKind::Service)?);
    let making = Making { work, part, zone, zone_name: zone_name.as_str(), name: &name };

    let keep = service.action == Action::Keep && anew.is_none();
    let id = match service.id.filter(|_| keep) {
        Some(id) => id,
        None => {
            if let Some(old) = service.id {
                making.leave(old, anew.unwrap_or(&service.why)).await?;
            }
            // The template is written again for every new service: the ids in it may be out of date.
            let template = making.template(template).await?;
            making.service(template, hub, &service.detail).await?
        }
    };
    if keep && template.action != Action::Keep {
        making.template(template).await?;
    }
    let id = ServiceId::new(zone.oneflow.zone().clone(), id);
    let key = work.state.enrol_key(&name)?;
    let vms = wait::until_ready(&Awaited { work, zone, part, name: &name, id: &id, key, hub }).await?;
    Ok(Deployed { address: vms.first().and_then(|vm| vm.nics.iter().find_map(|nic| nic.ip)) })
}

/// A part being made in its zone. Every step is in the journal before it is done, and after.
struct Making<'a> {
    work: &'a Work,
    part: Part<'a>,
    zone: &'a ZoneClients,
    zone_name: &'a str,
    name: &'a str,
}

impl Making<'_> {
    async fn leave(&self, old: u32, why: &str) -> Result<(), Failure> {
        self.work.output.say(format!("  {}: replacing service {} ({why})", self.zone_name, self.name));
        self.noted("service gone", async {
            leave(&self.zone.oneflow, &ServiceId::new(self.zone.oneflow.zone().clone(), old)).await?;
            // An enrolment key belongs to one service.
            self.work.state.forget_enrol_key(self.name);
            Ok(((), old.to_string()))
        })
        .await
    }

    async fn template(&self, change: &Change) -> Result<u32, Failure> {
        let unknown = || {
            let text = format!("zone {}: its templates and networks were not looked up", self.zone_name);
            Failure::new(Exit::Failed, "zone-objects", text)
        };
        let ids = self.work.ids.get(self.zone_name).ok_or_else(unknown)?;
        let body = service_template(&self.work.federation, self.part, ids).map_err(bad_object)?;
        let id = self
            .noted("service template", async {
                let id = match change.id {
                    Some(id) => {
                        let id = template_id(self.zone, id);
                        self.zone.oneflow.update_service_template(&id, &body).await?;
                        id.id
                    }
                    None => self.zone.oneflow.create_service_template(&body).await?.id.id,
                };
                Ok((id, id.to_string()))
            })
            .await?;
        self.work.output.say(format!("  {}: template {} is {id}", self.zone_name, self.name));
        Ok(id)
    }

    async fn service(&self, template: u32, hub: Option<&HubAddress>, detail: &str) -> Result<u32, Failure> {
        let inputs = self.work.inputs(self.part, hub)?;
        let merge = merge_template(&self.work.federation, self.part, &inputs).map_err(bad_object)?;
        let id = self
            .noted("service", async {
                let id = self.zone.oneflow.instantiate(&template_id(self.zone, template), &merge).await?.id;
                Ok((id, id.to_string()))
            })
            .await?;
        self.work.output.say(format!("  {}: service {} is {id}, {detail}", self.zone_name, self.name));
        Ok(id)
    }

    /// Does a step between its two entries in the journal.
    async fn noted<T>(
        &self,
        step: &str,
        done: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failure> {
        let (state, zone) = (&self.work.state, self.zone_name);
        state.journal("begin", zone, step, self.name)?;
        match done.await {
            Ok((value, words)) => {
                state.journal("done", zone, step, &format!("{} {words}", self.name))?;
                Ok(value)
            }
            Err(why) => {
                state.journal("failed", zone, step, &format!("{}: {}", self.name, why.message))?;
                Err(why)
            }
        }
    }
}

/// VM templates are planned but not made yet.
pub(super) fn no_vm_templates() -> Failure {
    let text = "this version cannot make or remove VM templates yet";
    Failure::new(Exit::Configuration, "vm-template", text)
        .hint("name a `template` in [zone.…] whose image has onefed in it")
}

fn bad_object(why: onefed_federation::ObjectError) -> Failure {
    Failure::new(Exit::Failed, "object", why)
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
                ObjectKind::VmTemplate => return Err(no_vm_templates()),
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
