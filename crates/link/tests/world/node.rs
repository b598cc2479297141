//! A SuperNode, as `start_client_internal.py` and the connections of 1.31.0 (gRPC) and 1.41.0 (HTTP) are: what it calls
//! when, what it tries again, what makes it drop a message, get stuck or exit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall, FleetStatus};
use onefed_flower::messages::granted_node;
use onefed_flower::objects::{self, ObjectAnswer, ObjectId};
use onefed_flower::{Operation, Transport};

use crate::bodies::{self, Msg};
use crate::check::NOT_RUNNING;
use crate::keys;
use crate::plan::Fault;
use crate::rng::{MS, S, T};
use crate::world::{Event, World};

/// Threads of a SuperNode that call: its loop, its heartbeat, and two that move objects.
pub const LOOP: usize = 0;
pub const BEAT: usize = 1;
const WORKERS: [usize; 2] = [2, 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTimer {
    Start,
    Poll,
    Beat,
    /// The next attempt of a call that failed.
    Retry(usize),
    Trained,
}

/// A call that a thread is at.
struct Busy {
    operation: Operation,
    body: Bytes,
    tries: u32,
    /// PullObject said "not yet" so many times.
    not_yet: u32,
    object: Option<ObjectId>,
    call: Option<u64>,
}

/// The message at hand.
struct Work {
    id: ObjectId,
    run: u64,
    queue: VecDeque<ObjectId>,
    left: usize,
    confirmed: bool,
}

/// The reply at hand.
struct Sending {
    msg: Rc<Msg>,
    session: String,
    queue: VecDeque<ObjectId>,
    left: usize,
}

pub struct SuperNode {
    pub spoke: usize,
    pub key: u32,
    pub up: bool,
    pub incarnation: u32,
    pub node: Option<u64>,
    pub skew: i64,
    threads: [Option<Busy>; 4],
    /// Whether the heartbeat thread still lives.
    pub beating: bool,
    /// In 1.31, a message whose objects could not be pulled: the loop waits for its reply for ever.
    pub wedged: bool,
    leaving: Option<T>,
    runs: BTreeSet<u64>,
    work: Option<Work>,
    sending: Option<Sending>,
    /// Messages that this incarnation has confirmed.
    pub confirmed: BTreeSet<ObjectId>,
    /// Replies of which the last object was taken, with the message that each answers.
    pub acknowledged: BTreeMap<ObjectId, ObjectId>,
    /// The counter of confirmed messages that were lost with their incarnation.
    pub died_with: BTreeSet<ObjectId>,
    pub dropped: Vec<(ObjectId, String)>,
}

/// How a call ended, as the retry invokers see it.
enum Said {
    Ok(Bytes),
    Again,
    NotRunning,
    Unauthenticated,
    Error(String),
}

impl SuperNode {
    pub fn new(spoke: usize, key: u32, skew: i64) -> Self {
        Self {
            spoke,
            key,
            up: false,
            incarnation: 0,
            node: None,
            skew,
            threads: [const { None }; 4],
            beating: false,
            wedged: false,
            leaving: None,
            runs: BTreeSet::new(),
            work: None,
            sending: None,
            confirmed: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            died_with: BTreeSet::new(),
            dropped: Vec::new(),
        }
    }
}

fn said(answer: Option<&FleetAnswer>, transport: Transport) -> Said {
    let Some(answer) = answer else { return Said::Again };
    let text = answer.words();
    match (&answer.status, transport) {
        (FleetStatus::Grpc(0, _), Transport::Grpc) => Said::Ok(answer.body.clone()),
        (FleetStatus::Grpc(16, _), Transport::Grpc) => Said::Unauthenticated,
        (FleetStatus::Grpc(7, _), Transport::Grpc) => Said::NotRunning,
        (FleetStatus::Grpc(14, _), Transport::Grpc) if !text.contains("handshake failed") => Said::Again,
        (FleetStatus::Http(code), Transport::Http) => match code.as_u16() {
            200 => Said::Ok(answer.body.clone()),
            401 => Said::Unauthenticated,
            403 => Said::NotRunning,
            502..=504 => Said::Again,
            _ => Said::Error(text),
        },
        _ => Said::Error(text),
    }
}

impl World {
    fn node_after(&mut self, n: usize, delay: T, timer: NodeTimer) {
        let incarnation = self.nodes[n].incarnation;
        self.after(delay, Event::Node(n, incarnation, timer));
    }

    pub fn node_timer(&mut self, n: usize, incarnation: u32, timer: NodeTimer) {
        if incarnation != self.nodes[n].incarnation {
            return;
        }
        match timer {
            NodeTimer::Start => self.node_start(n),
            NodeTimer::Poll => self.node_poll(n),
            NodeTimer::Beat => {
                let body = objects::heartbeat_request(self.nodes[n].node.unwrap(), 30.0);
                self.node_call(n, BEAT, Operation::SendNodeHeartbeat, body, None);
            }
            NodeTimer::Retry(thread) => self.node_retry(n, thread),
            NodeTimer::Trained => self.node_trained(n),
        }
    }

    fn node_start(&mut self, n: usize) {
        let auth = self.plan.auth;
        let keys = &mut self.next_key;
        let node = &mut self.nodes[n];
        if node.up {
            return;
        }
        node.up = true;
        if !auth {
            *keys += 1;
            node.key = *keys;
            node.node = None;
        }
        let pem = keys::pem(node.key);
        self.note(|| format!("node {n}: starts"));
        if auth {
            self.node_call(n, LOOP, Operation::ActivateNode, objects::activate_request(&pem, 30.0), None);
        } else {
            self.node_call(n, LOOP, Operation::RegisterNode, objects::activate_request(&pem, 0.0), None);
        }
    }

    /// The process is gone, and everything it had in memory.
    pub fn node_exit(&mut self, n: usize, back: T) {
        let node = &mut self.nodes[n];
        node.incarnation += 1;
        node.up = false;
        node.beating = false;
        node.wedged = false;
        node.leaving = None;
        let lost = node.sending.take().and_then(|sending| sending.msg.reply_to);
        let lost = lost.into_iter().chain(node.work.take().filter(|work| work.confirmed).map(|w| w.id));
        node.died_with.extend(lost);
        node.runs.clear();
        node.confirmed.clear();
        let calls: Vec<_> = node.threads.iter_mut().filter_map(|busy| busy.take()?.call).collect();
        calls.into_iter().for_each(|call| self.call_abandoned(call));
        self.note(|| format!("node {n}: is gone, back in {} s", back / S));
        self.node_after(n, back, NodeTimer::Start);
    }

    /// SIGTERM: it deactivates and unregisters itself, once each.
    pub fn node_leave(&mut self, n: usize, back: T) {
        let node = &mut self.nodes[n];
        let Some(id) = node.node.filter(|_| node.up && node.leaving.is_none()) else { return };
        node.leaving = Some(back);
        let calls: Vec<_> = node.threads.iter_mut().filter_map(|busy| busy.take()?.call).collect();
        calls.into_iter().for_each(|call| self.call_abandoned(call));
        self.note(|| format!("node {n}: leaves"));
        self.node_call(n, LOOP, Operation::DeactivateNode, objects::deactivate_request(id), None);
    }

    fn node_call(
        &mut self,
        n: usize,
        thread: usize,
        operation: Operation,
        body: Bytes,
        object: Option<ObjectId>,
    ) {
        let busy = Busy { operation, body, tries: 0, not_yet: 0, object, call: None };
        self.nodes[n].threads[thread] = Some(busy);
        self.node_retry(n, thread);
    }

    fn node_retry(&mut self, n: usize, thread: usize) {
        let transport = self.plan.transport;
        let node = &mut self.nodes[n];
        let Some(busy) = &mut node.threads[thread] else { return };
        let wall = self.now.saturating_add_signed(node.skew);
        let slot = match self.plan.skew > 0 {
            _ if self.plan.has(|fault| matches!(fault, Fault::Twice(..))) => keys::EACH,
            true => keys::SHORT,
            false => keys::SLOT,
        };
        let headers = keys::headers(transport, node.key, wall, slot);
        let call = FleetCall { operation: busy.operation, transport, headers, body: busy.body.clone() };
        self.next_call += 1;
        busy.call = Some(self.next_call);
        let (id, incarnation, object) = (self.next_call, node.incarnation, busy.object);
        self.call_sent(id, (n, incarnation), thread, call, object);
    }

    pub fn node_answer(&mut self, n: usize, thread: usize, call: u64, answer: Option<FleetAnswer>) {
        let transport = self.plan.transport;
        let node = &mut self.nodes[n];
        let Some(mut busy) = node.threads[thread].take_if(|busy| busy.call == Some(call)) else { return };
        busy.call = None;
        let said = said(answer.as_ref(), transport);
        if node.leaving.is_some() {
            return self.node_left(n, &busy);
        }
        match said {
            Said::Ok(body) => self.node_success(n, thread, busy, body),
            Said::Again => {
                busy.tries += 1;
                let most = (S << busy.tries.min(5)).min(20 * S) / 2;
                node.threads[thread] = Some(busy);
                let delay = self.rng.within(MS, most.max(S));
                self.node_after(n, delay, NodeTimer::Retry(thread));
            }
            Said::Unauthenticated => {
                self.check_unauthenticated(n, busy.operation);
                self.node_exit(n, 10 * S);
            }
            Said::NotRunning => {
                self.check_not_running(n, busy.operation, &busy.body);
                self.node_failed(n, thread, &busy, NOT_RUNNING, true);
            }
            Said::Error(text) => self.node_failed(n, thread, &busy, &text, false),
        }
    }

    fn node_left(&mut self, n: usize, busy: &Busy) {
        let Some(id) = self.nodes[n].node else { return };
        if busy.operation == Operation::DeactivateNode && !self.plan.auth {
            let body = objects::deactivate_request(id);
            return self.node_call(n, LOOP, Operation::UnregisterNode, body, None);
        }
        let back = self.nodes[n].leaving.unwrap_or_default();
        self.node_exit(n, back);
    }

    /// A call has failed for good.
    fn node_failed(&mut self, n: usize, thread: usize, busy: &Busy, why: &str, not_running: bool) {
        self.note(|| format!("node {n}: {} failed: {why}", busy.operation.name()));
        match busy.operation {
            Operation::SendNodeHeartbeat => {
                assert!(self.plan.direct, "node {n}: the heartbeat thread died: {why}");
                self.nodes[n].beating = false;
            }
            Operation::RegisterNode | Operation::ActivateNode => self.node_exit(n, 10 * S),
            Operation::PullMessages | Operation::GetRun | Operation::GetFab if !not_running => {
                assert!(self.plan.direct, "node {n}: {} made it exit: {why}", busy.operation.name());
                self.node_exit(n, 10 * S);
            }
            Operation::PullMessages => self.node_after(n, 3 * S, NodeTimer::Poll),
            Operation::GetRun | Operation::GetFab => {
                let work = self.nodes[n].work.take().unwrap();
                self.nodes[n].dropped.push((work.id, why.to_owned()));
                self.node_after(n, 3 * S, NodeTimer::Poll);
            }
            Operation::PullObject | Operation::ConfirmMessageReceived => self.node_drops(n, why),
            _ => {
                // The reply is dropped, and with it what the other worker is at.
                self.node_stop_workers(n, thread);
                let sending = self.nodes[n].sending.take().unwrap();
                let message = sending.msg.reply_to.unwrap();
                self.nodes[n].dropped.push((message, why.to_owned()));
                self.node_after(n, MS, NodeTimer::Poll);
            }
        }
    }

    /// Objects could not be pulled, or the message could not be confirmed.
    fn node_drops(&mut self, n: usize, why: &str) {
        self.node_stop_workers(n, LOOP);
        let node = &mut self.nodes[n];
        let work = node.work.take().unwrap();
        node.dropped.push((work.id, why.to_owned()));
        if self.plan.transport == Transport::Grpc {
            node.wedged = true;
            self.check_wedged(n, why);
            self.note(|| format!("node {n}: is wedged"));
        } else {
            self.node_after(n, 3 * S, NodeTimer::Poll);
        }
    }

    fn node_stop_workers(&mut self, n: usize, not: usize) {
        for worker in WORKERS {
            // Flower does not wait for the other worker, whose call goes on and whose answer nobody reads.
            if worker != not {
                self.nodes[n].threads[worker] = None;
            }
        }
    }

    fn node_poll(&mut self, n: usize) {
        let body = objects::pull_messages_request(self.nodes[n].node.unwrap());
        self.node_call(n, LOOP, Operation::PullMessages, body, None);
    }

    fn node_success(&mut self, n: usize, thread: usize, busy: Busy, body: Bytes) {
        match busy.operation {
            Operation::RegisterNode => {
                let pem = keys::pem(self.nodes[n].key);
                self.node_call(n, LOOP, Operation::ActivateNode, objects::activate_request(&pem, 30.0), None);
            }
            Operation::ActivateNode => {
                let id = granted_node(&body).expect("a node id");
                self.nodes[n].node = Some(id);
                self.nodes[n].beating = true;
                self.owners.insert(id, n);
                self.note(|| format!("node {n}: is {id:x}"));
                self.node_after(n, MS, NodeTimer::Beat);
                self.node_after(n, MS, NodeTimer::Poll);
            }
            Operation::SendNodeHeartbeat => {
                if !onefed_flower::messages::heartbeat_accepted(&body) {
                    assert!(self.plan.direct, "node {n}: SuperLink does not know it, says its heartbeat");
                    self.nodes[n].beating = false;
                    return;
                }
                let next = self.rng.within(17_500 * MS, 22_500 * MS);
                self.node_after(n, next, NodeTimer::Beat);
            }
            Operation::PullMessages => self.node_received(n, &body),
            Operation::GetRun => {
                let run = objects::asked_run(&busy.body).unwrap();
                let hash = objects::fab_of_run(&body).expect("a run");
                let body = objects::fab_request(self.nodes[n].node.unwrap(), run, &hash);
                self.node_call(n, LOOP, Operation::GetFab, body, None);
            }
            Operation::GetFab => {
                let (run, asked) = objects::asked_fab(&busy.body).unwrap();
                let (hash, content) = bodies::fab_of(&body).expect("an app");
                assert_eq!(hash, asked, "node {n}: another app");
                assert_eq!(bodies::id_of(&content).to_string(), asked, "node {n}: a damaged app");
                self.nodes[n].runs.insert(run);
                self.node_pulls(n);
            }
            Operation::PullObject => self.node_pulled(n, thread, busy, &body),
            Operation::ConfirmMessageReceived => {
                let node = &mut self.nodes[n];
                let work = node.work.as_mut().unwrap();
                work.confirmed = true;
                let id = work.id;
                assert!(node.confirmed.insert(id), "node {n}: {id:?} came twice");
                self.note(|| format!("node {n}: trains on {id:?}"));
                let (least, most) = self.plan.training;
                let time = self.rng.within(least, most);
                self.node_after(n, time, NodeTimer::Trained);
            }
            Operation::PushMessages => self.node_pushes(n, &body),
            Operation::PushObject => self.node_pushed(n, thread, &busy, &body),
            Operation::DeactivateNode | Operation::UnregisterNode => {}
        }
    }

    fn node_received(&mut self, n: usize, body: &Bytes) {
        let Some(head) = objects::message_head(body) else {
            assert!(objects::no_message(body), "node {n}: a message that cannot be read");
            return self.node_after(n, 3 * S, NodeTimer::Poll);
        };
        self.note(|| format!("node {n}: receives {:?}", head.id));
        let node = &mut self.nodes[n];
        let msg = self.messages.get(&head.id).expect("a message that nobody sent");
        assert_eq!(Some(msg.dst), node.node, "node {n}: a message for another node");
        assert!(
            !node.confirmed.contains(&head.id),
            "node {n}: {:?} came again after it was confirmed",
            head.id
        );
        let left = head.objects.len();
        node.work =
            Some(Work { id: head.id, run: head.run, queue: head.objects.into(), left, confirmed: false });
        if node.runs.contains(&head.run) {
            self.node_pulls(n);
        } else {
            let body = objects::run_request(node.node.unwrap(), head.run);
            self.node_call(n, LOOP, Operation::GetRun, body, None);
        }
    }

    fn node_pulls(&mut self, n: usize) {
        WORKERS.into_iter().for_each(|worker| self.node_pull_next(n, worker));
    }

    fn node_pull_next(&mut self, n: usize, worker: usize) {
        let node = &mut self.nodes[n];
        let (id, work) = (node.node.unwrap(), node.work.as_mut().unwrap());
        if let Some(object) = work.queue.pop_front() {
            let body = objects::object_request(id, work.run, object);
            self.node_call(n, worker, Operation::PullObject, body, Some(object));
        }
    }

    fn node_pulled(&mut self, n: usize, worker: usize, mut busy: Busy, body: &Bytes) {
        let object = busy.object.unwrap();
        match objects::object_answer(body).expect("an answer") {
            ObjectAnswer::Content(content) => {
                assert_eq!(bodies::id_of(&content), object, "node {n}: an object with another hash");
                self.node_pull_next(n, worker);
                let node = &mut self.nodes[n];
                let work = node.work.as_mut().unwrap();
                work.left -= 1;
                if work.left == 0 {
                    let body = objects::object_request(node.node.unwrap(), work.run, work.id);
                    self.node_call(n, LOOP, Operation::ConfirmMessageReceived, body, None);
                }
            }
            ObjectAnswer::NotYet => {
                // Where a disk is full SuperLink answers itself, and may say so.
                let through = self.plan.direct || self.plan.has(|fault| matches!(fault, Fault::Full(..)));
                assert!(through, "node {n}: was told that {object:?} is not there yet");
                let delay = (S << busy.not_yet.min(4)).min(10 * S);
                busy.not_yet += 1;
                let delay = self.rng.within(delay * 4 / 5, delay * 6 / 5);
                self.nodes[n].threads[worker] = Some(busy);
                self.node_after(n, delay, NodeTimer::Retry(worker));
            }
            ObjectAnswer::Unknown => {
                self.check_not_found(n, object);
                self.node_drops(n, "an object is not known");
            }
        }
    }

    fn node_trained(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let (id, work) = (node.node.unwrap(), node.work.take().unwrap());
        let key = node.key;
        let mut parts = Vec::new();
        for at in 0..self.plan.arrays {
            let size = 20 + self.rng.below(180) as usize;
            // One array comes back as it was, one is the same from all nodes.
            parts.push(match at {
                0 if self.rng.chance(500) => self.maker.leaf(format!("array 0 of 0 {:x<50}", "")),
                1 => self.maker.leaf(format!("metrics of {}", work.run)),
                _ => self.maker.leaf(format!("update {at} of {:?} {key} {:x<size$}", work.id, "")),
            });
        }
        // As many as the message has, so that they are taken for its counterparts.
        parts.push(self.maker.leaf(format!("metrics {} of {key}", work.run)));
        parts.push(Rc::clone(&parts[0]));
        let record = self.maker.node(format!("reply record {:?} ", work.id), parts);
        let dict = self.maker.node(format!("reply dict {:?} ", work.id), vec![record]);
        let tree = self.maker.node(format!("reply {:?} by {key} at {} ", work.id, self.now), vec![dict]);
        let (run, reply_to) = (work.run, Some(work.id));
        let msg = Rc::new(Msg { id: tree.id, run, src: id, dst: 1, reply_to, tree });
        self.note(|| format!("node {n}: replies {:?} to {:?}", msg.id, work.id));
        let body = bodies::push_request(&msg);
        let (session, queue) = (String::new(), VecDeque::new());
        self.nodes[n].sending = Some(Sending { msg, session, queue, left: 0 });
        self.node_call(n, LOOP, Operation::PushMessages, body, None);
    }

    fn node_pushes(&mut self, n: usize, body: &Bytes) {
        let session = objects::push_session(body).expect("an answer to PushMessages");
        let node = &mut self.nodes[n];
        let sending = node.sending.as_mut().unwrap();
        let wanted = |id: &ObjectId| session.wanted.contains(id);
        sending.queue = sending.msg.tree.ids().into_iter().filter(wanted).collect();
        sending.left = sending.queue.len();
        sending.session = session.session;
        if sending.left == 0 {
            return self.node_sent(n);
        }
        WORKERS.into_iter().for_each(|worker| self.node_push_next(n, worker));
    }

    fn node_push_next(&mut self, n: usize, worker: usize) {
        let node = &mut self.nodes[n];
        let (id, sending) = (node.node.unwrap(), node.sending.as_mut().unwrap());
        if let Some(object) = sending.queue.pop_front() {
            let content = &self.maker.0[&object];
            let body = objects::push_object_request(id, sending.msg.run, &sending.session, object, content);
            self.node_call(n, worker, Operation::PushObject, body, Some(object));
        }
    }

    fn node_pushed(&mut self, n: usize, worker: usize, busy: &Busy, body: &Bytes) {
        if !objects::object_stored(body) {
            self.check_not_stored(n);
            return self.node_failed(n, worker, busy, "an object was not stored", false);
        }
        self.node_push_next(n, worker);
        let sending = self.nodes[n].sending.as_mut().unwrap();
        sending.left -= 1;
        if sending.left == 0 {
            self.node_sent(n);
        }
    }

    fn node_sent(&mut self, n: usize) {
        let sending = self.nodes[n].sending.take().unwrap();
        let message = sending.msg.reply_to.unwrap();
        self.note(|| format!("node {n}: has sent {:?}", sending.msg.id));
        self.nodes[n].acknowledged.insert(sending.msg.id, message);
        self.node_after(n, MS, NodeTimer::Poll);
    }
}
