//! Calls that spokes pass on: made once, answered as often as they are repeated.

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::{Operation, Transport, messages as flower, objects};

use super::nodes::{AWAY, Node};
use super::{At, Hub, SpokeName, Work};
use crate::engine::fingerprint;
use crate::engine::frame::HubFrame;
use crate::engine::record::HubRecord;

/// So many answers are kept for one spoke that never says that they arrived.
const CALLS_MOST: usize = 4096;

/// A call of a spoke.
pub(super) struct Call {
    call: FleetCall,
    answer: Option<FleetAnswer>,
}

impl super::Spoke {
    /// How the caller of a call speaks, while the call is known.
    pub(super) fn transport_of(&self, seq: u64) -> Option<Transport> {
        self.calls.get(&seq).map(|known| known.call.transport)
    }
}

impl Hub {
    /// A spoke passes a call on, perhaps not for the first time.
    pub(super) fn call(&mut self, name: SpokeName, seq: u64, acked: u64, call: FleetCall, at: &mut At<'_>) {
        let spoke = self.spokes.entry(name.clone()).or_default();
        spoke.calls.retain(|known, _| *known > acked);
        if let Some(known) = spoke.calls.get(&seq) {
            self.counters.repeated += 1;
            if let Some(answer) = known.answer.clone() {
                at.send(&name, HubFrame::Result { seq, answer });
            }
            return;
        }
        self.counters.calls += 1;
        spoke.calls.insert(seq, Call { call: call.clone(), answer: None });
        while spoke.calls.len() > CALLS_MOST {
            spoke.calls.pop_first();
        }
        let print = fingerprint(&call);
        let node = flower::requesting_node(call.operation, &call.body);
        match call.operation {
            Operation::PullMessages => return self.poll(name, seq, node, call, at),
            Operation::SendNodeHeartbeat if node.is_some_and(|node| self.is_away(node)) => {
                let answer = FleetAnswer::ok(call.transport, objects::heartbeat_answer());
                return self.finish(&name, seq, answer, at);
            }
            // It overtook the goodbye of its node, or was overtaken. SuperLink would take the node for online again.
            Operation::SendNodeHeartbeat if node.is_some_and(|node| self.has_left(&call, node)) => {
                let answer = for_now(call.transport, "this SuperNode has left");
                return self.finish(&name, seq, answer, at);
            }
            Operation::ConfirmMessageReceived => {
                if let Some((node, asked)) = node.zip(objects::asked_object(&call.body)) {
                    self.confirms_passed(node, asked.id, at);
                }
            }
            Operation::ActivateNode => {
                let key = flower::activated_key(&call.body);
                let just_started = at.now.mono < self.started + AWAY;
                let mut of_key = self.nodes.iter().filter(|(_, node)| node.key.is_some() && node.key == key);
                let stays = |(id, node): (&u64, &Node)| {
                    node.is_unseen(at.now) || just_started && self.has_left(&call, *id)
                };
                if of_key.any(stays) {
                    let answer = for_now(
                        call.transport,
                        "this SuperNode had work: it stays offline for a moment, so that the ServerApp hears of it",
                    );
                    return self.finish(&name, seq, answer, at);
                }
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

    fn make(&mut self, spoke: SpokeName, seq: u64, call: FleetCall, at: &mut At<'_>) {
        let job = self.job(Work::Call { spoke, seq, call: call.clone() });
        at.actions.push(super::Action::Fleet(job, call));
    }

    fn poll(&mut self, name: SpokeName, seq: u64, node: Option<u64>, call: FleetCall, at: &mut At<'_>) {
        let Some(id) = node else { return self.make(name, seq, call, at) };
        if self.move_messages(id, &name, at) {
            let answer = FleetAnswer::ok(call.transport, Bytes::new());
            return self.finish(&name, seq, answer, at);
        }
        if self.has_left(&call, id) {
            // What it would be given now would be lost with it.
            return self.finish(&name, seq, for_now(call.transport, "this SuperNode has left"), at);
        }
        self.miss_passed(id, at);
        self.settle_debts(id, at);
        let node = self.node(id);
        if node.is_away() || node.polling {
            let answer = FleetAnswer::ok(call.transport, Bytes::new());
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
                if let Some(node) = node.filter(|_| answer.is_ok()) {
                    self.answered_through(node, &call.body, at);
                }
                answer
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
            self.open.insert(print);
            return answer;
        }
        let was_open = self.open.remove(&print);
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

    /// Answers a spoke, and keeps the answer until it has arrived.
    pub(super) fn finish(&mut self, name: &SpokeName, seq: u64, answer: FleetAnswer, at: &mut At<'_>) {
        let Some(spoke) = self.spokes.get_mut(name) else { return };
        if spoke.up {
            at.send(name, HubFrame::Result { seq, answer: answer.clone() });
        }
        if let Some(call) = spoke.calls.get_mut(&seq) {
            call.answer = Some(answer);
        }
    }

    /// Whether the last word of the node that makes a call was its goodbye.
    pub(super) fn has_left(&self, call: &FleetCall, node: u64) -> bool {
        let said = |operation| {
            let body = objects::deactivate_request(node);
            self.answered.contains_key(&fingerprint(&FleetCall { operation, body, ..call.clone() }))
        };
        !self.answered.is_empty() && (said(Operation::DeactivateNode) || said(Operation::UnregisterNode))
    }

    /// Nobody answers these calls from memory any more: the node has come (back).
    pub(super) fn void_answers(&mut self, call: &FleetCall, node: u64, at: &mut At<'_>) {
        let body = objects::deactivate_request(node);
        for operation in [Operation::DeactivateNode, Operation::UnregisterNode] {
            let print = fingerprint(&FleetCall { operation, body: body.clone(), ..call.clone() });
            if self.answered.remove(&print).is_some() | self.open.remove(&print) {
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
