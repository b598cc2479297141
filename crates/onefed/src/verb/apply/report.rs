//! What an `apply` has come to, zone by zone.

use serde_json::{Value, json};

use crate::failure::{Exit, Failure, join};

/// What came of a part.
pub(super) enum Outcome {
    /// It is there and ready.
    Done { service: u32, vms: usize },
    /// It is made as far as it can be without the coordinator.
    Waiting {
        /// Its service, where there is one.
        service: Option<u32>,
        why: String,
    },
    /// Its zone does not answer (any more).
    Down(Failure),
    /// Somebody has to do something.
    Failed(Failure),
}

/// One zone.
pub(super) struct ZoneReport {
    pub(super) zone: String,
    /// What the zone is for.
    pub(super) role: String,
    /// Its parts by the names of their services.
    pub(super) parts: Vec<(String, Outcome)>,
    /// What was removed, by kind and name.
    pub(super) removed: Vec<String>,
    /// What should have been removed and was not, and why.
    pub(super) left: Vec<(String, Failure)>,
    /// Why nothing was done in it.
    pub(super) unseen: Option<Failure>,
}

impl ZoneReport {
    /// A zone that was not reached, with the services that it should have.
    pub(super) fn unseen(zone: String, role: String, services: Vec<String>, why: Failure) -> Self {
        let parts = services.into_iter().map(|name| (name, Outcome::Down(why.clone()))).collect();
        Self { zone, role, parts, removed: Vec::new(), left: Vec::new(), unseen: Some(why) }
    }

    /// Whether everything is as the plan wants it.
    pub(super) fn is_done(&self) -> bool {
        self.unseen.is_none()
            && self.left.is_empty()
            && self.parts.iter().all(|(_, outcome)| matches!(outcome, Outcome::Done { .. }))
    }

    /// `done`, `waiting`, `down` or `failed`: the worst of its parts.
    fn state(&self) -> &'static str {
        let any = |is: fn(&Outcome) -> bool| self.parts.iter().any(|(_, outcome)| is(outcome));
        let left = |passes| self.left.iter().any(|(_, why)| why.passes() == passes);
        if any(|it| matches!(it, Outcome::Failed(_))) || left(false) {
            "failed"
        } else if self.unseen.is_some() || any(|it| matches!(it, Outcome::Down(_))) || left(true) {
            "down"
        } else if any(|it| matches!(it, Outcome::Waiting { .. })) {
            "waiting"
        } else {
            "done"
        }
    }

    /// The zone in the summary: a line, and one for each thing that is missing.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("zone {} ({}): {}", self.zone, self.role, self.state())];
        for (name, outcome) in &self.parts {
            lines.push(match outcome {
                Outcome::Done { service, vms } => {
                    let s = if *vms == 1 { "" } else { "s" };
                    format!("    service {name} #{service}: {vms} VM{s} ready")
                }
                Outcome::Waiting { service: Some(id), why } => {
                    format!("    service {name} #{id} waits: {why}")
                }
                Outcome::Waiting { service: None, why } => {
                    format!("    missing: service {name}, since {why}")
                }
                Outcome::Down(_) if self.unseen.is_some() => format!("    not known: service {name}"),
                Outcome::Down(_) => format!("    missing: service {name}"),
                Outcome::Failed(why) => format!("    service {name} failed: {}", first_line(&why.message)),
            });
        }
        lines.extend(self.removed.iter().map(|what| format!("    removed: {what}")));
        lines.extend(self.left.iter().map(|(what, _)| format!("    still there: {what}")));
        lines
    }

    pub(super) fn document(&self) -> Value {
        let part = |(name, outcome): &(String, Outcome)| {
            let (state, service, vms, why) = match outcome {
                Outcome::Done { service, vms } => ("done", Some(*service), Some(*vms), None),
                Outcome::Waiting { service, why } => ("waiting", *service, None, Some(why.clone())),
                Outcome::Down(why) => ("down", None, None, Some(why.message.clone())),
                Outcome::Failed(why) => ("failed", None, None, Some(why.message.clone())),
            };
            json!({ "service": name, "id": service, "state": state, "ready_vms": vms, "why": why })
        };
        json!({
            "zone": self.zone,
            "role": self.role,
            "state": self.state(),
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "removed": self.removed,
            "left": self.left.iter().map(|(what, _)| what).collect::<Vec<_>>(),
        })
    }
}

/// Why not everything is done, as one failure: what needs somebody goes before what passes.
pub(super) fn failure(zones: &[ZoneReport]) -> Option<Failure> {
    let (mut failed, mut down) = (Vec::new(), Vec::new());
    for zone in zones {
        let left = zone.left.iter().map(|(_, why)| why);
        let parts =
            zone.parts.iter().filter(|_| zone.unseen.is_none()).filter_map(|(_, outcome)| match outcome {
                Outcome::Failed(why) | Outcome::Down(why) => Some(why),
                _ => None,
            });
        for why in zone.unseen.iter().chain(parts).chain(left).cloned() {
            // A zone that is too busy for half a minute is one that is down.
            if why.passes() {
                down.push(Failure { exit: Exit::Unreachable, ..why })
            } else {
                failed.push(why)
            }
        }
    }
    down.dedup_by(|one, other| one.message == other.message);
    if let Some(last) = down.last_mut() {
        last.hint = Some(
            "the rest is done as far as it can be; run `onefed apply` again when the zone is back".to_owned(),
        );
    }
    join(failed.into_iter().chain(down).collect())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
