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
        ServiceState::Cooldown if service.cooldown_until.is_none_or(|end| Instant::now() >= end) => {
            for role in service.roles.iter_mut().filter(|r| r.state == RoleState::Cooldown) {
                role.state = RoleState::Running;
            }
            service.cooldown_until = None;
            service.set(ServiceState::Running);
        }
        _ => {}
    }
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
        let parents = &service.roles[at].parents;
        let running =
            |name: &String| service.roles.iter().any(|r| r.name == *name && r.state == RoleState::Running);
        let due = !service.straight || parents.iter().all(running);
        if service.roles[at].state == RoleState::Pending && due {
            service.roles[at].state = RoleState::Deploying;
            if let Err(why) = fill(zone, state, service, at) {
                service.roles[at].state = RoleState::FailedDeploying;
                service.recovering = false;
                service.note("E", why);
                return service.set(ServiceState::FailedDeploying);
            }
        }
        if service.roles[at].state == RoleState::Deploying {
            match outcome(state, &mut service.roles[at], service.gated, poll) {
                Some(true) => service.roles[at].state = RoleState::Running,
                Some(false) => {
                    service.roles[at].state = RoleState::FailedDeploying;
                    service.recovering = false;
                    return service.set(ServiceState::FailedDeploying);
                }
                None => {}
            }
        }
    }
    if service.roles.iter().all(|r| r.state == RoleState::Running) {
        service.recovering = false;
        service.set(ServiceState::Running);
    }
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
            // The event counts at any time; everything else is only seen by the poll. The state of the VM plays no part
            // beyond being off, which OneFlow takes for success.
            vm.ready_event || poll && (vm.says_ready() || vm.is_off())
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

fn undeploying(state: &State, service: &mut Service) {
    let orderly = service.straight && orderable(&service.roles);
    for at in 0..service.roles.len() {
        let name = service.roles[at].name.clone();
        let child_alive = |r: &Role| r.parents.contains(&name) && r.state != RoleState::Done;
        let due = !orderly || !service.roles.iter().any(child_alive);
        let role = &mut service.roles[at];
        if role.state != RoleState::Undeploying && role.state != RoleState::Done && due {
            role.state = RoleState::Undeploying;
            for id in &role.nodes {
                terminate(state, *id);
            }
        }
        if role.state == RoleState::Undeploying {
            role.nodes.retain(|id| state.vms.get(id).is_some_and(|vm| vm.state != VmState::Done));
            if role.nodes.is_empty() {
                role.state = RoleState::Done;
            }
        }
    }
    if service.roles.iter().all(|r| r.state == RoleState::Done) {
        service.set(ServiceState::Done);
    }
}

fn terminate(state: &State, id: u32) {
    if let Some(vm) = state.vms.get(&id) {
        vm.tell(Command::Terminate { hard: false });
    }
}

/// Sets a role's cardinality. `Err` is the text of the 500.
pub(crate) fn scale(
    zone: &Arc<Zone>,
    state: &mut State,
    id: u32,
    role: &str,
    cardinality: u32,
    force: bool,
) -> Result<(), String> {
    let Some(mut service) = state.documents.services.remove(&id) else {
        return Err(format!("[one.document.info] Error getting document [{id}]."));
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
    force: bool,
) -> Result<(), String> {
    if service.state != ServiceState::Running {
        return Err(format!("Service cannot be scaled in state: {}", service.state));
    }
    let at =
        service.roles.iter().position(|r| r.name == name).ok_or_else(|| format!("Role {name} not found"))?;
    let limit = |key: &str| super::service::unsigned(service.roles[at].body.get(key));
    if let Some(max) = limit("max_vms").filter(|max| !force && cardinality > *max) {
        return Err(format!("Can't scale service {}: Maximum cardinality is {max}", service.id));
    }
    if let Some(min) = limit("min_vms").filter(|min| !force && cardinality < *min) {
        return Err(format!("Can't scale service {}: Minimum cardinality is {min}", service.id));
    }
    if cardinality == service.roles[at].cardinality {
        return Err(format!("Cardinality of {name} is already at {cardinality}"));
    }
    let before = service.roles[at].cardinality;
    let way = if cardinality > before { "up" } else { "down" };
    service.note("I", format!("Role {name} scaling {way} from {before} to {cardinality} nodes"));
    service.watched = true;
    service.roles[at].cardinality = cardinality;
    service.roles[at].state = RoleState::Scaling;
    service.set(ServiceState::Scaling);
    if let Err(why) = fill(zone, state, service, at) {
        service.roles[at].state = RoleState::FailedScaling;
        service.note("E", why);
        service.set(ServiceState::FailedScaling);
    }
    // Down: the oldest go first.
    let surplus = service.roles[at].nodes.len().saturating_sub(cardinality as usize);
    for id in &service.roles[at].nodes[..surplus] {
        terminate(state, *id);
    }
    Ok(())
}

fn scaling(state: &State, service: &mut Service, poll: bool) {
    let gated = service.gated;
    for role in service.roles.iter_mut().filter(|r| r.state == RoleState::Scaling) {
        if role.nodes.len() > role.cardinality as usize {
            role.nodes.retain(|id| state.vms.get(id).is_some_and(|vm| vm.state != VmState::Done));
            if role.nodes.len() > role.cardinality as usize {
                return;
            }
        } else {
            match outcome(state, role, gated, poll) {
                None => return,
                Some(true) => {}
                Some(false) => {
                    role.state = RoleState::FailedScaling;
                    return service.set(ServiceState::FailedScaling);
                }
            }
        }
        role.state = RoleState::Cooldown;
        let cooldown = Duration::from_secs(u64::from(role.cooldown()));
        service.cooldown_until = Some(Instant::now() + cooldown);
    }
    service.set(ServiceState::Cooldown);
}

/// The end of a zone's services when the sandbox stops: all of them at once, whatever their state. `only` chooses.
pub(crate) async fn undeploy_everything(zone: &Zone, only: impl Fn(&Service) -> bool) {
    {
        let mut state = zone.lock();
        for service in state.documents.services.values_mut().filter(|s| only(s)) {
            // VMs of one service end in parallel: nobody will use what a child still needs its parent for.
            service.straight = false;
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
    use crate::addresses::Plan;
    use crate::attributes::Attributes;
    use crate::federation::Federation;
    use crate::machine::Vm;
    use crate::world::ZoneWorld;
    use crate::zone::Host;
    use onefed_opennebula::{Credentials, LcmState};
    use serde_json::json;

    fn state_with(user_template: serde_json::Value, vm_state: VmState, lcm: LcmState) -> State {
        let credentials = Credentials::parse("a:b").unwrap();
        let federation = Federation::new(&credentials, &[]).unwrap();
        let host = Host::new("/x".into(), "/x".into(), "/x".into(), federation);
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
        let mut service = Service::new(0, String::new(), service.as_object().unwrap().clone());
        service.roles[0].nodes = vec![0];
        [false, true].map(|poll| outcome(state, &mut service.roles[0], true, poll))
    }

    #[test]
    fn the_poll_wants_exactly_yes_and_takes_off_for_success() {
        let pending = |attributes| gated(&state_with(attributes, VmState::Pending, LcmState::Init));
        assert_eq!(pending(json!({})), [None, None]);
        assert_eq!(pending(json!({"READY": "YES"})), [None, Some(true)]);
        assert_eq!(pending(json!({"READY": "YESNO"})), [None, None]);
        assert_eq!(pending(json!({"FOO_READY": "YES"})), [None, None]);
        assert_eq!(gated(&state_with(json!({}), VmState::Poweroff, LcmState::Init)), [None, Some(true)]);
        assert_eq!(
            gated(&state_with(json!({}), VmState::Active, LcmState::BootFailure)),
            [None, Some(false)]
        );
        let mut state = state_with(json!({}), VmState::Pending, LcmState::Init);
        state.vms.get_mut(&0).unwrap().update("X_READY=\"YES\"", Attributes::new(), true);
        assert_eq!(gated(&state), [Some(true), Some(true)]);
    }
}
