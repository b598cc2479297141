//! One zone while it is worked in: what it has, what is to be done there, and the VM templates, which all parts of the
//! zone share.

use std::collections::BTreeMap;

use onefed_context::Role;
use onefed_federation::{
    Action, Change, ImageIds, Location, ObjectKind, Reference, Zone, ZoneIds, vm_template,
};
use onefed_opennebula::VmTemplateId;
use tokio::sync::{Mutex, MutexGuard};

use super::Work;
use crate::failure::{Exit, Failure, join};
use crate::verb;
use crate::zones::{ZoneClients, Zones};

/// One zone of the plan that was seen.
pub(super) struct Room {
    pub(super) name: String,
    pub(super) zone: Zone,
    pub(super) clients: ZoneClients,
    seen: Mutex<Seen>,
}

/// What is known of the zone.
pub(super) struct Seen {
    changes: Vec<Change>,
    ids: Option<ZoneIds>,
    /// A call failed, and may have done its work all the same: the zone has to be looked at again.
    stale: bool,
    /// The VM templates are as they should be.
    templates_made: bool,
}

/// What a part has to do.
pub(super) struct Task {
    pub(super) template: Change,
    pub(super) service: Change,
}

impl Room {
    pub(super) fn new(zone: Zone, clients: ZoneClients, changes: Vec<Change>, ids: Option<ZoneIds>) -> Self {
        let seen = Seen { changes, ids, stale: false, templates_made: false };
        Self { name: zone.name.to_string(), zone, clients, seen: Mutex::new(seen) }
    }

    /// A call failed half-way: what it did is found out before anything else is done.
    pub(super) async fn doubt(&self) {
        self.seen.lock().await.stale = true;
    }

    /// What there is to do for the part of this name, after the VM templates are made.
    pub(super) async fn task(&self, work: &Work, name: &str) -> Result<Task, Failure> {
        let mut seen = self.current(work).await?;
        if !seen.templates_made {
            if let Err(why) = self.make_templates(work, &mut seen).await {
                seen.stale = true;
                return Err(why);
            }
            seen.templates_made = true;
        }
        let find = |kind| {
            let wanted = |change: &&Change| {
                change.kind == kind && change.name == name && change.action != Action::Remove
            };
            let missing = || format!("the plan of zone {} does not say what to do with {name}", self.name);
            let found = seen.changes.iter().find(wanted).cloned();
            found.ok_or_else(|| Failure::new(Exit::Failed, "plan", missing()))
        };
        Ok(Task { template: find(ObjectKind::ServiceTemplate)?, service: find(ObjectKind::Service)? })
    }

    /// What is to be removed here.
    pub(super) async fn removals(&self, work: &Work) -> Result<Vec<Change>, Failure> {
        let seen = self.current(work).await?;
        Ok(seen.changes.iter().filter(|change| change.action == Action::Remove).cloned().collect())
    }

    /// The ids of what the plan calls by name here, and of the VM templates that were made.
    pub(super) async fn ids(&self) -> Result<ZoneIds, Failure> {
        let unknown = || {
            let text = format!("zone {}: its templates and networks were not all found", self.name);
            Failure::new(Exit::Configuration, "zone-objects", text)
        };
        self.seen.lock().await.ids.ok_or_else(unknown)
    }

    /// What is known, looked at again if that is in doubt.
    async fn current(&self, work: &Work) -> Result<MutexGuard<'_, Seen>, Failure> {
        let mut seen = self.seen.lock().await;
        if seen.stale {
            let only = Zones::from([(self.name.clone(), self.clients.clone())]);
            let survey = verb::plan::survey(&work.federation, &only).await;
            let failures = survey.refusal().into_iter().chain(survey.down()).collect();
            if let Some(why) = join(failures) {
                return Err(why);
            }
            let here = survey.plan.zones.into_iter().find(|plan| plan.zone == self.zone.name);
            seen.changes = here.map(|plan| plan.changes).unwrap_or_default();
            seen.ids = survey.ids.get(&self.name).copied();
            seen.templates_made = false;
            seen.stale = false;
        }
        Ok(seen)
    }

    async fn make_templates(&self, work: &Work, seen: &mut Seen) -> Result<(), Failure> {
        let wanted: Vec<Change> = seen
            .changes
            .iter()
            .filter(|change| change.kind == ObjectKind::VmTemplate && change.action != Action::Remove)
            .cloned()
            .collect();
        let mut made = BTreeMap::new();
        for change in wanted {
            let Some(role) = work.federation.vm_template_role(&change.name) else { continue };
            let id = match (change.action, change.id) {
                (Action::Keep, Some(id)) => id,
                _ => self.make_template(work, role, &change).await?,
            };
            made.insert(role, id);
        }
        if let Some(ids) = &mut seen.ids {
            for (role, id) in made {
                match role {
                    Role::SuperLink => ids.superlink_template = id,
                    Role::Gateway => ids.gateway_template = id,
                    Role::SuperNode => ids.supernode_template = id,
                }
            }
        }
        Ok(())
    }

    async fn make_template(&self, work: &Work, role: Role, change: &Change) -> Result<u32, Failure> {
        let images = self.images(work).await?;
        let text = vm_template(&work.federation, &self.zone, role, &images)
            .map_err(|why| Failure::new(Exit::Failed, "object", why))?;
        let client = &self.clients.xmlrpc;
        let making = async {
            let id = match change.id {
                Some(id) => {
                    let id = VmTemplateId::new(client.zone().clone(), id);
                    client.template_update(&id, &text, false).await?;
                    id
                }
                None => client.template_allocate(&text).await.map_err(name_taken)?,
            };
            Ok((id.id, id.id.to_string()))
        };
        let id = work.steps.step(&self.name, "VM template", &change.name, making).await?;
        work.output.say(format!("  {}: VM template {} is {id}", self.name, change.name));
        Ok(id)
    }

    /// The images that VM templates of this zone name.
    async fn images(&self, work: &Work) -> Result<ImageIds, Failure> {
        let images = self.clients.xmlrpc.images().await?;
        let missing = |what: &str| {
            let text = format!("zone {}: there is no image {what} that this login may use", self.name);
            Failure::new(Exit::Configuration, "zone-objects", text)
        };
        let system = match self.zone.machine.as_ref().map(|machine| &machine.image) {
            Some(Reference::Id(id)) => *id,
            Some(Reference::Name(name)) => {
                let found = images.iter().find(|image| &image.name == name);
                found.ok_or_else(|| missing(name))?.id.id
            }
            None => 0,
        };
        let mut ids = ImageIds { system, files: BTreeMap::new() };
        let sources = work.federation.install.iter().flat_map(|install| install.sources());
        for (_, source) in sources {
            if let Location::File(name) = &source.at {
                let found = images.iter().find(|image| &image.name == name).ok_or_else(|| missing(name))?;
                ids.files.insert(name.clone(), found.id.id);
            }
        }
        Ok(ids)
    }
}

/// The name is taken by what was not there when the zone was looked at. If it is ours, a second look shows it.
fn name_taken(why: onefed_opennebula::Error) -> Failure {
    if why.is_name_taken() {
        return Failure::new(Exit::TryAgain, "zone-busy", why);
    }
    why.into()
}
