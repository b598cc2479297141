//! The spoke's side: a dialler that keeps a pair up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::dial::{Dial, Kind, LineConfig, Wired};
use super::run::{Half, Stop, run};
use super::{End, HubFrame, SpokeFrame, millis};
use crate::backoff::Backoff;
use crate::io::{FrameTap, Meter, PingLog};
use crate::wire::Welcome;
use crate::{Error, KeepAlive, Result};

/// The first wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest; short enough for a line that has healed to be in use again within 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// After a refusal asking again does not help soon.
const REFUSED_WAIT: Duration = Duration::from_secs(8);
/// How long the first try waits for each answer of the hub, once it has a connection; the second waits twice as long, …
const STEP: Duration = Duration::from_secs(2);
/// … and no try longer than so many times.
const MOST_STEPS: u32 = 4;
/// A pair that lasted so long was a good one; after a shorter one the waits go on growing.
const PROVEN: Duration = Duration::from_secs(5);

/// The state of a line.
#[derive(Clone, Debug)]
pub enum LineState {
    /// Being dialled.
    Down {
        /// Why the last try or pair ended.
        why: Arc<str>,
        /// Since when.
        since: Instant,
    },
    /// Up.
    Up {
        /// What the hub said.
        welcome: Arc<Welcome>,
        /// Since when.
        since: Instant,
    },
}

/// What a status shows of a line.
#[derive(Clone, Debug)]
pub struct LineSight {
    /// The PINGs of the present control connection, or of the last one.
    pub pings: PingLog,
    /// The PING interval that is in use, and the timeout.
    pub keepalive: KeepAlive,
    /// The PING interval that was asked for, where the hub's least one is in use instead.
    pub adjusted_from: Option<Duration>,
    /// Bytes on the wire over all control connections: received, sent.
    pub control: (u64, u64),
    /// Bytes on the wire over all bulk connections: received, sent.
    pub bulk: (u64, u64),
    /// Pairs that have been up so far, the present one included.
    pub pairs: u64,
}

/// Keeps a pair to the hub up. Ends it when dropped.
pub struct Dialler {
    state: watch::Receiver<LineState>,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    config: Arc<LineConfig>,
    control: Arc<Meter>,
    bulk: Arc<Meter>,
    now: Mutex<Present>,
}

struct Present {
    tap: FrameTap,
    keepalive: KeepAlive,
    pairs: u64,
}

impl Shared {
    fn now(&self) -> std::sync::MutexGuard<'_, Present> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialler {
    /// Starts to dial, and goes on for ever.
    pub fn start<E: End<In = HubFrame, Out = SpokeFrame>>(config: LineConfig, end: Arc<E>) -> Self {
        let down = LineState::Down { why: "not connected yet".into(), since: Instant::now() };
        let (state, seen) = watch::channel(down);
        let now = Present { tap: FrameTap::default(), keepalive: config.keepalive, pairs: 0 };
        let (config, control, bulk) = (Arc::new(config), Arc::default(), Arc::default());
        let shared = Arc::new(Shared { config, control, bulk, now: now.into() });
        let task = tokio::spawn(keep(shared.clone(), end, state));
        Self { state: seen, shared, task }
    }

    /// The state of the line now.
    pub fn state(&self) -> LineState {
        self.state.borrow().clone()
    }

    /// Why the line is down, or `None` while it is up.
    pub fn why_down(&self) -> Option<Arc<str>> {
        match &*self.state.borrow() {
            LineState::Down { why, .. } => Some(why.clone()),
            LineState::Up { .. } => None,
        }
    }

    /// Waits until the line is up, at most `patience`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the reason of the last failure.
    pub async fn wait_up(&self, patience: Duration) -> Result<()> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, LineState::Up { .. }));
        match tokio::time::timeout(patience, up).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Timeout {
                what: format!("the hub ({})", self.why_down().unwrap_or_default()),
                seconds: patience.as_secs(),
            }),
        }
    }

    /// What a status shows.
    pub fn sight(&self) -> LineSight {
        let (now, asked) = (self.shared.now(), self.shared.config.keepalive.time);
        let moved = |meter: &Meter| (meter.read(), meter.written());
        LineSight {
            pings: now.tap.log(),
            keepalive: now.keepalive,
            adjusted_from: (now.keepalive.time > asked).then_some(asked),
            control: moved(&self.shared.control),
            bulk: moved(&self.shared.bulk),
            pairs: now.pairs,
        }
    }
}

/// Keeps the line up.
async fn keep<E: End<In = HubFrame, Out = SpokeFrame>>(
    shared: Arc<Shared>,
    end: Arc<E>,
    state: watch::Sender<LineState>,
) {
    let hub = shared.config.address();
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let (mut tries, mut down_since) = (0u32, Instant::now());
    loop {
        tries += 1;
        let why: Arc<str> = match dial(&shared, tries).await {
            Ok(Dialled::Adjust(least)) => {
                let asked = shared.config.keepalive.time;
                tracing::warn!(
                    hub,
                    asked_seconds = asked.as_secs_f64(),
                    seconds = least.as_secs_f64(),
                    "the hub takes fewer PINGs than FL_GRPC_KEEPALIVE_TIME asks for: its least interval is used"
                );
                shared.now().keepalive.time = least;
                continue;
            }
            Ok(Dialled::Pair(pair)) => {
                let (began, before) = (Instant::now(), (tries, down_since.elapsed()));
                tries = 0;
                let welcome = Arc::new(pair.welcome);
                end.welcome(&welcome);
                let keepalive = {
                    let mut now = shared.now();
                    now.tap = pair.wired.0.tap.clone();
                    now.pairs += 1;
                    tracing::info!(
                        hub,
                        flower = welcome.flower,
                        down_ms = millis(before.1),
                        tries = before.0,
                        pair = now.pairs,
                        "line up"
                    );
                    now.keepalive
                };
                let is_up = || drop(state.send_replace(LineState::Up { welcome, since: began }));
                let stop = Arc::<Stop>::default();
                let why = run(end.clone(), pair.control, pair.bulk, stop, keepalive, is_up).await;
                drop(pair.wired);
                down_since = Instant::now();
                tracing::debug!(hub, why = &*why, up_ms = millis(began.elapsed()), "pair ended");
                if began.elapsed() >= PROVEN {
                    backoff.reset();
                }
                why
            }
            Err(why) => {
                let refused = matches!(why, Error::Refused { .. });
                let (now, before) = (why.to_string(), state.borrow().clone());
                if !matches!(before, LineState::Down { why, .. } if *why == *now) {
                    tracing::warn!(hub, why = now, "cannot reach the hub, trying again");
                }
                state.send_replace(LineState::Down { why: now.into(), since: down_since });
                let wait = backoff.wait();
                tokio::time::sleep(if refused { REFUSED_WAIT + wait } else { wait }).await;
                continue;
            }
        };
        state.send_replace(LineState::Down { why, since: down_since });
        tokio::time::sleep(backoff.wait()).await;
    }
}

enum Dialled {
    /// The hub takes PINGs at this interval at most often.
    Adjust(Duration),
    Pair(Box<Dialling>),
}

struct Dialling {
    control: Half,
    bulk: Half,
    welcome: Welcome,
    wired: (Wired, Wired),
}

async fn dial(shared: &Shared, tries: u32) -> Result<Dialled> {
    let keepalive = shared.now().keepalive;
    let dial = Dial { config: shared.config.clone(), keepalive, patience: STEP * tries.min(MOST_STEPS) };
    let control = async {
        let mut wired = dial.wire(Kind::Control, shared.control.clone()).await?;
        let welcome = dial.hello(&mut wired).await?;
        Ok::<_, Error>((wired, welcome))
    };
    // What control says is the better reason, where both failed.
    let bulk = async { Ok(dial.wire(Kind::Bulk, shared.bulk.clone()).await) };
    let ((mut control, welcome), bulk) = tokio::try_join!(control, bulk)?;
    let least = Duration::from_millis(welcome.keepalive_least_ms);
    if keepalive.time < least {
        return Ok(Dialled::Adjust(least));
    }
    let mut bulk = bulk?;
    let (control_half, bulk_half) = tokio::join!(
        dial.stream(Kind::Control, &mut control, &welcome.session),
        dial.stream(Kind::Bulk, &mut bulk, &welcome.session),
    );
    let (control_half, bulk_half) = (control_half?, bulk_half?);
    Ok(Dialled::Pair(Box::new(Dialling {
        control: control_half,
        bulk: bulk_half,
        welcome,
        wired: (control, bulk),
    })))
}
