//! What `plan` says of a federation that is there and is not as it should be, and that an `apply` makes it so.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use onefed_opennebula::xmlrpc::VmAction;
use onefed_opennebula::{ServiceId, VmId};
use support::{Desk, DryZones, Run, replaced, run};

/// The zones and a desk with the example plan, applied.
fn deployed(name: &str, net: u8) -> (Desk, DryZones) {
    let desk = Desk::new(name, net);
    let zones = DryZones::up(&desk);
    desk.plan(|plan| plan);
    run(&mut desk.onefed("apply --yes")).expect(0);
    run(&mut desk.onefed("plan")).expect(0);
    (desk, zones)
}

/// The VMs of a role of a part's service, oldest first.
fn vms(zones: &DryZones, zone: &str, role: &str) -> Vec<VmId> {
    let services = zones.block_on(zones.oneflow(zone).services()).unwrap();
    let roles = services.iter().flat_map(|service| &service.roles).filter(|it| it.name == role);
    roles.flat_map(|role| role.nodes.iter().flatten().cloned()).collect()
}

fn service(zones: &DryZones, zone: &str) -> ServiceId {
    zones.block_on(zones.oneflow(zone).services()).unwrap()[0].id.clone()
}

/// Plans until it says so: OneFlow takes a moment to see what has become of a VM.
#[track_caller]
fn plan_until(desk: &Desk, words: &str) -> Run {
    let started = Instant::now();
    loop {
        let plan = run(&mut desk.onefed("plan"));
        if plan.stdout.contains(words) {
            return plan;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "no {words:?} in\n{}", plan.stdout);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_has_changed_is_named_and_what_is_lost_is_given_back() {
    let (desk, zones) = deployed("plan-changes", 232);

    // Another plan file: what of each part is another one, and why.
    desk.plan(|plan| {
        let plan = replaced(&plan, "FL_GRPC_KEEPALIVE_TIME    = 30", "FL_GRPC_KEEPALIVE_TIME = 40");
        let plan = replaced(&plan, "name       = \"lisbon\"", "name = \"porto\"");
        replaced(&plan, "supernodes = 2                #", "supernodes = { min = 3, max = 6 } #")
    });
    let changed = desk.snapshot("plan__changed", &mut desk.onefed("plan")).expect(2);
    let json = run(&mut desk.onefed("plan --format json --out saved.json")).expect(2);
    for text in [changed.stdout, json.stdout, std::fs::read_to_string(desk.path("saved.json")).unwrap()] {
        assert!(
            !text.contains("FL_ENROL_KEY") && !text.contains("BEGIN") && !text.contains("sha256:"),
            "{text}"
        );
    }
    desk.plan(|plan| plan);
    run(&mut desk.onefed("plan")).expect(0);

    // A SuperNode that somebody ended: the others stay, and one more comes.
    let before =
        (vms(&zones, "paris", "gateway"), vms(&zones, "paris", "supernode"), service(&zones, "paris"));
    zones.block_on(zones.xmlrpc("paris").vm_action(&before.1[0], VmAction::TerminateHard)).unwrap();
    plan_until(&desk, "it has 1 of 2 supernode VMs");
    desk.snapshot("plan__repair", &mut desk.onefed("plan")).expect(2);
    run(&mut desk.onefed("apply")).expect(0);
    run(&mut desk.onefed("plan")).expect(0);
    let after =
        (vms(&zones, "paris", "gateway"), vms(&zones, "paris", "supernode"), service(&zones, "paris"));
    assert_eq!((&after.0, &after.2), (&before.0, &before.2), "a repair is no replacement");
    assert_eq!((after.1.len(), &after.1[0]), (2, &before.1[1]));

    // A gateway is what the others of its service depend on.
    let gateway = vms(&zones, "lisbon", "gateway");
    zones.block_on(zones.xmlrpc("lisbon").vm_action(&gateway[0], VmAction::TerminateHard)).unwrap();
    plan_until(&desk, "(it has 0 of 1 gateway VMs)");
    let off = vms(&zones, "paris", "supernode");
    zones.block_on(zones.xmlrpc("paris").vm_action(&off[1], VmAction::PoweroffHard)).unwrap();
    plan_until(&desk, "is POWEROFF)");
    // A second template of one name, as an apply would leave it that was cut off at the wrong moment.
    let templates = zones.block_on(zones.oneflow("madrid").service_templates()).unwrap();
    zones.block_on(zones.oneflow("madrid").create_service_template(&templates[0].body)).unwrap();
    desk.snapshot("plan__broken", &mut desk.onefed("plan")).expect(2);
    run(&mut desk.onefed("apply --yes")).expect(0);
    run(&mut desk.onefed("plan")).expect(0);
    assert_eq!(zones.objects("hospitals").len(), 6, "{:#?}", zones.objects("hospitals"));
}

#[test]
fn a_saved_plan_holds_until_something_moves() {
    let desk = Desk::new("plan-saved", 231);
    let zones = DryZones::up(&desk);
    desk.plan(|plan| plan);
    run(&mut desk.onefed("plan --out first.json")).expect(2);
    run(&mut desk.onefed("apply --yes first.json")).expect(0);
    desk.snapshot("plan__stale_world", &mut desk.onefed("apply first.json")).expect(75);

    // One with nothing to do is a plan too.
    run(&mut desk.onefed("plan --out second.json")).expect(0);
    run(&mut desk.onefed("apply second.json")).expect(0);
    let gateway = vms(&zones, "paris", "gateway");
    zones.block_on(zones.xmlrpc("paris").vm_action(&gateway[0], VmAction::PoweroffHard)).unwrap();
    plan_until(&desk, "is POWEROFF)");
    desk.plan(|plan| replaced(&plan, "FL_GRPC_KEEPALIVE_TIME    = 30", "FL_GRPC_KEEPALIVE_TIME = 40"));
    desk.snapshot("plan__stale_file", &mut desk.onefed("apply second.json")).expect(65);

    // Files that are none.
    let text = std::fs::read_to_string(desk.path("second.json")).unwrap();
    desk.write("cut.json", &text[..text.len() / 2]);
    desk.write("other.json", "{ \"hello\": 1 }");
    desk.write("future.json", &text.replace("\"schema_version\": 1", "\"schema_version\": 7"));
    desk.write("holes.json", &text.replace("\"observed\"", "\"observd\""));
    desk.write("foreign.json", &text.replace("\"federation\": \"hospitals\"", "\"federation\": \"banks\""));
    let said: Vec<String> = ["cut", "other", "future", "holes", "foreign", "nowhere"]
        .into_iter()
        .map(|name| run(&mut desk.onefed(&format!("apply {name}.json"))).expect(65).stderr)
        .collect();
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("plan__no_saved_plans", said.concat());
    });
    // The plan file itself is no saved plan.
    let refused = run(&mut desk.onefed("apply federation.toml")).expect(65);
    assert!(refused.stderr.contains("-f"), "{}", refused.stderr);
    // An edited one says what it would not do.
    desk.plan(|plan| plan);
    run(&mut desk.onefed("plan --out third.json")).expect(2);
    let third = std::fs::read_to_string(desk.path("third.json")).unwrap();
    desk.write("edited.json", &replaced(&third, "\"action\": \"replace\"", "\"action\": \"keep\""));
    let edited = run(&mut desk.onefed("apply --yes edited.json")).expect(65);
    assert!(edited.stderr.contains("it was edited"), "{}", edited.stderr);
    run(&mut desk.onefed("apply --yes third.json")).expect(0);
}
