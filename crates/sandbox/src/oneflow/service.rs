//! Documents: service templates and services, with one counter for both.

use crate::access::Owned;
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
    pub(crate) owned: Owned,
    pub(crate) body: Attributes,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) owned: Owned,
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
    /// Told to let go what is on hold.
    pub(crate) releasing: bool,
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
    /// Its VMs wait on hold.
    pub(crate) on_hold: bool,
    /// On its way up (or down) in number.
    pub(crate) scaling_up: Option<bool>,
    /// Being taken out of the service.
    pub(crate) leaving: bool,
    /// Of each VM, how many changes of its state the watchdog has seen.
    pub(crate) seen: BTreeMap<u32, u64>,
}

impl Role {
    /// From a body that the schema has passed.
    pub(crate) fn new(body: Attributes) -> Self {
        let parents = body.get("parents").and_then(Value::as_array).into_iter().flatten();
        Self {
            name: body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            state: RoleState::Pending,
            on_hold: body.get("on_hold").and_then(Value::as_bool).unwrap_or(false),
            scaling_up: None,
            leaving: false,
            cardinality: unsigned(body.get("cardinality")).unwrap_or(0),
            last_vmname: 0,
            nodes: Vec::new(),
            seen: BTreeMap::new(),
            parents: parents.filter_map(Value::as_str).map(str::to_owned).collect(),
            body,
        }
    }

    /// Its VMs, or those of a role that it waits for, are on hold.
    pub(crate) fn held(&self, service_on_hold: bool, held: &[String]) -> bool {
        service_on_hold || self.on_hold || self.parents.iter().any(|parent| held.contains(parent))
    }

    /// What moves, over what was given.
    fn to_json(&self, node: impl Fn(&u32) -> Value) -> Value {
        let mut body = self.body.clone();
        body.insert("cardinality".to_owned(), json!(self.cardinality));
        body.insert("state".to_owned(), json!(self.state.number()));
        body.insert("cooldown".to_owned(), json!(self.cooldown()));
        body.insert("last_vmname".to_owned(), json!(self.last_vmname));
        body.insert("nodes".to_owned(), self.nodes.iter().map(node).collect());
        body.insert("on_hold".to_owned(), json!(self.on_hold));
        if let Some(up) = self.scaling_up {
            body.insert("scale_way".to_owned(), json!(i32::from(!up)));
        }
        Value::Object(body)
    }

    pub(crate) fn cooldown(&self) -> u32 {
        unsigned(self.body.get("cooldown")).unwrap_or(300)
    }
}

impl Service {
    /// From a body that the schema has passed.
    pub(crate) fn new(id: u32, name: String, owned: Owned, body: Attributes) -> Self {
        let roles = body.get("roles").and_then(Value::as_array).into_iter().flatten();
        let yes = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        Self {
            id,
            name,
            owned,
            state: ServiceState::Pending,
            roles: roles.filter_map(Value::as_object).cloned().map(Role::new).collect(),
            log: VecDeque::new(),
            started: now(),
            straight: body.get("deployment").and_then(Value::as_str) == Some("straight"),
            gated: yes("ready_status_gate"),
            automatic_deletion: yes("automatic_deletion"),
            recovering: false,
            releasing: false,
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

    /// BODY of its document.
    pub(crate) fn to_body(&self, zone: &State) -> Attributes {
        let mut body = self.body.clone();
        body.insert("state".to_owned(), json!(self.state.number()));
        body.insert("start_time".to_owned(), json!(self.started));
        body.insert("log".to_owned(), json!(self.log));
        let node = |id: &u32| json!({"deploy_id": id, "vm_info": zone.vms.get(id).map(|vm| vm.summary())});
        body.insert("roles".to_owned(), self.roles.iter().map(|role| role.to_json(node)).collect());
        body
    }

    pub(crate) fn to_json(&self, zone: &State) -> Value {
        document(self.id, &self.name, &self.owned, "100", self.to_body(zone))
    }

    pub(crate) fn on_hold(&self) -> bool {
        self.body.get("on_hold").and_then(Value::as_bool).unwrap_or(false)
    }
}

impl Template {
    pub(crate) fn to_json(&self, id: u32) -> Value {
        document(id, &self.name, &self.owned, "101", self.body.clone())
    }
}

fn document(id: u32, name: &str, owned: &Owned, kind: &str, body: Attributes) -> Value {
    let permissions: Attributes =
        owned.mode.bits().map(|(name, bit)| (name, Value::String(bit.to_string()))).collect();
    json!({
        "ID": id.to_string(), "UID": owned.uid.to_string(), "GID": owned.gid.to_string(), "UNAME": owned.uname,
        "GNAME": owned.gname, "NAME": name, "TYPE": kind, "PERMISSIONS": permissions, "TEMPLATE": {"BODY": body},
    })
}

/// A number that the schema has passed.
pub(crate) fn unsigned(value: Option<&Value>) -> Option<u32> {
    value?.as_u64().and_then(|n| u32::try_from(n).ok())
}
