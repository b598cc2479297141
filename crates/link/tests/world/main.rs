//! The simulated world: the real engines of spoke and hub between models of everything else, in virtual time.
//!
//! Every world is drawn from its seed. `ONEFED_SEED=k` runs one world and prints what happens; `ONEFED_SEEDS=n` says how
//! many are run, `ONEFED_FIRST=k` with which seed they begin.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(unreachable_pub, reason = "everything in a test is reachable from its root only")]

mod app;
mod bodies;
mod check;
mod disk;
mod hosts;
mod keys;
mod line;
mod node;
mod plan;
mod rng;
mod superlink;
mod world;

use check::Tally;
use plan::{Fault, Mix, Plan};
use rng::S;
use world::World;

/// How many worlds are run where nothing else is said: as many as a debug build can in half a minute.
const SEEDS: u64 = 1_000;

thread_local! {
    static SEED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One line for each world that fails.
#[allow(clippy::print_stderr, reason = "a test says what failed")]
fn short_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?");
        let text = text.lines().next().unwrap_or_default();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("seed {}: {text} ({place})", SEED.get());
    }));
}

fn of_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(plan: Plan, tracing: bool) -> (Tally, u64) {
    let mut world = World::new(plan, tracing);
    world.run();
    (world.tally(), world.print)
}

/// Runs worlds on two threads; at the first failure, says how to see it again.
fn worlds(seeds: u64, mix: Option<Mix>) {
    short_panics();
    let first = of_env("ONEFED_FIRST").unwrap_or_default();
    let next = std::sync::atomic::AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let enough = failed.lock().unwrap().len() >= 40;
                    if seed >= first + seeds || enough {
                        return;
                    }
                    SEED.set(seed);
                    let result = std::panic::catch_unwind(|| run(Plan::new(seed, mix, false), false));
                    if result.is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "these worlds fail: {failed:?}; to see one: ONEFED_SEED={} cargo test -p onefed-link --test world \
         one_world -- --nocapture",
        failed[0]
    );
}

#[test]
fn worlds_of_all_kinds() {
    if of_env("ONEFED_SEED").is_none() {
        worlds(of_env("ONEFED_SEEDS").unwrap_or(SEEDS), None);
    }
}

#[test]
fn one_world() {
    let tracing = of_env("ONEFED_SEED").is_some();
    let seed = of_env("ONEFED_SEED").unwrap_or(1);
    let (tally, print) = run(Plan::new(seed, None, false), tracing);
    let again = run(Plan::new(seed, None, false), false);
    assert_eq!(print, again.1, "the same seed makes another world: {tally:?}");
}

#[test]
fn who_leaves_with_a_message_while_the_server_app_still_pushes_is_missed_by_it() {
    let mut seen = 0;
    for seed in 0..30 {
        let mut plan = Plan::new(seed, Some(Mix::Quiet), false);
        // It pushes for a minute, and looks at no node meanwhile. The node would be back in a moment, as the same one.
        (plan.auth, plan.app_pace) = (true, 6 * S);
        let at = S * (8 + seed % 20);
        plan.faults = vec![(at, Fault::Leave(0, S))];
        if seed % 2 == 1 {
            plan.faults.push((at + 2 * S, Fault::Hub(0, S)));
        }
        SEED.set(seed);
        seen += run(plan, false).0.node_unavailable;
    }
    assert!(seen > 5, "only {seen} losses: the plans are too kind");
}

#[test]
fn objects_go_as_differences_in_both_directions() {
    let mut deltas = [0; 2];
    for seed in 0..20 {
        let mut world = World::new(Plan::new(seed, Some(Mix::Quiet), false), false);
        world.run();
        deltas = [deltas[0] + world.deltas[0], deltas[1] + world.deltas[1]];
    }
    assert!(deltas.iter().all(|count| *count > 20), "{deltas:?}");
}

#[test]
fn without_a_link_and_without_faults_flower_completes() {
    for seed in 0..200 {
        let (tally, _) = run(Plan::new(seed, Some(Mix::Quiet), true), false);
        let errors = tally.node_unavailable + tally.message_unavailable + tally.stopped;
        assert!(errors == 0 && !tally.unfinished, "seed {seed}: {tally:?}");
    }
}

#[test]
fn without_a_link_flower_loses_messages_when_lines_fail() {
    let mut lost = 0;
    for seed in 0..200 {
        let (tally, _) = run(Plan::new(seed, Some(Mix::Lines), true), false);
        lost += usize::from(tally.unfinished || tally.node_unavailable + tally.message_unavailable > 0);
    }
    assert!(lost > 10, "only {lost} of 200 runs were hurt: the world is too kind to show what a link is for");
}
