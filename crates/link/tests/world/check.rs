//! What must hold: at every step, and when everything is done.

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::objects::ObjectId;

use crate::app::End;
use crate::keys;
use crate::rng::{S, T};
use crate::world::{Call, World};

/// What became of a world.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub replies: usize,
    pub node_unavailable: usize,
    pub message_unavailable: usize,
    pub stopped: usize,
    pub unfinished: bool,
}

impl World {
    /// How long the world goes on after the run, so that everything can come to rest.
    pub fn quiet_time(&self) -> T {
        if self.plan.direct { 0 } else { 40 * S }
    }

    /// How long the run may take after the last fault.
    pub fn time_to_finish(&self) -> T {
        1800 * S
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally { unfinished: !self.app.finished, ..Tally::default() };
        for (_, end) in self.app.ends.values() {
            match end {
                Some(End::Reply(_)) => tally.replies += 1,
                Some(End::NodeUnavailable) => tally.node_unavailable += 1,
                Some(End::MessageUnavailable) => tally.message_unavailable += 1,
                Some(End::Stopped) => tally.stopped += 1,
                None => {}
            }
        }
        tally
    }

    pub fn check_unauthenticated(&self, n: usize, operation: Operation) {
        let key = keys::pem(self.nodes[n].key);
        let said = self.superlink.refused.get(&key).copied().unwrap_or_default();
        assert!(said > 0, "node {n}: a 401 to {} that SuperLink never said", operation.name());
    }

    pub fn check_not_running(&self, n: usize, operation: Operation, body: &Bytes) {
        let run = match operation {
            Operation::PushMessages => onefed_flower::objects::message_head(body).map(|head| head.run),
            _ => onefed_flower::objects::asked_run(body),
        };
        let running = run.and_then(|run| self.superlink.runs.get(&run)).is_some_and(|run| run.running);
        assert!(!running, "node {n}: a 403 to {} that SuperLink never said", operation.name());
    }

    pub fn check_not_found(&self, n: usize, object: ObjectId) {
        assert!(self.plan.direct, "node {n}: was told that {object:?} is not known");
    }

    pub fn check_not_stored(&self, n: usize) {
        assert!(self.plan.direct, "node {n}: its object was not stored");
    }

    /// A spoke that lives answers in time.
    pub fn check_in_time(&self, call: &Call) {
        let limit = if call.operation == Operation::SendNodeHeartbeat { 5 * S } else { 30 * S };
        if !call.breaks && call.at_spoke && self.spokes[call.spoke].engine.is_some() {
            let took = self.now - call.sent;
            assert!(took <= limit, "node {}: {} took {took} us", call.node, call.operation.name());
        }
    }

    /// An object is served only to a node that has an unconfirmed message which names it.
    pub fn check_served(&self, s: usize, ticket: u64, id: ObjectId, whole: bool) {
        let Some(call) = self.calls.get(&ticket) else { return };
        if whole {
            assert_eq!(call.operation, Operation::GetFab, "spoke {s}: a whole body for another operation");
            return;
        }
        assert_eq!(call.operation, Operation::PullObject, "spoke {s}: an object for another operation");
        assert_eq!(call.object, Some(id), "spoke {s}: another object than asked for");
        let node = &self.nodes[call.node];
        let named = |id: ObjectId, msg: &crate::bodies::Msg| {
            Some(msg.dst) == node.node && !node.confirmed.contains(&msg.id) && msg.tree.ids().contains(&id)
        };
        let granted = self.messages.values().any(|msg| named(id, msg));
        assert!(granted, "spoke {s}: gave {id:?} to node {} that may not have it", call.node);
    }

    pub fn fail_unfinished(&self) {
        if self.plan.direct {
            return;
        }
        panic!("not done {} s after the last fault: {:?}", self.time_to_finish() / S, self.tally());
    }

    pub fn check_end(&self) {
        if self.plan.direct {
            return;
        }
    }
}
