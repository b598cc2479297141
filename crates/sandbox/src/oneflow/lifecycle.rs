//! The states of services, moved on whenever something changed.
//!
//! One function, [`advance`], looks at a service and at its VMs and does what is due. It never waits; a loop calls it.

use super::deploy;
use super::service::{Role, Service};
use crate::supervisor::Command;
use crate::zone::{State, Zone};
use onefed_opennebula::{RoleState, ServiceState, VmState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cooldown ends without an event.
const TICK: Duration = Duration::from_millis(200);

/// Moves the zone's services on until the task is dropped.
pub(crate) async fn advance_forever(zone: Arc<Zone>) {
    let mut polled = Instant::now();
    loop {
        let poll = polled.elapsed() >= zone.delays.ready_poll;
        if poll {
            polled = Instant::now();
        }
        advance_all(&zone, poll);
        let _ = tokio::time::timeout(TICK, zone.changed.notified()).await;
    }
}

fn advance_all(zone: &Arc<Zone>, poll: bool) {
    let mut state = zone.lock();
    let ids: Vec<u32> = state.documents.services.keys().copied().collect();
    for id in ids {
        // Taken out while it is worked on, because its VMs are in the same state.
        let Some(mut service) = state.documents.services.remove(&id) else { continue };
        // A step may make the next one due; each state is left at most once a round.
        for _ in 0..8 {
            let before = fingerprint(&service);
            advance(zone, &mut state, &mut service, poll);
            if before == fingerprint(&service) {
                break;
            }
        }
        // Undeployed documents vanish.
        if service.state != ServiceState::Done {
            state.documents.services.insert(id, service);
        }
    }
}

fn fingerprint(service: &Service) -> (ServiceState, Vec<(RoleState, usize)>) {
    (service.state, service.roles.iter().map(|r| (r.state, r.nodes.len())).collect())
}

fn advance(zone: &Arc<Zone>, state: &mut State, service: &mut Service, poll: bool) {
    if !matches!(service.state, ServiceState::Running | ServiceState::Warning) {
        // The watchdog begins anew, with a look at every VM.
        service.roles.iter_mut().for_each(|r| r.seen.clear());
    }
    match service.state {
        ServiceState::Pending => service.set(ServiceState::DeployingNets),
        // Parents that cannot be put in order keep a service here for ever.
        ServiceState::DeployingNets if !service.straight || orderable(&service.roles) => {
            service.set(ServiceState::Deploying);
        }
        ServiceState::Deploying => deploying(zone, state, service, poll),
        ServiceState::FailedDeploying if service.recovering => deploying(zone, state, service, poll),
        ServiceState::Running | ServiceState::Warning if service.watched => watch(state, service),
        ServiceState::Undeploying => undeploying(state, service),
        ServiceState::Scaling => scaling(state, service, poll),
        ServiceState::FailedScaling if service.recovering => rescale(zone, state, service, poll),
        ServiceState::Cooldown if service.cooldown_until.is_none_or(|end| Instant::now() >= end) => {
            cooled_down(service);
        }
        _ => {}
    }
}

fn cooled_down(service: &mut Service) {
    for role in service.roles.iter_mut().filter(|r| r.state == RoleState::Cooldown) {
        role.state = RoleState::Running;
    }
    service.cooldown_until = None;
    service.watched = true;
    service.set(ServiceState::Running);
}

/// Every parent exists and no role is its own ancestor.
fn orderable(roles: &[Role]) -> bool {
    let mut placed = BTreeSet::new();
    loop {
        let before = placed.len();
        for role in roles {
            if role.parents.iter().all(|p| placed.contains(p)) {
                placed.insert(role.name.clone());
            }
        }
        if placed.len() == before {
            return placed.len() == roles.len();
        }
    }
}

fn deploying(zone: &Arc<Zone>, state: &mut State, service: &mut Service, poll: bool) {
    for at in 0..service.roles.len() {
        let parents = |wanted: RoleState| {
            let is = |name: &String| service.roles.iter().any(|r| r.name == *name && r.state == wanted);
            !service.straight || service.roles[at].parents.iter().all(is)
        };
        let (running, waiting) = (parents(RoleState::Running), parents(RoleState::Hold));
        let role = &service.roles[at];
        let held: Vec<String> = service.roles.iter().filter(|r| r.on_hold).map(|r| r.name.clone()).collect();
        let hold = role.held(service.on_hold() && !service.releasing, &held);
        // OneFlow looks at new VMs once before it waits for their events.
        let mut look = poll;
        if role.state == RoleState::Pending && (running || hold && waiting) {
            look = true;
            service.roles[at].on_hold = hold;
            service.roles[at].state = if hold { RoleState::Hold } else { RoleState::Deploying };
            if let Err(why) = fill(zone, state, service, at) {
                service.note("E", why);
                return failed(service, at);
            }
        }
        if service.roles[at].state == RoleState::Hold && service.releasing && running {
            let_go(state, &mut service.roles[at]);
        }
        if service.roles[at].state == RoleState::Deploying {
            match outcome(state, &mut service.roles[at], service.gated, look) {
                Some(true) => service.roles[at].state = RoleState::Running,
                Some(false) => return failed(service, at),
                None => {}
            }
        }
    }
    let all = |wanted: RoleState| service.roles.iter().all(|r| r.state == wanted);
    if all(RoleState::Running) {
        service.recovering = false;
        service.releasing = false;
        service.watched = true;
        service.set(ServiceState::Running);
    } else if all(RoleState::Hold) && !service.releasing {
        service.set(ServiceState::Hold);
    }
}

fn failed(service: &mut Service, role: usize) {
    service.roles[role].state = RoleState::FailedDeploying;
    service.recovering = false;
    service.set(ServiceState::FailedDeploying);
}

/// Releases the VMs of a role that is on hold.
fn let_go(state: &mut State, role: &mut Role) {
    for id in &role.nodes {
        if let Some(vm) = state.vms.get_mut(id)
            && let Err(why) = vm.act("release")
        {
            tracing::info!(vm = id, %why, "cannot be released");
        }
    }
    role.on_hold = false;
    role.state = RoleState::Deploying;
}

/// Lets the VMs of a service go that is, or has roles, on hold. `Err` is the text of the 500.
pub(super) fn release(state: &mut State, id: u32) -> Result<(), String> {
    let Some(service) = state.documents.services.get_mut(&id) else { return Ok(()) };
    if !service.roles.iter().any(|role| role.state == RoleState::Hold) {
        return Err("Service has no roles in HOLD".to_owned());
    }
    service.releasing = true;
    service.set(ServiceState::Deploying);
    Ok(())
}

/// Creates the VMs that a role lacks.
fn fill(zone: &Arc<Zone>, state: &mut State, service: &mut Service, at: usize) -> Result<(), String> {
    while service.roles[at].nodes.len() < service.roles[at].cardinality as usize {
        let id = deploy::next_vm(zone, state, service, &service.roles[at])?;
        service.roles[at].nodes.push(id);
        service.roles[at].last_vmname += 1;
    }
    Ok(())
}

/// Whether the VMs of a role have come up (`Some(true)`), will not (`Some(false)`), or are on their way.
fn outcome(state: &State, role: &mut Role, gated: bool, poll: bool) -> Option<bool> {
    drop_done(state, role);
    let mut all = true;
    for vm in role.nodes.iter().filter_map(|id| state.vms.get(id)) {
        let up = if gated {
            // Events count at any time, the attribute only at the poll. The state of the VM plays no part beyond being
            // off, which OneFlow takes for success.
            vm.ready_event || vm.is_off() || poll && vm.says_ready()
        } else {
            vm.is_running() || vm.is_off()
        };
        if !up && vm.has_failed() && poll {
            return Some(false);
        }
        all &= up;
    }
    all.then_some(true)
}

/// VMs that were ended by hand lower the cardinality.
fn drop_done(state: &State, role: &mut Role) {
    let before = role.nodes.len();
    role.nodes.retain(|id| state.vms.get(id).is_some_and(|vm| vm.state != VmState::Done));
    let gone = u32::try_from(before - role.nodes.len()).unwrap_or(0);
    role.cardinality = role.cardinality.saturating_sub(gone);
}

/// OneFlow's watchdog goes by events: the last one of any VM decides about its role, so that one VM that comes back makes a
/// role RUNNING in which another one is still off. States on the way are no news to it.
fn watch(state: &State, service: &mut Service) {
    for role in &mut service.roles {
        drop_done(state, role);
        for vm in role.nodes.iter().filter_map(|id| state.vms.get(id)) {
            if role.seen.insert(vm.id, vm.transitions) == Some(vm.transitions) {
                continue;
            }
            if vm.alarms() {
                role.state = RoleState::Warning;
            } else if vm.is_running() {
                role.state = RoleState::Running;
            }
        }
    }
    let warning = service.roles.iter().any(|r| r.state == RoleState::Warning);
    service.set(if warning { ServiceState::Warning } else { ServiceState::Running });
    if service.automatic_deletion && service.roles.iter().all(|r| r.nodes.is_empty()) {
        service.set(ServiceState::Undeploying);
    }
}

fn undeploying(state: &mut State, service: &mut Service) {
    if let Some(at) = service.roles.iter().position(|role| role.leaving) {
        return leaving(state, service, at);
    }
    let orderly = service.straight && orderable(&service.roles);
    for at in 0..service.roles.len() {
        let name = service.roles[at].name.clone();
        let child_alive = |r: &Role| r.parents.contains(&name) && r.state != RoleState::Done;
        let due = !orderly || !service.roles.iter().any(child_alive);
        if service.roles[at].state != RoleState::Undeploying
            && service.roles[at].state != RoleState::Done
            && due
        {
            end_vms(state, service, at, usize::MAX);
            service.roles[at].state = RoleState::Undeploying;
        }
        let role = &mut service.roles[at];
        if role.state == RoleState::Undeploying && gone(state, role) {
            role.state = RoleState::Done;
        }
    }
    if service.roles.iter().all(|r| r.state == RoleState::Done) {
        service.set(ServiceState::Done);
    }
}

/// A role that is taken out of a service that goes on.
fn leaving(state: &mut State, service: &mut Service, at: usize) {
    if service.roles[at].state != RoleState::Undeploying {
        end_vms(state, service, at, usize::MAX);
        service.roles[at].state = RoleState::Undeploying;
    }
    if gone(state, &mut service.roles[at]) {
        service.roles.remove(at);
        if service.roles.is_empty() {
            service.set(ServiceState::Done);
        } else {
            service.watched = true;
            service.set(ServiceState::Running);
        }
    }
}

/// Whether all VMs of a role are done; forgets those that are.
fn gone(state: &State, role: &mut Role) -> bool {
    role.nodes.retain(|id| state.vms.get(id).is_some_and(|vm| vm.state != VmState::Done));
    role.nodes.is_empty()
}

/// Ends VMs of a role, the oldest first, in the way that the role or the service says.
fn end_vms(state: &State, service: &Service, role: usize, count: usize) {
    let role = &service.roles[role];
    let action = role.body.get("shutdown_action").or_else(|| service.body.get("shutdown_action"));
    let hard = action.is_some_and(|action| action == "terminate-hard");
    for vm in role.nodes.iter().take(count).filter_map(|id| state.vms.get(id)) {
        vm.tell(Command::Terminate { hard });
    }
}

/// `recover` of a service. `Err` is the text of the 500.
pub(super) fn recover(state: &mut State, id: u32, delete: bool) -> Result<(), String> {
    let Some(service) = state.documents.services.get_mut(&id) else { return Ok(()) };
    if delete {
        service.recovering = false;
        service.watched = false;
        service.roles.iter_mut().for_each(|role| role.leaving = false);
        service.set(ServiceState::Undeploying);
        return Ok(());
    }
    match service.state {
        ServiceState::FailedDeploying => {
            for role in service.roles.iter_mut().filter(|r| r.state == RoleState::FailedDeploying) {
                role.state = RoleState::Pending;
            }
        }
        ServiceState::FailedScaling => {}
        ServiceState::Cooldown => {
            cooled_down(service);
            return Ok(());
        }
        ServiceState::Running | ServiceState::Warning | ServiceState::Hold | ServiceState::Done => {
            return Err(format!("Service cannot be recovered in state: {}", service.state));
        }
        // Accepted without a visible change.
        _ => return Ok(()),
    }
    service.recovering = true;
    let again: Vec<u32> = service.nodes().collect();
    for id in again {
        let Some(vm) = state.vms.get_mut(&id) else { continue };
        if vm.has_failed() {
            vm.tell(Command::Retry);
        } else if vm.is_off()
            && let Err(why) = vm.act("resume")
        {
            tracing::info!(vm = id, %why, "cannot be resumed");
        }
    }
    Ok(())
}

/// Why a service keeps its cardinality.
pub(crate) enum Unscaled {
    /// OneFlow says why.
    Refused(String),
    /// OneFlow failed, with the reason in its answer.
    Unhandled(String),
}

/// Sets a role's cardinality. `force` is what was sent: without it the original fails after it has taken the service
/// off its watchdog.
pub(crate) fn scale(
    zone: &Arc<Zone>,
    state: &mut State,
    id: u32,
    role: &str,
    cardinality: u32,
    force: Option<bool>,
) -> Result<(), Unscaled> {
    let Some(mut service) = state.documents.services.remove(&id) else {
        return Err(Unscaled::Refused(format!("[one.document.info] Error getting document [{id}].")));
    };
    let result = scale_service(zone, state, &mut service, role, cardinality, force);
    state.documents.services.insert(id, service);
    zone.changed.notify_one();
    result
}

fn scale_service(
    zone: &Arc<Zone>,
    state: &mut State,
    service: &mut Service,
    name: &str,
    cardinality: u32,
    force: Option<bool>,
) -> Result<(), Unscaled> {
    let refused = |why: String| Err(Unscaled::Refused(why));
    if service.state != ServiceState::Running {
        return refused(format!("Service cannot be scaled in state: {}", service.state));
    }
    service.watched = false;
    let Some(at) = service.roles.iter().position(|r| r.name == name) else {
        return refused(format!("Role {name} not found"));
    };
    let Some(force) = force else {
        let text = format!("unexpected token at '{{ \"cardinality\" : {cardinality},\n  \"force\" :  }}'");
        return Err(Unscaled::Unhandled(text));
    };
    let limit = |key: &str| super::service::unsigned(service.roles[at].body.get(key)).filter(|_| !force);
    let beyond = match (limit("min_vms"), limit("max_vms")) {
        (Some(min), _) if cardinality < min => Some(format!("Minimum cardinality is {min}")),
        (_, Some(max)) if cardinality > max => Some(format!("Maximum cardinality is {max}")),
        _ => None,
    };
    if let Some(why) = beyond {
        service.watched = true;
        return refused(format!("Can't scale service {}: {why}", service.id));
    }
    let before = service.roles[at].cardinality;
    if cardinality == before {
        return refused(format!("Cardinality of {name} is already at {cardinality}"));
    }
    let up = cardinality > before;
    let way = if up { "up" } else { "down" };
    service.note("I", format!("Role {name} scaling {way} from {before} to {cardinality} nodes"));
    let role = &mut service.roles[at];
    (role.cardinality, role.state, role.scaling_up) = (cardinality, RoleState::Scaling, Some(up));
    service.set(ServiceState::Scaling);
    if up {
        grow(zone, state, service, at);
    } else {
        // The oldest go first.
        let surplus = service.roles[at].nodes.len().saturating_sub(cardinality as usize);
        end_vms(state, service, at, surplus);
    }
    Ok(())
}

fn grow(zone: &Arc<Zone>, state: &mut State, service: &mut Service, at: usize) {
    if let Err(why) = fill(zone, state, service, at) {
        service.note("E", why);
        not_scaled(service, at);
    }
}

fn not_scaled(service: &mut Service, role: usize) {
    service.roles[role].state = RoleState::FailedScaling;
    service.recovering = false;
    service.set(ServiceState::FailedScaling);
}

/// What a failed scaling lacks is tried again; the service shows its failure until that is done.
fn rescale(zone: &Arc<Zone>, state: &mut State, service: &mut Service, poll: bool) {
    for at in 0..service.roles.len() {
        if service.roles[at].state == RoleState::FailedScaling {
            service.roles[at].state = RoleState::Scaling;
            grow(zone, state, service, at);
        }
    }
    if service.recovering {
        scaling(state, service, poll);
    }
}

fn scaling(state: &State, service: &mut Service, poll: bool) {
    for at in 0..service.roles.len() {
        let gated = service.gated;
        let role = &mut service.roles[at];
        if role.state != RoleState::Scaling {
            continue;
        }
        if role.scaling_up == Some(false) {
            role.nodes.retain(|id| state.vms.get(id).is_some_and(|vm| vm.state != VmState::Done));
            if role.nodes.len() > role.cardinality as usize {
                return;
            }
        } else {
            match outcome(state, role, gated, poll) {
                None => return,
                Some(true) => {}
                Some(false) => return not_scaled(service, at),
            }
        }
        role.state = RoleState::Cooldown;
        role.scaling_up = None;
        let cooldown = Duration::from_secs(u64::from(role.cooldown()));
        service.cooldown_until = Some(Instant::now() + cooldown);
    }
    service.recovering = false;
    service.set(ServiceState::Cooldown);
}

/// The end of a zone's services when the sandbox stops: all of them at once, whatever their state. `only` chooses.
pub(crate) async fn undeploy_everything(zone: &Zone, only: impl Fn(&Service) -> bool) {
    {
        let mut state = zone.lock();
        for service in state.documents.services.values_mut().filter(|s| only(s)) {
            // VMs of one service end in parallel: nobody will use what a child still needs its parent for.
            service.straight = false;
            service.roles.iter_mut().for_each(|role| role.leaving = false);
            service.set(ServiceState::Undeploying);
        }
    }
    loop {
        zone.changed.notify_one();
        if !zone.lock().documents.services.values().any(&only) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Caller;
    use crate::addresses::Plan;
    use crate::attributes::Attributes;
    use crate::federation::Federation;
    use crate::flower::FlowerDirs;
    use crate::machine::Vm;
    use crate::world::ZoneWorld;
    use crate::zone::Host;
    use onefed_opennebula::{Credentials, LcmState};
    use serde_json::json;

    fn state_with(user_template: serde_json::Value, vm_state: VmState, lcm: LcmState) -> State {
        let credentials = Credentials::parse("a:b").unwrap();
        let federation = Federation::new(&credentials, &[]).unwrap();
        let host = Host::new("/x".into(), "/x".into(), FlowerDirs::One("/x".into()), federation);
        let zone = Zone::new("z".parse().unwrap(), 0, Plan::new(9, 0), Arc::new(host), &ZoneWorld::default());
        let commands = tokio::sync::mpsc::unbounded_channel().0;
        let mut vm = Vm::new(0, String::new(), commands);
        vm.set(vm_state, lcm);
        vm.user_template = user_template.as_object().unwrap().clone();
        let mut state = zone.into_state();
        state.vms.insert(0, vm);
        state
    }

    /// Gated outcome of the event loop and of the poll.
    fn gated(state: &State) -> [Option<bool>; 2] {
        let body = json!({"name": "r", "cardinality": 1});
        let service = json!({"roles": [body]});
        let mut service =
            Service::new(0, String::new(), Caller::oneadmin().owned(), service.as_object().unwrap().clone());
        service.roles[0].nodes = vec![0];
        [false, true].map(|poll| outcome(state, &mut service.roles[0], true, poll))
    }

    #[test]
    fn the_poll_wants_exactly_yes_and_off_is_a_success() {
        let pending = |attributes| gated(&state_with(attributes, VmState::Pending, LcmState::Init));
        assert_eq!(pending(json!({})), [None, None]);
        assert_eq!(pending(json!({"READY": "YES"})), [None, Some(true)]);
        assert_eq!(pending(json!({"READY": "YESNO"})), [None, None]);
        assert_eq!(pending(json!({"FOO_READY": "YES"})), [None, None]);
        assert_eq!(
            gated(&state_with(json!({}), VmState::Poweroff, LcmState::Init)),
            [Some(true), Some(true)]
        );
        assert_eq!(
            gated(&state_with(json!({}), VmState::Active, LcmState::BootFailure)),
            [None, Some(false)]
        );
        let mut state = state_with(json!({}), VmState::Pending, LcmState::Init);
        state.vms.get_mut(&0).unwrap().update("X_READY=\"YES\"", Attributes::new(), true);
        assert_eq!(gated(&state), [Some(true), Some(true)]);
    }
}
