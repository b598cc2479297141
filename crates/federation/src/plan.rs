//! A plan: what would be done, zone by zone.

use std::fmt::Write as _;

use onefed_context::FederationName;
use serde::Serialize;

use crate::model::ZoneName;
use crate::objects::{Difference, ObjectKind};

/// What would be done to make the zones as the plan file wants them. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The federation.
    pub federation: FederationName,
    /// One entry for each zone that was seen, the coordinator's first.
    pub zones: Vec<ZonePlan>,
    /// Zones that nobody could look into, the coordinator's first. Nothing is planned there: what they have is not
    /// known.
    pub unseen: Vec<Unseen>,
}

/// A zone that did not say what it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unseen {
    /// The zone.
    pub zone: ZoneName,
    /// What the zone is for, as in [`ZonePlan`].
    pub role: String,
    /// The stable code of the cause, for instance `zone-unreachable`.
    pub code: String,
    /// The cause.
    pub why: String,
}

/// What would be done in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZonePlan {
    /// The zone.
    pub zone: ZoneName,
    /// What the zone is for, for instance "site paris"; "no part of the plan" where only removals are left.
    pub role: String,
    /// In the order in which they would be done.
    pub changes: Vec<Change>,
}

/// What would be done to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub action: Action,
    /// To which kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// Its id in this zone, where it exists already.
    pub id: Option<u32>,
    /// What it is for a reader, for instance "2 SuperNodes + 1 gateway".
    pub detail: String,
    /// Why; empty where nothing is done.
    pub why: String,
    /// What of it is not as the plan wants it, where that is the reason; secrets are never here.
    pub differences: Vec<Difference>,
    /// The digest that the object will have; empty for a removal.
    pub digest: String,
}

/// What to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make it.
    Create,
    /// Change it in place.
    Change,
    /// Give a service the VMs back that it has lost.
    Repair,
    /// Remove it and make it anew.
    Replace,
    /// Remove it.
    Remove,
    /// Leave it as it is.
    Keep,
}

impl Action {
    /// The mark and the word of a line.
    fn words(self) -> (char, &'static str) {
        match self {
            Self::Create => ('+', "create"),
            Self::Change => ('~', "change"),
            Self::Repair => ('~', "repair"),
            Self::Replace => ('!', "replace"),
            Self::Remove => ('-', "remove"),
            Self::Keep => (' ', "keep"),
        }
    }
}

/// A kind in a line.
fn kind_word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::VmTemplate => "VM template",
        ObjectKind::ServiceTemplate => "template",
        ObjectKind::Service => "service",
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes().all(|change| change.action == Action::Keep)
    }

    /// Whether every zone was seen.
    pub fn is_complete(&self) -> bool {
        self.unseen.is_empty()
    }

    /// How many objects this is done to.
    pub fn count(&self, action: Action) -> usize {
        self.changes().filter(|change| change.action == action).count()
    }

    /// Every change, zone by zone.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.zones.iter().flat_map(|zone| &zone.changes)
    }

    /// The plan as text: one block for each zone, then [`Plan::summary`]. The same plan gives the same bytes.
    pub fn render(&self) -> String {
        let names = self.changes().map(|change| change.name.chars().count()).max().unwrap_or_default();
        let kinds = self.changes().map(|change| kind_word(change.kind).len()).max().unwrap_or_default();
        let mut out = String::new();
        for zone in &self.zones {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "zone {} ({})", zone.zone, zone.role);
            for change in zone.changes.iter().filter(|change| change.action != Action::Keep) {
                let (mark, word) = change.action.words();
                let kind = kind_word(change.kind);
                let name = &change.name;
                let _ = write!(out, "  {mark} {word:<7}  {kind:<kinds$}  {name:<names$}  {}", change.detail);
                let _ =
                    if change.why.is_empty() { writeln!(out) } else { writeln!(out, "  ({})", change.why) };
                // A template and its service differ alike; once is enough.
                let again = zone.changes.iter().any(|other| {
                    other.name == change.name
                        && other.kind > change.kind
                        && other.differences == change.differences
                });
                for difference in change.differences.iter().filter(|_| !again) {
                    let _ = writeln!(out, "                 {difference}");
                }
            }
            if zone.changes.iter().all(|change| change.action == Action::Keep) {
                out.push_str("    no changes\n");
            }
            out.push('\n');
        }
        for zone in &self.unseen {
            let _ = writeln!(out, "zone {} ({})\n  ? unknown: {}\n", zone.zone, zone.role, zone.why);
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// One line, `Plan: 6 to create, 0 to change, 0 to remove`; repairs, replacements and zones that were not seen are named where
    /// there are any.
    pub fn summary(&self) -> String {
        let [create, change, remove] =
            [Action::Create, Action::Change, Action::Remove].map(|action| self.count(action));
        let more = |action, word| match self.count(action) {
            0 => String::new(),
            count => format!(", {count} to {word}"),
        };
        let (repair, replace) = (more(Action::Repair, "repair"), more(Action::Replace, "replace"));
        let unseen = match self.unseen.len() {
            0 => String::new(),
            1 => "; 1 zone unknown".to_owned(),
            more => format!("; {more} zones unknown"),
        };
        format!("Plan: {create} to create, {change} to change, {remove} to remove{repair}{replace}{unseen}")
    }
}
