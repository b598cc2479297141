//! How many VMs an `apply` would add to a zone, and how many of them take the place of others.

use std::collections::BTreeMap;

use onefed_context::Role;
use onefed_federation::{Action, Federation, ObjectKind, ZonePlan, machines};

/// VMs that the zone would have more than now, at the time when it has most. By role; never below 0 in sum with what
/// goes first, since a service that is replaced leaves before the new one comes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    by_role: BTreeMap<&'static str, i64>,
}

impl Wants {
    /// From what would be done in the zone, and how many VMs its services have now. Services that are removed leave
    /// last, so their VMs do not make room.
    pub(super) fn of(
        federation: &Federation,
        plan: &ZonePlan,
        alive: &BTreeMap<u32, BTreeMap<String, u32>>,
    ) -> Self {
        let mut wants = Self::default();
        for change in plan.changes.iter().filter(|change| change.kind == ObjectKind::Service) {
            if !matches!(change.action, Action::Create | Action::Repair | Action::Replace) {
                continue;
            }
            let part = federation.parts().find(|part| federation.object_name(*part) == change.name);
            let have = change.id.and_then(|id| alive.get(&id));
            for (role, count) in part.map(|part| machines(federation, part)).unwrap_or_default() {
                let have = have.and_then(|have| have.get(role.as_str())).copied().unwrap_or(0);
                *wants.by_role.entry(role.as_str()).or_default() += i64::from(count.min) - i64::from(have);
            }
            // Roles that a replaced service has and the new one has not.
            for (role, count) in have.into_iter().flatten() {
                let known = [Role::SuperLink, Role::Gateway, Role::SuperNode];
                let Some(role) = known.into_iter().find(|known| known.as_str() == role.as_str()) else {
                    continue;
                };
                let still =
                    part.is_some_and(|part| machines(federation, part).iter().any(|(it, _)| *it == role));
                if !still {
                    *wants.by_role.entry(role.as_str()).or_default() -= i64::from(*count);
                }
            }
        }
        wants
    }

    /// All VMs together.
    pub(super) fn vms(&self) -> i64 {
        self.by_role.values().sum()
    }

    /// The VMs of one role.
    pub(super) fn of_role(&self, role: Role) -> i64 {
        self.by_role.get(role.as_str()).copied().unwrap_or(0)
    }
}
