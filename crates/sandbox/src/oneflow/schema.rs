//! What a service template must look like, with the original's texts.

use crate::attributes::Attributes;
use serde_json::{Value, json};

/// Checks a template's body and brings its numbers into form. `Err` is the text of the 400.
pub(crate) fn check(body: &Value) -> Result<Attributes, String> {
    let Value::Object(body) = body else { return Err("KEY: 'body' must be an Object;".to_owned()) };
    let mut body = body.clone();
    if is_old(&body) {
        upgrade(&mut body)?;
    }
    mandatory(&body, "name", "string")?;
    mandatory(&body, "roles", "array")?;
    strings(&body, &["name", "description"])?;
    one_of(&body, "deployment", &["none", "straight"])?;
    one_of(&body, "shutdown_action", SHUTDOWN)?;
    booleans(&body, &["ready_status_gate", "automatic_deletion", "on_hold"])?;
    objects(&body, &["user_inputs", "user_inputs_values", "networks"])?;
    arrays_of(&body, "networks_values", Value::is_object)?;
    let Some(Value::Array(roles)) = body.get("roles") else { return Err(must("roles", "be an Array")) };
    let roles = roles.iter().map(role).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = roles.iter().filter_map(|r| r.get("name")?.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("Role name '{}' is repeated", pair[0]));
    }
    body.insert("roles".to_owned(), json!(roles));
    body.entry("deployment").or_insert(json!("none"));
    body.entry("description").or_insert(json!(""));
    Ok(body)
}

/// The form before 7.0: taken for it only if every role is in it.
fn is_old(body: &Attributes) -> bool {
    let roles = body.get("roles").and_then(Value::as_array);
    let old = |role: &Value| role.get("vm_template").is_some() || role.get("vm_template_contents").is_some();
    roles.is_some_and(|roles| !roles.is_empty() && roles.iter().all(old))
}

/// Names of 7.0 for those of before. A CONTEXT inside `vm_template_contents` becomes a list, as the original has it.
fn upgrade(body: &mut Attributes) -> Result<(), String> {
    let rename = |from: &str, to: &str, of: &mut Attributes| {
        if let Some(value) = of.remove(from) {
            of.insert(to.to_owned(), value);
        }
    };
    for role in body.get_mut("roles").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(role) = role else { continue };
        rename("vm_template", "template_id", role);
        rename("custom_attrs", "user_inputs", role);
        rename("custom_attrs_values", "user_inputs_values", role);
        role.insert("type".to_owned(), json!("vm"));
        if let Some(contents) = role.remove("vm_template_contents") {
            let mut parsed = crate::attributes::parse(&crate::attributes::text(&contents))?;
            for value in parsed.values_mut().filter(|value| value.is_object()) {
                *value = Value::Array(vec![value.take()]);
            }
            role.insert("template_contents".to_owned(), Value::Object(parsed));
        }
    }
    rename("custom_attrs", "user_inputs", body);
    rename("custom_attrs_values", "user_inputs_values", body);
    Ok(())
}

const SHUTDOWN: &[&str] = &["terminate", "terminate-hard", "shutdown", "shutdown-hard"];

/// The same, of a role.
pub(crate) fn role(role: &Value) -> Result<Attributes, String> {
    let Value::Object(role) = role else { return Err(must("roles", "be an Array of Objects")) };
    let mut role = role.clone();
    mandatory(&role, "name", "string")?;
    mandatory(&role, "type", "string")?;
    strings(&role, &["name"])?;
    let name = role.get("name").and_then(Value::as_str).unwrap_or_default();
    // The original's anchors hold for each line, and any line will do.
    let word = |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !name.split('\n').any(word) {
        return Err(must("name", "match regexp /^\\w+$/"));
    }
    one_of(&role, "type", &["vm", "vr"])?;
    mandatory(&role, "template_id", "integer")?;
    for key in ["template_id", "cardinality", "min_vms", "max_vms", "cooldown"] {
        let Some(value) = role.get(key) else { continue };
        let number = integer(value).ok_or_else(|| must(key, "be an Integer"))?;
        if number < 0 {
            return Err(must(key, "be greater than or equal to 0"));
        }
        role.insert(key.to_owned(), json!(number));
    }
    role.entry("cardinality").or_insert(json!(0));
    one_of(&role, "shutdown_action", SHUTDOWN)?;
    booleans(&role, &["on_hold"])?;
    objects(&role, &["template_contents", "user_inputs", "user_inputs_values"])?;
    arrays_of(&role, "parents", Value::is_string)?;
    limits(&role)?;
    Ok(role)
}

fn limits(role: &Attributes) -> Result<(), String> {
    let name = role.get("name").and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| role.get(key).and_then(Value::as_i64);
    let (cardinality, min, max) = (number("cardinality").unwrap_or(0), number("min_vms"), number("max_vms"));
    if min.is_some_and(|min| cardinality < min) {
        return Err(format!("Role '{name}' 'cardinality' must be greater than or equal to 'min_vms'"));
    }
    if max.is_some_and(|max| cardinality > max) {
        return Err(format!("Role '{name}' 'cardinality' must be lower than or equal to 'max_vms'"));
    }
    let policies = |key: &str| role.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for key in ["elasticity_policies", "scheduled_policies"] {
        arrays_of(role, key, Value::is_object)?;
        for policy in policies(key).iter().filter_map(Value::as_object) {
            mandatory(policy, "type", "string")?;
            one_of(policy, "type", &["CHANGE", "CARDINALITY", "PERCENTAGE_CHANGE"])?;
            mandatory(policy, "adjust", "integer")?;
            if policy.get("adjust").and_then(integer).is_none() {
                return Err(must("adjust", "be an Integer"));
            }
        }
    }
    let (elastic, scheduled) = (policies("elasticity_policies"), policies("scheduled_policies"));
    if !(elastic.is_empty() && scheduled.is_empty()) && (min.is_none() || max.is_none()) {
        return Err(format!(
            "Role '{name}' with  'elasticity_policies' or 'scheduled_policies'must define both 'min_vms' and 'max_vms'"
        ));
    }
    for (at, policy) in elastic.iter().filter_map(Value::as_object).enumerate() {
        mandatory(policy, "expression", "string")?;
        if policy.get("expression").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("Role '{name}', elasticity policy #{at} 'expression' cannot be empty"));
        }
    }
    for (at, policy) in scheduled.iter().enumerate() {
        if policy.get("start_time").is_some() == policy.get("recurrence").is_some() {
            return Err(format!(
                "Role '{name}', scheduled policy #{at} must define 'start_time' or 'recurrence'"
            ));
        }
    }
    Ok(())
}

fn must(key: &str, what: &str) -> String {
    format!("KEY: '{key}' must {what};")
}

fn mandatory(object: &Attributes, key: &str, kind: &str) -> Result<(), String> {
    if object.contains_key(key) {
        return Ok(());
    }
    Err(format!("Mandatory document key '{key} ({kind})' is missing from {}", Value::Object(object.clone())))
}

fn each(object: &Attributes, keys: &[&str], good: fn(&Value) -> bool, what: &str) -> Result<(), String> {
    match keys.iter().find(|key| object.get(**key).is_some_and(|v| !good(v))) {
        Some(key) => Err(must(key, what)),
        None => Ok(()),
    }
}

fn strings(object: &Attributes, keys: &[&str]) -> Result<(), String> {
    each(object, keys, Value::is_string, "be a String")
}

fn booleans(object: &Attributes, keys: &[&str]) -> Result<(), String> {
    each(object, keys, Value::is_boolean, "be a Boolean")
}

fn objects(object: &Attributes, keys: &[&str]) -> Result<(), String> {
    each(object, keys, Value::is_object, "be an Object")
}

fn arrays_of(object: &Attributes, key: &str, good: fn(&Value) -> bool) -> Result<(), String> {
    match object.get(key) {
        None => Ok(()),
        Some(Value::Array(items)) if items.iter().all(good) => Ok(()),
        Some(_) => Err(must(key, "be an Array with items of the right type")),
    }
}

fn one_of(object: &Attributes, key: &str, allowed: &[&str]) -> Result<(), String> {
    match object.get(key) {
        Some(value) if !value.as_str().is_some_and(|v| allowed.contains(&v)) => {
            Err(must(key, &format!("be one of {}", allowed.join(", "))))
        }
        _ => Ok(()),
    }
}

/// `2`, `"2"` and `1.5` (as 1).
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f.trunc() as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: Value) -> Value {
        let mut role = json!({"name": "r", "type": "vm", "template_id": 0});
        role[key] = value;
        json!({"name": "t", "roles": [role]})
    }

    #[test]
    fn accepts_and_brings_into_form() {
        let body = check(&with("template_id", json!("0"))).unwrap();
        assert_eq!(
            (&body["roles"][0]["template_id"], &body["roles"][0]["cardinality"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(check(&with("cardinality", json!(1.5))).unwrap()["roles"][0]["cardinality"], 1);
        check(&with("name", json!("a\nb c"))).unwrap();
        check(&json!({"name": "", "roles": [], "anything": [1]})).unwrap();
    }

    #[test]
    fn the_old_form_is_taken_when_all_roles_have_it() {
        let old = json!({"name": "a", "vm_template": "3", "vm_template_contents": "CPU=2\nNIC=[NETWORK_ID=\"0\"]",
            "custom_attrs": {"A": "M|text|a"}});
        let body = check(&json!({"name": "t", "roles": [old], "custom_attrs": {"B": "O|text|b"}})).unwrap();
        let role = &body["roles"][0];
        assert_eq!(
            (&role["template_id"], &role["type"], &role["user_inputs"]["A"]),
            (&json!(3), &json!("vm"), &json!("M|text|a"))
        );
        assert_eq!(role["template_contents"], json!({"CPU": "2", "NIC": [{"NETWORK_ID": "0"}]}));
        assert_eq!((body.get("custom_attrs"), &body["user_inputs"]["B"]), (None, &json!("O|text|b")));
        let new = json!({"name": "b", "type": "vm", "template_id": 0});
        assert!(
            check(&json!({"name": "t", "roles": [old, new]}))
                .unwrap_err()
                .contains("'type (string)' is missing")
        );
    }

    #[test]
    fn refuses_with_the_original_texts() {
        let text = |body: Value| check(&body).unwrap_err();
        assert_eq!(
            text(json!({"name": "t", "roles": [], "deployment": "x"})),
            "KEY: 'deployment' must be one of none, straight;"
        );
        assert_eq!(text(with("template_id", json!("abc"))), "KEY: 'template_id' must be an Integer;");
        assert_eq!(text(with("name", json!("a-b"))), "KEY: 'name' must match regexp /^\\w+$/;");
        let untyped = text(json!({"name": "t", "roles": [{"name": "r", "template_id": 0}]}));
        assert!(untyped.starts_with("Mandatory document key 'type (string)' is missing from {"), "{untyped}");
        for (key, value) in [
            ("type", json!("container")),
            ("cardinality", json!(-1)),
            ("min_vms", json!(3)),
            ("parents", json!("a")),
            ("parents", json!([1])),
            ("template_contents", json!("A=1")),
            ("cooldown", json!(-1)),
            ("elasticity_policies", json!([{"type": "CHANGE"}])),
        ] {
            assert!(check(&with(key, value)).is_err(), "{key}");
        }
        for (key, value) in [
            ("ready_status_gate", json!("true")),
            ("user_inputs", json!([])),
            ("networks_values", json!({})),
            ("roles", json!({})),
        ] {
            let mut body = json!({"name": "t", "roles": []});
            body[key] = value;
            assert!(check(&body).is_err(), "{key}");
        }
        let role = json!({"name": "r", "type": "vm", "template_id": 0});
        assert_eq!(text(json!({"name": "t", "roles": [role, role]})), "Role name 'r' is repeated");
    }
}
