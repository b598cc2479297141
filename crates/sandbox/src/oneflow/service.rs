//! Documents: service templates and services, with one counter for both.

use crate::attributes::Attributes;
use crate::zone::{State, now};
use onefed_opennebula::{RoleState, ServiceState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Documents {
    next: u32,
    pub(crate) templates: BTreeMap<u32, Template>,
    pub(crate) services: BTreeMap<u32, Service>,
}

impl Documents {
    pub(crate) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) body: Attributes,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The template's body after the merge, unknown keys included; what moves is kept in the fields below.
    pub(crate) body: Attributes,
    pub(crate) state: ServiceState,
    pub(crate) roles: Vec<Role>,
    pub(crate) log: VecDeque<Value>,
    pub(crate) started: u64,
    /// Children wait for their parents (deployment = straight).
    pub(crate) straight: bool,
    /// RUNNING takes READY (ready_status_gate).
    pub(crate) gated: bool,
    /// Ends by itself when its last VM is gone.
    pub(crate) automatic_deletion: bool,
    /// Failed, told to recover, and waiting for the result.
    pub(crate) recovering: bool,
    /// Looked after for WARNING.
    pub(crate) watched: bool,
    pub(crate) cooldown_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) body: Attributes,
    pub(crate) state: RoleState,
    pub(crate) cardinality: u32,
    pub(crate) last_vmname: u32,
    /// VMs, oldest first.
    pub(crate) nodes: Vec<u32>,
    pub(crate) parents: Vec<String>,
    /// Of each VM, how many changes of its state the watchdog has seen.
    pub(crate) seen: BTreeMap<u32, u64>,
}

impl Role {
    fn new(body: Attributes) -> Self {
        let parents = body.get("parents").and_then(Value::as_array).into_iter().flatten();
        Self {
            name: body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            state: RoleState::Pending,
            cardinality: unsigned(body.get("cardinality")).unwrap_or(0),
            last_vmname: 0,
            nodes: Vec::new(),
            seen: BTreeMap::new(),
            parents: parents.filter_map(Value::as_str).map(str::to_owned).collect(),
            body,
        }
    }

    pub(crate) fn cooldown(&self) -> u32 {
        unsigned(self.body.get("cooldown")).unwrap_or(300)
    }
}

impl Service {
    /// From a body that the schema has passed.
    pub(crate) fn new(id: u32, name: String, body: Attributes) -> Self {
        let roles = body.get("roles").and_then(Value::as_array).into_iter().flatten();
        let yes = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        Self {
            id,
            name,
            state: ServiceState::Pending,
            roles: roles.filter_map(Value::as_object).cloned().map(Role::new).collect(),
            log: VecDeque::new(),
            started: now(),
            straight: body.get("deployment").and_then(Value::as_str) == Some("straight"),
            gated: yes("ready_status_gate"),
            automatic_deletion: yes("automatic_deletion"),
            recovering: false,
            watched: true,
            cooldown_until: None,
            body,
        }
    }

    pub(crate) fn set(&mut self, state: ServiceState) {
        if self.state != state {
            self.state = state;
            self.note("I", format!("New state: {state}"));
        }
    }

    pub(crate) fn note(&mut self, severity: &str, message: String) {
        tracing::debug!(service = self.id, %message, "OneFlow");
        if self.log.len() == 50 {
            self.log.pop_front();
        }
        self.log.push_back(json!({"timestamp": now(), "severity": severity, "message": message}));
    }

    /// All its VMs.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u32> + '_ {
        self.roles.iter().flat_map(|r| r.nodes.iter().copied())
    }

    /// It has a role of that name.
    pub(crate) fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r.name == role)
    }

    pub(crate) fn to_json(&self, zone: &State) -> Value {
        let mut body = self.body.clone();
        body.insert("name".to_owned(), json!(self.name));
        body.insert("state".to_owned(), json!(self.state.number()));
        body.insert("start_time".to_owned(), json!(self.started));
        body.insert("log".to_owned(), json!(self.log));
        let node = |id: &u32| json!({"deploy_id": id, "vm_info": zone.vms.get(id).map(|vm| vm.summary())});
        let role = |role: &Role| {
            let mut body = role.body.clone();
            body.insert("cardinality".to_owned(), json!(role.cardinality));
            body.insert("state".to_owned(), json!(role.state.number()));
            body.insert("cooldown".to_owned(), json!(role.cooldown()));
            body.insert("last_vmname".to_owned(), json!(role.last_vmname));
            body.insert("nodes".to_owned(), role.nodes.iter().map(node).collect());
            body.entry("on_hold").or_insert(json!(false));
            Value::Object(body)
        };
        body.insert("roles".to_owned(), self.roles.iter().map(role).collect());
        document(self.id, &self.name, "100", body)
    }
}

impl Template {
    pub(crate) fn to_json(&self, id: u32) -> Value {
        document(id, &self.name, "101", self.body.clone())
    }
}

fn document(id: u32, name: &str, kind: &str, body: Attributes) -> Value {
    json!({
        "ID": id.to_string(), "UID": "0", "GID": "0", "UNAME": "oneadmin", "GNAME": "oneadmin", "NAME": name, "TYPE": kind,
        "PERMISSIONS": {"OWNER_U": "1", "OWNER_M": "1", "OWNER_A": "0", "GROUP_U": "0", "GROUP_M": "0", "GROUP_A": "0",
            "OTHER_U": "0", "OTHER_M": "0", "OTHER_A": "0"},
        "TEMPLATE": {"BODY": body},
    })
}

/// A number that the schema has passed.
pub(crate) fn unsigned(value: Option<&Value>) -> Option<u32> {
    value?.as_u64().and_then(|n| u32::try_from(n).ok())
}
