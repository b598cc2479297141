//! OneGate's answers as types, tolerant of everything that real ones leave out or write in two ways.

use crate::json::{attributes, many, number, state, text};
use crate::{LcmState, RoleState, ServiceState, VmState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A VM as OneGate shows it. Ids belong to the VM's own zone, which OneGate does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateVm {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// STATE, where given.
    pub state: Option<VmState>,
    /// LCM_STATE, where given.
    pub lcm_state: Option<LcmState>,
    /// Plain attributes of USER_TEMPLATE: what VMs published (anyone of the service may have written them).
    pub user_template: BTreeMap<String, String>,
    /// CONTEXT, only in an extended answer.
    pub context: BTreeMap<String, String>,
    /// Interfaces.
    pub nics: Vec<GateNic>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateNic {
    /// IPv4 or global IPv6 address.
    pub ip: Option<IpAddr>,
    /// MAC address.
    pub mac: String,
    /// Network name.
    pub network: String,
}

/// The VM's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateService {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its state, where given.
    pub state: Option<ServiceState>,
    /// Its roles, none when OneGate left them out.
    pub roles: Vec<GateRole>,
}

/// A role of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRole {
    /// Its name.
    pub name: String,
    /// Wanted number of VMs.
    pub cardinality: u32,
    /// Its state, where given.
    pub state: Option<RoleState>,
    /// Its VMs.
    pub nodes: Vec<GateNode>,
}

/// A place for a VM in a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateNode {
    /// The VM's number.
    pub deploy_id: Option<u32>,
    /// The VM; `None` when OneFlow could not read it.
    pub vm: Option<GateVm>,
}

/// `{"VM": {...}}`.
pub(super) fn vm(body: &Value) -> Option<GateVm> {
    let vm = body.get("VM")?;
    let template = vm.get("TEMPLATE");
    Some(GateVm {
        id: number(vm.get("ID"))?,
        name: text(vm.get("NAME")).unwrap_or_default(),
        state: state(vm.get("STATE")).map(VmState::from),
        lcm_state: state(vm.get("LCM_STATE")).map(LcmState::from),
        user_template: attributes(vm.get("USER_TEMPLATE")),
        context: attributes(template.and_then(|t| t.get("CONTEXT"))),
        nics: many(template.and_then(|t| t.get("NIC"))).iter().map(nic).collect(),
    })
}

fn nic(value: &Value) -> GateNic {
    let address = |name| text(value.get(name))?.trim().parse().ok();
    GateNic {
        ip: address("IP").or_else(|| address("IP6")).or_else(|| address("IP6_GLOBAL")),
        mac: text(value.get("MAC")).unwrap_or_default(),
        network: text(value.get("NETWORK")).unwrap_or_default(),
    }
}

/// `{"SERVICE": {...}}`.
pub(super) fn service(body: &Value) -> Option<GateService> {
    let service = body.get("SERVICE")?;
    Some(GateService {
        id: number(service.get("id").or_else(|| service.get("ID")))?,
        name: text(service.get("name")).unwrap_or_default(),
        state: state(service.get("state")).map(ServiceState::from),
        roles: many(service.get("roles")).iter().map(role).collect(),
    })
}

fn role(value: &Value) -> GateRole {
    GateRole {
        name: text(value.get("name")).unwrap_or_default(),
        cardinality: number(value.get("cardinality")).unwrap_or(0),
        state: state(value.get("state")).map(RoleState::from),
        nodes: many(value.get("nodes")).iter().map(node).collect(),
    }
}

fn node(value: &Value) -> GateNode {
    let vm = value.get("vm_info").and_then(vm);
    let deploy_id = number(value.get("deploy_id")).or_else(|| vm.as_ref().map(|v| v.id));
    GateNode { deploy_id, vm }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_a_vm() {
        let body = json!({"VM": {"NAME": "n", "ID": "1", "STATE": "3", "LCM_STATE": "3",
            "USER_TEMPLATE": {"READY": "YES", "TWICE": ["a", "b"], "NESTED": {"X": "1"}, "EMPTY": {}},
            "TEMPLATE": {"NIC": [{"IP": "10.10.0.45", "MAC": "02:00:0a:0a:00:2d", "NAME": "NIC0", "NETWORK": "p"}], "NIC_ALIAS": []}}});
        let vm = vm(&body).unwrap();
        assert_eq!((vm.id, vm.state, vm.lcm_state), (1, Some(VmState::Active), Some(LcmState::Running)));
        let shown: Vec<_> = vm.user_template.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(shown, [("EMPTY", ""), ("READY", "YES"), ("TWICE", "b")]);
        assert_eq!(vm.nics[0].ip, Some("10.10.0.45".parse().unwrap()));
    }

    #[test]
    fn reads_a_service_with_holes() {
        let body = json!({"SERVICE": {"name": "s", "id": "29", "state": 1, "roles": [
            {"name": "superlink", "cardinality": 2, "state": 1, "nodes": [
                {"deploy_id": 1, "running": null, "vm_info": null},
                {"deploy_id": "2", "vm_info": {"VM": {"ID": 2, "TEMPLATE": {"NIC": {"IP": "10.0.0.2"}, "CONTEXT": {"A": "x"}}}}}]},
            {"name": "empty"}]}});
        let service = service(&body).unwrap();
        let nodes = &service.roles[0].nodes;
        assert_eq!((service.id, nodes[0].deploy_id, nodes[0].vm.is_none()), (29, Some(1), true));
        let vm = nodes[1].vm.as_ref().unwrap();
        assert_eq!((vm.id, vm.nics.len(), vm.context["A"].as_str()), (2, 1, "x"));
        assert!(service.roles[1].nodes.is_empty());
        assert_eq!(super::service(&json!({"SERVICE": {"id": 3}})).unwrap().roles, []);
        assert!(super::service(&json!({"SERVICE": {}})).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}:,\"0-9a-zA-Z_ -]{0,80}") {
            if let Ok(value) = serde_json::from_str(&text) {
                let _ = (vm(&value), service(&value));
            }
        }
    }
}
