//! The line between a spoke and the hub: a pair of connections, control and bulk, with delay and rate. It can be cut, let
//! nothing through without telling, or be lost at one end only. What TCP does, it does: order, retransmission while the
//! connection lives, and the loss of everything under way when it dies.

use std::collections::BTreeSet;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use onefed_link::engine::frame::{HubFrame, SpokeFrame, Wanted};
use onefed_link::engine::{hub, spoke};

use crate::rng::{MS, S, T};
use crate::world::{Event, World};

/// Towards the hub.
pub const UP: usize = 0;
/// Towards the spoke.
pub const DOWN: usize = 1;

/// An end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Spoke,
    Hub,
}

#[derive(Debug)]
pub enum Packet {
    Up(SpokeFrame),
    Down(HubFrame),
    /// With the base that it was coded against.
    Object(Wanted, Bytes),
    /// The sender has room for the next object.
    Room,
    /// The sender has closed its end.
    Closed,
}

#[derive(Default)]
pub struct Line {
    pair: u64,
    /// Pairs up to this one are dead, whether anybody has noticed or not.
    severed: u64,
    pub spoke_sees: Option<u64>,
    pub hub_sees: Option<u64>,
    dialing: bool,
    tries: u32,
    down_until: T,
    blocked_until: [T; 2],
    /// Each packet takes up to so much longer.
    pub slow: T,
    parked: [Vec<(u64, Packet)>; 2],
    last: [T; 2],
    bulk_last: [T; 2],
    bulk_busy: [bool; 2],
    /// What the receivers of this pair have named: objects that have a base, and the bases.
    named: [(BTreeSet<ObjectId>, BTreeSet<ObjectId>); 2],
}

impl Line {
    fn blocked(&self, way: usize, now: T) -> bool {
        now < self.blocked_until[way]
    }

    fn seen_by(&self, side: Side) -> Option<u64> {
        match side {
            Side::Spoke => self.spoke_sees,
            Side::Hub => self.hub_sees,
        }
    }
}

impl World {
    // ---- connecting ----

    pub fn line_dial(&mut self, l: usize) {
        self.lines[l].dialing = false;
        let alive = self.spokes[l].engine.is_some();
        if !alive || self.lines[l].spoke_sees.is_some() {
            return;
        }
        let now = self.now;
        let line = &mut self.lines[l];
        line.dialing = true;
        let stuck = line.blocked(UP, now) || line.blocked(DOWN, now);
        if stuck || now < line.down_until || self.hub.engine.is_none() {
            line.tries += 1;
            let most = ((S / 5) << line.tries.min(5)).min(5 * S);
            let wait = self.rng.within(most / 2, most) + if stuck { 5 * S } else { 0 };
            return self.after(wait, Event::Dial(l));
        }
        let delay = 3 * self.plan.latency[l] + MS;
        self.after(delay, Event::Connected(l));
    }

    fn line_dial_soon(&mut self, l: usize) {
        if !self.lines[l].dialing {
            self.lines[l].dialing = true;
            self.lines[l].tries = 0;
            let wait = self.rng.within(10 * MS, 300 * MS);
            self.after(wait, Event::Dial(l));
        }
    }

    pub fn line_connected(&mut self, l: usize) {
        let now = self.now;
        let line = &self.lines[l];
        let stuck = line.blocked(UP, now) || line.blocked(DOWN, now) || now < line.down_until;
        if stuck || self.hub.engine.is_none() || self.spokes[l].engine.is_none() {
            return self.line_dial(l);
        }
        let line = &mut self.lines[l];
        line.pair += 1;
        line.severed = line.pair - 1;
        line.tries = 0;
        line.bulk_busy = [false; 2];
        line.named = Default::default();
        let (pair, name) = (line.pair, self.spokes[l].name.clone());
        let old = line.hub_sees.replace(pair);
        let delay = self.rng.below(self.plan.latency[l] + 1);
        let line = &mut self.lines[l];
        line.last = [now + delay; 2];
        line.bulk_last = [now + delay; 2];
        self.note(|| format!("line {l}: pair {pair} is up"));
        self.after(delay, Event::SpokeUp(l, pair));
        if old.is_some() && self.rng.chance(500) {
            self.hub_handle(hub::Event::Down(name.clone()));
        }
        self.hub_handle(hub::Event::Up(name));
    }

    pub fn line_spoke_up(&mut self, l: usize, pair: u64) {
        let now = self.now;
        self.lines[l].dialing = false;
        if self.lines[l].severed >= pair || self.lines[l].blocked(DOWN, now) {
            return self.line_dial_soon(l);
        }
        if self.spokes[l].engine.is_some() {
            // Two tries, and the later one was quicker to fence the other than that to be seen.
            if self.lines[l].spoke_sees.is_some() {
                self.spoke_handle(l, spoke::Event::Down);
            }
            self.lines[l].spoke_sees = Some(pair);
            self.lines[l].bulk_busy[UP] = false;
            self.spoke_handle(l, spoke::Event::Up);
        }
    }

    // ---- sending ----

    pub fn line_send(&mut self, l: usize, way: usize, packet: Packet) {
        let line = &mut self.lines[l];
        if let Packet::Up(SpokeFrame::Want(wanted)) | Packet::Down(HubFrame::Want(wanted)) = &packet {
            for (id, base) in wanted.iter().filter_map(|wanted| Some((wanted.id, wanted.base?))) {
                line.named[1 - way].0.insert(id);
                line.named[1 - way].1.insert(base);
            }
        }
        let sees = if way == UP { line.spoke_sees } else { line.hub_sees };
        let Some(pair) = sees else { return };
        let jitter = self.rng.below(MS.max(line.slow));
        let at = (self.now + self.plan.latency[l] + jitter).max(line.last[way]);
        line.last[way] = at;
        self.after(at - self.now, Event::Packet(l, way, pair, packet));
    }

    /// Asks the sender for its next object, if the bulk connection has room.
    pub fn line_pump(&mut self, l: usize, way: usize) {
        loop {
            let line = &self.lines[l];
            let sees = if way == UP { line.spoke_sees } else { line.hub_sees };
            let Some(pair) = sees.filter(|_| !line.bulk_busy[way]) else { return };
            let content = if way == UP {
                let host = &mut self.spokes[l];
                let Some(engine) = host.engine.as_mut() else { return };
                let Some(wanted) = engine.next_object(&host.disk) else { return };
                let id = wanted.id;
                let content = host.disk.read(id);
                if content.is_none() {
                    self.spoke_handle(l, spoke::Event::Lost(id));
                }
                content.map(|content| (wanted, content))
            } else {
                let host = &mut self.hub;
                let Some(engine) = host.engine.as_mut() else { return };
                let Some(wanted) = engine.next_object(&self.spokes[l].name, &host.disk) else { return };
                let id = wanted.id;
                let content = host.disk.read(id);
                if content.is_none() {
                    self.hub_handle(hub::Event::Lost(id));
                }
                content.map(|content| (wanted, content))
            };
            let Some((mut wanted, content)) = content else { continue };
            let id = wanted.id;
            if let Some(base) = wanted.base {
                let named = &self.lines[l].named[way];
                let named = named.0.contains(&id) && named.1.contains(&base);
                assert!(named, "line {l}: {id:?} would be coded against {base:?}, which nobody named");
                // A spoke must not learn anything of what it was not given.
                let given = way == UP || self.crossed.contains_key(&(l, way, base));
                assert!(given, "line {l}: {id:?} would be coded against {base:?}, which the spoke never got");
                let disk = if way == UP { &self.spokes[l].disk } else { &self.hub.disk };
                // The sample may say that it is not worth it, and the base may be damaged.
                if self.rng.chance(200) || disk.read(base).is_none() {
                    wanted.base = None;
                } else {
                    self.deltas[way] += 1;
                }
            }
            *self.crossed.entry((l, way, id)).or_default() += 1;
            let line = &mut self.lines[l];
            line.bulk_busy[way] = true;
            let begun = self.now.max(line.bulk_last[way].saturating_sub(self.plan.latency[l]));
            let room = begun + content.len() as T * S / self.plan.rate[l];
            let slower = if line.slow > 0 { self.rng.below(line.slow) } else { 0 };
            let there = room + self.plan.latency[l] + slower;
            line.bulk_last[way] = there;
            self.note(|| format!("line {l}: sends {id:?} {}", if way == UP { "up" } else { "down" }));
            self.after(room - self.now, Event::Packet(l, way, pair, Packet::Room));
            self.after(there - self.now, Event::Packet(l, way, pair, Packet::Object(wanted, content)));
        }
    }

    pub fn line_packet(&mut self, l: usize, way: usize, pair: u64, packet: Packet) {
        let now = self.now;
        let line = &mut self.lines[l];
        if line.blocked(way, now) {
            line.parked[way].push((pair, packet));
            return;
        }
        if line.severed >= pair {
            return;
        }
        let (sender, receiver) = if way == UP { (Side::Spoke, Side::Hub) } else { (Side::Hub, Side::Spoke) };
        if matches!(packet, Packet::Room) {
            if line.seen_by(sender) == Some(pair) {
                line.bulk_busy[way] = false;
                self.line_pump(l, way);
            }
            return;
        }
        if line.seen_by(receiver) != Some(pair) {
            return;
        }
        match packet {
            Packet::Up(frame) => {
                let name = self.spokes[l].name.clone();
                self.hub_handle(hub::Event::Frame(name, frame));
            }
            Packet::Down(frame) => self.spoke_handle(l, spoke::Event::Frame(frame)),
            Packet::Object(wanted, content) => {
                let disk = if way == UP { &self.hub.disk } else { &self.spokes[l].disk };
                // Without its base, or with a difference that went wrong, it is as if it had not come.
                let lost = wanted.base.is_some_and(|base| disk.read(base).is_none() || self.rng.chance(20));
                if lost {
                    *self.spoilt.entry((l, way, wanted.id)).or_default() += 1;
                }
                match (way, lost) {
                    (UP, true) => self.hub_handle(hub::Event::Lost(wanted.id)),
                    (UP, false) => self.hub_receives(wanted.id, content),
                    (_, true) => self.spoke_handle(l, spoke::Event::Lost(wanted.id)),
                    (_, false) => self.spoke_receives(l, wanted.id, content),
                }
            }
            Packet::Closed => self.line_close(l, receiver),
            Packet::Room => {}
        }
    }

    // ---- dying ----

    /// An end finds out that the pair is gone, or gives it up.
    pub fn line_close(&mut self, l: usize, side: Side) {
        if self.lines[l].seen_by(side).is_none() {
            return;
        }
        self.note(|| format!("line {l}: the {side:?} sees it down"));
        match side {
            Side::Spoke => {
                self.line_send(l, UP, Packet::Closed);
                self.lines[l].spoke_sees = None;
                self.lines[l].bulk_busy[UP] = false;
                self.spoke_handle(l, spoke::Event::Down);
                self.line_dial_soon(l);
            }
            Side::Hub => {
                self.line_send(l, DOWN, Packet::Closed);
                self.lines[l].hub_sees = None;
                self.lines[l].bulk_busy[DOWN] = false;
                let name = self.spokes[l].name.clone();
                self.hub_handle(hub::Event::Down(name));
            }
        }
    }

    /// Everything under way is lost; an end notices after a while.
    pub fn line_sever(&mut self, l: usize, spoke_in: T, hub_in: T) {
        let line = &mut self.lines[l];
        line.severed = line.pair;
        let (spoke, hub) = (line.spoke_sees, line.hub_sees);
        if let Some(pair) = spoke {
            self.after(spoke_in, Event::Notices(l, Side::Spoke, pair));
        }
        if let Some(pair) = hub {
            self.after(hub_in, Event::Notices(l, Side::Hub, pair));
        }
    }

    pub fn line_notices(&mut self, l: usize, side: Side, pair: u64) {
        if self.lines[l].seen_by(side) == Some(pair) {
            self.line_close(l, side);
        }
    }

    /// How long keepalive takes to notice: PING every 10 s, and 5 s for the answer.
    pub fn keepalive(&mut self) -> T {
        self.rng.within(5 * S, 16 * S)
    }

    pub fn line_cut(&mut self, l: usize, length: T) {
        let until = self.now + length;
        self.lines[l].down_until = self.lines[l].down_until.max(until);
        let (a, b) = (self.rng.below(100 * MS), self.rng.below(100 * MS));
        self.line_sever(l, a, b);
    }

    pub fn line_half(&mut self, l: usize, told: u8) {
        let (soon, late) = (self.rng.below(10 * MS), self.keepalive());
        if told == 0 { self.line_sever(l, soon, late) } else { self.line_sever(l, late, soon) }
    }

    pub fn line_hole(&mut self, l: usize, length: T, ways: u8) {
        let until = self.now + length;
        for way in [UP, DOWN] {
            if ways == 2 || usize::from(ways) == way {
                let blocked = &mut self.lines[l].blocked_until[way];
                *blocked = (*blocked).max(until);
            }
        }
        for side in [Side::Spoke, Side::Hub] {
            let notices = self.keepalive();
            self.after(notices, Event::KeepAlive(l, side));
        }
    }

    /// A PING that went into a hole has not been answered in time.
    pub fn line_keepalive(&mut self, l: usize, side: Side) {
        let now = self.now;
        if self.lines[l].blocked(UP, now) || self.lines[l].blocked(DOWN, now) {
            self.line_close(l, side);
            // What it had sent may still be delivered before its end, or not.
            if self.rng.chance(500) {
                let (way, other) = if side == Side::Spoke { (UP, Side::Hub) } else { (DOWN, Side::Spoke) };
                self.lines[l].parked[way].clear();
                // The word that it has ended may be among that. The other end's PINGs are not answered any more.
                if let Some(pair) = self.lines[l].seen_by(other) {
                    let notices = self.keepalive();
                    self.after(notices, Event::Notices(l, other, pair));
                }
            }
        }
    }

    pub fn line_healed(&mut self, l: usize) {
        for way in [UP, DOWN] {
            if !self.lines[l].blocked(way, self.now) {
                for (at, (pair, packet)) in
                    std::mem::take(&mut self.lines[l].parked[way]).into_iter().enumerate()
                {
                    self.after(at as T, Event::Packet(l, way, pair, packet));
                }
                let at = self.lines[l].last[way].max(self.now + MS);
                self.lines[l].last[way] = at;
                self.lines[l].bulk_last[way] = self.lines[l].bulk_last[way].max(at);
            }
        }
    }
}
