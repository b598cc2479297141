//! What a spoke shows of itself: to whoever asks it, to the hub now and then, and a line in the log for each cut.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::cuts::Cuts;
use crate::engine::frame::SpokeFrame;
use crate::engine::spoke::{Counters, Depth, Spoke};
use crate::pair::{Dialler, Pair};
use crate::shell::state::Disk;
use crate::stats::SpokeStats;
use crate::store::ObjectStore;
use crate::unknown::UnknownOperations;

/// How often the hub is told.
const TELL: Duration = Duration::from_secs(10);
/// How often the engine is looked at, at most. It is at least every 3 s, since the actor turns that often.
const LOOK: Duration = Duration::from_millis(250);

/// What a spoke shows.
pub(super) struct Seen {
    began: Instant,
    hold: Duration,
    /// What the hub said of its own, in milliseconds.
    hub_hold: AtomicU64,
    disk_limit: u64,
    store: ObjectStore,
    /// Bytes of objects that came from the hub, went to SuperNodes, came from them, and were sent to the hub.
    received: AtomicU64,
    served: AtomicU64,
    pushed: AtomicU64,
    sent: AtomicU64,
    room: AtomicBool,
    trouble: Mutex<Option<String>>,
    now: Mutex<Present>,
    line: OnceLock<Weak<Dialler>>,
    pub(super) unknown: UnknownOperations,
}

#[derive(Default)]
struct Present {
    counters: Counters,
    depth: Depth,
    looked: Option<Instant>,
    told: Option<Instant>,
    saved_up: u64,
    cuts: Cuts,
}

impl Seen {
    pub(super) fn new(disk: &Disk, store: ObjectStore, hold: Duration) -> Self {
        Self {
            began: Instant::now(),
            hold,
            hub_hold: AtomicU64::new(u64::MAX),
            disk_limit: disk.bytes,
            store,
            received: AtomicU64::new(0),
            served: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            room: AtomicBool::new(true),
            trouble: Mutex::default(),
            now: Mutex::default(),
            line: OnceLock::new(),
            unknown: UnknownOperations::default(),
        }
    }

    /// Whose bytes on the wire are shown.
    pub(super) fn of(&self, line: &Arc<Dialler>) {
        // Called once.
        let _ = self.line.set(Arc::downgrade(line));
    }

    /// The hub says how long it hides a cut: the shorter time rules.
    pub(super) fn hold_of_hub(&self, hub: Duration) {
        let told = u64::try_from(hub.as_millis()).unwrap_or(u64::MAX);
        if self.hub_hold.swap(told, Ordering::Relaxed) != told && hub < self.hold {
            let (own, seconds) = (self.hold.as_secs(), hub.as_secs());
            tracing::info!(own, seconds, "the hub hides a cut for less than FL_LINK_HOLD here: that rules");
        }
    }

    fn hold(&self) -> Duration {
        self.hold.min(Duration::from_millis(self.hub_hold.load(Ordering::Relaxed)))
    }

    /// An object of so many bytes came from the hub.
    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of an object went to a SuperNode.
    pub(super) fn served(&self, bytes: usize) {
        self.served.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of an object came from a SuperNode.
    pub(super) fn pushed(&self, bytes: usize) {
        self.pushed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of an object go to the hub.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The disk has room, or has none. The hub hears of it soon.
    pub(super) fn room(&self, room: bool) {
        self.room.store(room, Ordering::Relaxed);
        self.now().told = None;
    }

    /// The engine cannot work, or can again.
    pub(super) fn trouble(&self, what: Option<&str>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = what.map(str::to_owned);
    }

    /// What keeps the engine from working, if anything does.
    pub(super) fn in_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the engine after a batch, and tells the hub if it is time to.
    pub(super) fn look(&self, engine: &Spoke, pair: Option<&Pair<SpokeFrame>>) {
        let mut now = self.now();
        let due = pair.is_some() && now.told.is_none_or(|told| told.elapsed() >= TELL);
        if !due && now.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        (now.counters, now.depth, now.looked) = (engine.counters(), engine.depth(), Some(Instant::now()));
        if now.depth.replies == 0 {
            let (pushed, sent) = (self.pushed.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
            now.saved_up = pushed.saturating_sub(sent);
        }
        if let Some(pair) = pair.filter(|_| due) {
            now.told = Some(Instant::now());
            drop(now);
            pair.send(&SpokeFrame::Stats(Box::new(self.stats())));
        }
    }

    /// The line is up.
    pub(super) fn up(&self) {
        let now = &mut *self.now();
        now.told = None;
        now.cuts.back(&Default::default(), 0, Instant::now());
        match now.cuts.over(&Default::default()) {
            // The first time; the dialler says so.
            None => {}
            Some(cut) => tracing::info!(
                seconds = cut.lasted.as_secs_f64(),
                cause = cut.why,
                hidden = cut.lasted <= self.hold() && self.room.load(Ordering::Relaxed),
                messages = now.depth.messages,
                spooled_replies = now.depth.replies,
                spooled_bytes = self.store.usage().kept_bytes,
                answered_here = now.counters.answered_here,
                "line back: the cut is over"
            ),
        }
    }

    /// The line is down.
    pub(super) fn down(&self, why: &str) {
        let now = &mut *self.now();
        now.cuts.begin(Default::default(), why, Instant::now());
        let hold_seconds = self.hold().as_secs();
        let here = if hold_seconds > 0 { "answered here" } else { "told that SuperLink is unavailable" };
        tracing::warn!(
            cause = why,
            hold_seconds,
            messages = now.depth.messages,
            spooled_replies = now.depth.replies,
            spooled_bytes = self.store.usage().kept_bytes,
            "line cut: SuperNodes are {here}"
        );
    }

    /// What a status shows and the hub is told.
    pub(super) fn stats(&self) -> SpokeStats {
        let (usage, bulk) = (self.store.usage(), self.line.get().and_then(Weak::upgrade));
        let bulk = bulk.map_or((0, 0), |line| line.sight().bulk);
        let unknown = self.unknown.list().into_iter().map(Into::into).collect();
        let now = self.now();
        let (counters, depth) = (now.counters, now.depth);
        SpokeStats {
            room: self.room.load(Ordering::Relaxed),
            uptime_seconds: self.began.elapsed().as_secs(),
            hold_seconds: self.hold().as_secs(),
            calls: counters.calls,
            answered_here: counters.answered_here,
            retries: counters.retries,
            cuts_hidden: counters.cuts_hidden,
            objects_down: counters.objects_down,
            content_down: self.received.load(Ordering::Relaxed),
            objects_served: counters.objects_served,
            content_served: self.served.load(Ordering::Relaxed),
            objects_reused: counters.objects_reused,
            objects_up: counters.objects_up,
            content_up: self.sent.load(Ordering::Relaxed),
            saved_up: now.saved_up,
            served_again: counters.served_again,
            given_up: counters.given_up,
            messages: depth.messages as u64,
            replies: depth.replies as u64,
            open_calls: depth.calls as u64,
            bulk_received: bulk.0,
            bulk_sent: bulk.1,
            disk_bytes: usage.bytes,
            disk_needed_bytes: usage.kept_bytes,
            disk_limit_bytes: self.disk_limit,
            evictions: usage.evictions,
            damaged: usage.damaged,
            unknown,
        }
    }

    fn now(&self) -> MutexGuard<'_, Present> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
