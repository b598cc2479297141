//! From a role to a VM: inputs, merges, network leases.

use super::references;
use super::service::{Role, Service, unsigned};
use crate::addresses::Plan;
use crate::attributes::{Attributes, merge, text};
use crate::context;
use crate::machine::{NETWORK, Nic, Vm};
use crate::zone::{State, Zone, object, token};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attributes of a VM template that do not become the user's.
const OWN: [&str; 12] = [
    "CONTEXT", "CPU", "VCPU", "MEMORY", "NIC", "DISK", "OS", "GRAPHICS", "FEATURES", "INPUT", "NAME",
    "TOPOLOGY",
];

/// Creates and starts the next VM of a role. `Err` is the text for the service's log.
pub(crate) fn next_vm(
    zone: &Arc<Zone>,
    state: &mut State,
    service: &Service,
    role: &Role,
) -> Result<u32, String> {
    let template = unsigned(role.body.get("template_id")).unwrap_or(u32::MAX);
    let name = format!("{}_{}_(service_{})", role.name, role.last_vmname, service.id);
    let made = contents(zone.plan, state, service, role)
        .and_then(|extra| instantiate(zone, state, template, name, &extra));
    made.map_err(|why| format!("Role {} : Instantiate failed for template {template}; {why}", role.name))
}

/// What OneFlow lays over the VM template: the role's template_contents, and for each input KEY the attribute KEY and
/// CONTEXT.KEY = "$KEY".
fn contents(plan: Plan, state: &State, service: &Service, role: &Role) -> Result<Attributes, String> {
    let mut values = upper(object(service.body.get("user_inputs_values")));
    values.extend(upper(object(role.body.get("user_inputs_values"))));
    let mut extra = upper(object(role.body.get("template_contents")));
    for (key, value) in values {
        let value = text(&value);
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!(
                "[one.template.instantiate] Parse error: syntax error, unexpected name {key:?}"
            ));
        }
        if value.ends_with('\\') {
            return Err(format!("[one.template.instantiate] Parse error: the quote of {key} is not closed"));
        }
        let value = value.strip_suffix('\n').unwrap_or(&value);
        extra.insert(key.clone(), json!(value));
        let mut reference = Attributes::new();
        reference.insert("CONTEXT".to_owned(), json!({ key.clone(): format!("${key}") }));
        merge(&mut extra, &reference);
    }
    networks(service, &mut extra);
    let lookup = |path: &str| parent_value(plan, state, service, role, path);
    let mut extra = Value::Object(extra);
    references::replace(&mut extra, &lookup);
    let Value::Object(mut extra) = extra else { return Ok(Attributes::new()) };
    extra.insert("SERVICE_ID".to_owned(), json!(service.id.to_string()));
    extra.insert("ROLE_NAME".to_owned(), json!(role.name));
    Ok(extra)
}

fn upper(attributes: Attributes) -> Attributes {
    attributes.into_iter().map(|(key, value)| (key.to_ascii_uppercase(), value)).collect()
}

/// `NETWORK_ID = "$Name"` in an interface becomes the id that networks_values gives for Name.
fn networks(service: &Service, extra: &mut Attributes) {
    let given = service.body.get("networks_values").and_then(Value::as_array);
    for (name, value) in given.into_iter().flatten().filter_map(Value::as_object).flatten() {
        let Some(id) = value.get("id").map(text) else { continue };
        let wanted = format!("${name}");
        let nics = match extra.get_mut("NIC") {
            Some(Value::Array(nics)) => nics.as_mut_slice(),
            Some(nic) => std::slice::from_mut(nic),
            None => return,
        };
        for nic in nics {
            if nic.get("NETWORK_ID").and_then(Value::as_str) == Some(&wanted) {
                nic["NETWORK_ID"] = json!(id);
            }
        }
    }
}

/// `role.template.context.eth0_ip` for a role among the parents.
fn parent_value(plan: Plan, state: &State, service: &Service, role: &Role, path: &str) -> Option<String> {
    let mut parts = path.split('.');
    let parent = parts.next()?;
    role.parents.iter().find(|p| *p == parent)?;
    let first = service.roles.iter().find(|r| r.name == parent)?.nodes.first()?;
    let vm = state.vms.get(first)?.to_gate_extended(plan);
    let mut value = vm.get("VM")?;
    for part in parts {
        value = value.get(part.to_ascii_uppercase())?;
    }
    Some(text(value))
}

/// `one.template.instantiate` with `extra` laid over the template.
fn instantiate(
    zone: &Arc<Zone>,
    state: &mut State,
    template: u32,
    name: String,
    extra: &Attributes,
) -> Result<u32, String> {
    let known = state.templates.get(&template);
    let known = known.ok_or_else(|| {
        format!("[one.template.instantiate] Error getting virtual machine template [{template}].")
    })?;
    let mut content = known.content.clone();
    merge(&mut content, extra);
    let token = token().map_err(|e| e.to_string())?;
    let nics = lease(zone.plan, state, content.get("NIC"))?;
    // A VM without a network still needs an address of its own here.
    let octet = match nics.first() {
        Some(nic) => nic.octet,
        None => state.lease(None).ok_or("[one.template.instantiate] no address is free")?,
    };
    let id = state.next_vm;
    state.next_vm += 1;
    let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
    let (capacity, user): (Attributes, Attributes) =
        content.clone().into_iter().partition(|(key, _)| OWN.contains(&key.as_str()));
    let context = context::build(&content, &context::Of { nics: &nics, vm: id, plan: zone.plan });
    let vm = Vm {
        user_template: user.into_iter().map(|(k, v)| (k, plain(v))).collect(),
        capacity: capacity.into_iter().filter(|(k, _)| k != "CONTEXT" && k != "NIC").collect(),
        context,
        nics,
        octet,
        token,
        ..Vm::new(id, name, commands)
    };
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

fn lease(plan: Plan, state: &mut State, nics: Option<&Value>) -> Result<Vec<Nic>, String> {
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
                return Err(why);
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
        return Err(format!(
            "[one.template.instantiate] User 0 does not own a network with name or id: {which} ."
        ));
    }
    let none =
        || format!("[one.template.instantiate] Cannot get IP/MAC lease from virtual network {}.", NETWORK.1);
    let wanted = match attribute("IP") {
        Some(ip) => Some(ip.parse().ok().and_then(|ip| plan.octet(ip)).ok_or_else(none)?),
        None => None,
    };
    state.lease(wanted).ok_or_else(none)
}

#[cfg(test)]
mod carries;
