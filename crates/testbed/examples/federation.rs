//! One federation on an emulated line, by hand, with a look at where the time goes:
//!
//! `cargo run -p onefed-testbed --example federation -- FLOWER SITES NODES ARRAYS MB ROUNDS RTT_MS [ONEFED]`
//!
//! RTT_MS 0 is no line at all; without the path of a `onefed` program it is plain Flower.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail by a panic")]

use std::path::Path;
use std::time::Duration;

use onefed_testbed::federation::{Federation, Load, Setup};
use onefed_testbed::wan::Profile;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| args[index].parse::<f64>().unwrap();
    let (sites, nodes) = (number(1) as usize, number(2) as usize);
    let load = Load::new(number(3) as u32, number(4), number(5) as u32);
    let dir = std::env::temp_dir().join(format!("onefed-federation-{}", std::process::id()));
    let mut setup = Setup::new(&args[0], 24, &dir, sites, nodes);
    setup.log_level = "DEBUG";
    if number(6) > 0.0 {
        setup.line = Some(Profile::new(Duration::from_secs_f64(number(6) / 1000.0), 1000));
    }
    if let Some(onefed) = args.get(7) {
        setup = setup.ours(Path::new(onefed));
    }
    let federation = Federation::start(setup).unwrap();
    println!("{} up in {}", args[0], federation.dir().display());
    let report = federation.run(&load, Duration::from_secs(900)).unwrap();
    println!("{}", report.status);
    for round in &report.rounds {
        println!("{round:.2?}");
    }
    let (up, down) = federation.carried();
    let (pulls, distinct) = federation.pulls();
    println!(
        "on the lines {:.2} MB up, {:.2} MB down; {pulls} pulls of {distinct} objects",
        up as f64 / 1e6,
        down as f64 / 1e6
    );
    let spokes = federation.sites.iter().filter_map(|site| site.spoke.as_ref());
    for process in std::iter::once(&federation.superlink).chain(&federation.hub).chain(spokes) {
        let usage = process.usage();
        println!(
            "{:10} {:6.2} CPU-s, RSS {:6.1} MB, anonymous {:6.1} MB, peak {:6.1} MB",
            process.name(),
            usage.cpu_seconds,
            usage.rss as f64 / 1e6,
            usage.rss_anon as f64 / 1e6,
            usage.rss_peak as f64 / 1e6
        );
    }
    if let Err(why) = report.check(sites * nodes, load.rounds) {
        federation.keep();
        println!("{why}; logs are in {}", federation.dir().display());
    }
}
