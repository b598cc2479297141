//! Messages on their way down: pulled from SuperLink, kept until their spoke has them, their objects pulled once.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::{self, MessageHead, ObjectAnswer, ObjectId};
use ring::digest::{SHA256, digest};

use super::calls::for_now;
use super::{Action, Again, At, Hub, SpokeName, Work, backoff};
use crate::engine::Shelf;
use crate::engine::frame::{HubFrame, MessageKey, Offer, Wanted};
use crate::engine::record::HubRecord;

/// So many objects are asked for or being stored; the client to SuperLink makes one call for an object at a time.
const PULLS: usize = 4;
const PULL_FIRST: Duration = Duration::from_millis(200);
const PULL_LONGEST: Duration = Duration::from_secs(2);
/// SuperLink says "unknown" of an object that it should have: so often it is asked again.
const UNKNOWN: u32 = 3;
const CONFIRM_AGAIN: Duration = Duration::from_secs(1);
/// So many runs' bundles are known at once.
const RUNS: usize = 64;

/// A message that its SuperNode has not confirmed.
pub(super) struct Message {
    pub(super) spoke: SpokeName,
    pub(super) offer: Offer,
    pub(super) head: MessageHead,
    /// Whether it can be offered: run and bundle are known, or will not be.
    pub(super) offered: bool,
    /// Whether the spoke has it in its journal.
    pub(super) taken: bool,
    /// Whether the spoke has all its objects.
    pub(super) whole: bool,
    /// The poll that brought it, while that has no answer.
    poll: Option<u64>,
}

impl Message {
    pub(super) fn parts(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.offer.fab.iter().map(|(_, id)| *id).chain(self.head.objects.iter().copied())
    }
}

/// What is known of a run.
pub(super) enum RunInfo {
    /// Being asked for.
    Asked,
    /// SuperLink's answer to GetRun, and the bundle with the object that is SuperLink's answer to GetFab.
    Known(Bytes, Option<(String, ObjectId)>),
}

/// An object on its way from SuperLink.
#[derive(Default)]
pub(super) struct Pull {
    tries: u32,
    unknown: u32,
    /// SuperLink knows of it and does not have it: the ServerApp is about to push it.
    pub(super) announced: bool,
}

impl Hub {
    /// SuperLink has answered a poll.
    pub(super) fn poll_answered(
        &mut self,
        name: SpokeName,
        seq: u64,
        id: u64,
        call: &FleetCall,
        answer: Option<FleetAnswer>,
        at: &mut At<'_>,
    ) {
        let node = self.node(id);
        node.polling = false;
        let unclear = answer.as_ref().is_none_or(|answer| answer.is_passing() && !answer.is_unavailable());
        if unclear {
            // SuperLink may have marked a message as delivered, and it is lost then. The mark in the journal stays.
            self.poll_unclear(id, answer.is_some(), at.now.mono);
        }
        let Some(answer) = answer else {
            return self.finish(&name, seq, for_now(call.transport, "SuperLink did not answer"), at);
        };
        let head = if answer.is_ok() { objects::message_head(&answer.body) } else { None };
        if let Some(head) = head.as_ref().filter(|_| !self.storage) {
            // Nobody but its SuperNode will have it: should that never confirm it, it is lost.
            self.node(id).passed = Some(MessageKey { node: id, id: head.id });
            at.record(HubRecord::PollOpen(id));
        }
        let Some(head) = head.filter(|_| self.storage) else {
            let empty = answer.is_ok() && objects::no_message(&answer.body);
            if empty && self.node(id).suspect {
                self.suspected(id, at);
            } else if self.storage && !self.node(id).suspect {
                at.record(HubRecord::PollShut(id));
            }
            return self.finish(&name, seq, answer, at);
        };
        self.counters.messages += 1;
        let key = MessageKey { node: id, id: head.id };
        let mut offer = Offer { node: id, body: answer.body, run: None, fab: None };
        let known = match self.runs.get(&head.run) {
            Some(RunInfo::Known(run, fab)) => {
                (offer.run, offer.fab) = (Some(run.clone()), fab.clone());
                true
            }
            _ => false,
        };
        at.record(HubRecord::Offered(name.0.clone(), name.1.clone(), offer.clone()));
        if self.node(id).suspect {
            // Another message was lost before this one, perhaps.
            at.record(HubRecord::PollOpen(id));
        }
        self.look_for_silent(at);
        self.take_message(name.clone(), offer, at.shelf);
        if let Some(message) = self.messages.get_mut(&key) {
            (message.poll, message.offered) = (Some(seq), false);
            let missing: Vec<_> =
                message.head.objects.iter().filter(|id| !at.shelf.has(**id)).copied().collect();
            self.counters.objects_reused += (message.head.objects.len() - missing.len()) as u64;
            missing.into_iter().for_each(|id| self.pull(id));
        }
        if known {
            return self.offer(key, at);
        }
        if self.runs.contains_key(&head.run) {
            return;
        }
        let body = objects::run_request(id, head.run);
        let work = Work::Run { run: head.run, node: id };
        if self.ask(work, id, Operation::GetRun, body, at) {
            self.runs.insert(head.run, RunInfo::Asked);
        } else {
            self.offer(key, at);
        }
    }

    pub(super) fn run_answered(&mut self, run: u64, node: u64, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        match answer {
            Some(answer) if answer.is_ok() => {
                let hash = objects::fab_of_run(&answer.body).filter(|hash| !hash.is_empty());
                let Some(hash) = hash else { return self.run_known(run, answer.body, None, at) };
                let body = objects::fab_request(node, run, &hash);
                let work = Work::Fab { run, hash, body: answer.body.clone() };
                if !self.ask(work, node, Operation::GetFab, body, at) {
                    self.run_unknown(run, at);
                }
            }
            Some(answer) if answer.is_forbidden() => {
                self.forget_run(run, at);
                self.run_over(run, at);
            }
            _ => self.run_unknown(run, at),
        }
    }

    pub(super) fn fab_answered(
        &mut self,
        run: u64,
        hash: String,
        body: Bytes,
        answer: Option<FleetAnswer>,
        at: &mut At<'_>,
    ) {
        let Some(answer) = answer.filter(FleetAnswer::is_ok) else { return self.run_unknown(run, at) };
        let mut id = ObjectId([0; 32]);
        id.0.copy_from_slice(digest(&SHA256, &answer.body).as_ref());
        let job = self.job(Work::StoreFab { run, hash, body, id });
        at.actions.push(Action::Store(job, id, answer.body));
    }

    pub(super) fn fab_stored(
        &mut self,
        run: u64,
        fab: Option<(String, ObjectId)>,
        body: Bytes,
        at: &mut At<'_>,
    ) {
        match fab {
            Some(fab) => {
                let id = fab.1;
                self.run_known(run, body, Some(fab), at);
                self.arrived(id, at);
            }
            None => self.run_unknown(run, at),
        }
    }

    fn run_known(&mut self, run: u64, body: Bytes, fab: Option<(String, ObjectId)>, at: &mut At<'_>) {
        if self.runs.len() > RUNS {
            let used: HashSet<u64> = self.messages.values().map(|message| message.head.run).collect();
            let unused: Vec<u64> = self.runs.keys().filter(|run| !used.contains(run)).copied().collect();
            unused.into_iter().for_each(|run| self.forget_run(run, at));
        }
        self.forget_run(run, at);
        if let Some((_, id)) = &fab {
            self.pins.keep(at.shelf, *id);
        }
        self.runs.insert(run, RunInfo::Known(body.clone(), fab.clone()));
        for key in self.not_offered(run) {
            if let Some(message) = self.messages.get_mut(&key) {
                (message.offer.run, message.offer.fab) = (Some(body.clone()), fab.clone());
                if let Some((_, id)) = &fab {
                    self.pins.keep(at.shelf, *id);
                }
                let (site, spoke) = message.spoke.clone();
                at.record(HubRecord::Offered(site, spoke, message.offer.clone()));
            }
            self.offer(key, at);
        }
    }

    fn forget_run(&mut self, run: u64, at: &mut At<'_>) {
        if let Some(RunInfo::Known(_, Some((_, id)))) = self.runs.remove(&run) {
            self.pins.release(at.shelf, id);
        }
    }

    /// The SuperNode will have to ask for itself.
    fn run_unknown(&mut self, run: u64, at: &mut At<'_>) {
        self.forget_run(run, at);
        self.not_offered(run).into_iter().for_each(|key| self.offer(key, at));
    }

    fn not_offered(&self, run: u64) -> Vec<MessageKey> {
        let open = self.messages.iter().filter(|(_, m)| !m.offered && m.head.run == run);
        open.map(|(key, _)| *key).collect()
    }

    fn offer(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(message) = self.messages.get_mut(&key) else { return };
        message.offered = true;
        let (spoke, poll) = (message.spoke.clone(), message.poll.take());
        if self.spokes.get(&spoke).is_some_and(|spoke| spoke.up) {
            at.send(&spoke, HubFrame::Offer(message.offer.clone()));
        }
        self.answer_poll(&spoke, poll, at);
    }

    /// The poll itself brings nothing: the message is in the offer.
    fn answer_poll(&mut self, spoke: &SpokeName, poll: Option<u64>, at: &mut At<'_>) {
        let transport =
            self.spokes.get(spoke).zip(poll).and_then(|(spoke, seq)| spoke.calls.transport_of(seq));
        if let Some((seq, transport)) = poll.zip(transport) {
            self.finish(spoke, seq, FleetAnswer::ok(transport, Bytes::new()), at);
        }
    }

    /// A node comes through another spoke than before: its messages go there. Whether there were any.
    pub(super) fn move_messages(&mut self, node: u64, to: &SpokeName, at: &mut At<'_>) -> bool {
        let elsewhere =
            self.messages.iter().filter(|(key, m)| key.node == node && m.spoke != *to && m.offered);
        let moved: Vec<_> = elsewhere.map(|(key, message)| (*key, message.offer.clone())).collect();
        for (key, offer) in &moved {
            let old = self.messages.get(key).map(|message| message.spoke.clone());
            if let Some(old) = old.filter(|old| self.spokes.get(old).is_some_and(|spoke| spoke.up)) {
                at.send(&old, HubFrame::Gone(*key));
            }
            at.record(HubRecord::Offered(to.0.clone(), to.1.clone(), offer.clone()));
            self.take_message(to.clone(), offer.clone(), at.shelf);
            at.send(to, HubFrame::Offer(offer.clone()));
        }
        !moved.is_empty()
    }

    /// A spoke passes no poll on while it has a message for the node: one that was offered there and is unconfirmed is not
    /// there, since the spoke has lost it or given it up while the line was down. Whether there was any.
    pub(super) fn offer_again(&mut self, node: u64, name: &SpokeName, at: &mut At<'_>) -> bool {
        let there =
            self.messages.iter_mut().filter(|(key, m)| key.node == node && m.spoke == *name && m.offered);
        let offers: Vec<_> = there
            .map(|(_, message)| {
                message.taken = false;
                message.offer.clone()
            })
            .collect();
        let any = !offers.is_empty();
        offers.into_iter().for_each(|offer| at.send(name, HubFrame::Offer(offer)));
        any
    }

    pub(super) fn take_message(&mut self, spoke: SpokeName, offer: Offer, shelf: &dyn Shelf) {
        let Some(head) = objects::message_head(&offer.body) else { return };
        let key = MessageKey { node: offer.node, id: head.id };
        self.forget_message(key, shelf);
        self.models.note(&head, &offer.body);
        let message = Message { spoke, offer, head, offered: true, taken: false, whole: false, poll: None };
        for id in message.parts() {
            self.pins.keep(shelf, id);
        }
        self.messages.insert(key, message);
    }

    pub(super) fn forget_message(&mut self, key: MessageKey, shelf: &dyn Shelf) {
        self.message_whole(key, shelf);
        self.messages.remove(&key);
    }

    /// The spoke needs no object of it any more.
    pub(super) fn message_whole(&mut self, key: MessageKey, shelf: &dyn Shelf) {
        let Some(message) = self.messages.get_mut(&key).filter(|message| !message.whole) else { return };
        message.whole = true;
        let parts: Vec<_> = message.parts().collect();
        parts.into_iter().for_each(|id| self.pins.release(shelf, id));
    }

    /// A spoke wants objects: it gets those that its messages name.
    pub(super) fn wanted(&mut self, name: &SpokeName, all: Vec<Wanted>, at: &mut At<'_>) {
        // The spoke had all of a message, and something of it is damaged since.
        let wanted: HashSet<ObjectId> = all.iter().map(|wanted| wanted.id).collect();
        for message in self.messages.values_mut().filter(|message| message.spoke == *name && message.whole) {
            if message.parts().any(|id| wanted.contains(&id)) {
                message.whole = false;
                message.parts().for_each(|id| self.pins.keep(at.shelf, id));
            }
        }
        let of_spoke = self.messages.values().filter(|message| message.spoke == *name && !message.whole);
        let granted: HashSet<ObjectId> = of_spoke.flat_map(Message::parts).collect();
        for wanted in all {
            let id = wanted.id;
            if !granted.contains(&id) {
                self.counters.refused_wants += 1;
                continue;
            }
            if let Some(spoke) = self.spokes.get_mut(name) {
                let base = wanted.base.filter(|base| spoke.has.has(*base));
                spoke.wants.add(Wanted { id, base }, at.shelf);
            }
            if !at.shelf.has(id) {
                self.pull(id);
            }
        }
    }

    /// Has an object pulled from SuperLink, unless it is on its way.
    pub(super) fn pull(&mut self, id: ObjectId) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.pulls.entry(id) {
            entry.insert(Pull::default());
            self.pull_queue.push_back(id);
        }
    }

    /// An object is here, or nobody wants it any more.
    fn pulled(&mut self, id: ObjectId, at: &mut At<'_>) {
        if self.pulls.remove(&id).is_some_and(|pull| pull.announced) {
            self.end_of_push(id, at);
        }
    }

    /// Keeps the pulls going.
    pub(super) fn pump(&mut self, at: &mut At<'_>) {
        while self.pulling < PULLS {
            let Some(id) = self.pull_queue.pop_front() else { return };
            if at.shelf.has(id) {
                self.pulled(id, at);
                self.arrived(id, at);
                continue;
            }
            let naming = self.messages.iter().filter(|(_, m)| !m.whole && m.head.objects.contains(&id));
            let naming = naming.map(|(key, message)| (key.node, message.head.run));
            let absent = self.nodes.iter().filter_map(|(node, of)| Some((*node, of.awaits(id, at.now)?)));
            let mut naming = naming.chain(absent).peekable();
            if naming.peek().is_none() {
                drop(naming);
                self.pulled(id, at);
                self.fetch_bundle(id, at);
                continue;
            }
            match naming.find(|(node, _)| self.usable_headers(*node, at.now).is_some()) {
                Some((node, run)) => {
                    let body = objects::object_request(node, run, id);
                    if self.ask(Work::Object(id), node, Operation::PullObject, body, at) {
                        self.pulling += 1;
                    }
                }
                None => self.pull_later(id, false, at),
            }
        }
    }

    /// An app bundle that was named is not here any more: it is asked for again.
    fn fetch_bundle(&mut self, id: ObjectId, at: &mut At<'_>) {
        let naming = self.messages.iter().filter(|(_, message)| !message.whole);
        let bundle = naming.into_iter().find_map(|(key, message)| {
            let (hash, _) = message.offer.fab.as_ref().filter(|(_, fab)| *fab == id)?;
            Some((key.node, message.head.run, hash.clone(), message.offer.run.clone()?))
        });
        if let Some((node, run, hash, body)) = bundle {
            let request = objects::fab_request(node, run, &hash);
            self.ask(Work::Fab { run, hash, body }, node, Operation::GetFab, request, at);
        }
    }

    fn pull_later(&mut self, id: ObjectId, unknown: bool, at: &mut At<'_>) {
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        let wait = backoff(pull.tries, PULL_FIRST, PULL_LONGEST);
        pull.tries += 1;
        pull.unknown += u32::from(unknown);
        if pull.unknown > UNKNOWN {
            self.pulled(id, at);
            let naming = self.messages.iter().filter(|(_, m)| !m.whole && m.head.objects.contains(&id));
            let gone: Vec<_> = naming.map(|(key, _)| *key).collect();
            if !gone.is_empty() {
                tracing::error!(object = %id, "SuperLink does not know an object that a message names");
            }
            self.counters.given_up += gone.len() as u64;
            return gone.into_iter().for_each(|key| self.message_gone(key, at));
        }
        self.again_at(at.now.mono + wait, Again::Object(id));
    }

    pub(super) fn object_answered(&mut self, id: ObjectId, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        let Some(answer) = answer.filter(|answer| answer.is_ok() || answer.is_forbidden()) else {
            self.pulling -= 1;
            return self.pull_later(id, false, at);
        };
        if answer.is_forbidden() {
            self.pulling -= 1;
            self.pulled(id, at);
            let naming = self.messages.values().filter(|m| m.head.objects.contains(&id));
            let runs: HashSet<u64> = naming.map(|message| message.head.run).collect();
            return runs.into_iter().for_each(|run| self.run_over(run, at));
        }
        match objects::object_answer(&answer.body) {
            Some(ObjectAnswer::Content(content)) => {
                let job = self.job(Work::StoreObject(id, content.len() as u64));
                at.actions.push(Action::Store(job, id, content));
            }
            other => {
                self.pulling -= 1;
                if let Some(pull) = self.pulls.get_mut(&id) {
                    pull.announced = other == Some(ObjectAnswer::NotYet);
                }
                if other == Some(ObjectAnswer::NotYet) {
                    self.app_pushes(at.now);
                }
                self.pull_later(id, other == Some(ObjectAnswer::Unknown), at);
            }
        }
    }

    pub(super) fn object_stored(&mut self, id: ObjectId, length: u64, stored: bool, at: &mut At<'_>) {
        self.pulling -= 1;
        if !stored {
            return self.pull_later(id, false, at);
        }
        self.pulled(id, at);
        self.counters.objects_pulled += 1;
        self.counters.bytes_pulled += length;
        self.arrived(id, at);
    }

    /// A run has ended: its messages are void, and so are replies that wait for their node.
    fn run_over(&mut self, run: u64, at: &mut At<'_>) {
        let of_run = self.messages.iter().filter(|(_, message)| message.head.run == run);
        let gone: Vec<_> = of_run.map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.message_gone(key, at));
        self.drop_kept_replies(run, at);
    }

    /// A message is void.
    pub(super) fn message_gone(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(message) = self.messages.get_mut(&key) else { return };
        let (spoke, poll) = (message.spoke.clone(), message.poll.take());
        at.record(HubRecord::MessageDone(key));
        self.forget_message(key, at.shelf);
        if self.spokes.get(&spoke).is_some_and(|spoke| spoke.up) {
            at.send(&spoke, HubFrame::Gone(key));
        }
        self.answer_poll(&spoke, poll, at);
    }

    /// A SuperNode has the whole message.
    pub(super) fn confirmed(&mut self, name: &SpokeName, key: MessageKey, run: u64, at: &mut At<'_>) {
        if self.messages.contains_key(&key) {
            at.record(HubRecord::Confirmed(key, run));
            self.forget_message(key, at.shelf);
            self.confirms.insert(key, run);
            self.owed.insert(key);
            self.tell_confirmed(key, at);
        }
        at.send(name, HubFrame::ConfirmTaken(key));
    }

    pub(super) fn tell_confirmed(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(run) = self.confirms.get(&key).copied() else { return };
        let body = objects::object_request(key.node, run, key.id);
        if !self.ask(Work::Confirm(key), key.node, Operation::ConfirmMessageReceived, body, at) {
            self.again_at(at.now.mono + CONFIRM_AGAIN, Again::Confirm(key));
        }
    }

    pub(super) fn confirm_answered(&mut self, key: MessageKey, answer: Option<FleetAnswer>, at: &mut At<'_>) {
        // SuperLink takes a confirmation as often as it comes.
        let done = answer.as_ref().is_some_and(|answer| answer.is_ok() || answer.is_forbidden());
        if !done {
            return self.again_at(at.now.mono + CONFIRM_AGAIN, Again::Confirm(key));
        }
        if self.confirms.remove(&key).is_some() {
            at.record(HubRecord::ConfirmDone(key));
            if !self.owed.contains(&key) {
                at.record(HubRecord::MessageDone(key));
            }
        }
    }
}
