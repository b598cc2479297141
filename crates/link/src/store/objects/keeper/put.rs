//! Storing.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

use super::super::PutError;
use super::super::index::{Entry, Place};
use super::super::segments;
use super::{Keeper, disk, locked, says_damaged, sha256};

/// So much is copied at a time when a segment is given up.
const STEP: usize = 1 << 20;

impl Keeper {
    /// The outcome of a put of an object that is there, if its content was verified since the start: then the new one
    /// need not be looked at.
    pub(in super::super) fn already(&self, id: ObjectId, length: usize) -> Option<Result<(), PutError>> {
        let mut index = self.index();
        let entry = index.get(id).filter(|entry| entry.sound)?;
        if entry.bytes != length as u64 {
            return Some(Err(PutError::WrongHash));
        }
        index.touch(id);
        Some(Ok(()))
    }

    /// Verifies and stores an object in a file of its own.
    pub(in super::super) fn put_large(&self, id: ObjectId, content: &Bytes) -> Result<(), PutError> {
        let free = disk::free_bytes(&self.dir)?;
        self.verify_and_admit(id, content, free)?;
        let vault = self.vault.as_ref().filter(|_| self.encrypt);
        let written = self.evict_if_full(content.len(), || self.files.write(id, content, vault));
        let place = written.map(|serial| Place::File { serial });
        self.arrived(id, content, place)?;
        self.handover().put(id, content);
        Ok(())
    }

    /// Verifies and stores small objects, no two of them the same, by one write.
    pub(in super::super) fn put_small(&self, batch: &[(ObjectId, Bytes)]) -> Vec<Result<(), PutError>> {
        let free = disk::free_bytes(&self.dir).unwrap_or(0);
        let mut outcomes: Vec<_> =
            batch.iter().map(|(id, content)| self.verify_and_admit(*id, content, free)).collect();
        let admitted: Vec<usize> = (0..batch.len()).filter(|n| outcomes[*n].is_ok()).collect();
        if admitted.is_empty() {
            return outcomes;
        }
        let written = self.append(admitted.iter().map(|n| &batch[*n]));
        for (order, n) in admitted.into_iter().enumerate() {
            let (id, content) = &batch[n];
            let place = match &written {
                Ok(slots) => Ok(Place::Slot(slots[order])),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            outcomes[n] = self.arrived(*id, content, place);
            if outcomes[n].is_ok() {
                self.memory().insert(*id, content);
            }
        }
        if let Err(error) = self.compact() {
            // Nobody knows how far it got; what was copied is to be on disk before somebody relies on it.
            self.sync_all.store(true, Relaxed);
            tracing::warn!(dir = %self.dir.display(), %error, "cannot make the store smaller now");
        }
        outcomes
    }

    fn append<'a>(
        &self,
        batch: impl Iterator<Item = &'a (ObjectId, Bytes)>,
    ) -> io::Result<Vec<segments::Slot>> {
        let vault = self.vault.as_ref().filter(|_| self.encrypt);
        let mut records = Vec::new();
        let mut total = 0;
        for (id, content) in batch {
            let stored = match vault {
                None => Cow::Borrowed(&content[..]),
                Some(vault) => {
                    let mut sealed = Vec::new();
                    vault.seal(*id, content, &mut sealed)?;
                    Cow::Owned(sealed)
                }
            };
            total += stored.len();
            records.push((*id, vault.is_some(), stored));
        }
        self.evict_if_full(total, || locked(&self.segments).append(&records))
    }

    fn verify_and_admit(&self, id: ObjectId, content: &Bytes, free: u64) -> Result<(), PutError> {
        if sha256(content) != id {
            return Err(PutError::WrongHash);
        }
        let (admitted, evicted) = self.index().admit(id, content.len() as u64, free);
        self.evicted(evicted);
        if admitted { Ok(()) } else { Err(PutError::NoRoom) }
    }

    /// Ends what was admitted.
    fn arrived(&self, id: ObjectId, content: &Bytes, place: io::Result<Place>) -> Result<(), PutError> {
        let bytes = content.len() as u64;
        let mut index = self.index();
        index.arrived(bytes);
        let place =
            place.map_err(|error| if is_full(&error) { PutError::NoRoom } else { PutError::Io(error) })?;
        let old = index.insert(id, Entry::verified(place, self.encrypt, bytes));
        index.sketch(id, content);
        drop(index);
        if let Some(old) = old {
            self.delete(id, old);
        }
        Ok(())
    }

    /// The file system may have less than it says, a quota for instance. Then older objects make room, once.
    fn evict_if_full<T>(&self, bytes: usize, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if is_full(&error) => {
                let evicted = self.index().evict(2 * bytes as u64, usize::MAX);
                if evicted.is_empty() {
                    return Err(error);
                }
                self.evicted(evicted);
                write()
            }
            done => done,
        }
    }

    fn evicted(&self, evicted: Vec<(ObjectId, Entry)>) {
        self.counts.evictions.fetch_add(evicted.len() as u64, Relaxed);
        for (id, entry) in evicted {
            self.delete(id, entry);
        }
    }

    /// Gives up a segment of which little is used: what is used is copied to the newest one.
    fn compact(&self) -> io::Result<()> {
        let mut segments = locked(&self.segments);
        let Some(number) = segments.sparse() else { return Ok(()) };
        let mut records = segments.records(number)?;
        let index = self.index();
        records.retain(|record| {
            index.get(record.id).is_some_and(|entry| entry.place == Place::Slot(record.slot))
        });
        drop(index);
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (mut step, mut total) = (Vec::new(), 0);
            while let Some(record) = records.next_if(|_| total < STEP) {
                match segments::read(&self.dir, record.slot, record.id) {
                    Ok(Some(stored)) => {
                        total += stored.len();
                        step.push((record, stored));
                    }
                    // Found damaged when it is asked for.
                    Ok(None) => {}
                    Err(error) if says_damaged(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let copies: Vec<_> = step
                .iter()
                .map(|(record, stored)| (record.id, record.sealed, Cow::Borrowed(&stored[..])))
                .collect();
            let slots = segments.append(&copies)?;
            // The old one may have been on the disk already, and somebody may rely on it.
            for path in segments.take_unsynced() {
                disk::sync_if_there(&path).map_err(|error| self.not_synced(error))?;
            }
            for ((record, _), slot) in step.iter().zip(slots) {
                let moved = self.index().moved(record.id, Place::Slot(record.slot), Place::Slot(slot));
                if !moved {
                    segments.forget(slot);
                }
            }
        }
        disk::sync_dir(&self.dir).map_err(|error| self.not_synced(error))?;
        segments.remove(number);
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
