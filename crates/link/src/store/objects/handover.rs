//! Large objects that have just been stored, for the one who reads them next: usually at once, and then neither the disk
//! nor a key is needed.

use std::collections::HashMap;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

pub(super) struct Handover {
    limit: u64,
    held: HashMap<ObjectId, (Bytes, u64)>,
    bytes: u64,
    /// Counts the sweeps.
    clock: u64,
}

impl Handover {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, held: HashMap::new(), bytes: 0, clock: 0 }
    }

    /// Takes a verified content in, if there is room. What came first stays: it is read first.
    pub(super) fn put(&mut self, id: ObjectId, content: &Bytes) {
        self.take(id);
        let bytes = content.len() as u64;
        if self.bytes + bytes <= self.limit {
            self.bytes += bytes;
            self.held.insert(id, (content.clone(), self.clock));
        }
    }

    /// Gives a content, once.
    pub(super) fn take(&mut self, id: ObjectId) -> Option<Bytes> {
        let (content, _) = self.held.remove(&id)?;
        self.bytes -= content.len() as u64;
        Some(content)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops what was there at the last sweep already. Returns whether something is left.
    pub(super) fn sweep(&mut self) -> bool {
        let now = self.clock;
        self.held.retain(|_, (_, came)| *came == now);
        self.clock += 1;
        self.bytes = self.held.values().map(|(content, _)| content.len() as u64).sum();
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_given_once_and_nothing_stays_for_long() {
        let mut handover = Handover::new(10);
        let ids = [1, 2, 3].map(|byte| ObjectId([byte; 32]));
        let content = Bytes::from_static(b"1234");
        ids.iter().for_each(|id| handover.put(*id, &content));
        assert_eq!(handover.bytes(), 8, "there was room for a third one");
        assert_eq!(handover.take(ids[0]), Some(content.clone()));
        assert_eq!(handover.take(ids[0]), None);
        assert!(handover.sweep());
        handover.put(ids[2], &content);
        assert!(handover.sweep());
        assert_eq!(ids.map(|id| handover.take(id).is_some()), [false, false, true]);
        assert!(!handover.sweep());
        assert_eq!(handover.bytes(), 0);
    }
}
