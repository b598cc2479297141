//! What must hold: at every step, and when everything is done.

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::objects::ObjectId;

use crate::app::End;
use crate::keys;
use crate::line::UP;
use crate::plan::Fault;
use crate::rng::{S, T};
use crate::world::{Call, World};

/// What a SuperNode says of a call to a run that has ended.
pub const NOT_RUNNING: &str = "the run is not running";

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
        match self.leaves_silent_nodes() {
            _ if self.plan.direct => 0,
            true if self.plan.rest => 300 * S + self.plan.hold.max(600 * S),
            // Who comes back after a long cut trains on what nobody waits for any more, and sends it at 100 bytes a second.
            _ if self.plan.rate.contains(&100) => 240 * S,
            _ => 40 * S,
        }
    }

    /// Nodes that are gone for good keep their messages at the hub for a while.
    fn leaves_silent_nodes(&self) -> bool {
        self.plan.has(|f| matches!(f, Fault::Node(..) | Fault::Leave(..) | Fault::Stop))
            || self.next_key as usize > self.nodes.len()
    }

    /// How long the run may take after the last fault.
    pub fn time_to_finish(&self) -> T {
        // A node that is gone for good is held to the end of the hold.
        let rounds = u64::from(self.plan.rounds * self.plan.runs) * self.plan.each;
        1200 * S + self.plan.hold.max(600 * S) + rounds * self.plan.training.1
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
        // On a full disk calls pass through, and SuperLink says so of an object that it has already. A hub that was started
        // anew does not know that it is one which it has brought there.
        let full = self.plan.has(|fault| matches!(fault, Fault::Full(..)));
        let forgot = self.plan.has(|fault| matches!(fault, Fault::Hub(..)));
        assert!(self.plan.direct || full && forgot, "node {n}: its object was not stored");
    }

    /// A SuperNode of 1.31 that drops a message while it pulls is stuck for ever. Its run has ended, or it is not ours.
    pub fn check_wedged(&self, n: usize, why: &str) {
        assert!(self.plan.direct || why == NOT_RUNNING, "node {n}: it waits for ever: {why}");
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
            Some(msg.dst) == node.node && !node.confirmed.contains(&msg.id) && msg.tree.has(id)
        };
        let granted = self.messages.values().any(|msg| named(id, msg));
        // What an earlier life of it asked for is not its own.
        let granted = granted || call.incarnation != node.incarnation;
        assert!(granted, "spoke {s}: gave {id:?} to node {} that may not have it", call.node);
    }

    pub fn fail_unfinished(&self) {
        // A SuperNode that is stuck since an earlier run ended asks for nothing and stays online: see `check_wedged`.
        if self.plan.direct || self.nodes.iter().any(|node| node.wedged) {
            return;
        }
        panic!("not done {} s after the last fault: {:?}", self.time_to_finish() / S, self.tally());
    }

    pub fn check_end(&self) {
        if self.plan.direct {
            return;
        }
        self.check_acknowledged();
        self.check_invisible();
        self.check_once();
        if self.plan.rest || !self.leaves_silent_nodes() {
            self.check_rest();
        }
    }

    /// What a SuperNode was told is stored has come to the ServerApp, unless that had given the node up or the run ended.
    fn check_acknowledged(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            for (reply, message) in &node.acknowledged {
                let end = self.app.ends[message].1;
                let fine = match end {
                    Some(End::Reply(got)) => got == *reply,
                    Some(End::NodeUnavailable | End::Stopped) => true,
                    Some(End::MessageUnavailable) => self.may_end_half_pushed(n),
                    None => false,
                };
                assert!(
                    fine,
                    "node {n}: its reply {reply:?} to {message:?} was taken, and the end is {end:?}"
                );
            }
        }
    }

    /// A reply that was half pushed when the hub died ends 180 s later at SuperLink, which takes the rest under the node's
    /// fresh signature only: a new hub has none while the line is down. So does one that its SuperNode brings itself, since a
    /// disk is full: a new hub does not know what SuperLink wanted of it, nor does any whose answer from SuperLink was lost.
    fn may_end_half_pushed(&self, n: usize) -> bool {
        let spoke = self.nodes[n].spoke;
        let long = |fault: &Fault| matches!(fault, Fault::Cut(line, time) | Fault::Hole(line, time, _) if *line == spoke && *time > 120 * S);
        let hub = self.spokes.len();
        let full = |fault: &Fault| matches!(fault, Fault::Full(host, _) if *host == spoke || *host == hub);
        let (killed, lost) = (
            |fault: &Fault| matches!(fault, Fault::Hub(..)),
            |fault: &Fault| matches!(fault, Fault::Lost(..)),
        );
        self.plan.has(killed) && self.plan.has(|fault| long(fault) || full(fault))
            || self.plan.has(lost) && self.plan.has(full)
    }

    /// Lines, spokes and connections that fail for a while are not seen in the run.
    fn check_invisible(&self) {
        let tally = self.tally();
        let dropped: Vec<_> = self.nodes.iter().flat_map(|node| &node.dropped).collect();
        if self.plan.invisible() {
            let errors = tally.node_unavailable + tally.message_unavailable;
            assert!(errors == 0, "the faults of the link are seen in the run: {tally:?}");
            assert!(dropped.is_empty(), "SuperNodes dropped {dropped:?}");
        }
        let wedged = self.nodes.iter().filter(|node| node.wedged).count();
        assert!(!self.plan.invisible() || wedged == 0, "{wedged} SuperNodes wait for ever");
    }

    /// Without faults every object crosses a line once, and is pulled from SuperLink once for all sites.
    fn check_once(&self) {
        if !self.plan.faults.is_empty() {
            return;
        }
        for ((line, way, id), count) in &self.crossed {
            // A difference that went wrong is asked for once more, as it is. The hub asks every spoke that has it: it may come
            // twice where the first is still on its way, and not at all where another site was faster.
            let spoilt = self
                .spoilt
                .iter()
                .filter(|((other, w, i), _)| (*w, *i) == (*way, *id) && (*way == UP || other == line));
            let spoilt: u32 = spoilt.map(|(_, count)| count).sum();
            let fine = (1..=1 + spoilt).contains(count);
            assert!(fine, "{id:?} crossed line {line} {count} times, way {way}");
        }
        for (id, count) in &self.superlink.pulled {
            assert!(*count == 1, "{id:?} was pulled from SuperLink {count} times");
        }
    }

    /// Everything has come to rest: nothing is in hand, journals are short, shelves free.
    fn check_rest(&self) {
        let hub = self.hub.engine.as_ref().expect("the hub is back");
        let depth = hub.depth();
        let at_rest = (depth.messages, depth.replies, depth.pulls) == (0, 0, 0);
        assert!(at_rest, "the hub is not at rest: {depth:?}");
        // What is kept: app bundles of the runs.
        let bundles = self.plan.runs as usize;
        assert!(self.hub.disk.kept() <= bundles, "the hub keeps {} objects", self.hub.disk.kept());
        assert!(depth.objects <= bundles, "the hub keeps {depth:?}");
        let replies = self.app.ends.len();
        let calls = 4 * (self.next_key as usize + 1);
        let records = hub.snapshot().len();
        assert!(records <= replies + calls, "the hub's journal has {records} records at rest");
        for (s, spoke) in self.spokes.iter().enumerate() {
            let engine = spoke.engine.as_ref().expect("the spoke is back");
            let depth = engine.depth();
            let at_rest = (depth.messages, depth.replies, depth.objects) == (0, 0, 0);
            assert!(at_rest, "spoke {s} is not at rest: {depth:?}");
            assert_eq!(spoke.disk.kept(), 0, "spoke {s} keeps objects");
            let records = engine.snapshot().len();
            assert!(records <= 1 + 3 * (self.next_key as usize + 1), "spoke {s}: {records} records at rest");
        }
    }
}
