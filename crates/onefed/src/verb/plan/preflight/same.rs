//! Two zones of the plan that are one OpenNebula zone. Their objects would be taken for each other's, and removed.

use std::collections::BTreeMap;

use onefed_context::Severity;
use onefed_federation::{Diagnostic, Federation, ObjectKind, Zone};

use super::super::observe::Seen;
use super::Problem;
use super::extra::Extra;

/// Compares every two zones. The same endpoint in other words (a name and its address) is seen by what both answer.
pub(super) fn check(
    federation: &Federation,
    zones: &[(&Zone, Extra)],
    seen: &BTreeMap<String, Seen>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, (zone, extra)) in zones.iter().enumerate() {
        for (other, earlier) in zones.iter().take(at) {
            if !(is_same(earlier, extra) || shares_objects(seen, other, zone)) {
                continue;
            }
            let message = format!(
                "zone {}: it is the same OpenNebula zone as zone {}, and each would remove what the other has",
                zone.name, other.name
            );
            let place = federation.text.place(&["zone", zone.name.as_str(), "endpoint"]);
            let hint = "use one [zone.NAME] for both; several parts of a federation may share a zone";
            let hint = Some(hint.to_owned());
            let diagnostic =
                Diagnostic { code: "zone::same-zone", severity: Severity::Error, message, place, hint };
            problems.push(Problem { zone: zone.name.clone(), diagnostic });
        }
    }
    problems
}

/// One number in one federation. Zones that stand alone all have the number 0 and an endpoint of the same words, so
/// that they tell nothing.
fn is_same(one: &Extra, other: &Extra) -> bool {
    let (Ok(first), Ok(second)) = (&one.pool, &other.pool) else { return false };
    first.len() > 1 && first == second && one.number.is_some() && one.number == other.number
}

/// Both have the same objects of the federation, number by number.
fn shares_objects(seen: &BTreeMap<String, Seen>, one: &Zone, other: &Zone) -> bool {
    let objects = |zone: &Zone| {
        let seen = seen.get(zone.name.as_str())?;
        // VM templates may well be alike in two zones; documents of a part are in one.
        let documents = seen.objects.iter().filter(|it| it.kind != ObjectKind::VmTemplate);
        let keys: Vec<_> = documents.map(|it| (it.kind, it.id, &it.name, &it.digest)).collect();
        (!keys.is_empty()).then_some(keys)
    };
    objects(one).is_some() && objects(one) == objects(other)
}
