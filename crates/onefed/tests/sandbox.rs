//! `onefed sandbox`: up, down, and what stands in their way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Desk, FlowerDir, Sandbox, fake_flower, run};

#[test]
fn up_twice_and_down_twice() {
    let desk = Desk::new("sandbox-twice", 133);
    let flower = fake_flower(&desk, "1.41.0");
    let zones = Sandbox::guard(&desk);
    desk.snapshot("sandbox__up", &mut Sandbox::command(&desk, &flower)).expect(0);
    let first = zones.pid();
    desk.snapshot("sandbox__up_again", &mut Sandbox::command(&desk, &flower)).expect(65);
    assert_eq!(zones.pid(), first, "the first one was disturbed");
    desk.snapshot("sandbox__down", &mut desk.onefed("sandbox down --dir sandbox")).expect(0);
    assert!(!desk.path("sandbox").exists());
    assert_eq!(desk.processes(), Vec::<String>::new());
    desk.snapshot("sandbox__down_without", &mut desk.onefed("sandbox down --dir sandbox")).expect(0);
    desk.snapshot("sandbox__down_without_json", &mut desk.onefed("sandbox down --dir sandbox --format json"))
        .expect(0);
}

#[test]
fn up_as_json() {
    let desk = Desk::new("sandbox-json", 134);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::guard(&desk);
    desk.snapshot("sandbox__up_json", Sandbox::command(&desk, &flower).args(["--format", "json"])).expect(0);
}

#[test]
fn up_where_a_port_is_taken() {
    let desk = Desk::new("sandbox-port", 135);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::guard(&desk);
    let taken = TcpListener::bind(desk.address("1.1:2633")).unwrap();
    desk.snapshot("sandbox__port_taken", &mut Sandbox::command(&desk, &flower)).expect(78);
    assert_eq!(desk.processes(), Vec::<String>::new(), "a sandbox that did not start is running");
    drop(taken);
    run(&mut Sandbox::command(&desk, &flower)).expect(0);
}

#[test]
fn up_after_kill_9() {
    let desk = Desk::new("sandbox-killed", 136);
    let flower = fake_flower(&desk, "1.41.0");
    let zones = Sandbox::up(&desk, &flower);
    let first = zones.pid();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    let killed = Instant::now();
    // Until init has collected it: a process that waits for that still counts as a running sandbox.
    while Path::new(&format!("/proc/{first}")).exists() {
        assert!(killed.elapsed() < Duration::from_secs(15), "process {first} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    desk.snapshot("sandbox__up_after_kill", &mut Sandbox::command(&desk, &flower)).expect(0);
    assert_ne!(zones.pid(), first);
    desk.plan(|plan| plan);
    run(&mut desk.onefed("plan")).expect(2);
}

#[test]
fn without_flower() {
    let desk = Desk::new("sandbox-flower", 137);
    let _zones = Sandbox::guard(&desk);
    std::fs::create_dir(desk.path("empty")).unwrap();
    let empty = FlowerDir("empty".into());
    desk.snapshot("sandbox__flower_missing", &mut Sandbox::command(&desk, &empty)).expect(78);
    let older = fake_flower(&desk, "1.40.0");
    let mut command = Sandbox::command(&desk, &older);
    desk.snapshot("sandbox__flower_of_another_release", &mut command).expect(78);
    desk.snapshot("sandbox__flower_outside_the_table", command.args(["--flower", "1.30.0"])).expect(65);
    assert!(!desk.path("sandbox").exists(), "a sandbox that was refused made its directory");
}

#[test]
fn without_python() {
    let desk = Desk::new("sandbox-python", 137);
    let _zones = Sandbox::guard(&desk);
    std::fs::create_dir(desk.path("empty")).unwrap();
    let mut command = desk.onefed("sandbox up --dir sandbox --net 137");
    desk.snapshot("sandbox__python_missing", command.env("PATH", desk.path("empty"))).expect(78);
    assert_eq!(desk.files(), ["empty/"]);
}

#[test]
fn zones_that_cannot_be() {
    let desk = Desk::new("sandbox-zones", 138);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::guard(&desk);
    for (name, zones) in [("twice", "paris,paris"), ("bad_name", "paris,../rome")] {
        let mut command = Sandbox::command(&desk, &flower);
        desk.snapshot(&format!("sandbox__zone_{name}"), command.args(["--zones", zones])).expect(78);
    }
}

#[test]
fn a_world_is_checked_first_and_then_holds() {
    let desk = Desk::new("sandbox-world", 214);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::guard(&desk);
    let world = desk.write("world.toml", "[all]\nversoin = \"6.10.0\"\nenabled = 1\n");
    let refused = run(Sandbox::command(&desk, &flower).arg("--world").arg(&world)).expect(65);
    for said in ["line 2: all has no `versoin`: did you mean `version`?", "line 3: all: `enabled` must be"] {
        assert!(refused.stderr.contains(said), "{said}\n{}", refused.stderr);
    }
    assert!(!desk.path("sandbox").exists(), "something was made");
    desk.write("world.toml", "[zone.paris]\nversion = \"6.10.0\"\n");
    run(Sandbox::command(&desk, &flower).arg("--world").arg(&world)).expect(0);
    desk.plan(|plan| plan);
    let plan = run(&mut desk.onefed("plan"));
    assert!(format!("{}{}", plan.stdout, plan.stderr).contains("6.10.0"), "{}\n{}", plan.stdout, plan.stderr);
}
