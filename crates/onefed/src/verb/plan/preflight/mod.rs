//! Everything that an `apply` would stumble on, found before anything is touched: all problems of all zones at once,
//! each with its code, its zone, the place in the plan file that it is about, and what to do.
//!
//! Rights and quotas are those of the login. Members of oneadmin's group have neither limit, and are not asked.

mod extra;
mod hosts;
mod images;
mod networks;
mod quotas;
mod same;
mod templates;
#[cfg(test)]
mod tests;
mod wants;

use std::collections::BTreeMap;

use onefed_context::Severity;
use onefed_federation::{
    Action, Change, Diagnostic, Federation, ObjectKind, Part, Plan, Zone, ZoneIds, ZoneName, ZonePlan,
};
use serde::Serialize;

use super::observe::Seen;
use crate::failure::{Exit, Failure};
use crate::zones::{ZoneClients, Zones};

use self::extra::Extra;
use self::wants::Wants;

/// A problem of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The zone.
    pub(crate) zone: ZoneName,
    /// What is wrong, and the place in the plan file that it is about.
    #[serde(flatten)]
    pub(crate) diagnostic: Diagnostic,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Report {
    /// Everything that is wrong or doubtful, zone by zone as the plan has them.
    pub(crate) problems: Vec<Problem>,
    /// The ids of what the plan calls by name or id, by zone. Only of zones where all of it was found.
    pub(crate) ids: BTreeMap<String, ZoneIds>,
}

impl Report {
    /// The errors as one failure, with all of their words. `None` where there is none.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let errors: Vec<&Problem> =
            self.problems.iter().filter(|problem| problem.diagnostic.severity == Severity::Error).collect();
        if errors.is_empty() {
            return None;
        }
        let line = |problem: &&Problem| {
            let Diagnostic { message, place, code, .. } = &problem.diagnostic;
            format!("{message} [{code}, line {}]", place.line)
        };
        let message = errors.iter().map(line).collect::<Vec<_>>().join("\n  and: ");
        let mut hints: Vec<&str> = Vec::new();
        for hint in errors.iter().filter_map(|problem| problem.diagnostic.hint.as_deref()) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        let mut failure = Failure::new(Exit::Configuration, "preflight", message).hint(hints.join("; "));
        failure.problems = errors.iter().map(|problem| problem.diagnostic.clone()).collect();
        Some(failure)
    }
}

/// Looks for problems in every zone that was seen, all zones at once. Where nothing is done they are warnings: what is
/// there needs nothing of it. Zones that were seen in part are checked without numbers of VMs, which nobody knows.
pub(crate) async fn check(
    federation: &Federation,
    zones: &Zones,
    plan: &Plan,
    seen: &BTreeMap<String, Seen>,
    partly: &BTreeMap<String, Seen>,
) -> Report {
    let nothing: Vec<ZonePlan> = federation
        .zones
        .iter()
        .map(|zone| ZonePlan { zone: zone.name.clone(), role: String::new(), changes: Vec::new() })
        .collect();
    let asked = federation.zones.iter().zip(&nothing).filter_map(|(zone, nothing)| {
        let name = zone.name.as_str();
        let changes = plan.zones.iter().find(|entry| entry.zone == zone.name);
        let (seen, changes) = match (seen.get(name), partly.get(name)) {
            (Some(seen), _) => (seen, changes?),
            (None, Some(partly)) => (partly, nothing),
            (None, None) => return None,
        };
        let clients = zones.get(name)?;
        Some(async move {
            let extra = Extra::ask(zone, clients, &seen.images).await;
            let mut look = Look { federation, zone, clients, seen, changes, extra, problems: Vec::new() };
            let ids = look.all().await;
            (zone, look.problems, ids, look.extra)
        })
    });
    let mut report = Report::default();
    let mut identities = Vec::new();
    for (zone, mut problems, ids, extra) in futures_util::future::join_all(asked).await {
        // One reference may be used by several roles.
        problems.sort_by_key(order);
        problems.dedup();
        report.problems.append(&mut problems);
        if let Some(ids) = ids {
            report.ids.insert(zone.name.to_string(), ids);
        }
        identities.push((zone, extra));
    }
    report.problems.extend(same::check(federation, &identities, seen));
    for problem in &mut report.problems {
        if stays(federation, plan, &problem.zone) {
            problem.diagnostic.severity = Severity::Warning;
        }
    }
    report
}

/// Whether a zone was seen and nothing is done there. When the coordinator's service is made anew the hub may move, and
/// then the services of all sites are made anew too.
fn stays(federation: &Federation, plan: &Plan, zone: &ZoneName) -> bool {
    let keeps = |change: &Change| change.action == Action::Keep;
    let coordinator = federation.object_name(Part::Coordinator);
    let mut hub = plan.changes().filter(|it| it.kind == ObjectKind::Service && it.name == coordinator);
    let mut here = plan.zones.iter().filter(|entry| &entry.zone == zone).peekable();
    here.peek().is_some() && here.all(|entry| entry.changes.iter().all(keeps)) && hub.all(keeps)
}

/// Errors first, each kind in the order of the file.
fn order(problem: &Problem) -> impl Ord + use<> {
    let it = &problem.diagnostic;
    (it.severity != Severity::Error, it.place, it.code, it.message.clone())
}

/// One zone being looked at.
struct Look<'a> {
    federation: &'a Federation,
    zone: &'a Zone,
    clients: &'a ZoneClients,
    seen: &'a Seen,
    changes: &'a ZonePlan,
    extra: Extra,
    problems: Vec<Problem>,
}

impl Look<'_> {
    /// Everything; the ids, if all was found.
    async fn all(&mut self) -> Option<ZoneIds> {
        self.unasked();
        let wants = Wants::of(self.federation, self.changes, &self.seen.alive);
        let templates = self.templates().await;
        let network = self.network(wants.vms()).await;
        let machines = self.machines(&templates);
        self.images(&machines).await;
        self.quotas(&wants, &machines, network);
        self.hosts().await;
        self.onegate().await;
        Some(ZoneIds {
            superlink_template: templates.superlink.id()?,
            gateway_template: templates.gateway.id()?,
            supernode_template: templates.supernode.id()?,
            network: network?,
        })
    }

    /// Whether this login has rights to everything, and no quota.
    fn is_admin(&self) -> bool {
        self.extra.user.as_ref().is_ok_and(onefed_opennebula::xmlrpc::User::is_admin)
    }

    /// The login's name in messages.
    fn user(&self) -> &str {
        self.extra.user.as_ref().map_or("this login", |user| user.name.as_str())
    }

    fn error(&mut self, code: &'static str, key: &str, message: String, hint: impl Into<String>) {
        self.note(Severity::Error, code, key, message, hint.into());
    }

    fn warning(&mut self, code: &'static str, key: &str, message: String, hint: impl Into<String>) {
        self.note(Severity::Warning, code, key, message, hint.into());
    }

    /// Notes a problem of a key of the zone's table; the table itself where the plan does not have the key.
    fn note(&mut self, severity: Severity, code: &'static str, key: &str, message: String, hint: String) {
        let place = self.federation.text.place(&["zone", self.zone.name.as_str(), key]);
        self.note_at(severity, code, place, message, hint);
    }

    fn note_at(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: onefed_federation::Place,
        message: String,
        hint: String,
    ) {
        let message = format!("zone {}: {message}", self.zone.name);
        let diagnostic = Diagnostic { code, severity, message, place, hint: Some(hint) };
        self.problems.push(Problem { zone: self.zone.name.clone(), diagnostic });
    }

    /// Whether the plan says something at a key of the zone's table.
    fn says(&self, key: &str) -> bool {
        self.federation.text.says(&["zone", self.zone.name.as_str(), key])
    }
}
