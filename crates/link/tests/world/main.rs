//! The simulated world: the real engines of spoke and hub between models of everything else, in virtual time.
//!
//! Every world is drawn from its seed. `ONEFED_SEED=k` runs one world and prints what happens; `ONEFED_SEEDS=n` says how
//! many are run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(unreachable_pub, reason = "everything in a test is reachable from its root only")]

mod app;
mod bodies;
mod check;
mod keys;
mod node;
mod plan;
mod rng;
mod superlink;
mod world;

use check::Tally;
use plan::{Mix, Plan};
use world::World;

fn of_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(plan: Plan, tracing: bool) -> Tally {
    let mut world = World::new(plan, tracing);
    world.run();
    world.tally()
}

#[test]
fn without_a_link_and_without_faults_flower_completes() {
    for seed in 0..200 {
        let tally = run(Plan::new(seed, Some(Mix::Quiet), true), false);
        let errors = tally.node_unavailable + tally.message_unavailable + tally.stopped;
        assert!(errors == 0 && !tally.unfinished, "seed {seed}: {tally:?}");
    }
}

#[test]
fn without_a_link_flower_loses_messages_when_lines_fail() {
    let mut lost = 0;
    for seed in 0..200 {
        let tally = run(Plan::new(seed, Some(Mix::Lines), true), false);
        lost += usize::from(tally.unfinished || tally.node_unavailable + tally.message_unavailable > 0);
    }
    assert!(lost > 10, "only {lost} of 200 runs were hurt: the world is too kind to show what a link is for");
}
