//! Plan files that cannot be used: every problem with its line, exit code 65, and nothing done.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Desk, replaced};

/// Nothing here gets as far as a zone.
const NET: u8 = 120;

/// Runs `plan`, as text and as JSON, on the example plan with some text replaced.
#[track_caller]
fn refused(name: &str, edits: &[(&str, &str)]) {
    let desk = Desk::new(&format!("bad-plan-{name}"), NET);
    desk.plan(|plan| edits.iter().fold(plan, |plan, (from, to)| replaced(&plan, from, to)));
    check(&desk, name);
    assert_eq!(desk.files(), ["federation.toml"], "a bad plan made something");
}

#[track_caller]
fn check(desk: &Desk, name: &str) {
    let text =
        desk.snapshot(&format!("bad_plan__{name}"), &mut desk.onefed("plan -f federation.toml")).expect(65);
    assert_eq!(text.stdout, "", "problems are talk");
    let json = run_json(desk);
    assert_eq!(json.stderr, text.stderr, "the talk is the same in both formats");
    assert_eq!(json.json()["schema_version"], 1);
}

fn run_json(desk: &Desk) -> support::Run {
    support::run(&mut desk.onefed("plan -f federation.toml --format json")).expect(65)
}

#[test]
fn missing_file() {
    let desk = Desk::new("bad-plan-missing", NET);
    check(&desk, "missing_file");
    assert_eq!(desk.files(), Vec::<String>::new());
}

#[test]
fn a_directory() {
    let desk = Desk::new("bad-plan-directory", NET);
    std::fs::create_dir(desk.path("federation.toml")).unwrap();
    check(&desk, "directory");
}

#[test]
fn not_utf8() {
    let desk = Desk::new("bad-plan-not-utf8", NET);
    std::fs::write(desk.path("federation.toml"), b"name = \"h\xf4pitaux\"\n").unwrap();
    check(&desk, "not_utf8");
}

#[test]
fn empty_file() {
    let desk = Desk::new("bad-plan-empty", NET);
    desk.write("federation.toml", "");
    check(&desk, "empty");
}

#[test]
fn toml_syntax_error() {
    refused("syntax", &[("name   = \"hospitals\"", "name   = \"hospitals")]);
}

#[test]
fn unknown_key() {
    refused("unknown_key", &[("gateway    = \"dedicated\"", "gatway     = \"dedicated\"")]);
}

#[test]
fn unknown_zone() {
    refused("unknown_zone", &[("zone       = \"lisbon\"", "zone       = \"lisbonne\"")]);
}

#[test]
fn two_coordinators_as_list() {
    refused(
        "two_coordinators_list",
        &[("[coordinator]                 #", "[[coordinator]]\nzone = \"paris\"\n\n[[coordinator]] #")],
    );
}

#[test]
fn two_coordinators_as_tables() {
    refused(
        "two_coordinators_tables",
        &[("[variables] ", "[coordinator]\nzone = \"paris\"\n\n[variables] ")],
    );
}

#[test]
fn a_site_without_supernodes() {
    refused("no_supernodes", &[("supernodes = 2                #", "supernodes = 0                #")]);
}

#[test]
fn no_site() {
    let desk = Desk::new("bad-plan-no-site", NET);
    desk.plan(|plan| {
        let (from, to) = (plan.find("\n[[site]]").unwrap(), plan.find("\n[zone.madrid]").unwrap());
        format!("{}{}", &plan[..from], &plan[to..])
    });
    check(&desk, "no_site");
}

#[test]
fn bad_address() {
    refused("bad_address", &[("# address = \"203.0.113.10\" ", "address = \"203.0.113.1000\" ")]);
}

#[test]
fn flower_outside_the_table() {
    refused("flower_version", &[("flower = \"1.41.0\"", "flower = \"1.30.0\"")]);
}

#[test]
fn unknown_variable() {
    refused("unknown_variable", &[("FL_GRPC_KEEPALIVE_TIMEOUT = 10", "FL_GRPC_KEEPALIVE_TIMEOUTS = 10")]);
}

#[test]
fn bad_keepalive_pair() {
    refused("keepalive", &[("FL_GRPC_KEEPALIVE_TIMEOUT = 10", "FL_GRPC_KEEPALIVE_TIMEOUT = 30")]);
}

#[test]
fn a_password_in_a_plan_is_refused_and_not_repeated() {
    let desk = Desk::new("bad-plan-password", NET);
    desk.plan(|plan| {
        replaced(&plan, "oneflow  = \"http://127.120.2.1", "oneflow  = \"http://oneadmin:hunter2@127.120.2.1")
    });
    check(&desk, "password_in_url");
}

#[test]
fn several_problems_are_shown_at_once() {
    let desk = Desk::new("bad-plan-several", NET);
    desk.plan(|plan| {
        let edits = [
            ("flower = \"1.41.0\"", "flower = \"1.99.0\""),
            ("mode = \"routed\"", "mode = \"rooted\""),
            ("zone       = \"lisbon\"", "zone       = \"lissbon\""),
            ("gateway    = \"dedicated\"", "gateway    = \"dedicate\""),
            ("FL_GRPC_KEEPALIVE_TIMEOUT = 10", "FL_GRPC_KEEPALIVE_TIMEOUT = \"ten\""),
        ];
        edits.iter().fold(plan, |plan, (from, to)| replaced(&plan, from, to))
    });
    check(&desk, "several");
    let run = desk.snapshot("bad_plan__several_json", &mut desk.onefed("plan --format json"));
    let problems = run.json()["error"]["problems"].as_array().cloned().unwrap_or_default();
    assert_eq!(problems.len(), 5);
    assert!(problems.iter().all(|problem| problem["place"]["line"].as_u64() > Some(0)));
}

#[test]
fn every_verb_that_reads_a_plan_refuses_it_first() {
    let desk = Desk::new("bad-plan-verbs", NET);
    desk.plan(|plan| replaced(&plan, "flower = \"1.41.0\"", "flower = \"1.30.0\""));
    for verb in ["plan", "apply", "status", "train app", "destroy --yes"] {
        let run = support::run(&mut desk.onefed(verb)).expect(65);
        assert!(run.stderr.contains("plan::flower-version"), "{verb}: {}", run.stderr);
    }
    assert_eq!(desk.files(), ["federation.toml"], "a bad plan made something");
}
