//! What a world is like and what will go wrong in it: all of it drawn from the seed before the world begins.

use onefed_flower::Transport;

use crate::rng::{MS, Rng, S, T};

/// One thing that goes wrong, or is done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both ends are told; nothing gets through for a while.
    Cut(usize, T),
    /// Nobody is told; frames of one direction (0 up, 1 down) or of both (2) are stuck for a while.
    Hole(usize, T, u8),
    /// The connections of a line are gone, and only one end is told: 0 the spoke, 1 the hub.
    Half(usize, u8),
    /// A spoke dies after so many more actions, and is back after a while.
    Spoke(usize, u64, T),
    /// The same for the hub.
    Hub(u64, T),
    /// A SuperNode is killed, and started again after a while.
    Node(usize, T),
    /// A SuperNode leaves in good order, and is started again after a while.
    Leave(usize, T),
    /// For a while, SuperLink says that it is busy, so many times in a thousand.
    Busy(T, u64),
    /// For a while, answers of SuperLink are lost, so many times in a thousand.
    Lost(T, u64),
    /// Objects that nobody keeps are dropped; on which host (spokes in order, then the hub).
    Evict(usize),
    /// A host's disk is full for a while.
    Full(usize, T),
    /// One object of a message on a host's shelf goes bad.
    Damage(usize),
    /// For a while, connections of SuperNodes to their spoke break, so many times in a thousand.
    Lan(T, u64),
    /// For a while, what SuperNodes call comes to their spoke a second time, at once or later, so many times in a thousand.
    Twice(T, u64),
    /// For a while, everything on a line takes up to so much longer, its two connections each for itself.
    Slow(usize, T, T),
    /// A host's journal is rewritten from the engine's snapshot.
    Compact(usize),
    /// The user stops the run.
    Stop,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub transport: Transport,
    /// SuperNodes keep their keys, which an operator has registered.
    pub auth: bool,
    /// SuperNodes speak with SuperLink themselves.
    pub direct: bool,
    /// For each spoke the site that it is at.
    pub spokes: Vec<usize>,
    /// For each SuperNode its spoke.
    pub nodes: Vec<usize>,
    pub rounds: u32,
    pub runs: u32,
    /// Messages for each node in each round.
    pub each: u64,
    pub arrays: u64,
    /// One way, per spoke.
    pub latency: Vec<T>,
    /// Bytes per second, per spoke.
    pub rate: Vec<u64>,
    /// How long the ServerApp takes for each object.
    pub app_pace: T,
    pub training: (T, T),
    /// How far the clocks of spokes and SuperNodes are off SuperLink's, at most.
    pub skew: u64,
    /// How long a host takes to carry out an action; 0 for "at once".
    pub action_lag: T,
    /// A crash loses what was not synced.
    pub power_cuts: bool,
    /// Frames and records go through their bytes.
    pub bytes: bool,
    /// How often a journal is rewritten, in a thousand.
    pub compact: u64,
    pub hold: T,
    /// Goes on until the hub has forgotten nodes that are gone for good, which takes three times as long. One in four does,
    /// and one that is asked for by its seed.
    pub rest: bool,
    pub faults: Vec<(T, Fault)>,
}

/// What a world's faults may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// None at all.
    Quiet,
    /// Lines fail, for less than the hold.
    Lines,
    /// Lines, spokes and hubs fail, shelves forget; all of it shorter than SuperLink's patience.
    Link,
    /// Everything.
    All,
}

impl Plan {
    pub fn new(seed: u64, mix: Option<Mix>, direct: bool) -> Self {
        let mut rng = Rng::new(seed);
        let drawn = match rng.below(10) {
            0 => Mix::Quiet,
            1..=2 => Mix::Lines,
            3..=5 => Mix::Link,
            _ => Mix::All,
        };
        let mix = mix.unwrap_or(drawn);
        let sites = rng.within(1, 3) as usize;
        let mut spokes: Vec<usize> = (0..sites).collect();
        if rng.chance(250) {
            spokes.push(rng.index(sites));
        }
        let mut nodes: Vec<usize> = (0..spokes.len()).collect();
        while nodes.len() < 2 || (nodes.len() < 6 && rng.chance(500)) {
            nodes.push(rng.index(spokes.len()));
        }
        let latency = spokes.iter().map(|_| rng.pick(&[MS, 10 * MS, 50 * MS, 150 * MS])).collect();
        let rate = spokes.iter().map(|_| rng.pick(&[100, 1_000, 100_000])).collect();
        let long = rng.chance(50);
        let mut plan = Self {
            seed,
            transport: rng.pick(&[Transport::Grpc, Transport::Http]),
            auth: rng.chance(500),
            direct,
            spokes,
            nodes,
            rounds: if long { 6 } else { rng.within(1, 3) as u32 },
            runs: if rng.chance(200) { 2 } else { 1 },
            arrays: rng.within(1, 5),
            latency,
            rate,
            app_pace: rng.pick(&[MS, 50 * MS, 800 * MS]),
            training: (S / 2, rng.pick(&[S, 5 * S, 5 * S, 90 * S])),
            skew: if rng.chance(100) { 2 * S } else { 0 },
            action_lag: if rng.chance(200) { rng.pick(&[MS, 20 * MS]) } else { 0 },
            power_cuts: mix == Mix::All && rng.chance(200),
            bytes: rng.chance(60),
            compact: if rng.chance(200) { 20 } else { 0 },
            each: if rng.chance(150) { 2 } else { 1 },
            // Not drawn, so that seeds stay what they were.
            hold: [600, 600, 600, 60, 600, 3600, 600, 0][(seed / 4 % 8) as usize] * S,
            rest: seed.is_multiple_of(4) || std::env::var_os("ONEFED_SEED").is_some(),
            faults: Vec::new(),
        };
        plan.draw_faults(&mut rng, mix);
        plan
    }

    fn draw_faults(&mut self, rng: &mut Rng, mix: Mix) {
        if mix == Mix::Quiet {
            return;
        }
        let count = rng.within(1, 4);
        for _ in 0..count {
            let latest = rng.pick(&[25 * S, 25 * S, 70 * S]);
            let at = rng.within(S, latest);
            let fault = self.draw_fault(rng, mix);
            self.faults.push((at, fault));
        }
        // From a stream of its own, so that all else that a seed draws stays what it was.
        let mut rng = Rng::new(!self.seed);
        if rng.chance(200) {
            let fault =
                Fault::Slow(rng.index(self.spokes.len()), rng.within(S, 60 * S), rng.pick(&[S / 2, 2 * S]));
            self.faults.push((rng.within(S, 25 * S), fault));
        }
        if mix != Mix::Lines && rng.chance(200) {
            let fault = Fault::Twice(rng.within(S, 60 * S), rng.pick(&[50, 500]));
            self.faults.push((rng.within(S, 25 * S), fault));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    fn draw_fault(&self, rng: &mut Rng, mix: Mix) -> Fault {
        let line = rng.index(self.spokes.len());
        let host = rng.index(self.spokes.len() + 1);
        let node = rng.index(self.nodes.len());
        let long = |rng: &mut Rng| match rng.below(20) {
            0 => rng.within(200 * S, 560 * S),
            1..=4 => rng.within(20 * S, 90 * S),
            _ => rng.within(S / 2, 20 * S),
        };
        // SuperLink's patience is 60 s, and the next heartbeat may be 25 s away.
        let short = |rng: &mut Rng| rng.pick(&[100 * MS, S, 5 * S, 10 * S]);
        let most = rng.pick(&[6, 60]);
        let after = rng.below(most);
        match (mix, rng.below(100)) {
            (_, 0..15) => Fault::Cut(line, long(rng)),
            (_, 15..30) => Fault::Hole(line, long(rng), rng.below(3) as u8),
            (_, 30..36) | (Mix::Lines, _) => Fault::Half(line, rng.below(2) as u8),
            (_, 36..50) => Fault::Spoke(line, after, short(rng)),
            (_, 50..60) => Fault::Hub(after, short(rng)),
            (_, 60..66) => Fault::Evict(host),
            (_, 66..70) => Fault::Compact(host),
            (_, 70..76) | (Mix::Link, _) => Fault::Lan(rng.within(S, 20 * S), rng.pick(&[50, 300])),
            (_, 76..82) => Fault::Node(node, rng.pick(&[S, 10 * S, 70 * S])),
            (_, 82..84) => Fault::Leave(node, rng.pick(&[S, 10 * S])),
            (_, 84..88) => Fault::Busy(rng.within(S, 20 * S), rng.pick(&[50, 500])),
            (_, 88..92) => Fault::Lost(rng.within(S, 20 * S), rng.pick(&[50, 300])),
            (_, 92..95) => Fault::Full(host, rng.within(S, 60 * S)),
            (_, 95..97) => Fault::Damage(host),
            (_, 97) => Fault::Stop,
            _ => Fault::Cut(line, rng.within(610 * S, 900 * S)),
        }
    }

    /// When the last fault is over.
    pub fn calm(&self) -> T {
        let end = |(at, fault): &(T, Fault)| {
            at + match *fault {
                Fault::Cut(_, length) | Fault::Hole(_, length, _) | Fault::Full(_, length) => length,
                Fault::Spoke(_, _, back) | Fault::Hub(_, back) => 60 * S + back,
                Fault::Node(_, back) | Fault::Leave(_, back) => back,
                Fault::Busy(length, _) | Fault::Lost(length, _) | Fault::Lan(length, _) => length,
                Fault::Twice(length, _) | Fault::Slow(_, length, _) => length,
                Fault::Half(..) | Fault::Evict(_) | Fault::Damage(_) | Fault::Compact(_) | Fault::Stop => 0,
            }
        };
        self.faults.iter().map(end).max().unwrap_or_default()
    }

    /// Whether Flower must not see anything of what goes wrong: not one error in the run.
    pub fn invisible(&self) -> bool {
        self.faults.iter().all(|(_, fault)| match *fault {
            Fault::Cut(_, length) | Fault::Hole(_, length, _) => length < self.hold,
            Fault::Half(..) if self.hold == 0 => false,
            Fault::Half(..) | Fault::Spoke(..) | Fault::Lan(..) | Fault::Twice(..) | Fault::Slow(..) => true,
            Fault::Evict(_) | Fault::Compact(_) => true,
            _ => false,
        }) && !self.power_cuts
    }

    pub fn has(&self, is: impl Fn(&Fault) -> bool) -> bool {
        self.faults.iter().any(|(_, fault)| is(fault))
    }
}
