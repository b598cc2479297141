//! Replies on their way up: fetched from the spoke, kept, and pushed to SuperLink in one go when all of it is here.
//!
//! SuperLink ends a push session 180 s after its last object, so none is begun before. What goes wrong is repeated in the
//! same session: once the ServerApp has fetched the head of the reply, a second session wants nothing, whatever is missing.
//! A second PushObject of an object that got there is refused, and that is no harm: only then a new session is begun, and
//! SuperLink says what it still lacks.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::{self, MessageHead, ObjectId};

use super::{Action, Again, At, Hub, SpokeName, Work, backoff};
use crate::engine::frame::{HubFrame, MessageKey, Reply, Wanted};
use crate::engine::models::Bases;
use crate::engine::record::HubRecord;
use crate::engine::{Now, Shelf};

/// So many objects of the reply whose turn it is are with the client to SuperLink, and one of each other reply that was begun:
/// the ServerApp fetches one reply after the other, the first that it heard of first, and sleeps for 1 s, 2 s, 4 s … where an
/// object is not there yet. One of the others, so that their sessions stay alive.
const PUSHES: usize = 4;
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);
/// A reply that SuperLink refuses for other reasons than being busy is tried so often.
const TRIES: u32 = 20;
/// For so long a reply is kept that was begun and whose node is gone.
const BEGUN_KEPT: Duration = Duration::from_secs(24 * 3600);
/// So many replies are remembered after they are done, for spokes that have not heard of it.
const REMEMBERED: usize = 4096;

/// A reply that SuperLink does not have yet.
pub(super) struct Incoming {
    pub(super) reply: Reply,
    head: MessageHead,
    missing: HashSet<ObjectId>,
    /// What its objects are likely to resemble.
    bases: Bases,
    /// Whether all of it is here, and in the journal.
    pub(super) recorded: bool,
    session: String,
    queue: VecDeque<ObjectId>,
    /// Its place among the replies that were begun.
    turn: Option<u64>,
    under_way: BTreeSet<ObjectId>,
    /// Something went wrong: go on after a while, when nothing is under way.
    again: bool,
    /// PushMessages is under way.
    asking: bool,
    /// SuperLink may have opened a session that is not known here, for a hub that was killed or while a disk was full. The
    /// ServerApp may have fetched the reply's head since, and then SuperLink says of a second session that nothing is wanted,
    /// although objects are.
    doubt: bool,
    /// Objects go to whatever session wants them.
    any_session: bool,
    /// SuperLink did not store an object of this session: it has it already, or the session is dead.
    unstored: bool,
    tries: u32,
    /// Refusals that will not pass by waiting.
    refused: u32,
}

impl Incoming {
    /// It is whole, and was when the hub stopped: a session may be open.
    pub(super) fn resume(&mut self) {
        (self.recorded, self.doubt) = (true, true);
    }

    fn is_begun(&self) -> bool {
        self.asking || self.doubt || !self.under_way.is_empty() || !self.queue.is_empty()
    }

    /// The message that it answers.
    pub(super) fn answers(&self) -> Option<ObjectId> {
        self.head.reply_to
    }
}

impl Hub {
    /// A spoke has a reply, perhaps not for the first time.
    pub(super) fn reply(&mut self, name: &SpokeName, reply: Reply, at: &mut At<'_>) {
        let head = objects::message_head(&reply.body);
        let answered = head.as_ref().and_then(|head| head.reply_to);
        let answered = answered.map(|id| MessageKey { node: reply.node, id });
        // Who answers a message has it, should the spoke have lost that it was confirmed.
        if let Some((key, head)) = answered.zip(head).filter(|(key, _)| self.messages.contains_key(key)) {
            self.confirmed(name, key, head.run, at);
        }
        if !self.storage {
            // The spoke has it, and says so again after the next reconnect or when there is room.
            let owed = &self.owed;
            self.unkept.extend(answered.filter(|key| owed.contains(key)));
            self.unkept.retain(|key| owed.contains(key));
            return;
        }
        answered.map(|key| self.unkept.remove(&key));
        // After a restart nothing else says where a node is that has been silent since.
        self.node(reply.node).spoke.get_or_insert_with(|| name.clone());
        let before = self.replies.len();
        let Some(key) = self.take_reply(reply, at.shelf) else { return };
        let is_new = self.replies.len() > before;
        self.look_for_silent(at);
        if self.done_known.contains(&key) {
            return at.send(name, HubFrame::ReplyTaken(key));
        }
        let Some(incoming) = self.replies.get(&key) else { return };
        if incoming.recorded {
            return at.send(name, HubFrame::ReplyTaken(key));
        }
        if incoming.missing.is_empty() {
            return self.reply_whole(key, at);
        }
        let Some(spoke) = self.spokes.get_mut(name) else { return };
        // What is on its way for another reply comes once. Who repeats a reply may have forgotten what was wanted, or what
        // it sent found no room here.
        let missing = incoming.head.objects.iter().filter(|id| incoming.missing.contains(id));
        let missing = missing.filter(|id| spoke.owes.insert(**id) || !is_new);
        let base = |id| incoming.bases.get(id).copied().filter(|base| at.shelf.has(*base));
        let want: Vec<_> = missing.map(|id| Wanted { id: *id, base: base(id) }).collect();
        if !want.is_empty() {
            at.send(name, HubFrame::Want(want));
        }
    }

    pub(super) fn take_reply(&mut self, reply: Reply, shelf: &dyn Shelf) -> Option<MessageKey> {
        let head = objects::message_head(&reply.body)?;
        let key = MessageKey { node: reply.node, id: head.id };
        if self.done_known.contains(&key) || self.replies.contains_key(&key) {
            return Some(key);
        }
        for id in &head.objects {
            self.pins.keep(shelf, *id);
        }
        let missing = head.objects.iter().filter(|id| !shelf.has(**id)).copied().collect();
        let bases = self.models.for_reply(&head, &reply.body);
        let incoming = Incoming {
            reply,
            head,
            missing,
            bases,
            recorded: false,
            session: String::new(),
            queue: VecDeque::new(),
            turn: None,
            under_way: BTreeSet::new(),
            again: false,
            asking: false,
            doubt: self.through.contains(&key.id.0),
            any_session: false,
            unstored: false,
            tries: 0,
            refused: 0,
        };
        self.replies.insert(key, incoming);
        Some(key)
    }

    /// The reply is done, one way or the other.
    pub(super) fn forget_reply(&mut self, key: MessageKey, shelf: &dyn Shelf) {
        if let Some(incoming) = self.replies.remove(&key) {
            for id in &incoming.head.objects {
                self.pins.release(shelf, *id);
            }
            if let Some(id) = incoming.head.reply_to {
                self.owed.remove(&MessageKey { node: key.node, id });
            }
        }
        if self.done_known.insert(key) {
            self.done.push_back(key);
        }
        if self.done.len() > REMEMBERED {
            self.done.pop_front().map(|oldest| self.done_known.remove(&oldest));
        }
    }

    pub(super) fn arrived_for_replies(&mut self, id: ObjectId, at: &mut At<'_>) {
        let mut whole = Vec::new();
        for (key, reply) in &mut self.replies {
            if reply.missing.remove(&id) && reply.missing.is_empty() && !reply.recorded {
                whole.push(*key);
            }
        }
        for key in whole {
            self.reply_whole(key, at);
        }
    }

    /// All of it is here: the spoke may forget it, and SuperLink gets it.
    fn reply_whole(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(incoming) = self.replies.get_mut(&key) else { return };
        incoming.recorded = true;
        at.record(HubRecord::Replied(incoming.reply.clone()));
        if let Some(spoke) = self.nodes.get(&key.node).and_then(|node| node.spoke.clone()) {
            at.send(&spoke, HubFrame::ReplyTaken(key));
        }
        self.begin_session(key, at);
    }

    pub(super) fn begin_session(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(incoming) = self.replies.get_mut(&key).filter(|incoming| incoming.recorded) else { return };
        if incoming.asking || !incoming.under_way.is_empty() {
            return;
        }
        if !incoming.queue.is_empty() {
            incoming.again = false;
            return self.push_on(key, at);
        }
        let body = incoming.reply.body.clone();
        if self.ask(Work::Session(key), key.node, Operation::PushMessages, body, at) {
            self.replies.entry(key).and_modify(|incoming| incoming.asking = true);
        } else {
            // Its node's next call brings fresh headers.
            let wait = backoff(self.replies.get(&key).map_or(0, |incoming| incoming.tries), FIRST, LONGEST);
            self.replies.entry(key).and_modify(|incoming| incoming.tries = incoming.tries.saturating_add(1));
            self.again_at(at.now.mono + wait, Again::Session(key));
        }
    }

    pub(super) fn session_answered(&mut self, key: MessageKey, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        let Some(incoming) = self.replies.get_mut(&key) else { return };
        incoming.asking = false;
        incoming.doubt |=
            answer.as_ref().is_none_or(|answer| answer.is_passing() && !answer.is_unavailable());
        let Some(answer) = answer else { return self.session_later(key, false, at) };
        if answer.is_forbidden() {
            tracing::info!(node = key.node, reply = %key.id, "the run of a reply has ended: {}", answer.words());
            return self.reply_done(key, at);
        }
        if !answer.is_ok() {
            let passing = answer.is_unavailable() || answer.is_unauthenticated();
            if !passing {
                tracing::warn!(node = key.node, reply = %key.id, "SuperLink refuses a reply: {}", answer.words());
            }
            return self.session_later(key, !passing, at);
        }
        let Some(session) = objects::push_session(&answer.body) else {
            return self.session_later(key, true, at);
        };
        let wanted: HashSet<ObjectId> = session.wanted.into_iter().collect();
        incoming.session = session.session;
        // The ServerApp finds each when it asks for it.
        let order = objects::pull_order(&incoming.reply.body);
        incoming.queue = order.iter().filter(|id| wanted.contains(id)).copied().collect();
        incoming.turn.get_or_insert(self.next_turn);
        self.next_turn += 1;
        (incoming.again, incoming.unstored) = (false, false);
        if incoming.queue.is_empty() && incoming.doubt && !incoming.any_session {
            // Without a session's name an object is stored for whoever wants it, or refused.
            incoming.any_session = true;
            incoming.session.clear();
            incoming.queue = order.into();
        }
        incoming.doubt = false;
        self.push_on(key, at);
    }

    /// A reply that was passed through, call by call.
    pub(super) fn answered_through(&mut self, node: u64, body: &Bytes, at: &mut At<'_>) {
        let head = objects::message_head(body);
        let key = head.as_ref().and_then(|head| head.reply_to).map(|id| MessageKey { node, id });
        if let Some((key, head)) = key.zip(head)
            && let Some(spoke) = self.messages.get(&key).map(|message| message.spoke.clone())
        {
            self.confirmed(&spoke, key, head.run, at);
        }
        if let Some(key) = key.filter(|key| self.owed.remove(key) && !self.confirms.contains_key(key)) {
            at.record(HubRecord::MessageDone(key));
        }
    }

    /// The replies of which SuperLink has the head, perhaps, and not all objects.
    pub(super) fn replies_begun(&self, now: Now) -> Vec<MessageKey> {
        let begun =
            self.replies.iter().filter(|(key, reply)| reply.is_begun() && !self.is_silent(key.node, now));
        begun.map(|(key, _)| *key).collect()
    }

    /// SuperLink takes replies under their node's own fresh signature only, and the node is gone. Of one that was begun the
    /// ServerApp may have the head, and a SuperLink before 1.40 lets it wait for the rest without end: that goes when the
    /// node comes back, if it does within a day of the hub's time, and if there is room. One that has a session by name is
    /// void by now.
    pub(super) fn give_up_replies(&mut self, node: u64, at: &mut At<'_>) {
        let gone = !self.storage || self.is_silent_for(BEGUN_KEPT, node, at.now);
        let whole = self.replies.iter().filter(|(key, reply)| key.node == node && reply.recorded);
        for (key, kept) in whole
            .map(|(key, reply)| (*key, !gone && reply.is_begun() && reply.session.is_empty()))
            .collect::<Vec<_>>()
        {
            if kept {
                self.end_of_wait(key, at);
                continue;
            }
            tracing::error!(node, reply = %key.id, "a reply could not be delivered before its node was gone: given up");
            self.counters.given_up += 1;
            self.reply_done(key, at);
        }
    }

    /// A run has ended: nobody waits for replies of nodes that are gone.
    pub(super) fn drop_kept_replies(&mut self, run: u64, at: &mut At<'_>) {
        let of_run = self.replies.iter().filter(|(_, reply)| reply.recorded && reply.head.run == run);
        let kept: Vec<_> =
            of_run.map(|(key, _)| *key).filter(|key| self.is_silent(key.node, at.now)).collect();
        kept.into_iter().for_each(|key| self.reply_done(key, at));
    }

    /// The messages that are answered by replies of which not all is here.
    pub(super) fn unfinished_replies(&self) -> Vec<MessageKey> {
        let unfinished = self.replies.iter().filter(|(_, reply)| !reply.recorded);
        unfinished.filter_map(|(key, r)| r.answers().map(|id| MessageKey { node: key.node, id })).collect()
    }

    pub(super) fn drop_unfinished_replies(&mut self, spoke: &SpokeName, shelf: &dyn Shelf) {
        let of_spoke = |node| self.nodes.get(&node).is_some_and(|node| node.spoke.as_ref() == Some(spoke));
        let unfinished = self.replies.iter().filter(|(key, reply)| !reply.recorded && of_spoke(key.node));
        for key in unfinished.map(|(key, _)| *key).collect::<Vec<_>>() {
            if let Some(incoming) = self.replies.remove(&key) {
                incoming.head.objects.iter().for_each(|id| self.pins.release(shelf, *id));
            }
        }
    }

    /// The SuperNode has given up a reply to this message in the middle: what came of it is of no use.
    pub(super) fn drop_replies_to(&mut self, key: MessageKey, at: &mut At<'_>) {
        let to_it = |(other, reply): (&MessageKey, &Incoming)| {
            (other.node == key.node && !reply.recorded && reply.answers() == Some(key.id)).then_some(*other)
        };
        let dropped: Vec<_> = self.replies.iter().filter_map(to_it).collect();
        for key in dropped {
            if let Some(incoming) = self.replies.remove(&key) {
                incoming.head.objects.iter().for_each(|id| self.pins.release(at.shelf, *id));
                for spoke in self.spokes.values_mut() {
                    spoke.owes.retain(|id| !incoming.head.objects.contains(id));
                }
            }
        }
    }

    /// Keeps the pushes of a reply going.
    fn push_on(&mut self, key: MessageKey, at: &mut At<'_>) {
        let headers = self.usable_headers(key.node, at.now);
        let at_work = self.replies.values().filter(|reply| !reply.queue.is_empty() && !reply.again);
        let first = at_work.filter_map(|reply| reply.turn).min();
        let Some(incoming) = self.replies.get_mut(&key) else { return };
        let most = if incoming.turn == first { PUSHES } else { 1 };
        if incoming.under_way.is_empty() && incoming.queue.is_empty() && !incoming.again {
            if incoming.unstored && !incoming.session.is_empty() {
                // A new session says what is still wanted.
                (incoming.unstored, incoming.doubt) = (false, true);
                return self.session_later(key, true, at);
            }
            self.counters.replies += 1;
            return self.reply_done(key, at);
        }
        let Some((transport, headers)) = headers else {
            incoming.again = true;
            if incoming.under_way.is_empty() {
                self.session_later(key, false, at);
            }
            return;
        };
        while incoming.under_way.len() < most && !incoming.again {
            let Some(id) = incoming.queue.pop_front() else { break };
            incoming.under_way.insert(id);
            let job = self.next_job;
            self.next_job += 1;
            self.jobs.insert(job, Work::Push(key, id));
            at.actions.push(Action::PushStored {
                job,
                call: FleetCall {
                    operation: Operation::PushObject,
                    transport,
                    headers: headers.clone(),
                    body: Bytes::new(),
                },
                node: key.node,
                run: incoming.head.run,
                session: incoming.session.clone(),
                id,
            });
        }
        if incoming.under_way.is_empty() && incoming.again {
            self.session_later(key, false, at);
        }
    }

    pub(super) fn push_answered(
        &mut self,
        key: MessageKey,
        id: ObjectId,
        answer: Option<FleetAnswer>,
        at: &mut At<'_>,
    ) {
        let Some(incoming) = self.replies.get_mut(&key) else { return };
        incoming.under_way.remove(&id);
        match answer {
            Some(answer) if answer.is_ok() && objects::object_stored(&answer.body) => incoming.tries = 0,
            Some(answer) if answer.is_ok() => incoming.unstored = true,
            Some(answer) if answer.is_forbidden() => return self.reply_done(key, at),
            other => {
                incoming.refused +=
                    u32::from(other.is_some_and(|a| !a.is_passing() && !a.is_unauthenticated()));
                incoming.queue.push_front(id);
                incoming.again = true;
            }
        }
        self.push_on(key, at);
    }

    fn session_later(&mut self, key: MessageKey, refused: bool, at: &mut At<'_>) {
        let Some(incoming) = self.replies.get_mut(&key) else { return };
        self.counters.sessions_again += 1;
        let wait = backoff(incoming.tries, FIRST, LONGEST);
        incoming.tries += 1;
        incoming.refused += u32::from(refused);
        if incoming.refused >= TRIES {
            let reply_to = incoming.head.reply_to;
            tracing::error!(node = key.node, reply = %key.id, tries = TRIES, "SuperLink never took a reply: given up");
            self.counters.given_up += 1;
            self.reply_done(key, at);
            let id = reply_to.unwrap_or(key.id);
            return self.gave_up(MessageKey { node: key.node, id }, at);
        }
        self.again_at(at.now.mono + wait, Again::Session(key));
    }

    pub(super) fn reply_done(&mut self, key: MessageKey, at: &mut At<'_>) {
        at.record(HubRecord::ReplyDone(key));
        self.node(key.node).busy(at.now.mono);
        self.end_of_wait(key, at);
        self.forget_reply(key, at.shelf);
    }

    /// An object of a reply is gone from the shelf, or could not be put together from its base. While the spoke has the
    /// reply it sends it again, as it is.
    pub(super) fn reply_lost(&mut self, id: ObjectId, at: &mut At<'_>) {
        let named = self.replies.iter_mut().filter(|(_, reply)| reply.head.objects.contains(&id));
        let mut lost = Vec::new();
        for (key, incoming) in named {
            incoming.bases.remove(&id);
            if incoming.recorded {
                // If SuperLink has it already it will not be asked for again.
                incoming.again = true;
                incoming.refused += 1;
                lost.push(*key);
            } else {
                incoming.missing.insert(id);
            }
        }
        for key in lost {
            self.push_on(key, at);
        }
        // The spokes that have such replies hear once what is wanted.
        let missing = self.replies.iter().filter(|(_, r)| r.missing.contains(&id)).map(|(key, _)| key.node);
        let spokes: BTreeSet<SpokeName> =
            missing.filter_map(|node| self.nodes.get(&node)?.spoke.clone()).collect();
        for spoke in spokes {
            if let Some(spoke) = self.spokes.get_mut(&spoke).filter(|spoke| spoke.up) {
                spoke.owes.insert(id);
            }
            at.send(&spoke, HubFrame::Want(vec![id.into()]));
        }
    }
}
