//! The hub's engine: what spokes bring is put to SuperLink, each thing once.
//!
//! Calls of SuperNodes are made under their own headers (`calls`). A message that a poll brings is kept until its spoke has
//! it, and its objects are pulled once for all sites (`messages`). A reply is pushed when all of it is here (`replies`).
//! While a spoke is out of reach, its nodes are kept alive at SuperLink (`nodes`).

mod calls;
mod latest;
mod messages;
mod nodes;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::ObjectId;
use onefed_flower::{Operation, Transport};

use self::calls::Calls;
use self::latest::Latest;
use self::messages::{Message, Pull, RunInfo};
use self::nodes::{Away, Node};
use self::replies::Incoming;
use super::auth::Verifier;
use super::frame::{HubFrame, MessageKey, SpokeFrame, Wanted};
use super::models::{Models, Recent};
use super::record::HubRecord;
use super::wants::Wants;
use super::{Job, Now, Pins, Shelf};

/// A spoke, by the name of its site and its own.
pub type SpokeName = (String, String);

/// What happens to a hub.
#[derive(Clone, Debug)]
pub enum Event {
    /// Both connections of a spoke are there; older ones of the same spoke are gone.
    Up(SpokeName),
    /// They are gone.
    Down(SpokeName),
    /// A spoke says something.
    Frame(SpokeName, SpokeFrame),
    /// SuperLink's answer to [`Action::Fleet`] or [`Action::PushStored`]; `None` if there is none, and nobody knows
    /// whether the call was carried out.
    Answered(Job, Option<FleetAnswer>),
    /// What became of [`Action::Store`]: whether the object is on the shelf.
    StoreDone(Job, bool),
    /// An object came over a bulk connection, was verified, and is on the shelf.
    Stored(ObjectId),
    /// An object that should be on the shelf is not, or is damaged.
    Lost(ObjectId),
    /// Whether the disk can take more.
    Storage(bool),
    /// Time has passed.
    Tick,
}

/// What a hub wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send to a spoke, if it is there.
    Send(SpokeName, HubFrame),
    /// Make a call to SuperLink.
    Fleet(Job, FleetCall),
    /// Make a PushObject call to SuperLink with an object from the shelf: the body of `call` is to be made by
    /// `push_object_request` with these. If the object is not there, tell by [`Event::Lost`] and answer `None`.
    PushStored {
        /// The job.
        job: Job,
        /// The call, without its body.
        call: FleetCall,
        /// The node.
        node: u64,
        /// The run.
        run: u64,
        /// SuperLink's session.
        session: String,
        /// The object.
        id: ObjectId,
    },
    /// Verify an object that SuperLink gave and put it on the shelf.
    Store(Job, ObjectId, bytes::Bytes),
    /// Write into the journal.
    Record(HubRecord),
}

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For how long the nodes of a spoke that is out of reach are kept alive at SuperLink.
    pub hold: Duration,
}

/// What a hub has done since its start, for metrics. Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that spokes passed on.
    pub calls: u64,
    /// Calls that came a second time, and were not made a second time.
    pub repeated: u64,
    /// Messages pulled from SuperLink.
    pub messages: u64,
    /// Objects pulled from SuperLink.
    pub objects_pulled: u64,
    /// Their bytes.
    pub bytes_pulled: u64,
    /// Objects that were here when a message named them.
    pub objects_reused: u64,
    /// Replies that SuperLink has.
    pub replies: u64,
    /// Push sessions that had to be begun again.
    pub sessions_again: u64,
    /// Cuts during which nodes were kept alive.
    pub holds: u64,
    /// Messages that may have been lost between SuperLink and hub: their nodes were taken offline for a moment, so that
    /// the ServerApp hears of it.
    pub suspected: u64,
    /// Replies and messages that came to nothing, each with a line in the log.
    pub given_up: u64,
    /// Objects that a spoke asked for and that no message of it names.
    pub refused_wants: u64,
    /// Calls that were put off since their spoke had not said that earlier answers arrived.
    pub held_back: u64,
}

/// What a hub has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that their SuperNodes have not confirmed.
    pub messages: usize,
    /// Replies that SuperLink does not have yet.
    pub replies: usize,
    /// Objects being pulled from SuperLink.
    pub pulls: usize,
    /// Jobs under way.
    pub jobs: usize,
    /// Objects that may not be evicted.
    pub objects: usize,
    /// Calls of spokes that may come again: under way, or with an answer that is kept until it has arrived.
    pub calls: usize,
    /// What these take, in bytes.
    pub call_bytes: usize,
}

/// One spoke.
#[derive(Default)]
struct Spoke {
    up: bool,
    storage: bool,
    /// For how long it hides a cut, once it has said so.
    hold: Option<Duration>,
    wants: Wants,
    /// What it was sent.
    has: Recent,
    /// What it was asked for on this connection, and has not brought.
    owes: HashSet<ObjectId>,
    calls: Calls,
    /// When it last said anything, and when it was asked whether it is there.
    heard: Duration,
    asked: Option<Duration>,
}

/// What a job is for.
enum Work {
    Call { spoke: SpokeName, seq: u64, call: FleetCall },
    Run { run: u64, node: u64 },
    Fab { run: u64, hash: String, body: bytes::Bytes },
    StoreFab { run: u64, hash: String, body: bytes::Bytes, id: ObjectId },
    Object(ObjectId),
    StoreObject(ObjectId, u64),
    Confirm(MessageKey),
    Session(MessageKey),
    Push(MessageKey, ObjectId),
    Hold(u64),
    Offline(u64),
    Online(u64),
}

/// What is to be tried again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Object(ObjectId),
    Confirm(MessageKey),
    Session(MessageKey),
    Hold(u64),
    Offline(u64),
    Online(u64),
    /// Messages of nodes that are never heard of again.
    Silent,
}

/// The hub's engine.
pub struct Hub {
    settings: Settings,
    storage: bool,
    spokes: BTreeMap<SpokeName, Spoke>,
    nodes: BTreeMap<u64, Node>,
    verifier: Verifier,
    messages: BTreeMap<MessageKey, Message>,
    runs: HashMap<u64, RunInfo>,
    pulls: HashMap<ObjectId, Pull>,
    pull_queue: VecDeque<ObjectId>,
    pulling: usize,
    /// What SuperLink has to be told, with the run.
    confirms: BTreeMap<MessageKey, u64>,
    /// Messages that their nodes have confirmed and not answered.
    owed: BTreeSet<MessageKey>,
    /// Of these, those whose replies spokes have and there was no room for.
    unkept: BTreeSet<MessageKey>,
    replies: BTreeMap<MessageKey, Incoming>,
    /// The place of the next reply that is begun.
    next_turn: u64,
    done: VecDeque<MessageKey>,
    done_known: HashSet<MessageKey>,
    /// The answers to calls that SuperLink takes once.
    answered: Latest<FleetAnswer>,
    /// Such calls of which nobody knows whether they were carried out.
    open: Latest<()>,
    /// PushObject calls that were passed through, and that SuperLink has carried out, perhaps.
    brought: Latest<()>,
    /// Replies that were passed through, at least their heads.
    through: Latest<()>,
    /// PushMessages calls that were passed through, when they were signed, and what SuperLink said that it wanted.
    wanted: VecDeque<([u8; 32], Option<SystemTime>, Bytes)>,
    jobs: HashMap<Job, Work>,
    next_job: Job,
    later: BTreeSet<(Duration, Again)>,
    models: Models,
    pins: Pins,
    counters: Counters,
}

impl Hub {
    /// Makes an engine from a journal.
    pub fn new(
        settings: Settings,
        records: impl IntoIterator<Item = HubRecord>,
        now: Now,
        shelf: &dyn Shelf,
    ) -> Self {
        let mut hub = Self {
            settings,
            storage: true,
            spokes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            verifier: Verifier::default(),
            messages: BTreeMap::new(),
            runs: HashMap::new(),
            pulls: HashMap::new(),
            pull_queue: VecDeque::new(),
            pulling: 0,
            confirms: BTreeMap::new(),
            owed: BTreeSet::new(),
            unkept: BTreeSet::new(),
            replies: BTreeMap::new(),
            next_turn: 0,
            done: VecDeque::new(),
            done_known: HashSet::new(),
            answered: Latest::default(),
            open: Latest::default(),
            brought: Latest::default(),
            through: Latest::default(),
            wanted: VecDeque::new(),
            jobs: HashMap::new(),
            // Answers to the jobs of an engine before this one in the same process may still come: no number is used twice.
            next_job: u64::try_from(now.mono.as_micros()).unwrap_or_default() + 1,
            later: BTreeSet::new(),
            models: Models::default(),
            pins: Pins::default(),
            counters: Counters::default(),
        };
        for record in records {
            hub.replay(record, shelf);
        }
        hub.resume(now);
        hub
    }

    fn replay(&mut self, record: HubRecord, shelf: &dyn Shelf) {
        match record {
            HubRecord::PollOpen(node) => self.node(node).suspect = true,
            HubRecord::PollShut(node) => self.node(node).suspect = false,
            HubRecord::Offered(site, spoke, offer) => {
                self.node(offer.node).suspect = false;
                self.take_message((site, spoke), offer, shelf);
            }
            HubRecord::OfferTaken(key) => {
                if let Some(message) = self.messages.get_mut(&key) {
                    message.taken = true;
                }
            }
            HubRecord::Whole(key) => self.message_whole(key, shelf),
            HubRecord::Confirmed(key, run) => {
                self.node(key.node);
                self.forget_message(key, shelf);
                self.confirms.insert(key, run);
                self.owed.insert(key);
            }
            HubRecord::ConfirmDone(key) => {
                self.node(key.node);
                self.confirms.remove(&key);
                self.owed.insert(key);
            }
            HubRecord::MessageDone(key) => {
                self.forget_message(key, shelf);
                self.confirms.remove(&key);
                self.owed.remove(&key);
            }
            HubRecord::Replied(reply) => {
                self.node(reply.node);
                if let Some(key) = self.take_reply(reply, shelf) {
                    self.replies.entry(key).and_modify(Incoming::resume);
                }
            }
            HubRecord::ReplyDone(key) => self.forget_reply(key, shelf),
            HubRecord::Answered(print, answer) => {
                self.open.remove(&print);
                self.answered.insert(print, answer);
            }
            HubRecord::AnswerVoid(print) => {
                self.open.remove(&print);
                self.answered.remove(&print);
            }
            HubRecord::CallOpen(print) => {
                self.open.insert(print, ());
            }
            HubRecord::Away(node) => self.node(node).away = Away::Going,
            HubRecord::Back(node) => {
                let node = self.node(node);
                (node.away, node.absence) = (Away::No, None);
            }
            HubRecord::Absent(node, since) => self.replay_absence(node, since),
        }
    }

    /// Takes up again what the journal says is not done.
    fn resume(&mut self, now: Now) {
        self.nodes.values_mut().for_each(|node| node.seen = now.mono);
        self.resume_absences(now);
        for (id, node) in &mut self.nodes {
            if node.is_away() {
                // The ServerApp may not have seen it before the hub stopped.
                self.later.insert((now.mono, Again::Offline(*id)));
            }
        }
        if !self.busy_nodes().is_empty() {
            self.later.insert((now.mono + nodes::SILENT_EVERY, Again::Silent));
        }
        for key in self.confirms.keys() {
            self.later.insert((now.mono, Again::Confirm(*key)));
        }
        for (key, reply) in &self.replies {
            if reply.recorded {
                self.later.insert((now.mono, Again::Session(*key)));
            }
        }
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is in hand.
    pub fn depth(&self) -> Depth {
        let kept = self.spokes.values().map(|spoke| spoke.calls.kept());
        let (calls, call_bytes) = kept.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        Depth {
            calls,
            call_bytes,
            messages: self.messages.len(),
            replies: self.replies.len(),
            pulls: self.pulls.len(),
            jobs: self.jobs.len(),
            objects: self.pins.kept(),
        }
    }

    /// Nodes whose spoke is out of reach: which spoke, and until when they are (or were) kept alive.
    pub fn held(&self) -> impl Iterator<Item = (&SpokeName, Duration)> {
        self.nodes.values().filter_map(|node| node.spoke.as_ref().zip(node.held_until()))
    }

    /// The records that make an engine like this one, for a journal that has grown.
    pub fn snapshot(&self) -> Vec<HubRecord> {
        let mut records = Vec::new();
        for (key, message) in &self.messages {
            let (site, spoke) = message.spoke.clone();
            records.push(HubRecord::Offered(site, spoke, message.offer.clone()));
            if message.taken {
                records.push(HubRecord::OfferTaken(*key));
            }
            if message.whole {
                records.push(HubRecord::Whole(*key));
            }
        }
        let suspects = self.nodes.iter().filter(|(_, node)| node.suspect || node.polling);
        records.extend(suspects.map(|(id, _)| HubRecord::PollOpen(*id)));
        let away = self.nodes.iter().filter(|(_, node)| node.is_away());
        records.extend(away.map(|(id, _)| HubRecord::Away(*id)));
        records.extend(self.absences());
        records.extend(self.owed.iter().map(|key| HubRecord::ConfirmDone(*key)));
        records.extend(self.confirms.iter().map(|(key, run)| HubRecord::Confirmed(*key, *run)));
        let replies = self.replies.values().filter(|reply| reply.recorded);
        records.extend(replies.map(|reply| HubRecord::Replied(reply.reply.clone())));
        records.extend(self.done.iter().map(|key| HubRecord::ReplyDone(*key)));
        records.extend(self.answered.iter().map(|(print, a)| HubRecord::Answered(*print, a.clone())));
        records.extend(self.open.iter().map(|(print, ())| HubRecord::CallOpen(*print)));
        records
    }

    /// Takes an event in. What is to be done is appended to `actions`.
    pub fn handle(&mut self, now: Now, event: Event, shelf: &dyn Shelf, actions: &mut Vec<Action>) {
        let mut at = At { now, shelf, actions };
        match event {
            Event::Up(spoke) => self.spoke_up(spoke, &mut at),
            Event::Down(spoke) => {
                if let Some(spoke) = self.spokes.get_mut(&spoke) {
                    spoke.up = false;
                    spoke.wants.clear();
                    spoke.owes.clear();
                }
            }
            Event::Frame(spoke, frame) => self.frame(spoke, frame, &mut at),
            Event::Answered(job, answer) => self.answered(job, answer, &mut at),
            Event::StoreDone(job, stored) => self.store_done(job, stored, &mut at),
            Event::Stored(id) => {
                for spoke in self.spokes.values_mut() {
                    spoke.owes.remove(&id);
                }
                self.arrived(id, &mut at);
            }
            Event::Lost(id) => self.lost(id, &mut at),
            Event::Storage(ok) => {
                if self.storage != ok {
                    self.storage = ok;
                    // What came meanwhile found no room.
                    self.spokes.values_mut().for_each(|spoke| spoke.owes.clear());
                    let up: Vec<_> = self.up().collect();
                    up.into_iter().for_each(|spoke| at.send(&spoke, HubFrame::Storage(ok)));
                }
            }
            Event::Tick => {}
        }
        self.look_after_nodes(&mut at);
        self.try_again(&mut at);
        self.pump(&mut at);
    }

    /// When [`Event::Tick`] is due at the latest, if nothing else happens before.
    pub fn deadline(&self) -> Option<Duration> {
        self.later.first().map(|(at, _)| *at).into_iter().chain(self.node_deadline()).min()
    }

    /// The next object to send on a bulk connection to a spoke, if one is wanted and there.
    pub fn next_object(&mut self, spoke: &SpokeName, shelf: &dyn Shelf) -> Option<Wanted> {
        let spoke = self.spokes.get_mut(spoke)?;
        let next = spoke.wants.next(shelf)?;
        spoke.has.add(next.id);
        Some(next)
    }

    /// Whether [`next_object`](Self::next_object) has something for a spoke.
    pub fn has_object(&self, spoke: &SpokeName) -> bool {
        self.spokes.get(spoke).is_some_and(|spoke| spoke.wants.is_ready())
    }

    fn up(&self) -> impl Iterator<Item = SpokeName> + '_ {
        self.spokes.iter().filter(|(_, spoke)| spoke.up).map(|(name, _)| name.clone())
    }

    fn spoke_up(&mut self, name: SpokeName, at: &mut At<'_>) {
        let spoke = self.spokes.entry(name.clone()).or_default();
        (spoke.up, spoke.storage, spoke.heard, spoke.asked) = (true, true, at.now.mono, None);
        spoke.wants.clear();
        spoke.owes.clear();
        at.send(&name, HubFrame::Storage(self.storage));
        // The spoke says again which replies it has. What is not among them was given up while the line was down.
        self.drop_unfinished_replies(&name, at.shelf);
        let nodes = &self.nodes;
        self.unkept.retain(|key| nodes.get(&key.node).is_some_and(|node| node.spoke.as_ref() != Some(&name)));
        let open = self.messages.iter().filter(|(_, m)| m.spoke == name && !m.taken && m.offered);
        for (_, message) in open {
            at.send(&name, HubFrame::Offer(message.offer.clone()));
        }
    }

    fn frame(&mut self, name: SpokeName, frame: SpokeFrame, at: &mut At<'_>) {
        let spoke = self.spokes.entry(name.clone()).or_default();
        (spoke.heard, spoke.asked) = (at.now.mono, None);
        match frame {
            SpokeFrame::Call { seq, acked, call } => self.call(name, seq, acked, call, at),
            SpokeFrame::Auth { node, transport, headers } => {
                self.note_auth(&name, node, transport, headers, at.now);
            }
            SpokeFrame::Want(wanted) => self.wanted(&name, wanted, at),
            SpokeFrame::OfferTaken(key) | SpokeFrame::Whole(key)
                if self.messages.get(&key).is_none_or(|message| message.spoke != name) =>
            {
                // Its SuperNode has it, and its reply may be on its way: a spoke that lost power may not know that.
                at.send(
                    &name,
                    match self.owed.contains(&key) {
                        true => HubFrame::ConfirmTaken(key),
                        false => HubFrame::Gone(key),
                    },
                );
            }
            SpokeFrame::OfferTaken(key) => {
                if let Some(message) = self.messages.get_mut(&key).filter(|message| !message.taken) {
                    message.taken = true;
                    at.record(HubRecord::OfferTaken(key));
                }
            }
            SpokeFrame::Whole(key) => {
                if self.messages.get(&key).is_some_and(|message| !message.whole) {
                    at.record(HubRecord::Whole(key));
                    self.message_whole(key, at.shelf);
                }
            }
            SpokeFrame::Confirm(key, run) => self.confirmed(&name, key, run, at),
            SpokeFrame::Reply(reply) => self.reply(&name, reply, at),
            // The rest is for the status, which the shell sees to.
            SpokeFrame::Stats(stats) => spoke.hold = Some(Duration::from_secs(stats.hold_seconds)),
            SpokeFrame::Echo(_) => {}
            SpokeFrame::Storage(ok) => spoke.storage = ok,
            SpokeFrame::GaveUp(key) => {
                self.unkept.remove(&key);
                self.gave_up(key, at);
            }
        }
    }

    fn job(&mut self, work: Work) -> Job {
        let job = self.next_job;
        self.next_job += 1;
        self.jobs.insert(job, work);
        job
    }

    /// Makes a call under a node's own headers. `false` while there are none that SuperLink would take.
    fn ask(
        &mut self,
        work: Work,
        node: u64,
        operation: Operation,
        body: bytes::Bytes,
        at: &mut At<'_>,
    ) -> bool {
        let Some((transport, headers)) = self.usable_headers(node, at.now) else { return false };
        let job = self.job(work);
        at.actions.push(Action::Fleet(job, FleetCall { operation, transport, headers, body }));
        true
    }

    fn usable_headers(&self, node: u64, now: Now) -> Option<(Transport, HeaderMap)> {
        self.nodes.get(&node)?.usable_headers(now)
    }

    fn answered(&mut self, job: Job, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        match self.jobs.remove(&job) {
            None => {}
            Some(Work::Call { spoke, seq, call }) => self.call_answered(spoke, seq, call, answer, at),
            Some(Work::Run { run, node }) => self.run_answered(run, node, answer, at),
            Some(Work::Fab { run, hash, body }) => self.fab_answered(run, hash, body, answer, at),
            Some(Work::Object(id)) => self.object_answered(id, answer, at),
            Some(Work::Confirm(key)) => self.confirm_answered(key, answer, at),
            Some(Work::Session(key)) => self.session_answered(key, answer, at),
            Some(Work::Push(key, id)) => self.push_answered(key, id, answer, at),
            Some(Work::Hold(node)) => self.hold_answered(node, answer, at),
            Some(Work::Offline(node)) => self.offline_answered(node, answer, at),
            Some(Work::Online(node)) => self.online_answered(node, answer, at),
            Some(work @ (Work::StoreFab { .. } | Work::StoreObject(..))) => {
                self.jobs.insert(job, work);
            }
        }
    }

    fn store_done(&mut self, job: Job, stored: bool, at: &mut At<'_>) {
        match self.jobs.remove(&job) {
            Some(Work::StoreFab { run, hash, body, id }) => {
                self.fab_stored(run, stored.then_some((hash, id)), body, at);
            }
            Some(Work::StoreObject(id, length)) => self.object_stored(id, length, stored, at),
            Some(other) => {
                self.jobs.insert(job, other);
            }
            None => {}
        }
    }

    /// An object is on the shelf: for the spokes that want it, and the replies that lacked it.
    fn arrived(&mut self, id: ObjectId, at: &mut At<'_>) {
        for spoke in self.spokes.values_mut() {
            spoke.wants.arrived(id);
            spoke.owes.remove(&id);
        }
        self.arrived_for_replies(id, at);
    }

    fn lost(&mut self, id: ObjectId, at: &mut At<'_>) {
        if at.shelf.has(id) {
            return;
        }
        self.reply_lost(id, at);
        // It may have been the next one for a spoke.
        for (name, spoke) in self.spokes.iter_mut().filter(|(_, spoke)| spoke.up) {
            if self
                .messages
                .values()
                .any(|m| !m.whole && m.spoke == *name && m.parts().any(|part| part == id))
            {
                spoke.wants.add(id.into(), at.shelf);
            }
        }
        if self.messages.values().any(|message| !message.whole && message.parts().any(|part| part == id)) {
            self.pull(id);
        }
    }

    fn again_at(&mut self, when: Duration, what: Again) {
        self.later.insert((when, what));
    }

    fn try_again(&mut self, at: &mut At<'_>) {
        while let Some(first) = self.later.first().copied().filter(|(when, _)| *when <= at.now.mono) {
            self.later.remove(&first);
            match first.1 {
                Again::Object(id) => self.pull_queue.push_back(id),
                Again::Confirm(key) => self.tell_confirmed(key, at),
                Again::Session(key) => self.begin_session(key, at),
                Again::Hold(node) => self.hold(node, at),
                Again::Offline(node) => self.go_offline(node, at),
                Again::Online(node) => self.go_online(node, at),
                Again::Silent => self.forget_silent(at),
            }
        }
    }
}

/// How long to wait before another try: a little longer each time.
fn backoff(tries: u32, first: Duration, most: Duration) -> Duration {
    (first * 2u32.saturating_pow(tries.min(16))).min(most)
}

/// The moment at which an event is handled: what is known besides the engine, and what is to be done.
struct At<'a> {
    now: Now,
    shelf: &'a dyn Shelf,
    actions: &'a mut Vec<Action>,
}

impl At<'_> {
    fn send(&mut self, spoke: &SpokeName, frame: HubFrame) {
        self.actions.push(Action::Send(spoke.clone(), frame));
    }

    fn record(&mut self, record: HubRecord) {
        self.actions.push(Action::Record(record));
    }
}
