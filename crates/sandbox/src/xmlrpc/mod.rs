//! XML-RPC of oned, as far as onefed and its tests call it: one file an object.

mod groups;
mod objects;
mod templates;
mod users;
mod vm_pool;
mod vms;
mod wire;
mod zones;

use crate::access::Caller;
use crate::faults::{Asked, Cut, Service, Verdict};
use crate::refusal::{AUTHENTICATION, Refusal};
use crate::zone::{State as ZoneState, Zone};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use onefed_opennebula::xmlrpc::wire::Value;
use std::sync::{Arc, MutexGuard};
use wire::{Arguments, Failure, Outcome};

/// The server of one zone.
pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(zone)
}

async fn serve(
    State(zone): State<Arc<Zone>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let read = wire::read(&body);
    let asked = asked(&read, uri.path());
    let spoil = match Verdict::on(&zone, &asked, &cut).await {
        Verdict::Instead(answer) => return answer,
        Verdict::Behave => None,
        Verdict::Spoil(spoil) => Some(spoil),
    };
    zone.delay(zone.delays.xmlrpc).await;
    let close = (header::CONNECTION, "close");
    if method != Method::POST || uri.path() != "/RPC2" {
        return (StatusCode::NOT_FOUND, [close], "Not Found").into_response();
    }
    let body = match read {
        Ok((method, params)) => wire::answer(&method, respond(&zone, &method, &params)),
        Err(failure) => wire::answer("", Err(failure)),
    };
    let answer = ([close, (header::CONTENT_TYPE, "text/xml; charset=utf-8")], body).into_response();
    match spoil {
        Some(spoil) => spoil.spoil(answer, &cut).await,
        None => answer,
    }
}

/// What a call is, for faults.
fn asked<'a>(read: &'a Result<(String, Vec<Value>), Failure>, path: &'a str) -> Asked<'a> {
    let (method, params) = match read {
        Ok((method, params)) => (method.as_str(), params.as_slice()),
        Err(_) => ("", &[][..]),
    };
    let number = |value: &Value| if let Value::Int(id) = value { u32::try_from(*id).ok() } else { None };
    let vm = params.iter().find_map(number).filter(|_| method.starts_with("one.vm."));
    Asked { service: Some(Service::XmlRpc), vm, role: None, method, path }
}

/// A refusal as it is on the wire.
pub(crate) fn refusal(method: &str, code: i32, text: &str) -> String {
    wire::answer(method, Err(Refusal::new(code, -1, text).into()))
}

/// What a call is about: who calls, and the zone, locked for as long as the call lasts. So every call is atomic.
struct Call<'a> {
    zone: &'a Arc<Zone>,
    state: MutexGuard<'a, ZoneState>,
    caller: Caller,
}

type Handler = fn(&mut Call<'_>, &mut Arguments<'_>) -> Result<Outcome, Failure>;

fn respond(zone: &Arc<Zone>, method: &str, params: &[Value]) -> Result<Outcome, Failure> {
    let Some(handler) = handler(method) else {
        return Err(Failure::Fault(-506, format!("Method '{method}' not defined")));
    };
    let mut arguments = Arguments::new(params);
    let caller = zone
        .knows(arguments.text()?)
        .ok_or_else(|| Refusal::new(AUTHENTICATION, -1, "User couldn't be authenticated, aborting call."))?;
    let state = zone.lock();
    if state.disabled && !reads(method) {
        return Err(Refusal::internal("Cannot process request, zone disabled").into());
    }
    handler(&mut Call { zone, state, caller }, &mut arguments)
}

fn handler(method: &str) -> Option<Handler> {
    let (object, verb) = method.strip_prefix("one.")?.split_once('.')?;
    match object {
        "system" | "zonepool" | "zone" | "acl" => zones::handler(object, verb),
        "template" | "templatepool" => templates::handler(object, verb),
        "vn" | "vnpool" | "image" | "imagepool" | "host" | "hostpool" | "datastorepool" => {
            objects::handler(object, verb)
        }
        "user" | "userpool" => users::handler(object, verb),
        "group" | "grouppool" => groups::handler(object, verb),
        "vm" => vms::handler(object, verb),
        "vmpool" => vm_pool::handler(object, verb),
        _ => None,
    }
}

/// What a disabled zone still does.
fn reads(method: &str) -> bool {
    let verb = method.rsplit('.').next().unwrap_or_default();
    matches!(verb, "info" | "infoset" | "infoextended" | "version" | "config" | "raftstatus" | "login")
        || method == "one.zone.enable"
}

/// The part of a pool that is asked for: from the first to the last id, or from an offset so many (a negative end).
fn page<T>(pool: Vec<(u32, T)>, start: i64, end: i64) -> Vec<T> {
    let all = pool.into_iter();
    if start < 0 {
        return all.map(|(_, item)| item).collect();
    }
    if end < -1 {
        let skip = usize::try_from(start).unwrap_or(usize::MAX);
        let take = usize::try_from(-end).unwrap_or(usize::MAX);
        return all.skip(skip).take(take).map(|(_, item)| item).collect();
    }
    let within = |id: u32| i64::from(id) >= start && (end == -1 || i64::from(id) <= end);
    all.filter(|(id, _)| within(*id)).map(|(_, item)| item).collect()
}
