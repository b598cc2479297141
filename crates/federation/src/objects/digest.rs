//! A short fingerprint of what the plan says about a part, to tell whether what runs is what is wanted.

use onefed_context::Placement;
use serde_json::{Value, json};

use super::body;
use super::inputs::{self, Seat};
use crate::model::{Federation, Part};

/// 16 hexadecimal digits; empty for a part that the federation does not have.
///
/// It covers what the VMs would be: roles and their numbers, CONTEXT, the names of VM templates and network in place
/// of their ids, and every value that differs from its default. Texts for forms are not in it, so that another
/// wording in a later onefed replaces nothing.
pub(super) fn of(federation: &Federation, part: Part<'_>) -> String {
    let Some(seat) = Seat::new(federation, part) else { return String::new() };
    let zone = seat.site().map_or(&federation.coordinator.zone, |site| &site.zone);
    let facts = federation.zone(zone).map(|zone| {
        let names = match seat.site() {
            None => vec![&zone.templates.superlink],
            Some(_) => vec![&zone.templates.gateway, &zone.templates.supernode],
        };
        json!({ "templates": names, "network": zone.network })
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
    let digest = ring::digest::digest(&ring::digest::SHA256, canonical(&whole).as_bytes());
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
