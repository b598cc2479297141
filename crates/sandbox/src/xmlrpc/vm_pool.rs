//! `one.vmpool.*`: newest first.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler, page};
use crate::machine::Vm;
use crate::refusal::{API, Refusal};
use onefed_opennebula::VmState;

pub(super) fn handler(_: &str, verb: &str) -> Option<Handler> {
    Some(match verb {
        "info" => |call, arguments| list(call, arguments, false),
        "infoextended" => |call, arguments| list(call, arguments, true),
        "infoset" => set,
        _ => return None,
    })
}

fn shown(call: &Call<'_>, vm: &Vm, extended: bool) -> String {
    if extended { vm.to_xml(call.zone.plan) } else { vm.to_xml_short(call.zone.plan) }
}

fn list(call: &mut Call<'_>, arguments: &mut Arguments<'_>, extended: bool) -> Result<Outcome, Failure> {
    let (filter, start, end) = arguments.range()?;
    let state = arguments.int_or(-1)?;
    if !arguments.text_or("")?.is_empty() {
        return Err(Refusal::internal("JSON query search is not supported by the SQL backend").into());
    }
    if !(-2..=11).contains(&state) {
        return Err(Refusal::new(API, -1, format!("Incorrect state filter {state}")).into());
    }
    let asked = |vm: &&Vm| match state {
        -2 => true,
        -1 => vm.state != VmState::Done,
        state => i64::from(vm.state.number()) == state,
    };
    let seen = call.state.vms.values().rev().filter(asked).filter(|vm| vm.owned.passes(&call.caller, filter));
    let all = seen.map(|vm| (vm.id, shown(call, vm, extended))).collect();
    Ok(Outcome::Text(format!("<VM_POOL>{}</VM_POOL>", page(all, start, end).concat())))
}

/// Those whose numbers are given, separated by commas.
fn set(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let ids: Vec<u32> = arguments.text()?.split(',').filter_map(|id| id.trim().parse().ok()).collect();
    let extended = arguments.flag_or()?;
    let asked = call.state.vms.values().rev().filter(|vm| ids.contains(&vm.id));
    let seen = asked.filter(|vm| vm.owned.passes(&call.caller, -2));
    let all: String = seen.map(|vm| shown(call, vm, extended)).collect();
    Ok(Outcome::Text(format!("<VM_POOL>{all}</VM_POOL>")))
}
