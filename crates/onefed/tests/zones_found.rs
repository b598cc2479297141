//! Zones whose plan does not say where they are: found through the operator's environment, as OpenNebula's own tools
//! find theirs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Desk, Sandbox, fake_flower, run};

/// The example without its endpoints.
fn bare(plan: &str) -> String {
    let lines = plan.lines().filter(|line| !line.starts_with("endpoint") && !line.starts_with("oneflow"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn one_endpoint_of_a_federation_is_enough() {
    let desk = Desk::new("zones-found", 210);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    let auth = desk.path("sandbox/one_auth");
    desk.plan(|plan| plan);
    let said = run(&mut desk.onefed("plan")).expect(2).stdout;

    desk.plan(|plan| bare(&plan));
    let nowhere = run(&mut desk.onefed("plan")).expect(78).stderr;
    for zone in ["madrid", "paris", "lisbon"] {
        assert!(nowhere.contains(&format!("zone {zone}: the plan does not say its `endpoint`")), "{nowhere}");
    }
    let at = format!("http://{}/RPC2", desk.address("2.1:2633"));
    let plan = || {
        let mut plan = desk.onefed("plan");
        plan.env("ONE_AUTH", &auth);
        plan
    };
    assert_eq!(run(plan().env("ONE_XMLRPC", &at)).expect(2).stdout, said);
    // The same in the files of OpenNebula's own tools, and without a login of the operator's: the zones' own will do.
    desk.write(".one/one_endpoint", &format!("{at}\n"));
    assert_eq!(run(&mut desk.onefed("plan")).expect(2).stdout, said);

    // Nobody there, and somebody who is no OpenNebula: said of each zone, with what was asked.
    let dead = format!("http://{}/RPC2", desk.address("9.1:2633"));
    let failed = run(plan().env("ONE_XMLRPC", &dead)).expect(69).stderr;
    assert!(
        failed.contains("zone madrid: asking where it is: zone ONE_XMLRPC: one.zonepool.info()"),
        "{failed}"
    );
    let failed = run(plan().env("ONE_XMLRPC", "me:secret@there")).expect(65).stderr;
    assert!(failed.contains("only http:// and https:// URLs") && !failed.contains("secret"), "{failed}");

    // A zone that its OpenNebula does not know.
    desk.plan(|plan| bare(&plan).replace("lisbon", "oslo"));
    let unknown = run(&mut desk.onefed("plan")).expect(78).stderr;
    assert!(unknown.contains("has no zone of this name, but madrid, paris, lisbon"), "{unknown}");
}
