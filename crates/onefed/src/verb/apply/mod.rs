//! `onefed apply`: makes the zones as the plan file wants them, all at once as far as they need nothing of each other.

mod collide;
mod hub;
mod kept;
mod part;
mod register;
pub(crate) mod remove;
mod report;
mod room;
mod sign;
mod wait;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use onefed_federation::{Action, Condition, Federation, ObjectKind, Part, Plan};
use serde_json::{Value, json};

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;
use crate::state::{Authority, HubAddress, Inventory, State};
use crate::verb::plan::{SavedPlan, Survey};
use crate::verb::step::Steps;
use crate::zone_lock::ZoneLock;
use crate::zones::{self, Zones};
use crate::{plan_file, verb};

use self::hub::Hub;
use self::report::{Outcome, ZoneReport};
use self::room::Room;

/// What an `apply` works with.
struct Work {
    federation: Federation,
    authority: Authority,
    steps: Steps,
    hub: Hub,
    /// Whether the hub's address was said and noted.
    hub_noted: AtomicBool,
    output: Output,
}

/// What the operator has said.
#[derive(Default)]
pub(crate) struct Wish {
    /// Exactly this is to be done.
    pub(crate) saved: Option<SavedPlan>,
    /// Nothing is asked.
    pub(crate) yes: bool,
}

/// What an `apply` has come to.
pub(crate) struct Applied {
    document: Value,
    /// Why not everything is done.
    failure: Option<Failure>,
}

/// Reads the plan file and applies it; with a saved plan, that one or nothing.
pub(crate) async fn run(place: &Place, saved: Option<&Path>, yes: bool, output: Output) -> Done {
    let saved = saved.map(SavedPlan::read).transpose()?;
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let wish = Wish { saved, yes };
    let Applied { mut document, failure } = apply(federation, state, &wish, output).await?;
    if let Some(why) = &failure {
        output.say(why.to_string());
        document["error"] = why.document()["error"].clone();
    }
    output.json(&document);
    Ok(failure.map_or(Exit::Ok, |why| why.exit))
}

impl Applied {
    /// An error unless everything is done.
    pub(crate) fn whole(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Applies a plan. What is there already and fits stays as it is. An error where nothing was done at all.
pub(crate) async fn apply(
    federation: Federation,
    state: State,
    wish: &Wish,
    output: Output,
) -> Result<Applied, Failure> {
    let _lock = state.lock()?;
    let zones = zones::clients(&federation).await?;
    let lock = ZoneLock::take(&federation, &zones, &state, "apply", output).await?;
    let steps = Steps::new(state, lock);
    let (applied, steps) = with_lock(federation, &zones, steps, wish, output).await;
    steps.end().await?;
    applied
}

/// The work, and the lock back, whatever came of it.
async fn with_lock(
    federation: Federation,
    zones: &Zones,
    steps: Steps,
    wish: &Wish,
    output: Output,
) -> (Result<Applied, Failure>, Steps) {
    let started = Instant::now();
    let survey = verb::plan::survey(&federation, zones).await;
    let ready = async {
        prepare(&federation, &survey, wish)?;
        collide::check(&survey.plan, zones).await?;
        agreed(&survey.plan, wish, output)?;
        authority(&federation, &survey, &steps.state, output)
    };
    let authority = match ready.await {
        Ok(authority) => authority,
        Err(why) => return (Err(why), steps),
    };
    let hub = hub::planned(&federation);
    let work =
        Work { federation, authority, steps, hub: Hub::new(hub), hub_noted: AtomicBool::new(false), output };
    let applied = work.all(survey, zones, started).await;
    (applied, work.steps)
}

/// Everything that may stand in the way, before anything is done.
fn prepare(federation: &Federation, survey: &Survey, wish: &Wish) -> Result<(), Failure> {
    if let Some(why) = survey.refusal() {
        return Err(why);
    }
    if let (Some(why), true) = (survey.down(), survey.plan.zones.is_empty()) {
        return Err(why);
    }
    wish.saved.as_ref().map_or(Ok(()), |saved| saved.check(federation, survey))
}

/// Who signs; made, with the operator's certificate, where nothing is deployed yet.
fn authority(
    federation: &Federation,
    survey: &Survey,
    state: &State,
    output: Output,
) -> Result<Authority, Failure> {
    let in_plan: BTreeSet<&str> = federation.zones.iter().map(|zone| zone.name.as_str()).collect();
    for zone in state.used_zones()?.iter().filter(|zone| !in_plan.contains(zone.as_str())) {
        output.say(format!(
            "  warning: zone {zone} is not in the plan file any more, and something of the federation may still be there; put [zone.{zone}] back and run `onefed apply`"
        ));
    }
    if !state.has_authority()?
        && let Some(name) = deployed(survey)
    {
        let text = format!("service {name} is there, and its root CA is not in this state directory");
        return Err(Failure::new(Exit::Configuration, "root-missing", text).hint(
            "put ca.pem and ca.key of this federation there, or name the directory that has them by --state; a new CA would lock all VMs out",
        ));
    }
    let authority = state.authority(federation.name.as_str())?;
    if authority.root().is_ok() {
        state.operator(&authority)?;
    }
    Ok(authority)
}

/// A service of the federation that is there, with its zone.
fn deployed(survey: &Survey) -> Option<String> {
    survey.existing.iter().find_map(|zone| {
        let is = |object: &&onefed_federation::Existing| {
            object.kind == ObjectKind::Service && object.state != Condition::Leaving
        };
        let found = zone.objects.iter().find(is)?;
        Some(format!("{} in zone {}", found.name, zone.zone))
    })
}

/// Asks before anything is replaced or removed: VMs go with what is on their disks, and runs with them.
fn agreed(plan: &Plan, wish: &Wish, output: Output) -> Result<(), Failure> {
    output.say(plan.summary());
    let losing = plan.count(Action::Replace) + plan.count(Action::Remove);
    if losing == 0 || wish.yes {
        return Ok(());
    }
    output.say(plan.render());
    let question =
        format!("type the federation's name ({}) to replace or remove {losing} objects:", plan.federation);
    if verb::confirm::by_name(&question, plan.federation.as_str(), output)? {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "not-confirmed", "nothing was done")
        .hint("add --yes to replace without asking"))
}

impl Work {
    /// All zones at once.
    async fn all(&self, survey: Survey, zones: &Zones, started: Instant) -> Result<Applied, Failure> {
        self.use_zones(&survey)?;
        self.know_hub(&survey)?;
        let rooms = self.rooms(&survey, zones);
        let working = rooms.iter().map(|(room, role)| async move {
            let parts = self.parts_in(&room.name).map(|part| async move {
                (self.federation.object_name(part), part::deploy(self, room, part).await)
            });
            let parts = futures_util::future::join_all(parts).await;
            let (zone, role) = (room.name.clone(), role.clone());
            ZoneReport { zone, role, parts, removed: Vec::new(), left: Vec::new(), unseen: None }
        });
        let mut reports = futures_util::future::join_all(working).await;
        self.remove_unwanted(&rooms, &mut reports).await;
        for unseen in &survey.plan.unseen {
            let Some(why) = survey.unseen.get(unseen.zone.as_str()).cloned() else { continue };
            let zone = unseen.zone.to_string();
            let names = self.parts_in(&zone).map(|part| self.federation.object_name(part)).collect();
            reports.push(ZoneReport::unseen(zone, unseen.role.clone(), names, why));
        }
        self.forget_zones(&reports)?;
        let failure = report::failure(&reports);
        let seconds = started.elapsed().as_secs_f64();
        if failure.is_none() {
            self.output.say(format!("applied in {seconds:.1} s"));
        }
        for line in reports.iter().flat_map(ZoneReport::lines) {
            self.output.say(format!("  {line}"));
        }
        let hub = self.hub.news().hub.map(
            |hub| json!({ "host": hub.host, "fleet_port": hub.fleet_port, "admin_port": hub.admin_port }),
        );
        let document = json!({
            "schema_version": 1,
            "federation": self.federation.name.as_str(),
            "seconds": seconds,
            "created": survey.plan.count(Action::Create),
            "hub": hub,
            "zones": reports.iter().map(ZoneReport::document).collect::<Vec<_>>(),
        });
        Ok(Applied { document, failure })
    }

    /// Zones from now on in use are noted before anything is made in them.
    fn use_zones(&self, survey: &Survey) -> Result<(), Failure> {
        let mut used = self.steps.state.used_zones()?;
        used.extend(survey.plan.zones.iter().map(|zone| zone.zone.to_string()));
        self.steps.state.use_zones(&used)
    }

    /// Zones in which nothing is left, and nothing is wanted.
    fn forget_zones(&self, reports: &[ZoneReport]) -> Result<(), Failure> {
        let mut used = self.steps.state.used_zones()?;
        let empty: BTreeSet<&str> = reports
            .iter()
            .filter(|zone| zone.parts.is_empty() && zone.is_done())
            .map(|zone| zone.zone.as_str())
            .collect();
        used.retain(|zone| !empty.contains(zone.as_str()));
        self.steps.state.use_zones(&used)
    }

    /// Where the hub is, if that is known without looking at its VM; and whether anybody can look.
    fn know_hub(&self, survey: &Survey) -> Result<(), Failure> {
        let zone = self.federation.coordinator.zone.as_str();
        if !survey.is_down(zone) {
            return Ok(());
        }
        if self.hub.news().hub.is_none()
            && let Some(known) = self.steps.state.inventory()?
        {
            self.hub.is_at(hub::at(&self.federation, known.hub.host));
        }
        self.hub.coordinator(hub::Coordinator::Missing);
        Ok(())
    }

    /// Says and notes where the hub is, the first time.
    fn hub_is_at(&self, zone: &str, hub: HubAddress) -> Result<(), Failure> {
        if self.hub_noted.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let state = &self.steps.state;
        let words = format!("{}:{}", hub.host, hub.fleet_port);
        self.output.say(format!("  the hub is at {words}"));
        state.journal("begin", zone, "inventory", &words)?;
        state.save_inventory(&Inventory::new(self.federation.name.as_str(), hub.clone()))?;
        state.journal("done", zone, "inventory", &words)?;
        self.hub.is_at(hub);
        Ok(())
    }

    /// The zones that were seen, with what each is for.
    fn rooms(&self, survey: &Survey, zones: &Zones) -> Vec<(Room, String)> {
        let room = |plan: &onefed_federation::ZonePlan| {
            let zone = self.federation.zone(&plan.zone)?.clone();
            let clients = zones.get(plan.zone.as_str())?.clone();
            let ids = survey.ids.get(plan.zone.as_str()).copied();
            Some((Room::new(zone, clients, plan.changes.clone(), ids), plan.role.clone()))
        };
        survey.plan.zones.iter().filter_map(room).collect()
    }

    fn parts_in(&self, zone: &str) -> impl Iterator<Item = Part<'_>> {
        self.federation.parts().filter(move |part| match part {
            Part::Coordinator => self.federation.coordinator.zone.as_str() == zone,
            Part::Site(name) => self.federation.site(name).is_some_and(|site| site.zone.as_str() == zone),
        })
    }

    /// Removes what the plan does not want any more, zones in parallel. A service that moves to another zone goes when it
    /// is ready there.
    async fn remove_unwanted(&self, rooms: &[(Room, String)], reports: &mut [ZoneReport]) {
        let pending: BTreeSet<String> = {
            let done = |name: &str| {
                reports
                    .iter()
                    .flat_map(|zone| &zone.parts)
                    .any(|(of, outcome)| of == name && matches!(outcome, Outcome::Done { .. }))
            };
            let names = self.federation.parts().map(|part| self.federation.object_name(part));
            names.filter(|name| !done(name)).collect()
        };
        let removing = rooms.iter().zip(reports).map(|((room, _), report)| {
            let pending = &pending;
            async move {
                let removals = match room.removals(self).await {
                    Ok(removals) => removals,
                    Err(why) => return report.left.push(("what the plan does not have".to_owned(), why)),
                };
                for change in removals.iter().filter(|change| !pending.contains(&change.name)) {
                    let Some(id) = change.id else { continue };
                    let what = format!("{} {}", remove::word(change.kind), change.name);
                    self.output.say(format!("  {}: removing {what} ({})", room.name, change.why));
                    match remove::remove(&self.steps, &room.clients, change.kind, &change.name, id).await {
                        Ok(()) => report.removed.push(what),
                        Err(why) => report.left.push((what, why)),
                    }
                }
            }
        });
        futures_util::future::join_all(removing).await;
    }
}
