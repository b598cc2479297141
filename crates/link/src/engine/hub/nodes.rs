//! The nodes behind the spokes: their newest headers, whether SuperLink takes them for online, and what is done when
//! their spoke is out of reach or a message may be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::ObjectId;
use onefed_flower::signature::signed_at;
use onefed_flower::{Operation, Transport, messages as flower, objects};

use super::calls::for_now;
use super::replies::Incoming;
use super::{Again, At, Hub, HubFrame, SpokeName, Work};
use crate::engine::auth::{self, USABLE};
use crate::engine::frame::MessageKey;
use crate::engine::record::HubRecord;
use crate::engine::{Asked, Now};

/// Flower's heartbeats come every 22.5 s at the latest, and SuperLink waits for 60 s.
const OVERDUE: Duration = Duration::from_secs(25);
/// A spoke that is there says so within this time.
const ECHO: Duration = Duration::from_secs(5);
/// The interval of a heartbeat sent for a node while more can follow: SuperLink then waits for twice that.
const HELD_INTERVAL: Duration = Duration::from_secs(145);
/// So often one follows.
const HELD_EVERY: Duration = Duration::from_secs(100);
/// Flower's own interval.
const INTERVAL: f64 = 30.0;
/// The longest interval that SuperLink takes.
const LONGEST_INTERVAL: f64 = 1800.0;
/// So long after the hold SuperLink has given up a silent node, and the ServerApp its messages.
pub(super) const SILENT: Duration = Duration::from_secs(180);
/// So often silent nodes are looked for, while there are messages.
pub(super) const SILENT_EVERY: Duration = Duration::from_secs(60);
/// A node that signed anything within this time is there: 22.5 s between two heartbeats, and the way.
const LIVES: Duration = Duration::from_secs(35);
/// ServerApps look every 3 s whether a node has gone, but not while they wait for an object of a reply: up to 12 s.
const AWAY: Duration = Duration::from_secs(15);
/// Nor while they push the objects of messages, which a hub sees by objects that are announced and not there. For so long
/// at most: more than one run may be at it.
const PUSHING: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(2);
/// An internal error in answer to a poll mostly comes from a database that others had locked for 5 s, and before a message
/// was taken. Who goes offline for it at once makes the ServerApp hear of a loss that did not happen: that can wait until
/// the node has been without work for so long.
const UNSURE: Duration = Duration::from_secs(60);
/// Above this number nodes that are silent and have nothing in hand are forgotten: a SuperNode whose key is made at its
/// start is another node each time.
const NODES: usize = 4096;

/// A node.
#[derive(Default)]
pub(super) struct Node {
    pub(super) spoke: Option<SpokeName>,
    /// The key (PEM) that it signs with.
    pub(super) key: Option<String>,
    headers: Option<(Transport, HeaderMap)>,
    /// When the activation was signed that SuperLink accepted last.
    activated: Option<SystemTime>,
    /// When SuperLink last heard of it; nothing while it is not online.
    beat: Option<Duration>,
    /// Until when it is kept alive without its spoke.
    hold: Option<Duration>,
    pub(super) away: Away,
    /// When it last gave a sign of life.
    pub(super) seen: Duration,
    /// It went offline with work in hand, and stays so until the ServerApp has seen it.
    pub(super) absence: Option<Absence>,
    /// For the absence that is about to begin: see there.
    awaited: BTreeMap<ObjectId, u64>,
    /// The message that it was given although the disk is full, so that nobody but its SuperNode has it.
    pub(super) passed: Option<MessageKey>,
    /// Messages that it owes a reply to, or got past the disk, and when it asked for other work all the same.
    asked: BTreeMap<ObjectId, Asked>,
    /// A poll is on its way to SuperLink.
    pub(super) polling: bool,
    /// A poll's answer got lost, and a message with it, perhaps.
    pub(super) suspect: bool,
    /// Of that: SuperLink did answer, by an internal error.
    unsure: bool,
    /// Until when it is to be without work before anything is done about that; nothing after a restart.
    quiet_until: Option<Duration>,
}

/// For how long a node stays offline at least. A ServerApp that waits for the objects of replies does not look at nodes:
/// the time begins when those are there whose heads it may have had before. It does not while it pushes, either.
pub(super) struct Absence {
    /// In milliseconds since 1970, for the journal: a hub that starts again goes on counting.
    since: u64,
    until: Duration,
    /// The end of what pushing may add.
    latest: Duration,
    behind: Vec<MessageKey>,
    /// It has begun while the ServerApp pushed, or that has begun before it was over.
    pushing: bool,
    /// Objects of its messages that were announced and not there, with the run: they show whether the ServerApp pushes.
    awaited: BTreeMap<ObjectId, u64>,
}

impl Absence {
    /// Whether the ServerApp is at something else, and looks at no node.
    fn waits(&self, now: Now) -> bool {
        !self.behind.is_empty() || self.pushing && now.mono < self.latest
    }
}

/// A node that is taken offline so that the ServerApp hears of a loss.
#[derive(Default, PartialEq, Eq)]
pub(super) enum Away {
    #[default]
    No,
    Going,
    Gone,
}

impl Node {
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    pub(super) fn held_until(&self) -> Option<Duration> {
        self.hold
    }

    pub(super) fn is_away(&self) -> bool {
        self.away != Away::No
    }

    /// Whether it is offline, and the ServerApp may not have seen that.
    fn is_unseen(&self, now: Now) -> bool {
        let absence = self.absence.as_ref();
        self.is_away() || absence.is_some_and(|absence| now.mono < absence.until || absence.waits(now))
    }

    /// The run that an object belongs to whose arrival this node's absence waits for.
    pub(super) fn awaits(&self, id: ObjectId, now: Now) -> Option<u64> {
        let absence = self.absence.as_ref().filter(|absence| now.mono < absence.latest);
        let run = self.awaited.get(&id).or_else(|| absence?.awaited.get(&id));
        run.copied()
    }

    /// It has something under way, or had until now: a suspicion waits. While the ServerApp has not fetched a reply,
    /// SuperLink puts an error into its place as soon as the node is offline.
    pub(super) fn busy(&mut self, now: Duration) {
        self.quiet_until = Some(now + if self.unsure { UNSURE } else { AWAY });
    }

    /// Whether a call was signed before another one that has come from it.
    fn is_late(&self, call: &FleetCall) -> bool {
        let newest = self.headers.as_ref().and_then(|(_, newest)| signed_at(newest));
        signed_at(&call.headers).zip(newest).is_some_and(|(at, newest)| auth::late_by(at, newest).is_some())
    }

    pub(super) fn usable_headers(&self, now: Now) -> Option<(Transport, HeaderMap)> {
        let (transport, headers) = self.headers.as_ref()?;
        (auth::age(headers, now.wall)? < USABLE).then(|| (*transport, headers.clone()))
    }
}

/// The time on the wall, in milliseconds since 1970.
fn millis(now: Now) -> u64 {
    let since = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Hub {
    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.entry(id).or_default()
    }

    pub(super) fn is_away(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(Node::is_away)
    }

    /// Whether a call is from this node, by a key that SuperLink has accepted. A hub that has just started knows none.
    pub(super) fn is_from(&mut self, id: u64, call: &FleetCall, now: Now) -> bool {
        let key = self.nodes.get(&id).and_then(|node| node.key.clone());
        key.is_some() && key == self.verifier.signer(&call.headers, now.wall)
    }

    /// Whether a poll of a node may do something here, or be answered here.
    pub(super) fn is_involved(&self, id: u64) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| node.is_away() || node.polling || node.passed.is_some())
            || self.messages.keys().chain(&self.owed).any(|key| key.node == id)
    }

    /// Keeps the newest headers of a node: only the time is signed, so they serve for whatever has to be said for it.
    pub(super) fn note_headers(
        &mut self,
        spoke: &SpokeName,
        id: u64,
        transport: Transport,
        headers: HeaderMap,
        now: Now,
    ) {
        // Without a time in them they are of no use.
        let Some(age) = auth::age(&headers, now.wall) else { return };
        let node = self.node(id);
        let older = node.headers.as_ref().and_then(|(_, known)| auth::age(known, now.wall));
        (node.spoke, node.seen) = (Some(spoke.clone()), now.mono);
        if older.is_none_or(|older| age <= older) {
            node.key = flower::signing_key(&headers);
            node.headers = Some((transport, headers));
        }
        if self.nodes.len() > NODES {
            self.forget_nodes(now);
        }
    }

    /// Forgets the nodes that SuperLink has given up, and of which nothing is in hand.
    fn forget_nodes(&mut self, now: Now) {
        let patience = self.settings.hold + SILENT;
        let having = self.busy_nodes();
        self.nodes.retain(|id, node| {
            let idle = !node.is_unseen(now) && !node.suspect && !node.polling && node.passed.is_none();
            node.seen + patience >= now.mono || !idle || having.contains(id)
        });
    }

    /// A spoke brings headers of a node that it answers itself. SuperLink has not seen them, so they are checked here:
    /// nobody may speak for the node of another site.
    pub(super) fn note_auth(
        &mut self,
        spoke: &SpokeName,
        id: u64,
        transport: Transport,
        headers: HeaderMap,
        now: Now,
    ) {
        let signer = self.verifier.signer(&headers, now.wall);
        let known = self.nodes.get(&id).and_then(|node| node.key.clone());
        if signer.is_none() || known.is_some_and(|known| Some(known) != signer) {
            return;
        }
        self.note_headers(spoke, id, transport, headers, now);
        // A spoke speaks for nodes that SuperLink has accepted.
        self.node(id).beat.get_or_insert(now.mono);
    }

    /// SuperLink has heard of a node.
    pub(super) fn beat(&mut self, spoke: &SpokeName, id: u64, now: Now) {
        let node = self.node(id);
        node.spoke = Some(spoke.clone());
        (node.beat, node.hold) = (Some(now.mono), None);
    }

    /// What SuperLink said to an activation.
    pub(super) fn activate_answered(
        &mut self,
        spoke: &SpokeName,
        call: &FleetCall,
        answer: FleetAnswer,
        at: &mut At<'_>,
    ) -> FleetAnswer {
        if answer.is_ok() {
            if let Some(id) = flower::granted_node(&answer.body) {
                if self.node(id).absence.take().is_some() {
                    at.record(HubRecord::Back(id));
                }
                self.note_headers(spoke, id, call.transport, call.headers.clone(), at.now);
                self.beat(spoke, id, at.now);
                self.node(id).activated = signed_at(&call.headers);
                self.void_answers(call, id, at);
            }
            return answer;
        }
        if answer.is_passing() || answer.is_unauthenticated() {
            return answer;
        }
        // SuperLink refuses a node that is online: the answer to its first try got lost, or it has started again.
        let key = flower::activated_key(&call.body)
            .filter(|key| Some(key) == flower::signing_key(&call.headers).as_ref());
        let mut of_key = self.nodes.iter().filter(|(_, node)| node.key.is_some() && node.key == key);
        let known = of_key.find(|(id, node)| node.beat.is_some() || self.has_left(call, **id));
        let Some((id, node)) = known.map(|(id, node)| (*id, node)) else { return answer };
        if node.is_late(call) && !self.has_left(call, id) {
            // A SuperNode does nothing before it is activated: this call has had its answer, and comes late once more.
            return FleetAnswer::ok(call.transport, objects::node_answer(id));
        }
        self.note_headers(spoke, id, call.transport, call.headers.clone(), at.now);
        // One that has left was brought back by a heartbeat that was still on its way.
        let has_left = self.has_left(call, id);
        self.void_answers(call, id, at);
        if self.owes(id) || has_left {
            self.take_offline(id, at);
            return for_now(
                call.transport,
                "this SuperNode had work when it stopped: it is taken offline for a moment",
            );
        }
        self.beat(spoke, id, at.now);
        self.node(id).activated = signed_at(&call.headers);
        let body = objects::heartbeat_request(id, INTERVAL);
        self.ask(Work::Hold(id), id, Operation::SendNodeHeartbeat, body, at);
        FleetAnswer::ok(call.transport, objects::node_answer(id))
    }

    /// Whether a node has confirmed a message that no reply answers yet, on its way or otherwise.
    fn owes(&self, id: u64) -> bool {
        let answered = |key: &MessageKey| {
            let answers = |reply: &Incoming| reply.reply.node == id && reply.answers() == Some(key.id);
            self.unkept.contains(key) || self.replies.values().any(answers)
        };
        let passed = self.nodes.get(&id).is_some_and(|node| node.passed.is_some());
        passed || self.owed.iter().any(|key| key.node == id && !answered(key))
    }

    /// Whether a goodbye is an older one of a node that has started again since.
    pub(super) fn is_old_goodbye(&mut self, id: u64, call: &FleetCall, now: Now) -> bool {
        let activated = self.nodes.get(&id).and_then(|node| node.activated);
        let by = signed_at(&call.headers).zip(activated).and_then(|(at, since)| auth::late_by(at, since));
        by.is_some() && self.is_from(id, call, now)
    }

    /// Whether a node asks for work, and did before, although it should be at this message.
    fn goes_on_asking(&mut self, key: MessageKey, poll: &FleetCall) -> bool {
        let node = self.nodes.entry(key.node).or_default();
        if node.is_late(poll) {
            return false;
        }
        let passed = node.passed.map(|passed| passed.id);
        node.asked.retain(|id, _| {
            passed == Some(*id) || self.owed.contains(&MessageKey { node: key.node, id: *id })
        });
        node.asked.entry(key.id).or_default().goes_on(poll)
    }

    /// A node asks for work although it has not confirmed the message that it was given while the disk was full: nobody
    /// has it any more, if it goes on. Whether there is such a message: until then the node gets no other.
    pub(super) fn miss_passed(&mut self, id: u64, poll: &FleetCall, at: &mut At<'_>) -> bool {
        let passed = self.node(id).passed;
        if let Some(key) = passed.filter(|key| self.goes_on_asking(*key, poll)) {
            tracing::warn!(node = id, message = %key.id, "a message was lost on its way, and the disk has no room for it");
            self.counters.suspected += 1;
            self.take_offline(id, at);
        }
        passed.is_some()
    }

    /// A SuperNode confirms a message that is not kept here. If it is the one that was passed on, it owes a reply from
    /// here on.
    pub(super) fn confirms_passed(&mut self, id: u64, message: ObjectId, at: &mut At<'_>) {
        let node = self.node(id);
        if let Some(key) = node.passed.take_if(|key| key.id == message) {
            at.record(HubRecord::ConfirmDone(key));
            at.record(HubRecord::PollShut(id));
            self.owed.insert(key);
        }
    }

    /// A node that asks for work has none. If it has confirmed a message and not answered it, the answer is lost: its
    /// SuperNode was started anew, or its spoke lost its disk. The ServerApp shall hear of it. Whether there was such a message:
    /// until that is settled the node gets no other.
    pub(super) fn settle_debts(&mut self, id: u64, poll: &FleetCall, at: &mut At<'_>) -> bool {
        if !self.storage {
            return false;
        }
        let answered: Vec<_> =
            self.replies.values().filter_map(|r| r.answers().map(|to| (r.reply.node, to))).collect();
        let dropped: Vec<_> = self
            .owed
            .iter()
            .filter(|key| key.node == id && !answered.contains(&(id, key.id)) && !self.unkept.contains(key))
            .copied()
            .collect();
        let any = !dropped.is_empty();
        for key in dropped {
            if !self.goes_on_asking(key, poll) {
                continue;
            }
            self.owed.remove(&key);
            if !self.confirms.contains_key(&key) {
                at.record(HubRecord::MessageDone(key));
            }
            tracing::warn!(node = id, message = %key.id, "a message was received and never answered");
            self.counters.suspected += 1;
            self.take_offline(id, at);
        }
        any
    }

    /// A SuperNode that was killed may never come back: its messages, and the objects that they keep, are not for ever.
    pub(super) fn forget_silent(&mut self, at: &mut At<'_>) {
        for id in self.busy_nodes() {
            if self.is_silent(id, at.now) {
                if self.messages.keys().chain(&self.owed).any(|key| key.node == id) {
                    tracing::warn!(node = id, "nothing was heard of a node for long: its messages are void");
                }
                self.void_messages(id, at);
                let told = self.confirms.keys().filter(|key| key.node == id).copied().collect::<Vec<_>>();
                for key in told {
                    self.confirms.remove(&key);
                    at.record(HubRecord::MessageDone(key));
                }
                self.give_up_replies(id, at);
                for key in self.unfinished_replies().into_iter().filter(|key| key.node == id) {
                    self.drop_replies_to(key, at);
                    if let Some(spoke) = self.node(id).spoke.clone() {
                        at.send(&spoke, HubFrame::Gone(key));
                    }
                }
            }
        }
        if !self.busy_nodes().is_empty() {
            self.look_for_silent(at);
        }
    }

    /// The nodes with anything in hand.
    pub(super) fn busy_nodes(&self) -> BTreeSet<u64> {
        let keys =
            self.messages.keys().chain(&self.owed).chain(self.replies.keys()).chain(self.confirms.keys());
        keys.map(|key| key.node).collect()
    }

    /// Looks for silent nodes in a while.
    pub(super) fn look_for_silent(&mut self, at: &mut At<'_>) {
        if !self.later.iter().any(|(_, what)| *what == Again::Silent) {
            self.again_at(at.now.mono + SILENT_EVERY, Again::Silent);
        }
    }

    /// A poll of a node came to nothing, and nobody knows whether it took a message.
    pub(super) fn poll_unclear(&mut self, id: u64, answered: bool, now: Duration) {
        let node = self.node(id);
        node.unsure = answered && (node.unsure || !node.suspect);
        node.suspect = true;
        node.busy(now);
    }

    /// A node has said goodbye.
    pub(super) fn node_left(&mut self, id: u64, at: &mut At<'_>) {
        let node = self.node(id);
        (node.beat, node.hold, node.suspect) = (None, None, false);
        at.record(HubRecord::PollShut(id));
        let work = self.messages.keys().chain(&self.owed).any(|key| key.node == id)
            || self.replies.keys().any(|key| key.node == id)
            || self.node(id).passed.is_some();
        if work {
            self.begin_absence(id, at);
        }
        self.void_messages(id, at);
    }

    fn void_messages(&mut self, id: u64, at: &mut At<'_>) {
        let of_node: Vec<_> = self.messages.keys().filter(|key| key.node == id).copied().collect();
        of_node.into_iter().for_each(|key| self.message_gone(key, at));
        if self.node(id).passed.take().is_some() {
            at.record(HubRecord::PollShut(id));
        }
        let owed: Vec<_> = self.owed.iter().filter(|key| key.node == id).copied().collect();
        for key in owed {
            self.owed.remove(&key);
            if !self.confirms.contains_key(&key) {
                at.record(HubRecord::MessageDone(key));
            }
        }
    }

    /// A poll after one whose answer got lost brought nothing: a message may be lost. Nothing else of the node may be
    /// under way when it is taken offline, and its last reply has to be where the ServerApp is: that hears an error for
    /// all else.
    pub(super) fn suspected(&mut self, id: u64, at: &mut At<'_>) {
        let under_way = self.messages.keys().any(|key| key.node == id)
            || self.owed.iter().any(|key| key.node == id)
            || self.replies.keys().any(|key| key.node == id);
        let now = at.now.mono;
        let node = self.node(id);
        if under_way || node.quiet_until.is_none() {
            return node.busy(now);
        }
        if node.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        (node.suspect, node.unsure, node.quiet_until) = (false, false, None);
        self.counters.suspected += 1;
        tracing::warn!(node = id, "an answer of SuperLink got lost, and a message with it, perhaps");
        at.record(HubRecord::PollShut(id));
        self.take_offline(id, at);
    }

    /// Nothing will come of a message: the ServerApp has to hear of it.
    pub(super) fn gave_up(&mut self, key: MessageKey, at: &mut At<'_>) {
        self.counters.given_up += 1;
        self.drop_replies_to(key, at);
        self.take_offline(key.node, at);
    }

    fn take_offline(&mut self, id: u64, at: &mut At<'_>) {
        let known = self.is_away(id);
        if !known {
            at.record(HubRecord::Away(id));
            self.node(id).away = Away::Going;
        }
        // Of messages that are void nobody pulls objects any more, and it is by them that one sees whether they are pushed.
        let awaited = self.announced_for(id);
        self.void_messages(id, at);
        self.node(id).awaited.extend(awaited);
        if !known {
            self.go_offline(id, at);
        }
    }

    /// A heartbeat of a node was under way when it was taken offline, and SuperLink may have heard it last.
    pub(super) fn stay_offline(&mut self, id: u64, at: &mut At<'_>) {
        if self.is_away(id) {
            self.go_offline(id, at);
        }
    }

    fn back(&mut self, id: u64, at: &mut At<'_>) {
        let node = self.node(id);
        (node.away, node.absence) = (Away::No, None);
        node.awaited.clear();
        at.record(HubRecord::Back(id));
    }

    /// SuperLink has given it up itself.
    pub(super) fn is_silent(&self, id: u64, now: Now) -> bool {
        self.is_silent_for(self.settings.hold + SILENT, id, now)
    }

    /// Whether nothing was heard of it for longer than this.
    pub(super) fn is_silent_for(&self, patience: Duration, id: u64, now: Now) -> bool {
        self.nodes.get(&id).is_none_or(|node| node.seen + patience < now.mono)
    }

    /// A node is offline from now on, until the ServerApp has seen it.
    fn begin_absence(&mut self, id: u64, at: &mut At<'_>) {
        let mut awaited = self.announced_for(id);
        awaited.append(&mut self.node(id).awaited);
        let (now, behind) = (at.now.mono, self.replies_begun(at.now));
        let since = millis(at.now);
        let pushing = self.pulls.values().any(|pull| pull.announced);
        let absence = Absence { since, until: now + AWAY, latest: now + PUSHING, behind, pushing, awaited };
        self.node(id).absence = Some(absence);
        at.record(HubRecord::Absent(id, since));
    }

    /// The journal says that a node was absent when the hub stopped.
    pub(super) fn replay_absence(&mut self, id: u64, since: u64) {
        let (until, latest) = (Duration::ZERO, Duration::ZERO);
        let (behind, awaited) = (Vec::new(), BTreeMap::new());
        let absence = Absence { since, until, latest, behind, pushing: false, awaited };
        self.node(id).absence = Some(absence);
    }

    /// What is left of absences that began before the hub started. Where clocks are off, no more than all of it.
    pub(super) fn resume_absences(&mut self, now: Now) {
        let behind = self.replies_begun(now);
        for absence in self.nodes.values_mut().filter_map(|node| node.absence.as_mut()) {
            let gone = Duration::from_millis(millis(now).saturating_sub(absence.since));
            absence.until = now.mono + AWAY.saturating_sub(gone);
            absence.latest = now.mono + PUSHING.saturating_sub(gone);
            absence.behind.clone_from(&behind);
        }
    }

    /// What has to be in a journal for the absences to go on.
    pub(super) fn absences(&self) -> impl Iterator<Item = HubRecord> {
        let of_node = |(id, node): (&u64, &Node)| Some(HubRecord::Absent(*id, node.absence.as_ref()?.since));
        self.nodes.iter().filter_map(of_node)
    }

    /// Absences last from now on: what kept the ServerApp from looking is over.
    fn begin_anew(&mut self, which: impl Fn(&mut Absence) -> bool, at: &mut At<'_>) {
        let since = millis(at.now);
        for (id, node) in &mut self.nodes {
            if let Some(absence) = &mut node.absence
                && which(absence)
            {
                (absence.since, absence.until) = (since, at.now.mono + AWAY);
                at.record(HubRecord::Absent(*id, since));
            }
        }
    }

    /// All objects of a reply are with SuperLink: the ServerApp does not wait for them any longer.
    pub(super) fn end_of_wait(&mut self, reply: MessageKey, at: &mut At<'_>) {
        let waits = |absence: &mut Absence| {
            let of_it = absence.behind.iter().position(|key| *key == reply);
            of_it.map(|at| absence.behind.swap_remove(at)).is_some()
        };
        self.begin_anew(waits, at);
    }

    /// SuperLink knows of an object and does not have it: the ServerApp pushes, and looks at no node.
    pub(super) fn app_pushes(&mut self, now: Now) {
        let nodes = self.nodes.values_mut().filter_map(|node| node.absence.as_mut());
        nodes.filter(|absence| now.mono < absence.until).for_each(|absence| absence.pushing = true);
    }

    /// An object that was announced is there, or will never be.
    pub(super) fn end_of_push(&mut self, id: ObjectId, at: &mut At<'_>) {
        self.nodes.values_mut().for_each(|node| {
            node.awaited.remove(&id);
            if let Some(absence) = &mut node.absence {
                absence.awaited.remove(&id);
            }
        });
        if !self.pulls.values().any(|pull| pull.announced) {
            self.begin_anew(|absence| std::mem::take(&mut absence.pushing), at);
        }
    }

    /// Objects of a node's messages that SuperLink knows of and does not have, with their runs.
    fn announced_for(&self, id: u64) -> BTreeMap<ObjectId, u64> {
        let messages = self.messages.iter().filter(|(key, message)| key.node == id && !message.whole);
        let objects = messages.flat_map(|(_, m)| m.head.objects.iter().map(|object| (*object, m.head.run)));
        objects.filter(|(object, _)| self.pulls.get(object).is_some_and(|pull| pull.announced)).collect()
    }

    /// A node that may not be activated yet, since the ServerApp may not have seen that it is offline.
    pub(super) fn has_to_stay_offline(&self, call: &FleetCall, now: Now) -> bool {
        let key = flower::activated_key(&call.body);
        let mut unseen = self.nodes.iter().filter(|(_, node)| node.is_unseen(now));
        // A hub that has just started knows no keys.
        unseen.any(|(id, node)| node.key.is_some() && node.key == key || self.has_left(call, *id))
    }

    pub(super) fn go_offline(&mut self, id: u64, at: &mut At<'_>) {
        let body = objects::deactivate_request(id);
        if self.is_silent(id, at.now) {
            return self.back(id, at);
        }
        if !self.ask(Work::Offline(id), id, Operation::DeactivateNode, body, at) {
            self.again_at(at.now.mono + RETRY, Again::Offline(id));
        }
    }

    pub(super) fn offline_answered(&mut self, id: u64, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        match answer {
            Some(answer) if !answer.is_passing() && !answer.is_unauthenticated() => {
                let node = self.node(id);
                (node.away, node.beat, node.hold) = (Away::Gone, None, None);
                // Refused means that it was offline already.
                if answer.is_ok() || node.absence.is_none() {
                    self.begin_absence(id, at);
                }
                let until = self.node(id).absence.as_ref().map(|absence| absence.until);
                self.again_at(until.unwrap_or_default().max(at.now.mono), Again::Online(id));
            }
            _ => self.again_at(at.now.mono + RETRY, Again::Offline(id)),
        }
    }

    pub(super) fn go_online(&mut self, id: u64, at: &mut At<'_>) {
        let silent = self.is_silent(id, at.now);
        let node = self.node(id);
        if node.away != Away::Gone {
            return;
        }
        let Some(key) = node.key.clone().filter(|_| !silent) else { return self.back(id, at) };
        if let Some(absence) = &node.absence {
            let rest = if absence.waits(at.now) { AWAY } else { Duration::ZERO };
            let until = absence.until.max(at.now.mono + rest);
            if until > at.now.mono {
                return self.again_at(until, Again::Online(id));
            }
        }
        let body = objects::activate_request(&key, INTERVAL);
        if !self.ask(Work::Online(id), id, Operation::ActivateNode, body, at) {
            // Its next own call brings fresh headers.
            self.again_at(at.now.mono + RETRY, Again::Online(id));
        }
    }

    pub(super) fn online_answered(&mut self, id: u64, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        let Some(answer) = answer.filter(|a| !a.is_passing() && !a.is_unauthenticated()) else {
            return self.again_at(at.now.mono + RETRY, Again::Online(id));
        };
        if answer.is_ok() {
            self.node(id).beat = Some(at.now.mono);
        }
        if self.is_away(id) {
            self.back(id, at);
        }
    }

    /// When somebody has to look at a node next.
    pub(super) fn node_deadline(&self) -> Option<Duration> {
        let due = |node: &Node| {
            let beat = node.beat.filter(|_| node.hold.is_none() && !node.is_away())?;
            let spoke = node.spoke.as_ref().and_then(|name| self.spokes.get(name))?;
            let asked = spoke.asked.filter(|_| spoke.up).map(|asked| asked + ECHO);
            Some(asked.unwrap_or(beat + OVERDUE).max(beat + OVERDUE))
        };
        // One that was looked at and is only slow is looked at again with every event, at least every heartbeat.
        self.nodes.values().filter_map(due).min()
    }

    /// Nodes whose heartbeats are overdue: if their spoke is out of reach, they are kept alive.
    pub(super) fn look_after_nodes(&mut self, at: &mut At<'_>) {
        let now = at.now.mono;
        let overdue = |node: &Node| {
            node.hold.is_none() && !node.is_away() && node.beat.is_some_and(|beat| beat + OVERDUE <= now)
        };
        let late: Vec<_> = self.nodes.iter().filter(|(_, node)| overdue(node)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(name) = self.nodes.get(&id).and_then(|node| node.spoke.clone()) else { continue };
            let signed = self.nodes.get(&id).and_then(|node| node.headers.as_ref());
            let signed = signed.and_then(|(_, headers)| auth::age(headers, at.now.wall));
            let Some(spoke) = self.spokes.get_mut(&name) else { continue };
            if spoke.up && signed.is_some_and(|age| age < LIVES) {
                // It is there: its last heartbeat was answered by the spoke, while the line was down.
                self.node(id).beat = Some(now);
                let body = objects::heartbeat_request(id, INTERVAL);
                self.ask(Work::Hold(id), id, Operation::SendNodeHeartbeat, body, at);
                continue;
            }
            match (spoke.up, spoke.asked) {
                (true, None) if spoke.heard + ECHO > now => {
                    // The spoke is there, so the node is not: SuperLink shall see that.
                    self.node(id).beat = None;
                    continue;
                }
                (true, None) => {
                    spoke.asked = Some(now);
                    at.send(&name, HubFrame::Echo(now.as_millis() as u64));
                    continue;
                }
                (true, Some(asked)) if asked + ECHO > now => continue,
                _ => {}
            }
            // The shorter time rules.
            let hold = spoke.hold.map_or(self.settings.hold, |hold| hold.min(self.settings.hold));
            if hold.is_zero() {
                self.node(id).beat = None;
                continue;
            }
            self.counters.holds += 1;
            let until = now + hold;
            tracing::info!(
                node = id,
                site = name.0,
                spoke = name.1,
                seconds = hold.as_secs(),
                "spoke out of reach: its node is kept alive"
            );
            self.node(id).hold = Some(until);
            self.hold(id, at);
        }
    }

    /// Sends a heartbeat for a node whose spoke is out of reach, and plans the next. Its headers live for some minutes only:
    /// the last heartbeat that they allow has to cover the rest.
    pub(super) fn hold(&mut self, id: u64, at: &mut At<'_>) {
        // This one takes the place of the next that was planned.
        self.later.retain(|(_, what)| *what != Again::Hold(id));
        let Some(node) = self.nodes.get(&id) else { return };
        let Some(until) = node.hold.filter(|until| *until > at.now.mono) else { return };
        let age = node.headers.as_ref().and_then(|(_, headers)| auth::age(headers, at.now.wall));
        // A line that is back just in time brings the node's own heartbeat within Flower's interval.
        let rest = until - at.now.mono + Duration::from_secs_f64(INTERVAL);
        let more = rest > 2 * HELD_INTERVAL && age.is_some_and(|age| age + HELD_EVERY < USABLE);
        let interval = if more {
            self.again_at(at.now.mono + HELD_EVERY, Again::Hold(id));
            HELD_INTERVAL.as_secs_f64()
        } else {
            (rest.as_secs_f64() / 2.0).clamp(10.0, LONGEST_INTERVAL)
        };
        let body: Bytes = objects::heartbeat_request(id, interval);
        self.ask(Work::Hold(id), id, Operation::SendNodeHeartbeat, body, at);
    }

    pub(super) fn hold_answered(&mut self, id: u64, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        self.stay_offline(id, at);
        let busy = answer.is_none_or(|answer| answer.is_passing());
        if busy && self.nodes.get(&id).is_some_and(Node::is_held) {
            self.again_at(at.now.mono + RETRY, Again::Hold(id));
        }
    }
}
