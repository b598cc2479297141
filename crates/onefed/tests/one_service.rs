//! A federation in one service: the plan has no site, but SuperNodes beside its SuperLink. On a sandbox zone, with real
//! Flower.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::time::Duration;

use support::{Desk, Sandbox, run_within};

const NET: u8 = 222;
const FLOWER: &str = "1.41.0";

#[test]
fn a_plan_without_sites_is_one_service() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let desk = Desk::new("one-service", NET);
    let _zones = Sandbox::guard(&desk);
    let dir = desk.dir().display();
    let up = format!("sandbox up --dir {dir}/sandbox --net {NET} --zones madrid --flower {FLOWER}");
    // In the repository, whose Python environments it uses or makes.
    run_within(desk.onefed(&up).current_dir(&repository), Duration::from_secs(300)).expect(0);
    let plan = format!(
        "name = 'lab'\nflower = '{FLOWER}'\n[coordinator]\nzone = 'madrid'\nsupernodes = 2\n\
         node_config = {{ ward = 'A' }}\n[zone.madrid]\nendpoint = 'http://127.{NET}.1.1:2633/RPC2'\n\
         oneflow = 'http://127.{NET}.1.1:2474'\nauth = 'sandbox/one_auth'\ntemplate = 'onefed'\nnetwork = 'private'\n"
    );
    std::fs::write(desk.path("federation.toml"), plan).unwrap();
    let verb = |words: &str, exit| {
        let mut command = desk.onefed(&format!("{words} --state state"));
        run_within(&mut command, Duration::from_secs(240)).expect(exit)
    };

    let applied = verb("apply --yes", 0);
    let said = format!("{}{}", applied.stdout, applied.stderr);
    assert_eq!(said.matches("registered the SuperNode").count(), 2, "{said}");
    assert!(
        verb("plan", 0).stdout.contains("0 to create, 0 to change, 0 to remove"),
        "nothing is left to do"
    );
    let status = verb("status --format json", 0).json();
    let site = &status["sites"][0];
    let counts = ["expected", "online", "spokes_connected"].map(|name| site[name].as_u64());
    assert_eq!((site["site"].as_str(), counts), (Some("local"), [Some(2); 3]), "{status:#}");
    assert_eq!(status["healthy"], true, "{status:#}");

    verb("destroy --yes", 0);
    run_within(&mut desk.onefed("sandbox down --dir sandbox"), Duration::from_secs(60)).expect(0);
}
