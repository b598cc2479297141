//! The difference against a model of zones: whatever is there, doing what the plan says leads to what is wanted, in any
//! order and however often it is interrupted.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::parse;

const EXAMPLE: &str = include_str!("../../../../examples/three-zones.toml");

/// The example, also with a zone that has an image, a site that has moved, another setting, and a site of another release.
fn federations() -> &'static [Federation] {
    static ALL: std::sync::OnceLock<Vec<Federation>> = std::sync::OnceLock::new();
    ALL.get_or_init(read)
}

fn read() -> Vec<Federation> {
    let install = format!(
        "\n[install]\nonefed = {{ url = \"https://x.example.org/onefed\", sha256 = \"{}\" }}\n",
        "0".repeat(64)
    );
    let moved = EXAMPLE.replace("zone       = \"lisbon\"", "zone = \"madrid\"");
    let image = EXAMPLE.replacen("template = \"onefed\"", "image = \"Debian 12\" #", 2) + &install;
    let other = EXAMPLE.replace("TIME    = 30", "TIME    = 40");
    let older = EXAMPLE.replace("supernodes = 2 ", "flower = \"1.31.0\"\nsupernodes = 2 ");
    [EXAMPLE, &moved, &image, &other, &older].map(|text| parse(text).unwrap()).into()
}

/// What a zone may have of a federation, by indices into the objects that any version of the plan wants.
#[derive(Clone, Debug)]
struct Have {
    zone: usize,
    object: usize,
    from: usize,
    fits: bool,
    state: usize,
}

fn any_world() -> impl Strategy<Value = Vec<Have>> {
    let have = (0usize..4, 0usize..9, 0usize..5, any::<bool>(), 0usize..5)
        .prop_map(|(zone, object, from, fits, state)| Have { zone, object, from, fits, state });
    proptest::collection::vec(have, 0..16)
}

const STATES: [Condition; 5] =
    [Condition::Good, Condition::Busy, Condition::Short, Condition::Failed, Condition::Leaving];

fn zone_name(at: usize) -> ZoneName {
    // The last one is in no plan.
    ZoneName::new(["madrid", "paris", "lisbon", "oslo"][at]).unwrap()
}

fn existing(world: &[Have]) -> Vec<ZoneExisting> {
    let federations = federations();
    let mut zones: BTreeMap<ZoneName, Vec<Existing>> = BTreeMap::new();
    for (id, have) in world.iter().enumerate() {
        let all: Vec<Object> =
            wanted(&federations[have.from]).into_iter().flat_map(|zone| zone.objects).collect();
        let object = &all[have.object % all.len()];
        // A template is always well.
        let state = if object.kind == ObjectKind::Service { STATES[have.state] } else { Condition::Good };
        zones.entry(zone_name(have.zone)).or_default().push(Existing {
            id: Some(u32::try_from(id).unwrap()),
            kind: object.kind,
            name: object.name.clone(),
            digest: if have.fits { object.digest.clone() } else { "0".repeat(16) },
            state,
            trouble: String::new(),
            facts: Facts::default(),
        });
    }
    zones.into_iter().map(|(zone, objects)| ZoneExisting { zone, objects }).collect()
}

/// Does the changes that `does` picks, by their place in the plan. What is leaving leaves meanwhile.
fn apply(
    world: &[ZoneExisting],
    plan: &Plan,
    next: &mut u32,
    does: impl Fn(usize) -> bool,
) -> Vec<ZoneExisting> {
    let mut zones: BTreeMap<ZoneName, Vec<Existing>> =
        world.iter().map(|zone| (zone.zone.clone(), zone.objects.clone())).collect();
    zones.values_mut().for_each(|objects| objects.retain(|object| object.state != Condition::Leaving));
    let mut at = 0;
    for zone in &plan.zones {
        let objects = zones.entry(zone.zone.clone()).or_default();
        for change in &zone.changes {
            at += 1;
            if change.action == Action::Keep || !does(at) {
                continue;
            }
            let mut make = |objects: &mut Vec<Existing>| {
                *next += 1;
                objects.push(Existing {
                    id: Some(*next),
                    kind: change.kind,
                    name: change.name.clone(),
                    digest: change.digest.clone(),
                    state: Condition::Good,
                    trouble: String::new(),
                    facts: Facts::default(),
                });
            };
            let is_it = |object: &Existing| object.kind == change.kind && object.id == change.id;
            match change.action {
                Action::Create => make(objects),
                Action::Replace => {
                    objects.retain(|object| !is_it(object));
                    make(objects);
                }
                Action::Remove => objects.retain(|object| !is_it(object)),
                Action::Change | Action::Repair => {
                    for object in objects.iter_mut().filter(|object| is_it(object)) {
                        object.digest.clone_from(&change.digest);
                        object.state = Condition::Good;
                    }
                }
                Action::Keep => {}
            }
        }
    }
    zones.into_iter().map(|(zone, objects)| ZoneExisting { zone, objects }).collect()
}

proptest! {
    // Each case makes several plans of a whole federation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn doing_what_the_plan_says_ends_in_what_is_wanted(
        world in any_world(), which in 0usize..5, stops in proptest::collection::vec(any::<u64>(), 0..3)
    ) {
        let federation = &federations()[which];
        let mut world = existing(&world);
        let mut next = 1000;
        for stop in stops {
            // Interrupted: some of it was done, some not.
            let plan = diff(federation, &world);
            world = apply(&world, &plan, &mut next, |at| stop >> (at % 64) & 1 == 1);
        }
        let plan = diff(federation, &world);
        world = apply(&world, &plan, &mut next, |_| true);
        let after = diff(federation, &world);
        prop_assert!(after.is_empty(), "{}", after.render());
        // Exactly what is wanted, each once.
        let objects = |zones: Vec<(ZoneName, ObjectKind, String, String)>| {
            let mut all = zones;
            all.sort();
            all
        };
        let have = world.iter().flat_map(|zone| {
            zone.objects.iter().map(|it| (zone.zone.clone(), it.kind, it.name.clone(), it.digest.clone()))
        });
        let want = wanted(federation);
        let want = want.iter().flat_map(|zone| {
            zone.objects.iter().map(|it| (zone.zone.clone(), it.kind, it.name.clone(), it.digest.clone()))
        });
        prop_assert_eq!(objects(have.collect()), objects(want.collect()));
    }

    #[test]
    fn the_same_plan_whatever_order_the_zones_answer_in(world in any_world(), seed: u64, which in 0usize..5) {
        let federation = &federations()[which];
        let world = existing(&world);
        let plan = diff(federation, &world);
        let mut shuffled = world;
        let mut random = seed;
        let mut turn = |length: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(random >> 33).unwrap() % length.max(1)
        };
        let by = turn(shuffled.len());
        shuffled.rotate_left(by);
        for zone in &mut shuffled {
            let by = turn(zone.objects.len());
            zone.objects.rotate_left(by);
            if turn(2) == 1 {
                zone.objects.reverse();
            }
        }
        let other = diff(federation, &shuffled);
        prop_assert_eq!(&plan, &other);
        prop_assert_eq!(plan.render(), other.render());
        prop_assert_eq!(serde_json::to_string(&plan).unwrap(), serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn nothing_is_planned_where_nobody_could_look(world in any_world(), which in 0usize..5, blind in 0usize..4) {
        let federation = &federations()[which];
        let world = existing(&world);
        let zone = zone_name(blind);
        let down = Blind { zone: zone.clone(), code: "zone-unreachable".to_owned(), why: "no answer".to_owned() };
        let plan = diff_seen(federation, &world, &[down.clone(), down]);
        prop_assert!(plan.zones.iter().all(|entry| entry.zone != zone));
        prop_assert_eq!(plan.unseen.len(), 1);
        // All others are as ever.
        let whole = diff(federation, &world);
        let others: Vec<_> = whole.zones.into_iter().filter(|entry| entry.zone != zone).collect();
        prop_assert_eq!(plan.zones, others);
    }
}
