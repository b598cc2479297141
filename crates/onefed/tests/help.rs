//! What the binary says of itself, and to those who hold it wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::Desk;

/// Nothing here needs zones.
const NET: u8 = 120;

#[test]
fn help_of_every_visible_verb() {
    let desk = Desk::new("help", NET);
    for verb in [
        "",
        "init",
        "plan",
        "apply",
        "status",
        "support",
        "train",
        "connect",
        "user",
        "destroy",
        "sandbox",
        "sandbox up",
        "sandbox down",
        "demo",
        "vars",
        "templates",
        "schema",
        "schema context",
        "context",
        "context check",
        "pki",
        "pki csr",
        "pki import",
        "boot",
    ] {
        let name =
            format!("help__{}", if verb.is_empty() { "onefed".to_owned() } else { verb.replace(' ', "_") });
        let run = desk.snapshot(&name, &mut desk.onefed(&format!("{verb} --help"))).expect(0);
        assert_eq!(run.stderr, "", "help is data");
        assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{name}");
    }
}

#[test]
fn the_version() {
    let desk = Desk::new("version", NET);
    desk.snapshot("help__version", &mut desk.onefed("--version")).expect(0);
}

#[test]
fn wrong_usage_is_exit_code_64() {
    let desk = Desk::new("usage", NET);
    for (name, args) in [
        ("nothing", ""),
        ("no_such_verb", "paln"),
        ("no_such_option", "plan --formt json"),
        ("no_such_format", "plan --format yaml"),
        ("plan_file_without_f", "plan examples/three-zones.toml"),
        ("train_without_app", "train"),
        ("format_of_another_verb", "vars --format one"),
        ("templates_without_kind", "templates"),
        ("net_out_of_range", "sandbox up --net 300"),
        ("port_out_of_range", "connect --port 70000"),
        ("json", "--format json paln"),
    ] {
        desk.snapshot(&format!("usage__{name}"), &mut desk.onefed(args)).expect(64);
    }
    assert_eq!(desk.files(), Vec::<String>::new(), "wrong usage made something");
}
