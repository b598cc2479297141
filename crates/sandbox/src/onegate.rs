//! OneGate: what VMs ask and publish. Takes connections of [`CutListener`](crate::faults::CutListener) only.

use crate::attributes::{Attributes, parse};
use crate::faults::{Asked, Cut, Service, Verdict};
use crate::machine::Vm;
use crate::zone::{State as ZoneState, Zone};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attributes that a VM may not write.
const RESTRICTED: [&str; 3] = ["SCHED_REQUIREMENTS", "SERVICE_ID", "ROLE_NAME"];

/// The server of one zone.
pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(zone)
}

struct Answer(u16, String);

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self(200, value.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Plain-text errors too.
        (status, [(header::CONTENT_TYPE, "application/json;charset=utf-8")], self.1).into_response()
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
    let vm = headers.get("x-onegate-vmid").and_then(|h| h.to_str().ok()?.parse().ok());
    let asked =
        Asked { service: Some(Service::OneGate), vm, role: None, method: method.as_str(), path: uri.path() };
    let spoil = match Verdict::on(&zone, &asked, &cut).await {
        Verdict::Instead(answer) => return answer,
        Verdict::Behave => None,
        Verdict::Spoil(spoil) => Some(spoil),
    };
    zone.delay(zone.delays.onegate).await;
    let answer =
        answer(&zone, &method, &uri, &headers, &body).unwrap_or_else(|refusal| refusal).into_response();
    match spoil {
        Some(spoil) => spoil.spoil(answer, &cut).await,
        None => answer,
    }
}

fn answer(
    zone: &Arc<Zone>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Answer> {
    let mut state = zone.lock();
    let path: Vec<&str> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
    let caller = || login(&state, headers);
    match (method.as_str(), path.as_slice()) {
        ("GET", []) => {
            caller()?;
            let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
            let url = |path: &str| format!("http://{host}/{path}");
            Ok(json!({"vm_info": url("vm"), "service_info": url("service")}).into())
        }
        ("GET", ["vm"]) => Ok(find(&state, caller()?)?.to_gate(zone.plan).into()),
        ("GET", ["vms", id]) => {
            let id = sibling(&state, caller()?, id)?;
            Ok(find(&state, id)?.to_gate(zone.plan).into())
        }
        ("GET", ["service"]) => {
            let extended = query(uri, "extended") == Some("true");
            service(zone, &state, caller()?, extended)
        }
        ("PUT", ["vm"]) => {
            let id = caller()?;
            put(zone, &mut state, id, uri, headers, body)
        }
        ("PUT", ["vms", id]) => {
            let id = sibling(&state, caller()?, id)?;
            put(zone, &mut state, id, uri, headers, body)
        }
        ("PUT", ["service", "role", role]) => {
            let service = service_of(&state, caller()?)?;
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let wanted = body.get("cardinality").map(crate::attributes::text).and_then(|c| c.parse().ok());
            let failed = |_| Answer(400, format!("Error performing action on service {service} role {role}"));
            let wanted = wanted.ok_or(()).map_err(failed)?;
            let result = crate::oneflow::scale(zone, &mut state, service, role, wanted, Some(false));
            result.map_err(|_| failed(()))?;
            Ok(Answer(200, String::new()))
        }
        _ => Err(Answer(400, "OneGate server doesn't support this feature".to_owned())),
    }
}

fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The VM whose token this is. A token outlives its VM, as in the original.
fn login(state: &ZoneState, headers: &HeaderMap) -> Result<u32, Answer> {
    let text = |name: &str| headers.get(name).and_then(|h| h.to_str().ok());
    let id = text("x-onegate-vmid").and_then(|id| id.parse().ok());
    let known =
        id.and_then(|id: u32| state.vms.get(&id)).filter(|vm| text("x-onegate-token") == Some(&vm.token));
    known.map(|vm| vm.id).ok_or_else(|| Answer(401, "Not authorized".to_owned()))
}

fn find(state: &ZoneState, id: u32) -> Result<&Vm, Answer> {
    let missing = || Answer(404, format!("[one.vm.info] Error getting virtual machine [{id}]."));
    state.vms.get(&id).ok_or_else(missing)
}

fn service_of(state: &ZoneState, vm: u32) -> Result<u32, Answer> {
    let given = find(state, vm)?.user_template.get("SERVICE_ID").map(crate::attributes::text);
    let id =
        given.and_then(|id| id.parse().ok()).ok_or(Answer(400, "Empty or invalid SERVICE_ID".to_owned()))?;
    let service =
        state.documents.services.get(&id).ok_or_else(|| Answer(404, format!("Service {id} not found")))?;
    // The attribute may have been forged: the service must know the VM.
    contains(service, vm)?;
    Ok(id)
}

fn contains(service: &crate::oneflow::Service, vm: u32) -> Result<(), Answer> {
    if service.roles.iter().any(|r| r.nodes.contains(&vm)) {
        Ok(())
    } else {
        Err(Answer(400, format!("Service {} does not contain VM {vm}.", service.id)))
    }
}

fn sibling(state: &ZoneState, caller: u32, wanted: &str) -> Result<u32, Answer> {
    let service = service_of(state, caller)?;
    // The original turns what is not a number into 0.
    let wanted = wanted.parse().unwrap_or(0);
    if let Some(service) = state.documents.services.get(&service) {
        contains(service, wanted)?;
    }
    Ok(wanted)
}

fn service(zone: &Zone, state: &ZoneState, caller: u32, extended: bool) -> Result<Answer, Answer> {
    let id = service_of(state, caller)?;
    let Some(service) = state.documents.services.get(&id) else {
        return Err(Answer(404, format!("Service {id} not found")));
    };
    let node = |id: &u32| {
        let info = |vm: &Vm| if extended { vm.to_gate_extended(zone.plan) } else { vm.summary() };
        json!({"deploy_id": id, "running": null, "vm_info": state.vms.get(id).map(info)})
    };
    let role = |role: &crate::oneflow::Role| {
        json!({"name": role.name, "cardinality": role.cardinality, "state": role.state.number(),
            "nodes": role.nodes.iter().map(node).collect::<Vec<_>>()})
    };
    let roles: Vec<Value> = service.roles.iter().map(role).collect();
    let body =
        json!({"name": service.name, "id": id.to_string(), "state": service.state.number(), "roles": roles});
    Ok(json!({ "SERVICE": body }).into())
}

fn put(
    zone: &Zone,
    state: &mut ZoneState,
    id: u32,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Answer> {
    let body = String::from_utf8_lossy(body);
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/x-www-form"));
    let data = match body.strip_prefix("data=").filter(|_| form) {
        Some(encoded) => decode(encoded),
        None => body.into_owned(),
    };
    let broken = || Answer(500, "Internal server error".to_owned());
    if state.disabled {
        return Err(broken());
    }
    let delete = query(uri, "type") == Some("2");
    let mut lines = Vec::new();
    for line in data.replace("\\n", "\n").lines().filter(|l| !l.trim().is_empty()) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        // Not trimmed, as in the original: "SERVICE_ID =9" gets through.
        if RESTRICTED.contains(&key.to_ascii_uppercase().as_str()) {
            return Err(Answer(403, format!("Attribute ({}) cannot be modified", key.to_ascii_uppercase())));
        }
        let name = key.trim();
        let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good || !delete && !line.contains('=') {
            return Err(broken());
        }
        lines.push((name.to_ascii_uppercase(), value.trim().to_owned()));
    }
    let vm = state.vms.get_mut(&id).ok_or_else(broken)?;
    if delete {
        let gone = lines.iter().filter(|(name, _)| vm.user_template.remove(name).is_none()).count();
        if gone == lines.len() {
            return Err(Answer(500, "attribute not found".to_owned()));
        }
        return Ok(Answer(200, String::new()));
    }
    let mut attributes = Attributes::new();
    for (name, value) in lines {
        let stored = stored(&name, &value).ok_or_else(broken)?;
        attributes.insert(name, stored);
    }
    vm.update(&data, attributes, true);
    zone.changed.notify_one();
    Ok(Answer(200, String::new()))
}

/// What the original makes of a value; `None` where it fails.
fn stored(name: &str, value: &str) -> Option<Value> {
    if value.is_empty() {
        return Some(json!("\""));
    }
    if value.starts_with('{') {
        return Some(json!(format!("\"{value}\"")));
    }
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    let vector = value.starts_with('[') && value.ends_with(']');
    if quoted && value[1..value.len() - 1].contains('"') {
        return None;
    }
    if quoted || vector {
        return parse(&format!("{name}={value}")).ok()?.remove(name);
    }
    if value.contains([',', '[', ']', '"']) {
        return None;
    }
    Some(json!(value.replace('\\', "")))
}

/// Form decoding.
fn decode(encoded: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (b'&', _) => break,
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
