//! From a VM template to a VM: what is laid over it, network leases, context.

use crate::access::{Caller, Right};
use crate::addresses::Plan;
use crate::attributes::{Attributes, text};
use crate::context;
use crate::machine::{NETWORK, Nic, Vm};
use crate::refusal::{ALLOCATE, Refusal};
use crate::zone::{State, Zone, token};
use onefed_opennebula::{LcmState, VmState};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attributes of a VM template that do not become the user's.
const OWN: [&str; 14] = [
    "CONTEXT",
    "CPU",
    "VCPU",
    "MEMORY",
    "NIC",
    "DISK",
    "OS",
    "GRAPHICS",
    "FEATURES",
    "INPUT",
    "NAME",
    "TOPOLOGY",
    "TEMPLATE_ID",
    "TEMPLATE_NAME",
];

/// What is laid over a template.
pub(crate) enum Over<'a> {
    /// As oned does with its fourth argument: what is given replaces what is there by the same name.
    Replacing(&'a Attributes),
    /// As OneFlow does before it calls oned: objects are merged.
    Merged(&'a Attributes),
}

/// `one.template.instantiate`. The VM starts by itself, unless it is put on hold. An empty name becomes `<template>-<id>`.
pub(crate) fn instantiate(
    zone: &Arc<Zone>,
    state: &mut State,
    caller: &Caller,
    template: u32,
    name: &str,
    hold: bool,
    over: &Over<'_>,
) -> Result<u32, Refusal> {
    let known = state.templates.get(&template);
    let known = known.ok_or_else(|| Refusal::missing("virtual machine template", i64::from(template)))?;
    Refusal::unless(&known.owned, caller, Right::Use, "TEMPLATE", template)?;
    let mut content = known.content.clone();
    let from = known.name.clone();
    match over {
        Over::Replacing(over) => content.extend((*over).clone()),
        Over::Merged(over) => crate::attributes::merge(&mut content, over),
    }
    content.insert("TEMPLATE_ID".to_owned(), json!(template.to_string()));
    content.insert("TEMPLATE_NAME".to_owned(), json!(from));
    let token = token().map_err(|e| Refusal::internal(e.to_string()))?;
    let nics = lease(zone.plan, state, content.get("NIC"))?;
    // A VM without a network still needs an address of its own here.
    let octet = match nics.first() {
        Some(nic) => nic.octet,
        None => state.lease(None).ok_or_else(|| Refusal::new(ALLOCATE, -1, "no address is free"))?,
    };
    let id = state.next_vm;
    state.next_vm += 1;
    let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
    let (capacity, user): (Attributes, Attributes) =
        content.clone().into_iter().partition(|(key, _)| OWN.contains(&key.as_str()));
    let context = context::build(&content, &context::Of { nics: &nics, vm: id, plan: zone.plan });
    let name = if name.is_empty() { format!("{from}-{id}") } else { name.to_owned() };
    let mut vm = Vm {
        owned: caller.owned(),
        user_template: user.into_iter().map(|(k, v)| (k, plain(v))).collect(),
        capacity: capacity
            .into_iter()
            .filter(|(k, _)| !matches!(k.as_str(), "CONTEXT" | "NIC" | "NAME"))
            .collect(),
        context,
        nics,
        octet,
        token,
        ..Vm::new(id, name, commands)
    };
    if hold {
        vm.set(VmState::Hold, LcmState::Init);
    }
    state.vms.insert(id, vm);
    tokio::spawn(crate::supervisor::supervise(zone.clone(), id, receiver));
    Ok(id)
}

/// OpenNebula keeps texts, and objects of texts.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(inner) => inner.into_iter().map(|(k, v)| (k, json!(text(&v)))).collect(),
        other => json!(text(&other)),
    }
}

fn lease(plan: Plan, state: &mut State, nics: Option<&Value>) -> Result<Vec<Nic>, Refusal> {
    let wanted = match nics {
        Some(Value::Array(nics)) => nics.as_slice(),
        Some(Value::Null) | None => &[],
        Some(lone) => std::slice::from_ref(lone),
    };
    let mut leased: Vec<Nic> = Vec::new();
    for nic in wanted {
        match lease_one(plan, state, nic) {
            Ok(octet) => leased.push(Nic { octet }),
            Err(why) => {
                for nic in &leased {
                    state.leases.remove(&nic.octet);
                }
                return Err(Refusal::new(ALLOCATE, -1, why));
            }
        }
    }
    Ok(leased)
}

fn lease_one(plan: Plan, state: &mut State, nic: &Value) -> Result<u8, String> {
    let attribute = |key: &str| nic.get(key).map(text).filter(|v| !v.is_empty());
    let (id, name) = (attribute("NETWORK_ID"), attribute("NETWORK"));
    let known = match (&id, &name) {
        (Some(id), _) => *id == NETWORK.1.to_string(),
        (None, Some(name)) => name == NETWORK.0,
        (None, None) => false,
    };
    if !known {
        let which = id.or(name).unwrap_or_default();
        return Err(format!("User 0 does not own a network with name or id: {which} ."));
    }
    let none = || format!("Cannot get IP/MAC lease from virtual network {}.", NETWORK.1);
    let wanted = match attribute("IP") {
        Some(ip) => Some(ip.parse().ok().and_then(|ip| plan.octet(ip)).ok_or_else(none)?),
        None => None,
    };
    state.lease(wanted).ok_or_else(none)
}
