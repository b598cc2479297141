//! The part of a store that blocks: called on threads that may.

mod put;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use ring::digest;

use super::super::disk::{self, Lock, SyncError};
use super::files::Files;
use super::handover::Handover;
use super::index::{Entry, Index, Place};
use super::memory::Memory;
use super::seal::Vault;
use super::segments::{self, Segments};
use super::{Limits, Usage};
use crate::io::Buffer;

/// Objects from this length on have a file each.
pub(super) const LARGE: usize = 64 << 10;
const LARGE_BYTES: u64 = LARGE as u64;

/// So many hours an object stays that nobody uses: a run's last models are not for ever on disks of others.
pub(super) const UNUSED_HOURS: usize = 72;
/// How long an earlier user of the directory may need to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Locks are taken in the order `segments`, `index`, `memory`, `handover`, and none is held while a large object is moved.
pub(super) struct Keeper {
    dir: PathBuf,
    index: Mutex<Index>,
    files: Files,
    segments: Mutex<Segments>,
    memory: Mutex<Memory>,
    handover: Mutex<Handover>,
    vault: Option<Vault>,
    /// Whether new contents are encrypted.
    encrypt: bool,
    /// Whether something may not be on the disk that is not listed as such: what an earlier process wrote.
    sync_all: AtomicBool,
    /// Whether the disk failed to take what the system had accepted for it. Nobody knows what is there then.
    failed: AtomicBool,
    /// Bytes between small objects, as they were known last.
    unused: AtomicU64,
    pub(super) counts: Counts,
    _lock: Lock,
}

#[derive(Default)]
pub(super) struct Counts {
    evictions: AtomicU64,
    damaged: AtomicU64,
}

impl Keeper {
    pub(super) fn open(dir: PathBuf, limits: Limits) -> io::Result<Self> {
        disk::make_private_dir(&dir)?;
        let lock = disk::lock(dir.join("lock"), PATIENCE)?;
        let key = dir.join("key");
        // Without encryption the key is still needed for what was encrypted before.
        let vault = if limits.encrypt || key.exists() { Some(Vault::open(&key)?) } else { None };
        let (files, large) = Files::open(&dir)?;
        let (mut segments, small) = Segments::open(&dir)?;
        let large = large.into_iter().map(|file| {
            let place = Place::File { serial: file.serial };
            (file.written, file.id, Entry::found(place, file.sealed, file.bytes))
        });
        let small = small.into_iter().filter_map(|(written, record)| {
            Some((written, record.id, Entry::found(Place::Slot(record.slot), record.sealed, record.bytes()?)))
        });
        let mut found: Vec<_> = large.chain(small).collect();
        found.sort_by_key(|(written, _, entry)| (*written, entry.place));
        let mut index = Index::new(limits);
        for (_, id, entry) in found {
            match index.insert(id, entry) {
                Some(Entry { place: Place::File { serial }, sealed, .. }) => files.remove(id, serial, sealed),
                Some(Entry { place: Place::Slot(slot), .. }) => segments.forget(slot),
                None => {}
            }
        }
        Ok(Self {
            dir,
            index: Mutex::new(index),
            files,
            segments: Mutex::new(segments),
            memory: Mutex::new(Memory::new(limits.memory)),
            handover: Mutex::new(Handover::new(limits.handover)),
            vault,
            encrypt: limits.encrypt,
            sync_all: AtomicBool::new(true),
            failed: AtomicBool::new(false),
            unused: AtomicU64::new(0),
            counts: Counts::default(),
            _lock: lock,
        })
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        locked(&self.index)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        locked(&self.memory)
    }

    pub(super) fn handover(&self) -> MutexGuard<'_, Handover> {
        locked(&self.handover)
    }

    /// The content of an object that is at hand without a look at the disk.
    pub(super) fn at_hand(&self, id: ObjectId) -> Option<Bytes> {
        let mut index = self.index();
        let content = match index.get(id)?.bytes {
            0..LARGE_BYTES => self.memory().get(id)?,
            _ => self.handover().take(id)?,
        };
        index.touch(id);
        Some(content)
    }

    /// Reads and verifies an object. One that is damaged is removed.
    pub(super) fn get(&self, id: ObjectId) -> Option<Bytes> {
        // It may be moved meanwhile, but hardly twice.
        for _ in 0..3 {
            let entry = self.index().get(id)?;
            let read = self.read(id, entry);
            if let Ok(Some(content)) = read {
                let mut index = self.index();
                index.verified(id);
                index.sketch(id, &content);
                drop(index);
                if content.len() < LARGE {
                    self.memory().insert(id, &content);
                }
                return Some(content.freeze());
            }
            let mut index = self.index();
            if index.get(id).map(|now| now.place) != Some(entry.place) {
                continue;
            }
            match read {
                Err(error) if !says_damaged(&error) => {
                    tracing::warn!(object = %id, %error, "cannot read a stored object now");
                }
                _ => {
                    index.remove(id);
                    drop(index);
                    self.counts.damaged.fetch_add(1, Relaxed);
                    tracing::warn!(object = %id, dir = %self.dir.display(), "a stored object is damaged: removed");
                    self.delete(id, entry);
                }
            }
            return None;
        }
        None
    }

    fn read(&self, id: ObjectId, entry: Entry) -> io::Result<Option<Buffer>> {
        let bytes = usize::try_from(entry.bytes).map_err(io::Error::other)?;
        let content = match (entry.place, entry.sealed, &self.vault) {
            (Place::File { serial }, false, _) => Some(self.files.read(id, serial, bytes)?),
            (Place::File { serial }, true, Some(vault)) => {
                return self.files.unseal(id, serial, bytes, vault);
            }
            (Place::Slot(slot), false, _) => segments::read(&self.dir, slot, id)?.map(Buffer::from),
            (Place::Slot(slot), true, Some(vault)) => {
                let Some(sealed) = segments::read(&self.dir, slot, id)? else { return Ok(None) };
                return vault.unseal(id, bytes, &mut sealed.as_slice());
            }
            (_, true, None) => None,
        };
        Ok(content.filter(|content| sha256(content) == id))
    }

    pub(super) fn remove(&self, id: ObjectId) {
        let entry = self.index().remove(id);
        if let Some(entry) = entry {
            self.delete(id, entry);
        }
    }

    /// One more hour is over: what nobody has used for long is removed, although there would be room.
    pub(super) fn hour(&self) {
        let out = self.index().hour(UNUSED_HOURS);
        if !out.is_empty() {
            tracing::info!(objects = out.len(), dir = %self.dir.display(), "objects that nobody has used for three days are removed");
        }
        out.into_iter().for_each(|(id, entry)| self.delete(id, entry));
    }

    /// Deletes what is no longer in the index.
    fn delete(&self, id: ObjectId, entry: Entry) {
        match entry.place {
            Place::File { serial } => {
                self.handover().take(id);
                self.files.remove(id, serial, entry.sealed);
            }
            Place::Slot(slot) => {
                self.memory().remove(id);
                locked(&self.segments).forget(slot);
            }
        }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.failed.load(Relaxed) {
            let text = format!("{}: the disk did not take what it was given", self.dir.display());
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// Makes all that is stored survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.check()?;
        let segments = locked(&self.segments).take_unsynced();
        let done = if self.sync_all.swap(false, Relaxed) {
            self.files.forget_unsynced();
            disk::sync_file_system(&self.dir)
        } else {
            let synced = segments.iter().try_for_each(|segment| disk::sync_if_there(segment));
            synced.and_then(|()| self.files.sync()).and_then(|written| {
                if written || !segments.is_empty() { disk::sync_dir(&self.dir) } else { Ok(()) }
            })
        };
        done.map_err(|error| self.not_synced(error))
    }

    fn not_synced(&self, error: SyncError) -> io::Error {
        self.sync_all.store(true, Relaxed);
        self.failed.fetch_or(matches!(error, SyncError::Disk(_)), Relaxed);
        error.into()
    }

    /// As if the disk had failed to take something.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        let _ = self.not_synced(SyncError::Disk(io::Error::other("a test")));
    }

    pub(super) fn begin_again(&self) {
        self.index().begin_again();
        self.failed.store(false, Relaxed);
    }

    pub(super) fn begun(&self) {
        self.index().begun();
    }

    pub(super) fn room(&self) -> bool {
        let free = disk::free_bytes(&self.dir).unwrap_or(0);
        !self.failed.load(Relaxed) && self.index().room(free)
    }

    pub(super) fn usage(&self) -> Usage {
        // Somebody may be writing; who asks is not to wait for the disk.
        if let Ok(segments) = self.segments.try_lock() {
            self.unused.store(segments.unused_bytes(), Relaxed);
        }
        let index = self.index();
        Usage {
            bytes: index.bytes(),
            objects: index.len() as u64,
            kept_bytes: index.kept_bytes(),
            unused_bytes: self.unused.load(Relaxed),
            memory_bytes: self.memory().bytes() + self.handover().bytes(),
            evictions: self.counts.evictions.load(Relaxed),
            damaged: self.counts.damaged.load(Relaxed),
        }
    }
}

pub(super) fn sha256(content: &[u8]) -> ObjectId {
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    id
}

/// Whether an error is about what is on the disk, and will be there next time, too.
fn says_damaged(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(EIO)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
