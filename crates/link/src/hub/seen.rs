//! What a hub shows of its lines: counts for each spoke, what spokes say of themselves, who is kept alive without its
//! spoke, and a line in the log for each cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cuts::Cuts;
use crate::engine::frame::SpokeFrame;
use crate::engine::hub::{Counters, Depth, Hub, SpokeName};
use crate::pair::PairSight;
use crate::shell::state::Disk;
use crate::stats::SpokeStats;
use crate::status::{Flow, HubLink, Said, SpokeLine};
use crate::store::ObjectStore;
use crate::unknown::UnknownOperations;

/// How often the engine is looked at, at most. It is at least every 3 s, since the actor turns that often.
const LOOK: Duration = Duration::from_millis(250);

/// What a hub shows.
pub(super) struct Seen {
    /// The engine's times are counted from here.
    pub(super) began: Instant,
    hold: Duration,
    disk_limit: u64,
    room: AtomicBool,
    trouble: Mutex<Option<String>>,
    engine: Mutex<Looked>,
    spokes: Mutex<BTreeMap<SpokeName, Traffic>>,
    cuts: Mutex<Cuts>,
    pub(super) unknown: UnknownOperations,
}

/// The engine as it was last seen.
#[derive(Default)]
struct Looked {
    counters: Counters,
    depth: Depth,
    /// Until when the nodes of a spoke are kept alive.
    held: BTreeMap<SpokeName, Vec<Instant>>,
    at: Option<Instant>,
}

/// What came and went over one spoke's line.
#[derive(Clone, Default)]
struct Traffic {
    calls: u64,
    down: (u64, u64),
    up: (u64, u64),
    said: Option<(Instant, SpokeStats)>,
}

impl Seen {
    pub(super) fn new(disk: &Disk, hold: Duration) -> Self {
        Self {
            began: Instant::now(),
            hold,
            disk_limit: disk.bytes,
            room: AtomicBool::new(true),
            trouble: Mutex::default(),
            engine: Mutex::default(),
            spokes: Mutex::default(),
            cuts: Mutex::default(),
            unknown: UnknownOperations::default(),
        }
    }

    /// The disk has room, or has none.
    pub(super) fn room(&self, room: bool) {
        self.room.store(room, Ordering::Relaxed);
    }

    /// The engine cannot work, or can again.
    pub(super) fn trouble(&self, what: Option<&str>) {
        *lock(&self.trouble) = what.map(str::to_owned);
    }

    /// What keeps the engine from working, if anything does.
    pub(super) fn in_trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Looks at the engine after a batch.
    pub(super) fn look(&self, engine: &Hub) {
        let mut looked = lock(&self.engine);
        if looked.at.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        let mut held = BTreeMap::<SpokeName, Vec<Instant>>::new();
        for (spoke, until) in engine.held() {
            held.entry(spoke.clone()).or_default().push(self.began + until);
        }
        *looked =
            Looked { counters: engine.counters(), depth: engine.depth(), held, at: Some(Instant::now()) };
    }

    /// A spoke says something.
    pub(super) fn frame(&self, spoke: &SpokeName, frame: &SpokeFrame) {
        match frame {
            SpokeFrame::Call { .. } => {
                lock(&self.spokes).entry(spoke.clone()).or_default().calls += 1;
            }
            SpokeFrame::Stats(stats) => {
                let said = Some((Instant::now(), (**stats).clone()));
                lock(&self.spokes).entry(spoke.clone()).or_default().said = said;
                self.cut_over(spoke, stats);
            }
            _ => {}
        }
    }

    /// An object goes to a spoke.
    pub(super) fn sent(&self, spoke: &SpokeName, bytes: usize) {
        let mut spokes = lock(&self.spokes);
        let down = &mut spokes.entry(spoke.clone()).or_default().down;
        *down = (down.0 + 1, down.1 + bytes as u64);
    }

    /// An object came from a spoke.
    pub(super) fn received(&self, spoke: &SpokeName, bytes: u64) {
        let mut spokes = lock(&self.spokes);
        let up = &mut spokes.entry(spoke.clone()).or_default().up;
        *up = (up.0 + 1, up.1 + bytes);
    }

    /// A spoke's line is up.
    pub(super) fn up(&self, spoke: &SpokeName) {
        let held = lock(&self.engine).held.get(spoke).map_or(0, |nodes| nodes.len() as u64);
        lock(&self.cuts).back(spoke, held, Instant::now());
    }

    /// A spoke's line is down.
    pub(super) fn down(&self, spoke: &SpokeName, why: &str) {
        lock(&self.cuts).begin(spoke.clone(), why, Instant::now());
        let (site, name) = spoke;
        let said = lock(&self.spokes).get(spoke).and_then(|traffic| traffic.said.clone());
        let hold_seconds = said.map_or(self.hold, |(_, stats)| self.hold_of_both(&stats)).as_secs();
        tracing::warn!(site, spoke = name, cause = why, hold_seconds, "line to a spoke cut");
    }

    /// The shorter one rules.
    fn hold_of_both(&self, stats: &SpokeStats) -> Duration {
        self.hold.min(Duration::from_secs(stats.hold_seconds))
    }

    /// The first word of a spoke that is back says what it has kept meanwhile.
    fn cut_over(&self, spoke: &SpokeName, stats: &SpokeStats) {
        let Some(cut) = lock(&self.cuts).over(spoke) else { return };
        let (site, name) = spoke;
        let room = stats.room && self.room.load(Ordering::Relaxed);
        let hidden = room && cut.lasted <= self.hold_of_both(stats);
        tracing::info!(
            site,
            spoke = name,
            seconds = cut.lasted.as_secs_f64(),
            cause = cut.why,
            hidden,
            held_nodes = cut.held,
            spooled_replies = stats.replies,
            spooled_bytes = stats.disk_needed_bytes,
            "line to a spoke back: the cut is over"
        );
    }

    /// The hub's own part of a status.
    pub(super) fn link(&self, store: &ObjectStore) -> HubLink {
        let (usage, looked) = (store.usage(), lock(&self.engine));
        let (counters, depth) = (looked.counters, looked.depth);
        HubLink {
            room: self.room.load(Ordering::Relaxed),
            hold_seconds: self.hold.as_secs(),
            calls: counters.calls,
            repeated: counters.repeated,
            messages: counters.messages,
            objects_pulled: counters.objects_pulled,
            content_pulled: counters.bytes_pulled,
            objects_reused: counters.objects_reused,
            replies: counters.replies,
            sessions_again: counters.sessions_again,
            holds: counters.holds,
            suspected: counters.suspected,
            given_up: counters.given_up,
            refused_wants: counters.refused_wants,
            held_back: counters.held_back,
            open_messages: depth.messages as u64,
            open_replies: depth.replies as u64,
            kept_calls: depth.calls as u64,
            kept_call_bytes: depth.call_bytes as u64,
            disk_bytes: usage.bytes,
            disk_needed_bytes: usage.kept_bytes,
            disk_limit_bytes: self.disk_limit,
            evictions: usage.evictions,
            damaged: usage.damaged,
        }
    }

    /// The lines of a status. What is known of spokes that the pairs have forgotten is forgotten, too.
    pub(super) fn lines(&self, sights: Vec<PairSight>) -> Vec<SpokeLine> {
        let known = |name: &SpokeName| sights.iter().any(|seen| seen.site == name.0 && seen.spoke == name.1);
        let mut spokes = lock(&self.spokes);
        spokes.retain(|name, _| known(name));
        let (spokes, looked) = (spokes.clone(), lock(&self.engine));
        let line = |seen: PairSight| {
            let name = (seen.site, seen.spoke);
            let traffic = spokes.get(&name).cloned().unwrap_or_default();
            let held = looked.held.get(&name).into_iter().flatten();
            let held: Vec<_> =
                held.filter_map(|until| until.checked_duration_since(Instant::now())).collect();
            let stats = traffic.said.as_ref().map(|(_, stats)| stats);
            SpokeLine {
                site: name.0,
                spoke: name.1,
                connected: seen.connected,
                since_seconds: seen.since.elapsed().as_secs(),
                peer: seen.peer.to_string(),
                bytes_down: seen.control.1 + seen.bulk.1,
                bytes_up: seen.control.0 + seen.bulk.0,
                calls: traffic.calls,
                pings_sent: seen.pings.sent,
                pings_acked: seen.pings.acked,
                ping_age_seconds: seen.pings.last_ack.map(|at| at.elapsed().as_secs()),
                rtt_ms: seen.pings.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                why: seen.why,
                cuts: seen.pairs - u64::from(seen.connected).min(seen.pairs),
                down: Flow {
                    objects: traffic.down.0,
                    content: traffic.down.1,
                    saved_by_cache: stats.map_or(0, SpokeStats::saved_by_cache_down),
                    saved_by_codec: stats.map_or(0, SpokeStats::saved_by_codec_down),
                },
                up: Flow {
                    objects: traffic.up.0,
                    content: traffic.up.1,
                    saved_by_cache: stats.map_or(0, |stats| stats.saved_up),
                    saved_by_codec: traffic.up.1.saturating_sub(seen.bulk.0),
                },
                held: held.len() as u64,
                held_seconds_left: held.iter().min().map(Duration::as_secs),
                said: traffic.said.map(|(at, stats)| Said { age_seconds: at.elapsed().as_secs(), stats }),
            }
        };
        sights.into_iter().map(line).collect()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
