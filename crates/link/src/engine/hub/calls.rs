//! Calls that spokes pass on: made once, answered as often as they are repeated.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::signature::signed_at;
use onefed_flower::{Operation, Transport, messages as flower, objects};

use super::nodes::SILENT;
use super::{At, Hub, SpokeName, Work};
use crate::engine::frame::{HubFrame, MessageKey};
use crate::engine::record::HubRecord;
use crate::engine::{Now, auth, fingerprint};

/// So many bytes the answers take that are kept for all spokes, until these say that they arrived …
const KEPT_MOST: usize = 16 << 20;
/// … and those of one spoke, so that none takes what the others need …
const KEPT_OF_ONE: usize = 4 << 20;
/// … and below this nobody has to care for what the others keep.
const KEPT_ALWAYS: usize = 64 << 10;
/// What a call and its answer take beside the answer's body, generously. It bounds the number of calls, too.
const CALL_COST: usize = 1 << 10;
/// So many bytes the answers take that are remembered of PushMessages calls that were passed through.
const WANTED_MOST: usize = 1 << 20;

/// What somebody hears whose signature cannot be checked here, or not yet, and whom SuperLink cannot be asked about now.
const UNKNOWN: &str = "it is not known yet whether this call is from the SuperNode that it names";

/// The calls of a spoke whose answers it may ask for again.
#[derive(Default)]
pub(super) struct Calls {
    known: BTreeMap<u64, Call>,
    /// What they take, in bytes.
    bytes: usize,
}

/// A call of a spoke.
struct Call {
    transport: Transport,
    answer: Option<FleetAnswer>,
}

impl Call {
    fn cost(&self) -> usize {
        CALL_COST + self.answer.as_ref().map_or(0, |answer| answer.body.len())
    }
}

impl Calls {
    /// How the caller of a call speaks, while the call is known.
    pub(super) fn transport_of(&self, seq: u64) -> Option<Transport> {
        self.known.get(&seq).map(|call| call.transport)
    }

    /// How many there are, and what they take in bytes.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.known.len(), self.bytes)
    }

    fn begin(&mut self, seq: u64, transport: Transport) {
        self.put(seq, Call { transport, answer: None });
    }

    fn put(&mut self, seq: u64, call: Call) {
        self.bytes += call.cost();
        let before = self.known.insert(seq, call);
        self.bytes -= before.as_ref().map_or(0, Call::cost);
    }

    fn remove(&mut self, seq: u64) -> Option<Call> {
        let call = self.known.remove(&seq)?;
        self.bytes -= call.cost();
        Some(call)
    }

    /// The spoke has all answers up to this number.
    fn arrived(&mut self, acked: u64) {
        while let Some(first) = self.known.first_entry().filter(|first| *first.key() <= acked) {
            self.bytes -= first.remove().cost();
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Hub {
    /// A spoke passes a call on, perhaps not for the first time.
    pub(super) fn call(&mut self, name: SpokeName, seq: u64, acked: u64, call: FleetCall, at: &mut At<'_>) {
        let spoke = self.spokes.entry(name.clone()).or_default();
        spoke.calls.arrived(acked);
        if let Some(known) = spoke.calls.known.get(&seq) {
            self.counters.repeated += 1;
            if let Some(answer) = known.answer.clone() {
                at.send(&name, HubFrame::Result { seq, answer });
            }
            return;
        }
        if !self.has_room_for_answer(&name, at.now) {
            // Nothing has been done and nothing is remembered: whatever becomes of this answer, the call may come again.
            self.counters.held_back += 1;
            let text = "this spoke has not said yet that earlier answers arrived";
            return at.send(&name, HubFrame::Result { seq, answer: for_now(call.transport, text) });
        }
        self.counters.calls += 1;
        if let Some(spoke) = self.spokes.get_mut(&name) {
            spoke.calls.begin(seq, call.transport);
        }
        let print = fingerprint(&call);
        let node = flower::requesting_node(call.operation, &call.body);
        match call.operation {
            Operation::PullMessages => return self.poll(name, seq, node, call, at),
            Operation::SendNodeHeartbeat if node.is_some_and(|node| self.is_away(node)) => {
                let answer = match node.is_some_and(|node| self.is_from(node, &call, at.now)) {
                    true => FleetAnswer::ok(call.transport, objects::heartbeat_answer()),
                    false => for_now(call.transport, UNKNOWN),
                };
                return self.finish(&name, seq, answer, at);
            }
            // It overtook the goodbye of its node, or was overtaken. SuperLink would take the node for online again.
            Operation::SendNodeHeartbeat if node.is_some_and(|node| self.has_left(&call, node)) => {
                let answer = for_now(call.transport, "this SuperNode has left");
                return self.finish(&name, seq, answer, at);
            }
            Operation::ActivateNode if self.has_to_stay_offline(&call, at.now) => {
                let answer = for_now(
                    call.transport,
                    "this SuperNode had work: it stays offline for a moment, so that the ServerApp hears of it",
                );
                return self.finish(&name, seq, answer, at);
            }
            // A copy of one that was answered. SuperLink would begin another session, and refuse what comes in the first.
            Operation::PushMessages => {
                if let Some(body) = self.wanted_before(&call, node, at.now) {
                    self.counters.repeated += 1;
                    return self.finish(&name, seq, FleetAnswer::ok(call.transport, body), at);
                }
            }
            Operation::DeactivateNode | Operation::UnregisterNode
                if node.is_some_and(|node| self.is_old_goodbye(node, &call, at.now)) =>
            {
                self.counters.repeated += 1;
                return self.finish(&name, seq, FleetAnswer::ok(call.transport, Bytes::new()), at);
            }
            operation if once(operation) => {
                if let Some(answer) = self.answered.get(&print).cloned() {
                    self.counters.repeated += 1;
                    return self.finish(&name, seq, answer, at);
                }
                if self.storage && !self.open.contains(&print) {
                    at.record(HubRecord::CallOpen(print));
                }
            }
            _ => {}
        }
        self.make(name, seq, call, at);
    }

    /// Whether one more answer can be kept for a spoke. What was kept is never dropped for it: a call that comes again
    /// would be made again.
    fn has_room_for_answer(&mut self, name: &SpokeName, now: Now) -> bool {
        let own = self.spokes.get(name).map_or(0, |spoke| spoke.calls.bytes);
        let all = |hub: &Self| hub.spokes.values().map(|spoke| spoke.calls.bytes).sum::<usize>();
        if own < KEPT_ALWAYS || own < KEPT_OF_ONE && all(self) < KEPT_MOST {
            return true;
        }
        // SuperLink has given up the nodes of those that are gone for so long, and with them what they asked for.
        let patience = self.settings.hold + SILENT;
        let gone = self.spokes.values_mut().filter(|spoke| !spoke.up && spoke.heard + patience < now.mono);
        gone.for_each(|spoke| spoke.calls.clear());
        own < KEPT_OF_ONE && all(self) < KEPT_MOST
    }

    fn make(&mut self, spoke: SpokeName, seq: u64, call: FleetCall, at: &mut At<'_>) {
        let job = self.job(Work::Call { spoke, seq, call: call.clone() });
        at.actions.push(super::Action::Fleet(job, call));
    }

    fn poll(&mut self, name: SpokeName, seq: u64, node: Option<u64>, call: FleetCall, at: &mut At<'_>) {
        let Some(id) = node else { return self.make(name, seq, call, at) };
        if self.has_left(&call, id) {
            // What it would be given now would be lost with it.
            return self.finish(&name, seq, for_now(call.transport, "this SuperNode has left"), at);
        }
        // What happens here before SuperLink has looked at the call happens for the node itself and for nobody else.
        let itself = !self.is_involved(id) || self.is_from(id, &call, at.now);
        if itself {
            if self.move_messages(id, &name, at) || self.offer_again(id, &name, at) {
                let answer = FleetAnswer::ok(call.transport, Bytes::new());
                return self.finish(&name, seq, answer, at);
            }
            let passed = self.miss_passed(id, &call, at);
            if self.settle_debts(id, &call, at) || passed {
                return self.finish(&name, seq, FleetAnswer::ok(call.transport, Bytes::new()), at);
            }
        }
        let node = self.node(id);
        if node.is_away() || node.polling {
            let answer = match itself {
                true => FleetAnswer::ok(call.transport, Bytes::new()),
                false => for_now(call.transport, UNKNOWN),
            };
            return self.finish(&name, seq, answer, at);
        }
        node.polling = true;
        if self.storage {
            at.record(HubRecord::PollOpen(id));
        }
        self.make(name, seq, call, at);
    }

    /// SuperLink has answered a call of a spoke.
    pub(super) fn call_answered(
        &mut self,
        name: SpokeName,
        seq: u64,
        call: FleetCall,
        answer: Option<FleetAnswer>,
        at: &mut At<'_>,
    ) {
        let node = flower::requesting_node(call.operation, &call.body);
        if let Some(node) = node.filter(|_| answer.as_ref().is_some_and(FleetAnswer::is_ok)) {
            // SuperLink has checked them.
            self.note_headers(&name, node, call.transport, call.headers.clone(), at.now);
        }
        if let Some(node) = node.filter(|_| call.operation == Operation::PullMessages) {
            return self.poll_answered(name, seq, node, &call, answer, at);
        }
        let lost = answer.is_none();
        let answer = answer.unwrap_or_else(|| for_now(call.transport, "SuperLink did not answer"));
        let answer = match call.operation {
            operation if once(operation) => self.once_answered(&call, answer, lost, at),
            Operation::ActivateNode => self.activate_answered(&name, &call, answer, at),
            Operation::SendNodeHeartbeat => {
                if answer.is_ok() && flower::heartbeat_accepted(&answer.body) {
                    node.into_iter().for_each(|id| self.beat(&name, id, at.now));
                }
                node.into_iter().for_each(|id| self.stay_offline(id, at));
                answer
            }
            Operation::PushMessages => {
                let reply = objects::message_head(&call.body)
                    .filter(|_| lost || answer.is_ok() || answer.is_passing());
                reply.into_iter().for_each(|head| self.through.insert(head.id.0, ()));
                if let Some(node) = node.filter(|_| answer.is_ok()) {
                    self.answered_through(node, &call.body, at);
                }
                self.wanted_through(&call, answer)
            }
            Operation::PushObject => self.brought_through(&call, answer, lost),
            Operation::ConfirmMessageReceived => {
                if let Some((node, asked)) = node.zip(objects::asked_object(&call.body))
                    && answer.is_ok()
                {
                    self.confirms_passed(node, asked.id, at);
                    // Its spoke cannot attribute the call, or has lost the message.
                    self.confirmed(&name, MessageKey { node, id: asked.id }, asked.run, at);
                }
                answer
            }
            Operation::GetRun | Operation::GetFab | Operation::PullObject => {
                return self.finish_read(&name, seq, answer, at);
            }
            _ => answer,
        };
        self.finish(&name, seq, answer, at);
    }

    /// Register, Unregister, Deactivate: SuperLink refuses them the second time.
    fn once_answered(
        &mut self,
        call: &FleetCall,
        answer: FleetAnswer,
        lost: bool,
        at: &mut At<'_>,
    ) -> FleetAnswer {
        let print = fingerprint(call);
        if lost || answer.is_passing() {
            // Whether it was carried out shows when it comes again.
            self.open.insert(print, ());
            return answer;
        }
        let was_open = self.open.remove(&print).is_some();
        let refused = !answer.is_ok() && !answer.is_unauthenticated();
        let answer = if refused && was_open {
            // Its first try did it after all. Nobody looks at the id in this answer: a SuperNode activates next.
            FleetAnswer::ok(call.transport, Bytes::new())
        } else {
            answer
        };
        if !answer.is_ok() {
            at.record(HubRecord::AnswerVoid(print));
            return answer;
        }
        at.record(HubRecord::Answered(print, answer.clone()));
        self.answered.insert(print, answer.clone());
        if call.operation != Operation::RegisterNode {
            let id = flower::requesting_node(call.operation, &call.body);
            id.into_iter().for_each(|id| self.node_left(id, at));
        }
        answer
    }

    /// SuperLink answers "not stored" for an object that it has already, and the SuperNode throws its whole reply away. So
    /// an object that was brought there once is stored, whoever asks again.
    fn brought_through(&mut self, call: &FleetCall, answer: FleetAnswer, lost: bool) -> FleetAnswer {
        let print = fingerprint(call);
        let unclear = lost || answer.is_passing() && !answer.is_unavailable();
        if unclear || answer.is_ok() && objects::object_stored(&answer.body) {
            self.brought.insert(print, ());
            return answer;
        }
        if answer.is_ok() && self.brought.contains(&print) {
            self.counters.repeated += 1;
            return FleetAnswer::ok(call.transport, objects::push_object_answer(true));
        }
        answer
    }

    /// Once the ServerApp has fetched the head of a reply, SuperLink answers a second PushMessages as if nothing were missing.
    /// So what it wanted when it was asked first is wanted, whoever asks again.
    fn wanted_through(&mut self, call: &FleetCall, answer: FleetAnswer) -> FleetAnswer {
        let Some(session) = objects::push_session(&answer.body).filter(|_| answer.is_ok()) else {
            return answer;
        };
        let print = fingerprint(call);
        let known = self.wanted.iter().position(|(other, ..)| *other == print);
        if session.wanted.is_empty() {
            let Some((_, _, body)) = known.and_then(|place| self.wanted.get(place)) else { return answer };
            self.counters.repeated += 1;
            return FleetAnswer::ok(call.transport, body.clone());
        }
        known.and_then(|place| self.wanted.remove(place));
        // A copy: the body may lie in memory that is only lent.
        self.wanted.push_back((print, signed_at(&call.headers), Bytes::copy_from_slice(&answer.body)));
        while self.wanted.iter().map(|(.., body)| CALL_COST + body.len()).sum::<usize>() > WANTED_MOST {
            self.wanted.pop_front();
        }
        answer
    }

    /// What SuperLink said to this very call, or to a later one: what its SuperNode makes again is signed anew.
    fn wanted_before(&mut self, call: &FleetCall, node: Option<u64>, now: Now) -> Option<Bytes> {
        let (print, signed) = (fingerprint(call), signed_at(&call.headers)?);
        let old = |at: SystemTime| at == signed || auth::late_by(signed, at).is_some();
        let known = self.wanted.iter().find(|(other, at, _)| *other == print && at.is_some_and(old));
        let body = known.map(|(.., body)| body.clone())?;
        self.is_from(node?, call, now).then_some(body)
    }

    /// Answers a spoke, and keeps the answer until it has arrived.
    pub(super) fn finish(&mut self, name: &SpokeName, seq: u64, answer: FleetAnswer, at: &mut At<'_>) {
        let Some(spoke) = self.spokes.get_mut(name) else { return };
        if let Some(Call { transport, .. }) = spoke.calls.remove(seq) {
            // A copy: the body may lie in memory that is only lent, or in a much larger frame.
            let body = Bytes::copy_from_slice(&answer.body);
            spoke.calls.put(seq, Call { transport, answer: Some(FleetAnswer { body, ..answer.clone() }) });
        }
        if spoke.up {
            at.send(name, HubFrame::Result { seq, answer });
        }
    }

    /// Answers a call that changes nothing. Should the answer get lost, the call is made again: what it brings is large.
    fn finish_read(&mut self, name: &SpokeName, seq: u64, answer: FleetAnswer, at: &mut At<'_>) {
        let Some(spoke) = self.spokes.get_mut(name) else { return };
        spoke.calls.remove(seq);
        if spoke.up {
            at.send(name, HubFrame::Result { seq, answer });
        }
    }

    /// Whether the last word of the node that makes a call was its goodbye.
    pub(super) fn has_left(&self, call: &FleetCall, node: u64) -> bool {
        let said = |operation| {
            let body = objects::deactivate_request(node);
            self.answered.contains(&fingerprint(&FleetCall { operation, body, ..call.clone() }))
        };
        !self.answered.is_empty() && (said(Operation::DeactivateNode) || said(Operation::UnregisterNode))
    }

    /// Nobody answers these calls from memory any more: the node has come (back).
    pub(super) fn void_answers(&mut self, call: &FleetCall, node: u64, at: &mut At<'_>) {
        let body = objects::deactivate_request(node);
        for operation in [Operation::DeactivateNode, Operation::UnregisterNode] {
            let print = fingerprint(&FleetCall { operation, body: body.clone(), ..call.clone() });
            if self.answered.remove(&print).is_some() | self.open.remove(&print).is_some() {
                at.record(HubRecord::AnswerVoid(print));
            }
        }
    }
}

/// Calls that SuperLink takes only once.
fn once(operation: Operation) -> bool {
    matches!(operation, Operation::RegisterNode | Operation::UnregisterNode | Operation::DeactivateNode)
}

/// An answer after which SuperNodes try again.
pub(super) fn for_now(transport: Transport, text: &str) -> FleetAnswer {
    FleetAnswer::refusal(transport, Refusal::Unavailable, &format!("hub: {text}"))
}

#[cfg(test)]
mod tests;
