//! OneFlow's documents as types.

use crate::json::{many, number, state, text};
use crate::xmlrpc::{Owner, Permissions, Rights};
use crate::{RoleState, ServiceId, ServiceState, ServiceTemplateId, VmId, ZoneName};
use serde_json::Value;

/// A service template.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTemplate {
    /// Its id.
    pub id: ServiceTemplateId,
    /// The document's name. Names are not unique.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// The template as stored, with keys that OneFlow does not know.
    pub body: Value,
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The document's name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// Its state.
    pub state: ServiceState,
    /// Its roles in order.
    pub roles: Vec<Role>,
    /// The last 50 events, oldest first. Failures to instantiate show only here.
    pub log: Vec<LogEntry>,
    /// The body as stored, with the unknown keys of the template it came from.
    pub body: Value,
}

/// A role of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: RoleState,
    /// Wanted number of VMs.
    pub cardinality: u32,
    /// Its VMs, oldest first; `None` for one whose data OneFlow could not read.
    pub nodes: Vec<Option<VmId>>,
}

/// A line of a service's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Seconds since 1970.
    pub timestamp: i64,
    /// `I` or `E`.
    pub severity: String,
    /// The text.
    pub message: String,
}

pub(super) fn template(zone: &ZoneName, document: &Value) -> Result<ServiceTemplate, &'static str> {
    let (id, name, body) = document_parts(document)?;
    let (owner, permissions) = (owner(document), permissions(document));
    Ok(ServiceTemplate { id: ServiceTemplateId::new(zone.clone(), id), name, owner, permissions, body })
}

pub(super) fn service(zone: &ZoneName, document: &Value) -> Result<Service, &'static str> {
    let (id, name, body) = document_parts(document)?;
    let state = ServiceState::from(state(body.get("state")).ok_or("a service without state")?);
    let roles = many(body.get("roles")).iter().map(|r| role(zone, r)).collect::<Result<_, _>>()?;
    let log = many(body.get("log")).iter().map(log_entry).collect();
    let (id, owner, permissions) = (ServiceId::new(zone.clone(), id), owner(document), permissions(document));
    Ok(Service { id, name, owner, permissions, state, roles, log, body })
}

fn owner(document: &Value) -> Owner {
    let name = |key| text(document.get(key)).unwrap_or_default();
    Owner {
        uid: number(document.get("UID")).unwrap_or_default(),
        gid: number(document.get("GID")).unwrap_or_default(),
        uname: name("UNAME"),
        gname: name("GNAME"),
    }
}

fn permissions(document: &Value) -> Permissions {
    let bits = document.get("PERMISSIONS");
    let rights = |who: &str| {
        let has = |what: &str| number(bits.and_then(|b| b.get(format!("{who}_{what}")))) == Some(1);
        Rights { usage: has("U"), manage: has("M"), admin: has("A") }
    };
    Permissions { owner: rights("OWNER"), group: rights("GROUP"), other: rights("OTHER") }
}

fn document_parts(document: &Value) -> Result<(u32, String, Value), &'static str> {
    let id = number(document.get("ID")).ok_or("a DOCUMENT without ID")?;
    let name = text(document.get("NAME")).unwrap_or_default();
    let body =
        document.get("TEMPLATE").and_then(|t| t.get("BODY")).cloned().ok_or("a DOCUMENT without BODY")?;
    Ok((id, name, body))
}

fn role(zone: &ZoneName, value: &Value) -> Result<Role, &'static str> {
    Ok(Role {
        name: text(value.get("name")).ok_or("a role without name")?,
        // A role that was never touched has no state yet.
        state: RoleState::from(state(value.get("state")).unwrap_or(0)),
        cardinality: number(value.get("cardinality")).unwrap_or(0),
        nodes: many(value.get("nodes")).iter().map(|n| node(zone, n)).collect(),
    })
}

fn node(zone: &ZoneName, value: &Value) -> Option<VmId> {
    let info = value.get("vm_info")?.get("VM")?;
    number(info.get("ID")).or_else(|| number(value.get("deploy_id"))).map(|id| VmId::new(zone.clone(), id))
}

fn log_entry(value: &Value) -> LogEntry {
    let timestamp = value.get("timestamp");
    LogEntry {
        timestamp: timestamp.and_then(Value::as_i64).or_else(|| text(timestamp)?.parse().ok()).unwrap_or(0),
        severity: text(value.get("severity")).unwrap_or_default(),
        message: text(value.get("message")).unwrap_or_default(),
    }
}
