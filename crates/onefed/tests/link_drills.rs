//! The link under failures, with real processes: Flower's, a hub and a spoke for each of two sites, and an emulated line
//! with 100 ms of round trip. In the middle of a transfer, down or up, something breaks: a process is killed, the line
//! swallows everything, a connection is dead at one end. The run completes all the same, every round with the answers of
//! all nodes, bit for bit, and no SuperNode has died.
//!
//! A small run of each dialect is in `make test`, that of HTTP with Flower's node authentication. `make drills` sets
//! `ONEFED_DRILLS`: to `1`, or to the names of what is wanted, with commas: cuts, or `node-auth` for the small runs the
//! other way round. It has 100 MB models, a run for each kind of failure, ten minutes of silence, and plain Flower under
//! the same. Second octets: 29 for 1.31, 30 for 1.41. What failed leaves its directory with all logs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a drill may fail by a panic, and says how it went"
)]

#[path = "link_drills/cut.rs"]
mod cut;
#[path = "link_drills/drill.rs"]
mod drill;
#[path = "support/environment.rs"]
mod environment;
#[path = "link_drills/memory.rs"]
mod memory;
#[path = "support/operator.rs"]
mod operator;

use std::sync::Mutex;
use std::time::Duration;

use onefed_testbed::federation::Load;
use onefed_testbed::wan::Way;

use cut::Cut;
use drill::Drill;

const fn seconds(many: u64) -> Duration {
    Duration::from_secs(many)
}

/// A release of each dialect, the octet of its addresses, and who uses it.
struct Dialect(&'static str, u8, Mutex<()>);

static GRPC: Dialect = Dialect("1.31.0", 29, Mutex::new(()));
static HTTP: Dialect = Dialect("1.41.0", 30, Mutex::new(()));

#[test]
fn grpc_survives_two_kills_and_a_hole() {
    small(&GRPC, false);
}

#[test]
fn http_with_node_authentication_survives_two_kills_and_a_hole() {
    small(&HTTP, true);
}

#[test]
fn grpc_with_node_authentication_survives_them_too() {
    if asked(NODE_AUTH) {
        small(&GRPC, true);
    }
}

#[test]
fn http_survives_them_too() {
    if asked(NODE_AUTH) {
        small(&HTTP, false);
    }
}

#[test]
fn grpc_survives_each_of_them_in_the_middle_of_100_mb() {
    each(&GRPC);
}

#[test]
fn http_survives_each_of_them_in_the_middle_of_100_mb() {
    each(&HTTP);
}

#[test]
fn grpc_alone_under_the_same() {
    stock(&GRPC);
}

#[test]
fn http_alone_under_the_same() {
    stock(&HTTP);
}

/// All at once, small enough for every day: two rounds of 15 MB for one node at each site. With node authentication hub and
/// spoke check what they answer by themselves, and speak in a node's name only with headers that it has signed: also after
/// they were killed.
fn small(Dialect(flower, net, lock): &Dialect, node_auth: bool) {
    let _alone = lock.lock();
    let drill = Drill { node_auth, ..of_15_mb(flower, *net, 2) };
    let moments =
        [(1, Way::Down, Cut::KillSpoke), (1, Way::Up, Cut::KillHub), (2, Way::Down, Cut::Hole(seconds(15)))];
    drill.with(moments).ours().unwrap();
}

/// A node at each site; down and up for 5 s each.
fn of_15_mb(flower: &'static str, net: u8, rounds: u32) -> Drill {
    let (load, keepalive) = (Load::new(30, 15.0, rounds), (seconds(4), seconds(2)));
    let (resumed, patience, moments) = (seconds(20), seconds(300), Vec::new());
    Drill { flower, net, nodes: 1, node_auth: false, load, mbit: 24, keepalive, moments, resumed, patience }
}

/// 200 arrays, 100 MB, two nodes at each site; down for 10 s, up for 20 s.
fn large(flower: &'static str, net: u8, rounds: u32) -> Drill {
    let (load, keepalive) = (Load::new(200, 100.0, rounds), (seconds(10), seconds(5)));
    let (resumed, patience) = (seconds(10), seconds(1500));
    Drill {
        flower,
        net,
        nodes: 2,
        node_auth: false,
        load,
        mbit: 80,
        keepalive,
        moments: Vec::new(),
        resumed,
        patience,
    }
}

const EACH: [Cut; 5] = [Cut::KillSpoke, Cut::KillHub, Cut::Hole(seconds(60)), Cut::SiteReset, Cut::HubReset];
/// As long as a link hides a cut unless told otherwise.
const LONGEST: Cut = Cut::Hole(seconds(600));

/// The name of the small runs that are not for every day.
const NODE_AUTH: &str = "node-auth";

/// Whether a part of the drills is asked for.
fn asked(name: &str) -> bool {
    let asked = std::env::var("ONEFED_DRILLS").unwrap_or_default();
    asked == "1" || asked.split(',').any(|asked| asked == name)
}

fn wanted(cut: &Cut) -> bool {
    asked(&cut.name())
}

fn each(Dialect(flower, net, lock): &Dialect) {
    let _alone = lock.lock();
    let mut failures = Vec::new();
    for cut in EACH.into_iter().filter(wanted) {
        let moments = [(1, Way::Down, cut), (2, Way::Up, cut)];
        failures.extend(large(flower, *net, 2).with(moments).ours().err());
    }
    if wanted(&LONGEST) {
        failures.extend(large(flower, *net, 1).with([(1, Way::Down, LONGEST)]).ours().err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn stock(Dialect(flower, net, lock): &Dialect) {
    let _alone = lock.lock();
    let mut failures = Vec::new();
    for cut in EACH.into_iter().filter(wanted) {
        for way in [Way::Down, Way::Up] {
            failures.extend(large(flower, *net, 1).with([(1, way, cut)]).stock().err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
