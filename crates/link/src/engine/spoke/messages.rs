//! Messages on their way down: offered by the hub, fetched, handed to the SuperNode, confirmed by it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::{self, MessageHead, ObjectId};
use onefed_flower::{Operation, Transport};

use super::{Action, At, ObjectWaiter, PATIENCE, POLL_PATIENCE, Spoke, Waiter, ok};
use crate::engine::frame::{MessageKey, Offer, SpokeFrame, Wanted};
use crate::engine::models::Bases;
use crate::engine::record::SpokeRecord;
use crate::engine::{Shelf, Ticket};

/// A SuperNode that began to fetch a message and dropped it asks again; after so many times nothing will come of it.
const DROPS: u32 = 5;
/// One that never begins has not got the answer, since its connections break, or dies of it: so often it is given out.
const SERVES: u32 = 30;
/// A message is handed over before it is whole if the rest will be there within this time: Flower starts the ClientApp
/// first, and then pulls. Half of the 20 s for which a SuperNode could wait, since the line may become slower.
const SOON: Duration = Duration::from_secs(10);
/// So many of its objects have to be here before anything is said about the rest.
const KNOWN_FROM: usize = 4;

/// A message that its SuperNode has not confirmed.
pub(super) struct Message {
    pub(super) offer: Offer,
    pub(super) head: MessageHead,
    /// Whether it is in the journal.
    pub(super) recorded: bool,
    missing: HashSet<ObjectId>,
    /// What its objects are likely to resemble.
    bases: Bases,
    /// How often it was handed over, whether its SuperNode has begun to fetch it since, and how often that came to nothing.
    serves: u32,
    begun: bool,
    drops: u32,
    /// When the first object that was missing came, and how many have since.
    since: Option<Duration>,
    objects: usize,
}

impl Message {
    /// Everything it is made of: the objects of its tree and the app bundle.
    fn parts(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.offer.fab.iter().map(|(_, id)| *id).chain(self.head.objects.iter().copied())
    }

    fn is_ready(&self, now: Duration) -> bool {
        if self.missing.is_empty() {
            return true;
        }
        // The bundle is asked for at once.
        if self.offer.fab.as_ref().is_some_and(|(_, id)| self.missing.contains(id)) {
            return false;
        }
        let Some(since) = self.since.filter(|_| self.objects >= KNOWN_FROM) else { return false };
        let per_object = now.saturating_sub(since).as_secs_f64() / self.objects as f64;
        per_object * (self.missing.len() as f64) < SOON.as_secs_f64()
    }
}

impl Spoke {
    /// The hub offers a message, perhaps not for the first time.
    pub(super) fn offered(&mut self, offer: Offer, at: &mut At<'_>) {
        let Some(head) = objects::message_head(&offer.body) else { return };
        let key = MessageKey { node: offer.node, id: head.id };
        if self.confirmed.contains_key(&key) || self.has_confirmed(key) {
            // The hub has lost it.
            return at.send(SpokeFrame::Confirm(key, head.run));
        }
        if !self.messages.contains_key(&key) {
            // It may have been void here, and is not any more: its node has been elsewhere, or the hub has not heard of it.
            self.lately.retain(|(other, _)| *other != key);
            self.take_message(offer, at.shelf);
            let missing = self.messages.get(&key).map_or(0, |message| message.missing.len());
            self.counters.objects_reused += (head.objects.len() - missing.min(head.objects.len())) as u64;
        }
        self.secure(key, at);
        self.fetch(key, at);
        self.hand_over(key.node, at);
    }

    /// Puts a message into the journal, if that is possible. On a full disk the hub keeps it instead.
    pub(super) fn secure(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(message) = self.messages.get_mut(&key) else { return };
        if self.storage && !message.recorded {
            message.recorded = true;
            at.record(SpokeRecord::Offered(message.offer.clone()));
        }
        if message.recorded && self.up {
            at.send(SpokeFrame::OfferTaken(key));
        }
    }

    pub(super) fn take_message(&mut self, offer: Offer, shelf: &dyn Shelf) {
        let Some(head) = objects::message_head(&offer.body) else { return };
        let key = MessageKey { node: offer.node, id: head.id };
        if self.messages.contains_key(&key) {
            return;
        }
        let bases = self.models.note(&head, &offer.body);
        let mut message = Message {
            offer,
            head,
            recorded: !self.begun,
            missing: HashSet::new(),
            bases,
            serves: 0,
            begun: false,
            drops: 0,
            since: None,
            objects: 0,
        };
        for id in message.parts() {
            self.pins.keep(shelf, id);
        }
        message.missing = message.parts().filter(|id| !shelf.has(*id)).collect();
        self.messages.insert(key, message);
        self.order.push_back(key);
    }

    /// Asks the hub for what a message lacks.
    pub(super) fn fetch(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(message) = self.messages.get(&key).filter(|_| self.up && self.storage) else { return };
        if message.missing.is_empty() {
            return at.send(SpokeFrame::Whole(key));
        }
        let asked = &mut self.asked;
        let ids = message.parts().filter(|id| message.missing.contains(id) && asked.insert(*id));
        let base = |id| message.bases.get(&id).copied().filter(|base| at.shelf.has(*base));
        let want: Vec<_> = ids.map(|id| Wanted { id, base: base(id) }).collect();
        if !want.is_empty() {
            at.send(SpokeFrame::Want(want));
        }
    }

    /// An object is here: for messages that lacked it, and for those who wait for it.
    pub(super) fn arrived(&mut self, id: ObjectId, at: &mut At<'_>) {
        let mut nodes = Vec::new();
        for (key, message) in &mut self.messages {
            if !message.missing.remove(&id) {
                continue;
            }
            message.since.get_or_insert(at.now.mono);
            message.objects += 1;
            nodes.push(key.node);
            if message.missing.is_empty() && self.up {
                at.send(SpokeFrame::Whole(*key));
            }
        }
        for waiting in self.waiting.remove(&id).into_iter().flatten() {
            let (ticket, transport, whole) = (waiting.waiter.ticket, waiting.waiter.transport, waiting.whole);
            self.counters.objects_served += 1;
            at.actions.push(Action::Serve { ticket, transport, id, whole });
        }
        for node in nodes {
            self.hand_over(node, at);
        }
    }

    /// A SuperNode asks for work.
    pub(super) fn poll(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        let waiter = Waiter { ticket, transport: call.transport, until: at.now.mono + POLL_PATIENCE };
        if self.drop_unfinished_replies(node, &call, at) {
            return at.answer(ticket, ok(call.transport, Bytes::new()));
        }
        // It asks one thing at a time: an older poll is one that it has given up.
        if let Some(older) = self.polls.insert(node, waiter) {
            at.answer(older.ticket, ok(older.transport, Bytes::new()));
        }
        if self.next_message(node).is_some() {
            return self.hand_over(node, at);
        }
        if self.up {
            return self.pass_poll(call, at);
        }
        self.polls.remove(&node);
        let answer = if self.within_hold(at.now) {
            self.counters.answered_here += 1;
            ok(call.transport, Bytes::new())
        } else {
            self.unavailable(call.transport)
        };
        at.answer(ticket, answer);
    }

    /// What SuperLink said to a poll. A message came as an offer before; it is in here only while the hub's disk is full.
    pub(super) fn poll_result(&mut self, node: u64, call: &FleetCall, answer: FleetAnswer, at: &mut At<'_>) {
        if answer.is_ok() && self.next_message(node).is_some() {
            return self.hand_over(node, at);
        }
        match self.polls.remove(&node) {
            Some(poll) if poll.transport == call.transport => at.answer(poll.ticket, answer),
            Some(poll) => at.answer(poll.ticket, ok(poll.transport, Bytes::new())),
            None => {}
        }
    }

    /// The oldest message of a node.
    fn next_message(&self, node: u64) -> Option<MessageKey> {
        self.order.iter().find(|key| key.node == node).copied()
    }

    /// Hands the oldest message to a SuperNode that waits, if it is time.
    fn hand_over(&mut self, node: u64, at: &mut At<'_>) {
        let Some(key) = self.next_message(node) else { return };
        let through = !self.keeps();
        let Some(message) = self.messages.get_mut(&key) else { return };
        if !(message.is_ready(at.now.mono) || through) {
            return;
        }
        let Some(poll) = self.polls.remove(&node) else { return };
        message.drops += u32::from(std::mem::take(&mut message.begun));
        if message.drops >= DROPS || message.serves >= SERVES {
            tracing::error!(node, message = %key.id, serves = message.serves, "a SuperNode never confirmed a message: given up");
            self.counters.given_up += 1;
            if self.up {
                at.send(SpokeFrame::GaveUp(key));
            }
            self.message_gone(key, at);
            return at.answer(poll.ticket, ok(poll.transport, Bytes::new()));
        }
        message.serves += 1;
        self.counters.served_again += u64::from(message.serves > 1);
        at.answer(poll.ticket, ok(poll.transport, message.offer.body.clone()));
    }

    /// A SuperNode fetches what a message needs: the one that it was handed last.
    fn begins(&mut self, node: u64) {
        let handed = self.next_message(node).and_then(|key| self.messages.get_mut(&key));
        if let Some(message) = handed.filter(|message| message.serves > 0) {
            message.begun = true;
        }
    }

    /// GetRun and GetFab: the hub has asked already.
    pub(super) fn get_run(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        self.begins(node);
        let of_node = |run| self.messages.iter().find(move |(key, m)| key.node == node && m.head.run == run);
        if call.operation == Operation::GetRun {
            let run = objects::asked_run(&call.body).and_then(of_node).and_then(|(_, m)| m.offer.run.clone());
            if let Some(body) = run {
                self.counters.answered_here += 1;
                return at.answer(ticket, ok(call.transport, body));
            }
        } else if let Some((run, hash)) = objects::asked_fab(&call.body) {
            let fab = of_node(run).and_then(|(_, m)| m.offer.fab.clone()).filter(|(named, _)| *named == hash);
            if let Some((_, id)) = fab.filter(|(_, id)| at.shelf.has(*id) || self.keeps()) {
                return self.serve(ticket, node, call.transport, id, true, at);
            }
        }
        self.pass(ticket, call, at);
    }

    /// A SuperNode pulls an object of a message that it has not confirmed. Anything else is SuperLink's to decide.
    pub(super) fn pull_object(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        self.begins(node);
        let asked = objects::asked_object(&call.body);
        let granted = asked.filter(|asked| {
            let of_node = self.messages.iter().filter(|(key, _)| key.node == node);
            of_node.into_iter().any(|(_, m)| m.head.run == asked.run && m.head.objects.contains(&asked.id))
        });
        match granted {
            Some(asked) if at.shelf.has(asked.id) || self.keeps() => {
                self.serve(ticket, node, call.transport, asked.id, false, at);
            }
            _ => self.pass(ticket, call, at),
        }
    }

    fn serve(
        &mut self,
        ticket: Ticket,
        node: u64,
        transport: Transport,
        id: ObjectId,
        whole: bool,
        at: &mut At<'_>,
    ) {
        self.counters.answered_here += 1;
        if at.shelf.has(id) {
            self.counters.objects_served += 1;
            return at.actions.push(Action::Serve { ticket, transport, id, whole });
        }
        if !self.messages.values().any(|message| message.missing.contains(&id)) {
            // It was here, and went without a word: it was found damaged when another was to be coded against it.
            self.lost(id, at);
        }
        let waiter = Waiter { ticket, transport, until: at.now.mono + PATIENCE };
        self.waiting.entry(id).or_default().push(ObjectWaiter { waiter, node, whole });
    }

    /// A SuperNode has the whole message.
    pub(super) fn confirm(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        let Some(asked) = objects::asked_object(&call.body) else {
            return self.pass(ticket, call, at);
        };
        let key = MessageKey { node, id: asked.id };
        let lately = self.lately.iter().any(|(other, _)| *other == key);
        if !lately && !self.messages.contains_key(&key) && !self.confirmed.contains_key(&key) {
            return self.pass(ticket, call, at);
        }
        self.counters.answered_here += 1;
        self.confirmed_by(key, asked.run, at);
        if !self.storage && self.confirmed.contains_key(&key) {
            let waiter = Waiter { ticket, transport: call.transport, until: at.now.mono + PATIENCE };
            return self.unconfirmed.entry(key).or_default().push(waiter);
        }
        at.answer(ticket, ok(call.transport, Bytes::new()));
    }

    /// A SuperNode has the whole message, of this run. Nothing if it is known already, or the message was never here. One
    /// that is void here may not be void for the hub.
    pub(super) fn confirmed_by(&mut self, key: MessageKey, run: u64, at: &mut At<'_>) {
        if !self.messages.contains_key(&key) && !self.lately.contains(&(key, false)) {
            return;
        }
        self.forget_message(key, at.shelf);
        self.lately.retain(|(other, _)| *other != key);
        self.confirmed.insert(key, run);
        if self.storage {
            at.record(SpokeRecord::Confirmed(key, run));
        }
        if self.up {
            at.send(SpokeFrame::Confirm(key, run));
        }
    }

    /// A message is void.
    pub(super) fn message_gone(&mut self, key: MessageKey, at: &mut At<'_>) {
        if let Some(message) = self.messages.get(&key) {
            if message.recorded {
                at.record(SpokeRecord::MessageDone(key));
            }
            self.forget_message(key, at.shelf);
            self.remember(key, false);
            self.drop_waiters(key.node, at);
        }
    }

    pub(super) fn forget_message(&mut self, key: MessageKey, shelf: &dyn Shelf) {
        let Some(message) = self.messages.remove(&key) else { return };
        self.order.retain(|other| *other != key);
        for id in message.parts() {
            self.pins.release(shelf, id);
        }
        // The hub may have refused what was asked for a message that is void. Whoever needs it next asks again.
        for id in &message.missing {
            if !self.messages.values().any(|other| other.missing.contains(id)) {
                self.asked.remove(id);
            }
        }
    }

    /// A node's waits for objects have lost their reason.
    pub(super) fn drop_waiters(&mut self, node: u64, at: &mut At<'_>) {
        let late: Vec<_> =
            self.waiting.values_mut().flat_map(|all| all.extract_if(.., |w| w.node == node)).collect();
        for waiting in late {
            let answer = self.unavailable(waiting.waiter.transport);
            at.answer(waiting.waiter.ticket, answer);
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    /// An object is gone from the shelf, or could not be put together from its base: it is fetched again as it is.
    pub(super) fn lost(&mut self, id: ObjectId, at: &mut At<'_>) {
        self.asked.remove(&id);
        let mut again = Vec::new();
        for (key, message) in &mut self.messages {
            message.bases.remove(&id);
            if message.parts().any(|part| part == id) && !at.shelf.has(id) {
                message.missing.insert(id);
                again.push(*key);
            }
        }
        for key in again {
            self.fetch(key, at);
        }
        self.reply_lost(id, at);
    }
}
