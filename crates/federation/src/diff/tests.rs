use super::*;
use crate::parse;

const EXAMPLE: &str = include_str!("../../../../examples/three-zones.toml");

/// Zones as they are after everything wanted has been made.
fn done(federation: &Federation) -> Vec<ZoneExisting> {
    let mut id = 0;
    let mut existing = |object: &Object| {
        id += 1;
        let Object { kind, name, digest, .. } = object.clone();
        Existing {
            id: Some(id),
            kind,
            name,
            digest,
            state: Condition::Good,
            trouble: String::new(),
            facts: Facts::default(),
        }
    };
    wanted(federation)
        .iter()
        .map(|zone| ZoneExisting {
            zone: zone.zone.clone(),
            objects: zone.objects.iter().map(&mut existing).collect(),
        })
        .collect()
}

#[test]
fn a_new_federation_is_created() {
    let plan = diff(&parse(EXAMPLE).unwrap(), &[]);
    assert!(!plan.is_empty());
    assert!(plan.summary().starts_with("Plan: 6 to create, 0 to change, 0 to remove"));
    insta::assert_snapshot!(plan.render());
}

#[test]
fn what_is_there_is_kept() {
    let federation = parse(EXAMPLE).unwrap();
    let plan = diff(&federation, &done(&federation));
    assert!(plan.is_empty());
    insta::assert_snapshot!(plan.render());
}

#[test]
fn every_kind_of_change() {
    let before = parse(EXAMPLE).unwrap();
    let mut existing = done(&before);
    let after = EXAMPLE
        .replace("name       = \"lisbon\"\nzone       = \"lisbon\"", "name = \"porto\"\nzone = \"madrid\"")
        .replace("\"dedicated\" ", "\"embedded\" ")
        .replace("supernodes = 2 ", "supernodes = { min = 2, max = 10 } ");
    existing[0].objects[1].state = Condition::Failed;
    insta::assert_snapshot!(diff(&parse(&after).unwrap(), &existing).render());
}

#[test]
fn copies_and_leaving_ones() {
    let federation = parse(EXAMPLE).unwrap();
    let mut existing = done(&federation);
    // An older copy with another digest: the one that fits is kept, the copy goes.
    let mut copy = existing[0].objects[1].clone();
    (copy.id, copy.digest) = (Some(0), "0".repeat(16));
    existing[0].objects.insert(0, copy);
    existing[1].objects[1].state = Condition::Leaving;
    existing[2].objects[1].state = Condition::Busy;
    let plan = diff(&federation, &existing);
    insta::assert_snapshot!(plan.render());
    existing.reverse();
    existing.iter_mut().for_each(|zone| zone.objects.reverse());
    assert_eq!(plan, diff(&federation, &existing), "the order of what is there does not matter");
}

#[test]
fn a_plan_is_data_too() {
    let plan = diff(&parse(EXAMPLE).unwrap(), &[]);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["zones"][1]["changes"][1]["action"], "create");
    assert_eq!(json["zones"][1]["changes"][1]["kind"], "service");
    assert_eq!(json["zones"][1]["changes"][0]["kind"], "service-template");
    assert_eq!(json["zones"][1]["changes"][1]["detail"], "2 SuperNodes + 1 gateway");
}
