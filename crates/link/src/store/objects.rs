//! A store of objects, each named by the SHA-256 of its content.
//!
//! The index is in memory, the contents are on disk. Nothing that is found on disk is trusted: a content is verified
//! when it is read, and one that is damaged is removed and reported as not there.

mod flight;
mod index;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use ring::digest;
use tokio::sync::Semaphore;

use super::disk::{self, Lock, at};
use crate::engine::Shelf;
use flight::{Flights, Seat};
use index::{Entry, Index, Place};

/// How much a store may use. New limits come with a default: write `Limits { bytes, ..Limits::default() }`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of content on disk. Objects that are kept may go beyond, down to `reserve_free_bytes`.
    pub bytes: u64,
    /// Number of objects; each costs about 200 bytes of memory. Objects that are kept may go beyond.
    pub objects: usize,
    /// Bytes of the file system that are left to others.
    pub reserve_free_bytes: u64,
    /// Bytes of memory for small objects that are used often; given back when they are not.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 10 << 30, objects: 20_000, reserve_free_bytes: 512 << 20, memory: 4 << 20 }
    }
}

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The content is not what the name says.
    #[error("the content has another SHA-256 than its name")]
    WrongHash,
    /// The limit is reached, or the disk is full, and nothing can be evicted.
    #[error(
        "no room for the object: all that is stored is needed, and the limit or the disk's free space is used up"
    )]
    NoRoom,
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a store holds, and what happened to it since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the objects on disk.
    pub bytes: u64,
    /// How many they are.
    pub objects: u64,
    /// Bytes of those that are kept.
    pub kept_bytes: u64,
    /// Bytes of content in memory.
    pub memory_bytes: u64,
    /// Objects that were asked for and there.
    pub hits: u64,
    /// Objects that were asked for and not there.
    pub misses: u64,
    /// Objects removed to make room.
    pub evictions: u64,
    /// Objects found damaged.
    pub damaged: u64,
}

/// Reads and writes at a time. More do not make a disk faster, and each has an object in memory.
const JOBS: usize = 4;

/// A handle to a store; clones are the same store.
#[derive(Clone)]
pub struct ObjectStore(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    index: Mutex<Index>,
    flights: Flights,
    jobs: Arc<Semaphore>,
    serial: AtomicU64,
    counts: Counts,
    /// Files written since the last sync.
    unsynced: Mutex<Vec<PathBuf>>,
    syncing: tokio::sync::Mutex<()>,
    _lock: Lock,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    damaged: AtomicU64,
}

impl ObjectStore {
    /// Opens or makes a store. What is there is found again; unfinished files are thrown away. Nothing is evicted before
    /// the first `put`: an engine has the time to say what it keeps.
    ///
    /// # Errors
    /// If the directory cannot be read, or another process uses it.
    pub async fn open(dir: impl Into<PathBuf>, limits: Limits) -> io::Result<Self> {
        let dir = dir.into();
        let inner = blocking(move || Inner::open(dir, limits)).await??;
        Ok(Self(Arc::new(inner)))
    }

    /// Verifies and stores an object. After `Ok` it survives `kill -9`.
    ///
    /// # Errors
    /// [`PutError`]; nothing is stored then.
    pub async fn put(&self, id: ObjectId, content: Bytes) -> Result<(), PutError> {
        if let Some(done) = self.0.already(id, content.len()) {
            return done;
        }
        let seat = self.0.flights.enter(id).await;
        if let Some(done) = self.0.already(id, content.len()) {
            return done;
        }
        let inner = Arc::clone(&self.0);
        self.job(seat, move |seat| {
            inner.put(id, &content)?;
            seat.leave(Some(content));
            Ok(())
        })
        .await?
    }

    /// The content of an object, verified. `None` if it is not there, or damaged.
    pub async fn get(&self, id: ObjectId) -> Option<Bytes> {
        if !self.has(id) {
            self.0.counts.misses.fetch_add(1, Relaxed);
            return None;
        }
        let seat = self.0.flights.enter(id).await;
        let found = match seat.left() {
            Some(content) => Some(content),
            None => {
                let inner = Arc::clone(&self.0);
                let read = move |seat: &mut Seat| {
                    let content = inner.get(id)?;
                    seat.leave(Some(content.clone()));
                    Some(content)
                };
                self.job(seat, read).await.ok().flatten()
            }
        };
        let count = if found.is_some() { &self.0.counts.hits } else { &self.0.counts.misses };
        count.fetch_add(1, Relaxed);
        found
    }

    /// Removes an object, kept or not.
    pub async fn remove(&self, id: ObjectId) {
        let seat = self.0.flights.enter(id).await;
        let inner = Arc::clone(&self.0);
        let removed = self.job(seat, move |seat| {
            seat.leave(None);
            let entry = inner.index().remove(id);
            if let Some(entry) = entry {
                inner.delete(id, entry);
            }
        });
        // The job cannot fail; if the runtime ends meanwhile, so does the store.
        let _ = removed.await;
    }

    /// Makes all that was put before this call survive a power cut.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn sync(&self) -> io::Result<()> {
        let _one = self.0.syncing.lock().await;
        let inner = Arc::clone(&self.0);
        blocking(move || inner.sync()).await?
    }

    /// Whether new work may be accepted. What was accepted already may still be put when this says no.
    pub fn room(&self) -> bool {
        let free = disk::free_bytes(&self.0.dir).unwrap_or(0);
        self.0.index().room(free)
    }

    /// What the store holds.
    pub fn usage(&self) -> Usage {
        let counts = &self.0.counts;
        let index = self.0.index();
        Usage {
            bytes: index.bytes(),
            objects: index.len() as u64,
            kept_bytes: index.kept_bytes(),
            memory_bytes: 0,
            hits: counts.hits.load(Relaxed),
            misses: counts.misses.load(Relaxed),
            evictions: counts.evictions.load(Relaxed),
            damaged: counts.damaged.load(Relaxed),
        }
    }

    /// Runs what blocks. The seat belongs to the job: it is not given up if nobody waits any more.
    async fn job<T: Send + 'static>(
        &self,
        mut seat: Seat,
        run: impl FnOnce(&mut Seat) -> T + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.0.jobs).acquire_owned().await.map_err(io::Error::other)?;
        blocking(move || {
            let _permit = permit;
            run(&mut seat)
        })
        .await
    }
}

impl Shelf for ObjectStore {
    fn has(&self, id: ObjectId) -> bool {
        self.0.index().get(id).is_some()
    }

    fn keep(&self, id: ObjectId) {
        self.0.index().keep(id);
    }

    fn release(&self, id: ObjectId) {
        self.0.index().release(id);
    }
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(run).await.map_err(io::Error::other)
}

fn sha256(content: &[u8]) -> ObjectId {
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    id
}

impl Inner {
    fn open(dir: PathBuf, limits: Limits) -> io::Result<Self> {
        disk::make_private_dir(&dir)?;
        let lock = disk::lock(dir.join("lock"))?;
        let mut found = Vec::new();
        for file in std::fs::read_dir(&dir).map_err(at(&dir))? {
            let file = file.map_err(at(&dir))?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".part") {
                std::fs::remove_file(file.path()).map_err(at(&file.path()))?;
            } else if let Some((id, serial)) = parse_name(&name) {
                let about = file.metadata().map_err(at(&file.path()))?;
                found.push((about.modified()?, serial, id, about.len()));
            }
        }
        found.sort_unstable();
        let mut index = Index::new(limits);
        let mut last = 0;
        for (_, serial, id, bytes) in found {
            last = last.max(serial);
            let old = index.insert(id, Entry::found(Place::File { serial }, bytes));
            if let Some(Entry { place: Place::File { serial }, .. }) = old {
                let _ = std::fs::remove_file(dir.join(name(id, serial)));
            }
        }
        Ok(Self {
            dir,
            index: Mutex::new(index),
            flights: Flights::default(),
            jobs: Arc::new(Semaphore::new(JOBS)),
            serial: AtomicU64::new(last + 1),
            counts: Counts::default(),
            unsynced: Mutex::default(),
            syncing: tokio::sync::Mutex::default(),
            _lock: lock,
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of a put of an object that is there, if its content was verified since the start. Its new content
    /// need not be looked at then.
    fn already(&self, id: ObjectId, length: usize) -> Option<Result<(), PutError>> {
        let mut index = self.index();
        let entry = index.get(id).filter(|entry| entry.sound)?;
        if entry.bytes != length as u64 {
            return Some(Err(PutError::WrongHash));
        }
        index.touch(id);
        Some(Ok(()))
    }

    fn put(&self, id: ObjectId, content: &Bytes) -> Result<(), PutError> {
        if sha256(content) != id {
            return Err(PutError::WrongHash);
        }
        let bytes = content.len() as u64;
        let free = disk::free_bytes(&self.dir)?;
        let (admitted, evicted) = self.index().admit(id, bytes, free);
        for (id, entry) in evicted {
            self.counts.evictions.fetch_add(1, Relaxed);
            self.delete(id, entry);
        }
        if !admitted {
            return Err(PutError::NoRoom);
        }
        let written = self.write(id, content);
        let mut index = self.index();
        index.arrived(bytes);
        let serial = written.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PutError::NoRoom,
            _ => PutError::Io(error),
        })?;
        let old = index.insert(id, Entry::verified(Place::File { serial }, bytes));
        drop(index);
        if let Some(old) = old {
            self.delete(id, old);
        }
        Ok(())
    }

    fn write(&self, id: ObjectId, content: &[u8]) -> io::Result<u64> {
        let serial = self.serial.fetch_add(1, Relaxed);
        let part = self.dir.join(format!("{serial}.part"));
        let path = self.dir.join(name(id, serial));
        let written = disk::open_private(&part)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| std::fs::rename(&part, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&part);
            return Err(at(&part)(error));
        }
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        Ok(serial)
    }

    fn delete(&self, id: ObjectId, entry: Entry) {
        let Place::File { serial } = entry.place;
        let path = self.dir.join(name(id, serial));
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(object = %path.display(), %error, "cannot remove an object");
        }
    }

    fn get(&self, id: ObjectId) -> Option<Bytes> {
        let entry = self.index().get(id)?;
        let Place::File { serial } = entry.place;
        let content = read(&self.dir.join(name(id, serial)), entry.bytes);
        match content {
            Ok(content) if sha256(&content) == id => {
                self.index().verified(id);
                Some(content.into())
            }
            _ => {
                let entry = self.index().remove(id)?;
                self.counts.damaged.fetch_add(1, Relaxed);
                tracing::warn!(object = %id, "a stored object is damaged: removed");
                self.delete(id, entry);
                None
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let paths = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        for path in &paths {
            match File::open(path) {
                Ok(file) => file.sync_data().map_err(at(path))?,
                // Evicted since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(path)(error)),
            }
        }
        if paths.is_empty() { Ok(()) } else { disk::sync_dir(&self.dir) }
    }
}

fn name(id: ObjectId, serial: u64) -> String {
    format!("{id}.{serial}")
}

fn parse_name(name: &str) -> Option<(ObjectId, u64)> {
    let (id, serial) = name.split_once('.')?;
    Some((id.parse().ok()?, serial.parse().ok()?))
}

fn read(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut content = Vec::with_capacity(length);
    File::open(path)?.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests;
