//! `onefed support`: the bundle has what helps and no secret, wherever secrets were planted; a zone that is down keeps
//! nothing of the others out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{Credentials, ServiceId, ZoneName, oneflow, xmlrpc};
use serde_json::{Value, json};
use support::{Desk, Sandbox, fake_flower, run};

const NET: u8 = 227;

/// The files of an archive.
fn unpacked(desk: &Desk, name: &str) -> BTreeMap<String, String> {
    let file = std::fs::File::open(desk.path(name)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(path.strip_prefix("onefed-support/").unwrap().to_owned(), text);
    }
    files
}

/// Every form in which a secret may be in a text.
fn forms(secret: &str) -> Vec<String> {
    let mut forms =
        vec![secret.to_owned(), serde_json::to_string(secret).unwrap().trim_matches('"').to_owned()];
    for shift in ["", "x", "xx"] {
        // The digits in the middle, which do not depend on what stands around.
        let bytes = format!("{shift}{secret}");
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.push(text[4..text.len() - 4].to_owned());
        }
    }
    forms
}

/// Fails for a secret that is anywhere in the files, whole or line by line, plain or in base64 (once or twice).
#[track_caller]
fn assert_nowhere(files: &BTreeMap<String, String>, what: &str, secret: &str) {
    let secret = secret.trim();
    assert!(secret.len() >= 12, "{what} is too short to be looked for");
    let lines = secret.lines().filter(|line| line.len() > 30 && !line.starts_with("-----"));
    for part in std::iter::once(secret).chain(lines) {
        for form in forms(part).into_iter().chain(forms(&STANDARD.encode(part))) {
            for (path, text) in files {
                assert!(!text.contains(&form), "{what} is in {path}:\n{text}");
            }
        }
    }
}

struct Zone {
    oneflow: oneflow::Client,
    xmlrpc: xmlrpc::Client,
}

impl Zone {
    fn of(desk: &Desk, name: &str, number: u8) -> Self {
        let name: ZoneName = name.parse().unwrap();
        let login =
            Credentials::parse(&std::fs::read_to_string(desk.path("sandbox/one_auth")).unwrap()).unwrap();
        let url =
            |rest: &str| format!("http://{}", desk.address(&format!("{number}.1:{rest}"))).parse().unwrap();
        Self {
            oneflow: oneflow::Client::new(name.clone(), url("2474"), login.clone()).unwrap(),
            xmlrpc: xmlrpc::Client::new(name, url("2633/RPC2"), login).unwrap(),
        }
    }

    /// A service with a VM, labelled as one of the federation. Its VM's context holds what is given.
    async fn service(&self, name: &str, context: Value) -> (ServiceId, Vm) {
        let mut whole = json!({ "TOKEN": "YES", "NETWORK": "YES", "FL_ROLE": "superlink" });
        whole.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
        let body = json!({
            "name": name, "onefed": { "federation": "hospitals", "digest": "0" },
            "roles": [{ "name": "superlink", "type": "vm", "template_id": 0, "cardinality": 1,
                "template_contents": { "CONTEXT": whole, "NIC": [{ "NETWORK_ID": "0" }] } }],
        });
        let made = self.oneflow.create_service_template(&body).await.unwrap();
        let id = self.oneflow.instantiate(&made.id, &json!({})).await.unwrap();
        for _ in 0..200 {
            let service = self.oneflow.service(&id).await.unwrap();
            if let Some(vm) = service.roles.iter().flat_map(|role| role.nodes.iter().flatten()).next() {
                let vm = self.xmlrpc.vm(vm).await.unwrap();
                // It refuses its context, and has nothing to say after that.
                if vm.user_template.get("FL_STATE").is_some_and(|state| state == "failed") {
                    return (id, vm);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{name} has no VM that has failed");
    }
}

#[tokio::test]
async fn no_planted_secret_is_in_the_bundle() {
    let desk = Desk::new("support-secrets", NET);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| {
        let plan = plan.replace("name   = \"hospitals\"", "name = \"hospitals\" # comment-secret-0001");
        plan + "\n[site_secrets]\nx = \"unknown-key-secret-0001\"\n"
    });
    // A plan with an unknown key is no plan; its bundle has what there is without one.
    run(&mut desk.onefed("support --out invalid.tar.gz")).expect(0);
    let files = unpacked(&desk, "invalid.tar.gz");
    assert!(files["problems.json"].contains("plan::unknown-key") && !files.contains_key("status.json"));
    assert_nowhere(&files, "a comment", "comment-secret-0001");
    assert_nowhere(&files, "an unknown key", "unknown-key-secret-0001");

    let department = "department-secret-0001";
    desk.plan(|plan| {
        let plan = plan.replace("name   = \"hospitals\"", "name = \"hospitals\" # comment-secret-0001");
        plan.replace(
            "# [site.node_config]          #",
            &format!("node_config = {{ d = \"{department}\" }} #"),
        )
    });
    // The SuperLink is none, so that this fails, with keys made, VMs there and a journal.
    run(&mut desk.onefed("apply --yes")).expect(1);
    let madrid = Zone::of(&desk, "madrid", 1);
    let key = onefed_trust::RootCa::generate("x", std::time::SystemTime::now()).unwrap();
    let key = key.key_pem().expose().to_owned();
    let planted = [
        ("FL_ENROL_KEY", "enrol-key-planted-0123456789abcdefghij"),
        ("TOKEN_PASSWORD", "token-password-planted-01"),
        ("ONEAPP_DB_PASSWORD", "db \"password\" planted\\n01"),
        ("SSH_PUBLIC_KEY", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIplanted me@example"),
    ];
    let mut context: Value = planted.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    context["FL_SSL_KEYFILE"] = json!(STANDARD.encode(&key));
    let (_, vm) = madrid.service("hospitals-extra", context).await;
    // What a VM says of itself, in the open and among its error's words.
    let token_file = format!("sandbox/zones/madrid/vms/{}/context/token.txt", vm.id.id);
    let token = std::fs::read_to_string(desk.path(&token_file)).unwrap().trim().to_owned();
    let login = std::fs::read_to_string(desk.path("sandbox/one_auth")).unwrap();
    let password = login.trim().split_once(':').unwrap().1.to_owned();
    let words = format!("it said {password} and {} and {}", planted[1].1, key.trim());
    let attributes = [
        ("ONEGATE_TOKEN", token.as_str()),
        ("FL_ERROR", "process_failed"),
        ("FL_ERROR_TEXT", &STANDARD.encode(&words)),
        ("NOTE", &STANDARD.encode(planted[1].1)),
        ("FL_CERT", &STANDARD.encode(&key)),
    ];
    madrid.xmlrpc.vm_update(&vm.id, &attributes, true).await.unwrap();

    let done = run(&mut desk.onefed("support --format json")).expect(0).json();
    assert_eq!(done["file"], "onefed-support-hospitals.tar.gz");
    let files = unpacked(&desk, "onefed-support-hospitals.tar.gz");
    let listed: Vec<&str> =
        done["contents"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(listed, files.keys().map(String::as_str).collect::<Vec<_>>());

    for (name, value) in planted {
        assert_nowhere(&files, name, value);
    }
    assert_nowhere(&files, "a comment", "comment-secret-0001");
    assert_nowhere(&files, "node_config", department);
    assert_nowhere(&files, "FL_SSL_KEYFILE", &key);
    assert_nowhere(&files, "OneGate's token", &token);
    assert_nowhere(&files, "the login", &password);
    for name in [".onefed/ca.key", ".onefed/operator.key"] {
        assert_nowhere(&files, name, &std::fs::read_to_string(desk.path(name)).unwrap());
    }
    let mut keys = 0;
    for service in madrid.oneflow.services().await.unwrap() {
        for vm in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
            if let Some(key) = madrid.xmlrpc.vm(vm).await.unwrap().context.get("FL_ENROL_KEY") {
                keys += 1;
                assert_nowhere(&files, "an enrolment key", key);
            }
        }
    }
    assert!(keys > 1, "there were enrolment keys to look for");

    // And it has what helps.
    let vm: Value = serde_json::from_str(&files[&format!("zones/madrid/vms/{}.json", vm.id.id)]).unwrap();
    assert_eq!(vm["context"]["FL_ENROL_KEY"], "(hidden)");
    assert_eq!(vm["context"]["FL_ROLE"], "superlink");
    assert_eq!(vm["context"]["TOKEN"], "YES");
    assert_eq!(vm["attributes"]["FL_ERROR_TEXT"], "it said (hidden) and (hidden) and (hidden)");
    let clocks: Value = serde_json::from_str(&files["clocks.json"]).unwrap();
    assert!(clocks[0]["clock"]["ahead_seconds"].as_f64().unwrap().abs() < 5.0, "{clocks}");
    assert!(files["federation.toml"].contains("auth = \"sandbox/one_auth\""));
    assert!(files["journal.jsonl"].contains("hospitals-coordinator"));
    let status: Value = serde_json::from_str(&files["status.json"]).unwrap();
    assert_eq!(status["healthy"], false);
    assert!(files.keys().any(|path| path.starts_with("zones/madrid/services/hospitals-coordinator-")));
    assert_eq!(files["missing.txt"].matches("zones/").count(), 0, "{}", files["missing.txt"]);
    // A second bundle does not replace the first.
    assert_eq!(
        run(&mut desk.onefed("support --format json")).expect(0).json()["file"],
        "onefed-support-hospitals-2.tar.gz"
    );
    run(&mut desk.onefed("support --out invalid.tar.gz")).expect(65);
}

#[test]
fn a_zone_that_is_down_keeps_nothing_of_the_others_out() {
    let desk = Desk::new("support-down", 223);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| plan.replace(&desk.address("3.1:"), &desk.address("9.1:")));
    let done = run(&mut desk.onefed("support --out bundle.tar.gz")).expect(0);
    for path in ["  about.txt", "  plan.json", "  zones/madrid/zone.json"] {
        assert!(done.stdout.contains(path), "the listing has{path}\n{}", done.stdout);
    }
    assert!(done.stderr.contains("not collected: zones/lisbon: version: "), "{}", done.stderr);
    let files = unpacked(&desk, "bundle.tar.gz");
    assert!(
        files["missing.txt"].contains("zones/lisbon: version: zone lisbon: "),
        "{}",
        files["missing.txt"]
    );
    assert!(files["zones/paris/zone.json"].contains("7.4.0"));
    assert!(files["status.txt"].contains("lisbon  unknown"), "{}", files["status.txt"]);
}
