//! What the other end wants to have, in the order in which it gets it.

use std::collections::{HashMap, HashSet, VecDeque};

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
}

impl Wants {
    /// Adds an object. One that is wanted already keeps its place.
    pub(super) fn add(&mut self, wanted: Wanted, shelf: &dyn Shelf) {
        let Wanted { id, base } = wanted;
        if let Some(known) = self.known.get_mut(&id) {
            *known = base;
            return;
        }
        if self.known.len() >= MOST {
            return;
        }
        self.known.insert(id, base);
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

    /// The next object that is there, with its base if that is here, too. It is not wanted any more then. Should it have
    /// gone meanwhile, whoever reads it finds out, and says that it is lost.
    pub(super) fn next(&mut self, shelf: &dyn Shelf) -> Option<Wanted> {
        let id = self.ready.pop_front()?;
        let base = self.known.remove(&id).flatten().filter(|base| shelf.has(*base));
        Some(Wanted { id, base })
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
