//! The thread that an engine runs on: events in, records into the journal, and then the rest of what is to be done.
//!
//! All events that are there are handled in one go, and their records written at once: a write for each of them would
//! cost more than the events. The engine is crash-only. When its records cannot be written, or it panics, it is thrown
//! away together with all connections, and a new one is made from the journal: after a second, and where that does not
//! last, less and less often. Who asks meanwhile hears at once that it is not the moment.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::flush::Flush;
use super::mailbox::Letters;
use crate::backoff::Backoff;
use crate::engine::{Now, Shelf};
use crate::store::{Journal, ObjectStore};

/// How often the disk is asked whether it has room, and the journal's size is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Before a broken engine is replaced. What arrives meanwhile is for the next one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, where replacing it does not help.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An engine that lived for so long was well.
const PROVEN: Duration = Duration::from_secs(60);
/// A journal below this size is left as it is.
const COMPACT_FROM: u64 = 16 << 20;
/// An engine whose deadline has passed is ticked so often at most.
const BREATH: Duration = Duration::from_millis(2);
/// A journal so many times as large as what is needed of it is written anew.
const COMPACT_TIMES: u64 = 4;

/// What a spoke's and a hub's engine have in common.
pub(crate) trait Engine: Sized + Send + 'static {
    /// What happens to it.
    type Event: Send + 'static;
    /// What it wants done.
    type Action: Send + 'static;
    /// What it writes down.
    type Record: Send + 'static;
    /// What it is told once.
    type Settings: Clone + Send + 'static;

    fn make(settings: &Self::Settings, records: Vec<Self::Record>, now: Now, shelf: &dyn Shelf) -> Self;
    fn handle(&mut self, now: Now, event: Self::Event, shelf: &dyn Shelf, actions: &mut Vec<Self::Action>);
    fn deadline(&self) -> Option<Duration>;
    fn snapshot(&self) -> Vec<Self::Record>;

    fn tick() -> Self::Event;
    fn storage(room: bool) -> Self::Event;
    fn record(action: Self::Action) -> Result<Self::Record, Self::Action>;
    fn encode(record: &Self::Record) -> Vec<u8>;
    fn decode(bytes: Bytes) -> Option<Self::Record>;
    /// Whether it has to survive a power cut with all objects before it; then it is a promise, too.
    fn is_final(record: &Self::Record) -> bool;
    /// Whether it has to survive a power cut.
    fn is_promise(record: &Self::Record) -> bool;
}

/// The hands of an engine. Nothing here may wait: whatever takes time is a task.
pub(crate) trait Hands<E: Engine>: Send + 'static {
    /// What arrives in the mailbox.
    type Letter: Send + 'static;

    /// Whether a connection begins or ends with this letter: what was asked for before must not go out after it.
    fn is_boundary(letter: &Self::Letter) -> bool;
    /// Takes from a letter what is not for the engine, and gives the event. `None` for what is out of date.
    fn open(&mut self, letter: Self::Letter) -> Option<E::Event>;
    /// Begins an action that is no record.
    fn act(&mut self, action: E::Action);
    /// Hears whether the disk has room, when that has changed.
    fn room(&mut self, room: bool);
    /// Called after every batch: asks the engine for objects to send.
    fn feed(&mut self, engine: &mut E, shelf: &dyn Shelf);
    /// The engine is gone: ends all connections and waiting calls.
    fn reset(&mut self);
    /// Hears what keeps the engine from working and what helps, and `None` once that is over.
    fn trouble(&mut self, what: Option<&str>);
}

/// What an actor works with.
pub(crate) struct Actor<E: Engine, H: Hands<E>> {
    /// What happens.
    pub(crate) letters: Letters<H::Letter>,
    /// What of it was taken and not read yet. Empty at first.
    pub(crate) unread: VecDeque<H::Letter>,
    /// What is done.
    pub(crate) hands: H,
    /// The objects.
    pub(crate) store: ObjectStore,
    /// Where the journal is.
    pub(crate) dir: PathBuf,
    /// Its name there, and the thread's.
    pub(crate) name: &'static str,
    /// What the engine is told.
    pub(crate) settings: E::Settings,
    /// What makes them survive a power cut.
    pub(crate) flush: Flush,
    /// Times are counted from here.
    pub(crate) began: Instant,
    /// Whether the disk did not take the journal. Not at first.
    pub(crate) unsynced: bool,
}

/// An engine and its journal, until one of them fails.
struct Life<E> {
    engine: E,
    journal: Journal,
    room: Option<bool>,
    looked: Instant,
}

/// Starts an actor's thread, and gives what `look` sees in the first engine. The thread ends when nobody can write to its
/// mailbox any more.
///
/// # Errors
/// A journal that cannot be read or written.
pub(crate) fn start<E: Engine, H: Hands<E>, T>(
    mut actor: Actor<E, H>,
    look: impl FnOnce(&E) -> T,
) -> io::Result<T> {
    let mut life = actor.begin()?;
    let seen = look(&life.engine);
    let name = actor.name.to_owned();
    let run = move || {
        let mut pauses = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let began = Instant::now();
            let lived = catch_unwind(AssertUnwindSafe(|| actor.live(&mut life)));
            let why = match lived {
                Ok(Ok(())) => return,
                Ok(Err(why)) => Some(why),
                Err(_) => None,
            };
            // The journal is closed with the engine: the next one opens it.
            drop(life);
            if began.elapsed() >= PROVEN {
                pauses.reset();
            }
            match actor.recover(why, &mut pauses) {
                Some(next) => life = next,
                None => return,
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(run)?;
    Ok(seen)
}

impl<E: Engine, H: Hands<E>> Actor<E, H> {
    fn now(&self) -> Now {
        Now { mono: self.began.elapsed(), wall: SystemTime::now() }
    }

    /// Reads the journal and makes an engine.
    fn begin(&self) -> io::Result<Life<E>> {
        let (journal, records) = Journal::open(&self.dir, self.name)?;
        let (all, known) = (records.len(), records.into_iter().filter_map(E::decode).collect::<Vec<_>>());
        if known.len() < all {
            tracing::warn!(unknown = all - known.len(), "records of another release in the journal: ignored");
        }
        let engine = E::make(&self.settings, known, self.now(), &self.store);
        self.store.begun();
        Ok(Life { engine, journal, room: None, looked: Instant::now() })
    }

    /// Makes the next engine, when that can write. `None` once nobody needs it any more.
    fn recover(&mut self, why: Option<io::Error>, pauses: &mut Backoff) -> Option<Life<E>> {
        let words = match &why {
            Some(why) => format!("the disk failed: {why}; {}", remedy(why)),
            None => "the engine failed and starts over from the journal; its log has the place: report it"
                .to_owned(),
        };
        tracing::error!("{words}");
        self.hands.trouble(Some(&words));
        // A connection may be among them: it has to end with the others, or it would live on without an engine.
        for letter in std::mem::take(&mut self.unread) {
            self.hands.open(letter);
        }
        self.hands.reset();
        let (since, mut tries) = (Instant::now(), 0u32);
        loop {
            // At first it may be over in a moment.
            self.pause(pauses.wait(), if tries == 0 { PAUSE } else { Duration::ZERO })?;
            tries += 1;
            self.store.begin_again();
            let begun = catch_unwind(AssertUnwindSafe(|| self.begin()));
            let begun =
                begun.unwrap_or_else(|_| Err(io::Error::other("no engine can be made from the journal")));
            match begun.and_then(|life| self.writes(life)) {
                Ok(life) => {
                    tracing::info!(
                        seconds = since.elapsed().as_secs(),
                        tries,
                        "well again: working from the journal"
                    );
                    self.hands.trouble(None);
                    return Some(life);
                }
                Err(why) => {
                    tracing::debug!(%why, tries, "the disk still fails");
                    let words = format!("the disk failed: {why}; {}", remedy(&why));
                    self.hands.trouble(Some(&words));
                }
            }
        }
    }

    /// Waits. What arrives during `keep` is for the next engine, and whoever asks later is sent away at once. `None` once
    /// nobody can ask any more.
    fn pause(&mut self, pause: Duration, keep: Duration) -> Option<()> {
        let until = Instant::now() + pause;
        std::thread::sleep(pause.min(keep));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(());
            }
            for letter in self.letters.take(left)? {
                self.hands.open(letter);
            }
            self.hands.reset();
        }
    }

    /// Whether a new engine could write down anything: if not, it would take connections only to end them.
    fn writes(&mut self, mut life: Life<E>) -> io::Result<Life<E>> {
        self.flush.wait()?;
        if self.unsynced {
            // What is read now may be in the kernel's memory only, and it says once that the disk did not take it.
            life.journal.rewrite(&snapshot(&life.engine))?;
            self.unsynced = false;
        }
        life.journal.probe()?;
        Ok(life)
    }

    /// Runs an engine until nobody needs it any more, or its journal fails.
    fn live(&mut self, life: &mut Life<E>) -> io::Result<()> {
        loop {
            let mut actions = Vec::new();
            self.look(life, &mut actions)?;
            let patience = if actions.is_empty() { self.patience(life) } else { Duration::ZERO };
            let Some(letters) = self.letters.take(patience) else { return Ok(()) };
            self.unread.extend(letters);
            while let Some(letter) = self.unread.front() {
                if H::is_boundary(letter) {
                    self.carry_out(life, std::mem::take(&mut actions))?;
                }
                if let Some(event) = self.unread.pop_front().and_then(|letter| self.hands.open(letter)) {
                    life.engine.handle(self.now(), event, &self.store, &mut actions);
                }
            }
            if life.engine.deadline().is_some_and(|due| due <= self.now().mono) {
                life.engine.handle(self.now(), E::tick(), &self.store, &mut actions);
            }
            self.carry_out(life, actions)?;
            self.hands.feed(&mut life.engine, &self.store);
        }
    }

    /// Tells the engine now and then whether the disk has room, and sees to the journal's size. Fails if the disk has failed to
    /// take objects, whoever was told.
    fn look(&mut self, life: &mut Life<E>, actions: &mut Vec<E::Action>) -> io::Result<()> {
        if life.room.is_some() && life.looked.elapsed() < LOOK {
            return Ok(());
        }
        life.looked = Instant::now();
        self.store.check()?;
        self.unsynced |= !compact(life);
        let room = self.store.room() && life.journal.room();
        if life.room.replace(room) != Some(room) {
            if !room {
                tracing::warn!(dir = %self.dir.display(), "no room on the disk: calls are passed through one by one");
            }
            self.hands.room(room);
            life.engine.handle(self.now(), E::storage(room), &self.store, actions);
        }
        Ok(())
    }

    /// How long there is nothing to do unless something happens.
    fn patience(&self, life: &Life<E>) -> Duration {
        let look = LOOK.saturating_sub(life.looked.elapsed());
        let due = life.engine.deadline().map(|due| due.saturating_sub(self.now().mono).max(BREATH));
        due.map_or(look, |due| due.min(look))
    }

    fn carry_out(&mut self, life: &mut Life<E>, actions: Vec<E::Action>) -> io::Result<()> {
        let (mut records, mut others, mut sync, mut last) = (Vec::new(), Vec::new(), false, false);
        for action in actions {
            match E::record(action) {
                Ok(record) => {
                    sync |= E::is_promise(&record);
                    last |= E::is_final(&record);
                    records.push(E::encode(&record));
                }
                Err(action) => others.push(action),
            }
        }
        if !records.is_empty() {
            life.journal.append(&records)?;
        }
        if last {
            // The objects first: the record says that they are there.
            self.flush.wait()?;
        }
        if sync {
            life.journal.sync().inspect_err(|_| self.unsynced = true)?;
        }
        others.into_iter().for_each(|action| self.hands.act(action));
        Ok(())
    }
}

/// What whoever reads of an error of the disk should do.
fn remedy(why: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match why.kind() {
        StorageFull | QuotaExceeded => "make room there, or give the VM a larger disk: it goes on by itself",
        ReadOnlyFilesystem => {
            "have it mounted for writing; the system may have found it damaged, see dmesg: it goes on by itself"
        }
        FileTooLarge => {
            "lift the limit on the size of files, `LimitFSIZE` or `ulimit -f`: it goes on by itself"
        }
        PermissionDenied => "give the directory back to the user of this process: it goes on by itself",
        _ => {
            "see the system's log for this disk; once it is well, start this process again should it not go on by itself"
        }
    }
}

fn snapshot<E: Engine>(engine: &E) -> Vec<Vec<u8>> {
    engine.snapshot().iter().map(E::encode).collect()
}

/// Writes a journal anew that has grown far beyond what is needed of it. `false` if that failed.
fn compact<E: Engine>(life: &mut Life<E>) -> bool {
    let (size, needed) = (life.journal.bytes(), life.journal.bytes_after_rewrite());
    if size < COMPACT_FROM.max(needed.saturating_mul(COMPACT_TIMES)) || life.room != Some(true) {
        return true;
    }
    let written = life.journal.rewrite(&snapshot(&life.engine));
    match &written {
        Ok(()) => tracing::debug!(before = size, after = life.journal.bytes(), "journal written anew"),
        Err(why) => tracing::warn!(%why, size, "the journal could not be written anew"),
    }
    written.is_ok()
}

#[cfg(test)]
mod tests;
