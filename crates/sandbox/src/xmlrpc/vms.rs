//! `one.vm.*`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Right;
use crate::attributes::read;
use crate::refusal::{ACTION, API, INTERNAL, Refusal};

pub(super) fn handler(_: &str, verb: &str) -> Option<Handler> {
    Some(match verb {
        "info" => info,
        "update" => update,
        "updateconf" => updateconf,
        "action" => action,
        "recover" => recover,
        _ => return None,
    })
}

/// The VM of that number, if the caller has the right.
fn known(call: &Call<'_>, id: i64, right: Right) -> Result<u32, Failure> {
    let vm = u32::try_from(id).ok().and_then(|id| call.state.vms.get(&id));
    let vm = vm.ok_or_else(|| Refusal::missing("virtual machine", id))?;
    Refusal::unless(&vm.owned, &call.caller, right, "VM", vm.id)?;
    Ok(vm.id)
}

/// 0 replaces, 1 appends.
fn append(arguments: &mut Arguments<'_>) -> Result<bool, Failure> {
    match arguments.int_or(0)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Refusal::new(API, -1, "Wrong update type").into()),
    }
}

fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let id = known(call, id, Right::Use)?;
    Ok(Outcome::Text(call.state.vms.get(&id).map(|vm| vm.to_xml(call.zone.plan)).unwrap_or_default()))
}

fn update(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, text) = (arguments.int()?, arguments.text()?);
    let append = append(arguments)?;
    let id = known(call, id, Right::Manage)?;
    let refused =
        |why| Refusal::new(INTERNAL, i64::from(id), format!("Cannot update virtual machine. {why}"));
    let given = read(text).map_err(refused)?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.update(text, given, append);
    }
    call.zone.changed.notify_one();
    Ok(Outcome::Number(id))
}

fn updateconf(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, text) = (arguments.int()?, arguments.text()?);
    let append = append(arguments)?;
    let id = known(call, id, Right::Manage)?;
    let given = read(text).map_err(Refusal::internal)?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.reconfigure(&given, append, call.zone.plan).map_err(Refusal::internal)?;
    }
    Ok(Outcome::Number(id))
}

fn action(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let action = arguments.text()?;
    let id = known(call, arguments.int()?, Right::Manage)?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.act(action).map_err(|why| Refusal::new(ACTION, -1, why))?;
    }
    call.zone.changed.notify_one();
    Ok(Outcome::Number(id))
}

fn recover(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, operation) = (arguments.int()?, arguments.int()?);
    let id = known(call, id, Right::Admin)?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.recover(operation).map_err(|why| Refusal::new(ACTION, -1, why))?;
    }
    call.zone.changed.notify_one();
    Ok(Outcome::Number(id))
}
