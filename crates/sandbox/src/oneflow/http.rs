//! OneFlow's REST: routes, login, the 400s and 500s.

use super::schema;
use super::service::{Service, Template, unsigned};
use crate::attributes::{Attributes, merge, text};
use crate::faults::{Asked, Cut, Service as Fallible, Verdict};
use crate::supervisor::Command;
use crate::zone::{Zone, now, object};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use base64::{Engine, engine::general_purpose::STANDARD};
use onefed_opennebula::{RoleState, ServiceState};
use serde_json::{Value, json};
use std::sync::Arc;

/// The server of one zone.
pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(zone)
}

/// Status and text of an answer.
struct Answer(u16, String);

impl Answer {
    fn document(status: u16, document: &Value) -> Self {
        Self(status, json!({ "DOCUMENT": document }).to_string())
    }

    fn pool(documents: Vec<Value>) -> Self {
        let pool = if documents.is_empty() { json!({}) } else { json!({ "DOCUMENT": documents }) };
        Self(200, json!({ "DOCUMENT_POOL": pool }).to_string())
    }

    fn empty() -> Self {
        Self(204, String::new())
    }

    fn no_document(id: u32) -> Self {
        Self(404, format!("[one.document.info] Error getting document [{id}]."))
    }

    /// What the original answers when it did not expect to fail.
    fn unhandled(reason: &str) -> Self {
        Self(500, json!({"message": "Internal server error", "reason": reason}).to_string())
    }

    /// For verbs of the original that nobody has needed here yet.
    fn not_here(what: &str) -> Self {
        Self(501, format!("The sandbox does not do {what}"))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Whatever it is, OneFlow calls it HTML.
        (status, [(header::CONTENT_TYPE, "text/html;charset=utf-8")], self.1).into_response()
    }
}

async fn serve(
    State(zone): State<Arc<Zone>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked {
        service: Some(Fallible::OneFlow),
        vm: None,
        role: None,
        method: method.as_str(),
        path: uri.path(),
    };
    let spoil = match Verdict::on(&zone, &asked, &cut).await {
        Verdict::Instead(answer) => return answer,
        Verdict::Behave => None,
        Verdict::Spoil(spoil) => Some(spoil),
    };
    zone.delay(zone.delays.oneflow).await;
    let answer = answer(&zone, &method, &uri, &headers, &body).into_response();
    match spoil {
        Some(spoil) => spoil.spoil(answer, &cut).await,
        None => answer,
    }
}

fn answer(zone: &Arc<Zone>, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Answer {
    if let Err(refusal) = login(zone, headers) {
        return refusal;
    }
    let path: Vec<&str> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
    let (kind, id, verb) = match path.as_slice() {
        [kind] => (*kind, None, ""),
        [kind, id] | [kind, id, _] if id.parse::<u32>().is_err() => {
            return Answer(404, format!("no such {kind}: {id}"));
        }
        [kind, id] => (*kind, id.parse().ok(), ""),
        [kind, id, verb] => (*kind, id.parse().ok(), *verb),
        _ => return Answer(404, String::new()),
    };
    if method != Method::GET && zone.lock().disabled {
        // What the original tries first there.
        let call = match (method.as_str(), id, verb) {
            ("POST", None, _) | ("POST", Some(_), "action") if kind == "service_template" => "allocate",
            ("DELETE", ..) => "delete",
            _ => "update",
        };
        return Answer(500, format!("[one.document.{call}] Cannot process request, zone disabled"));
    }
    match (kind, method.as_str(), id, verb) {
        ("service_template", "GET", None, _) => list_templates(zone),
        ("service_template", "POST", None, _) => create_template(zone, body),
        ("service_template", "GET", Some(id), "") => show_template(zone, id),
        ("service_template", "PUT", Some(id), "") => update_template(zone, id, body),
        ("service_template", "DELETE", Some(id), "") => delete_template(zone, id, body),
        ("service_template", "POST", Some(id), "action") => template_action(zone, id, body),
        ("service", "GET", None, _) => list_services(zone),
        ("service", "GET", Some(id), "") => show_service(zone, id),
        ("service", "DELETE", Some(id), "") => delete_service(zone, id),
        ("service", "POST", Some(id), "scale") => scale(zone, id, body),
        ("service", "POST", Some(id), "action") => service_action(zone, id, body),
        ("service", "PUT", Some(_), "") | ("service", "POST", Some(_), "role_action" | "role") => {
            Answer::not_here(uri.path())
        }
        _ => Answer(404, String::new()),
    }
}

fn login(zone: &Zone, headers: &HeaderMap) -> Result<(), Answer> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()?.strip_prefix("Basic "));
    let Some(basic) = basic else {
        return Err(Answer(401, "A username and password must be provided".to_owned()));
    };
    let login = STANDARD.decode(basic).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if login.and_then(|login| zone.knows(&login)).is_some() {
        Ok(())
    } else {
        Err(Answer(401, "Invalid credentials".to_owned()))
    }
}

fn parse(body: &[u8]) -> Result<Value, Answer> {
    serde_json::from_slice(body).map_err(|e| Answer::unhandled(&format!("unexpected token: {e}")))
}

fn list_templates(zone: &Zone) -> Answer {
    Answer::pool(zone.lock().documents.templates.iter().map(|(id, t)| t.to_json(*id)).collect())
}

fn show_template(zone: &Zone, id: u32) -> Answer {
    match zone.lock().documents.templates.get(&id) {
        Some(template) => Answer::document(200, &template.to_json(id)),
        None => Answer::no_document(id),
    }
}

fn checked(body: &[u8]) -> Result<(String, Attributes), Answer> {
    let body = schema::check(&parse(body)?).map_err(|why| Answer(400, why))?;
    let name = body.get("name").map(text).unwrap_or_default();
    Ok((name, body))
}

fn create_template(zone: &Zone, body: &[u8]) -> Answer {
    let (name, mut body) = match checked(body) {
        Ok(parts) => parts,
        Err(refusal) => return refusal,
    };
    if name.chars().count() > 128 {
        return Answer(500, "[one.document.allocate] Invalid NAME, max length is 128 chars.".to_owned());
    }
    body.insert("registration_time".to_owned(), json!(now()));
    let mut state = zone.lock();
    let id = state.documents.number();
    let template = Template { name, body };
    let answer = Answer::document(201, &template.to_json(id));
    state.documents.templates.insert(id, template);
    answer
}

fn update_template(zone: &Zone, id: u32, body: &[u8]) -> Answer {
    let mut state = zone.lock();
    let Some(template) = state.documents.templates.get_mut(&id) else { return Answer::no_document(id) };
    let (_, mut body) = match checked(body) {
        Ok(parts) => parts,
        Err(refusal) => return refusal,
    };
    let registered = template.body.get("registration_time").cloned().unwrap_or_default();
    if *body.entry("registration_time").or_insert_with(|| registered.clone()) != registered {
        return Answer(500, "Immutable value: registration_time can not be changed".to_owned());
    }
    // The document's own name stays.
    template.body = body;
    Answer::document(200, &template.to_json(id))
}

fn delete_template(zone: &Zone, id: u32, body: &[u8]) -> Answer {
    let also = serde_json::from_slice::<Value>(body).ok().and_then(|b| Some(text(b.get("delete_type")?)));
    let mut state = zone.lock();
    let Some(template) = state.documents.templates.remove(&id) else { return Answer::no_document(id) };
    if matches!(also.as_deref(), Some("templates" | "all")) {
        let roles = template.body.get("roles").and_then(Value::as_array);
        for role in roles.into_iter().flatten() {
            state.templates.remove(&unsigned(role.get("template_id")).unwrap_or(u32::MAX));
        }
    }
    Answer::empty()
}

fn template_action(zone: &Zone, id: u32, body: &[u8]) -> Answer {
    let action = match parse(body) {
        Ok(body) => object(body.get("action")),
        Err(refusal) => return refusal,
    };
    match action.get("perform").and_then(Value::as_str) {
        Some("instantiate") => instantiate(zone, id, &object(action.get("params"))),
        Some(known @ ("update" | "rename" | "chmod" | "chown" | "chgrp" | "clone")) => {
            Answer::not_here(known)
        }
        // The original ignores what it does not know.
        _ if zone.lock().documents.templates.contains_key(&id) => Answer(200, String::new()),
        _ => Answer::no_document(id),
    }
}

fn instantiate(zone: &Zone, id: u32, params: &Attributes) -> Answer {
    let over = object(params.get("merge_template"));
    let mut state = zone.lock();
    let Some(template) = state.documents.templates.get(&id) else { return Answer::no_document(id) };
    if let Err(why) = inputs_given(&template.body, &over) {
        return Answer(400, why.to_owned());
    }
    let merged = merged(&template.body, &over);
    let body = match schema::check(&Value::Object(merged)) {
        Ok(body) => body,
        Err(why) => return Answer(400, why),
    };
    // It would end the CDATA of the document that the original stores.
    if Value::Object(body.clone()).to_string().contains("]]>") {
        return Answer::unhandled("[one.document.update] XML parse error");
    }
    let name = over.get("name").map(text).unwrap_or_else(|| template.name.clone());
    let number = state.documents.number();
    let service = Service::new(number, name, body);
    let answer = Answer::document(201, &service.to_json(&state));
    state.documents.services.insert(number, service);
    zone.changed.notify_one();
    answer
}

fn inputs_given(template: &Attributes, over: &Attributes) -> Result<(), &'static str> {
    const NONE: &str = "The Service template specifies User Inputs but no values have been found";
    const SOME: &str = "Verify that every User Input have its corresponding value defined";
    let check = |wanted: &Attributes, given: Option<&Value>| {
        if wanted.is_empty() {
            return Ok(());
        }
        let given = given.and_then(Value::as_object).ok_or(NONE)?;
        if wanted.keys().all(|key| given.contains_key(key)) { Ok(()) } else { Err(SOME) }
    };
    let values = over.get("user_inputs_values").or_else(|| over.get("custom_attrs_values"));
    check(&object(template.get("user_inputs")), values)?;
    for role in template.get("roles").and_then(Value::as_array).into_iter().flatten() {
        let wanted = object(role.get("user_inputs"));
        if wanted.is_empty() {
            continue;
        }
        let roles = over.get("roles").and_then(Value::as_array).ok_or(NONE)?;
        // A role that was left out is not looked at.
        if let Some(given) = roles.iter().find(|r| r.get("name") == role.get("name")) {
            check(&wanted, given.get("user_inputs_values"))?;
        }
    }
    Ok(())
}

/// The template with what instantiate may override.
fn merged(template: &Attributes, over: &Attributes) -> Attributes {
    let mut body = template.clone();
    body.remove("registration_time");
    if let Some(name) = over.get("name") {
        body.insert("name".to_owned(), name.clone());
    }
    if let Some(values) = over.get("user_inputs_values").or_else(|| over.get("custom_attrs_values")) {
        let mut part = Attributes::new();
        part.insert("user_inputs_values".to_owned(), values.clone());
        merge(&mut body, &part);
    }
    if let Some(values) = over.get("networks_values") {
        body.insert("networks_values".to_owned(), values.clone());
    }
    let Some(Value::Array(roles)) = body.get_mut("roles") else { return body };
    for change in over.get("roles").and_then(Value::as_array).into_iter().flatten() {
        let Some(Value::Object(role)) = roles.iter_mut().find(|r| r.get("name") == change.get("name")) else {
            continue;
        };
        let allowed = ["cardinality", "shutdown_action", "template_contents", "user_inputs_values"];
        let part =
            object(Some(change)).into_iter().filter(|(key, _)| allowed.contains(&key.as_str())).collect();
        merge(role, &part);
    }
    body
}

fn list_services(zone: &Zone) -> Answer {
    let state = zone.lock();
    Answer::pool(state.documents.services.values().map(|s| s.to_json(&state)).collect())
}

fn show_service(zone: &Zone, id: u32) -> Answer {
    let state = zone.lock();
    match state.documents.services.get(&id) {
        Some(service) => Answer::document(200, &service.to_json(&state)),
        None => Answer::no_document(id),
    }
}

fn delete_service(zone: &Zone, id: u32) -> Answer {
    let mut state = zone.lock();
    let Some(service) = state.documents.services.get_mut(&id) else { return Answer::no_document(id) };
    if !service.state.accepts_delete() {
        return Answer(500, format!("Service cannot be undeployed in state: {}", service.state));
    }
    service.set(ServiceState::Undeploying);
    zone.changed.notify_one();
    Answer::empty()
}

fn scale(zone: &Arc<Zone>, id: u32, body: &[u8]) -> Answer {
    let body = match parse(body) {
        Ok(body) => object(Some(&body)),
        Err(refusal) => return refusal,
    };
    let mut state = zone.lock();
    let Some(service) = state.documents.services.get_mut(&id) else { return Answer::no_document(id) };
    let Some(force) = body.get("force").and_then(Value::as_bool) else {
        // As the original: the failed call has already taken the service off the watchdog.
        service.watched = false;
        let cardinality = body.get("cardinality").unwrap_or(&Value::Null);
        return Answer::unhandled(&format!(
            "unexpected token at '{{ \"cardinality\" : {cardinality},\n  \"force\" :  }}'"
        ));
    };
    let role = body.get("role_name").map(text).unwrap_or_default();
    let cardinality = body.get("cardinality").and_then(|c| text(c).parse().ok());
    let Some(cardinality) = cardinality else {
        return Answer(400, "KEY: 'cardinality' must be an Integer;".to_owned());
    };
    match super::scale(zone, &mut state, id, &role, cardinality, force) {
        Ok(()) => Answer::empty(),
        Err(why) => Answer(500, why),
    }
}

fn service_action(zone: &Zone, id: u32, body: &[u8]) -> Answer {
    let action = match parse(body) {
        Ok(body) => object(body.get("action")),
        Err(refusal) => return refusal,
    };
    let perform = action.get("perform").map(text).unwrap_or_default();
    let mut state = zone.lock();
    let Some(service) = state.documents.services.get_mut(&id) else { return Answer::no_document(id) };
    match perform.as_str() {
        "recover" => {
            let delete =
                action.get("params").and_then(|p| p.get("delete")).and_then(Value::as_bool) == Some(true);
            let result = recover(service, delete);
            let again: Vec<u32> = if service.recovering { service.nodes().collect() } else { Vec::new() };
            for vm in again.iter().filter_map(|id| state.vms.get(id)).filter(|vm| vm.has_failed()) {
                vm.tell(Command::Retry);
            }
            zone.changed.notify_one();
            result
        }
        "chown" | "chgrp" | "chmod" | "rename" | "release" | "poweroff" | "poweroff-hard" | "terminate"
        | "terminate-hard" | "reboot" | "reboot-hard" | "resume" | "stop" | "suspend" | "undeploy"
        | "hold" => Answer::not_here(&perform),
        other => Answer(500, format!("Action {other} not supported")),
    }
}

fn recover(service: &mut Service, delete: bool) -> Answer {
    if delete {
        service.recovering = false;
        service.set(ServiceState::Undeploying);
        return Answer::empty();
    }
    match service.state {
        ServiceState::FailedDeploying => {
            service.recovering = true;
            for role in service.roles.iter_mut().filter(|r| r.state == RoleState::FailedDeploying) {
                role.state = RoleState::Pending;
            }
        }
        ServiceState::Cooldown => {
            for role in &mut service.roles {
                role.state = RoleState::Running;
            }
            service.cooldown_until = None;
            service.set(ServiceState::Running);
        }
        ServiceState::FailedScaling => {
            for role in service.roles.iter_mut().filter(|r| r.state == RoleState::FailedScaling) {
                role.cardinality = u32::try_from(role.nodes.len()).unwrap_or(role.cardinality);
                role.state = RoleState::Running;
            }
            service.set(ServiceState::Running);
        }
        ServiceState::Running | ServiceState::Warning | ServiceState::Scaling | ServiceState::Hold => {
            return Answer(500, format!("Service cannot be recovered in state: {}", service.state));
        }
        // Accepted without a visible change.
        _ => {}
    }
    Answer::empty()
}
