//! A flow that is silently dropped in the middle of a transfer, as when a NAT forgets it: when that is noticed, and
//! when bytes flow again.

use std::time::{Duration, Instant};

use onefed_testbed::federation::{Failed, Federation};
use onefed_testbed::wan::{Profile, Way};
use serde_json::json;

use crate::measure::{Options, Shape, Who};
use crate::table::{Row, Table, Target, median};

/// Stock Flower of the gRPC releases comes back after a quarter of an hour; nobody waits for that.
const CAP: Duration = Duration::from_secs(120);
/// For how long the line stays dead for new connections too.
const HOLE: Duration = Duration::from_secs(20);
/// The drop comes when so much of the model is through.
const BEFORE: u64 = 20_000_000;
/// So many bytes more are a transfer that goes on.
const AGAIN: u64 = 1_000_000;

/// Seconds; what did not happen within the cap is the cap.
struct Times {
    /// From the drop to the next connection. A SuperNode of the HTTP releases makes new ones all the time, so for plain
    /// Flower it says nothing.
    noticed: f64,
    /// From that to the next megabyte.
    resumed: f64,
    /// The same after the whole line was dead for a while, from its healing on.
    healed: f64,
    completed: bool,
}

pub(crate) fn dropped(options: &Options, flower: &str, table: &mut Table) {
    let pairs = options.pairs.unwrap_or(3);
    let (mut stock, mut ours) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        for (who, list) in [(Who::Stock, &mut stock), (Who::Ours, &mut ours)] {
            // What Flower does by itself is known after one time, and takes minutes.
            if who == Who::Stock && pair > 1 {
                continue;
            }
            match once(who, flower) {
                Ok(times) => {
                    println!(
                        "  {pair}/{pairs} {who:?}: noticed after {:.1} s, resumed {:.1} s later, after a dead line {:.1} s, {}",
                        times.noticed,
                        times.resumed,
                        times.healed,
                        if times.completed { "completed" } else { "not completed" }
                    );
                    list.push(times);
                }
                Err(why) => table.failed(&format!("{who:?}: {why}")),
            }
        }
    }
    let runs = |list: &[Times]| -> Vec<_> {
        let one = |times: &Times| {
            json!({
                "noticed": times.noticed,
                "resumed": times.resumed,
                "after_dead_line": times.healed,
                "completed": times.completed,
            })
        };
        list.iter().map(one).collect()
    };
    let all = json!({ "stock": runs(&stock), "ours": runs(&ours), "capped_at": CAP.as_secs() });
    let of = |list: &[Times], what: fn(&Times) -> f64| median(list.iter().map(what));
    let completed = |times: &Times| f64::from(u8::from(times.completed));
    let back = |times: &Times| (times.noticed + times.resumed).min(CAP.as_secs_f64());
    let rows: [Measure; 5] = [
        ("drop: noticed", "s", |times| times.noticed, Target::AtMost(16.0)),
        ("drop: resumed after that", "s", |times| times.resumed, Target::AtMost(5.0)),
        ("drop: bytes flow again", "s", back, Target::AtMost(21.0)),
        ("drop: resumed after a dead line", "s", |times| times.healed, Target::AtMost(5.0)),
        ("drop: the run completes", "share of runs", completed, Target::AtLeast(1.0)),
    ];
    for (index, (case, unit, what, target)) in rows.into_iter().enumerate() {
        let stock = of(&stock, what).filter(|_| index > 1);
        table.add(&Row { case, flower, unit, stock, ours: of(&ours, what), target, runs: all.clone() });
    }
}

/// A case, its unit, what it is of a run, and what it should be.
type Measure = (&'static str, &'static str, fn(&Times) -> f64, Target);

/// One round: a drop on the way down, and a dead line on the way up.
fn once(who: Who, flower: &str) -> Result<Times, Failed> {
    let shape =
        Shape { line: Profile::new(Duration::from_millis(20), 100), ..Shape::new(1, 1, 40, 50.0, 20) };
    let federation = Federation::start(shape.setup(who, flower))?;
    let Some(line) = federation.sites.first().and_then(|site| site.wan.as_ref()) else {
        return Err(Failed("there is no line".to_owned()));
    };
    let run = federation.submit(&shape.load(1))?;
    run.round_begins(1, Duration::from_secs(120))?;
    let slow =
        |why: &str| Failed(format!("{why} did not get that far; logs are in {}", federation.dir().display()));
    if !line.wait_for(Way::Down, BEFORE, Duration::from_secs(120)) {
        federation.keep();
        return Err(slow("the way down"));
    }
    let connections = line.counts().connections;
    line.drop_flows();
    let noticed = within(CAP, || line.counts().connections > connections);
    let resumed = again(line, Way::Down);
    let mut healed = CAP.as_secs_f64();
    if noticed < CAP.as_secs_f64() && line.wait_for(Way::Up, BEFORE, Duration::from_secs(120)) {
        line.drop_flows();
        line.black_hole();
        std::thread::sleep(HOLE);
        line.heal();
        healed = again(line, Way::Up);
    }
    let completed = run.wait(CAP).is_ok_and(|report| report.check(1, 1).is_ok());
    Ok(Times { noticed, resumed, healed, completed })
}

fn again(line: &onefed_testbed::wan::Wan, way: Way) -> f64 {
    let began = Instant::now();
    let _ = line.wait_for(way, AGAIN, CAP);
    began.elapsed().as_secs_f64()
}

fn within(cap: Duration, mut done: impl FnMut() -> bool) -> f64 {
    let began = Instant::now();
    while began.elapsed() < cap && !done() {
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed().min(cap).as_secs_f64()
}
