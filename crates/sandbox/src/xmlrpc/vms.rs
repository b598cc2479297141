//! `one.vm.*`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::attributes::parse;
use crate::refusal::{ACTION, API, INTERNAL, Refusal};

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("vm", "info") => info,
        ("vm", "update") => update,
        ("vm", "updateconf") => updateconf,
        ("vm", "action") => action,
        _ => return None,
    })
}

fn known(call: &Call<'_>, id: i64) -> Result<u32, Failure> {
    let known = u32::try_from(id).ok().filter(|id| call.state.vms.contains_key(id));
    Ok(known.ok_or_else(|| Refusal::missing("virtual machine", id))?)
}

fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = known(call, arguments.int()?)?;
    arguments.flag_or()?;
    Ok(Outcome::Text(call.state.vms.get(&id).map(|vm| vm.to_xml(call.zone.plan)).unwrap_or_default()))
}

fn update(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = known(call, arguments.int()?)?;
    let text = arguments.text()?;
    let append = arguments.int_or(0)? != 0;
    let parsed = parse(text).map_err(|why| {
        Refusal::new(INTERNAL, i64::from(id), format!("Cannot update virtual machine. Parse error: {why}"))
    })?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.update(text, parsed, append);
    }
    call.zone.changed.notify_one();
    Ok(Outcome::Number(id))
}

fn updateconf(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = known(call, arguments.int()?)?;
    let text = arguments.text()?;
    // 0 replaces, 1 appends.
    let append = match arguments.int_or(0)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::new(API, -1, "Wrong update type").into()),
    };
    let parsed = parse(text).map_err(|why| Refusal::internal(format!("Parse error: {why}")))?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.reconfigure(&parsed, append, call.zone.plan).map_err(Refusal::internal)?;
    }
    Ok(Outcome::Number(id))
}

fn action(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let action = arguments.text()?;
    let id = known(call, arguments.int()?)?;
    if let Some(vm) = call.state.vms.get_mut(&id) {
        vm.act(action).map_err(|why| Refusal::new(ACTION, -1, why))?;
    }
    call.zone.changed.notify_one();
    Ok(Outcome::Number(id))
}
