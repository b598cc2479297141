//! All zones of a plan looked into at once, and what follows from what they say.

use std::collections::BTreeMap;

use onefed_federation::{Blind, Federation, Plan, ZoneExisting, ZoneIds, diff_seen};

use super::observe::{self, Seen};
use super::preflight::{self, Problem, Report};
use crate::failure::{Exit, Failure, join};
use crate::zones::Zones;

/// What the zones of a plan say, and what would be done.
pub(crate) struct Survey {
    /// What would be done. Nothing is planned in a zone that was not seen.
    pub(crate) plan: Plan,
    /// Why a zone was not seen, by zone: it is down, or does not let this login in, or is not OpenNebula.
    pub(crate) unseen: BTreeMap<String, Failure>,
    /// The ids of what the plan file calls by name or id, by zone. Only of zones where all of it was found.
    pub(crate) ids: BTreeMap<String, ZoneIds>,
    /// What the zones that were seen have, in the order of their names.
    pub(crate) existing: Vec<ZoneExisting>,
    /// What an `apply` would stumble on, of all zones that were seen.
    report: Report,
}

impl Survey {
    /// What stands in the way of an `apply` that reaches some zones: everything but zones that are down, as one failure.
    /// `None` where there is nothing.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        join(self.report.failure().into_iter().chain(self.barred()).collect())
    }

    /// Zones that were not seen for a reason that does not pass by itself, as one failure. `None` where there are none.
    pub(super) fn barred(&self) -> Option<Failure> {
        self.unseen_if(|why| !is_down(why))
    }

    /// Zones that are down for now, as one failure. `None` where there are none.
    pub(crate) fn down(&self) -> Option<Failure> {
        self.unseen_if(is_down)
    }

    /// In the order of the plan.
    fn unseen_if(&self, wanted: impl Fn(&Failure) -> bool) -> Option<Failure> {
        let failures = self.plan.unseen.iter().filter_map(|unseen| self.unseen.get(unseen.zone.as_str()));
        join(failures.filter(|why| wanted(why)).cloned().collect())
    }

    /// Whether a zone is down: not seen, for a reason that may pass without anybody changing anything.
    pub(crate) fn is_down(&self, zone: &str) -> bool {
        self.unseen.get(zone).is_some_and(is_down)
    }

    /// Everything that is wrong or doubtful in the zones that were seen, warnings too.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.report.problems
    }
}

fn is_down(why: &Failure) -> bool {
    matches!(why.exit, Exit::Unreachable | Exit::TryAgain)
}

/// Asks every zone of the plan what it has and whether the plan can be carried out there, all zones at once.
/// Never fails as a whole: what cannot be known is in the survey.
pub(crate) async fn survey(federation: &Federation, zones: &Zones) -> Survey {
    survey_all(federation, zones, Vec::new()).await
}

/// As [`survey`], with zones that could not even be asked, such as those without a login.
pub(super) async fn survey_all(
    federation: &Federation,
    zones: &Zones,
    lacking: Vec<(String, Failure)>,
) -> Survey {
    let Look { plan, seen, partly, unseen, existing } = look(federation, zones, lacking).await;
    let mut report = preflight::check(federation, zones, &plan, &seen, &partly).await;
    let ids = std::mem::take(&mut report.ids);
    Survey { plan, unseen, ids, existing, report }
}

/// As [`survey`], for those who only want to know what is there. All zones that do not answer are named.
pub(crate) async fn make(federation: &Federation, zones: &Zones) -> Result<Plan, Failure> {
    let Look { plan, unseen, .. } = look(federation, zones, Vec::new()).await;
    join(unseen.into_values().collect()).map_or(Ok(plan), Err)
}

/// What all zones said.
struct Look {
    plan: Plan,
    seen: BTreeMap<String, Seen>,
    /// Zones whose OneFlow did not answer, and all else did.
    partly: BTreeMap<String, Seen>,
    existing: Vec<ZoneExisting>,
    unseen: BTreeMap<String, Failure>,
}

async fn look(federation: &Federation, zones: &Zones, lacking: Vec<(String, Failure)>) -> Look {
    let asked = federation.zones.iter().filter_map(|zone| {
        let clients = zones.get(zone.name.as_str())?;
        Some(async move { (zone.name.to_string(), observe::zone(federation, clients).await) })
    });
    let mut unseen: BTreeMap<String, Failure> = lacking.into_iter().collect();
    let (mut seen, mut partly) = (BTreeMap::new(), BTreeMap::new());
    for (zone, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(found) => {
                seen.insert(zone, found);
            }
            Err(blind) => {
                partly.extend(blind.rest.map(|rest| (zone.clone(), *rest)));
                unseen.insert(zone, blind.why.into());
            }
        }
    }
    let (mut existing, mut blind) = (Vec::new(), Vec::new());
    for zone in federation.zones.iter().map(|zone| &zone.name) {
        if let Some(found) = seen.get(zone.as_str()) {
            existing.push(ZoneExisting { zone: zone.clone(), objects: found.objects.clone() });
            continue;
        }
        // Also a zone that the caller did not want to be asked is one that was not seen.
        let (code, why) = match unseen.get(zone.as_str()) {
            Some(why) => (why.code, why.message.as_str()),
            None => ("zone-not-asked", "it was not asked"),
        };
        let why = why.strip_prefix(&format!("zone {zone}: ")).unwrap_or(why).to_owned();
        blind.push(Blind { zone: zone.clone(), code: code.to_owned(), why });
    }
    existing.sort_by(|one, other| one.zone.cmp(&other.zone));
    Look { plan: diff_seen(federation, &existing, &blind), seen, partly, existing, unseen }
}
