//! A SuperLink, as the handlers and the link state of Flower 1.31.0 (gRPC) and 1.41.0 (HTTP) are: same order of checks, same
//! side effects, same traps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use onefed_flower::fleet::{FleetAnswer, FleetCall, FleetStatus};
use onefed_flower::messages::{activated_key, requesting_node, signing_key};
use onefed_flower::objects::{self, ObjectId};
use onefed_flower::{Operation, Transport};

use crate::bodies::{self, Msg, Tree};
use crate::keys;
use crate::rng::{S, T};

/// Push sessions die this long after the last stored object.
const SESSION: T = 180 * S;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Registered,
    Online,
    Offline,
    Unregistered,
}

pub struct Node {
    pub status: Status,
    pub online_until: T,
    /// When it was taken for online for the first time.
    pub ever_online: bool,
}

pub struct Run {
    pub running: bool,
    pub ended_at: T,
    pub fab_hash: String,
    pub fab: Bytes,
}

struct Ins {
    msg: Rc<Msg>,
    delivered: bool,
}

struct Res {
    msg: Rc<Msg>,
    delivered: bool,
}

struct Entry {
    content: Option<Bytes>,
    children: Vec<ObjectId>,
    refs: i64,
    runs: BTreeSet<u64>,
}

struct Session {
    run: u64,
    expires: T,
    roots: BTreeSet<ObjectId>,
    pending: BTreeSet<ObjectId>,
}

/// What the ServerApp gets for a message.
pub enum Outcome {
    Reply(Rc<Msg>),
    NodeUnavailable,
    /// Expired, or its reply went away.
    MessageUnavailable,
}

/// Why a call is refused.
enum Fail {
    Unauthenticated,
    Denied,
    Precondition,
    Argument,
    Internal,
}

pub struct SuperLink {
    pub transport: Transport,
    pub auth: bool,
    pub nodes: BTreeMap<u64, Node>,
    by_key: HashMap<String, u64>,
    pub runs: BTreeMap<u64, Run>,
    ins: Vec<Ins>,
    res: BTreeMap<ObjectId, Res>,
    store: BTreeMap<ObjectId, Entry>,
    by_run: BTreeMap<u64, BTreeSet<ObjectId>>,
    sessions: BTreeMap<String, Session>,
    by_root: BTreeMap<ObjectId, String>,
    made: u64,
    /// Refusals of an identity, by node key; and calls about runs that have ended.
    pub refused: HashMap<String, u64>,
    /// How often each object was given to a node.
    pub pulled: BTreeMap<ObjectId, u32>,
}

impl SuperLink {
    pub fn new(transport: Transport, auth: bool) -> Self {
        Self {
            transport,
            auth,
            nodes: BTreeMap::new(),
            by_key: HashMap::new(),
            runs: BTreeMap::new(),
            ins: Vec::new(),
            res: BTreeMap::new(),
            store: BTreeMap::new(),
            by_run: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_root: BTreeMap::new(),
            made: 0,
            refused: HashMap::new(),
            pulled: BTreeMap::new(),
        }
    }

    fn sessions(&self) -> bool {
        self.transport == Transport::Http
    }

    /// An operator makes a node's key known, or a node does itself.
    pub fn register(&mut self, key: &str) -> Option<u64> {
        if self.by_key.contains_key(key) {
            return None;
        }
        self.made += 1;
        // As large as Flower's, which are random.
        let id = 0xdead_beef_0000_0000 | self.made;
        let node = Node { status: Status::Registered, online_until: 0, ever_online: false };
        self.nodes.insert(id, node);
        self.by_key.insert(key.to_owned(), id);
        Some(id)
    }

    fn node_of_key(&self, key: &str) -> Option<u64> {
        self.by_key.get(key).copied().filter(|id| self.nodes[id].status != Status::Unregistered)
    }

    fn tag_offline(&mut self, now: T) {
        for node in self.nodes.values_mut() {
            if node.status == Status::Online && node.online_until <= now {
                node.status = Status::Offline;
            }
        }
    }

    pub fn online(&mut self, now: T) -> Vec<u64> {
        self.tag_offline(now);
        let online = self.nodes.iter().filter(|(_, node)| node.status == Status::Online);
        online.map(|(id, _)| *id).collect()
    }

    // ---- the Fleet API ----

    pub fn call(&mut self, now: T, call: &FleetCall) -> FleetAnswer {
        let result = self.authenticate(now, call).and_then(|()| self.carry_out(now, call));
        match result {
            Ok(body) => self.success(body),
            Err(fail) => {
                if matches!(fail, Fail::Unauthenticated) {
                    let key = signing_key(&call.headers).unwrap_or_default();
                    *self.refused.entry(key).or_default() += 1;
                }
                self.refusal(&fail)
            }
        }
    }

    pub fn success(&self, body: Bytes) -> FleetAnswer {
        match self.transport {
            Transport::Grpc => FleetAnswer { status: FleetStatus::Grpc(0, None), body, content_type: None },
            Transport::Http => FleetAnswer {
                status: FleetStatus::Http(StatusCode::OK),
                body,
                content_type: Some(HeaderValue::from_static("application/protobuf")),
            },
        }
    }

    fn refusal(&self, fail: &Fail) -> FleetAnswer {
        let (grpc, http) = match fail {
            Fail::Unauthenticated => (16, 401),
            Fail::Denied => (7, 403),
            Fail::Precondition => (9, 412),
            Fail::Argument => (3, 400),
            Fail::Internal => (2, 500),
        };
        self.status(grpc, http)
    }

    /// Any refusal, for instance one of a SuperLink that is busy.
    pub fn status(&self, grpc: u16, http: u16) -> FleetAnswer {
        let status = match self.transport {
            Transport::Grpc => FleetStatus::Grpc(grpc, Some(HeaderValue::from_static("refused"))),
            Transport::Http => FleetStatus::Http(StatusCode::from_u16(http).unwrap()),
        };
        FleetAnswer { status, body: Bytes::new(), content_type: None }
    }

    fn authenticate(&self, now: T, call: &FleetCall) -> Result<(), Fail> {
        let key = signing_key(&call.headers).ok_or(Fail::Unauthenticated)?;
        let signed = keys::signed_at(&call.headers).ok_or(Fail::Unauthenticated)?;
        if signed >= now + 5 * S || now >= signed + 305 * S {
            return Err(Fail::Unauthenticated);
        }
        let same = match call.operation {
            Operation::RegisterNode | Operation::ActivateNode => {
                self.transport == Transport::Grpc || activated_key(&call.body).as_ref() == Some(&key)
            }
            operation => {
                let named = requesting_node(operation, &call.body);
                named.is_some() && named == self.node_of_key(&key)
            }
        };
        if same { Ok(()) } else { Err(Fail::Unauthenticated) }
    }

    fn carry_out(&mut self, now: T, call: &FleetCall) -> Result<Bytes, Fail> {
        let body = &call.body;
        match call.operation {
            Operation::RegisterNode => {
                if self.auth {
                    return Err(Fail::Precondition);
                }
                let key = activated_key(body).ok_or(Fail::Internal)?;
                let node = self.register(&key).ok_or(Fail::Precondition)?;
                Ok(objects::node_answer(node))
            }
            Operation::ActivateNode => {
                let key = activated_key(body).ok_or(Fail::Internal)?;
                let id = self.node_of_key(&key).ok_or(Fail::Precondition)?;
                let interval = interval(body)?;
                self.tag_offline(now);
                let node = self.nodes.get_mut(&id).ok_or(Fail::Internal)?;
                if !matches!(node.status, Status::Registered | Status::Offline) {
                    return Err(Fail::Precondition);
                }
                node.status = Status::Online;
                node.ever_online = true;
                node.online_until = now + 2 * interval;
                Ok(objects::node_answer(id))
            }
            Operation::DeactivateNode => {
                let id = requesting_node(call.operation, body).ok_or(Fail::Internal)?;
                self.tag_offline(now);
                let node = self.nodes.get_mut(&id).ok_or(Fail::Precondition)?;
                if node.status != Status::Online {
                    return Err(Fail::Precondition);
                }
                node.status = Status::Offline;
                node.online_until = now;
                Ok(Bytes::new())
            }
            Operation::UnregisterNode => {
                if self.auth {
                    return Err(Fail::Precondition);
                }
                let id = requesting_node(call.operation, body).ok_or(Fail::Internal)?;
                let node = self.nodes.get_mut(&id).ok_or(Fail::Precondition)?;
                if node.status == Status::Unregistered {
                    return Err(Fail::Precondition);
                }
                node.status = Status::Unregistered;
                node.online_until = node.online_until.min(now);
                Ok(Bytes::new())
            }
            Operation::SendNodeHeartbeat => {
                let interval = interval(body)?;
                let id = requesting_node(call.operation, body).ok_or(Fail::Internal)?;
                let node = self.nodes.get_mut(&id).filter(|node| node.status != Status::Unregistered);
                let known = node.is_some();
                if let Some(node) = node {
                    node.status = Status::Online;
                    node.ever_online = true;
                    node.online_until = now + 2 * interval;
                }
                Ok(objects::push_object_answer(known))
            }
            Operation::PullMessages => {
                let id = requesting_node(call.operation, body).ok_or(Fail::Internal)?;
                Ok(bodies::pull_answer(self.pull_messages(id).as_deref()))
            }
            Operation::GetRun => {
                let run = objects::asked_run(body).ok_or(Fail::Internal)?;
                self.check_abort(run)?;
                Ok(bodies::run_answer(run, &self.runs[&run].fab_hash))
            }
            Operation::GetFab => {
                let (run, hash) = objects::asked_fab(body).ok_or(Fail::Internal)?;
                self.check_abort(run)?;
                let run = &self.runs[&run];
                if run.fab_hash != hash {
                    return Err(Fail::Denied);
                }
                Ok(bodies::fab_answer(&hash, &run.fab))
            }
            Operation::PullObject => {
                let asked = objects::asked_object(body).ok_or(Fail::Internal)?;
                self.check_abort(asked.run)?;
                Ok(self.pull_object(now, asked.run, asked.id))
            }
            Operation::ConfirmMessageReceived => {
                let asked = objects::asked_object(body).ok_or(Fail::Internal)?;
                self.check_abort(asked.run)?;
                self.delete(asked.id);
                Ok(Bytes::new())
            }
            Operation::PushMessages => {
                let msg = bodies::pushed_message(body).ok_or(Fail::Internal)?;
                self.check_abort(msg.run)?;
                Ok(self.push_messages(now, msg))
            }
            Operation::PushObject => {
                let pushed = objects::pushed_object(body).ok_or(Fail::Internal)?;
                self.check_abort(pushed.run)?;
                let session = session_of(body);
                let stored = self.store_object(now, pushed.run, &session, pushed.id, pushed.content);
                Ok(objects::push_object_answer(stored))
            }
        }
    }

    fn check_abort(&self, run: u64) -> Result<(), Fail> {
        let run = self.runs.get(&run).ok_or(Fail::Internal)?;
        if run.running { Ok(()) } else { Err(Fail::Denied) }
    }

    fn pull_messages(&mut self, node: u64) -> Option<Rc<Msg>> {
        let ins = self.ins.iter_mut().find(|ins| ins.msg.dst == node && !ins.delivered)?;
        ins.delivered = true;
        let msg = Rc::clone(&ins.msg);
        if self.store.contains_key(&msg.id) {
            return Some(msg);
        }
        self.delete_messages(&[msg.id]);
        None
    }

    fn pull_object(&mut self, now: T, run: u64, id: ObjectId) -> Bytes {
        if self.sessions() && self.store.get(&id).is_some_and(|entry| entry.content.is_none()) {
            let dead = |session: &Session| {
                session.run == run && session.pending.contains(&id) && session.expires <= now
            };
            let dead: Vec<_> =
                self.sessions.iter().filter(|(_, s)| dead(s)).map(|(name, _)| name.clone()).collect();
            dead.iter().for_each(|name| self.end_session(name, true));
        }
        match self.store.get(&id) {
            None => Bytes::new(),
            Some(Entry { content: None, .. }) => bodies::not_yet(),
            Some(Entry { content: Some(content), .. }) => {
                *self.pulled.entry(id).or_default() += 1;
                objects::object_content(content)
            }
        }
    }

    fn push_messages(&mut self, now: T, msg: Msg) -> Bytes {
        let (id, tree, run) = (msg.id, Rc::clone(&msg.tree), msg.run);
        if self.sessions() {
            let session = self.start_session(now, run);
            let mut wanted = Vec::new();
            if self.store_res(msg) {
                wanted = self.register_in_session(&tree, &session);
            }
            return objects::push_accepted(id, &wanted, &session);
        }
        // 1.31: the tree first, whatever becomes of the message.
        let wanted = self.preregister(run, &tree);
        self.store_res(msg);
        objects::push_accepted(id, &wanted, "")
    }

    fn store_res(&mut self, msg: Msg) -> bool {
        let Some(to) = msg.reply_to else { return false };
        let Some(ins) = self.ins.iter().find(|ins| ins.msg.id == to) else { return false };
        if ins.msg.run != msg.run || ins.msg.dst != msg.src {
            return false;
        }
        if let Some(res) = self.res.get(&to) {
            // 1.41 takes a repeated one for stored; 1.31 calls it a duplicate.
            return self.sessions() && res.msg.id == msg.id;
        }
        self.res.insert(to, Res { msg: Rc::new(msg), delivered: false });
        true
    }

    fn delete_messages(&mut self, ids: &[ObjectId]) {
        self.ins.retain(|ins| !ids.contains(&ins.msg.id));
        ids.iter().for_each(|id| drop(self.res.remove(id)));
    }

    // ---- objects ----

    fn start_session(&mut self, now: T, run: u64) -> String {
        self.made += 1;
        let name = format!("session-{}", self.made);
        let (roots, pending) = (BTreeSet::new(), BTreeSet::new());
        self.sessions.insert(name.clone(), Session { run, expires: now + SESSION, roots, pending });
        name
    }

    fn register_in_session(&mut self, tree: &Tree, name: &str) -> Vec<ObjectId> {
        let run = self.sessions[name].run;
        let missing = self.preregister(run, tree);
        if let Some(old) = self.by_root.get(&tree.id).cloned()
            && old != name
        {
            self.end_session(&old, false);
        }
        let session = self.sessions.get_mut(name).unwrap();
        session.roots.insert(tree.id);
        session.pending.extend(&missing);
        self.by_root.insert(tree.id, name.to_owned());
        missing
    }

    fn end_session(&mut self, name: &str, clean: bool) {
        let Some(session) = self.sessions.remove(name) else { return };
        for root in &session.roots {
            if self.by_root.get(root).is_some_and(|owner| owner == name) {
                self.by_root.remove(root);
            }
        }
        if clean {
            for root in session.roots {
                self.delete(root);
                self.delete_messages(&[root]);
                self.res.retain(|_, res| res.msg.id != root);
            }
        }
    }

    fn preregister(&mut self, run: u64, tree: &Tree) -> Vec<ObjectId> {
        let (store, by_run) = (&mut self.store, self.by_run.entry(run).or_default());
        let mut missing = Vec::new();
        tree.walk(&mut |tree| {
            if let Some(entry) = store.get_mut(&tree.id) {
                if entry.content.is_none() && !missing.contains(&tree.id) {
                    missing.push(tree.id);
                }
                if by_run.insert(tree.id) {
                    entry.runs.insert(run);
                }
                return;
            }
            let children: Vec<_> = tree.children.iter().map(|child| child.id).collect();
            for child in &children {
                store.get_mut(child).unwrap().refs += 1;
            }
            store.insert(tree.id, Entry { content: None, children, refs: 0, runs: [run].into() });
            by_run.insert(tree.id);
            missing.push(tree.id);
        });
        missing
    }

    fn store_object(&mut self, now: T, run: u64, session: &str, id: ObjectId, content: Bytes) -> bool {
        if !self.sessions() {
            return self.put(id, content);
        }
        let name = if session.is_empty() {
            let found = self.sessions.iter().find(|(_, session)| session.pending.contains(&id));
            found.map(|(name, _)| name.clone()).unwrap_or_default()
        } else {
            session.to_owned()
        };
        let Some(open) = self.sessions.get(&name) else { return false };
        if open.run != run || !open.pending.contains(&id) {
            return false;
        }
        if open.expires <= now {
            self.end_session(&name, true);
            return false;
        }
        if !self.put(id, content) {
            return false;
        }
        let open = self.sessions.get_mut(&name).unwrap();
        open.pending.remove(&id);
        open.expires = now + SESSION;
        if open.pending.is_empty() {
            self.end_session(&name, false);
        }
        true
    }

    fn put(&mut self, id: ObjectId, content: Bytes) -> bool {
        if bodies::id_of(&content) != id {
            return false;
        }
        let Some(entry) = self.store.get_mut(&id) else { return false };
        entry.content.get_or_insert(content);
        true
    }

    fn delete(&mut self, id: ObjectId) {
        let Some(entry) = self.store.get(&id) else { return };
        if entry.refs > 0 {
            return;
        }
        let entry = self.store.remove(&id).unwrap();
        for run in &entry.runs {
            if let Some(of) = self.by_run.get_mut(run) {
                of.remove(&id);
            }
        }
        for child in entry.children {
            if let Some(child) = self.store.get_mut(&child) {
                child.refs -= 1;
            }
            self.delete(child);
        }
    }

    // ---- the ServerApp's side ----

    /// Starts a run.
    pub fn start_run(&mut self, run: u64, fab: Bytes) {
        let fab_hash = bodies::id_of(&fab).to_string();
        self.runs.insert(run, Run { running: true, ended_at: T::MAX, fab_hash, fab });
    }

    pub fn end_run(&mut self, now: T, run: u64) {
        let ended = self.runs.get_mut(&run).unwrap();
        ended.running = false;
        ended.ended_at = now;
        let ids: Vec<_> = self.ins.iter().filter(|i| i.msg.run == run).map(|i| i.msg.id).collect();
        self.delete_messages(&ids);
        for id in self.by_run.remove(&run).unwrap_or_default() {
            if self.store.get(&id).is_some_and(|entry| entry.refs == 0) {
                self.delete(id);
            }
        }
        let names: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.run == run).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.end_session(name, false));
    }

    /// The session of messages that the ServerApp announces together.
    pub fn app_session(&mut self, now: T, run: u64) -> String {
        if self.sessions() { self.start_session(now, run) } else { String::new() }
    }

    /// The ServerApp announces a message. Returns what it has to push.
    pub fn app_push(&mut self, session: &str, msg: &Rc<Msg>) -> Vec<ObjectId> {
        self.ins.push(Ins { msg: Rc::clone(msg), delivered: false });
        match self.sessions() {
            true => self.register_in_session(&msg.tree, session),
            false => self.preregister(msg.run, &msg.tree),
        }
    }

    pub fn app_put(&mut self, now: T, run: u64, session: &str, id: ObjectId, content: Bytes) -> bool {
        self.store_object(now, run, session, id, content)
    }

    /// What has become of these messages; each is told once and then forgotten.
    pub fn app_poll(&mut self, now: T, asked: &[ObjectId]) -> Vec<(ObjectId, Outcome)> {
        let mut found = Vec::new();
        for id in asked {
            let Some(ins) = self.ins.iter().find(|ins| ins.msg.id == *id) else {
                found.push((*id, Outcome::MessageUnavailable));
                continue;
            };
            let node = self.nodes.get(&ins.msg.dst).filter(|node| node.status != Status::Unregistered);
            if node.is_none_or(|node| node.online_until < now) {
                found.push((*id, Outcome::NodeUnavailable));
            } else if let Some(res) = self.res.get_mut(id).filter(|res| !res.delivered) {
                res.delivered = true;
                found.push((*id, Outcome::Reply(Rc::clone(&res.msg))));
            }
        }
        self.delete_messages(&found.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        found
    }

    /// An object for the ServerApp: `None` where it is not known, `Some(None)` while it is not there.
    pub fn app_pull(&mut self, now: T, run: u64, id: ObjectId) -> Option<Option<Bytes>> {
        let before = self.pulled.get(&id).copied();
        let answer = self.pull_object(now, run, id);
        match before {
            None => self.pulled.remove(&id),
            Some(count) => self.pulled.insert(id, count),
        };
        match objects::object_answer(&answer).unwrap() {
            objects::ObjectAnswer::Content(content) => Some(Some(content)),
            objects::ObjectAnswer::NotYet => Some(None),
            objects::ObjectAnswer::Unknown => None,
        }
    }

    pub fn app_confirm(&mut self, id: ObjectId) {
        self.delete(id);
    }
}

fn interval(body: &Bytes) -> Result<T, Fail> {
    let seconds = bodies::interval(body);
    if (10.0..=1800.0).contains(&seconds) { Ok((seconds * S as f64) as T) } else { Err(Fail::Argument) }
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfSession {
    #[prost(string, tag = "5")]
    session: String,
}

fn session_of(body: &Bytes) -> String {
    use prost::Message as _;
    OfSession::decode(body.clone()).map(|body| body.session).unwrap_or_default()
}
