//! All zones of a plan looked into at once, and what follows from what they say.

use std::collections::BTreeMap;

use onefed_federation::{Blind, Existing, Federation, Plan, ZoneExisting, ZoneIds, diff_seen};

use super::observe;
use crate::failure::{Exit, Failure, join};
use crate::zone_objects;
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
    problems: Vec<Failure>,
}

impl Survey {
    /// What stands in the way of an `apply` that reaches some zones: everything but zones that are down, as one failure.
    /// `None` where there is nothing.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        let refused = self.unseen.values().filter(|why| !is_down(why));
        join(self.problems.iter().chain(refused).cloned().collect())
    }

    /// Zones that are down for now, as one failure. `None` where there are none.
    pub(crate) fn down(&self) -> Option<Failure> {
        join(self.unseen.values().filter(|why| is_down(why)).cloned().collect())
    }

    /// Whether a zone is down: not seen, for a reason that may pass without anybody changing anything.
    pub(crate) fn is_down(&self, zone: &str) -> bool {
        self.unseen.get(zone).is_some_and(is_down)
    }
}

fn is_down(why: &Failure) -> bool {
    matches!(why.exit, Exit::Unreachable | Exit::TryAgain)
}

/// Asks every zone of the plan what it has and whether the plan can be carried out there, all zones at once.
/// Never fails as a whole: what cannot be known is in the survey.
pub(crate) async fn survey(federation: &Federation, zones: &Zones) -> Survey {
    let (plan, existing, unseen) = look(federation, zones).await;
    let (mut ids, mut problems) = (BTreeMap::new(), Vec::new());
    for (zone, answer) in zone_objects::look_up(federation, zones, &plan).await {
        match answer {
            Ok(found) => {
                ids.insert(zone, found);
            }
            Err(why) => problems.push(why),
        }
    }
    Survey { plan, unseen, ids, existing, problems }
}

/// As [`survey`], for those who only want to know what is there. All zones that do not answer are named.
pub(crate) async fn make(federation: &Federation, zones: &Zones) -> Result<Plan, Failure> {
    let (plan, _, unseen) = look(federation, zones).await;
    join(unseen.into_values().collect()).map_or(Ok(plan), Err)
}

async fn look(
    federation: &Federation,
    zones: &Zones,
) -> (Plan, Vec<ZoneExisting>, BTreeMap<String, Failure>) {
    let asked = federation.zones.iter().filter_map(|zone| {
        let clients = zones.get(zone.name.as_str())?;
        Some(async move { (zone.name.clone(), observe::zone(federation, clients).await) })
    });
    let (mut existing, mut blind, mut unseen) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (zone, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(mut objects) => {
                objects.sort_by_key(Existing::order);
                existing.push(ZoneExisting { zone, objects });
            }
            Err(why) => {
                let why = Failure::from(why);
                let (code, words) = (why.code.to_owned(), why.message.clone());
                unseen.insert(zone.to_string(), why);
                blind.push(Blind { zone, code, why: words });
            }
        }
    }
    existing.sort_by(|one, other| one.zone.cmp(&other.zone));
    (diff_seen(federation, &existing, &blind), existing, unseen)
}
