//! A short fingerprint of what the plan says about a part, to tell whether what runs is what is wanted.

use onefed_context::{Placement, Role};
use serde_json::{Value, json};

use super::inputs::{self, Seat};
use super::{body, vm_template};
use crate::model::{Federation, Part, VmTemplate};

/// 16 hexadecimal digits; empty for a part that the federation does not have.
///
/// It covers what the VMs would be: roles and their numbers, CONTEXT, the names of VM templates and network in place
/// of their ids, and every value that differs from its default. Texts for forms are not in it, so that another
/// wording in a later onefed replaces nothing. Of a VM template that onefed makes, it has what the plan says of it.
pub(super) fn of(federation: &Federation, part: Part<'_>) -> String {
    let Some(seat) = Seat::new(federation, part) else { return String::new() };
    let zone = seat.site().map_or(&federation.coordinator.zone, |site| &site.zone);
    let facts = federation.zone(zone).map(|zone| {
        // Both templates of a site, whether or not it has a gateway: as ever since.
        let roles: &[Role] = match (seat.site(), seat.local()) {
            (Some(_), _) => &[Role::Gateway, Role::SuperNode],
            (None, Some(_)) => &[Role::SuperLink, Role::SuperNode],
            (None, None) => &[Role::SuperLink],
        };
        let name = |role: &Role| match zone.templates.of(*role) {
            VmTemplate::Given(reference) => json!(reference),
            VmTemplate::Made => json!({ "made": vm_template::facts(federation, zone, *role) }),
        };
        json!({ "templates": roles.iter().map(name).collect::<Vec<_>>(), "network": zone.network })
    });
    let values = |inputs: Vec<inputs::Input>| -> Value {
        let pairs = inputs.into_iter().filter_map(|input| match input.value {
            inputs::Value::Known(text)
                if input.row.placement == Placement::Service
                    || text != input.row.default.unwrap_or_default() =>
            {
                Some((input.row.name.to_owned(), Value::String(text)))
            }
            _ => None,
        });
        Value::Object(pairs.collect())
    };
    let roles: Vec<_> = seat.role_inputs().into_iter().map(|role| values(role.inputs)).collect();
    let mut body = body::template(federation, part, &seat, None);
    strip_texts(&mut body);
    let whole = json!({
        "zone": zone,
        "facts": facts,
        "body": body,
        "service": values(seat.service()),
        "roles": roles,
    });
    short(&canonical(&whole))
}

/// The first 16 hexadecimal digits of a text's SHA-256.
pub(super) fn short(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Takes away what only forms show.
fn strip_texts(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("user_inputs");
            map.remove("description");
            map.values_mut().for_each(strip_texts);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_texts),
        _ => {}
    }
}

/// JSON with the keys of every object in order, whatever order they were put in.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
