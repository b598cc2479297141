//! A host's disk: the shelf with its objects, and what a crash leaves of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use onefed_link::engine::Shelf;

use crate::rng::Rng;

struct Item {
    content: Bytes,
    synced: bool,
    damaged: bool,
}

#[derive(Default)]
pub struct Disk {
    items: RefCell<BTreeMap<ObjectId, Item>>,
    kept: RefCell<BTreeSet<ObjectId>>,
    pub full: bool,
}

impl Shelf for Disk {
    fn has(&self, id: ObjectId) -> bool {
        self.items.borrow().contains_key(&id)
    }

    fn keep(&self, id: ObjectId) {
        self.kept.borrow_mut().insert(id);
    }

    fn release(&self, id: ObjectId) {
        self.kept.borrow_mut().remove(&id);
    }

    /// Any of them: contents are no numbers here.
    fn likest(&self, id: ObjectId, among: &BTreeSet<ObjectId>) -> Option<ObjectId> {
        let like = |other: &ObjectId| other.0.iter().zip(&id.0).filter(|(one, other)| one == other).count();
        among.iter().copied().filter(|other| like(other) > 0).max_by_key(like)
    }
}

impl Disk {
    /// Whether it is there afterwards.
    pub fn put(&self, id: ObjectId, content: Bytes) -> bool {
        if self.full && !self.has(id) {
            return false;
        }
        let item = Item { content, synced: false, damaged: false };
        self.items.borrow_mut().entry(id).or_insert(item);
        true
    }

    /// The content; a damaged one is noticed by its hash, and dropped.
    pub fn read(&self, id: ObjectId) -> Option<Bytes> {
        let mut items = self.items.borrow_mut();
        if items.get(&id)?.damaged {
            items.remove(&id);
            return None;
        }
        Some(items[&id].content.clone())
    }

    /// Drops some of what nobody keeps. Returns how many.
    pub fn evict(&self, rng: &mut Rng) -> usize {
        let (mut items, kept) = (self.items.borrow_mut(), self.kept.borrow());
        let before = items.len();
        items.retain(|id, _| kept.contains(id) || rng.chance(200));
        before - items.len()
    }

    /// One object of a message goes bad. What comes from SuperNodes is spared: there is no second copy of it.
    pub fn damage(&self, rng: &mut Rng) -> Option<ObjectId> {
        let mut items = self.items.borrow_mut();
        let down = |content: &Bytes| {
            content.starts_with(b"record")
                || content.starts_with(b"message")
                || content.starts_with(b"config")
        };
        let mut of: Vec<_> = items.iter_mut().filter(|(_, item)| down(&item.content)).collect();
        if of.is_empty() {
            return None;
        }
        let at = rng.index(of.len());
        of[at].1.damaged = true;
        Some(*of[at].0)
    }

    pub fn sync(&self) {
        self.items.borrow_mut().values_mut().for_each(|item| item.synced = true);
    }

    /// The process is gone, and with it what it wanted kept; with a power cut, some of what was not synced, too.
    pub fn crash(&self, power: bool, rng: &mut Rng) {
        self.kept.borrow_mut().clear();
        if power {
            self.items.borrow_mut().retain(|_, item| item.synced || rng.chance(500));
        }
    }

    pub fn kept(&self) -> usize {
        self.kept.borrow().len()
    }
}
