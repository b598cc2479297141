//! Actions of services and roles.

use super::http::{Answer, Call};
use super::services::{add_role, known, managed, remove_role};
use super::templates::owner;
use super::{lifecycle, schema};
use crate::access::{Mode, Right};
use crate::attributes::{Attributes, text};
use crate::zone::Zone;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What may be done to the VMs of a role.
const OF_VMS: [&str; 13] = [
    "terminate",
    "terminate-hard",
    "undeploy",
    "undeploy-hard",
    "hold",
    "release",
    "stop",
    "suspend",
    "resume",
    "reboot",
    "reboot-hard",
    "poweroff",
    "poweroff-hard",
];

/// Seconds between one batch of VMs and the next, and VMs of a batch, unless told otherwise.
const PERIOD: u64 = 60;
const NUMBER: u64 = 1;

pub(super) fn of_service(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let (perform, params) = call.action()?;
    let missing = |what: &str| Answer::failed(format!("Action {perform}: You have to specify {what}"));
    let param = |key: &str| params.as_ref().and_then(|p| p.get(key)).filter(|v| !v.is_null());
    match perform.as_str() {
        "recover" => {
            let delete = param("delete").is_some_and(|v| *v != Value::Bool(false));
            managed(&mut call, id)?;
            lifecycle::recover(&mut call.state, id, delete).map_err(Answer::failed)?;
        }
        "chown" | "chgrp" => {
            let (user, group) = (param("owner_id").filter(|_| perform == "chown"), param("group_id"));
            if perform == "chown" && user.is_none() {
                return Err(missing("a UID"));
            }
            if perform == "chgrp" && group.is_none() {
                return Err(missing("a GID"));
            }
            known(&call, id, Right::Manage, "chown")?;
            let owner = owner(&call, user, group);
            if let (Some(owner), Ok(service)) = (owner, managed(&mut call, id)) {
                owner.apply(&mut service.owned);
            }
        }
        "chmod" => {
            let octet = param("octet").map(text).ok_or_else(|| missing("an OCTET"))?;
            let mode = Mode::parse(&octet).ok_or_else(|| Answer::unhandled("bad octet"))?;
            managed(&mut call, id)?.owned.mode = mode;
        }
        "rename" => {
            let name = param("name").map(text).ok_or_else(|| missing("a name"))?;
            managed(&mut call, id)?.name = name;
        }
        "release" => {
            managed(&mut call, id)?;
            lifecycle::release(&mut call.state, id).map_err(Answer::failed)?;
        }
        action if OF_VMS.contains(&action) => {
            let params = params.as_ref().ok_or_else(no_params)?;
            let service = managed(&mut call, id)?;
            let roles: Vec<String> = service.roles.iter().map(|role| role.name.clone()).collect();
            for role in roles {
                batch(&mut call, id, &role, action, params)?;
            }
        }
        other => return Err(Answer::failed(format!("Action {other} not supported"))),
    }
    call.zone.changed.notify_one();
    Ok(Answer::empty())
}

/// Ruby's complaint about options that are not there.
fn no_params() -> Answer {
    Answer::unhandled("undefined method `[]' for nil:NilClass")
}

/// An action on the VMs of one role.
pub(super) fn of_role(mut call: Call<'_>, id: u32, role: &str) -> Result<Answer, Answer> {
    let (perform, params) = call.action()?;
    let params = params.ok_or_else(no_params)?;
    if !managed(&mut call, id)?.has(role) {
        return Err(Answer::failed(format!("Role '{role}' not found")));
    }
    batch(&mut call, id, role, &perform, &params)?;
    Ok(Answer::empty())
}

/// Schedules an action on the VMs of a role: so many at a time, so many seconds apart.
fn batch(call: &mut Call<'_>, id: u32, role: &str, action: &str, params: &Attributes) -> Result<(), Answer> {
    let number = |key: &str, default| {
        params.get(key).filter(|v| !v.is_null()).map_or(default, |v| text(v).parse().unwrap_or(0))
    };
    let (period, batch) = (number("period", PERIOD), number("number", NUMBER));
    let service = managed(call, id)?;
    let vms = service.roles.iter().find(|r| r.name == role).map(|r| r.nodes.clone()).unwrap_or_default();
    for (at, vm) in (0..).zip(&vms) {
        // Without a period or a number, all at once.
        let wait = u64::checked_div(at, batch).map_or(0, |before| before.saturating_mul(period));
        later(call.zone, *vm, action.to_owned(), Duration::from_secs(wait));
    }
    let vms: Vec<String> = vms.iter().map(u32::to_string).collect();
    tracing::debug!(service = id, "Action:{action} scheduled on Role:{role}VMs:{}", vms.join(","));
    Ok(())
}

/// As a scheduled action of oned. One that the VM's state does not allow then is dropped.
fn later(zone: &Arc<Zone>, vm: u32, action: String, wait: Duration) {
    let zone = zone.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        if let Some(Err(why)) = zone.lock().vms.get_mut(&vm).map(|vm| vm.act(&action)) {
            tracing::info!(zone = %zone.name, vm, %why, "a scheduled action was dropped");
        }
        zone.changed.notify_one();
    });
}

/// Roles that join and leave.
pub(super) fn of_roles(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let (perform, params) = call.action()?;
    let role = params.as_ref().and_then(|p| p.get("role")).cloned();
    match perform.as_str() {
        "add_role" => {
            let role = match role {
                Some(Value::String(text)) => {
                    serde_json::from_str(&text).map_err(|e| Answer(400, format!("unexpected token: {e}")))?
                }
                Some(role) => role,
                None => return Err(no_params()),
            };
            let role = schema::role(&role).map_err(|why| Answer(400, why))?;
            add_role(managed(&mut call, id)?, role).map_err(Answer::failed)?;
        }
        "remove_role" => {
            let name = role.as_ref().map(text).unwrap_or_default();
            remove_role(managed(&mut call, id)?, &name).map_err(Answer::failed)?;
        }
        other => return Err(Answer::failed(format!("Action {other} not supported"))),
    }
    call.zone.changed.notify_one();
    Ok(Answer::empty())
}
