//! Calls that fail at random, before or after they did their work: `apply` and `destroy`, repeated, come to the same end
//! as without. Second octet: 240.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use support::{Desk, DryZones, Proxies, Verdict, replaced, run};

/// Cases, where `ONEFED_CASES` does not say how many; a case is two verbs, each repeated until it succeeds.
const CASES: u32 = 8;
/// A verb that has not succeeded by then never will.
const TRIES: u32 = 40;

/// Numbers that look random, the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Runs a verb until it succeeds. The faults get rarer, so that it does.
fn until_done(
    desk: &Desk,
    proxies: &Proxies,
    args: &str,
    seed: u64,
    percent: u64,
) -> Result<(), TestCaseError> {
    let mut said = Vec::new();
    for attempt in 0..TRIES {
        let (mut dice, rare) = (Dice(seed ^ u64::from(attempt)), u64::from(1 + attempt / 3));
        proxies.judge(move |_, _| match (dice.roll() % (100 * rare), dice.roll() % 3) {
            (roll, 0) if roll < percent => Verdict::Cut,
            (roll, 1) if roll < percent => Verdict::Busy,
            (roll, _) if roll < percent => Verdict::Lost,
            _ => Verdict::Pass,
        });
        let outcome = run(&mut desk.onefed(args));
        proxies.heal();
        match outcome.exit {
            Some(0) => return Ok(()),
            // What passes; a lock that could not be removed is taken over by the next one.
            Some(69 | 75) => said.push(outcome.stderr),
            _ => return Err(TestCaseError::fail(format!("{args}: {outcome:#?}\nbefore: {said:#?}"))),
        }
    }
    Err(TestCaseError::fail(format!("{args} never succeeded: {said:#?}")))
}

#[test]
fn any_interleaving_of_failures_ends_as_without_them() {
    let desk = Desk::new("converge", 240);
    let zones = DryZones::up(&desk);
    let proxies = Proxies::up(&desk);
    let cases = std::env::var("ONEFED_CASES").ok().map_or(CASES, |cases| cases.parse().unwrap());
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let case = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&(proptest::num::u64::ANY, 1..12_u64), |(seed, percent)| {
        case.set(case.get() + 1);
        let name = format!("lab-{:03}", case.get());
        let plan = replaced(&desk.example(), "name   = \"hospitals\"", &format!("name   = \"{name}\""));
        let plan = Proxies::through(&desk, plan) + "\nFL_NODE_AUTH = \"NO\"\n";
        desk.write(&format!("{name}.toml"), &plan);
        let verb = |verb: &str| format!("{verb} -f {name}.toml --state {name}");
        let same = |what: &str, have: Vec<String>, want: &[String]| {
            if have == want { Ok(()) } else { Err(TestCaseError::fail(format!("{what}: {have:#?}"))) }
        };
        until_done(&desk, &proxies, &verb("apply"), seed, percent)?;
        let wanted: Vec<String> = [("lisbon", "lisbon"), ("madrid", "coordinator"), ("paris", "paris")]
            .into_iter()
            .flat_map(|(zone, part)| {
                ["service", "template"].map(|kind| format!("{zone} {kind} {name}-{part}"))
            })
            .collect();
        same("made", zones.objects(&format!("{name}-")), &wanted)?;
        same("locks after apply", zones.locks(), &[])?;
        let plan = run(&mut desk.onefed(&verb("plan")));
        if plan.exit != Some(0) {
            return Err(TestCaseError::fail(format!("the plan is not empty: {plan:#?}")));
        }
        until_done(&desk, &proxies, &verb("destroy --yes"), seed.rotate_left(7), percent)?;
        same("left", zones.objects(&format!("{name}-")), &[])?;
        same("locks after destroy", zones.locks(), &[])
    });
    // The seed is in the words.
    if let Err(why) = outcome {
        panic!("{why}");
    }
}
