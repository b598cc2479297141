//! Reading JSON that came out of XML: numbers are strings, one element is an object and more are an array.

use serde_json::Value;
use std::collections::BTreeMap;

/// An unsigned number, as a JSON number or as text.
pub(crate) fn number(value: Option<&Value>) -> Option<u32> {
    match value? {
        Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// A state number, as a JSON number or as text.
pub(crate) fn state(value: Option<&Value>) -> Option<i32> {
    match value? {
        Value::Number(n) => n.as_i64().and_then(|n| i32::try_from(n).ok()),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// A text; numbers and booleans as they are written, nothing else.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

/// The plain attributes of an object; nested ones are left out. An attribute given twice arrives as an array: the
/// last one counts, as in OpenNebula.
pub(crate) fn attributes(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = value else { return BTreeMap::new() };
    let plain = |v: &Value| match v {
        Value::Array(items) => text(items.last()),
        // An empty XML element becomes an empty object.
        Value::Object(o) if o.is_empty() => Some(String::new()),
        other => text(Some(other)),
    };
    map.iter().filter_map(|(k, v)| plain(v).map(|v| (k.clone(), v))).collect()
}

/// One or many: an array, a lone object, or nothing.
pub(crate) fn many(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items,
        Some(lone @ Value::Object(map)) if !map.is_empty() => std::slice::from_ref(lone),
        _ => &[],
    }
}
