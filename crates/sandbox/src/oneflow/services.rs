//! Requests about services: what they show, deletion, number of VMs, another template.

use super::http::{Answer, Call};
use super::schema;
use super::service::{Role, Service};
use crate::access::Right;
use crate::attributes::{Attributes, text};
use crate::zone::object;
use onefed_opennebula::ServiceState;
use serde_json::{Value, json};

pub(super) fn list(call: &Call<'_>) -> Answer {
    let all = call.state.documents.services.values().filter(|s| s.owned.passes(&call.caller, -2));
    Answer::pool(all.map(|s| s.to_json(&call.state)).collect())
}

pub(super) fn show(call: &Call<'_>, id: u32) -> Result<Answer, Answer> {
    known(call, id, Right::Use, "info")?;
    let service = call.state.documents.services.get(&id);
    Ok(Answer::document(200, &service.map(|s| s.to_json(&call.state)).unwrap_or_default()))
}

/// Refuses a number that no service has, and callers without the right.
pub(super) fn known(call: &Call<'_>, id: u32, right: Right, verb: &str) -> Result<(), Answer> {
    let service = call.state.documents.services.get(&id).ok_or_else(|| Answer::no_document(id))?;
    call.may(Right::Use, &service.owned, id, "info")?;
    call.may(right, &service.owned, id, verb)
}

/// The service of that number, for changing it.
pub(super) fn managed<'a>(call: &'a mut Call<'_>, id: u32) -> Result<&'a mut Service, Answer> {
    known(call, id, Right::Manage, "update")?;
    call.state.documents.services.get_mut(&id).ok_or_else(|| Answer::no_document(id))
}

pub(super) fn delete(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let service = managed(&mut call, id)?;
    if !service.state.accepts_delete() {
        return Err(Answer::failed(format!("Service cannot be undeployed in state: {}", service.state)));
    }
    service.watched = false;
    service.roles.iter_mut().for_each(|role| role.leaving = false);
    service.set(ServiceState::Undeploying);
    call.zone.changed.notify_one();
    Ok(Answer::empty())
}

pub(super) fn scale(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let body = object(Some(&call.json()?));
    managed(&mut call, id)?;
    let role = body.get("role_name").map(text).unwrap_or_default();
    // Ruby's to_i: what is no number is 0.
    let cardinality = body.get("cardinality").and_then(|c| text(c).parse().ok()).unwrap_or(0);
    let force = body.get("force").and_then(Value::as_bool);
    match super::scale(call.zone, &mut call.state, id, &role, cardinality, force) {
        Ok(()) => Ok(Answer::empty()),
        Err(super::Unscaled::Refused(why)) => Err(Answer::failed(why)),
        Err(super::Unscaled::Unhandled(why)) => Err(Answer::unhandled(&why)),
    }
}

/// What an update of a service may not change.
const IMMUTABLE: [&str; 10] = [
    "user_inputs",
    "user_inputs_values",
    "deployment",
    "log",
    "name",
    "networks",
    "networks_values",
    "ready_status_gate",
    "state",
    "start_time",
];

/// The same, of a role.
const IMMUTABLE_OF_ROLE: [&str; 6] =
    ["cardinality", "last_vmname", "nodes", "parents", "state", "template_id"];

/// `{"append": true, "template": "<JSON text>"}` or a whole template.
pub(super) fn update(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let bad = |e: serde_json::Error| Answer(400, format!("unexpected token: {e}"));
    let mut given: Value = serde_json::from_slice(call.body).map_err(bad)?;
    let mut append = false;
    if let Some(flag) = given.get("append") {
        append = !matches!(flag, Value::Null | Value::Bool(false));
        let template =
            given.get("template").ok_or_else(|| Answer(400, "Missing template to append".to_owned()))?;
        given = serde_json::from_str(&text(template)).map_err(bad)?;
    }
    if !append {
        schema::check(&given).map_err(|why| Answer(400, why))?;
    }
    let given = object(Some(&given));
    known(&call, id, Right::Manage, "update")?;
    let Some(service) = call.state.documents.services.get(&id) else { return Err(Answer::no_document(id)) };
    if !matches!(
        service.state,
        ServiceState::Pending | ServiceState::Running | ServiceState::Warning | ServiceState::Hold
    ) {
        return Err(Answer::failed(format!("Service cannot be updated in state: {}", service.state)));
    }
    let body = service.to_body(&call.state);
    let changed = if append { immutable_appended(&given) } else { immutable_changed(&body, &given) };
    if let Some(attribute) = changed {
        return Err(Answer::failed(match attribute.as_str() {
            "name" => "To change `service/name` use rename operation".to_owned(),
            other => format!("Immutable value: `{other}` can not be changed"),
        }));
    }
    if let Some(service) = call.state.documents.services.get_mut(&id) {
        take(service, given, append);
    }
    call.zone.changed.notify_one();
    Ok(Answer::empty())
}

fn immutable_appended(given: &Attributes) -> Option<String> {
    let named = |key: &&&str| given.get(**key).is_some_and(|value| !value.is_null());
    IMMUTABLE.iter().find(named).map(|key| format!("service/{key}"))
}

/// The first thing that a whole template may not change and does.
fn immutable_changed(body: &Attributes, given: &Attributes) -> Option<String> {
    let roles = |of: &Attributes| of.get("roles").and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (roles(body), roles(given));
    if old.len() != new.len() {
        return Some("service/roles size".to_owned());
    }
    if let Some(key) = IMMUTABLE.iter().find(|key| given.get(**key) != body.get(**key)) {
        return Some(format!("service/{key}"));
    }
    for role in &new {
        let Some(before) = old.iter().find(|r| r.get("name") == role.get("name")) else {
            return Some("name".to_owned());
        };
        if let Some(key) = IMMUTABLE_OF_ROLE.iter().find(|key| role.get(**key) != before.get(**key)) {
            return Some(format!("role/{key}"));
        }
    }
    None
}

fn take(service: &mut Service, mut given: Attributes, append: bool) {
    let roles = given.remove("roles");
    for role in roles.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let name = role.get("name").and_then(Value::as_str).unwrap_or_default();
        for known in service.roles.iter_mut().filter(|known| known.name == name) {
            known.body = role.clone();
        }
    }
    if append {
        service.body.extend(given);
    } else {
        service.body = given;
    }
    service.automatic_deletion = service.body.get("automatic_deletion") == Some(&json!(true));
}

/// A role that joins a running service. `Err` is the text of the 500.
pub(super) fn add_role(service: &mut Service, role: Attributes) -> Result<(), String> {
    if service.state != ServiceState::Running {
        return Err(format!("Cannot modify roles in state: {}", service.state));
    }
    let role = Role::new(role);
    if service.has(&role.name) {
        return Err(format!("Role {} already exists", role.name));
    }
    service.roles.push(role);
    service.watched = false;
    service.set(ServiceState::Deploying);
    Ok(())
}

/// A role that leaves one.
pub(super) fn remove_role(service: &mut Service, name: &str) -> Result<(), String> {
    if service.state != ServiceState::Running {
        return Err(format!("Cannot modify roles in state: {}", service.state));
    }
    let role = service.roles.iter_mut().find(|role| role.name == name);
    role.ok_or_else(|| format!("Role {name} does not exist"))?.leaving = true;
    service.watched = false;
    service.set(ServiceState::Undeploying);
    Ok(())
}
