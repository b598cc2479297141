//! `onefed destroy`: removes the federation from its zones. Sites first, so that their SuperNodes can say goodbye; the
//! coordinator last.

use onefed_federation::{Federation, Part};
use onefed_opennebula::{ServiceId, ServiceTemplateId};
use serde::Serialize;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::state::State;
use crate::zones::{self, ZoneClients, Zones};
use crate::{plan_file, verb};

/// Shows what would go, asks, and removes it.
pub(crate) async fn run(place: &Place, yes: bool, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let zones = zones::clients(&federation).await?;
    if find(&federation, &zones).await?.is_empty() {
        output.say(format!("nothing of federation {} is deployed", federation.name));
        state.forget_inventory();
        output.json(&document(&federation, &[]));
        return Ok(Exit::Ok);
    }
    // What goes is what is there while nobody else is at work.
    let _lock = state.lock()?;
    let found = find(&federation, &zones).await?;
    for object in &found {
        output.text(format!("  - {}: {} {}", object.zone, object.kind.word(), object.name));
    }
    let question = format!("type the federation's name ({}) to remove all of this:", federation.name);
    if !yes && !verb::confirm::by_name(&question, federation.name.as_str(), output)? {
        output.say("nothing was removed");
        return Ok(Exit::Failed);
    }
    let removed = document(&federation, &found);
    destroy(&federation, &zones, &state, found, output).await?;
    output.json(&removed);
    Ok(Exit::Ok)
}

/// What was removed, as a JSON document.
fn document(federation: &Federation, removed: &[Found]) -> serde_json::Value {
    serde_json::json!({ "schema_version": 1, "federation": federation.name, "removed": removed })
}

/// An object of the federation in a zone.
#[derive(Serialize)]
pub(crate) struct Found {
    zone: String,
    kind: Kind,
    name: String,
    id: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Service,
    Template,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Template => "template",
        }
    }
}

/// Everything of the federation, as the zones tell it.
pub(crate) async fn find(federation: &Federation, zones: &Zones) -> Result<Vec<Found>, Failure> {
    let plan = verb::plan::make(federation, zones).await?;
    let mut found = Vec::new();
    for zone in &plan.zones {
        for change in &zone.changes {
            let Some(id) = change.id else { continue };
            let kind = match change.kind {
                onefed_federation::ObjectKind::Service => Kind::Service,
                onefed_federation::ObjectKind::ServiceTemplate => Kind::Template,
                onefed_federation::ObjectKind::VmTemplate => continue,
            };
            found.push(Found { zone: zone.zone.to_string(), kind, name: change.name.clone(), id });
        }
    }
    Ok(found)
}

/// Removes what was found, in order. The caller holds the lock.
pub(crate) async fn destroy(
    federation: &Federation,
    zones: &Zones,
    state: &State,
    found: Vec<Found>,
    output: Output,
) -> Result<(), Failure> {
    let coordinator = federation.object_name(Part::Coordinator);
    let is_last = |object: &Found| object.name == coordinator;
    let services = |last: bool| {
        found.iter().filter(move |object| object.kind == Kind::Service && is_last(object) == last)
    };
    // Sites in parallel, then the coordinator, then the templates.
    let sites = services(false).map(|object| remove(zones, state, object, output));
    let mut failures: Vec<Failure> =
        futures_util::future::join_all(sites).await.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() {
        let rest = services(true).chain(found.iter().filter(|object| object.kind == Kind::Template));
        for object in rest {
            failures.extend(remove(zones, state, object, output).await.err());
        }
    }
    match join(failures) {
        Some(failure) => Err(failure),
        None => {
            state.forget_inventory();
            Ok(())
        }
    }
}

async fn remove(zones: &Zones, state: &State, object: &Found, output: Output) -> Result<(), Failure> {
    let Some(zone): Option<&ZoneClients> = zones.get(&object.zone) else { return Ok(()) };
    let name = zone.oneflow.zone().clone();
    let what = format!("{} {}", object.kind.word(), object.name);
    state.journal("begin", &object.zone, "removal", &what)?;
    match object.kind {
        Kind::Service => {
            super::apply::leave(&zone.oneflow, &ServiceId::new(name, object.id)).await?;
            state.forget_enrol_key(&object.name);
        }
        Kind::Template => {
            match zone.oneflow.delete_service_template(&ServiceTemplateId::new(name, object.id)).await {
                Err(why) if !why.is_not_found() => return Err(why.into()),
                _ => {}
            }
        }
    }
    state.journal("done", &object.zone, "removal", &what)?;
    output.say(format!("  {}: {what} removed", object.zone));
    Ok(())
}
