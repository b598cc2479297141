//! Calls that the hub has to answer: numbered, sent again after a reconnect, and the same call for a SuperNode that
//! repeats it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::{Operation, Transport, messages as flower};

use super::{At, HEARTBEAT_PATIENCE, PATIENCE, Spoke, Waiter};
use crate::engine::frame::SpokeFrame;
use crate::engine::{Ticket, fingerprint};

/// An answer that nobody waited for is kept for the SuperNode's retry; Flower waits for at most 20 s between two.
const KEPT: Duration = Duration::from_secs(60);
/// So many internal errors of SuperLink in a row are kept from a SuperNode: some minutes of its retries.
const SOFTENED: u32 = 20;
/// So many of them.
const KEPT_MOST: usize = 256;

/// The calls that are under way.
#[derive(Default)]
pub(super) struct Calls {
    next: u64,
    open: BTreeMap<u64, Open>,
    kept: VecDeque<([u8; 32], FleetAnswer, Duration)>,
}

struct Open {
    call: FleetCall,
    print: [u8; 32],
    /// Whether the signature was checked here.
    signed: bool,
    waiters: Vec<Waiter>,
    /// When it is forgotten if nobody waits for it.
    until: Duration,
}

impl Open {
    /// When something has to be done about it.
    fn due(&self) -> Duration {
        self.waiters.iter().map(|waiter| waiter.until).min().unwrap_or(self.until)
    }
}

impl Calls {
    /// Numbers begin anew, above those of every earlier start.
    pub(super) fn begin(&mut self, epoch: u64) {
        self.next = epoch << 32 | 1;
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.open.values().map(Open::due).min()
    }

    /// All results up to this number have arrived.
    fn acked(&self) -> u64 {
        self.open.keys().next().map_or(self.next, |first| *first) - 1
    }

    /// Sends everything that has no answer. How many these were.
    pub(super) fn send_all(&self, at: &mut At<'_>) -> u64 {
        let acked = self.acked();
        for (seq, open) in &self.open {
            at.send(SpokeFrame::Call { seq: *seq, acked, call: open.call.clone() });
        }
        self.open.len() as u64
    }

    /// Polls are not repeated: a message that one of them brought is offered again anyway.
    /// Gives those who wait for one although their node is not known here.
    pub(super) fn drop_polls(&mut self) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        self.open.retain(|_, open| {
            let poll = open.call.operation == Operation::PullMessages;
            if poll {
                waiters.append(&mut open.waiters);
            }
            !poll
        });
        waiters
    }

    pub(super) fn abandoned(&mut self, ticket: Ticket) {
        for open in self.open.values_mut() {
            open.waiters.retain(|waiter| waiter.ticket != ticket);
        }
    }
}

impl Spoke {
    /// Lets the hub answer a call.
    pub(super) fn pass(&mut self, ticket: Ticket, call: FleetCall, at: &mut At<'_>) {
        let print = fingerprint(&call);
        let calls = &mut self.calls;
        let kept = calls.kept.iter().position(|(kept, ..)| *kept == print);
        if let Some((_, answer, _)) = kept.and_then(|kept| calls.kept.remove(kept)) {
            return at.answer(ticket, answer);
        }
        let heartbeat = call.operation == Operation::SendNodeHeartbeat;
        let patience = if heartbeat { HEARTBEAT_PATIENCE } else { PATIENCE };
        let waiter = Waiter { ticket, transport: call.transport, until: at.now.mono + patience };
        // Whoever says that a call is a node's own neither hears the answer to the node's own call nor spoils it.
        let signed = self.verifier.signer(&call.headers, at.now.wall).is_some();
        let mut same = calls.open.values_mut().filter(|open| open.print == print && open.signed == signed);
        if let Some(open) =
            same.find(|open| signed || call.headers == open.call.headers || !tells(call.operation))
        {
            if signed {
                // Its signature is younger.
                open.call = call;
            }
            return open.waiters.push(waiter);
        }
        if !self.up {
            let answer = self.unavailable(call.transport);
            return at.answer(ticket, answer);
        }
        let (seq, acked) = (calls.next, calls.acked());
        calls.next += 1;
        at.send(SpokeFrame::Call { seq, acked, call: call.clone() });
        // One with effect goes on without anybody who waits: SuperLink may have carried it out already, and the
        // SuperNode will ask again.
        let until = at.now.mono + PATIENCE + if has_effect(call.operation) { KEPT } else { Duration::ZERO };
        calls.open.insert(seq, Open { call, print, signed, waiters: vec![waiter], until });
    }

    /// Asks the hub for work. Who waits for it is in `polls`.
    pub(super) fn pass_poll(&mut self, call: FleetCall, at: &mut At<'_>) {
        let print = fingerprint(&call);
        let calls = &mut self.calls;
        if !self.up || calls.open.values().any(|open| open.print == print && open.signed) {
            return;
        }
        let (seq, acked) = (calls.next, calls.acked());
        calls.next += 1;
        at.send(SpokeFrame::Call { seq, acked, call: call.clone() });
        let until = at.now.mono + PATIENCE;
        calls.open.insert(seq, Open { call, print, signed: true, waiters: Vec::new(), until });
    }

    /// The hub has answered.
    pub(super) fn result(&mut self, seq: u64, answer: FleetAnswer, at: &mut At<'_>) {
        let Some(Open { call, print, signed, waiters, .. }) = self.calls.open.remove(&seq) else { return };
        let node = flower::requesting_node(call.operation, &call.body);
        let signer = flower::signing_key(&call.headers);
        if answer.is_ok() {
            match call.operation {
                Operation::ActivateNode => {
                    if let Some((id, key)) =
                        flower::granted_node(&answer.body).zip(flower::activated_key(&call.body))
                    {
                        self.learn(id, key, at);
                    }
                }
                Operation::DeactivateNode | Operation::UnregisterNode => {
                    node.into_iter().for_each(|id| self.unlearn(id, at));
                }
                // SuperLink has checked that key and node belong together.
                Operation::PullMessages => {
                    node.zip(signer).into_iter().for_each(|(id, key)| self.learn(id, key, at));
                }
                Operation::SendNodeHeartbeat if flower::heartbeat_accepted(&answer.body) => {
                    node.zip(signer).into_iter().for_each(|(id, key)| self.learn(id, key, at));
                }
                _ => {}
            }
        } else if answer.is_unauthenticated() {
            // Somebody else's bad signature says nothing about the node.
            let its_own =
                node.and_then(|id| self.nodes.get(&id)).is_some_and(|n| Some(&n.key) == signer.as_ref());
            if let Some(id) =
                node.filter(|_| its_own && self.verifier.signer(&call.headers, at.now.wall).is_some())
            {
                self.unlearn(id, at);
            }
        }
        let answer = self.soften(answer.safe_for(call.operation, call.transport), &call, node);
        if let Some(node) = node.filter(|_| call.operation == Operation::PullMessages) {
            self.polled_unknown(node, waiters, &answer, at);
            // A refusal of what somebody sent in a node's name is none of the node's.
            if signed || answer.is_ok() {
                self.poll_result(node, &call, answer, at);
            }
            return;
        }
        if waiters.is_empty() && answer.is_ok() && has_effect(call.operation) {
            self.calls.kept.push_back((print, answer, at.now.mono + KEPT));
            if self.calls.kept.len() > KEPT_MOST {
                self.calls.kept.pop_front();
            }
            return;
        }
        self.answer_all(waiters, &answer, at);
    }

    /// Those who wait for the same call get its answer.
    fn answer_all(&self, waiters: Vec<Waiter>, answer: &FleetAnswer, at: &mut At<'_>) {
        for (place, waiter) in waiters.into_iter().enumerate() {
            // Only one of them has made this call; the others may have signed better.
            let another = place > 0 && answer.is_unauthenticated();
            let answer = if another { self.unavailable(waiter.transport) } else { answer.clone() };
            at.answer(waiter.ticket, answer);
        }
    }

    /// The hub has answered the poll of a node that was not known here. From now on it waits with the others; it asks one
    /// thing at a time, so all but its last poll are given up.
    fn polled_unknown(&mut self, node: u64, mut waiters: Vec<Waiter>, answer: &FleetAnswer, at: &mut At<'_>) {
        if !answer.is_ok() {
            return self.answer_all(waiters, answer, at);
        }
        let last = if self.polls.contains_key(&node) { None } else { waiters.pop() };
        for waiter in waiters {
            at.answer(waiter.ticket, FleetAnswer::ok(waiter.transport, Bytes::new()));
        }
        last.map(|last| self.polls.insert(node, last));
    }

    /// A SuperNode takes an internal error of SuperLink for final: it drops its message, gets stuck or exits, although
    /// SuperLink was merely busy. So it is told to try again, but not for ever.
    fn soften(&mut self, answer: FleetAnswer, call: &FleetCall, node: Option<u64>) -> FleetAnswer {
        let Some(node) = node.and_then(|id| self.nodes.get_mut(&id)) else { return answer };
        if !answer.is_passing() || answer.is_unavailable() {
            node.softened = 0;
            return answer;
        }
        node.softened += 1;
        if node.softened > SOFTENED {
            return answer;
        }
        let text =
            format!("SuperLink could not serve {} just now: {}", call.operation.name(), answer.words());
        FleetAnswer::refusal(call.transport, Refusal::Unavailable, &text)
    }

    /// Calls that have been waited for long enough.
    pub(super) fn expire_calls(&mut self, at: &mut At<'_>) {
        let now = at.now.mono;
        let mut late: Vec<(Ticket, Option<u64>, Transport)> = Vec::new();
        for open in self.calls.open.values_mut() {
            let heartbeat = open.call.operation == Operation::SendNodeHeartbeat;
            let node = flower::requesting_node(open.call.operation, &open.call.body).filter(|_| heartbeat);
            let expired = open.waiters.extract_if(.., |waiter| waiter.until <= now);
            late.extend(expired.map(|waiter| (waiter.ticket, node, waiter.transport)));
        }
        for (ticket, node, transport) in late {
            match node {
                Some(node) => self.answer_heartbeat(ticket, node, transport, at),
                None => at.answer(ticket, self.unavailable(transport)),
            }
        }
        self.calls.open.retain(|_, open| !open.waiters.is_empty() || open.until > now);
        self.calls.kept.retain(|(.., until)| *until > now);
    }
}

/// Whether the answer to a call is for nobody but who has made it.
fn tells(operation: Operation) -> bool {
    operation == Operation::PullMessages || !has_effect(operation)
}

/// Whether a repeated call would find the world changed by the first.
fn has_effect(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::SendNodeHeartbeat | Operation::GetRun | Operation::GetFab | Operation::PullObject
    )
}
