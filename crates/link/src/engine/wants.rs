//! What the other end wants to have, in the order in which it gets it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use onefed_flower::objects::ObjectId;

use super::Shelf;
use super::frame::Wanted;

/// So many objects may be wanted at once; a model of 16 GiB has 3300 of them.
const MOST: usize = 1 << 20;

/// Objects that are wanted: those that are there, in order, and those that are still to come.
#[derive(Default)]
pub(super) struct Wants {
    ready: VecDeque<ObjectId>,
    later: HashSet<ObjectId>,
    /// With the base that was named last.
    known: HashMap<ObjectId, Option<ObjectId>>,
    /// How many of these have a base.
    based: usize,
    /// All bases that were named, until nothing is wanted that has one.
    bases: BTreeSet<ObjectId>,
}

impl Wants {
    /// Adds an object. One that is wanted already keeps its place.
    pub(super) fn add(&mut self, wanted: Wanted, shelf: &dyn Shelf) {
        let Wanted { id, base } = wanted;
        if self.known.len() >= MOST && !self.known.contains_key(&id) {
            return;
        }
        let known = self.known.insert(id, base);
        self.based -= usize::from(known.flatten().is_some());
        if let Some(base) = base {
            if self.based == 0 {
                self.bases.clear();
            }
            self.based += 1;
            self.bases.insert(base);
        }
        if known.is_some() {
            return;
        }
        if shelf.has(id) {
            self.ready.push_back(id);
        } else {
            self.later.insert(id);
        }
    }

    /// The object has come.
    pub(super) fn arrived(&mut self, id: ObjectId) {
        if self.later.remove(&id) {
            self.ready.push_back(id);
        }
    }

    /// The next object that is there, with the base that it resembles most if that is here, too. It is not wanted any more
    /// then. Should it have gone meanwhile, whoever reads it finds out, and says that it is lost.
    pub(super) fn next(&mut self, shelf: &dyn Shelf) -> Option<Wanted> {
        let id = self.ready.pop_front()?;
        let named = self.known.remove(&id).flatten();
        self.based -= usize::from(named.is_some());
        let base = named.map(|named| shelf.likest(id, &self.bases).unwrap_or(named));
        Some(Wanted { id, base: base.filter(|base| shelf.has(*base)) })
    }

    /// Whether there is an object to send.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many are wanted.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets everything: the connection has ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has everything; the likest is the one whose number differs by 10.
    struct Has;

    impl Shelf for Has {
        fn has(&self, id: ObjectId) -> bool {
            id.0[0] < 100
        }

        fn keep(&self, _: ObjectId) {}

        fn release(&self, _: ObjectId) {}

        fn likest(&self, id: ObjectId, among: &BTreeSet<ObjectId>) -> Option<ObjectId> {
            among.iter().copied().find(|other| other.0[0] + 10 == id.0[0])
        }
    }

    fn id(number: u8) -> ObjectId {
        ObjectId([number; 32])
    }

    fn add(wants: &mut Wants, number: u8, base: Option<u8>) {
        wants.add(Wanted { id: id(number), base: base.map(id) }, &Has);
    }

    fn next(wants: &mut Wants) -> Option<(u8, Option<u8>)> {
        wants.next(&Has).map(|wanted| (wanted.id.0[0], wanted.base.map(|base| base.0[0])))
    }

    #[test]
    fn a_base_is_the_likest_of_all_that_were_named() {
        let mut wants = Wants::default();
        add(&mut wants, 11, Some(2));
        add(&mut wants, 12, Some(3));
        add(&mut wants, 13, Some(1));
        add(&mut wants, 14, Some(3));
        add(&mut wants, 15, None);
        assert_eq!(next(&mut wants), Some((11, Some(1))));
        assert_eq!(next(&mut wants), Some((12, Some(2))));
        // Wanted again as it is.
        add(&mut wants, 13, None);
        assert_eq!(next(&mut wants), Some((13, None)));
        assert_eq!(next(&mut wants), Some((14, Some(3))), "nothing is like it: the one named for it");
        // Nothing with a base is on its way: what was named before is not held for the sender any more.
        add(&mut wants, 21, Some(9));
        add(&mut wants, 22, Some(120));
        assert_eq!(next(&mut wants), Some((15, None)));
        assert_eq!(next(&mut wants), Some((21, Some(9))));
        add(&mut wants, 12, Some(9));
        assert_eq!(next(&mut wants), Some((22, None)), "not here");
        assert_eq!(next(&mut wants), Some((12, Some(9))));
        assert_eq!((next(&mut wants), wants.len()), (None, 0));
    }
}
