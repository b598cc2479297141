//! A federation without plan and tool: templates rendered by `onefed templates`, everything else by OpenNebula's own
//! command line, as section 9.2 of spec/12 shows it. With real Flower on three sandbox zones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use onefed_opennebula::{Credentials, Error, ZoneName, oneflow, xmlrpc};
use serde_json::{Value, json};
use support::spec::{blocks, document, repository};
use support::{Desk, SANDBOX_DIR, Sandbox, fake_flower, run, run_within};

const FLOWER: &str = "1.41.0";
const SPEC: &str = "12-multi-site-federation.md";
/// Stands in for OpenNebula's command line.
const CLI: &str = include_str!("support/opennebula_cli.py");
const PROGRAMS: [&str; 5] = ["onetemplate", "onevm", "oneflow", "oneflow-template", "ssh"];

#[test]
fn the_twelve_steps_by_hand_end_in_a_run_over_two_sites() {
    let desk = Desk::new("by-hand", 241);
    let _sandbox = Sandbox::guard(&desk);
    let (dir, net) = (desk.path(SANDBOX_DIR), desk.net());
    let up = format!("sandbox up --dir {} --net {net} --flower {FLOWER}", dir.display());
    // In the repository, whose Python environments it uses or makes.
    run_within(desk.onefed(&up).current_dir(repository()), Duration::from_secs(300)).expect(0);
    // Where the text's commands look for things.
    for name in ["apps", ".flower"] {
        std::os::unix::fs::symlink(repository().join(name), desk.path(name)).unwrap();
    }
    let outcome = run_within(&mut bash(&desk, &script(&desk)), Duration::from_secs(300)).expect(0);
    let said = &outcome.stdout;
    let print = said.lines().find(|line| line.to_lowercase().starts_with("sha256 fingerprint=")).unwrap();
    let nodes: Vec<&str> =
        said.lines().filter(|line| line.len() > 15 && line.parse::<u64>().is_ok()).collect();
    assert_eq!(nodes.len(), 4, "four nodes, by the ids that SuperLink gave them: {said}");
    assert!(said.contains("\"status\": \"finished:completed\""), "{said}");
    // Each trained on its own part, which was said by hand.
    let lines = desk.processes();
    let mut parts: Vec<_> = lines.iter().filter_map(|line| partition(line)).collect();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts, [(0, "paris"), (1, "paris"), (2, "lisbon"), (3, "lisbon")], "{lines:#?}");
    // However the CA was typed, every VM has the same one; and no key went through anybody's hands.
    let cas = found(&dir, "ca.pem");
    assert!(cas.len() >= 4, "{cas:?}");
    assert!(found(&desk.path("by-hand"), "key").is_empty());
    let of_the_site = cas.iter().filter(|path| std::fs::read(path).unwrap() == ca(&desk)).count();
    assert!(of_the_site >= 4, "{print}: {cas:?}");
    // The way back, as the text says it.
    let down = "paris oneflow delete \"$B\"\nlisbon oneflow delete \"$C\"\nmadrid oneflow delete \"$A\"\n";
    run_within(&mut bash(&desk, &format!("{}{down}", variables(&desk, said))), Duration::from_secs(60))
        .expect(0);
}

/// The text's commands for this desk's zones. What is typed into a form arrives as the form sends it: paris is made
/// with the interactive command line, which encodes what it is given, lisbon with the web form, which does not.
fn script(desk: &Desk) -> String {
    let text = blocks(&document(SPEC), "hand").concat();
    let net = desk.net();
    let mut script = format!("set -euo pipefail\n{text}echo \"SERVICES $A $B $C\"\n");
    for (from, to) in [
        ("127.71.", format!("127.{net}.")),
        (".onefed-sandbox/", format!("{SANDBOX_DIR}/")),
        ("paris() { ", "paris() { ONE_TEXT64=cli ".to_owned()),
        ("lisbon() { ", "lisbon() { ONE_TEXT64=form ".to_owned()),
        ("address = \"127.0.0.1:28000\"", format!("address = \"127.{net}.101.10:28000\"")),
    ] {
        assert!(script.contains(from), "{from}");
        script = script.replace(from, &to);
    }
    script
}

/// The text's functions, and the numbers of the services that a run of it has made.
fn variables(desk: &Desk, said: &str) -> String {
    let first = blocks(&document(SPEC), "hand")[0].clone();
    let first =
        first.replace("127.71.", &format!("127.{}.", desk.net())).replace(".onefed-sandbox/", "sandbox/");
    let numbers = said.lines().find_map(|line| line.strip_prefix("SERVICES ")).unwrap();
    let numbers: Vec<&str> = numbers.split(' ').collect();
    format!("set -e\n{first}A={}\nB={}\nC={}\n", numbers[0], numbers[1], numbers[2])
}

/// A shell for which `onefed` is the binary under test and OpenNebula's command line is there.
fn bash(desk: &Desk, script: &str) -> Command {
    let bin = desk.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let python = desk.path(".flower").join(FLOWER).join("bin/python");
    for program in PROGRAMS {
        desk.script(&format!("bin/{program}"), &format!("#!{}\n{CLI}", python.display()));
    }
    let onefed = Path::new(env!("CARGO_BIN_EXE_onefed")).parent().unwrap();
    let path = format!("{}:{}:{}", bin.display(), onefed.display(), std::env::var("PATH").unwrap());
    let mut bash = desk.command("bash");
    bash.arg("-c").arg(script).env("PATH", path);
    bash.env("FLWR_TELEMETRY_ENABLED", "0").env("FLWR_DISABLE_UPDATE_CHECK", "1");
    bash.env("PYTHONDONTWRITEBYTECODE", "1");
    bash
}

/// Partition and site in the command line of a SuperNode.
fn partition(line: &str) -> Option<(u32, &str)> {
    if !line.contains("flower-supernode") || line.contains("exec-child") {
        return None;
    }
    let (_, rest) = line.split_once("partition-id=")?;
    let (_, site) = line.split_once("site=\"")?;
    Some((rest.split_whitespace().next()?.parse().ok()?, site.split('"').next()?))
}

/// The CA that was read from the SuperLink's VM.
fn ca(desk: &Desk) -> Vec<u8> {
    std::fs::read(desk.path("by-hand/ca.pem")).unwrap()
}

/// Files below a directory whose names end so.
fn found(dir: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = |path: std::path::PathBuf| match path.is_dir() && !path.is_symlink() {
        true => found(&path, end),
        false if path.to_string_lossy().ends_with(end) => vec![path],
        false => vec![],
    };
    entries.flat_map(below).collect()
}

/// The clients of a zone's administrator.
struct Zone {
    oneflow: oneflow::Client,
    xmlrpc: xmlrpc::Client,
}

impl Zone {
    fn of(desk: &Desk) -> Self {
        let name: ZoneName = "madrid".parse().unwrap();
        let login = std::fs::read_to_string(desk.path(SANDBOX_DIR).join("one_auth")).unwrap();
        let login = Credentials::parse(&login).unwrap();
        let url = |rest: &str| format!("http://{}{rest}", desk.address("1.1")).parse().unwrap();
        Self {
            oneflow: oneflow::Client::new(name.clone(), url(":2474"), login.clone()).unwrap(),
            xmlrpc: xmlrpc::Client::new(name, url(":2633/RPC2"), login).unwrap(),
        }
    }
}

/// Every document is taken by the zone's servers as it is, and no value of the merge may be left out.
#[tokio::test]
async fn a_zone_takes_every_document_and_wants_every_value() {
    let desk = Desk::new("by-hand-documents", 242);
    let _sandbox = Sandbox::up(&desk, &fake_flower(&desk, FLOWER));
    let zone = Zone::of(&desk);
    desk.write("ca.pem", include_str!("../../context/tests/data/ca.pem"));
    let site = "--set FL_SITE=paris --set FL_SUPERLINK_ADDRESS=hub --set FL_SSL_CA_CERTFILE=@ca.pem";
    for (kind, roles, set) in [
        ("coordinator", &["superlink"][..], "--set FL_CERT_EXTRA_SAN=DNS:hub.example.org"),
        ("site", &["supernode"], site),
        ("single", &["superlink", "supernode"], "--set FL_CA_TRUST=first-use"),
    ] {
        let rendered =
            |rest: &str| run(&mut desk.onefed(&format!("templates --kind {kind} {set} {rest}"))).expect(0);
        let mut vm_templates = String::new();
        for role in roles {
            let text = rendered(&format!("--format one --role {role} --image 0 --network 0")).stdout;
            // Names of VM templates are unique in a zone.
            let text = text.replace("NAME = \"Flower", &format!("NAME = \"{kind}"));
            let id = zone.xmlrpc.template_allocate(&text).await.unwrap();
            vm_templates += &format!(" --vm-template {role}={}", id.id);
            let made = zone.xmlrpc.template_info(&id).await.unwrap();
            assert_eq!(made.name.split(' ').next(), Some(kind));
        }
        let template = rendered(&format!("--format json --network 0 {vm_templates}")).json();
        let made = zone.oneflow.create_service_template(&template).await.unwrap();
        let merge = rendered("--format json --merge --supernodes 3").json();
        // Each value in turn.
        for (path, name) in values(&merge) {
            let mut less = merge.clone();
            less.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(&name).unwrap();
            match zone.oneflow.instantiate(&made.id, &less).await {
                Err(Error::Schema { .. }) => {}
                other => panic!("without {path}/{name}: {other:?}"),
            }
        }
        let service = zone.oneflow.instantiate(&made.id, &merge).await.unwrap();
        let service = zone.oneflow.service(&service).await.unwrap();
        assert_eq!(service.name, template["name"]);
        let body = &service.body["roles"];
        let count = if kind == "coordinator" { 1 } else { 3 };
        assert_eq!(body[roles.len() - 1]["cardinality"], count);
        zone.oneflow.recover_delete(&service.id).await.unwrap();
    }
}

/// Where the values of a merge document are, and their names.
fn values(merge: &Value) -> Vec<(String, String)> {
    let key = "user_inputs_values";
    let roles = merge["roles"].as_array().unwrap().len();
    let places =
        std::iter::once(format!("/{key}")).chain((0..roles).map(|role| format!("/roles/{role}/{key}")));
    let names = |place: String| {
        let object = merge.pointer(&place).unwrap().as_object().unwrap().clone();
        object.into_iter().map(move |(name, _)| (place.clone(), name))
    };
    places.flat_map(names).collect()
}

/// What is not right is said at once, with what to do.
#[test]
fn wrong_use_is_told() {
    let desk = Desk::new("by-hand-usage", 120);
    for (name, exit, args) in [
        ("merge_as_text", 64, "--kind site --merge"),
        ("no_vm_template", 64, "--kind site --set FL_SITE=paris --format json"),
        ("foreign_role", 64, "--kind site --format json --vm-template superlink=3"),
        ("which_role", 64, "--kind single --format one"),
        ("no_such_kind", 64, "--kind gateway"),
        ("secret_in_arguments", 64, "--kind coordinator --set FL_SSL_KEYFILE=abc --merge --format json"),
        ("no_site_name", 65, "--kind site --format json --vm-template 3"),
        ("nothing_given", 65, "--kind site --merge --format json"),
        ("no_file", 65, "--kind site --merge --format json --set FL_SSL_CA_CERTFILE=@nowhere.pem"),
        ("token", 65, "--kind coordinator --merge --format json --set FL_SITE_ENROLMENT=token --set FL_X=1"),
    ] {
        let mut command = desk.onefed(&format!("templates {args}"));
        desk.snapshot(&format!("templates__{name}"), &mut command).expect(exit);
    }
    for (name, args) in [
        ("inputs_of_a_site", "--kind site --set FL_NODE_CONFIG=department=\"radiology\""),
        ("superlink_of_a_single_site", "--kind single --role superlink --format one --image 5 --cpus 4"),
    ] {
        desk.snapshot(&format!("templates__{name}"), &mut desk.onefed(&format!("templates {args}")))
            .expect(0);
    }
    let document =
        run(&mut desk.onefed("templates --kind coordinator --format json --vm-template 3")).expect(0).json();
    assert_eq!(document["roles"][0]["template_contents"]["CONTEXT"]["FL_ROLE"], json!("superlink"));
    assert_eq!(desk.files(), Vec::<String>::new());
}
