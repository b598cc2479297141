//! `onefed destroy`: removes the federation from its zones. Sites first, so that their SuperNodes can say goodbye; then
//! the coordinator; then what they were made from.

use std::collections::BTreeSet;

use onefed_federation::{Existing, Federation, ObjectKind, Part};
use serde::Serialize;
use serde_json::json;

use super::apply::remove;
use crate::cli::Place;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::state::State;
use crate::verb::plan::Survey;
use crate::verb::step::Steps;
use crate::zone_lock::{self, ZoneLock};
use crate::zones::{self, Zones};
use crate::{plan_file, verb};

/// Shows what would go, asks, and removes it.
pub(crate) async fn run(place: &Place, yes: bool, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let zones = zones::clients(&federation).await?;
    let Destroyed { removed, left, failure } = destroy(&federation, &zones, &state, yes, output).await?;
    let mut document = json!({
        "schema_version": 1, "federation": federation.name, "removed": removed, "left": left,
    });
    if let Some(why) = &failure {
        output.say(why.to_string());
        document["error"] = why.document()["error"].clone();
    }
    output.json(&document);
    Ok(failure.map_or(Exit::Ok, |why| why.exit))
}

/// What a `destroy` has come to.
pub(crate) struct Destroyed {
    removed: Vec<Found>,
    left: Vec<Found>,
    /// Why not everything is gone.
    failure: Option<Failure>,
}

impl Destroyed {
    /// An error unless everything is gone.
    pub(crate) fn whole(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// An object of the federation in a zone.
#[derive(Clone, Debug, Serialize)]
struct Found {
    zone: String,
    kind: ObjectKind,
    name: String,
    id: Option<u32>,
}

/// The federation as its zones tell it.
struct World {
    found: Vec<Found>,
    /// Zones that did not answer, or are not in the plan file any more, with the failure.
    unknown: Vec<(String, Failure)>,
}

/// Removes everything, with both locks held. An error where nothing was done at all.
pub(crate) async fn destroy(
    federation: &Federation,
    zones: &Zones,
    state: &State,
    yes: bool,
    output: Output,
) -> Result<Destroyed, Failure> {
    let seen = look(federation, zones, state).await?;
    // The last thing that goes is the lock.
    let locked = zone_lock::is_there(federation, zones).await;
    if seen.found.is_empty() && seen.unknown.is_empty() && !locked {
        output.say(format!("nothing of federation {} is deployed", federation.name));
        state.forget_inventory();
        return Ok(Destroyed { removed: Vec::new(), left: Vec::new(), failure: None });
    }
    if seen.found.is_empty() && !locked {
        return Ok(Destroyed { removed: Vec::new(), left: Vec::new(), failure: join(reasons(seen.unknown)) });
    }
    let _lock = state.lock()?;
    let lock = ZoneLock::take(federation, zones, state, "destroy", output).await?;
    let steps = Steps::new(state.clone(), lock);
    let destroyed = with_lock(federation, zones, &steps, yes, output).await;
    steps.end().await?;
    destroyed
}

async fn with_lock(
    federation: &Federation,
    zones: &Zones,
    steps: &Steps,
    yes: bool,
    output: Output,
) -> Result<Destroyed, Failure> {
    // What goes is what is there while nobody else is at work.
    let World { found, unknown } = look(federation, zones, &steps.state).await?;
    for object in &found {
        output.text(format!("  - {}: {} {}", object.zone, remove::word(object.kind), object.name));
    }
    for (_, why) in &unknown {
        output.say(format!("  warning: {}", why.message));
    }
    let question = format!("type the federation's name ({}) to remove all of this:", federation.name);
    if !found.is_empty() && !yes && !verb::confirm::by_name(&question, federation.name.as_str(), output)? {
        let failure = Failure::new(Exit::Failed, "not-confirmed", "nothing was removed");
        return Ok(Destroyed { removed: Vec::new(), left: found, failure: Some(failure) });
    }
    let coordinator = federation.object_name(Part::Coordinator);
    // Sites in parallel, then the coordinator; then templates of services, then those of VMs.
    let stage = |object: &Found| match object.kind {
        ObjectKind::Service if object.name != coordinator => 0,
        ObjectKind::Service => 1,
        ObjectKind::ServiceTemplate => 2,
        ObjectKind::VmTemplate => 3,
    };
    let mut remembered: BTreeSet<String> = unknown.iter().map(|(zone, _)| zone.clone()).collect();
    let (mut removed, mut left, mut failures) = (Vec::new(), Vec::new(), reasons(unknown));
    for now in 0..4 {
        let going = found.iter().filter(|object| stage(object) == now);
        let going = going.map(|object| async move { (object, go(zones, steps, object).await) });
        for (object, answer) in futures_util::future::join_all(going).await {
            match answer {
                Ok(()) => {
                    let (zone, kind, name) = (&object.zone, remove::word(object.kind), &object.name);
                    output.say(format!("  {zone}: {kind} {name} removed"));
                    removed.push(object.clone());
                }
                Err(why) => {
                    left.push(object.clone());
                    let exit = if why.passes() { Exit::Unreachable } else { why.exit };
                    failures.push(Failure { exit, ..why });
                }
            }
        }
    }
    for object in &left {
        output.say(format!("  still there: {}: {} {}", object.zone, remove::word(object.kind), object.name));
    }
    // Zones in which nothing is left are not remembered.
    remembered.extend(left.iter().map(|object| object.zone.clone()));
    steps.state.use_zones(&remembered)?;
    if failures.is_empty() {
        steps.state.forget_inventory();
    }
    let failure = join(failures)
        .map(|why| why.hint("what could be removed is removed; run `onefed destroy` again for the rest"));
    Ok(Destroyed { removed, left, failure })
}

async fn go(zones: &Zones, steps: &Steps, object: &Found) -> Result<(), Failure> {
    let (Some(zone), Some(id)) = (zones.get(&object.zone), object.id) else { return Ok(()) };
    remove::remove(steps, zone, object.kind, &object.name, id).await
}

/// Everything of the federation, as the zones tell it. A zone that does not let this login in is an error: somebody can
/// mend that before anything is removed.
async fn look(federation: &Federation, zones: &Zones, state: &State) -> Result<World, Failure> {
    let survey: Survey = verb::plan::survey(federation, zones).await;
    let refused = survey.unseen.iter().filter(|(zone, _)| !survey.is_down(zone));
    if let Some(why) = join(refused.map(|(_, why)| why.clone()).collect()) {
        return Err(why);
    }
    let down = |(zone, why)| (zone, Failure { exit: Exit::Unreachable, ..why });
    let mut unknown: Vec<(String, Failure)> = survey.unseen.into_iter().map(down).collect();
    let in_plan: BTreeSet<&str> = federation.zones.iter().map(|zone| zone.name.as_str()).collect();
    for zone in state.used_zones()?.iter().filter(|zone| !in_plan.contains(zone.as_str())) {
        let text = format!(
            "zone {zone} is not in the plan file any more, and something of the federation may still be there"
        );
        let why = Failure::new(Exit::Unreachable, "zone-not-in-plan", text)
            .hint(format!("put [zone.{zone}] back into the plan file and run `onefed destroy` again"));
        unknown.push((zone.clone(), why));
    }
    let object = |zone: &str, object: &Existing| Found {
        zone: zone.to_owned(),
        kind: object.kind,
        name: object.name.clone(),
        id: object.id,
    };
    let zones = survey.existing.iter();
    let found = zones.flat_map(|zone| zone.objects.iter().map(|it| object(zone.zone.as_str(), it))).collect();
    Ok(World { found, unknown })
}

fn reasons(unknown: Vec<(String, Failure)>) -> Vec<Failure> {
    unknown.into_iter().map(|(_, why)| why).collect()
}
