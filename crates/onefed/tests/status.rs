//! `onefed status`: green only where everything is known and as the plan file says, however little the state directory
//! still knows; and again and again with --watch. With real Flower where something has to be green.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onefed_opennebula::xmlrpc::{Client, VmAction};
use onefed_opennebula::{Credentials, VmId, ZoneName};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Desk, Run, Sandbox, fake_flower, run, run_within};

fn repository() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap().display().to_string()
}

fn status(desk: &Desk) -> Run {
    run(&mut desk.onefed("status --format json"))
}

/// All reasons of a status, as one text.
fn reasons(run: &Run) -> String {
    let status = run.json();
    let problems = status["problems"].as_array().unwrap();
    assert_eq!(problems.is_empty(), status["healthy"] == true);
    problems
        .iter()
        .map(|it| format!("{}: {}\n", it["kind"].as_str().unwrap(), it["what"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn green_is_earned() {
    let desk = Desk::new("status-green", 224);
    let up = format!("sandbox up --dir {}/sandbox --net 224 --flower 1.41.0", desk.dir().display());
    // In the repository, whose Python environments it uses or makes.
    run_within(desk.onefed(&up).current_dir(repository()), Duration::from_secs(300)).expect(0);
    let _zones = Sandbox::guard(&desk);
    // The first hour: what `init` writes can be applied as it is.
    let door = format!("http://{}/RPC2", desk.address("1.1:2633"));
    let args = ["--yes", "--name", "hospitals", "--coordinator", "madrid", "--auth", "sandbox/one_auth"];
    run(desk.onefed("init --endpoint").arg(door).args(args)).expect(0);
    let plan = std::fs::read_to_string(desk.path("federation.toml")).unwrap();
    run_within(&mut desk.onefed("apply --yes"), Duration::from_secs(180)).expect(0);
    let green = status(&desk).expect(0);
    assert_eq!(reasons(&green), "");
    assert_eq!(green.json()["hub_address"]["from"], "the SuperLink's VM");
    let text = run(&mut desk.onefed("status")).expect(0);
    assert!(text.stdout.ends_with("\nall is well\n"), "{}", text.stdout);
    assert!(text.stdout.contains("gateway paris/"), "certificates of gateways are there: {}", text.stdout);

    // The state directory is a cache, but for the root key and its certificate.
    for gone in ["inventory.json", "operator.key", "operator.pem", "federation", "zones"] {
        let _ = std::fs::remove_file(desk.path(".onefed").join(gone));
    }
    assert_eq!(reasons(&status(&desk).expect(0)), "");
    assert!(!desk.path(".onefed/operator.key").exists(), "a verb that looks has written");

    // One look a line; the exit code is that of the last one.
    let mut watching = desk.onefed("status --watch 1 --format json");
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let look: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(look["healthy"], true, "{look:#}");
    }
    interrupt(&watching);
    assert_eq!(watching.wait().unwrap().code(), Some(0));

    // Somebody edits the plan file and has not applied it.
    desk.write("federation.toml", &format!("{plan}\nFL_LOG_LEVEL = \"DEBUG\"\n"));
    let edited = reasons(&status(&desk).expect(1));
    assert_eq!(edited.matches("is not as the plan file says").count(), 3, "{edited}");
    desk.write("federation.toml", &plan);

    // Somebody terminates a VM: OneFlow lowers the cardinality and says RUNNING.
    let look = status(&desk).expect(0).json();
    let paris = &look["services"][1];
    let vm = paris["vms"].as_array().unwrap().iter().find(|vm| vm["role"] == "supernode").unwrap();
    let zone: ZoneName = "paris".parse().unwrap();
    let login = std::fs::read_to_string(desk.path("sandbox/one_auth")).unwrap();
    let url = format!("http://{}/RPC2", desk.address("2.1:2633")).parse().unwrap();
    let client = Client::new(zone.clone(), url, Credentials::parse(&login).unwrap()).unwrap();
    let id = u32::try_from(vm["id"].as_u64().unwrap()).unwrap();
    client.vm_action(&VmId::new(zone, id), VmAction::TerminateHard).await.unwrap();
    let started = Instant::now();
    loop {
        let why = reasons(&status(&desk).expect(1));
        if why.contains("service hospitals-paris has 1 of 2 VMs in role supernode") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(40), "{why}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let foreign = run(desk.onefed("status --state elsewhere").args(["--format", "json"])).expect(1);
    assert!(reasons(&foreign).contains("unknown: hub: "), "without any key nothing is known of the hub");
}

#[test]
fn one_zone_down_and_the_rest_is_shown() {
    let desk = Desk::new("status-down", 225);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    // A zone whose login is missing is no better known than one that is down.
    desk.plan(|plan| {
        let plan = plan.replace(&desk.address("3.1:"), &desk.address("9.1:"));
        let paris = plan.find("[zone.paris]").unwrap();
        let (before, after) = plan.split_at(paris);
        before.to_owned() + &after.replacen("sandbox/one_auth", "sandbox/nobody", 1)
    });
    let shown = desk.snapshot("status__zones_down", &mut desk.onefed("status")).expect(1);
    assert!(shown.stdout.contains("madrid  7.4.0"), "{}", shown.stdout);
    desk.snapshot("status__zones_down_json", &mut desk.onefed("status --format json")).expect(1);
}

#[test]
fn watching_blocks_of_text() {
    let desk = Desk::new("status-watch", 226);
    desk.plan(|plan| plan);
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    let mut watching = desk.onefed("status --watch 1");
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(watching.stdout.take().unwrap());
    let mut seen = String::new();
    while seen.matches("NOT all is well\n").count() < 2 {
        assert!(out.read_line(&mut seen).unwrap() > 0, "it ended:\n{seen}");
    }
    interrupt(&watching);
    assert_eq!(watching.wait().unwrap().code(), Some(1), "as the last look");
    let blocks: Vec<&str> = seen.split(&format!("{}\n", "-".repeat(40))).collect();
    assert_eq!(blocks.len(), 2, "{seen}");
    assert_eq!(blocks[0], blocks[1]);
    assert!(!seen.contains('\u{1b}'), "no terminal is drawn on");

    // Whoever reads has gone.
    let mut watching = desk.onefed("status --watch 1 --format json");
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 1];
    watching.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let started = Instant::now();
    while watching.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(20), "it goes on for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn watching_on_a_terminal_draws_over() {
    let desk = Desk::new("status-terminal", 227);
    desk.plan(|plan| plan);
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no program `script`, which makes a terminal");
        return;
    }
    let line = format!("timeout --signal=INT 4 {} status --watch", env!("CARGO_BIN_EXE_onefed"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(desk.dir()).stdin(Stdio::null());
    let shown = run(&mut command);
    assert!(shown.stdout.matches("\u{1b}[H\u{1b}[J").count() >= 2, "{:?}", shown.stdout);
    assert!(!shown.stdout.contains("-----"), "{:?}", shown.stdout);
}

fn interrupt(child: &std::process::Child) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
}
