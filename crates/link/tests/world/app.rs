//! The ServerApp: in each round a message to every node that is online, objects after it, then a poll every 3 s until each
//! message is answered or found to be unanswerable.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

use crate::bodies::Msg;
use crate::rng::{MS, S, T};
use crate::superlink::Outcome;
use crate::world::{Event, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppTimer {
    /// Look for nodes, and begin the next round.
    Begin,
    /// Push the next object.
    Push,
    /// Ask for replies.
    Poll,
    /// Pull the next object of a reply.
    Pull,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Reply(ObjectId),
    NodeUnavailable,
    MessageUnavailable,
    /// The run ended first.
    Stopped,
}

#[derive(Default)]
pub struct App {
    pub run: u64,
    pub round: u32,
    running: bool,
    pub finished: bool,
    pub finished_at: T,
    waiting: Vec<ObjectId>,
    pushing: VecDeque<(String, ObjectId)>,
    replies: VecDeque<Rc<Msg>>,
    pulling: VecDeque<ObjectId>,
    tries: u32,
    /// How each message ended, and for whom it was.
    pub ends: BTreeMap<ObjectId, (u64, Option<End>)>,
    /// Where nodes were found at the start of a round.
    pub nodes_seen: Vec<usize>,
}

impl World {
    pub fn app_timer(&mut self, timer: AppTimer) {
        if self.app.finished {
            return;
        }
        match timer {
            AppTimer::Begin => self.app_begin(),
            AppTimer::Push => self.app_push(),
            AppTimer::Poll => self.app_poll(),
            AppTimer::Pull => self.app_pull(),
        }
    }

    fn app_after(&mut self, delay: T, timer: AppTimer) {
        self.after(delay, Event::App(timer));
    }

    fn app_begin(&mut self) {
        if !self.app.running {
            self.app.run += 1;
            self.app.round = 0;
            self.app.running = true;
            let fab = Bytes::from(format!("an app {}", self.app.run / 2));
            self.superlink.start_run(self.app.run, fab);
        }
        let nodes = self.superlink.online(self.now);
        let wanted = if self.now > self.plan.calm() + 120 * S { 1 } else { self.plan.nodes.len() };
        // As Flower's strategies do: no round without enough nodes. Not for ever, some may be gone for good.
        if nodes.len() < wanted && self.now < self.app_patience() || nodes.is_empty() {
            return self.app_after(3 * S, AppTimer::Begin);
        }
        self.app.round += 1;
        self.app.nodes_seen.push(nodes.len());
        let (run, round, arrays) = (self.app.run, self.app.round, self.plan.arrays);
        let mut parts = Vec::new();
        for at in 0..arrays {
            // The first array never changes; equal arrays of one message are one object.
            let version = if at == 0 { 0 } else { u64::from(round) + 100 * run };
            let size = 20 + self.rng.below(180) as usize;
            let size = if at == 0 { 50 } else { size };
            parts.push(self.maker.leaf(format!("array {at} of {version} {:x<size$}", "")));
        }
        parts.push(self.maker.leaf(format!("config {run} {round}")));
        parts.push(Rc::clone(&parts[0]));
        let record = self.maker.node(format!("record {run} {round} "), parts);
        let dict = self.maker.node(format!("record dict {run} {round} "), vec![record]);
        let each = self.plan.each;
        let session = self.superlink.app_session(self.now, run);
        for (node, at) in nodes.into_iter().flat_map(|node| (0..each).map(move |at| (node, at))) {
            let root = format!("message {run} {round} {node} {at} ");
            let tree = self.maker.node(root, vec![Rc::clone(&dict)]);
            let msg = Rc::new(Msg { id: tree.id, run, src: 1, dst: node, reply_to: None, tree });
            self.note(|| format!("app: message {:?} for node {node:x}", msg.id));
            let missing = self.superlink.app_push(&session, &msg);
            self.app.pushing.extend(missing.into_iter().map(|id| (session.clone(), id)));
            self.app.waiting.push(msg.id);
            self.app.ends.insert(msg.id, (node, None));
            self.messages.insert(msg.id, msg);
        }
        // The same object may be missing from two trees; Flower's set of them has it once.
        let mut seen = Vec::new();
        self.app.pushing.retain(|(_, id)| {
            !seen.contains(id) && {
                seen.push(*id);
                true
            }
        });
        self.app_after(self.plan.app_pace, AppTimer::Push);
    }

    fn app_patience(&self) -> T {
        match self.app.nodes_seen.last() {
            None => 100 * S,
            Some(_) => 0,
        }
    }

    fn app_push(&mut self) {
        let Some((session, id)) = self.app.pushing.pop_front() else {
            return self.app_after(MS, AppTimer::Poll);
        };
        let content = self.maker.0[&id].clone();
        // In 1.41 an object that a reply's session had pending first may be there by now.
        let _ = self.superlink.app_put(self.now, self.app.run, &session, id, content);
        self.app_after(self.plan.app_pace, AppTimer::Push);
    }

    fn app_poll(&mut self) {
        let waiting = self.app.waiting.clone();
        for (id, outcome) in self.superlink.app_poll(self.now, &waiting) {
            match outcome {
                Outcome::Reply(msg) => self.app.replies.push_back(msg),
                Outcome::NodeUnavailable => self.app_end(id, End::NodeUnavailable),
                Outcome::MessageUnavailable => self.app_end(id, End::MessageUnavailable),
            }
            self.app.waiting.retain(|other| *other != id);
        }
        self.app_next();
    }

    fn app_next(&mut self) {
        if let Some(reply) = self.app.replies.front() {
            self.app.pulling = reply.tree.ids().into();
            self.app.tries = 0;
            return self.app_after(MS, AppTimer::Pull);
        }
        if !self.app.waiting.is_empty() {
            return self.app_after(3 * S, AppTimer::Poll);
        }
        if self.app.round < self.plan.rounds {
            return self.app_after(S, AppTimer::Begin);
        }
        self.app_run_over();
    }

    fn app_pull(&mut self) {
        let Some(reply) = self.app.replies.front().cloned() else { return };
        let message = reply.reply_to.unwrap();
        while let Some(id) = self.app.pulling.front().copied() {
            match self.superlink.app_pull(self.now, self.app.run, id) {
                Some(Some(content)) => {
                    assert_eq!(crate::bodies::id_of(&content), id, "an object with another hash");
                    self.app.pulling.pop_front();
                    self.app.tries = 0;
                }
                Some(None) => {
                    let delay = (S << self.app.tries.min(4)).min(10 * S);
                    self.app.tries += 1;
                    return self.app_after(delay, AppTimer::Pull);
                }
                None => {
                    self.app.replies.pop_front();
                    self.app_end(message, End::MessageUnavailable);
                    return self.app_next();
                }
            }
        }
        self.superlink.app_confirm(reply.id);
        self.app.replies.pop_front();
        self.app_end(message, End::Reply(reply.id));
        self.app_next();
    }

    fn app_end(&mut self, message: ObjectId, end: End) {
        self.note(|| format!("app: {message:?} ended as {end:?}"));
        let (_, known) = self.app.ends.get_mut(&message).unwrap();
        assert_eq!(*known, None, "{message:?} ended twice");
        *known = Some(end);
    }

    /// The run is over: all rounds are, or the user stops it.
    pub fn app_run_over(&mut self) {
        if !self.app.running {
            return;
        }
        self.note(|| "app: the run is over".to_owned());
        self.superlink.end_run(self.now, self.app.run);
        for (_, end) in self.app.ends.values_mut() {
            end.get_or_insert(End::Stopped);
        }
        self.app.running = false;
        self.app.waiting.clear();
        self.app.pushing.clear();
        self.app.replies.clear();
        if self.app.run < u64::from(self.plan.runs) && !self.plan.has(|f| *f == crate::plan::Fault::Stop) {
            return self.app_after(2 * S, AppTimer::Begin);
        }
        self.app.finished = true;
        self.app.finished_at = self.now;
    }
}
