//! What is wanted against what is there.

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::model::{Federation, ZoneName};
use crate::objects::{Facts, Object, ObjectKind, ZoneWanted, wanted};
use crate::plan::{Action, Change, Plan, Unseen, ZonePlan};

/// How an existing object is. A template of either kind is always [`Condition::Good`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Running, also with a warning.
    Good,
    /// On its way to running, or scaling.
    Busy,
    /// Running, with fewer VMs than it should have.
    Short,
    /// Failed: it will not run by itself.
    Failed,
    /// Being undeployed.
    Leaving,
}

/// An object of this federation that a zone has, found by its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Existing {
    /// Its id in the zone.
    pub id: Option<u32>,
    /// Which kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The digest in its label.
    pub digest: String,
    /// How it is.
    pub state: Condition,
    /// What is wrong with it, in a few words; empty unless it has failed or is short.
    pub trouble: String,
    /// What it says of itself, to tell what of it has changed.
    #[serde(skip)]
    pub facts: Facts,
}

impl Existing {
    /// Orders the objects of one zone, whatever order the zone names them in.
    pub fn order(&self) -> impl Ord + use<> {
        (self.kind, self.name.clone(), self.id, self.digest.clone())
    }
}

/// What one zone has of this federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneExisting {
    /// The zone.
    pub zone: ZoneName,
    /// Its objects; the order does not matter.
    pub objects: Vec<Existing>,
}

/// A zone that could not be asked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The zone.
    pub zone: ZoneName,
    /// The stable code of the cause.
    pub code: String,
    /// The cause, for people.
    pub why: String,
}

/// The role of a zone that the plan does not use.
const NO_PART: &str = "no part of the plan";

/// Compares. A zone without an entry in `existing` counts as one without objects. A zone with objects that the
/// federation does not use comes last, with removals only.
///
/// The result does not depend on the order of `existing`.
pub fn diff(federation: &Federation, existing: &[ZoneExisting]) -> Plan {
    diff_seen(federation, existing, &[])
}

/// As [`diff`], where some zones did not say what they have. Nothing is planned for those, whatever `existing` says.
///
/// The result depends neither on the order of `existing` nor on that of `blind`.
pub fn diff_seen(federation: &Federation, existing: &[ZoneExisting], blind: &[Blind]) -> Plan {
    let wanted = wanted(federation);
    let mut unseen: Vec<Unseen> = Vec::new();
    for zone in blind {
        let role = wanted.iter().find(|entry| entry.zone == zone.zone).map(|entry| entry.role.clone());
        let role = role.unwrap_or_else(|| NO_PART.to_owned());
        let Blind { zone, code, why } = zone.clone();
        unseen.push(Unseen { zone, role, code, why });
    }
    // In the order of the plan's zones; one of several causes, always the same one.
    let place = |zone: &ZoneName| wanted.iter().position(|entry| &entry.zone == zone).unwrap_or(usize::MAX);
    unseen.sort_by(|one, other| (place(&one.zone), one).cmp(&(place(&other.zone), other)));
    unseen.dedup_by(|later, first| later.zone == first.zone);
    let seen = |zone: &ZoneName| !unseen.iter().any(|unseen| &unseen.zone == zone);
    let found = |zone: &ZoneName| -> Vec<&Existing> {
        existing.iter().filter(|entry| &entry.zone == zone).flat_map(|entry| &entry.objects).collect()
    };
    let mut zones: Vec<_> = wanted
        .iter()
        .filter(|zone| seen(&zone.zone))
        .map(|zone| in_zone(federation, zone, found(&zone.zone)))
        .collect();
    let mut others: Vec<_> = existing.iter().map(|entry| &entry.zone).collect();
    others.retain(|name| seen(name) && !wanted.iter().any(|zone| &zone.zone == *name));
    others.sort();
    others.dedup();
    for zone in others {
        let changes = removals(found(zone), &[]);
        if !changes.is_empty() {
            zones.push(ZonePlan { zone: zone.clone(), role: NO_PART.to_owned(), changes });
        }
    }
    Plan { federation: federation.name.clone(), zones, unseen }
}

fn in_zone(federation: &Federation, wanted: &ZoneWanted, mut found: Vec<&Existing>) -> ZonePlan {
    found.sort_by_key(|object| (object.id, object.digest.clone()));
    let mut changes = Vec::new();
    for object in &wanted.objects {
        let fits = |have: &&Existing| have.kind == object.kind && have.name == object.name;
        let candidates =
            || found.iter().enumerate().filter(|(_, have)| fits(have) && have.state != Condition::Leaving);
        // Of several with one name, the one that fits and is well, then the oldest, is kept.
        let rank = |(_, have): &(usize, &&Existing)| {
            (have.digest != object.digest, have.state == Condition::Failed, have.state == Condition::Short)
        };
        let best = candidates().min_by_key(rank);
        let Some((at, have)) = best.map(|(at, have)| (at, *have)) else {
            let leaving = found.iter().any(fits);
            let why = if leaving { "the old one is being removed" } else { "" };
            changes.push(change(object, Action::Create, None, why));
            continue;
        };
        found.remove(at);
        let action = action(object, have);
        let trouble = match (action, have.trouble.as_str()) {
            (Action::Repair, "") => "it has lost VMs",
            (Action::Replace, "") if have.state == Condition::Failed => "it has failed",
            (_, trouble) => trouble,
        };
        let mut to_do = change(object, action, have.id, trouble);
        if matches!(to_do.action, Action::Change | Action::Replace) && have.digest != object.digest {
            let facts = Facts::wanted(federation, &wanted.zone, object.kind, &object.name);
            to_do.differences = have.facts.differences(&facts);
            if to_do.why.is_empty() {
                to_do.why = changed_by(object, have, &facts, to_do.differences.is_empty());
            }
        }
        changes.push(to_do);
    }
    changes.extend(removals(found, &wanted.objects));
    ZonePlan { zone: wanted.zone.clone(), role: wanted.role.clone(), changes }
}

/// What to do with an object that is there.
fn action(wanted: &Object, have: &Existing) -> Action {
    let fits = have.digest == wanted.digest;
    match (wanted.kind, have.state) {
        (ObjectKind::Service, Condition::Failed) => Action::Replace,
        (ObjectKind::Service, Condition::Short) if fits => Action::Repair,
        _ if fits => Action::Keep,
        // OneFlow fixes the inputs of a service when it is made.
        (ObjectKind::Service, _) => Action::Replace,
        // What runs does not notice; a service that must is replaced by its own digest.
        (ObjectKind::ServiceTemplate | ObjectKind::VmTemplate, _) => Action::Change,
    }
}

/// Who has changed what an object should be. Without a difference that a reader could see, it was onefed itself.
fn changed_by(wanted: &Object, have: &Existing, facts: &Facts, invisible: bool) -> String {
    let (before, now) = (&have.facts.made_by, &facts.made_by);
    if invisible && !before.is_empty() && before != now {
        return format!("onefed {before} made it, and this is {now}");
    }
    match wanted.kind {
        ObjectKind::VmTemplate => "the plan or its start script has changed".to_owned(),
        ObjectKind::ServiceTemplate | ObjectKind::Service => "the plan has changed".to_owned(),
    }
}

/// Everything that is left, services before the templates that they were made from, VM templates last.
fn removals(mut left: Vec<&Existing>, kept: &[Object]) -> Vec<Change> {
    let doubled =
        |have: &Existing| kept.iter().any(|object| object.kind == have.kind && object.name == have.name);
    left.retain(|have| have.state != Condition::Leaving);
    left.sort_by_key(|have| (std::cmp::Reverse(have.kind), have.name.clone(), have.id));
    let remove = |have: &Existing| Change {
        action: Action::Remove,
        kind: have.kind,
        name: have.name.clone(),
        id: have.id,
        detail: have.id.map(|id| format!("#{id}")).unwrap_or_default(),
        why: if doubled(have) { "another one of this name is kept" } else { "the plan does not have it" }
            .to_owned(),
        differences: Vec::new(),
        digest: String::new(),
    };
    left.into_iter().map(remove).collect()
}

fn change(wanted: &Object, action: Action, id: Option<u32>, why: &str) -> Change {
    Change {
        action,
        kind: wanted.kind,
        name: wanted.name.clone(),
        id,
        detail: wanted.detail.clone(),
        why: why.to_owned(),
        differences: Vec::new(),
        digest: wanted.digest.clone(),
    }
}
