//! What is stored, where, what is kept, and what goes first when room is needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use onefed_flower::objects::ObjectId;

use super::Limits;
use super::segments::Slot;
use crate::codec::Sketch;

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a file of its own, whose name has this number.
    File { serial: u64 },
    /// In a file with others.
    Slot(Slot),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// Whether what is there is encrypted.
    pub(super) sealed: bool,
    /// Bytes of content, without what encryption adds.
    pub(super) bytes: u64,
    /// Whether the content was verified since the start.
    pub(super) sound: bool,
    /// When it was used last, on the index's own clock.
    used: u64,
}

impl Entry {
    /// Something that was found on disk.
    pub(super) fn found(place: Place, sealed: bool, bytes: u64) -> Self {
        Self { place, sealed, bytes, sound: false, used: 0 }
    }

    /// Something whose content is known to be right.
    pub(super) fn verified(place: Place, sealed: bool, bytes: u64) -> Self {
        Self { sound: true, ..Self::found(place, sealed, bytes) }
    }
}

pub(super) struct Index {
    limits: Limits,
    entries: HashMap<ObjectId, Entry>,
    /// Of those that were looked at since the start.
    sketches: HashMap<ObjectId, Sketch>,
    /// Also objects that are not there (yet).
    kept: HashSet<ObjectId>,
    /// Of these, what an engine kept that is gone, while the next one is being made.
    before: HashSet<ObjectId>,
    /// The entries that are not kept, the one that goes first at the front.
    order: BTreeMap<u64, ObjectId>,
    clock: u64,
    /// What the clock said at the end of each of the last hours.
    hours: VecDeque<u64>,
    bytes: u64,
    kept_bytes: u64,
    /// Admitted, but not there yet.
    coming: u64,
}

impl Index {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            sketches: HashMap::new(),
            kept: HashSet::new(),
            before: HashSet::new(),
            order: BTreeMap::new(),
            clock: 0,
            hours: VecDeque::new(),
            bytes: 0,
            kept_bytes: 0,
            coming: 0,
        }
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<Entry> {
        self.entries.get(&id).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Puts an entry in, as the one used last. Returns the one that it replaces.
    pub(super) fn insert(&mut self, id: ObjectId, entry: Entry) -> Option<Entry> {
        let old = self.remove(id);
        self.clock += 1;
        let entry = Entry { used: self.clock, ..entry };
        self.bytes += entry.bytes;
        if self.kept.contains(&id) {
            self.kept_bytes += entry.bytes;
        } else {
            self.order.insert(entry.used, id);
        }
        self.entries.insert(id, entry);
        old
    }

    /// Takes an entry out; whether it is kept is not forgotten.
    pub(super) fn remove(&mut self, id: ObjectId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.sketches.remove(&id);
        self.bytes -= entry.bytes;
        if self.order.remove(&entry.used).is_none() {
            self.kept_bytes -= entry.bytes;
        }
        Some(entry)
    }

    /// Notes that an object was used.
    pub(super) fn touch(&mut self, id: ObjectId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.clock += 1;
        if self.order.remove(&entry.used).is_some() {
            self.order.insert(self.clock, id);
        }
        entry.used = self.clock;
    }

    /// Notes that an object was read, and its content was right.
    pub(super) fn verified(&mut self, id: ObjectId) {
        self.touch(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.sound = true;
        }
    }

    /// Notes a few bytes of an object that is there.
    pub(super) fn sketch(&mut self, id: ObjectId, content: &[u8]) {
        if self.entries.contains_key(&id)
            && let Some(sketch) = Sketch::of(content)
        {
            self.sketches.insert(id, sketch);
        }
    }

    /// Of these, the object of the same length that resembles another most.
    pub(super) fn likest(&self, id: ObjectId, among: &BTreeSet<ObjectId>) -> Option<ObjectId> {
        let (entry, sketch) = (self.entries.get(&id)?, self.sketches.get(&id)?);
        let like = |other: &ObjectId| {
            let same = self.entries.get(other).is_some_and(|other| other.bytes == entry.bytes);
            let likeness = self.sketches.get(other).filter(|_| same && *other != id)?.likeness(sketch)?;
            Some((likeness, *other))
        };
        among.iter().filter_map(like).max().map(|(_, other)| other)
    }

    /// Notes that an object was copied to another place. `false` if it is no longer where it was.
    pub(super) fn moved(&mut self, id: ObjectId, from: Place, to: Place) -> bool {
        match self.entries.get_mut(&id).filter(|entry| entry.place == from) {
            Some(entry) => {
                entry.place = to;
                true
            }
            None => false,
        }
    }

    pub(super) fn keep(&mut self, id: ObjectId) {
        self.before.remove(&id);
        if !self.kept.insert(id) {
            return;
        }
        if let Some(entry) = self.entries.get(&id) {
            self.order.remove(&entry.used);
            self.kept_bytes += entry.bytes;
        }
    }

    pub(super) fn release(&mut self, id: ObjectId) {
        if !self.kept.remove(&id) {
            return;
        }
        if let Some(entry) = self.entries.get(&id) {
            self.order.insert(entry.used, id);
            self.kept_bytes -= entry.bytes;
        }
    }

    /// What is kept from here on is kept by another engine.
    pub(super) fn begin_again(&mut self) {
        self.before = self.kept.clone();
    }

    /// What only the engine before kept is not kept any more.
    pub(super) fn begun(&mut self) {
        std::mem::take(&mut self.before).into_iter().for_each(|id| self.release(id));
    }

    /// Whether an object of so many bytes may come, and what is to be deleted first. `free` are the bytes that the file
    /// system has. If it may, [`arrived`](Self::arrived) is to be called when it is there, or has failed.
    pub(super) fn admit(&mut self, id: ObjectId, bytes: u64, free: u64) -> (bool, Vec<(ObjectId, Entry)>) {
        let needed = self.kept_bytes + self.coming + bytes;
        let evictable = self.bytes - self.kept_bytes;
        let fits = self.kept.contains(&id) || needed <= self.limits.bytes;
        let least = self.limits.reserve_free_bytes + self.coming + bytes;
        if !fits || free.saturating_add(evictable) < least {
            return (false, Vec::new());
        }
        let over = (self.bytes + self.coming + bytes).saturating_sub(self.limits.bytes);
        let out = self.evict(over.max(least.saturating_sub(free)), self.limits.objects.saturating_sub(1));
        self.coming += bytes;
        (true, out)
    }

    /// Ends what [`admit`](Self::admit) allowed.
    pub(super) fn arrived(&mut self, bytes: u64) {
        self.coming -= bytes;
    }

    /// Takes out what was not used for longest, until so many bytes are free and so few objects are left.
    pub(super) fn evict(&mut self, bytes: u64, objects: usize) -> Vec<(ObjectId, Entry)> {
        let mut out = Vec::new();
        let mut freed = 0;
        while freed < bytes || self.entries.len() > objects {
            let Some((_, id)) = self.order.first_key_value() else { break };
            let id = *id;
            let Some(entry) = self.remove(id) else { break };
            freed += entry.bytes;
            out.push((id, entry));
        }
        out
    }

    /// One more hour is over: takes out what is not kept and was not used in the last so many of them.
    pub(super) fn hour(&mut self, unused: usize) -> Vec<(ObjectId, Entry)> {
        self.hours.push_back(self.clock);
        let mut out = Vec::new();
        if self.hours.len() <= unused {
            return out;
        }
        let since = self.hours.pop_front().unwrap_or_default();
        while let Some((_, id)) = self.order.first_key_value().filter(|(used, _)| **used <= since) {
            let id = *id;
            out.extend(self.remove(id).map(|entry| (id, entry)));
        }
        out
    }

    /// Whether new work may be accepted: it needs more than what was accepted already may use up.
    pub(super) fn room(&self, free: u64) -> bool {
        let evictable = self.bytes - self.kept_bytes;
        let least = self.limits.reserve_free_bytes.saturating_mul(2);
        self.kept_bytes + self.coming < self.limits.bytes && free.saturating_add(evictable) >= least
    }
}

#[cfg(test)]
mod tests;
