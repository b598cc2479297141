//! The appliance alone: one OneFlow service with a SuperLink and SuperNodes, made by hand, without the operator's tool.
//! The SuperLink makes its own CA; the SuperNodes find it through OneGate and trust it on first use, because their
//! context says so. With real Flower.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onefed_opennebula::xmlrpc::{Vm, VmAction};
use onefed_opennebula::{Credentials, ServiceId, VmId, VmState, ZoneName, oneflow, xmlrpc};
use serde_json::{Value, json};
use support::{Desk, run_within};

const FLOWER: &str = "1.41.0";
const NET: u8 = 145;
const PATIENCE: Duration = Duration::from_secs(120);

/// The clients of the zone's administrator.
struct Zone {
    oneflow: oneflow::Client,
    xmlrpc: xmlrpc::Client,
}

impl Zone {
    fn of(desk: &Desk) -> Self {
        let name: ZoneName = "paris".parse().unwrap();
        let login = std::fs::read_to_string(desk.path("sandbox/one_auth")).unwrap();
        let login = Credentials::parse(&login).unwrap();
        let url = |port: u16, path: &str| format!("http://127.{NET}.2.1:{port}{path}").parse().unwrap();
        Self {
            oneflow: oneflow::Client::new(name.clone(), url(2474, ""), login.clone()).unwrap(),
            xmlrpc: xmlrpc::Client::new(name, url(2633, "/RPC2"), login).unwrap(),
        }
    }

    async fn vms(&self, id: &ServiceId) -> Vec<Vm> {
        let service = self.oneflow.service(id).await.unwrap();
        let mut vms = Vec::new();
        for vm in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
            vms.push(self.xmlrpc.vm(vm).await.unwrap());
        }
        vms
    }

    /// Waits until the service has three VMs for which this holds.
    async fn until(&self, id: &ServiceId, what: &str, holds: impl Fn(&Vm) -> bool) -> Vec<Vm> {
        let started = Instant::now();
        loop {
            let vms = self.vms(id).await;
            if vms.len() == 3 && vms.iter().all(&holds) {
                return vms;
            }
            let said = |vm: &Vm| format!("{}: {:?} {:?}", vm.id, vm.state, vm.user_template);
            let states: Vec<String> = vms.iter().map(said).collect();
            assert!(started.elapsed() < PATIENCE, "{what} did not come: {states:#?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

fn is_ready(vm: &Vm) -> bool {
    let said = |name: &str, value: &str| vm.user_template.get(name).is_some_and(|is| is == value);
    vm.state == VmState::Active && said("FL_STATE", "ready") && said("READY", "YES")
}

/// What the form of a service template would come to.
fn service(template: u32, network: u32) -> Value {
    let role = |name: &str, cardinality: u32, more: Value| {
        let mut context =
            json!({ "TOKEN": "YES", "NETWORK": "YES", "FL_ROLE": name, "FLOWER_VERSION": FLOWER });
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let contents = json!({ "CONTEXT": context, "NIC": [{ "NETWORK_ID": network.to_string() }] });
        json!({ "name": name, "type": "vm", "template_id": template, "cardinality": cardinality,
            "template_contents": contents })
    };
    let nodes = json!({ "FL_CA_TRUST": "first-use", "FL_PARTITION_BASE": "0", "FL_NUM_PARTITIONS": "2" });
    json!({ "name": "alone", "deployment": "none", "ready_status_gate": true, "shutdown_action": "shutdown",
        "roles": [role("superlink", 1, json!({})), role("supernode", 2, nodes)] })
}

#[tokio::test]
async fn a_superlink_and_its_supernodes_find_each_other_and_train() {
    let desk = Desk::new("single-site", NET);
    let up = format!("sandbox up --dir {}/sandbox --net {NET} --flower {FLOWER}", desk.dir().display());
    // In the repository, whose Python environments it uses or makes.
    run_within(desk.onefed(&up).current_dir(repository()), Duration::from_secs(300)).expect(0);
    let zone = Zone::of(&desk);
    let template = zone.xmlrpc.templates().await.unwrap()[0].id.id;
    let network = zone.xmlrpc.networks().await.unwrap()[0].id.id;
    let made = zone.oneflow.create_service_template(&service(template, network)).await.unwrap();
    let id = zone.oneflow.instantiate(&made.id, &json!({})).await.unwrap();
    let vms = zone.until(&id, "a ready service", is_ready).await;

    let of = |vm: &Vm, name: &str| vm.user_template.get(name).cloned().unwrap_or_default();
    let superlink = vms.iter().find(|vm| of(vm, "FL_ROLE") == "superlink").unwrap();
    assert_eq!(of(superlink, "FL_TLS"), "YES");
    let ca = of(superlink, "FL_CA_CERT");
    let mut nodes: Vec<String> =
        vms.iter().map(|vm| of(vm, "FL_NODE_ID")).filter(|id| !id.is_empty()).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 2, "each SuperNode is a node of its own");

    // The administrator of the VM runs an app through its loopback, as through an SSH tunnel.
    let home = desk.path("flwr-home");
    std::fs::create_dir_all(&home).unwrap();
    let config = format!(
        "[superlink]\ndefault = \"vm\"\n\n[superlink.vm]\naddress = \"127.{NET}.102.10:28000\"\ninsecure = true\n"
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    let app = format!("{}/apps/digits", repository());
    let flwr = |args: &[&str]| {
        let mut command = Command::new(format!("{}/{FLOWER}/bin/flwr", env()));
        command.args(args).current_dir(desk.dir()).env("FLWR_HOME", &home).stdin(Stdio::null());
        command.env("FLWR_TELEMETRY_ENABLED", "0").env("FLWR_DISABLE_UPDATE_CHECK", "1");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        run_within(&mut command, Duration::from_secs(200))
    };
    flwr(&["run", &app, "vm", "--stream", "--run-config", "num-server-rounds=1 min-nodes=2"]).expect(0);
    let runs = flwr(&["ls", "vm", "--format", "json"]).expect(0).json();
    assert_eq!(runs["runs"][0]["status"], "finished:completed", "{runs:#}");

    // A reboot of all: the same CA, which the SuperNodes have pinned.
    for vm in &vms {
        zone.xmlrpc.vm_action(&VmId::new(vm.id.zone.clone(), vm.id.id), VmAction::Reboot).await.unwrap();
    }
    let again = |vm: &Vm| is_ready(vm) && of(vm, "FL_BOOT") == "2";
    let vms = zone.until(&id, "the service after a reboot", again).await;
    let superlink = vms.iter().find(|vm| of(vm, "FL_ROLE") == "superlink").unwrap();
    assert_eq!(of(superlink, "FL_CA_CERT"), ca);
    run_within(&mut desk.onefed("sandbox down --dir sandbox"), Duration::from_secs(60)).expect(0);
}

fn repository() -> String {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
        .display()
        .to_string()
}

/// Where the Python environments of the repository are.
fn env() -> String {
    format!("{}/.flower", repository())
}
