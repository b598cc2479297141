//! OneFlow's REST: login, routes, and what answers look like.

use super::{actions, services, templates};
use crate::access::{Caller, Owned, Right};
use crate::attributes::Attributes;
use crate::faults::{Asked, Cut, Service as Fallible, Verdict};
use crate::refusal::{AUTHENTICATION, AUTHORIZATION, NO_EXISTS, Refusal};
use crate::zone::{State as ZoneState, Zone, object};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::sync::{Arc, MutexGuard};

/// The server of one zone.
pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(zone)
}

/// Status and text of an answer.
#[derive(Debug)]
pub(super) struct Answer(pub(super) u16, pub(super) String);

impl Answer {
    pub(super) fn document(status: u16, document: &Value) -> Self {
        Self(status, json!({ "DOCUMENT": document }).to_string())
    }

    pub(super) fn pool(documents: Vec<Value>) -> Self {
        let pool = if documents.is_empty() { json!({}) } else { json!({ "DOCUMENT": documents }) };
        Self(200, json!({ "DOCUMENT_POOL": pool }).to_string())
    }

    pub(super) fn empty() -> Self {
        Self(204, String::new())
    }

    pub(super) fn no_document(id: u32) -> Self {
        Self(404, format!("[one.document.info] Error getting document [{id}]."))
    }

    /// What the original answers when it did not expect to fail.
    pub(super) fn unhandled(reason: &str) -> Self {
        Self(500, json!({"message": "Internal server error", "reason": reason}).to_string())
    }

    /// An error of OneFlow itself.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self(500, why.into())
    }

    /// What becomes of a refusal of oned to `method`.
    pub(super) fn refused(method: &str, refusal: &Refusal) -> Self {
        let status = match refusal.code {
            AUTHORIZATION => 401,
            AUTHENTICATION => 403,
            NO_EXISTS => 404,
            _ => 500,
        };
        Self(status, format!("[{method}] {}", refusal.text))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Whatever it is, OneFlow calls it HTML.
        (status, [(header::CONTENT_TYPE, "text/html;charset=utf-8")], self.1).into_response()
    }
}

/// What a request is about. The zone is locked for as long as it lasts.
pub(super) struct Call<'a> {
    pub(super) zone: &'a Arc<Zone>,
    pub(super) state: MutexGuard<'a, ZoneState>,
    pub(super) caller: Caller,
    pub(super) body: &'a [u8],
}

impl Call<'_> {
    /// The body as JSON; text that is none is what the original did not expect.
    pub(super) fn json(&self) -> Result<Value, Answer> {
        serde_json::from_slice(self.body).map_err(|e| Answer::unhandled(&format!("unexpected token: {e}")))
    }

    /// `perform` and `params` of an action.
    pub(super) fn action(&self) -> Result<(String, Option<Attributes>), Answer> {
        let action = object(self.json()?.get("action"));
        let perform = action.get("perform").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((perform, action.get("params").and_then(Value::as_object).cloned()))
    }

    /// `Err` is oned's refusal to `one.document.<verb>`.
    pub(super) fn may(&self, right: Right, owned: &Owned, id: u32, verb: &str) -> Result<(), Answer> {
        Refusal::unless(owned, &self.caller, right, "DOCUMENT", id)
            .map_err(|refusal| Answer::refused(&format!("one.document.{verb}"), &refusal))
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
    let answer = answer(&zone, &method, &uri, &headers, &body).unwrap_or_else(|refusal| refusal);
    match spoil {
        Some(spoil) => spoil.spoil(answer.into_response(), &cut).await,
        None => answer.into_response(),
    }
}

fn answer(
    zone: &Arc<Zone>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Answer> {
    let caller = login(zone, headers)?;
    let call = Call { zone, state: zone.lock(), caller, body };
    let path: Vec<&str> = uri.path().split('/').filter(|p| !p.is_empty()).collect();
    let number = |id: &str| id.parse().map_err(|_| Answer::no_document(u32::MAX));
    let method = method.as_str();
    if method != "GET" && call.state.disabled {
        // What the original tries first there.
        let verb = match (method, path.as_slice()) {
            ("POST", ["service_template"] | ["service_template", _, "action"]) => "allocate",
            ("DELETE", _) => "delete",
            _ => "update",
        };
        return Err(Answer(500, format!("[one.document.{verb}] Cannot process request, zone disabled")));
    }
    match (method, path.as_slice()) {
        ("GET", ["service_template"]) => Ok(templates::list(&call)),
        ("POST", ["service_template"]) => templates::create(call),
        ("GET", ["service_template", id]) => templates::show(&call, number(id)?),
        ("PUT", ["service_template", id]) => templates::update(call, number(id)?),
        ("DELETE", ["service_template", id]) => templates::delete(call, number(id)?),
        ("POST", ["service_template", id, "action"]) => templates::act(call, number(id)?),
        ("GET", ["service"]) => Ok(services::list(&call)),
        ("GET", ["service", id]) => services::show(&call, number(id)?),
        ("PUT", ["service", id]) => services::update(call, number(id)?),
        ("DELETE", ["service", id]) => services::delete(call, number(id)?),
        ("POST", ["service", id, "scale"]) => services::scale(call, number(id)?),
        ("POST", ["service", id, "action"]) => actions::of_service(call, number(id)?),
        ("POST", ["service", id, "role_action"]) => actions::of_roles(call, number(id)?),
        ("POST", ["service", id, "role", role, "action"]) => actions::of_role(call, number(id)?, role),
        // Documents in DONE are never left, so there is nothing to purge.
        ("POST", ["service_pool", "purge_done"]) => Ok(Answer::empty()),
        _ => Err(Answer(404, String::new())),
    }
}

fn login(zone: &Zone, headers: &HeaderMap) -> Result<Caller, Answer> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()?.strip_prefix("Basic "));
    let basic = basic.ok_or_else(|| Answer(401, "A username and password must be provided".to_owned()))?;
    let login = STANDARD.decode(basic).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let caller = login.and_then(|login| zone.knows(&login));
    caller.ok_or_else(|| Answer(401, "Invalid credentials".to_owned()))
}
