//! The cases that are whole rounds of real Flower.

use onefed_testbed::wan::Profile;
use serde_json::json;
use std::time::Duration;

use crate::measure::{Options, Series, Shape, Who, in_turns, once};
use crate::table::{Row, Table, Target};

const GB: f64 = 1e9;

fn minus(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.zip(other).map(|(one, other)| one - other)
}

pub(crate) fn wan100(options: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(2, 2, 200, 100.0, 100);
    over_the_wan(options, flower, table, "wan100", &shape, 1.02, Target::None);
}

pub(crate) fn wan1(options: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(2, 2, 500, 1.0, 100);
    over_the_wan(options, flower, table, "wan1", &shape, 1.15, whole(flower));
}

/// The same with one SuperNode at each site: with four, SuperLink 1.41 locks itself out of its own database.
pub(crate) fn wan1_few(options: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(2, 1, 500, 1.0, 100);
    over_the_wan(options, flower, table, "wan1-few", &shape, 1.15, whole(flower));
}

/// On the newest, a round over the WAN is not to be slower than Flower's without one.
fn whole(flower: &str) -> Target {
    if flower.starts_with("1.31") { Target::None } else { Target::Ratio(1.0) }
}

/// Rounds over the line, and what of it went over the line.
fn over_the_wan(
    options: &Options,
    flower: &str,
    table: &mut Table,
    case: &str,
    shape: &Shape,
    most_bytes: f64,
    whole: Target,
) {
    let (pairs, rounds) = (options.pairs.unwrap_or(3), options.rounds.unwrap_or(3));
    let [near, stock, ours] =
        in_turns([Who::Near, Who::Stock, Who::Ours], shape, flower, options, (pairs, rounds), table);
    let runs = json!({ "near": near.json(), "stock": stock.json(), "ours": ours.json() });
    table.add(&Row {
        case: &format!("{case}: the WAN adds"),
        flower,
        unit: "s per round",
        stock: minus(stock.round(), near.round()),
        ours: minus(ours.round(), near.round()),
        target: Target::Ratio(0.2),
        runs: runs.clone(),
    });
    table.add(&Row {
        case: &format!("{case}: whole round / stock near"),
        flower,
        unit: "s per round",
        stock: near.round(),
        ours: ours.round(),
        target: whole,
        runs: json!([]),
    });
    let lines = (shape.sites as u32 * rounds) as f64;
    let times = |series: &Series| {
        series.median(|outcome| outcome.down as f64 / lines / outcome.object_bytes.max(1) as f64)
    };
    table.add(&Row {
        case: &format!("{case}: bytes down"),
        flower,
        unit: "x distinct, per site and round",
        stock: times(&stock),
        ours: times(&ours),
        target: Target::AtMost(most_bytes),
        runs: json!([]),
    });
    let megabytes = |series: &Series| series.median(|outcome| outcome.peak as f64 / 1e6);
    table.add(&Row {
        case: &format!("{case}: peak memory of hub or spoke"),
        flower,
        unit: "MB",
        stock: None,
        ours: megabytes(&ours),
        target: Target::None,
        runs: json!([]),
    });
}

pub(crate) fn pulls(_: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(2, 2, 20, 10.0, 20);
    let counted = |who: Who, table: &mut Table| {
        let mut setup = shape.setup(who, flower);
        setup.log_level = "DEBUG";
        let outcome = once(setup, &shape.load(2));
        let outcome = outcome.map_err(|why| table.failed(&format!("{who:?}: {why}"))).ok()?;
        println!("  {who:?}: {} pulls of {} objects", outcome.pulls, outcome.pulled);
        Some((outcome.pulls as f64 / outcome.pulled.max(1) as f64, outcome.pulls))
    };
    let (stock, ours) = (counted(Who::Stock, table), counted(Who::Ours, table));
    table.add(&Row {
        case: "pulls from SuperLink",
        flower,
        unit: "per distinct object",
        stock: stock.map(|counted| counted.0),
        ours: ours.map(|counted| counted.0),
        target: Target::AtMost(1.0),
        runs: json!({ "stock": stock.map(|counted| counted.1), "ours": ours.map(|counted| counted.1) }),
    });
}

pub(crate) fn nowan(options: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(1, 2, 200, 100.0, 0);
    let (pairs, rounds) = (options.pairs.unwrap_or(9), options.rounds.unwrap_or(2));
    let [stock, ours] = in_turns([Who::Near, Who::OursNear], &shape, flower, options, (pairs, rounds), table);
    table.add(&Row {
        case: "nowan: 100 MB round",
        flower,
        unit: "s per round",
        stock: stock.round(),
        ours: ours.round(),
        target: Target::RatioOrMore(1.1, 1.0),
        runs: json!({ "stock": stock.json(), "ours": ours.json() }),
    });
    // What the SuperNodes have got and sent, whatever of that went over the line.
    let moved = |megabytes: f64| 2.0 * shape.nodes as f64 * f64::from(rounds) * megabytes * 1e6 / GB;
    let per_gb = |cpu: f64| cpu / moved(shape.megabytes);
    table.add(&Row {
        case: "nowan: CPU of hub and spoke",
        flower,
        unit: "CPU-s per GB at SuperNodes",
        stock: None,
        ours: ours.median(|outcome| per_gb(outcome.link_cpu)),
        target: Target::None,
        runs: json!([]),
    });
    table.add(&Row {
        case: "nowan: CPU of SuperLink",
        flower,
        unit: "CPU-s per GB at SuperNodes",
        stock: stock.median(|outcome| per_gb(outcome.superlink_cpu)),
        ours: ours.median(|outcome| per_gb(outcome.superlink_cpu)),
        target: Target::None,
        runs: json!([]),
    });
}

pub(crate) fn big(options: &Options, flower: &str, table: &mut Table) {
    let shape = Shape::new(1, 1, 100, 500.0, 100);
    let (pairs, rounds) = (options.pairs.unwrap_or(3), options.rounds.unwrap_or(1));
    let [stock, ours] = in_turns([Who::Stock, Who::Ours], &shape, flower, options, (pairs, rounds), table);
    let seconds = |series: &Series| series.median(|outcome| outcome.flowing.0 + outcome.flowing.1);
    table.add(&Row {
        case: "big: 500 MB on the line, both ways",
        flower,
        unit: "s",
        stock: seconds(&stock),
        ours: seconds(&ours),
        target: Target::Ratio(0.8),
        runs: json!({ "stock": stock.json(), "ours": ours.json() }),
    });
    table.add(&Row {
        case: "big: whole round",
        flower,
        unit: "s per round",
        stock: stock.round(),
        ours: ours.round(),
        target: Target::None,
        runs: json!([]),
    });
}

pub(crate) fn codec(options: &Options, flower: &str, table: &mut Table) {
    let line = Profile::new(Duration::from_millis(20), 100);
    let shape = Shape { line, ..Shape::new(1, 1, 200, 100.0, 20) };
    let (pairs, rounds) = (options.pairs.unwrap_or(1), options.rounds.unwrap_or(2));
    let [stock, ours] = in_turns([Who::Stock, Who::Ours], &shape, flower, options, (pairs, rounds), table);
    let raw = shape.megabytes * 1e6 * f64::from(rounds);
    let times = |series: &Series| series.median(|outcome| outcome.up as f64 / raw);
    table.add(&Row {
        case: "codec: bytes up",
        flower,
        unit: "x model",
        stock: times(&stock),
        ours: times(&ours),
        target: Target::AtMost(0.7),
        runs: json!({ "stock": stock.json(), "ours": ours.json() }),
    });
}
