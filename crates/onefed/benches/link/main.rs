//! The link beside plain Flower: the same app, the same machine, the same emulated line, one after the other in
//! alternating order. Medians over all rounds of all pairs.
//!
//! `cargo bench -p onefed --bench link`, or `make bench`; it takes more than an hour. A part of it:
//!
//! ```text
//! cargo bench -p onefed --bench link -- wan1 pulls          these cases only; `list` names all of them
//! ONEFED_BENCH=wan1,pulls ONEFED_BENCH_PAIRS=1 ONEFED_BENCH_ROUNDS=2 ONEFED_BENCH_FLOWER=1.31.0 make bench
//! ONEFED_BENCH_OURS=1 cargo bench -p onefed --bench link -- wan1     without plain Flower beside it
//! ```
//!
//! Writes `target/bench/link.json`, a list of `{case, flower, unit, stock, ours, ratio, target, met, runs}`; rows of
//! cases that did not run this time stay as they were. Asserts nothing, but exits with 1 if a run failed.
//!
//! The line has 1 Gbit/s where the case does not say otherwise, and no slow start. Addresses are in 127.25.0.0/16.
//! Flower is taken from `.flower/X.Y.Z`, which `onefed sandbox up --flower X.Y.Z` makes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and may fail by a panic"
)]

mod bytes;
mod cut;
mod measure;
mod rounds;
mod table;

use std::process::ExitCode;

use measure::Options;
use table::Table;

/// A case: its name, what it is, and what runs it for one release.
type Case = (&'static str, &'static str, fn(&Options, &str, &mut Table));

const CASES: &[Case] = &[
    (
        "wan100",
        "200 arrays, 100 MB, 100 ms RTT, 2 sites x 2 SuperNodes: seconds that the WAN adds",
        rounds::wan100,
    ),
    ("wan1", "500 arrays, 1 MB, 100 ms RTT, 2 x 2: seconds that the WAN adds, whole round", rounds::wan1),
    ("wan1-few", "the same, 2 sites x 1 SuperNode", rounds::wan1_few),
    ("pulls", "objects pulled from SuperLink for 2 x 2 SuperNodes", rounds::pulls),
    ("nowan", "200 arrays, 100 MB, no WAN, 1 x 2: whole round, CPU added per GB", rounds::nowan),
    ("big", "500 MB, 1 SuperNode, 100 ms RTT: how long its bytes are on the line", rounds::big),
    ("codec", "100 MB, 100 Mbit/s, 20 ms RTT, 1 SuperNode: bytes up", rounds::codec),
    ("drop", "a silently dropped flow during a transfer, keepalive 10 s / 5 s", cut::dropped),
    ("bulk", "500 MB each way between synthetic ends, 1 Gbit/s, 20 ms RTT: rate, CPU, memory", bytes::bulk),
    ("idle300", "300 idle synthetic SuperNodes through 30 spokes", bytes::idle),
];

fn main() -> ExitCode {
    let options = Options::read();
    let args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let env = std::env::var("ONEFED_BENCH").unwrap_or_default();
    let env = env.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let wanted: Vec<String> = args.chain(env).collect();
    if let Some(unknown) = wanted.iter().find(|name| CASES.iter().all(|case| case.0 != **name)) {
        println!("cases of this benchmark:");
        for (name, what, _) in CASES {
            println!("  {name:8} {what}");
        }
        return if unknown == "list" { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let mut table = Table::open();
    for (name, what, run) in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        for flower in &options.flower {
            println!("\n== {name}, Flower {flower}: {what}");
            run(&options, flower, &mut table);
        }
    }
    table.show();
    if table.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
