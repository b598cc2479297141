//! One part of the federation, that is one OneFlow template and its service: made, changed or replaced, and waited for.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_context::Secret;
use onefed_federation::{Action, Change, Inputs, Part, merge_template, service_template};
use onefed_opennebula::{ServiceId, ServiceTemplateId};
use onefed_trust::EnrolKey;

use super::hub::{self, Coordinator};
use super::kept;
use super::report::Outcome;
use super::room::{Room, Task};
use super::wait::{self, Awaited};
use super::{Work, remove};
use crate::failure::{Exit, Failure};
use crate::state::HubAddress;

/// How long a zone may keep failing until its part is given up for this run.
const SILENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a part as the plan wants it and waits until it is ready. Never fails as a whole: what came of it is the outcome.
pub(super) async fn deploy(work: &Work, room: &Room, part: Part<'_>) -> Outcome {
    let name = work.federation.object_name(part);
    let making = Making { work, room, part, name: &name };
    let outcome = making.until_done().await;
    if part == Part::Coordinator {
        work.hub.coordinator(match outcome {
            Outcome::Done { .. } => Coordinator::Ready,
            _ => Coordinator::Missing,
        });
    }
    outcome
}

/// A part being made in its zone.
struct Making<'a> {
    work: &'a Work,
    room: &'a Room,
    part: Part<'a>,
    name: &'a str,
}

/// A service that is there.
struct There {
    id: ServiceId,
    key: Option<EnrolKey>,
}

impl Making<'_> {
    /// Tries again what passes: each time from what the zone says then, as a repeated `apply` does.
    async fn until_done(&self) -> Outcome {
        let mut failing: Option<(Instant, Instant)> = None;
        loop {
            let why = match self.attempt().await {
                Ok(outcome) => return outcome,
                Err(why) => why,
            };
            if !why.passes() {
                return Outcome::Failed(why);
            }
            self.room.doubt().await;
            // A failure long after the last one begins anew.
            let (since, last) = failing.unwrap_or((Instant::now(), Instant::now()));
            let since = if last.elapsed() > SILENCE * 2 { Instant::now() } else { since };
            if since.elapsed() > SILENCE {
                return Outcome::Down(why);
            }
            failing = Some((since, Instant::now()));
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self) -> Result<Outcome, Failure> {
        let task = self.room.task(self.work, self.name).await?;
        let hub = match self.part {
            Part::Coordinator => self.work.hub.news().hub,
            // What the VMs of a site dial is fixed when their service is made.
            Part::Site(_) => match self.work.hub.address().await {
                Some(hub) => Some(hub),
                None => {
                    if task.template.action != Action::Keep {
                        self.template(&task.template).await?;
                    }
                    let why = "nobody knows yet where the hub will be".to_owned();
                    return Ok(Outcome::Waiting { service: task.service.id, why });
                }
            },
        };
        let there = self.service(&task, hub.as_ref()).await?;
        let (work, room, part, name) = (self.work, self.room, self.part, self.name);
        wait::until_ready(&Awaited { work, room, part, name, id: &there.id, key: there.key }).await
    }

    /// The service as it should be: kept, or made.
    async fn service(&self, task: &Task, hub: Option<&HubAddress>) -> Result<There, Failure> {
        let (template, service) = (&task.template, &task.service);
        let mut replaced = service.id.map(|old| (old, service.why.clone()));
        let stays = matches!(service.action, Action::Keep | Action::Repair);
        if let Some(old) = service.id.filter(|_| stays) {
            match self.keep(old, hub).await? {
                Kept::Yes(key) => {
                    if service.action == Action::Repair {
                        self.refill(old, &service.why).await?;
                    }
                    if template.action != Action::Keep {
                        self.template(template).await?;
                    }
                    return Ok(There { id: self.id(old), key });
                }
                Kept::No(why) => replaced = Some((old, why)),
                Kept::Gone => replaced = None,
            }
        }
        if let Some((old, why)) = replaced {
            self.leave(old, &why).await?;
        }
        // The template is written again for every new service: the ids in it may be out of date.
        let template = self.template(template).await?;
        let key = self.work.federation.tls.then(EnrolKey::generate).transpose()?;
        let id = self.instantiate(template, hub, key.as_ref(), &service.detail).await?;
        Ok(There { id: self.id(id), key })
    }

    fn id(&self, id: u32) -> ServiceId {
        ServiceId::new(self.room.clients.oneflow.zone().clone(), id)
    }

    /// Whether a service that is as the plan wants it can stay: its VMs must find the hub, and trust its CA.
    async fn keep(&self, id: u32, hub: Option<&HubAddress>) -> Result<Kept, Failure> {
        let clients = &self.room.clients;
        let service = match clients.oneflow.service(&self.id(id)).await {
            Err(why) if why.is_not_found() => return Ok(Kept::Gone),
            other => other?,
        };
        let told = kept::told(&service);
        let own = self.work.authority.fingerprint()?.to_string();
        if let Some(other) = told.ca.filter(|ca| self.work.federation.tls && *ca != own) {
            let text = format!(
                "service {} ({}) trusts the root CA {other}, and the one here is {own}",
                self.name,
                self.id(id)
            );
            return Err(Failure::new(Exit::Configuration, "other-ca", text).hint(
                "name the state directory with that root CA by --state; or remove the federation first",
            ));
        }
        let now = hub.and_then(hub::endpoint).map(|hub| hub.to_string());
        if let (Part::Site(_), Some(dialled), Some(now)) = (self.part, told.hub, now)
            && dialled != now
        {
            return Ok(Kept::No(format!("the hub was at {dialled}, which its VMs still dial")));
        }
        let key = match told.key {
            Some(key) => Some(key),
            None => kept::key_of_a_vm(clients, &service).await?,
        };
        Ok(Kept::Yes(key))
    }

    /// Gives a service the VMs back that it has lost, and leaves those that it has.
    async fn refill(&self, id: u32, why: &str) -> Result<(), Failure> {
        let (zone, oneflow) = (&self.room.name, &self.room.clients.oneflow);
        let service = oneflow.service(&self.id(id)).await?;
        let least = |role: &str| {
            let roles = service.body.get("roles")?.as_array()?;
            let body = roles.iter().find(|body| body.get("name").is_some_and(|name| name == role))?;
            u32::try_from(body.get("min_vms")?.as_u64()?).ok()
        };
        for role in &service.roles {
            let Some(least) = least(&role.name).filter(|least| role.cardinality < *least) else { continue };
            self.work.output.say(format!("  {zone}: repairing service {} ({why})", self.name));
            let scaling = async {
                oneflow.scale(&service.id, &role.name, least).await?;
                Ok(((), format!("{} to {least}", role.name)))
            };
            self.work.steps.step(zone, "service scaled", self.name, scaling).await?;
        }
        Ok(())
    }

    async fn leave(&self, old: u32, why: &str) -> Result<(), Failure> {
        let zone = &self.room.name;
        self.work.output.say(format!("  {zone}: replacing service {} ({why})", self.name));
        let leaving = async {
            remove::leave(&self.room.clients.oneflow, &self.id(old)).await?;
            Ok(((), old.to_string()))
        };
        self.work.steps.step(zone, "service gone", self.name, leaving).await
    }

    async fn template(&self, change: &Change) -> Result<u32, Failure> {
        let (zone, oneflow) = (&self.room.name, &self.room.clients.oneflow);
        let ids = self.room.ids().await?;
        let body = service_template(&self.work.federation, self.part, &ids).map_err(bad_object)?;
        let making = async {
            let id = match change.id {
                Some(id) => {
                    let id = ServiceTemplateId::new(oneflow.zone().clone(), id);
                    oneflow.update_service_template(&id, &body).await?;
                    id.id
                }
                None => oneflow.create_service_template(&body).await?.id.id,
            };
            Ok((id, id.to_string()))
        };
        let id = self.work.steps.step(zone, "service template", self.name, making).await?;
        self.work.output.say(format!("  {zone}: template {} is {id}", self.name));
        Ok(id)
    }

    async fn instantiate(
        &self,
        template: u32,
        hub: Option<&HubAddress>,
        key: Option<&EnrolKey>,
        detail: &str,
    ) -> Result<u32, Failure> {
        let (work, zone, oneflow) = (self.work, &self.room.name, &self.room.clients.oneflow);
        let inputs = Inputs {
            ca_pem_base64: STANDARD.encode(work.authority.cert_pem()),
            ca_fingerprint: work.authority.fingerprint()?.to_string(),
            hub: hub.and_then(hub::endpoint),
            enrol_keys: key
                .map(|key| (self.name.to_owned(), Secret::new(key.expose())))
                .into_iter()
                .collect(),
        };
        let merge = merge_template(&work.federation, self.part, &inputs).map_err(bad_object)?;
        let template = ServiceTemplateId::new(oneflow.zone().clone(), template);
        let making = async {
            let id = oneflow.instantiate(&template, &merge).await?.id;
            Ok((id, id.to_string()))
        };
        let id = work.steps.step(zone, "service", self.name, making).await?;
        work.output.say(format!("  {zone}: service {} is {id}, {detail}", self.name));
        Ok(id)
    }
}

/// What becomes of a service that fits the plan.
enum Kept {
    /// It stays. Its enrolment key, where it has one.
    Yes(Option<EnrolKey>),
    /// It must be made anew, for this reason.
    No(String),
    /// It is not there any more.
    Gone,
}

fn bad_object(why: onefed_federation::ObjectError) -> Failure {
    Failure::new(Exit::Failed, "object", why)
}
