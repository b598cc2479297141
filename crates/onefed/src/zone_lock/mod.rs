//! The lock of a federation, which operators on different machines see: a VM template of a fixed name, in the
//! coordinator's zone or, while that is down, in the next zone of the plan.
//!
//! oned allocates atomically and never uses an id twice. The holder counts a beat up; whoever comes second watches it by
//! a clock of its own, so that no two clocks are compared. The lock of a process that has died on this machine is taken
//! over at once.

mod contest;
mod record;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onefed_federation::Federation;
use onefed_opennebula::VmTemplateId;
use onefed_opennebula::xmlrpc::{Client, Permissions, VmTemplate};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::state::State;
use crate::zones::Zones;

use self::contest::{Contest, Move, Seat};
use self::record::{Identity, LIFE, Record};

/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(10);
/// A lock that was not renewed for so long may be somebody else's soon: nothing is changed any more.
const DOUBT: Duration = Duration::from_secs(LIFE - 7);
/// After so long without an answer from the lock's zone it is taken in another one as well.
const MOVE_AFTER: Duration = Duration::from_secs(15);
/// A look at the lock that is younger than this counts as one before the next change.
const FRESH: Duration = Duration::from_secs(2);
/// How often others are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that a contest may last.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The lock, held. Dropped without [`ZoneLock::release`] it stays until somebody takes it over.
pub(crate) struct ZoneLock {
    held: Arc<Held>,
    renewing: tokio::task::JoinHandle<()>,
}

/// What the holder knows.
struct Held {
    zones: Vec<Client>,
    name: String,
    record: Record,
    state: State,
    output: Output,
    now: Mutex<Now>,
}

struct Now {
    /// Where the lock is.
    seat: Seat,
    beat: u64,
    /// When it was last seen to be ours.
    seen: Instant,
    /// Why it is not ours any more.
    lost: Option<String>,
    /// The zones in which something may have been left.
    touched: BTreeSet<usize>,
}

/// The name of a federation's lock.
fn name(federation: &str) -> String {
    format!("onefed-lock-{federation}")
}

/// Whether a VM template is a lock of some federation.
pub(crate) fn is_lock(template: &VmTemplate) -> bool {
    template.attributes.text(record::MARK).is_some()
}

/// Whether there is a lock of this federation in any zone that answers: somebody's at work, or left by a crash.
pub(crate) async fn is_there(federation: &Federation, zones: &Zones) -> bool {
    let name = name(federation.name.as_str());
    let asked = zones.values().map(|zone| zone.xmlrpc.templates());
    let answers = futures_util::future::join_all(asked).await.into_iter().flatten();
    answers
        .flatten()
        .any(|template| Record::read(&template, federation.name.as_str()).is_some() && template.name == name)
}

impl ZoneLock {
    /// Takes the lock, or says who has it (exit code 75). Zones that are down are passed over; when all are, that is the
    /// failure.
    pub(crate) async fn take(
        federation: &Federation,
        zones: &Zones,
        state: &State,
        verb: &str,
        output: Output,
    ) -> Result<Self, Failure> {
        // The coordinator's zone first, then the others in the order of the file.
        let first = &federation.coordinator.zone;
        let rest = federation.zones.iter().map(|zone| &zone.name).filter(|name| *name != first);
        let order = std::iter::once(first).chain(rest);
        let zones: Vec<Client> =
            order.filter_map(|name| Some(zones.get(name.as_str())?.xmlrpc.clone())).collect();
        let name = name(federation.name.as_str());
        let record = Record::new(federation.name.as_str(), verb);
        let now = Now { seat: (0, 0), beat: 1, seen: Instant::now(), lost: None, touched: BTreeSet::new() };
        let held = Arc::new(Held { zones, name, record, state: state.clone(), output, now: Mutex::new(now) });
        let seat = match held.contest().await {
            Ok(seat) => seat,
            Err(why) => {
                held.clean().await;
                return Err(why);
            }
        };
        held.taken(seat);
        if seat.0 > 0 {
            output.say(format!(
                "  warning: zone {} does not answer, so the lock is in zone {}",
                held.zone(0),
                held.zone(seat.0)
            ));
        }
        let renewing = tokio::spawn(renew(held.clone()));
        Ok(Self { held, renewing })
    }

    /// Whether the lock is still ours: asked before every change to a zone.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.held.check().await
    }

    /// Gives the lock back. What cannot be removed now is named, and the next one takes it over.
    pub(crate) async fn release(self) -> Result<(), Failure> {
        let state = &self.held.state;
        self.renewing.abort();
        // It may be in the middle of a call: what that does must not come after the removal.
        let _ = self.renewing.await;
        let zone = self.held.zone(self.held.now().seat.0).to_owned();
        state.journal("begin", &zone, "unlock", &self.held.name)?;
        let left = self.held.clean().await;
        for why in &left {
            self.held.output.say(format!("  warning: the lock could not be removed: {why}"));
        }
        let phase = if left.is_empty() { "done" } else { "failed" };
        state.journal(phase, &zone, "unlock", &self.held.name)
    }
}

/// Counts the beat up until the lock is lost.
async fn renew(held: Arc<Held>) {
    loop {
        tokio::time::sleep(RENEW).await;
        if held.beat().await {
            return;
        }
        let silent = held.now().seen.elapsed();
        if silent > MOVE_AFTER {
            match held.contest().await {
                Ok(seat) => held.taken(seat),
                Err(why) if why.exit == Exit::Unreachable => {}
                Err(why) => return held.lose(why.message),
            }
        }
    }
}

impl Held {
    fn zone(&self, index: usize) -> &str {
        self.zones.get(index).map_or("", |client| client.zone().as_str())
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, seat: Seat) -> Option<(&Client, VmTemplateId)> {
        let client = self.zones.get(seat.0)?;
        Some((client, VmTemplateId::new(client.zone().clone(), seat.1)))
    }

    fn taken(&self, seat: Seat) {
        let mut now = self.now();
        (now.seat, now.seen) = (seat, Instant::now());
    }

    fn lose(&self, why: impl ToString) {
        self.now().lost = Some(why.to_string());
    }

    /// Renews once. True when the lock is lost.
    async fn beat(&self) -> bool {
        let (seat, beat) = {
            let mut now = self.now();
            now.beat += 1;
            (now.seat, now.beat)
        };
        let Some((client, id)) = self.id(seat) else { return true };
        let Ok(text) = Record::beat_text(beat) else { return true };
        match client.template_update(&id, &text, true).await {
            Ok(()) => self.now().seen = Instant::now(),
            Err(why) if why.is_not_found() => {
                self.lose(format!("VM template {id} is gone"));
                return true;
            }
            // What passes is tried again; what does not, shows by the time that goes by.
            Err(_) => {}
        }
        false
    }

    async fn check(&self) -> Result<(), Failure> {
        let (seat, silent) = {
            let now = self.now();
            if let Some(why) = &now.lost {
                return Err(lost(why));
            }
            (now.seat, now.seen.elapsed())
        };
        if silent < FRESH {
            return Ok(());
        }
        let Some((client, id)) = self.id(seat) else { return Ok(()) };
        match client.template_info(&id).await {
            Ok(_) => self.now().seen = Instant::now(),
            Err(why) if why.is_not_found() => {
                self.lose(format!("VM template {id} is gone"));
                return Err(lost(&format!("VM template {id} is gone")));
            }
            Err(why) if silent > DOUBT => return Err(lost(&format!("it could not be renewed: {why}"))),
            Err(_) => {}
        }
        Ok(())
    }

    /// Contends until the lock is ours, or somebody else's.
    async fn contest(&self) -> Result<Seat, Failure> {
        let (started, mut contest) = (Instant::now(), Contest::new(Identity::own()));
        let (mut said, mut passing) = (false, 0_u32);
        while started.elapsed() < PATIENCE {
            let (seen, up) = self.look().await?;
            let next = contest.next(&seen, Instant::now(), Identity::lives);
            let done = match next {
                Move::Won(seat) => return Ok(seat),
                Move::GiveUp(lock) => return Err(taken(&lock)),
                Move::Watch(lock) => {
                    if !said {
                        self.output.say(format!(
                            "  {} holds the lock; if it does not renew it for {LIFE} s, it is taken over",
                            lock.words()
                        ));
                        said = true;
                    }
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Move::Want => self.noted(up, "lock", self.want(up)).await?,
                Move::Hold(seat) => self.hold(seat).await,
                Move::Withdraw(seat) => self.noted(seat.0, "unlock", self.remove(seat)).await?,
                Move::TakeOver(seat, lock) => {
                    self.output.say(format!("  taking over the lock of {}, which is gone", lock.words()));
                    self.noted(seat.0, "unlock", self.remove(seat)).await?
                }
            };
            match done {
                Ok(()) => {}
                // Somebody was faster, or it is known by now what came of it: both show at the next look.
                Err(why) if why.is_name_taken() || why.is_not_found() => {}
                Err(why) if why.is_transient() && passing < 10 => {
                    passing += 1;
                    tokio::time::sleep(LOOK / 2).await;
                }
                Err(why) => {
                    return Err(Failure::from(why).hint(format!(
                        "the lock is the VM template {} in zone {}; remove it by hand if nobody is at work",
                        self.name,
                        self.zone(0)
                    )));
                }
            }
        }
        let text = format!("the lock {} changed hands for {} s", self.name, PATIENCE.as_secs());
        Err(Failure::new(Exit::TryAgain, "locked", text).hint("try again in a moment"))
    }

    /// All locks of this federation that this login may see, and the first zone that answers.
    async fn look(&self) -> Result<(Vec<(Seat, Record)>, usize), Failure> {
        let asked = self.zones.iter().map(Client::templates);
        let (mut seen, mut up, mut down) = (Vec::new(), None, None);
        for (index, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            let templates = match answer {
                Ok(templates) => templates,
                Err(why) if why.is_transient() => {
                    down.get_or_insert(why);
                    continue;
                }
                Err(why) => return Err(why.into()),
            };
            up = up.or(Some(index));
            for template in templates.iter().filter(|template| template.name == self.name) {
                let Some(record) = Record::read(template, &self.record.federation) else {
                    let text = format!(
                        "VM template {} has the name of onefed's lock ({}), and is none",
                        template.id, self.name
                    );
                    return Err(Failure::new(Exit::Configuration, "lock-name", text)
                        .hint("give it another name, or remove it"));
                };
                seen.push(((index, template.id.id), record));
            }
        }
        match (up, down) {
            (Some(up), _) => Ok((seen, up)),
            (None, Some(why)) => Err(why.into()),
            (None, None) => Err(Failure::new(Exit::BadInput, "zone", "the plan has no zone")),
        }
    }

    async fn want(&self, zone: usize) -> Result<(), onefed_opennebula::Error> {
        let Some(client) = self.zones.get(zone) else { return Ok(()) };
        self.now().touched.insert(zone);
        let id = client.template_allocate(&self.record.template(&self.name)?).await?;
        self.open((zone, id.id)).await
    }

    /// A change to a zone, in the journal before it is made and after.
    async fn noted(
        &self,
        zone: usize,
        step: &str,
        work: impl Future<Output = Result<(), onefed_opennebula::Error>>,
    ) -> Result<Result<(), onefed_opennebula::Error>, Failure> {
        self.state.journal("begin", self.zone(zone), step, &self.name)?;
        let done = work.await;
        let (phase, why) = match &done {
            Ok(()) => ("done", String::new()),
            Err(why) => ("failed", format!(": {why}")),
        };
        self.state.journal(phase, self.zone(zone), step, &format!("{}{why}", self.name))?;
        Ok(done)
    }

    /// Others of the group may read it.
    async fn open(&self, seat: Seat) -> Result<(), onefed_opennebula::Error> {
        let Some((client, id)) = self.id(seat) else { return Ok(()) };
        client.template_chmod(&id, Permissions::from_octal(0o640)).await
    }

    async fn hold(&self, seat: Seat) -> Result<(), onefed_opennebula::Error> {
        // Again, since the answer to an allocation may have been lost.
        self.open(seat).await?;
        let Some((client, id)) = self.id(seat) else { return Ok(()) };
        let beat = self.now().beat;
        client.template_update(&id, &Record::beat_text(beat)?, true).await
    }

    async fn remove(&self, seat: Seat) -> Result<(), onefed_opennebula::Error> {
        let Some((client, id)) = self.id(seat) else { return Ok(()) };
        match client.template_delete(&id, false).await {
            Err(why) if !why.is_not_found() => Err(why),
            _ => Ok(()),
        }
    }

    /// Removes everything of this process, in every zone in which there may be something; what could not be removed.
    async fn clean(&self) -> Vec<String> {
        let touched: Vec<usize> = self.now().touched.iter().copied().collect();
        let mut left = Vec::new();
        for zone in touched {
            let mut outcome = self.clean_zone(zone).await;
            for _ in 0..5 {
                if !outcome.as_ref().is_err_and(onefed_opennebula::Error::is_transient) {
                    break;
                }
                tokio::time::sleep(LOOK / 2).await;
                outcome = self.clean_zone(zone).await;
            }
            left.extend(outcome.err().map(|why| why.to_string()));
        }
        left
    }

    async fn clean_zone(&self, zone: usize) -> Result<(), onefed_opennebula::Error> {
        let Some(client) = self.zones.get(zone) else { return Ok(()) };
        for template in client.templates().await? {
            let own = template.name == self.name
                && Record::read(&template, &self.record.federation)
                    .is_some_and(|record| record.identity == self.record.identity);
            if own {
                self.remove((zone, template.id.id)).await?;
            }
        }
        Ok(())
    }
}

fn taken(lock: &Record) -> Failure {
    let text = format!("federation {} is being changed by {}", lock.federation, lock.words());
    Failure::new(Exit::TryAgain, "locked", text).hint("wait until it has ended")
}

fn lost(why: &str) -> Failure {
    let text = format!("the lock of this federation is not ours any more: {why}");
    Failure::new(Exit::TryAgain, "lock-lost", text)
        .hint("somebody else may be at work; look at `onefed plan`, then run the same command again")
}
