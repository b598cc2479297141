//! A model of zones, and operators whose steps interleave at random: never two who both have the lock, and always one
//! in the end.

use proptest::prelude::*;

use super::*;

/// A template in the model.
struct Kept {
    seat: Seat,
    owner: usize,
    /// Others see it only after a chmod.
    open: bool,
    record: Record,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Looks next.
    Look,
    /// Does this next.
    Act(Move),
    /// Has allocated, and makes it visible next.
    Open(Seat),
    Has(Seat),
    GaveUp,
    Dead,
}

struct Operator {
    contest: Contest,
    identity: Identity,
    stage: Stage,
    beat_at: u64,
}

struct World {
    kept: Vec<Kept>,
    ids: u32,
    seconds: u64,
    start: Instant,
    /// All have one login: a name that is taken is refused. Otherwise each has its own.
    one_login: bool,
    /// Whether all are on one machine, so that processes can be looked at.
    one_machine: bool,
    operators: Vec<Operator>,
}

fn identity(pid: usize) -> Identity {
    Identity { boot: "boot".into(), namespace: "pid".into(), pid: pid as u32, started: 1 }
}

fn record(pid: usize) -> Record {
    Record {
        federation: "lab".into(),
        verb: "apply".into(),
        owner: format!("{pid}@host"),
        identity: identity(pid),
        since: 0,
        beat: 0,
    }
}

impl World {
    fn new(count: usize, one_login: bool, one_machine: bool) -> Self {
        let operators = (0..count).map(|pid| Operator {
            contest: Contest::new(identity(pid)),
            identity: identity(pid),
            stage: Stage::Look,
            beat_at: 0,
        });
        let (kept, start) = (Vec::new(), Instant::now());
        Self { kept, ids: 0, seconds: 0, start, one_login, one_machine, operators: operators.collect() }
    }

    fn step(&mut self, who: usize) {
        let seen: Vec<(Seat, Record)> = self
            .kept
            .iter()
            .filter(|kept| kept.open || self.one_login || kept.owner == who)
            .map(|kept| (kept.seat, kept.record.clone()))
            .collect();
        let now = self.start + Duration::from_secs(self.seconds);
        let dead: Vec<Identity> =
            self.operators.iter().filter(|o| o.stage == Stage::Dead).map(|o| o.identity.clone()).collect();
        let one_machine = self.one_machine;
        let operator = &mut self.operators[who];
        operator.stage = match operator.stage.clone() {
            Stage::Look => match operator
                .contest
                .next(&seen, now, |identity| one_machine.then(|| !dead.contains(identity)))
            {
                Move::Watch(_) => Stage::Look,
                Move::GiveUp(_) => Stage::GaveUp,
                Move::Won(seat) => {
                    operator.beat_at = self.seconds;
                    Stage::Has(seat)
                }
                other => Stage::Act(other),
            },
            Stage::Act(Move::Want) => {
                if self.one_login && !self.kept.is_empty() {
                    Stage::Look
                } else {
                    let seat = (0, self.ids);
                    self.ids += 1;
                    self.kept.push(Kept { seat, owner: who, open: false, record: record(who) });
                    Stage::Open(seat)
                }
            }
            Stage::Act(Move::Hold(seat)) => {
                self.kept.iter_mut().filter(|kept| kept.seat == seat).for_each(|kept| kept.record.beat = 1);
                Stage::Look
            }
            Stage::Act(Move::Withdraw(seat) | Move::TakeOver(seat, _)) => {
                self.kept.retain(|kept| kept.seat != seat);
                Stage::Look
            }
            Stage::Open(seat) => {
                self.kept.iter_mut().filter(|kept| kept.seat == seat).for_each(|kept| kept.open = true);
                Stage::Look
            }
            stage => stage,
        };
    }

    /// Time passes, and holders that are alive renew.
    fn tick(&mut self, seconds: u64) {
        self.seconds += seconds;
        for operator in &mut self.operators {
            if let Stage::Has(seat) = operator.stage
                && self.seconds - operator.beat_at >= 10
            {
                operator.beat_at = self.seconds;
                let kept = self.kept.iter_mut().find(|kept| kept.seat == seat);
                kept.expect("the lock of a holder that is alive was taken away").record.beat += 1;
            }
        }
    }

    fn holders(&self) -> usize {
        self.operators.iter().filter(|operator| matches!(operator.stage, Stage::Has(_))).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn never_two_and_in_the_end_one(
        count in 2..4_usize,
        one_login: bool,
        one_machine: bool,
        // Who is next; above all of them somebody dies, or time passes.
        steps in prop::collection::vec((0..12_usize, 0..4_usize), 0..60),
    ) {
        let mut world = World::new(count, one_login, one_machine);
        for (what, who) in steps {
            let who = who % count;
            match what {
                0 if world.operators[who].stage != Stage::GaveUp => world.operators[who].stage = Stage::Dead,
                1 => world.tick(5),
                _ => world.step(who),
            }
            prop_assert!(world.holders() <= 1, "two have it");
        }
        // Everybody who has not died or given up goes on, one after the other: one of them gets it.
        let mut rounds = 0;
        while world.operators.iter().any(|o| !matches!(o.stage, Stage::Has(_) | Stage::GaveUp | Stage::Dead)) {
            for who in 0..count {
                world.step(who);
                prop_assert!(world.holders() <= 1, "two have it");
            }
            world.tick(2);
            rounds += 1;
            prop_assert!(rounds < 300, "nobody gets on");
        }
        let alive = world.operators.iter().filter(|o| o.stage != Stage::Dead).count();
        let gave_up = world.operators.iter().filter(|o| o.stage == Stage::GaveUp).count();
        prop_assert!(world.holders() == 1 || gave_up == alive, "nobody has it");
    }
}

#[test]
fn the_dead_of_this_machine_are_replaced_at_once_and_others_when_they_stand_still() {
    let (now, lock) = (Instant::now(), Record { beat: 3, ..record(1) });
    let after = |seconds| now + Duration::from_secs(seconds);
    let seen = [((0, 7), lock.clone())];
    let next = |contest: &mut Contest, at, lives: Option<bool>| contest.next(&seen, at, |_| lives);
    let contest = || Contest::new(identity(0));
    assert_eq!(next(&mut contest(), now, Some(false)), Move::TakeOver((0, 7), lock.clone()));
    assert_eq!(next(&mut contest(), now, Some(true)), Move::GiveUp(lock.clone()));
    let mut watching = contest();
    for at in [0, 20, 44] {
        assert_eq!(next(&mut watching, after(at), None), Move::Watch(lock.clone()));
    }
    assert_eq!(next(&mut watching, after(45), None), Move::TakeOver((0, 7), lock.clone()));
    let moved = [((0, 7), Record { beat: 4, ..lock.clone() })];
    assert_eq!(watching.next(&moved, after(46), |_| None), Move::GiveUp(moved[0].1.clone()));
}
