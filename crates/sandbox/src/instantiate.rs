//! From a VM template to a VM: what is laid over it, network leases, context.

use crate::access::{Caller, Right};
use crate::addresses::{Plan, hidden};
use crate::attributes::{Attributes, text};
use crate::context;
use crate::machine::{Nic, Vm};
use crate::objects::resolve;
use crate::quota::Usage;
use crate::refusal::{ALLOCATE, AUTHORIZATION, Refusal};
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
    let (Over::Replacing(given) | Over::Merged(given)) = over;
    restricted(caller, given, &known.content)?;
    Refusal::unless(&known.owned, caller, Right::Use, "TEMPLATE", template)?;
    let mut content = known.content.clone();
    let from = known.name.clone();
    match over {
        Over::Replacing(over) => content.extend((*over).clone()),
        Over::Merged(over) => crate::attributes::merge(&mut content, over),
    }
    content.insert("TEMPLATE_ID".to_owned(), json!(template.to_string()));
    content.insert("TEMPLATE_NAME".to_owned(), json!(from));
    let password = zone.host.federation().users.get(&caller.id).map(|user| user.token_password.clone());
    let password = password.ok_or_else(|| Refusal::internal("the user is gone"))?;
    let images = images(zone, state, caller, content.get("DISK"))?;
    let networks = networks(zone, state, caller, content.get("NIC"))?;
    let mut more = Usage {
        vms: 1,
        cpu: number(&content, "CPU"),
        memory: number(&content, "MEMORY"),
        ..Usage::default()
    };
    for (network, _) in &networks {
        *more.leases.entry(*network).or_default() += 1;
    }
    state.within_quota(caller, &more)?;
    let nics = lease(zone.plan, state, &networks)?;
    let octet = match nics.first() {
        Some(nic) => nic.octet,
        None => state.lease(hidden(), None).ok_or_else(|| cannot("no address is free"))?,
    };
    let id = state.next_vm;
    state.next_vm += 1;
    let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
    let context = context::build(&content, &context::Of { nics: &nics, vm: id, plan: zone.plan });
    let (mut capacity, user): (Attributes, Attributes) =
        content.into_iter().partition(|(key, _)| OWN.contains(&key.as_str()));
    capacity.retain(|key, _| !matches!(key.as_str(), "CONTEXT" | "NIC" | "NAME"));
    let name = if name.is_empty() { format!("{from}-{id}") } else { name.to_owned() };
    let mut vm = Vm {
        owned: caller.owned(),
        user_template: user.into_iter().map(|(k, v)| (k, plain(v))).collect(),
        capacity,
        context,
        nics,
        octet,
        may_use_hosts: zone.grants(caller),
        images,
        ..Vm::new(id, name, commands)
    };
    vm.token = token(&password, id, vm.started)?;
    if hold {
        vm.set(VmState::Hold, LcmState::Init);
    }
    state.vms.insert(id, vm);
    tokio::spawn(crate::supervisor::supervise(zone.clone(), id, receiver));
    Ok(id)
}

fn number(content: &Attributes, key: &str) -> f64 {
    content.get(key).and_then(|v| text(v).parse().ok()).unwrap_or(0.0)
}

fn cannot(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(ALLOCATE, -1, format!("Error allocating a new virtual machine template. {why}"))
}

/// Attributes that only administrators may write, as in the stock configuration: whole ones and parts of others.
pub(crate) const RESTRICTED: [(&str, &[&str]); 11] = [
    ("CONTEXT", &["FILES"]),
    ("NIC", &["MAC", "VLAN_ID", "BRIDGE", "FILTER", "EXTERNAL"]),
    ("DISK", &["ORIGINAL_SIZE", "SIZE_PREV", "OPENNEBULA_MANAGED"]),
    ("RAW", &["DATA"]),
    ("TOPOLOGY", &["PIN_POLICY", "HUGEPAGE_SIZE"]),
    ("DEPLOY_ID", &[]),
    ("CPU_COST", &[]),
    ("MEMORY_COST", &[]),
    ("PCI", &[]),
    ("EMULATOR", &[]),
    ("USER_PRIORITY", &[]),
];

/// Refuses restricted attributes of ordinary users, unless the template says the same.
fn restricted(caller: &Caller, given: &Attributes, template: &Attributes) -> Result<(), Refusal> {
    if caller.is_admin() {
        return Ok(());
    }
    let refused = |name: String| {
        let why = format!("User [{}] : User Template includes a restricted attribute {name}.", caller.id);
        Err(Refusal::new(AUTHORIZATION, -1, why))
    };
    for (key, parts) in RESTRICTED {
        let Some(value) = given.get(key) else { continue };
        if parts.is_empty() && template.get(key) != Some(value) {
            return refused(key.to_owned());
        }
        for part in parts {
            let of = |value: &Value| {
                each(Some(value)).iter().filter_map(|v| v.get(part).cloned()).collect::<Vec<_>>()
            };
            let asked = of(value);
            if !asked.is_empty() && template.get(key).map(of) != Some(asked) {
                return refused(format!("{key}/{part}"));
            }
        }
    }
    Ok(())
}

/// One value, or several of the same name.
fn each(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items.as_slice(),
        Some(Value::Null) | None => &[],
        Some(lone) => std::slice::from_ref(lone),
    }
}

/// The images of the disks.
fn images(zone: &Zone, state: &State, caller: &Caller, disks: Option<&Value>) -> Result<Vec<u32>, Refusal> {
    let mut found = Vec::new();
    let federation = zone.host.federation();
    for disk in each(disks) {
        let pool = state.images.iter().map(|(id, image)| (id, image.name.as_str(), &image.owned));
        let id = resolve(disk, "IMAGE", "an image", pool, caller, &federation).map_err(cannot)?;
        let Some((id, image)) = id.and_then(|id| Some((id, state.images.get(&id)?))) else { continue };
        Refusal::unless(&image.owned, caller, Right::Use, "IMAGE", id)?;
        match image.unusable(id) {
            Some(why) => return Err(cannot(why)),
            None => found.push(id),
        }
    }
    Ok(found)
}

/// The networks of the interfaces, each with the address that is asked for.
fn networks(
    zone: &Zone,
    state: &State,
    caller: &Caller,
    nics: Option<&Value>,
) -> Result<Vec<(u32, Option<String>)>, Refusal> {
    let mut found = Vec::new();
    let federation = zone.host.federation();
    for nic in each(nics) {
        let pool = state.networks.iter().map(|(id, network)| (id, network.name.as_str(), &network.owned));
        let id = resolve(nic, "NETWORK", "a network", pool, caller, &federation).map_err(cannot)?;
        let Some((id, network)) = id.and_then(|id| Some((id, state.networks.get(&id)?))) else {
            return Err(cannot("NIC has neither NETWORK nor NETWORK_ID"));
        };
        // The VDC gives the networks of a zone to its groups.
        if !zone.grants(caller) {
            Refusal::unless(&network.owned, caller, Right::Use, "NET", id)?;
        }
        found.push((id, nic.get("IP").map(text).filter(|ip| !ip.is_empty())));
    }
    Ok(found)
}

fn lease(plan: Plan, state: &mut State, wanted: &[(u32, Option<String>)]) -> Result<Vec<Nic>, Refusal> {
    let mut leased: Vec<Nic> = Vec::new();
    for (network, ip) in wanted {
        let known = state.networks.get(network).map(|n| (n.octets(), n.name.clone()));
        let octet = known.and_then(|(octets, name)| {
            let ip = match ip {
                Some(ip) => Some(plan.octet(ip.parse().ok()?)?),
                None => None,
            };
            Some((state.lease(octets, ip)?, name))
        });
        match octet {
            Some((octet, name)) => leased.push(Nic { octet, network: *network, name }),
            None => {
                for nic in &leased {
                    state.leases.remove(&nic.octet);
                }
                return Err(cannot(format!("Cannot get IP/MAC lease from virtual network {network}.")));
            }
        }
    }
    Ok(leased)
}

/// OpenNebula keeps texts, and objects of texts.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(inner) => inner.into_iter().map(|(k, v)| (k, json!(text(&v)))).collect(),
        other => json!(text(&other)),
    }
}
