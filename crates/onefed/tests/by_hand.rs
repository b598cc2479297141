//! A federation without plan and tool: templates rendered by `onefed templates`, everything else by OpenNebula's own
//! command line, as spec/12 (section 9.2) and spec/08 (section 2.4) show it. With real Flower on sandbox zones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_opennebula::{Credentials, Error, ServiceState, ZoneName, oneflow, xmlrpc};
use serde_json::{Value, json};
use support::spec::{blocks, document, repository};
use support::{Desk, SANDBOX_DIR, Sandbox, fake_flower, run, run_within};
use tokio::sync::Mutex;

const FLOWER: &str = "1.41.0";
const MULTI: &str = "12-multi-site-federation.md";
const SINGLE: &str = "08-single-site-orchestration.md";
/// Stands in for OpenNebula's command line.
const CLI: &str = include_str!("support/opennebula_cli.py");
const PROGRAMS: [&str; 5] = ["onetemplate", "onevm", "oneflow", "oneflow-template", "ssh"];

/// Two federations at once would need more than two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[test]
fn the_twelve_steps_by_hand_end_in_a_run_over_two_sites() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no program `openssl`, by which the steps look at a certificate");
        return;
    }
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let desk = Desk::new("by-hand", 241);
    let _sandbox = up(&desk);
    // What is typed into a form arrives as the form sends it: paris is made with the interactive command line, which
    // encodes what it is given, lisbon with the web form, which does not.
    let script = script(&desk, MULTI, "hand").replace("paris() { ", "paris() { ONE_TEXT64=cli ");
    let script = script.replace("lisbon() { ", "lisbon() { ONE_TEXT64=form ");
    assert!(script.matches("ONE_TEXT64").count() == 2);
    let outcome = run_within(&mut bash(&desk, &script), Duration::from_secs(480)).expect(0);
    let said = &outcome.stdout;
    let nodes: Vec<&str> =
        said.lines().filter(|line| line.len() > 15 && line.parse::<u64>().is_ok()).collect();
    assert_eq!(nodes.len(), 4, "four nodes, by the ids that SuperLink gave them: {said}");
    assert!(said.contains("\"status\": \"finished:completed\""), "{said}");
    // Each trained on its own part, which was said by hand.
    assert_eq!(partitions(&desk), ["0 of paris", "1 of paris", "2 of lisbon", "3 of lisbon"]);
    // However the CA was typed, every VM has the one that was read, and nobody had a key in hand.
    let print = said.lines().find(|line| line.to_lowercase().starts_with("sha256 fingerprint=")).unwrap();
    let read = std::fs::read(desk.path("by-hand/ca.pem")).unwrap();
    let cas = found(&desk.path(SANDBOX_DIR), "ca.pem");
    let same = cas.iter().filter(|path| std::fs::read(path).unwrap() == read).count();
    assert!(same >= 5, "the SuperLink's and four others, {print}: {cas:?}");
    for path in found(&desk.path("by-hand"), "") {
        assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("PRIVATE KEY"), "{path:?}");
    }
}

#[test]
fn one_zone_by_hand_trains() {
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let desk = Desk::new("by-hand-single", 244);
    let _sandbox = up(&desk);
    let script = script(&desk, SINGLE, "single");
    let (before, end) = script.split_once("oneflow delete").unwrap();
    let first = run_within(&mut bash(&desk, before), Duration::from_secs(480)).expect(0);
    assert!(first.stdout.contains("\"status\": \"finished:completed\""), "{}", first.stdout);
    assert_eq!(partitions(&desk), ["0 of local", "1 of local"]);
    // The number of the service is the shell's own.
    let number = first.stdout.lines().find_map(|line| line.strip_prefix("SERVICE ")).unwrap();
    let settings = &blocks(&document(SINGLE), "single")[0].replace("127.71.", &desk.address(""));
    let settings = settings.replace(".onefed-sandbox/", &format!("{SANDBOX_DIR}/"));
    let delete = format!("set -e\n{settings}SERVICE={number}\noneflow delete{end}");
    run_within(&mut bash(&desk, &delete), Duration::from_secs(60)).expect(0);
}

/// Section 8.3 of spec/12: a plan that is open by name takes a site that it does not know, which has the address and
/// the CA and nothing else.
#[tokio::test]
async fn a_site_by_hand_trains_in_a_federation_that_a_plan_has_opened() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let desk = Desk::new("by-hand-open", 245);
    let _sandbox = up(&desk);
    desk.plan(|plan| {
        let (plan, lisbon) = plan.split_once("[[site]]\nname       = \"lisbon\"").unwrap();
        let (_, zones) = lisbon.split_once("[zone.madrid]").unwrap();
        let (zones, variables) = zones.split_once("[zone.lisbon]").unwrap();
        let (_, variables) = variables.split_once("[variables]").unwrap();
        let plan =
            format!("{plan}[zone.madrid]{zones}[variables]\nFL_SITE_ENROLMENT = \"open\" #{variables}");
        plan.replace("supernodes = 2 ", "supernodes = 1 ").replace("\"dedicated\"", "\"embedded\"")
    });
    run_within(&mut desk.onefed("apply"), Duration::from_secs(200)).expect(0);
    let status = run(&mut desk.onefed("status --format json")).expect(0).json();
    assert_eq!(status["hub"]["known"]["site_enrolment"], "open");
    assert_eq!(status["open"].as_array().unwrap().len(), 2, "sites and SuperNodes: {}", status["open"]);
    let hub = status["services"][0]["vms"][0]["address"].as_str().unwrap();

    let set = format!(
        "--set FL_SITE=lisbon --set FL_FEDERATION=hospitals --set FL_SUPERLINK_ADDRESS={hub} \
         --set FL_SSL_CA_CERTFILE=@.onefed/ca.pem --set FL_PARTITION_BASE=1 --set FL_NUM_PARTITIONS=2 --supernodes 1"
    );
    let rendered = |rest: &str| {
        let mut command = desk.onefed(&format!("templates --kind site --format json {set} {rest}"));
        run(&mut command).expect(0).json()
    };
    let zone = Zone::of(&desk, "lisbon", 3);
    let made = zone.oneflow.create_service_template(&rendered("--vm-template 0 --network 0")).await.unwrap();
    let service = zone.oneflow.instantiate(&made.id, &rendered("--merge")).await.unwrap();
    let started = Instant::now();
    loop {
        let service = zone.oneflow.service(&service).await.unwrap();
        if service.state == ServiceState::Running {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{service:#?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // The plan does not know it, the hub does, and both train.
    let text = run(&mut desk.onefed("status")).expect(0).stdout;
    assert!(text.contains("SuperNodes lisbon: 1 online, a site that is not in the plan"), "{text}");
    let mut train = desk.onefed("train apps/digits --format json -c");
    train
        .args(["num-server-rounds=1 min-nodes=2"])
        .arg("--flower-dir")
        .arg(desk.path(".flower").join(FLOWER));
    let report = run_within(&mut train, Duration::from_secs(240)).expect(0).json();
    assert_eq!(report["status"], "finished:completed");
    let sites: Vec<&String> = report["alone"].as_object().unwrap().keys().collect();
    assert_eq!(sites, ["lisbon", "paris"]);
    zone.oneflow.delete_service(&service).await.unwrap();
}

/// The certificate of somebody's own PKI, as section 8.2 has it.
#[test]
fn an_own_pki_is_handed_over_in_files() {
    let desk = Desk::new("by-hand-pki", 120);
    let ca = include_str!("../../context/tests/data/ca.pem");
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n";
    for (name, text) in [("ca.pem", ca), ("hub.pem", ca), ("hub.key", key)] {
        desk.write(name, text);
    }
    let line = blocks(&document(MULTI), "pki").concat();
    run(&mut bash(&desk, &format!("set -e\n{line}"))).expect(0);
    let values: Value = serde_json::from_slice(&std::fs::read(desk.path("values.json")).unwrap()).unwrap();
    let values = &values["roles"][0]["user_inputs_values"];
    for (name, text) in [("FL_SSL_CA_CERTFILE", ca), ("FL_SSL_CERTFILE", ca), ("FL_SSL_KEYFILE", key)] {
        assert_eq!(values[name], STANDARD.encode(text));
    }
}

/// The zones of the text, with the release that is in its commands, and what the commands look for in a clone.
fn up(desk: &Desk) -> Sandbox<'_> {
    let sandbox = Sandbox::guard(desk);
    let (dir, net) = (desk.path(SANDBOX_DIR), desk.net());
    let up = format!("sandbox up --dir {} --net {net} --flower {FLOWER}", dir.display());
    // In the repository, whose Python environments it uses or makes.
    run_within(desk.onefed(&up).current_dir(repository()), Duration::from_secs(300)).expect(0);
    for name in ["apps", ".flower"] {
        std::os::unix::fs::symlink(repository().join(name), desk.path(name)).unwrap();
    }
    sandbox
}

/// The commands of a document for this desk's zones; at the end they say the number of the service.
fn script(desk: &Desk, name: &str, word: &str) -> String {
    let net = desk.net();
    let mut script = format!("set -euo pipefail\n{}", blocks(&document(name), word).concat());
    if word == "single" {
        script = script.replace("oneflow delete", "echo \"SERVICE $SERVICE\"\noneflow delete");
    }
    for (from, to) in [
        ("127.71.", format!("127.{net}.")),
        (".onefed-sandbox/", format!("{SANDBOX_DIR}/")),
        // Where the tunnel through SSH would end.
        ("address = \"127.0.0.1:28000\"", format!("address = \"127.{net}.101.10:28000\"")),
    ] {
        assert!(script.contains(from), "{from}");
        script = script.replace(from, &to);
    }
    script
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

/// The partitions in the command lines of this desk's SuperNodes.
fn partitions(desk: &Desk) -> Vec<String> {
    let lines = desk.processes();
    let parts = lines.iter().filter(|line| line.contains("flower-supernode") && !line.contains("exec-child"));
    let mut parts: Vec<String> = parts.filter_map(|line| partition(line)).collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

fn partition(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("partition-id=")?;
    let (_, site) = line.split_once("site=\"")?;
    Some(format!("{} of {}", rest.split_whitespace().next()?, site.split('"').next()?))
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
    /// `number`: its place among the sandbox's zones, from 1.
    fn of(desk: &Desk, name: &str, number: u8) -> Self {
        let name: ZoneName = name.parse().unwrap();
        let login = std::fs::read_to_string(desk.path(SANDBOX_DIR).join("one_auth")).unwrap();
        let login = Credentials::parse(&login).unwrap();
        let url =
            |rest: &str| format!("http://{}{rest}", desk.address(&format!("{number}.1"))).parse().unwrap();
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
    let zone = Zone::of(&desk, "madrid", 1);
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
