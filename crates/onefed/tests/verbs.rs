//! The verbs against a sandbox: before anything is deployed, with wrong arguments, and around a deployment that fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{Desk, Sandbox, fake_flower, replaced, run};

const VERBS: [&str; 4] = ["status", "train app", "connect", "destroy --yes"];

/// An app as far as `onefed train` looks at it.
fn app(desk: &Desk) {
    desk.write("app/pyproject.toml", "[project]\nname = \"app\"\nversion = \"1.0.0\"\n");
}

/// A state directory after an `apply` of some other federation, whose hub is not there.
fn state_of(desk: &Desk, federation: &str, address: &str) {
    let now = std::time::SystemTime::now();
    let root = onefed_trust::RootCa::generate(federation, now).unwrap();
    let operator = root.issue_client("operator", onefed_trust::ClientRole::Operator, now).unwrap();
    desk.write(".onefed/ca.pem", root.cert_pem());
    desk.write(".onefed/ca.key", root.key_pem().expose());
    desk.write(".onefed/operator.pem", &operator.cert_pem);
    desk.write(".onefed/operator.key", operator.key_pem.expose());
    let hub = serde_json::json!({ "host": address, "fleet_port": 9092, "admin_port": 9443 });
    let inventory = serde_json::json!({ "schema_version": 1, "federation": federation, "hub": hub });
    desk.write(".onefed/inventory.json", &inventory.to_string());
}

#[test]
fn plan_for_empty_zones_is_the_same_bytes_twice() {
    let desk = Desk::new("verbs-plan", 125);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| plan);
    for (name, args) in [("text", "plan"), ("json", "plan --format json")] {
        let first = desk.snapshot(&format!("plan__{name}"), &mut desk.onefed(args)).expect(2);
        let second = run(&mut desk.onefed(args)).expect(2);
        assert_eq!((first.stdout, first.stderr), (second.stdout, second.stderr));
    }
    assert!(!desk.path(".onefed").exists(), "plan made a state directory");
}

#[test]
fn verbs_before_apply() {
    let desk = Desk::new("verbs-before", 126);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| plan);
    app(&desk);
    for (verb, exit) in VERBS.into_iter().zip([1, 78, 78, 0]) {
        let name = format!("before_apply__{}", verb.split(' ').next().unwrap());
        desk.snapshot(&name, &mut desk.onefed(verb)).expect(exit);
        desk.snapshot(&format!("{name}_json"), desk.onefed(verb).args(["--format", "json"])).expect(exit);
    }
    assert!(!desk.path(".onefed").exists(), "a verb that found nothing made a state directory");
    assert!(!desk.path(".flwr").exists(), "connect without a federation wrote Flower's configuration");
}

#[test]
fn train_with_a_directory_that_is_no_app() {
    let desk = Desk::new("verbs-no-app", 127);
    desk.plan(|plan| plan);
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.snapshot("train__no_app", &mut desk.onefed("train empty")).expect(65);
    desk.snapshot("train__no_directory", &mut desk.onefed("train nowhere")).expect(65);
}

#[test]
fn connect_with_a_port_in_use() {
    let desk = Desk::new("verbs-port", 127);
    state_of(&desk, "hospitals", "127.0.0.1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    desk.snapshot("connect__port_in_use", desk.onefed("connect").args(["--port", &port.to_string()]))
        .expect(78);
    assert!(!desk.path(".flwr").exists(), "a connection that is not there in Flower's configuration");
}

#[test]
fn a_hub_that_is_gone() {
    let desk = Desk::new("verbs-no-hub", 128);
    desk.plan(|plan| plan);
    app(&desk);
    state_of(&desk, "hospitals", &desk.address("1.10"));
    desk.snapshot("train__hub_gone", &mut desk.onefed("train app")).expect(69);
    assert!(!desk.path(".flower").exists(), "a Python environment for a federation that is not there");
}

#[test]
fn the_state_directory_of_another_federation() {
    let desk = Desk::new("verbs-other", 129);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| plan);
    app(&desk);
    state_of(&desk, "banks", "127.0.0.1");
    desk.snapshot("other_state__apply", &mut desk.onefed("apply")).expect(65);
    for verb in ["status", "train app", "destroy --yes"] {
        let refused = run(&mut desk.onefed(verb)).expect(65);
        assert!(refused.stderr.contains("error[other-federation]"), "{verb}: {}", refused.stderr);
    }
    assert!(desk.path(".onefed/inventory.json").exists(), "the other federation was forgotten");
    desk.write("state", "");
    desk.snapshot("other_state__a_file", &mut desk.onefed("status --state state")).expect(65);
}

#[test]
fn two_at_work_at_once() {
    let desk = Desk::new("verbs-lock", 130);
    desk.plan(|plan| plan);
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    let lock = desk.write(".onefed/lock", "process 4711\n");
    let lock = std::fs::File::open(lock).unwrap();
    lock.lock().unwrap();
    desk.snapshot("locked__apply", &mut desk.onefed("apply")).expect(75);
    desk.snapshot("locked__apply_json", &mut desk.onefed("apply --format json")).expect(75);
    drop(lock);
    // Without the lock it comes to the zones, which are not there.
    run(&mut desk.onefed("apply")).expect(69);
}

#[test]
fn an_apply_whose_superlink_does_not_start() {
    let desk = Desk::new("verbs-apply", 131);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| plan);
    // Zones are worked in at the same time: which of them says something first is not settled.
    let apply = run(&mut desk.onefed("apply")).expect(1);
    for said in [
        "zone madrid (coordinator): failed",
        "zone paris (site paris): waiting",
        "zone lisbon (site lisbon): waiting",
        "error[vm-failed]: superlink VM madrid/0 of service hospitals-coordinator failed (process_failed): \
         flower-superlink keeps ending (exit status: 1): flower-superlink: no real Flower here",
        "when the cause is gone, run `onefed apply` again: it replaces the service",
    ] {
        assert!(apply.stderr.contains(said), "{said}\n{}", apply.stderr);
    }

    // What is there is said, and what a second apply would do about it.
    let settled = |desk: &Desk| {
        let status = run(&mut desk.onefed("status --format json")).json();
        status["services"][0]["vms"][0]["state"] == "POWEROFF"
    };
    let started = Instant::now();
    while !settled(&desk) {
        assert!(started.elapsed() < Duration::from_secs(10), "the VM does not go off");
        std::thread::sleep(Duration::from_millis(50));
    }
    // How far the sites are by now is another matter each time.
    let status = run(&mut desk.onefed("status")).expect(1);
    for part in [
        "VM 0 superlink       POWEROFF, failed",
        "broken   zone madrid: superlink VM 0 of hospitals-coordinator says failed: process_failed: ",
        "unknown  hub: cannot reach the admin endpoint at ",
        "\nNOT all is well\n",
    ] {
        assert!(status.stdout.contains(part), "{part}\n{}", status.stdout);
    }
    let plan = run(&mut desk.onefed("plan")).expect(2);
    let replaced = "! replace  service   hospitals-coordinator  1 SuperLink  (VM 0 is POWEROFF)";
    assert!(plan.stdout.contains(replaced), "{}", plan.stdout);

    let asks = desk.snapshot("failed_apply__destroy_without_yes", &mut desk.onefed("destroy")).expect(64);
    assert!(asks.stdout.contains("hospitals-coordinator"), "what it asks about is shown");
    let destroyed = run(&mut desk.onefed("destroy --yes --format json")).expect(0);
    assert_eq!(destroyed.json()["removed"].as_array().unwrap().len(), 6, "{}", destroyed.stdout);
    let services: Vec<&str> = destroyed.stderr.lines().filter(|line| line.contains(": service ")).collect();
    assert_eq!(
        services.last(),
        Some(&"  madrid: service hospitals-coordinator removed"),
        "{}",
        destroyed.stderr
    );
    let plan = run(&mut desk.onefed("plan")).expect(2);
    assert!(plan.stdout.ends_with("Plan: 6 to create, 0 to change, 0 to remove\n"), "{}", plan.stdout);
    let running = desk.processes();
    assert_eq!(running.len(), 1, "the sandbox only: {running:#?}");
    desk.snapshot("failed_apply__destroy_again", &mut desk.onefed("destroy --yes")).expect(0);
}

#[test]
fn the_journal_has_no_secret_and_the_state_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::new("verbs-private", 132);
    desk.plan(|plan| replaced(&plan, "name   = \"hospitals\"", "name   = \"clinics\""));
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    run(&mut desk.onefed("apply")).expect(69);
    let mode = |name: &str| std::fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(".onefed"), mode(".onefed/lock")), (0o700, 0o600));
    assert_eq!(desk.files(), [".onefed/", ".onefed/lock", "federation.toml", "sandbox/", "sandbox/one_auth"]);
}

#[test]
fn what_runs_inside_a_vm_says_what_it_misses() {
    let desk = Desk::new("verbs-vm", 120);
    desk.snapshot("vm__boot_without_context", &mut desk.onefed("boot --context nowhere --disk disk"))
        .expect(78);
    desk.write("context/context.sh", "FL_ROLE='superlnk'\nFL_FEDERATION='lab'\n");
    desk.snapshot("vm__boot_bad_context", &mut desk.onefed("boot --context context --disk disk")).expect(78);
    desk.snapshot("vm__hub_without_file", &mut desk.onefed("hub --config nowhere.json")).expect(78);
    desk.write("spoke.json", "{ \"federation\": 3 }");
    desk.snapshot("vm__spoke_bad_file", &mut desk.onefed("spoke --config spoke.json")).expect(78);
    // A boot that failed is found to have failed.
    let left = ["context/", "context/context.sh", "disk/", "disk/boot.json", "disk/boot.lock", "spoke.json"];
    assert_eq!(desk.files(), left);
}
