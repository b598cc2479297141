//! What a zone tells: its version and clock, the federation's services with their logs, and their VMs.

use futures_util::stream::{self, StreamExt as _};
use onefed_federation::Federation;
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::Vm;
use serde_json::{Value, json};

use super::attributes;
use super::secrets::Secrets;
use crate::zones::{self, ZoneClients};

/// A zone's answers as documents by path, and what it did not answer.
pub(super) struct Told {
    /// Version and clock.
    pub(super) zone: Value,
    services: Vec<Service>,
    vms: Vec<Vm>,
    pub(super) missing: Vec<String>,
}

/// Asks everything; what is not answered is noted.
pub(super) async fn ask(federation: &Federation, clients: &ZoneClients) -> Told {
    let rpc = &clients.xmlrpc;
    let (version, clock, services) =
        tokio::join!(rpc.system_version(), rpc.clock(), clients.oneflow.services());
    let mut missing = Vec::new();
    let mut said = |what: &str, why: onefed_opennebula::Error| {
        missing.push(format!("{what}: {why}"));
        Value::Null
    };
    let version = version.map_or_else(|why| said("version", why), |version| json!(version.text));
    let clock = match clock {
        Ok(Some(clock)) => json!({
            "ahead_seconds": clock.ahead_seconds,
            "uncertainty_seconds": clock.uncertainty_seconds,
        }),
        Ok(None) => Value::Null,
        Err(why) => said("clock", why),
    };
    let services = services.unwrap_or_else(|why| {
        said("services", why);
        Vec::new()
    });
    let ours = |service: &Service| {
        let label = service.body.get("onefed").and_then(|label| label.get("federation"));
        label.and_then(Value::as_str) == Some(federation.name.as_str())
    };
    let services: Vec<Service> = services.into_iter().filter(ours).collect();
    let ids = services.iter().flat_map(|service| &service.roles).flat_map(|role| role.nodes.iter().flatten());
    let asked = ids.map(|id| async move { (id, rpc.vm(id).await) });
    let asked: Vec<_> = stream::iter(asked).buffered(zones::AT_ONCE).collect().await;
    let mut vms = Vec::new();
    for (id, answer) in asked {
        match answer {
            Ok(vm) => vms.push(vm),
            Err(why) => {
                said(&format!("VM {id}"), why);
            }
        }
    }
    let zone = json!({ "zone": rpc.zone().as_str(), "version": version, "clock": clock });
    Told { zone, services, vms, missing }
}

impl Told {
    /// Its services and VMs by their paths within the zone. What is held back is noted in `secrets`.
    pub(super) fn documents(&self, secrets: &mut Secrets) -> Vec<(String, Value)> {
        let services =
            self.services.iter().map(|it| (format!("services/{}-{}.json", it.name, it.id.id), service(it)));
        let mut documents: Vec<(String, Value)> = services.collect();
        for it in &self.vms {
            documents.push((format!("vms/{}.json", it.id.id), vm(it, secrets)));
        }
        documents
    }
}

/// A service: no inputs, no contents of templates; what its VMs were given is in their own documents.
fn service(service: &Service) -> Value {
    let label =
        |key: &str| service.body.get("onefed").and_then(|label| label.get(key)).and_then(Value::as_str);
    let plain = |key: &str| service.body.get(key).filter(|value| !value.is_object() && !value.is_array());
    let roles = service.roles.iter().map(|role| {
        let nodes = role.nodes.iter().map(|id| id.as_ref().map(|id| id.id)).collect::<Vec<_>>();
        json!({
            "name": role.name,
            "state": role.state.to_string(),
            "cardinality": role.cardinality,
            "vms": nodes,
        })
    });
    let log = service
        .log
        .iter()
        .map(|entry| json!({ "at": entry.timestamp, "severity": entry.severity, "message": entry.message }));
    json!({
        "id": service.id.id,
        "name": service.name,
        "state": service.state.to_string(),
        "label": {
            "federation": label("federation"), "kind": label("kind"), "site": label("site"),
            "digest": label("digest"), "version": label("version"),
        },
        "deployment": plain("deployment"),
        "ready_status_gate": plain("ready_status_gate"),
        "start_time": plain("start_time"),
        "roles": roles.collect::<Vec<_>>(),
        "log": log.collect::<Vec<_>>(),
    })
}

fn vm(vm: &Vm, secrets: &mut Secrets) -> Value {
    let nics = vm.nics.iter().map(|nic| {
        json!({
            "ip": nic.ip,
            "mac": nic.mac,
            "network": nic.network,
            "network_id": nic.network_id.as_ref().map(|id| id.id),
        })
    });
    json!({
        "id": vm.id.id,
        "name": vm.name,
        "state": vm.state.to_string(),
        "lcm_state": vm.lcm_state.to_string(),
        "nics": nics.collect::<Vec<_>>(),
        "attributes": attributes::shown(&vm.user_template, secrets),
        "context": attributes::shown(&vm.context, secrets),
    })
}
