//! From a role to a VM: inputs, merges, network leases.

use super::references;
use super::service::{Role, Service, unsigned};
use crate::access::Caller;
use crate::addresses::Plan;
use crate::attributes::{Attributes, merge, text};
use crate::instantiate::{Over, instantiate};
use crate::zone::{State, Zone, object};
use serde_json::{Value, json};
use std::sync::Arc;

/// Creates and starts the next VM of a role. `Err` is the text for the service's log.
pub(crate) fn next_vm(
    zone: &Arc<Zone>,
    state: &mut State,
    service: &Service,
    role: &Role,
) -> Result<u32, String> {
    let template = unsigned(role.body.get("template_id")).unwrap_or(u32::MAX);
    let name = format!("{}_{}_(service_{})", role.name, role.last_vmname, service.id);
    // As the service's owner, whoever asked for it.
    let owner = zone.host.federation().caller(service.owned.uid).unwrap_or_else(Caller::oneadmin);
    let made = contents(zone.plan, state, service, role).and_then(|extra| {
        let over = Over::Merged(&extra);
        instantiate(zone, state, &owner, template, &name, role.on_hold, &over)
            .map_err(|refusal| format!("[one.template.instantiate] {}", refusal.text))
    });
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

#[cfg(test)]
mod carries;
