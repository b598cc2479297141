//! Flower's node authentication through the link: SuperNodes of Flower 1.31 (gRPC) and of Flower 1.41 (HTTP) at one site,
//! under a real SuperLink of each with `--enable-supernode-auth`. Every call is signed by its SuperNode and checked by
//! SuperLink, on the two ways without a bridge and the two with one. What Flower signs is the time alone, not the call: so
//! a signature is as good in the other transport. Second octets: 40 for 1.31, 41 for 1.41.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[path = "support/environment.rs"]
mod environment;
#[path = "support/operator.rs"]
mod operator;

use std::path::Path;
use std::time::{Duration, Instant};

use onefed_testbed::federation::{Federation, Load, Setup, What};
use operator::Operator;

const PATIENCE: Duration = Duration::from_secs(120);
/// Of the SuperNodes.
const RELEASES: [&str; 2] = ["1.31.0", "1.41.0"];

#[test]
fn both_bands_show_their_keys_to_a_superlink_of_grpc() {
    keys_are_asked_for_and_taken("1.31.0", 40);
}

#[test]
fn both_bands_show_their_keys_to_a_superlink_of_http() {
    keys_are_asked_for_and_taken("1.41.0", 41);
}

fn keys_are_asked_for_and_taken(superlink: &str, net: u8) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bridge-auth-{superlink}"));
    for release in RELEASES {
        environment::environment(release, net);
    }
    let mut setup = Setup::new(superlink, net, &dir, 1, RELEASES.len());
    setup.supernodes = RELEASES.map(str::to_owned).to_vec();
    setup.node_auth = true;
    let federation = Federation::start(setup.ours(Path::new(env!("CARGO_BIN_EXE_onefed")))).unwrap();
    let site = &federation.sites[0];
    let operator = Operator::of(&federation);
    let keys: Vec<String> = federation.node_keys().iter().map(|key| key.fingerprint()).collect();

    // SuperLink takes no SuperNode whose key it does not know, and the hub says which ones wait.
    let began = Instant::now();
    loop {
        let waiting = operator.status().refused_nodes;
        if keys.iter().all(|key| waiting.iter().any(|node| node.key == *key)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{waiting:?}\n{}", logs(&federation));
        std::thread::sleep(Duration::from_millis(200));
    }
    let ids = operator.register(&federation);
    let run = federation.submit(&Load::new(20, 2.0, 1)).unwrap();
    run.until("all nodes", PATIENCE, |what| matches!(what, What::Nodes { .. }).then_some(())).unwrap();
    let report = run.wait(PATIENCE).unwrap();
    report.check(RELEASES.len(), 1).unwrap();

    // They were the nodes of these keys, and none waits any more.
    let status = operator.status();
    assert!(status.refused_nodes.is_empty(), "{:?}", status.refused_nodes);
    for (key, id) in keys.iter().zip(ids) {
        let node = status.nodes.iter().find(|node| node.node_id == id).unwrap();
        assert_eq!(node.key.as_ref(), Some(key));
    }
    for supernode in &site.supernodes {
        let log = supernode.log();
        assert!(supernode.ended().is_none() && !log.contains("raised"), "{}\n{log}", supernode.name());
    }
    // Goodbyes are signed as well, and SuperLink takes them.
    for supernode in &site.supernodes {
        supernode.stop(PATIENCE).unwrap();
    }
    let log = federation.superlink.log();
    assert_eq!(log.matches("[Fleet.DeactivateNode]").count(), RELEASES.len(), "{}", logs(&federation));
    assert!(!log.contains("SuperNode authentication is disabled"), "{log}");
}

fn logs(federation: &Federation) -> String {
    let supernodes = federation.sites.iter().flat_map(|site| site.spoke.iter().chain(&site.supernodes));
    let all = std::iter::once(&federation.superlink).chain(&federation.hub).chain(supernodes);
    all.map(|process| format!("--- {}\n{}\n", process.name(), process.log())).collect()
}
