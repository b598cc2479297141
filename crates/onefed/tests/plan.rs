//! `onefed plan`: what an `apply` would stumble on, of all zones at once; the plan as a file; the same bytes twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Desk, Sandbox, fake_flower, replaced, run};

/// A sandbox whose zones are as a world says.
fn zones<'d>(desk: &'d Desk, world: &str) -> Sandbox<'d> {
    let flower = fake_flower(desk, "1.41.0");
    let world = desk.write("world.toml", world);
    let sandbox = Sandbox::guard(desk);
    run(Sandbox::command(desk, &flower).arg("--world").arg(world)).expect(0);
    sandbox
}

/// The example plan with the login of a user of the world.
fn plan_of(desk: &Desk, user: &str, edit: impl FnOnce(String) -> String) {
    let login = format!("{user}_auth");
    desk.write(&login, &format!("{user}:a secret\n"));
    desk.plan(|plan| edit(plan.replace("sandbox/one_auth", &login)));
}

const ALICE: &str = "[[user]]\nname = \"alice\"\npassword = \"a secret\"\n";
/// Everything that an ordinary user needs, in every zone.
const OPEN: &str = r#"
[all]
vdc = ["users"]
image = [{ name = "onefed", permissions = "644" }]
template = [{ name = "onefed", image = "onefed", permissions = "644" }]
network = [{ name = "private", permissions = "644" }]
"#;

#[test]
fn everything_that_stands_in_the_way_is_said_at_once() {
    let desk = Desk::new("plan-everything", 228);
    let world = format!(
        "{ALICE}{OPEN}{}",
        r#"
[zone.madrid]
image = [{ name = "onefed", permissions = "644", state = "locked" }]
[zone.paris]
vdc = []
network = [{ name = "private", permissions = "644", size = 2 }]
quota = [{ user = "alice", vms = 2, cpu = 2 }, { group = "users", memory = 4096, network = "private", leases = 1 }]
[zone.lisbon]
vdc = []
enabled = false
template = [{ name = "onefed", permissions = "600" }]
network = [{ name = "private", permissions = "600" }]
"#
    );
    let _zones = zones(&desk, &world);
    plan_of(&desk, "alice", |plan| plan);
    let text = desk.snapshot("plan__everything", &mut desk.onefed("plan --out p.json")).expect(78);
    assert!(!text.stderr.contains("a secret") && !text.stdout.contains("a secret"));
    assert!(!desk.path("p.json").exists(), "a plan that cannot be carried out was kept");
    let json = run(&mut desk.onefed("plan --format json")).expect(78);
    assert_eq!(json.stderr.lines().filter(|line| line.starts_with("error[zone::")).count(), 9);
    let json = json.json();
    let codes: std::collections::BTreeSet<&str> =
        json["problems"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    let wanted = [
        "zone::disabled",
        "zone::image-state",
        "zone::network-full",
        "zone::no-hosts",
        "zone::no-network",
        "zone::no-template",
        "zone::quota",
    ];
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), wanted);
    assert_eq!(json["error"]["code"], "preflight");

    // An apply says the same and touches nothing, not even its own directory's keys.
    let apply = run(&mut desk.onefed("apply --yes")).expect(78);
    for code in wanted {
        assert!(apply.stderr.contains(code), "{code}: {}", apply.stderr);
    }
    assert!(!desk.path(".onefed/ca.key").exists(), "keys for a federation that cannot be");
}

#[test]
fn what_binds_a_user_does_not_bind_an_administrator() {
    let desk = Desk::new("plan-admin", 229);
    let world = format!(
        "{ALICE}{}",
        r#"
[all]
vdc = []
quota = [{ group = "users", vms = 0 }]
[zone.paris]
version = "6.10.0"
[zone.lisbon]
host = [{ name = "kvm-1", state = "off" }, { name = "kvm-2", state = "off" }]
"#
    );
    let _zones = zones(&desk, &world);
    desk.plan(|plan| plan);
    desk.snapshot("plan__admin", &mut desk.onefed("plan")).expect(78);
    // The same as a user who has nothing there.
    plan_of(&desk, "alice", |plan| plan);
    let plan = run(&mut desk.onefed("plan")).expect(78);
    for what in ["zone madrid: no VM template onefed", "zone madrid: alice may use no host"] {
        assert!(plan.stderr.contains(what), "{what}: {}", plan.stderr);
    }
}

#[test]
fn images_are_there_are_ready_and_may_be_used() {
    let desk = Desk::new("plan-images", 230);
    let world = format!(
        "{ALICE}{OPEN}{}",
        r#"
[zone.madrid]
image = [
  { name = "onefed", permissions = "644" },
  { name = "Debian 12", permissions = "644", size = 4096 },
  { name = "wheels.tar", permissions = "644" },
]
template = [
  { name = "onefed", image = "onefed", permissions = "644" },
  { name = "onefed", image = "onefed", permissions = "644", owner = "alice" },
]
[zone.paris]
image = [{ name = "onefed", permissions = "600" }, { name = "other", permissions = "644", state = "error" }]
template = [
  { name = "onefed", image = "onefed", permissions = "644" },
  { name = "nodes", image = "other", permissions = "644" },
  { name = "private", image = "other", permissions = "600" },
]
[zone.lisbon]
image = [{ name = "onefed", permissions = "644", state = "disabled" }]
"#
    );
    let _zones = zones(&desk, &world);
    plan_of(&desk, "alice", |plan| {
        let paris = plan.find("[zone.paris]").unwrap();
        let lisbon = plan.find("[zone.lisbon]").unwrap();
        let (madrid, rest) = plan.split_at(paris);
        let (paris, lisbon) = rest.split_at(lisbon - madrid.len());
        let paris = replaced(paris, "template = \"onefed\"", "gateway_template = 2\ntemplate = \"nodes\"");
        format!("{madrid}{paris}{lisbon}")
    });
    desk.snapshot("plan__images", &mut desk.onefed("plan")).expect(78);

    // A plain image of the system, and its software as files.
    plan_of(&desk, "alice", |plan| {
        let plan = plan.replacen("template = \"onefed\"", "image = \"Debian 12\"\ndisk = 2048 #", 1);
        let sum = "0".repeat(64);
        format!(
            "{plan}\n[install]\nonefed = {{ file = \"onefed-bin\", sha256 = \"{sum}\" }}\n\
             flower = {{ file = \"wheels.tar\", sha256 = \"{sum}\" }}\n"
        )
    });
    desk.snapshot("plan__plain_image", &mut desk.onefed("plan")).expect(78);
}

#[test]
fn a_plan_is_kept_in_a_file_and_comes_out_the_same_twice() {
    let desk = Desk::new("plan-out", 231);
    let _zones = zones(&desk, &format!("{ALICE}{OPEN}"));
    plan_of(&desk, "alice", |plan| plan);
    desk.snapshot("plan__out", &mut desk.onefed("plan --out plan.json")).expect(2);
    let first = std::fs::read_to_string(desk.path("plan.json")).unwrap();
    run(&mut desk.onefed("plan --format json --out plan.json")).expect(2);
    assert_eq!(first, std::fs::read_to_string(desk.path("plan.json")).unwrap());
    assert!(!first.contains("a secret"), "{first}");
    let saved: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&saved["schema_version"], &saved["kind"]), (&1.into(), &"onefed-plan".into()));
    assert_eq!(saved["zones"][0]["changes"][1]["action"], "create");
    // Another layout of the same words is the same plan.
    let text = std::fs::read_to_string(desk.path("federation.toml")).unwrap();
    desk.write("federation.toml", &format!("# a remark\n{}", text.replace("  = ", " = ")));
    run(&mut desk.onefed("plan --out plan.json")).expect(2);
    assert_eq!(first, std::fs::read_to_string(desk.path("plan.json")).unwrap());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(desk.path("plan.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_names_for_one_zone_and_a_onegate_that_is_not_there() {
    let desk = Desk::new("plan-same", 232);
    let _zones = zones(&desk, &format!("{ALICE}{OPEN}"));
    plan_of(&desk, "alice", |plan| {
        // The same machine in other words, which no comparison of texts sees.
        let mapped = |port: u16| format!("[::ffff:{}]:{port}", desk.address("2.1"));
        let plan = plan.replace(&desk.address("3.1:2633"), &mapped(2633));
        let plan = plan.replace(&desk.address("3.1:2474"), &mapped(2474));
        replaced(
            &plan,
            "[zone.paris]\n",
            &format!("[zone.paris]\nonegate = \"http://{}\"\n", desk.address("9.9:5030")),
        )
    });
    desk.snapshot("plan__same_zone", &mut desk.onefed("plan")).expect(78);
}
