//! Section 9.1 of spec/12, run from its text: from `onefed sandbox up` over `init`, `plan`, `apply`, `status` and
//! `train` to `destroy`, with real Flower on three sandbox zones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::path::Path;
use std::time::Duration;

use onefed_opennebula::{Credentials, ZoneName, oneflow, xmlrpc};
use support::spec::{blocks, document, repository};
use support::{Desk, Run, Sandbox, run_within};

const SPEC: &str = "12-multi-site-federation.md";
/// Where the text's sandbox is.
const DIR: &str = ".onefed-sandbox";

#[tokio::test]
async fn the_walkthrough_of_the_specification_ends_in_nothing_left() {
    let desk = Desk::new("walkthrough", 243);
    let _sandbox = Sandbox::guard_in(&desk, DIR);
    // Where the first of all tests makes its Python environment.
    std::fs::create_dir_all(repository().join(".flower")).unwrap();
    for name in ["apps", ".flower"] {
        std::os::unix::fs::symlink(repository().join(name), desk.path(name)).unwrap();
    }
    let mut done: Vec<(String, Run)> = Vec::new();
    for (line, exit) in commands() {
        // Before the zones go, they must be empty.
        if line == "onefed sandbox down" {
            nothing_is_deployed(&desk).await;
        }
        let outcome = run_line(&desk, &line).expect(exit);
        done.push((line, outcome));
    }
    let said = |verb: &str| {
        let found = done.iter().filter(|(line, _)| line.starts_with(&format!("onefed {verb}")));
        found.map(|(_, run)| format!("{}{}", run.stdout, run.stderr)).collect::<Vec<_>>()
    };
    // In the order of the story, and each told what the text says.
    let verbs: Vec<&str> = done.iter().map(|(line, _)| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(verbs, ["sandbox", "init", "plan", "apply", "status", "train", "plan", "destroy", "sandbox"]);
    let status = said("status").concat();
    assert!(status.contains("OPEN       FL_SITE_ENROLMENT is open"), "{status}");
    assert!(status.contains("all is well") && status.matches("2 of 2 online").count() == 2, "{status}");
    let train = said("train").concat();
    assert!(
        train.contains("finished:completed") && train.contains("paris") && train.contains("lisbon"),
        "{train}"
    );
    assert!(said("plan")[1].contains("0 to create"), "{}", said("plan")[1]);
    assert_eq!(desk.processes(), Vec::<String>::new());
}

/// The commands of the text and the exit codes that it gives them.
fn commands() -> Vec<(String, i32)> {
    let text = blocks(&document(SPEC), "tool").concat();
    let command = |line: &str| match line.split_once("  # exit code ") {
        Some((line, code)) => (line.to_owned(), code.parse().unwrap()),
        None => (line.to_owned(), 0),
    };
    text.lines().map(command).collect()
}

/// A line of the text, with the zones on this desk's addresses.
fn run_line(desk: &Desk, line: &str) -> Run {
    let mut line = line.replace("127.71.", &format!("127.{}.", desk.net()));
    if line == "onefed sandbox up" {
        line += &format!(" --net {}", desk.net());
    }
    let onefed = Path::new(env!("CARGO_BIN_EXE_onefed")).parent().unwrap();
    let mut bash = desk.command("bash");
    bash.args(["-c", &line]);
    bash.env("PATH", format!("{}:{}", onefed.display(), std::env::var("PATH").unwrap()));
    run_within(&mut bash, Duration::from_secs(300))
}

async fn nothing_is_deployed(desk: &Desk) {
    let login = std::fs::read_to_string(desk.path(DIR).join("one_auth")).unwrap();
    let login = Credentials::parse(&login).unwrap();
    for (at, zone) in ["madrid", "paris", "lisbon"].into_iter().enumerate() {
        let name: ZoneName = zone.parse().unwrap();
        let url = |rest: &str| format!("http://{}{rest}", desk.address(&format!("{}.1", at + 1)));
        let xmlrpc = url(":2633/RPC2").parse().unwrap();
        let xmlrpc = xmlrpc::Client::new(name.clone(), xmlrpc, login.clone()).unwrap();
        let oneflow = oneflow::Client::new(name, url(":2474").parse().unwrap(), login.clone()).unwrap();
        assert!(oneflow.services().await.unwrap().is_empty(), "{zone}");
        assert!(oneflow.service_templates().await.unwrap().is_empty(), "{zone}");
        // The zone's own; the lock is gone.
        let templates: Vec<String> =
            xmlrpc.templates().await.unwrap().into_iter().map(|template| template.name).collect();
        assert_eq!(templates, ["onefed"], "{zone}");
    }
}
