//! The spoke's engine: Flower's Fleet API for the SuperNodes of a site.
//!
//! A message comes down as an offer and is handed over when its objects are here (`messages`); a reply is taken in whole
//! and goes up afterwards (`replies`); every other call is the hub's to answer (`calls`). While the line is down, polls,
//! heartbeats and uploads are answered here, for as long as the hub keeps the nodes alive at SuperLink.

mod calls;
mod messages;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::objects::{self, MessageHead, ObjectId};
use onefed_flower::signature::signed_at;
use onefed_flower::{Operation, Transport, messages as flower};

use self::calls::Calls;
use self::messages::Message;
use self::replies::Outgoing;
use super::auth::{self, Verifier};
use super::frame::{HubFrame, MessageKey, Reply, SpokeFrame, Wanted};
use super::models::Models;
use super::record::SpokeRecord;
use super::wants::Wants;
use super::{Connection, Now, Pins, Shelf, Ticket};

/// What happens to a spoke.
#[derive(Clone, Debug)]
pub enum Event {
    /// Both connections to the hub are there.
    Up,
    /// They are gone.
    Down,
    /// The hub says something.
    Frame(HubFrame),
    /// A SuperNode calls, by this connection.
    Call(Ticket, Connection, FleetCall),
    /// Nobody waits for that answer any more.
    Abandoned(Ticket),
    /// An object came over the bulk connection, was verified, and is on the shelf.
    Stored(ObjectId),
    /// What became of [`Action::StorePushed`]: the object is on the shelf, or why not.
    Pushed(Ticket, Result<(), NotStored>),
    /// An object that should be on the shelf is not, or is damaged.
    Lost(ObjectId),
    /// Whether the disk can take more.
    Storage(bool),
    /// For how long the hub hides a cut. The shorter time rules: beyond it SuperLink knows that the nodes are gone.
    Hold(Duration),
    /// Time has passed.
    Tick,
}

/// Why an object is not on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Its content has another SHA-256.
    WrongHash,
    /// The disk would not take it.
    NoRoom,
}

/// What a spoke wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send to the hub.
    Send(SpokeFrame),
    /// Answer a SuperNode.
    Answer(Ticket, FleetAnswer),
    /// Answer a SuperNode from the shelf: the object as a PullObject answer, or with `whole` as the body itself. If it is
    /// not there after all, answer "unavailable" and tell by [`Event::Lost`].
    Serve {
        /// Who waits.
        ticket: Ticket,
        /// How they speak.
        transport: Transport,
        /// What they get.
        id: ObjectId,
        /// Whether the object is the whole body.
        whole: bool,
    },
    /// Verify an object and put it on the shelf; tell by [`Event::Pushed`].
    StorePushed(Ticket, ObjectId, Bytes),
    /// Write into the journal.
    Record(SpokeRecord),
}

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The site, for texts.
    pub site: String,
    /// For how long a cut of the line is hidden from SuperNodes.
    pub hold: Duration,
}

/// What a spoke has done since its start, for metrics. Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of SuperNodes.
    pub calls: u64,
    /// Of these, answered without asking the hub.
    pub answered_here: u64,
    /// Calls sent again after a reconnect.
    pub retries: u64,
    /// Cuts of the line that are over and that no SuperNode saw: there were some, the cut was no longer than the hold, and
    /// the disk had room.
    pub cuts_hidden: u64,
    /// Objects that came over the line.
    pub objects_down: u64,
    /// Objects handed to SuperNodes.
    pub objects_served: u64,
    /// Objects that were here when a message named them.
    pub objects_reused: u64,
    /// Objects sent to the hub.
    pub objects_up: u64,
    /// Messages handed to SuperNodes more than once.
    pub served_again: u64,
    /// Messages and replies that came to nothing here.
    pub given_up: u64,
}

/// Objects, messages and calls that a spoke has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that their SuperNodes have not confirmed.
    pub messages: usize,
    /// Replies that the hub does not have yet.
    pub replies: usize,
    /// Calls without an answer.
    pub calls: usize,
    /// Objects that may not be evicted.
    pub objects: usize,
    /// Objects that the hub wants.
    pub wanted: usize,
}

/// A call must be answered before Flower's own patience (30 s) ends.
const PATIENCE: Duration = Duration::from_secs(25);
/// A poll with nothing to bring comes back earlier, so that a message is never handed to a SuperNode that has just left.
const POLL_PATIENCE: Duration = Duration::from_secs(20);
/// Flower gives a heartbeat 5 s.
const HEARTBEAT_PATIENCE: Duration = Duration::from_millis(3500);
/// So often the hub is given fresh headers of a node whose calls are answered here.
const AUTH_EVERY: Duration = Duration::from_secs(20);
/// A SuperNode that called within this time is there: its heartbeats come every 30 s.
const LIVES: Duration = Duration::from_secs(60);
/// A call that was signed so long before another one that has come from its node is an older one that came late: less is
/// the way of calls that were made side by side.
const LATE: Duration = Duration::from_secs(2);
/// So many messages that are no longer here are remembered for SuperNodes that confirm twice.
const CONFIRMED_REMEMBERED: usize = 1024;
/// So many nodes are known at most, beside those that have something in hand. The one that is forgotten asks the hub
/// until SuperLink accepts it again: a SuperNode whose key is made at its start is another node each time.
const NODES: usize = 1024;

/// A node of the site.
#[derive(Default)]
struct Node {
    /// The key (PEM) that SuperLink knows it by.
    key: String,
    /// Whether its last activation or heartbeat was accepted, and it has not left.
    active: bool,
    headers: Option<(Transport, HeaderMap)>,
    /// When its newest call was signed.
    newest: Option<SystemTime>,
    told: Option<Duration>,
    /// When it last called.
    heard: Duration,
    /// Internal errors of SuperLink in a row that the node was not told of.
    softened: u32,
}

/// A SuperNode that waits for something.
struct Waiter {
    ticket: Ticket,
    transport: Transport,
    until: Duration,
}

/// A SuperNode that waits for an object.
struct ObjectWaiter {
    waiter: Waiter,
    node: u64,
    whole: bool,
}

/// The spoke's engine.
pub struct Spoke {
    settings: Settings,
    epoch: u64,
    begun: bool,
    up: bool,
    down_since: Duration,
    /// The line is down, SuperNodes were there then, and nothing had to be passed through.
    hiding: bool,
    storage: bool,
    hub_storage: bool,
    hub_hold: Duration,
    nodes: BTreeMap<u64, Node>,
    verifier: Verifier,
    messages: BTreeMap<MessageKey, Message>,
    /// In the order in which they came.
    order: VecDeque<MessageKey>,
    /// What the hub has to be told, with the run.
    confirmed: BTreeMap<MessageKey, u64>,
    /// Confirmed on a full disk: the SuperNode hears of it when the hub has.
    unconfirmed: HashMap<MessageKey, Vec<Waiter>>,
    /// Messages that are no longer here, and whether their SuperNodes have confirmed them.
    lately: VecDeque<(MessageKey, bool)>,
    replies: BTreeMap<MessageKey, Outgoing>,
    /// The last reply of each node that the hub has: its SuperNode may not know yet that it was taken.
    sent: BTreeMap<u64, (Reply, MessageHead)>,
    polls: BTreeMap<u64, Waiter>,
    waiting: HashMap<ObjectId, Vec<ObjectWaiter>>,
    /// Objects asked of the hub on this connection.
    asked: HashSet<ObjectId>,
    pushes: HashMap<Ticket, (MessageKey, ObjectId, Transport)>,
    calls: Calls,
    hub_wants: Wants,
    models: Models,
    pins: Pins,
    counters: Counters,
}

impl Spoke {
    /// Makes an engine from a journal.
    pub fn new(
        settings: Settings,
        records: impl IntoIterator<Item = SpokeRecord>,
        now: Now,
        shelf: &dyn Shelf,
    ) -> Self {
        let mut spoke = Self {
            settings,
            epoch: 0,
            begun: false,
            up: false,
            down_since: now.mono,
            hiding: false,
            storage: true,
            hub_storage: true,
            hub_hold: Duration::MAX,
            nodes: BTreeMap::new(),
            verifier: Verifier::default(),
            messages: BTreeMap::new(),
            order: VecDeque::new(),
            confirmed: BTreeMap::new(),
            unconfirmed: HashMap::new(),
            lately: VecDeque::new(),
            replies: BTreeMap::new(),
            sent: BTreeMap::new(),
            polls: BTreeMap::new(),
            waiting: HashMap::new(),
            asked: HashSet::new(),
            pushes: HashMap::new(),
            calls: Calls::default(),
            hub_wants: Wants::default(),
            models: Models::default(),
            pins: Pins::default(),
            counters: Counters::default(),
        };
        for record in records {
            spoke.replay(record, shelf);
        }
        spoke.epoch += 1;
        spoke.calls.begin(spoke.epoch);
        spoke
    }

    fn replay(&mut self, record: SpokeRecord, shelf: &dyn Shelf) {
        match record {
            SpokeRecord::Epoch(epoch) => self.epoch = self.epoch.max(epoch),
            SpokeRecord::Node(node, key) => {
                // Whether it is still there shows with its next heartbeat; until then it is given the benefit.
                self.nodes.insert(node, Node { key, active: true, ..Node::default() });
            }
            SpokeRecord::Offered(offer) => {
                self.take_message(offer, shelf);
            }
            SpokeRecord::Confirmed(key, run) => {
                self.forget_message(key, shelf);
                self.confirmed.insert(key, run);
            }
            SpokeRecord::MessageDone(key) => {
                self.forget_message(key, shelf);
                let confirmed = self.confirmed.remove(&key).is_some();
                self.remember(key, confirmed);
            }
            SpokeRecord::Replied(reply) => {
                self.take_reply(reply, shelf);
            }
            SpokeRecord::Spooled(key) => {
                if let Some(reply) = self.replies.get_mut(&key) {
                    reply.spooled = true;
                }
            }
            SpokeRecord::ReplyDone(key) => self.forget_reply(key, shelf),
        }
    }

    /// The number of this start, one more than that of the last. The hub refuses a lower one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is in hand.
    pub fn depth(&self) -> Depth {
        Depth {
            messages: self.messages.len(),
            replies: self.replies.len(),
            calls: self.calls.len(),
            objects: self.pins.kept(),
            wanted: self.hub_wants.len(),
        }
    }

    /// The records that make an engine like this one, for a journal that has grown.
    pub fn snapshot(&self) -> Vec<SpokeRecord> {
        let mut records = vec![SpokeRecord::Epoch(self.epoch)];
        let nodes = self.nodes.iter().filter(|(_, node)| node.active);
        records.extend(nodes.map(|(id, node)| SpokeRecord::Node(*id, node.key.clone())));
        let messages = self.order.iter().filter_map(|key| self.messages.get(key));
        let kept = messages.filter(|message| message.recorded);
        records.extend(kept.map(|message| SpokeRecord::Offered(message.offer.clone())));
        records.extend(self.confirmed.iter().map(|(key, run)| SpokeRecord::Confirmed(*key, *run)));
        for (key, reply) in &self.replies {
            records.push(SpokeRecord::Replied(reply.reply.clone()));
            if reply.spooled {
                records.push(SpokeRecord::Spooled(*key));
            }
        }
        let sent = self.sent.iter().filter(|(node, _)| self.nodes.get(node).is_some_and(|n| n.active));
        for (node, (reply, head)) in sent {
            records.push(SpokeRecord::Replied(reply.clone()));
            records.push(SpokeRecord::ReplyDone(MessageKey { node: *node, id: head.id }));
        }
        records
    }

    /// Takes an event in. What is to be done is appended to `actions`.
    pub fn handle(&mut self, now: Now, event: Event, shelf: &dyn Shelf, actions: &mut Vec<Action>) {
        if !self.begun {
            self.begun = true;
            actions.push(Action::Record(SpokeRecord::Epoch(self.epoch)));
        }
        let mut at = At { now, shelf, actions };
        match event {
            Event::Up => self.line_up(&mut at),
            Event::Down => self.line_down(&mut at),
            Event::Frame(frame) => self.frame(frame, &mut at),
            Event::Call(ticket, connection, call) => self.call(ticket, connection, call, &mut at),
            Event::Abandoned(ticket) => self.abandoned(ticket),
            Event::Stored(id) => {
                self.counters.objects_down += 1;
                self.asked.remove(&id);
                self.arrived(id, &mut at);
            }
            Event::Pushed(ticket, result) => self.pushed(ticket, result, &mut at),
            Event::Lost(id) => self.lost(id, &mut at),
            Event::Storage(ok) => self.storage_is(ok, &mut at),
            Event::Hold(hold) => self.hub_hold = hold,
            Event::Tick => {}
        }
        self.expire(&mut at);
    }

    /// When [`Event::Tick`] is due at the latest, if nothing else happens before.
    pub fn deadline(&self) -> Option<Duration> {
        let polls = self.polls.values().map(|poll| poll.until);
        let objects = self.waiting.values().flatten().map(|waiting| waiting.waiter.until);
        let confirms = self.unconfirmed.values().flatten().map(|waiter| waiter.until);
        polls.chain(objects).chain(confirms).chain(self.calls.deadline()).min()
    }

    /// The next object to send on a bulk connection to the hub, if one is wanted and there.
    pub fn next_object(&mut self, shelf: &dyn Shelf) -> Option<Wanted> {
        let next = self.hub_wants.next(shelf);
        self.counters.objects_up += u64::from(next.is_some());
        next
    }

    /// Whether [`next_object`](Self::next_object) has something.
    pub fn has_object(&self) -> bool {
        self.hub_wants.is_ready()
    }

    fn line_up(&mut self, at: &mut At<'_>) {
        let hidden = std::mem::take(&mut self.hiding) && self.within_hold(at.now) && self.keeps();
        self.counters.cuts_hidden += u64::from(hidden);
        self.up = true;
        self.hub_wants.clear();
        self.asked.clear();
        at.send(SpokeFrame::Storage(self.storage));
        for (id, node) in &mut self.nodes {
            let fresh = node
                .headers
                .as_ref()
                .filter(|(_, headers)| auth::age(headers, at.now.wall).is_some_and(|age| age < auth::USABLE));
            if let Some((transport, headers)) = fresh {
                node.told = Some(at.now.mono);
                at.send(SpokeFrame::Auth { node: *id, transport: *transport, headers: headers.clone() });
            }
        }
        for (key, run) in &self.confirmed {
            at.send(SpokeFrame::Confirm(*key, *run));
        }
        let again: Vec<_> = self.replies.keys().copied().collect();
        for key in again {
            self.send_reply(key, at);
        }
        self.counters.retries += self.calls.send_all(at);
        for key in self.order.clone() {
            // The hub says which of them are void meanwhile.
            self.secure(key, at);
            self.fetch(key, at);
        }
    }

    fn line_down(&mut self, at: &mut At<'_>) {
        if self.up {
            self.down_since = at.now.mono;
            let there = |node: &Node| node.active && at.now.mono < node.heard + LIVES;
            self.hiding = self.keeps() && self.nodes.values().any(there);
        }
        self.up = false;
        self.hub_wants.clear();
        self.asked.clear();
        for waiter in self.calls.drop_polls() {
            at.answer(waiter.ticket, self.unavailable(waiter.transport));
        }
        for (_, poll) in std::mem::take(&mut self.polls) {
            at.answer(poll.ticket, ok(poll.transport, Bytes::new()));
        }
    }

    fn frame(&mut self, frame: HubFrame, at: &mut At<'_>) {
        match frame {
            HubFrame::Result { seq, answer } => self.result(seq, answer, at),
            HubFrame::Offer(offer) => self.offered(offer, at),
            HubFrame::Want(all) => all.into_iter().for_each(|wanted| self.wanted(wanted, at)),
            HubFrame::ConfirmTaken(key) => {
                // Where the disk has lost that it was confirmed, the hub knows it.
                if self.messages.contains_key(&key) {
                    self.forget_message(key, at.shelf);
                    self.confirmed.insert(key, 0);
                    at.record(SpokeRecord::Confirmed(key, 0));
                }
                if self.confirmed.remove(&key).is_some() {
                    at.record(SpokeRecord::MessageDone(key));
                }
                self.remember(key, true);
                for waiter in self.unconfirmed.remove(&key).into_iter().flatten() {
                    at.answer(waiter.ticket, ok(waiter.transport, Bytes::new()));
                }
            }
            HubFrame::ReplyTaken(key) => self.reply_taken(key, at),
            HubFrame::Gone(key) => {
                self.drop_unfinished_reply_to(key, at);
                self.message_gone(key, at);
            }
            HubFrame::Echo(number) => at.send(SpokeFrame::Echo(number)),
            HubFrame::Storage(ok) => {
                let again = ok && !self.hub_storage;
                self.hub_storage = ok;
                if again {
                    let replies: Vec<_> = self.replies.keys().copied().collect();
                    replies.into_iter().for_each(|key| self.send_reply(key, at));
                }
            }
        }
    }

    fn call(&mut self, ticket: Ticket, connection: Connection, call: FleetCall, at: &mut At<'_>) {
        self.counters.calls += 1;
        let known = self.known(connection, &call, at);
        match (call.operation, known) {
            (Operation::SendNodeHeartbeat, Some(node)) => self.heartbeat(ticket, node, call, at),
            // Who signed something since does not wait for this answer any more.
            (Operation::PullMessages, Some(node)) if self.is_late(node, &call) => {
                at.answer(ticket, ok(call.transport, Bytes::new()));
            }
            (Operation::PullMessages, Some(node)) => self.poll(ticket, node, call, at),
            (Operation::GetRun | Operation::GetFab, Some(node)) => self.get_run(ticket, node, call, at),
            (Operation::PullObject, Some(node)) => self.pull_object(ticket, node, call, at),
            (Operation::ConfirmMessageReceived, Some(node)) => self.confirm(ticket, node, call, at),
            (Operation::PushMessages, Some(node)) => self.push_messages(ticket, node, call, at),
            (Operation::PushObject, Some(node)) => self.push_object(ticket, node, call, at),
            _ => self.pass(ticket, call, at),
        }
    }

    /// The node that a call is from, if it is one that SuperLink has accepted with the key that signed the call.
    fn known(&mut self, connection: Connection, call: &FleetCall, at: &mut At<'_>) -> Option<u64> {
        let id = flower::requesting_node(call.operation, &call.body)?;
        let node = self.nodes.get(&id)?;
        let signer = self.verifier.caller(connection, &call.headers, at.now)?;
        let known = node.active && signer.key == node.key;
        if known && !self.is_late(id, call) {
            self.note_time(id, call, signer.checked, at.now);
            if signer.checked {
                self.note_headers(id, call, at);
            }
        }
        known.then_some(id)
    }

    /// Whether a call was signed well before another one that has come from its node.
    fn is_late(&self, id: u64, call: &FleetCall) -> bool {
        let newest = self.nodes.get(&id).and_then(|node| node.newest);
        let by = signed_at(&call.headers).zip(newest).and_then(|(at, newest)| auth::late_by(at, newest));
        by.is_some_and(|by| by >= LATE)
    }

    /// A time that nobody has checked is no later than now.
    fn note_time(&mut self, id: u64, call: &FleetCall, checked: bool, now: Now) {
        let Some((node, at)) = self.nodes.get_mut(&id).zip(signed_at(&call.headers)) else { return };
        let at = if checked { at } else { at.min(now.wall) };
        node.newest = node.newest.filter(|newest| auth::late_by(at, *newest).is_some()).or(Some(at));
    }

    /// Keeps a node's newest headers, and lets the hub have them now and then.
    fn note_headers(&mut self, id: u64, call: &FleetCall, at: &mut At<'_>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.headers = Some((call.transport, call.headers.clone()));
        node.heard = at.now.mono;
        let due = node.told.is_none_or(|told| at.now.mono >= told + AUTH_EVERY);
        if self.up && due {
            node.told = Some(at.now.mono);
            let headers = call.headers.clone();
            at.send(SpokeFrame::Auth { node: id, transport: call.transport, headers });
        }
    }

    /// SuperLink has accepted this key for this node.
    fn learn(&mut self, id: u64, key: String, at: &mut At<'_>) {
        let node = self.nodes.entry(id).or_default();
        if node.key != key || !node.active {
            at.record(SpokeRecord::Node(id, key.clone()));
        }
        (node.key, node.active, node.heard) = (key, true, at.now.mono);
        if self.nodes.len() > NODES {
            let keys = self.messages.keys().chain(self.replies.keys()).chain(self.confirmed.keys());
            let having: BTreeSet<u64> = keys.map(|key| key.node).collect();
            let idle = self.nodes.iter().filter(|(id, _)| !having.contains(id));
            if let Some(id) = idle.min_by_key(|(_, node)| node.heard).map(|(id, _)| *id) {
                self.nodes.remove(&id);
                self.sent.remove(&id);
            }
        }
    }

    /// The node has left, or SuperLink does not know it (any more).
    fn unlearn(&mut self, id: u64, at: &mut At<'_>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.active = false;
        }
        self.sent.remove(&id);
        let of_node = self.messages.keys().filter(|key| key.node == id).copied().collect::<Vec<_>>();
        for key in of_node {
            self.message_gone(key, at);
            if self.up {
                at.send(SpokeFrame::Whole(key));
            }
        }
        self.drop_waiters(id, at);
    }

    fn heartbeat(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        if self.up {
            return self.pass(ticket, call, at);
        }
        self.answer_heartbeat(ticket, node, call.transport, at);
    }

    /// Answers a heartbeat whose way to the hub is blocked: the hub keeps the node alive meanwhile.
    fn answer_heartbeat(&mut self, ticket: Ticket, node: u64, transport: Transport, at: &mut At<'_>) {
        let held = self.nodes.get(&node).is_some_and(|node| node.active) && self.within_hold(at.now);
        if held {
            self.counters.answered_here += 1;
            at.answer(ticket, ok(transport, objects::heartbeat_answer()));
        } else {
            at.answer(ticket, self.unavailable(transport));
        }
    }

    fn within_hold(&self, now: Now) -> bool {
        self.up || now.mono.saturating_sub(self.down_since) <= self.settings.hold.min(self.hub_hold)
    }

    fn storage_is(&mut self, ok: bool, at: &mut At<'_>) {
        if self.storage == ok {
            return;
        }
        self.storage = ok;
        if self.up {
            at.send(SpokeFrame::Storage(ok));
        }
        if ok {
            // What came meanwhile found no room.
            self.asked.clear();
            for key in self.order.clone() {
                self.secure(key, at);
                self.fetch(key, at);
            }
        }
    }

    /// Whether messages and replies are kept here; otherwise every call is passed through.
    fn keeps(&self) -> bool {
        self.storage && self.hub_storage
    }

    fn has_confirmed(&self, key: MessageKey) -> bool {
        self.lately.contains(&(key, true))
    }

    fn remember(&mut self, key: MessageKey, confirmed: bool) {
        if self.has_confirmed(key) {
            return;
        }
        self.lately.retain(|(other, _)| *other != key);
        self.lately.push_back((key, confirmed));
        if self.lately.len() > CONFIRMED_REMEMBERED {
            self.lately.pop_front();
        }
    }

    fn abandoned(&mut self, ticket: Ticket) {
        self.polls.retain(|_, poll| poll.ticket != ticket);
        for waiting in self.waiting.values_mut() {
            waiting.retain(|waiting| waiting.waiter.ticket != ticket);
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        for waiters in self.unconfirmed.values_mut() {
            waiters.retain(|waiter| waiter.ticket != ticket);
        }
        self.calls.abandoned(ticket);
    }

    /// Answers whoever has waited long enough.
    fn expire(&mut self, at: &mut At<'_>) {
        let now = at.now.mono;
        let late: Vec<u64> =
            self.polls.iter().filter(|(_, poll)| poll.until <= now).map(|(node, _)| *node).collect();
        for node in late {
            if let Some(poll) = self.polls.remove(&node) {
                at.answer(poll.ticket, ok(poll.transport, Bytes::new()));
            }
        }
        let unavailable = |transport| {
            let text = format!("spoke of site {}: still on its way", self.settings.site);
            FleetAnswer::refusal(transport, Refusal::Unavailable, &text)
        };
        let waiting = self.waiting.values_mut().flat_map(|all| all.extract_if(.., |w| w.waiter.until <= now));
        let confirms = self.unconfirmed.values_mut().flat_map(|all| all.extract_if(.., |w| w.until <= now));
        let late: Vec<Waiter> = waiting.map(|waiting| waiting.waiter).chain(confirms).collect();
        for waiter in late {
            at.answer(waiter.ticket, unavailable(waiter.transport));
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        self.unconfirmed.retain(|_, waiters| !waiters.is_empty());
        self.expire_calls(at);
    }

    fn unavailable(&self, transport: Transport) -> FleetAnswer {
        let text = format!("spoke of site {}: no answer from the hub", self.settings.site);
        FleetAnswer::refusal(transport, Refusal::Unavailable, &text)
    }
}

/// The moment at which an event is handled: what is known besides the engine, and what is to be done.
struct At<'a> {
    now: Now,
    shelf: &'a dyn Shelf,
    actions: &'a mut Vec<Action>,
}

impl At<'_> {
    fn send(&mut self, frame: SpokeFrame) {
        self.actions.push(Action::Send(frame));
    }

    fn answer(&mut self, ticket: Ticket, answer: FleetAnswer) {
        self.actions.push(Action::Answer(ticket, answer));
    }

    fn record(&mut self, record: SpokeRecord) {
        self.actions.push(Action::Record(record));
    }
}

fn ok(transport: Transport, body: Bytes) -> FleetAnswer {
    FleetAnswer::ok(transport, body)
}
