//! A store of objects, each named by the SHA-256 of its content.
//!
//! The index is in memory, the contents are on disk: large ones in a file each, small ones many to a file. Nothing that
//! is found on disk is trusted: a content is verified when it is read, and one that is damaged is removed and reported as
//! not there. What can be known of the files is in the file names and headers, so that a start reads no contents.

mod files;
mod flight;
mod handover;
mod index;
mod keeper;
mod memory;
mod queue;
mod seal;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use tokio::sync::{Semaphore, oneshot};

use crate::engine::Shelf;
use flight::{Flights, Seat};
use keeper::{Keeper, LARGE};
use queue::{Queue, Waiting};

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
    /// Bytes of memory for large objects between being stored and being read for the first time, which is free of the
    /// disk then; given back after a second or two.
    pub handover: u64,
    /// Whether contents are encrypted (AES-256-GCM) with a key in the store's directory.
    pub encrypt: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 10 << 30,
            objects: 20_000,
            reserve_free_bytes: 512 << 20,
            memory: 4 << 20,
            handover: 0,
            encrypt: true,
        }
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
    /// Bytes on disk between small objects, where others were.
    pub unused_bytes: u64,
    /// Bytes of content in memory.
    pub memory_bytes: u64,
    /// Objects removed to make room.
    pub evictions: u64,
    /// Objects found damaged.
    pub damaged: u64,
}

/// Reads and writes of large objects at a time. More do not make a disk faster, and each has an object in memory.
const JOBS: usize = 4;
/// What is in memory and was not used for this long (twice this at most) is given back.
const SWEEP: Duration = Duration::from_secs(30);
/// What waits for its first reader waits for this long (twice this at most).
const SOON: Duration = Duration::from_secs(1);
/// So often it is looked for what nobody uses any more.
const HOUR: Duration = Duration::from_secs(3600);

/// A handle to a store; clones are the same store. Works within a tokio runtime only.
#[derive(Clone)]
pub struct ObjectStore(Arc<Inner>);

struct Inner {
    keeper: Arc<Keeper>,
    flights: Flights,
    jobs: Arc<Semaphore>,
    queue: Arc<Queue>,
    syncing: tokio::sync::Mutex<()>,
    swept: AtomicBool,
    swept_soon: AtomicBool,
}

impl ObjectStore {
    /// Opens or makes a store. What is there is found again; unfinished files are thrown away. Nothing is evicted before
    /// the first `put`: an engine has the time to say what it keeps.
    ///
    /// # Errors
    /// If the directory cannot be read, or another process uses it.
    pub async fn open(dir: impl Into<PathBuf>, limits: Limits) -> io::Result<Self> {
        let dir = dir.into();
        let keeper = blocking(move || Keeper::open(dir, limits)).await??;
        let store = Arc::new(Inner {
            keeper: Arc::new(keeper),
            flights: Flights::default(),
            jobs: Arc::new(Semaphore::new(JOBS)),
            queue: Arc::default(),
            syncing: tokio::sync::Mutex::default(),
            swept: AtomicBool::new(false),
            swept_soon: AtomicBool::new(false),
        });
        tokio::spawn(sweep(Arc::downgrade(&store), HOUR, Inner::hour));
        Ok(Self(store))
    }

    /// Verifies and stores an object. After `Ok` it survives `kill -9`. If the caller goes away, it is stored all the same.
    ///
    /// # Errors
    /// [`PutError`]; nothing is stored then.
    pub async fn put(&self, id: ObjectId, content: Bytes) -> Result<(), PutError> {
        if let Some(done) = self.0.keeper.already(id, content.len()) {
            return done;
        }
        let seat = self.0.flights.enter(id).await;
        if let Some(done) = self.0.keeper.already(id, content.len()) {
            return done;
        }
        if content.len() < LARGE {
            return self.put_small(id, content, seat).await;
        }
        let store = self.clone();
        self.job(seat, move |seat| {
            store.0.keeper.put_large(id, &content)?;
            seat.leave(Some(content));
            store.sweep_handover();
            Ok(())
        })
        .await?
    }

    async fn put_small(&self, id: ObjectId, content: Bytes, seat: Seat) -> Result<(), PutError> {
        let (done, outcome) = oneshot::channel();
        if self.0.queue.push(Waiting { id, content, seat, done }) {
            let (queue, keeper) = (Arc::clone(&self.0.queue), Arc::clone(&self.0.keeper));
            tokio::task::spawn_blocking(move || queue.serve(&keeper));
        }
        self.sweep_memory();
        outcome.await.map_err(io::Error::other)?
    }

    /// The content of an object, verified. `None` if it is not there, or damaged.
    pub async fn get(&self, id: ObjectId) -> Option<Bytes> {
        if let Some(content) = self.0.keeper.at_hand(id) {
            return Some(content);
        }
        if !self.has(id) {
            return None;
        }
        let seat = self.0.flights.enter(id).await;
        if let Some(content) = seat.left() {
            return Some(content);
        }
        let keeper = Arc::clone(&self.0.keeper);
        let read = self.job(seat, move |seat| {
            let content = keeper.get(id)?;
            seat.leave(Some(content.clone()));
            Some(content)
        });
        let content = read.await.ok().flatten()?;
        if content.len() < LARGE {
            self.sweep_memory();
        }
        Some(content)
    }

    /// Removes an object, kept or not.
    pub async fn remove(&self, id: ObjectId) {
        let seat = self.0.flights.enter(id).await;
        let keeper = Arc::clone(&self.0.keeper);
        let removed = self.job(seat, move |seat| {
            seat.leave(None);
            keeper.remove(id);
        });
        // It fails only where the runtime ends, and the store with it.
        let _ = removed.await;
    }

    /// Makes all that was put before this call survive a power cut. Who comes while another sync is under way waits for
    /// it, and then syncs what it did not cover.
    ///
    /// # Errors
    /// If the disk fails. What it holds is unknown then: every later call fails, too, until another engine begins.
    pub async fn sync(&self) -> io::Result<()> {
        let _one = self.0.syncing.lock().await;
        let keeper = Arc::clone(&self.0.keeper);
        blocking(move || keeper.sync()).await?
    }

    /// Whether the disk has taken what it was given, as far as is known.
    ///
    /// # Errors
    /// If it has not: what it holds is unknown, until [`begin_again`](Self::begin_again).
    pub(crate) fn check(&self) -> io::Result<()> {
        self.0.keeper.check()
    }

    /// As if the disk had failed to take something.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.0.keeper.fail();
    }

    /// An engine is about to be made in the place of another. A disk that failed is tried again; what it holds may not survive
    /// a power cut, and is found out by its hash then.
    pub(crate) fn begin_again(&self) {
        self.0.keeper.begin_again();
    }

    /// The engine is made: what the one before it kept and it does not is not kept any more.
    pub(crate) fn begun(&self) {
        self.0.keeper.begun();
    }

    /// Whether new work may be accepted. What was accepted already may still be put when this says no. Asks the file
    /// system: a matter of microseconds, but not for every call.
    pub fn room(&self) -> bool {
        self.0.keeper.room()
    }

    /// What the store holds.
    pub fn usage(&self) -> Usage {
        self.0.keeper.usage()
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

    /// Sees to it that somebody gives memory back, as long as there is some.
    fn sweep_memory(&self) {
        if !self.0.swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self.0), SWEEP, Inner::sweep_memory));
        }
    }

    /// The same for what waits for its first reader.
    fn sweep_handover(&self) {
        if self.0.keeper.handover().bytes() > 0 && !self.0.swept_soon.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self.0), SOON, Inner::sweep_handover));
        }
    }
}

impl Inner {
    fn hour(&self) -> bool {
        let keeper = Arc::clone(&self.keeper);
        tokio::task::spawn_blocking(move || keeper.hour());
        true
    }

    fn sweep_memory(&self) -> bool {
        // What comes in after this sweep sees that somebody is needed again.
        let mut memory = self.keeper.memory();
        let left = memory.sweep();
        self.swept.store(left, Ordering::Relaxed);
        left
    }

    fn sweep_handover(&self) -> bool {
        let mut handover = self.keeper.handover();
        let left = handover.sweep();
        self.swept_soon.store(left, Ordering::Relaxed);
        left
    }
}

impl Shelf for ObjectStore {
    fn has(&self, id: ObjectId) -> bool {
        self.0.keeper.index().get(id).is_some()
    }

    fn keep(&self, id: ObjectId) {
        self.0.keeper.index().keep(id);
    }

    fn release(&self, id: ObjectId) {
        self.0.keeper.index().release(id);
    }

    fn likest(&self, id: ObjectId, among: &BTreeSet<ObjectId>) -> Option<ObjectId> {
        self.0.keeper.index().likest(id, among)
    }
}

/// Sweeps now and then, until there is nothing left.
async fn sweep(store: Weak<Inner>, every: Duration, one: impl Fn(&Inner) -> bool) {
    loop {
        tokio::time::sleep(every).await;
        let Some(store) = store.upgrade() else { return };
        if !one(&store) {
            return;
        }
    }
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(run).await.map_err(io::Error::other)
}
