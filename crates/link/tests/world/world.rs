//! The world: its clock, what is due when, and the calls that are on their way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::ObjectId;
use onefed_flower::{Operation, Transport};
use onefed_link::engine::{Job, hub, spoke};

use crate::app::{App, AppTimer};
use crate::bodies::{Maker, Msg};
use crate::hosts::{Host, HubHost, SpokeHost};
use crate::keys;
use crate::line::{Line, Packet, Side};
use crate::node::{BEAT, NodeTimer, SuperNode};
use crate::plan::{Fault, Plan};
use crate::rng::{MS, Rng, S, T};
use crate::superlink::SuperLink;

/// Something that is due.
#[derive(Debug)]
pub enum Event {
    Node(usize, u32, NodeTimer),
    App(AppTimer),
    Fault(usize),
    FaultOver(usize),
    /// A call arrives where it was sent.
    Arrives(u64, FleetCall),
    /// Its answer is back at the SuperNode; `None` for a connection that broke.
    Answer(u64, Option<FleetAnswer>),
    /// The connection of a call breaks.
    Breaks(u64),
    /// Look for calls that wait for too long.
    Sweep,
    /// The spoke's shell sees that the connection of a call is gone.
    Abandoned(usize, u64),
    /// Something happens to an engine, if it is still the same.
    Spoke(usize, u32, spoke::Event),
    SpokeActs(usize, u32),
    SpokeTick(usize, u32),
    SpokeStarts(usize),
    Hub(u32, hub::Event),
    HubActs(u32),
    HubTick(u32),
    HubStarts,
    AtSuperLink(u32, Job, FleetCall),
    Dial(usize),
    Connected(usize),
    SpokeUp(usize, u64),
    Packet(usize, usize, u64, Packet),
    Notices(usize, Side, u64),
    KeepAlive(usize, Side),
    Healed(usize),
}

/// A call of a SuperNode.
pub struct Call {
    pub node: usize,
    pub spoke: usize,
    pub incarnation: u32,
    pub thread: usize,
    pub operation: Operation,
    pub sent: T,
    pub object: Option<ObjectId>,
    /// It has reached a spoke, which owes an answer.
    pub at_spoke: bool,
    /// Nobody will read the answer.
    pub breaks: bool,
}

pub struct World {
    pub plan: Plan,
    pub rng: Rng,
    pub now: T,
    due: BinaryHeap<Reverse<(T, u64, usize)>>,
    slab: Vec<Option<Event>>,
    free: Vec<usize>,
    count: u64,
    pub tracing: bool,
    /// All that has happened, in one number.
    pub print: u64,
    pub superlink: SuperLink,
    pub app: App,
    pub nodes: Vec<SuperNode>,
    pub maker: Maker,
    pub messages: BTreeMap<ObjectId, Rc<Msg>>,
    /// Which SuperNode a node id belongs to.
    pub owners: BTreeMap<u64, usize>,
    pub calls: BTreeMap<u64, Call>,
    pub next_call: u64,
    pub next_key: u32,
    pub busy: u64,
    pub lost: u64,
    pub lan: u64,
    pub twice: u64,
    /// For a world without a link: lines that let nothing through.
    pub blocked: Vec<bool>,
    pub spokes: Vec<SpokeHost>,
    pub hub: HubHost,
    pub lines: Vec<Line>,
    /// How often an object was sent over each line's bulk connection in each direction.
    pub crossed: BTreeMap<(usize, usize, ObjectId), u32>,
    /// How often it came to nothing, since it was sent as a difference that went wrong.
    pub spoilt: BTreeMap<(usize, usize, ObjectId), u32>,
    /// Objects that were sent as the difference to another, in each direction.
    pub deltas: [u64; 2],
    pub evicted: bool,
    /// Events at one instant: an engine that wants to be called at once, again and again, spins.
    same_time: u32,
}

impl World {
    pub fn new(plan: Plan, tracing: bool) -> Self {
        let mut rng = Rng::new(plan.seed.wrapping_mul(31).wrapping_add(7));
        let mut superlink = SuperLink::new(plan.transport, plan.auth);
        let mut nodes = Vec::new();
        for (n, spoke) in plan.nodes.iter().enumerate() {
            let key = n as u32 + 1;
            if plan.auth {
                superlink.register(&keys::pem(key));
            }
            let skew = rng.within(0, 2 * plan.skew) as i64 - plan.skew as i64;
            nodes.push(SuperNode::new(*spoke, key, skew));
        }
        let mut world = Self {
            rng,
            now: 0,
            due: BinaryHeap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            count: 0,
            tracing,
            print: 0,
            superlink,
            app: App::default(),
            maker: Maker::default(),
            messages: BTreeMap::new(),
            owners: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            next_key: nodes.len() as u32,
            nodes,
            busy: 0,
            lost: 0,
            lan: 0,
            twice: 0,
            blocked: vec![false; plan.spokes.len()],
            spokes: Vec::new(),
            hub: Host::new(("hub".into(), String::new()), 0),
            lines: plan.spokes.iter().map(|_| Line::default()).collect(),
            crossed: BTreeMap::new(),
            spoilt: BTreeMap::new(),
            deltas: [0; 2],
            evicted: false,
            same_time: 0,
            plan,
        };
        for (s, site) in world.plan.spokes.iter().enumerate() {
            let skew = world.rng.within(0, 2 * world.plan.skew) as i64 - world.plan.skew as i64;
            world.spokes.push(Host::new((format!("site{site}"), format!("spoke{s}")), skew));
        }
        if !world.plan.direct {
            world.hub_start();
            for s in 0..world.spokes.len() {
                let delay = world.rng.below(S);
                world.after(delay, Event::SpokeStarts(s));
            }
        }
        world.note(|| format!("{:#?}", world.plan));
        for n in 0..world.nodes.len() {
            let delay = world.rng.below(3 * S);
            world.after(delay, Event::Node(n, 0, NodeTimer::Start));
        }
        world.after(S, Event::App(AppTimer::Begin));
        world.after(S, Event::Sweep);
        for (at, (time, _)) in world.plan.faults.clone().into_iter().enumerate() {
            world.after(time, Event::Fault(at));
        }
        world
    }

    pub fn after(&mut self, delay: T, event: Event) {
        self.count += 1;
        let at = self.free.pop().unwrap_or(self.slab.len());
        if at == self.slab.len() {
            self.slab.push(None);
        }
        self.slab[at] = Some(event);
        self.due.push(Reverse((self.now + delay, self.count, at)));
    }

    #[allow(clippy::print_stdout, reason = "the trace of one seed is for the reader of a failure")]
    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>10.3} {}", self.now as f64 / S as f64, text());
        }
    }

    /// Runs until everything is done. Fails where an invariant does, or where that takes for ever.
    pub fn run(&mut self) {
        let end = |world: &Self| {
            let rest = world.app.finished_at.max(world.plan.calm()) + world.quiet_time();
            world.app.finished && world.now > rest
        };
        let limit = self.plan.calm() + self.time_to_finish();
        while !end(self) {
            let Some(Reverse((time, count, at))) = self.due.pop() else { panic!("nothing is due any more") };
            self.same_time = if time == self.now { self.same_time + 1 } else { 0 };
            assert!(self.same_time < 20_000, "something spins");
            self.now = time;
            self.print = (self.print ^ time ^ count).wrapping_mul(0x0100_0000_01b3);
            let event = self.slab[at].take().unwrap();
            self.free.push(at);
            self.step(event);
            if self.now > limit && !self.app.finished {
                self.fail_unfinished();
                break;
            }
        }
        self.check_end();
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Node(n, incarnation, timer) => self.node_timer(n, incarnation, timer),
            Event::App(timer) => self.app_timer(timer),
            Event::Fault(at) => self.fault(at),
            Event::FaultOver(at) => self.fault_over(at),
            Event::Arrives(id, call) => self.call_arrives(id, call),
            Event::Answer(id, answer) => self.call_answered(id, answer),
            Event::Breaks(id) => self.call_breaks(id),
            Event::Sweep => self.sweep(),
            Event::Abandoned(s, id) => self.spoke_abandoned(s, id),
            Event::Spoke(s, epoch, event) => {
                if self.spokes[s].epoch == epoch {
                    self.spoke_handle(s, event);
                }
            }
            Event::SpokeActs(s, epoch) => self.spoke_acts(s, epoch),
            Event::SpokeTick(s, epoch) => self.spoke_tick(s, epoch),
            Event::SpokeStarts(s) => self.spoke_start(s),
            Event::Hub(epoch, event) => {
                if self.hub.epoch == epoch {
                    self.hub_handle(event);
                }
            }
            Event::HubActs(epoch) => self.hub_acts(epoch),
            Event::HubTick(epoch) => self.hub_tick(epoch),
            Event::HubStarts => self.hub_start(),
            Event::AtSuperLink(epoch, job, call) => self.hub_call_arrives(epoch, job, &call),
            Event::Dial(l) => self.line_dial(l),
            Event::Connected(l) => self.line_connected(l),
            Event::SpokeUp(l, pair) => self.line_spoke_up(l, pair),
            Event::Packet(l, way, pair, packet) => self.line_packet(l, way, pair, packet),
            Event::Notices(l, side, pair) => self.line_notices(l, side, pair),
            Event::KeepAlive(l, side) => self.line_keepalive(l, side),
            Event::Healed(l) => self.line_healed(l),
        }
    }

    // ---- calls of SuperNodes ----

    pub fn call_sent(
        &mut self,
        id: u64,
        (node, incarnation): (usize, u32),
        thread: usize,
        call: FleetCall,
        object: Option<ObjectId>,
    ) {
        let breaks = self.rng.chance(self.lan);
        let operation = call.operation;
        if !self.plan.direct && self.rng.chance(self.twice) {
            self.call_doubled((node, incarnation), thread, call.clone(), object);
            if self.rng.chance(200) {
                self.call_doubled((node, incarnation), thread, call.clone(), object);
            }
        }
        let (sent, at_spoke, spoke) = (self.now, false, self.nodes[node].spoke);
        self.calls
            .insert(id, Call { node, spoke, incarnation, thread, operation, sent, object, at_spoke, breaks });
        if breaks {
            // Before it arrives, while it waits, or when the answer is on its way.
            let when = self.rng.pick(&[0, MS, 10 * MS, S, 5 * S, 29 * S]);
            self.after(when, Event::Breaks(id));
        }
        let delay = if self.plan.direct {
            self.plan.latency[self.nodes[node].spoke]
        } else {
            self.rng.within(MS / 10, 2 * MS)
        };
        self.after(delay, Event::Arrives(id, call));
    }

    /// The same call once more, and perhaps again, of which nobody reads the answers.
    fn call_doubled(
        &mut self,
        (node, incarnation): (usize, u32),
        thread: usize,
        call: FleetCall,
        object: Option<ObjectId>,
    ) {
        self.next_call += 1;
        let delay = self.rng.pick(&[MS / 10, MS, 10 * MS, S, 5 * S, 35 * S]);
        let (id, sent) = (self.next_call, self.now + delay);
        let (operation, spoke) = (call.operation, self.nodes[node].spoke);
        let doubled = Call {
            node,
            spoke,
            incarnation,
            thread,
            operation,
            sent,
            object,
            at_spoke: false,
            breaks: false,
        };
        self.calls.insert(id, doubled);
        self.after(delay, Event::Arrives(id, call));
    }

    fn call_arrives(&mut self, id: u64, call: FleetCall) {
        let Some(open) = self.calls.get(&id) else { return };
        let spoke = self.nodes[open.node].spoke;
        if !self.plan.direct {
            return self.spoke_called(spoke, id, call);
        }
        // A line that lets nothing through: the call is lost, or its answer will be.
        if self.blocked[spoke] && self.rng.chance(500) {
            return;
        }
        let answer = self.superlink_call(&call);
        if self.blocked[spoke] {
            return;
        }
        self.after(self.plan.latency[spoke], Event::Answer(id, answer));
    }

    /// SuperLink carries a call out, or says that it is busy, or its answer goes astray.
    pub fn superlink_call(&mut self, call: &FleetCall) -> Option<FleetAnswer> {
        if self.rng.chance(self.busy) {
            let (grpc, http) = self.rng.pick(&[(14, 503), (14, 503), (2, 500), (8, 503)]);
            return Some(self.superlink.status(grpc, http));
        }
        if self.rng.chance(self.lost / 2) {
            return None;
        }
        let answer = self.superlink.call(self.now, call);
        if self.rng.chance(self.lost) {
            self.note(|| format!("superlink: the answer to {} is lost", call.operation.name()));
            return None;
        }
        Some(answer)
    }

    fn call_answered(&mut self, id: u64, answer: Option<FleetAnswer>) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.check_in_time(&call);
        let answer = if call.breaks { None } else { answer };
        if self.nodes[call.node].incarnation == call.incarnation {
            self.node_answer(call.node, call.thread, id, answer);
        }
    }

    fn call_breaks(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.spoke_will_see(&call, id);
        if self.nodes[call.node].incarnation == call.incarnation {
            self.node_answer(call.node, call.thread, id, None);
        }
    }

    fn spoke_will_see(&mut self, call: &Call, id: u64) {
        if call.at_spoke {
            let delay = self.rng.pick(&[0, MS, S]);
            self.after(delay, Event::Abandoned(call.spoke, id));
        }
    }

    /// The SuperNode that made the call is gone.
    pub fn call_abandoned(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(&id) {
            self.spoke_will_see(&call, id);
        }
    }

    /// SuperNodes do not wait for ever: 5 s for a heartbeat, 30 s for the rest over HTTP.
    fn sweep(&mut self) {
        self.after(S, Event::Sweep);
        let (now, http) = (self.now, self.plan.transport == Transport::Http);
        let late = |call: &Call| {
            let patience = if call.thread == BEAT { 5 * S } else { 30 * S };
            now > call.sent + patience && (call.thread == BEAT || http || now > call.sent + 940 * S)
        };
        if !self.plan.direct {
            return self.calls.values().for_each(|call| self.check_in_time(call));
        }
        let late: Vec<_> = self.calls.iter().filter(|(_, call)| late(call)).map(|(id, _)| *id).collect();
        for id in late {
            self.call_breaks(id);
        }
    }

    // ---- faults ----

    fn fault(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        self.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Cut(line, length) | Fault::Hole(line, length, _) if self.plan.direct => {
                self.blocked[line] = true;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Cut(line, length) => self.line_cut(line, length),
            Fault::Hole(line, length, ways) => {
                self.line_hole(line, length, ways);
                self.after(length, Event::Healed(line));
            }
            Fault::Half(line, told) => self.line_half(line, told),
            Fault::Spoke(s, after, back) if !self.plan.direct => {
                self.spokes[s].doom = Some((after, back));
                self.after(60 * S, Event::FaultOver(at));
            }
            Fault::Hub(after, back) if !self.plan.direct => {
                self.hub.doom = Some((after, back));
                self.after(60 * S, Event::FaultOver(at));
            }
            Fault::Full(_, length) if !self.plan.direct => {
                self.host_fault(fault);
                self.after(length, Event::FaultOver(at));
            }
            Fault::Evict(_) | Fault::Damage(_) | Fault::Compact(_) if !self.plan.direct => {
                self.host_fault(fault);
            }
            Fault::Node(n, back) => self.node_exit(n, back),
            Fault::Leave(n, back) => self.node_leave(n, back),
            Fault::Busy(length, rate) => {
                self.busy = rate;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Lost(length, rate) => {
                self.lost = rate;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Lan(length, rate) => {
                self.lan = rate;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Twice(length, rate) => {
                self.twice = rate;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Slow(line, length, extra) => {
                self.lines[line].slow = extra;
                self.after(length, Event::FaultOver(at));
            }
            Fault::Stop => self.app_run_over(),
            _ => {}
        }
    }

    fn fault_over(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        self.note(|| format!("over: {fault:?}"));
        match fault {
            Fault::Cut(line, _) | Fault::Hole(line, ..) => self.blocked[line] = false,
            Fault::Busy(..) => self.busy = 0,
            Fault::Lost(..) => self.lost = 0,
            Fault::Lan(..) => self.lan = 0,
            Fault::Twice(..) => self.twice = 0,
            Fault::Slow(line, ..) => self.lines[line].slow = 0,
            Fault::Full(host, _) => self.host_room(host),
            // It had too little to do to die of it.
            Fault::Spoke(s, _, back) if self.spokes[s].doom.is_some() => self.spoke_crash(s, back),
            Fault::Hub(_, back) if self.hub.doom.is_some() => self.hub_crash(back),
            _ => {}
        }
    }
}
