//! A plan in a file: what was read, what was seen, what would be done. An `apply` of it refuses where any of this has
//! moved since, and says what.

use std::collections::BTreeMap;
use std::path::Path;

use onefed_appliance::files::{Readers, write};
use onefed_federation::{Condition, Existing, Federation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::survey::Survey;
use crate::failure::{Exit, Failure};

/// The version of the file.
const SCHEMA_VERSION: u32 = 1;
/// What kind of file it is.
const KIND: &str = "onefed-plan";

/// A plan as a file holds it. No secret is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPlan {
    schema_version: u32,
    kind: String,
    /// The version of the onefed that made it: another one may want other things of the same plan file.
    onefed: String,
    federation: String,
    /// Digest of what the plan file said.
    plan_file: String,
    /// What each zone had that was seen, by zone.
    observed: BTreeMap<String, Vec<Object>>,
    /// Zones that were not seen.
    unseen: Vec<String>,
    /// What would be done, zone by zone, as `plan --format json` has it.
    zones: Value,
}

/// An object of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Object {
    kind: String,
    name: String,
    id: u32,
    digest: String,
    state: String,
}

impl SavedPlan {
    /// The plan of a survey.
    pub(crate) fn of(federation: &Federation, survey: &Survey) -> Self {
        let observed = survey.existing.iter().map(|zone| {
            let objects = zone.objects.iter().filter_map(Object::of).collect();
            (zone.zone.to_string(), objects)
        });
        Self {
            schema_version: SCHEMA_VERSION,
            kind: KIND.to_owned(),
            onefed: env!("CARGO_PKG_VERSION").to_owned(),
            federation: federation.name.to_string(),
            plan_file: federation.text.digest(),
            observed: observed.collect(),
            unseen: survey.unseen.keys().cloned().collect(),
            zones: json!(survey.plan.zones),
        }
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|why| Failure::file(path, why))?;
        write(path, (text + "\n").as_bytes(), Readers::Owner).map_err(|why| Failure::file(path, why))
    }

    /// Reads one. Anything else is refused by name.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bad = |why: String| {
            let text = format!("{}: {why}", path.display());
            Failure::new(Exit::BadInput, "plan-saved", text)
                .hint("make one with `onefed plan --out FILE`; the plan file itself is named with -f")
        };
        let text = std::fs::read_to_string(path).map_err(|why| bad(why.to_string()))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|why| bad(format!("not a saved plan: {why}")))?;
        if value.get("kind").and_then(Value::as_str) != Some(KIND) {
            return Err(bad("not a saved plan: it is some other JSON document".to_owned()));
        }
        match value.get("schema_version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(SCHEMA_VERSION) => {}
            Some(version) => {
                let made_by = value.get("onefed").and_then(Value::as_str).unwrap_or("another onefed");
                let why = format!(
                    "a saved plan of version {version} (by onefed {made_by}), and this onefed reads version {SCHEMA_VERSION}"
                );
                return Err(bad(why));
            }
            None => return Err(bad("a saved plan without its version".to_owned())),
        }
        serde_json::from_value(value).map_err(|why| bad(format!("a damaged saved plan: {why}")))
    }

    /// Refuses if the plan file, onefed or the world is not as it was; everything that moved is named.
    pub(crate) fn check(&self, federation: &Federation, survey: &Survey) -> Result<(), Failure> {
        let now = Self::of(federation, survey);
        if self.federation != now.federation {
            let text = format!(
                "the saved plan is of federation {}, and the plan file of {}",
                self.federation, now.federation
            );
            return Err(Failure::new(Exit::BadInput, "plan-stale", text)
                .hint("name the plan file it was made from with -f"));
        }
        let mut moved = Vec::new();
        if self.plan_file != now.plan_file {
            moved.push("the plan file says something else".to_owned());
        }
        // What the operator has changed will not change back by waiting; what the world has may.
        let mut exit = if moved.is_empty() { Exit::TryAgain } else { Exit::BadInput };
        if self.onefed != now.onefed {
            moved.push(format!("onefed {} made it, and this is {}", self.onefed, now.onefed));
            exit = Exit::BadInput;
        }
        self.world(&now, &mut moved);
        if moved.is_empty() && self.zones != now.zones {
            moved.push("what it would do is not what follows from what it saw: it was edited".to_owned());
            exit = Exit::BadInput;
        }
        if moved.is_empty() {
            return Ok(());
        }
        let text = format!("the saved plan does not hold any more: {}", moved.join("\n  and: "));
        Err(Failure::new(exit, "plan-stale", text)
            .hint("plan again with `onefed plan --out FILE`, and look at it"))
    }

    /// What the zones had then and have now.
    fn world(&self, now: &Self, moved: &mut Vec<String>) {
        let names: std::collections::BTreeSet<&String> =
            self.observed.keys().chain(now.observed.keys()).chain(&self.unseen).chain(&now.unseen).collect();
        for zone in names {
            match (self.observed.get(zone), now.observed.get(zone)) {
                (Some(before), Some(after)) => objects(zone, before, after, moved),
                (Some(_), None) => moved.push(format!("zone {zone}: it was seen then and is not now")),
                (None, Some(_)) => moved.push(format!("zone {zone}: it was not seen then and is now")),
                (None, None) => {}
            }
        }
    }
}

impl Object {
    fn of(existing: &Existing) -> Option<Self> {
        // On its way to running and running are one: every service comes from the one to the other by itself.
        let state = match existing.state {
            Condition::Good | Condition::Busy => "well",
            Condition::Short => "short",
            Condition::Failed => "failed",
            Condition::Leaving => "leaving",
        };
        let kind = serde_json::to_value(existing.kind).ok()?.as_str()?.to_owned();
        let (name, digest) = (existing.name.clone(), existing.digest.clone());
        Some(Self { kind, name, id: existing.id?, digest, state: state.to_owned() })
    }
}

fn objects(zone: &str, before: &[Object], after: &[Object], moved: &mut Vec<String>) {
    fn key(object: &Object) -> (&str, u32) {
        (&object.kind, object.id)
    }
    for old in before {
        let Object { kind, name, id, .. } = old;
        match after.iter().find(|new| key(new) == key(old)) {
            None => moved.push(format!("zone {zone}: {kind} {name} #{id} is gone")),
            Some(new) if new == old => {}
            Some(new) if new.name != old.name => {
                moved.push(format!("zone {zone}: {kind} {name} #{id} is called {} now", new.name));
            }
            Some(new) if new.digest != old.digest => {
                moved.push(format!("zone {zone}: {kind} {name} #{id} was changed"));
            }
            Some(new) => {
                moved.push(format!(
                    "zone {zone}: {kind} {name} #{id} was {}, and is {}",
                    old.state, new.state
                ));
            }
        }
    }
    for new in after.iter().filter(|new| !before.iter().any(|old| key(old) == key(new))) {
        moved.push(format!("zone {zone}: {} {} #{} is new", new.kind, new.name, new.id));
    }
}
