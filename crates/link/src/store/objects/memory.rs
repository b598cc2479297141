//! Small contents that are used often, in memory.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

pub(super) struct Memory {
    limit: u64,
    held: HashMap<ObjectId, (Bytes, u64)>,
    /// By when they were used, the one that goes first at the front.
    order: BTreeMap<u64, ObjectId>,
    clock: u64,
    bytes: u64,
    /// The clock at the last sweep.
    swept: u64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, held: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0, swept: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a verified content in. It is copied: it may be a slice of something much larger.
    pub(super) fn insert(&mut self, id: ObjectId, content: &[u8]) {
        self.remove(id);
        let bytes = content.len() as u64;
        if bytes > self.limit {
            return;
        }
        while self.bytes + bytes > self.limit {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = *oldest;
            self.remove(oldest);
        }
        self.clock += 1;
        self.bytes += bytes;
        self.order.insert(self.clock, id);
        self.held.insert(id, (Bytes::copy_from_slice(content), self.clock));
    }

    pub(super) fn get(&mut self, id: ObjectId) -> Option<Bytes> {
        let (content, used) = self.held.get_mut(&id)?;
        self.clock += 1;
        self.order.remove(used);
        self.order.insert(self.clock, id);
        *used = self.clock;
        Some(content.clone())
    }

    pub(super) fn remove(&mut self, id: ObjectId) {
        if let Some((content, used)) = self.held.remove(&id) {
            self.bytes -= content.len() as u64;
            self.order.remove(&used);
        }
    }

    /// Drops what was not used since the last sweep. Returns whether something is left.
    pub(super) fn sweep(&mut self) -> bool {
        let unused: Vec<_> = self.order.range(..=self.swept).map(|(_, id)| *id).collect();
        for id in unused {
            self.remove(id);
        }
        self.swept = self.clock;
        if self.held.is_empty() {
            // An empty map keeps its memory.
            self.held = HashMap::new();
        }
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_goes_first() {
        let mut memory = Memory::new(10);
        let ids = [1, 2, 3].map(|byte| ObjectId([byte; 32]));
        memory.insert(ids[0], b"1234");
        memory.insert(ids[1], b"1234");
        assert!(memory.get(ids[0]).is_some());
        memory.insert(ids[2], b"1234");
        assert_eq!(ids.map(|id| memory.get(id).is_some()), [true, false, true]);
        memory.insert(ids[1], b"longer than all");
        assert_eq!(memory.bytes(), 8);
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let mut memory = Memory::new(10);
        let ids = [1, 2].map(|byte| ObjectId([byte; 32]));
        memory.insert(ids[0], b"1");
        memory.insert(ids[1], b"2");
        assert!(memory.sweep());
        assert!(memory.get(ids[0]).is_some());
        assert!(memory.sweep());
        assert_eq!(ids.map(|id| memory.get(id).is_some()), [true, false]);
        assert!(memory.sweep());
        assert!(!memory.sweep());
        assert_eq!(memory.bytes(), 0);
    }
}
