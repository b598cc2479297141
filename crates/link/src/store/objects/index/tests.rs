//! The index against a list that is searched from end to end.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { bytes: 100, objects: 7, reserve_free_bytes: 50, memory: 0, handover: 0, encrypt: false };

#[derive(Clone, Debug)]
enum Step {
    /// An object of so many bytes comes, while the file system has so many free.
    Put(u8, u64, u64),
    Touch(u8),
    Keep(u8),
    Release(u8),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12u8;
    prop_oneof![
        6 => (id.clone(), 0..40u64, prop_oneof![3 => Just(1000), 1 => 0..200u64])
            .prop_map(|(id, bytes, free)| Step::Put(id, bytes, free)),
        2 => id.clone().prop_map(Step::Touch),
        2 => id.clone().prop_map(Step::Keep),
        2 => id.clone().prop_map(Step::Release),
        1 => id.prop_map(Step::Remove),
    ]
}

/// Ids and bytes, the one used longest ago first.
#[derive(Default)]
struct Model {
    there: Vec<(u8, u64)>,
    kept: HashSet<u8>,
}

impl Model {
    fn bytes(&self, kept_only: bool) -> u64 {
        self.there.iter().filter(|(id, _)| !kept_only || self.kept.contains(id)).map(|(_, bytes)| bytes).sum()
    }

    fn put(&mut self, id: u8, bytes: u64, mut free: u64) -> (bool, Vec<u8>) {
        let kept = self.kept.contains(&id);
        let evictable = self.bytes(false) - self.bytes(true);
        if (!kept && self.bytes(true) + bytes > LIMITS.bytes)
            || free + evictable < LIMITS.reserve_free_bytes + bytes
        {
            return (false, Vec::new());
        }
        let mut out = Vec::new();
        while self.bytes(false) + bytes > LIMITS.bytes
            || free < LIMITS.reserve_free_bytes + bytes
            || self.there.len() >= LIMITS.objects
        {
            let Some(n) = self.there.iter().position(|(id, _)| !self.kept.contains(id)) else { break };
            let (id, bytes) = self.there.remove(n);
            free += bytes;
            out.push(id);
        }
        self.there.retain(|(old, _)| *old != id);
        self.there.push((id, bytes));
        (true, out)
    }
}

fn name(id: u8) -> ObjectId {
    ObjectId([id; 32])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_least_used_goes_first_and_kept_ones_never(steps in prop::collection::vec(step(), 1..80)) {
        let (mut index, mut model) = (Index::new(LIMITS), Model::default());
        for step in steps {
            match step {
                Step::Put(id, bytes, free) => {
                    let (admitted, out) = index.admit(name(id), bytes, free);
                    if admitted {
                        index.insert(name(id), Entry::verified(Place::File { serial: 1 }, false, bytes));
                        index.arrived(bytes);
                    }
                    let out: Vec<_> = out.into_iter().map(|(id, _)| id.0[0]).collect();
                    prop_assert_eq!((admitted, out), model.put(id, bytes, free));
                }
                Step::Touch(id) => {
                    index.touch(name(id));
                    if let Some(n) = model.there.iter().position(|(there, _)| *there == id) {
                        let used = model.there.remove(n);
                        model.there.push(used);
                    }
                }
                Step::Keep(id) => {
                    index.keep(name(id));
                    model.kept.insert(id);
                }
                Step::Release(id) => {
                    index.release(name(id));
                    model.kept.remove(&id);
                }
                Step::Remove(id) => {
                    index.remove(name(id));
                    model.there.retain(|(there, _)| *there != id);
                }
            }
            prop_assert_eq!(index.bytes(), model.bytes(false));
            prop_assert_eq!(index.kept_bytes(), model.bytes(true));
            prop_assert_eq!(index.len(), model.there.len());
            prop_assert_eq!(index.order.len(), model.there.iter().filter(|(id, _)| !model.kept.contains(id)).count());
            prop_assert!(model.there.iter().all(|(id, bytes)| index.get(name(*id)).is_some_and(|e| e.bytes == *bytes)));
        }
    }
}

#[test]
fn what_was_accepted_has_more_room_than_what_is_new() {
    let mut index = Index::new(LIMITS);
    assert!(index.room(100));
    assert!(!index.room(99), "twice the reserve is the least for new work");
    index.keep(name(1));
    assert!(index.admit(name(1), 49, 99).0);
    assert!(!index.admit(name(1), 1, 99).0, "what is on its way counts");
    index.arrived(49);
    index.insert(name(1), Entry::verified(Place::File { serial: 1 }, false, 100));
    assert!(!index.room(1000), "all that is allowed is kept");
    assert!(!index.admit(name(2), 1, 1000).0);
    assert!(index.admit(name(1), 1000, 2000).0);
}
