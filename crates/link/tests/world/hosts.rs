//! The shells around the engines: they carry actions out in their order, keep the journal, and crash between any two.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::objects::{self, ObjectId};
use onefed_link::engine::frame::{HubFrame, SpokeFrame};
use onefed_link::engine::hub::{self, Hub, SpokeName};
use onefed_link::engine::record::{HubRecord, SpokeRecord};
use onefed_link::engine::spoke::{self, NotStored, Spoke};
use onefed_link::engine::{Job, Now, Ticket};

use crate::bodies;
use crate::disk::Disk;
use crate::keys::EPOCH;
use crate::line::{DOWN, Packet, UP};
use crate::plan::Fault;
use crate::rng::{MS, S, T};
use crate::world::{Event, World};

/// A machine with an engine: `E` the engine, `A` its actions, `R` its records.
pub struct Host<E, A, R> {
    pub engine: Option<E>,
    pub name: SpokeName,
    pub epoch: u32,
    pub journal: Vec<R>,
    /// So many of its records survive a power cut.
    safe: usize,
    pub disk: Disk,
    queue: VecDeque<A>,
    acting: bool,
    tick_at: T,
    /// Dies before so many more actions are carried out, and is back after a while.
    pub doom: Option<(u64, T)>,
    told_full: bool,
    open: BTreeSet<Ticket>,
    abandoned: BTreeSet<Ticket>,
    skew: i64,
    pub started: T,
}

pub type SpokeHost = Host<Spoke, spoke::Action, SpokeRecord>;
pub type HubHost = Host<Hub, hub::Action, HubRecord>;

impl<E, A, R> Host<E, A, R> {
    pub fn new(name: SpokeName, skew: i64) -> Self {
        Self {
            engine: None,
            name,
            epoch: 0,
            journal: Vec::new(),
            safe: 0,
            disk: Disk::default(),
            queue: VecDeque::new(),
            acting: false,
            tick_at: T::MAX,
            doom: None,
            told_full: false,
            open: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            skew,
            started: 0,
        }
    }

    fn now(&self, now: T) -> Now {
        let wall = now.saturating_add_signed(self.skew);
        Now {
            mono: Duration::from_micros(now),
            wall: UNIX_EPOCH + Duration::from_secs(EPOCH) + Duration::from_micros(wall),
        }
    }

    /// Takes the next action, unless the host dies first.
    fn next(&mut self) -> Result<Option<A>, T> {
        if self.queue.is_empty() {
            return Ok(None);
        }
        match &mut self.doom {
            Some((0, back)) => Err(*back),
            Some((left, _)) => {
                *left -= 1;
                Ok(self.queue.pop_front())
            }
            None => Ok(self.queue.pop_front()),
        }
    }

    fn die(&mut self) {
        self.engine = None;
        self.epoch += 1;
        self.queue.clear();
        self.acting = false;
        self.tick_at = T::MAX;
        self.doom = None;
        self.abandoned.clear();
        self.told_full = false;
    }
}

impl World {
    // ---- the spoke ----

    pub fn spoke_start(&mut self, s: usize) {
        let now = self.now;
        let host = &mut self.spokes[s];
        if host.engine.is_some() {
            return;
        }
        host.started = now;
        let settings =
            spoke::Settings { site: host.name.0.clone(), hold: Duration::from_micros(self.plan.hold) };
        let at = host.now(now);
        host.engine = Some(Spoke::new(settings, host.journal.clone(), at, &host.disk));
        self.note(|| format!("spoke {s}: starts"));
        if self.spokes[s].disk.full {
            self.spoke_full(s);
        }
        self.spoke_settle(s);
        self.line_dial(s);
    }

    pub fn spoke_handle(&mut self, s: usize, event: spoke::Event) {
        let now = self.now;
        self.note(|| format!("spoke {s}: < {}", short(&event)));
        let host = &mut self.spokes[s];
        let at = host.now(now);
        let Some(engine) = host.engine.as_mut() else { return };
        let mut actions = Vec::new();
        engine.handle(at, event, &host.disk, &mut actions);
        host.queue.extend(actions);
        self.spoke_settle(s);
    }

    /// Carries out what is to be done, and asks when the engine wants to be called next.
    fn spoke_settle(&mut self, s: usize) {
        if self.plan.action_lag == 0 {
            loop {
                match self.spokes[s].next() {
                    Ok(Some(action)) => self.spoke_act(s, action),
                    Ok(None) => break,
                    Err(back) => return self.spoke_crash(s, back),
                }
            }
            self.spoke_compact(s, self.plan.compact);
        } else if !self.spokes[s].acting && !self.spokes[s].queue.is_empty() {
            self.spokes[s].acting = true;
            let (epoch, lag) = (self.spokes[s].epoch, self.rng.within(1, self.plan.action_lag));
            self.after(lag, Event::SpokeActs(s, epoch));
        }
        self.line_pump(s, UP);
        let host = &mut self.spokes[s];
        if let Some(deadline) = host.engine.as_ref().and_then(Spoke::deadline) {
            let at = (deadline.as_micros() as T).max(self.now);
            if at < host.tick_at {
                host.tick_at = at;
                let epoch = host.epoch;
                self.after(at - self.now, Event::SpokeTick(s, epoch));
            }
        }
    }

    pub fn spoke_acts(&mut self, s: usize, epoch: u32) {
        if self.spokes[s].epoch != epoch {
            return;
        }
        self.spokes[s].acting = false;
        match self.spokes[s].next() {
            Ok(Some(action)) => self.spoke_act(s, action),
            Ok(None) => {}
            Err(back) => return self.spoke_crash(s, back),
        }
        self.spoke_settle(s);
    }

    pub fn spoke_tick(&mut self, s: usize, epoch: u32) {
        let host = &mut self.spokes[s];
        if host.epoch != epoch || host.tick_at != self.now {
            return;
        }
        host.tick_at = T::MAX;
        let due = host.engine.as_ref().and_then(Spoke::deadline);
        if due.is_some_and(|due| due.as_micros() as T <= self.now) {
            self.spoke_handle(s, spoke::Event::Tick);
        } else {
            self.spoke_settle(s);
        }
    }

    fn spoke_act(&mut self, s: usize, action: spoke::Action) {
        self.note(|| format!("spoke {s}: > {}", short(&action)));
        match action {
            spoke::Action::Send(frame) => {
                let frame = if self.plan.bytes { through_bytes_up(&frame) } else { frame };
                self.line_send(s, UP, Packet::Up(frame));
            }
            spoke::Action::Answer(ticket, answer) => self.spoke_answers(s, ticket, answer),
            spoke::Action::Serve { ticket, transport, id, whole } => {
                self.check_served(s, ticket, id, whole);
                let answer = match self.spokes[s].disk.read(id) {
                    Some(content) => {
                        let body = if whole { content } else { objects::object_content(&content) };
                        self.superlink.success(body)
                    }
                    None => {
                        let epoch = self.spokes[s].epoch;
                        self.after(0, Event::Spoke(s, epoch, spoke::Event::Lost(id)));
                        FleetAnswer::refusal(transport, Refusal::Unavailable, "not here")
                    }
                };
                self.spoke_answers(s, ticket, answer);
            }
            spoke::Action::StorePushed(ticket, id, content) => {
                let epoch = self.spokes[s].epoch;
                let result = if bodies::id_of(&content) != id {
                    Err(NotStored::WrongHash)
                } else if self.spokes[s].disk.put(id, content) {
                    Ok(())
                } else {
                    self.spoke_full(s);
                    Err(NotStored::NoRoom)
                };
                let delay = self.rng.within(MS / 10, 5 * MS);
                self.after(delay, Event::Spoke(s, epoch, spoke::Event::Pushed(ticket, result)));
            }
            spoke::Action::Record(record) => {
                let record = if self.plan.bytes {
                    SpokeRecord::decode(record.encode().into()).expect("a record reads back")
                } else {
                    record
                };
                let (host, last, safe) = (&mut self.spokes[s], record.is_final(), record.is_promise());
                host.journal.push(record);
                if last {
                    host.disk.sync();
                }
                if safe {
                    host.safe = host.journal.len();
                }
            }
        }
    }

    fn spoke_answers(&mut self, s: usize, ticket: Ticket, answer: FleetAnswer) {
        let host = &mut self.spokes[s];
        if !host.open.remove(&ticket) {
            assert!(host.abandoned.contains(&ticket), "spoke {s}: answers call {ticket} twice");
            return;
        }
        let delay = self.rng.within(MS / 10, 2 * MS);
        self.after(delay, Event::Answer(ticket, Some(answer)));
    }

    pub fn spoke_called(&mut self, s: usize, id: u64, call: FleetCall) {
        if self.spokes[s].engine.is_none() {
            return self.after(MS, Event::Answer(id, None));
        }
        let open = self.calls.get_mut(&id).unwrap();
        open.at_spoke = true;
        // One connection for each life of a SuperNode.
        let connection = (open.node as u64) << 32 | open.incarnation as u64;
        self.spokes[s].open.insert(id);
        self.spoke_handle(s, spoke::Event::Call(id, connection, call));
    }

    /// The shell sees the connection of a call end.
    pub fn spoke_abandoned(&mut self, s: usize, ticket: Ticket) {
        let host = &mut self.spokes[s];
        if host.open.remove(&ticket) {
            host.abandoned.insert(ticket);
            self.spoke_handle(s, spoke::Event::Abandoned(ticket));
        }
    }

    /// An object came over the bulk connection.
    pub fn spoke_receives(&mut self, s: usize, id: ObjectId, content: Bytes) {
        let epoch = self.spokes[s].epoch;
        if !self.spokes[s].disk.put(id, content) {
            return self.spoke_full(s);
        }
        let delay = self.rng.within(MS / 10, 5 * MS);
        self.after(delay, Event::Spoke(s, epoch, spoke::Event::Stored(id)));
    }

    fn spoke_full(&mut self, s: usize) {
        if !std::mem::replace(&mut self.spokes[s].told_full, true) {
            let epoch = self.spokes[s].epoch;
            self.after(0, Event::Spoke(s, epoch, spoke::Event::Storage(false)));
        }
    }

    fn spoke_compact(&mut self, s: usize, chance: u64) {
        if self.rng.chance(chance)
            && let Some(snapshot) = self.spokes[s].engine.as_ref().map(Spoke::snapshot)
        {
            let host = &mut self.spokes[s];
            host.journal = snapshot;
            host.safe = host.journal.len();
        }
    }

    pub fn spoke_crash(&mut self, s: usize, back: T) {
        if self.spokes[s].engine.is_none() {
            return;
        }
        let power = self.plan.power_cuts && self.rng.chance(500);
        self.note(|| format!("spoke {s}: crashes{}", if power { ", as its power is cut" } else { "" }));
        let host = &mut self.spokes[s];
        host.die();
        host.disk.crash(power, &mut self.rng);
        if power {
            // The hub's loses nothing here: SuperLink and the ServerApp are in the same VM, and their run is gone with it.
            let rest = (host.journal.len() - host.safe) as u64;
            host.journal.truncate(host.safe + self.rng.below(rest + 1) as usize);
        }
        for ticket in std::mem::take(&mut self.spokes[s].open) {
            self.after(MS, Event::Answer(ticket, None));
        }
        let hub_in = if power { self.keepalive() } else { self.plan.latency[s] };
        self.lines[s].spoke_sees = None;
        self.line_sever(s, 0, hub_in);
        self.after(back, Event::SpokeStarts(s));
    }

    // ---- the hub ----

    pub fn hub_start(&mut self) {
        let now = self.now;
        let host = &mut self.hub;
        if host.engine.is_some() {
            return;
        }
        host.started = now;
        let settings = hub::Settings { hold: Duration::from_micros(self.plan.hold) };
        let at = host.now(now);
        host.engine = Some(Hub::new(settings, host.journal.clone(), at, &host.disk));
        self.note(|| "hub: starts".to_owned());
        if self.hub.disk.full {
            self.hub_full();
        }
        self.hub_settle();
    }

    pub fn hub_handle(&mut self, event: hub::Event) {
        let now = self.now;
        self.note(|| format!("hub: < {}", short(&event)));
        let host = &mut self.hub;
        let at = host.now(now);
        let Some(engine) = host.engine.as_mut() else { return };
        let mut actions = Vec::new();
        engine.handle(at, event, &host.disk, &mut actions);
        let (kept, bound) = (engine.depth().call_bytes, (16 << 20) + self.spokes.len() * (64 << 10));
        assert!(kept <= bound, "the hub keeps {kept} bytes of answers");
        host.queue.extend(actions);
        self.hub_settle();
    }

    fn hub_settle(&mut self) {
        if self.plan.action_lag == 0 {
            loop {
                match self.hub.next() {
                    Ok(Some(action)) => self.hub_act(action),
                    Ok(None) => break,
                    Err(back) => return self.hub_crash(back),
                }
            }
            self.hub_compact(self.plan.compact);
        } else if !self.hub.acting && !self.hub.queue.is_empty() {
            self.hub.acting = true;
            let (epoch, lag) = (self.hub.epoch, self.rng.within(1, self.plan.action_lag));
            self.after(lag, Event::HubActs(epoch));
        }
        (0..self.lines.len()).for_each(|l| self.line_pump(l, DOWN));
        let host = &mut self.hub;
        if let Some(deadline) = host.engine.as_ref().and_then(Hub::deadline) {
            let at = (deadline.as_micros() as T).max(self.now);
            if at < host.tick_at {
                host.tick_at = at;
                let epoch = host.epoch;
                self.after(at - self.now, Event::HubTick(epoch));
            }
        }
    }

    pub fn hub_acts(&mut self, epoch: u32) {
        if self.hub.epoch != epoch {
            return;
        }
        self.hub.acting = false;
        match self.hub.next() {
            Ok(Some(action)) => self.hub_act(action),
            Ok(None) => {}
            Err(back) => return self.hub_crash(back),
        }
        self.hub_settle();
    }

    pub fn hub_tick(&mut self, epoch: u32) {
        let host = &mut self.hub;
        if host.epoch != epoch || host.tick_at != self.now {
            return;
        }
        host.tick_at = T::MAX;
        let due = host.engine.as_ref().and_then(Hub::deadline);
        if due.is_some_and(|due| due.as_micros() as T <= self.now) {
            self.hub_handle(hub::Event::Tick);
        } else {
            self.hub_settle();
        }
    }

    fn hub_act(&mut self, action: hub::Action) {
        self.note(|| format!("hub: > {}", short(&action)));
        let epoch = self.hub.epoch;
        match action {
            hub::Action::Send(name, frame) => {
                let frame = if self.plan.bytes { through_bytes_down(&frame) } else { frame };
                let l = self.spokes.iter().position(|spoke| spoke.name == name).expect("a spoke");
                self.line_send(l, DOWN, Packet::Down(frame));
            }
            hub::Action::Fleet(job, call) => self.hub_calls(job, call),
            hub::Action::PushStored { job, mut call, node, run, session, id } => {
                match self.hub.disk.read(id) {
                    Some(content) => {
                        call.body = objects::push_object_request(node, run, &session, id, &content);
                        self.hub_calls(job, call);
                    }
                    None => {
                        self.after(0, Event::Hub(epoch, hub::Event::Lost(id)));
                        self.after(0, Event::Hub(epoch, hub::Event::Answered(job, None)));
                    }
                }
            }
            hub::Action::Store(job, id, content) => {
                let stored = bodies::id_of(&content) == id && self.hub.disk.put(id, content);
                if !stored {
                    self.hub_full();
                }
                let delay = self.rng.within(MS / 10, 5 * MS);
                self.after(delay, Event::Hub(epoch, hub::Event::StoreDone(job, stored)));
            }
            hub::Action::Record(record) => {
                let record = if self.plan.bytes {
                    HubRecord::decode(record.encode().into()).expect("a record reads back")
                } else {
                    record
                };
                if record.is_final() {
                    self.hub.disk.sync();
                }
                self.hub.journal.push(record);
            }
        }
    }

    fn hub_calls(&mut self, job: Job, call: FleetCall) {
        let (epoch, delay) = (self.hub.epoch, self.rng.within(MS / 10, 3 * MS));
        self.after(delay, Event::AtSuperLink(epoch, job, call));
    }

    /// A call of the hub arrives at SuperLink, whether the hub is still there or not.
    pub fn hub_call_arrives(&mut self, epoch: u32, job: Job, call: &FleetCall) {
        if epoch != self.hub.epoch && self.rng.chance(500) {
            return;
        }
        let answer = self.superlink_call(call);
        self.note(|| {
            let said = answer.as_ref().map(FleetAnswer::words);
            format!("superlink: {} -> {said:?}", call.operation.name())
        });
        let delay = match answer {
            Some(_) => self.rng.within(MS / 10, 3 * MS),
            None => self.rng.pick(&[MS, S, 30 * S]),
        };
        self.after(delay, Event::Hub(epoch, hub::Event::Answered(job, answer)));
    }

    pub fn hub_receives(&mut self, id: ObjectId, content: Bytes) {
        let epoch = self.hub.epoch;
        if !self.hub.disk.put(id, content) {
            return self.hub_full();
        }
        let delay = self.rng.within(MS / 10, 5 * MS);
        self.after(delay, Event::Hub(epoch, hub::Event::Stored(id)));
    }

    fn hub_full(&mut self) {
        if self.hub.disk.full && !std::mem::replace(&mut self.hub.told_full, true) {
            let epoch = self.hub.epoch;
            self.after(0, Event::Hub(epoch, hub::Event::Storage(false)));
        }
    }

    fn hub_compact(&mut self, chance: u64) {
        if self.rng.chance(chance)
            && let Some(engine) = &self.hub.engine
        {
            self.hub.journal = engine.snapshot();
        }
    }

    pub fn hub_crash(&mut self, back: T) {
        if self.hub.engine.is_none() {
            return;
        }
        let power = self.plan.power_cuts && self.rng.chance(500);
        self.note(|| format!("hub: crashes{}", if power { ", as its power is cut" } else { "" }));
        self.hub.die();
        self.hub.disk.crash(power, &mut self.rng);
        for l in 0..self.lines.len() {
            self.lines[l].hub_sees = None;
            let spoke_in = if power { self.keepalive() } else { self.plan.latency[l] };
            self.line_sever(l, spoke_in, 0);
        }
        self.after(back, Event::HubStarts);
    }

    // ---- faults of hosts ----

    /// Hosts are counted: the spokes in their order, then the hub.
    pub fn host_fault(&mut self, fault: Fault) {
        let hub = self.spokes.len();
        match fault {
            Fault::Evict(at) => {
                let (disk, runs) = match self.spokes.get(at) {
                    Some(spoke) => (&spoke.disk, spoke.engine.is_some()),
                    None => (&self.hub.disk, self.hub.engine.is_some()),
                };
                // Nobody drops anything where no process runs; a new one says first what it keeps.
                let count = if runs { disk.evict(&mut self.rng) } else { 0 };
                self.evicted |= count > 0;
            }
            Fault::Damage(at) => {
                let disk = if at == hub { &self.hub.disk } else { &self.spokes[at].disk };
                let damaged = disk.damage(&mut self.rng);
                self.note(|| format!("damaged: {damaged:?}"));
            }
            Fault::Full(at, _) => {
                let early = self.rng.chance(500);
                if at == hub {
                    self.hub.disk.full = true;
                    if early {
                        self.hub_full();
                    }
                } else {
                    self.spokes[at].disk.full = true;
                    if early {
                        self.spoke_full(at);
                    }
                }
            }
            Fault::Compact(at) if self.plan.action_lag == 0 => {
                if at == hub {
                    self.hub_compact(1000)
                } else {
                    self.spoke_compact(at, 1000)
                }
            }
            _ => {}
        }
    }

    pub fn host_room(&mut self, at: usize) {
        if at == self.spokes.len() {
            self.hub.disk.full = false;
            if std::mem::take(&mut self.hub.told_full) {
                self.hub_handle(hub::Event::Storage(true));
            }
        } else {
            self.spokes[at].disk.full = false;
            if std::mem::take(&mut self.spokes[at].told_full) {
                self.spoke_handle(at, spoke::Event::Storage(true));
            }
        }
    }
}

fn through_bytes_up(frame: &SpokeFrame) -> SpokeFrame {
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    SpokeFrame::decode(&mut bytes).expect("a frame").expect("a whole frame")
}

fn through_bytes_down(frame: &HubFrame) -> HubFrame {
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    HubFrame::decode(&mut bytes).expect("a frame").expect("a whole frame")
}

/// A line for the trace: bodies and headers left out.
fn short(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(", headers: {") {
        out.push_str(&rest[..at]);
        rest = rest[at + 12..].split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    let mut cut = String::new();
    let mut rest = out.as_str();
    while let Some(at) = rest.find("b\"") {
        cut.push_str(&rest[..at]);
        let mut end = at + 2;
        let bytes = rest.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        cut.push_str(&format!("b..{}", end - at - 2));
        rest = rest.get(end + 1..).unwrap_or("");
    }
    cut.push_str(rest);
    cut
}
