//! Waiting for a service: signing what its VMs ask for, telling how far each is, and naming what failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_federation::Part;
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{ServiceId, ServiceState, VmState};
use onefed_trust::EnrolKey;

use super::Work;
use super::register::Registrar;
use super::sign::Signer;
use crate::failure::{Exit, Failure};
use crate::state::HubAddress;
use crate::zones::{self, ZoneClients};

/// From the request for a service to all its VMs being ready.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How long a zone may not answer meanwhile.
const SILENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(400);

/// A service that is waited for.
pub(super) struct Awaited<'a> {
    pub(super) work: &'a Work,
    pub(super) zone: &'a ZoneClients,
    pub(super) part: Part<'a>,
    pub(super) name: &'a str,
    pub(super) id: &'a ServiceId,
    pub(super) key: EnrolKey,
    /// Where the hub is, once that is known.
    pub(super) hub: Option<&'a HubAddress>,
}

/// Waits until the service is RUNNING and every VM of it says READY, and returns its VMs. OneFlow alone is not enough:
/// it takes a VM that is powered off for a success.
pub(super) async fn until_ready(awaited: &Awaited<'_>) -> Result<Vec<Vm>, Failure> {
    let started = Instant::now();
    let mut told: BTreeMap<u32, String> = BTreeMap::new();
    let mut signer = Signer::default();
    let mut registrar = Registrar::default();
    let mut silent_since: Option<Instant> = None;
    loop {
        let seen = async {
            let seen = look(awaited).await?;
            for member in &seen.1 {
                signer.if_asked(awaited, member).await?;
                registrar.if_asked(awaited, member).await?;
            }
            Ok::<_, Failure>(seen)
        };
        match seen.await {
            Ok((service, members)) => {
                silent_since = None;
                for member in &members {
                    tell(awaited, member, &mut told);
                    if let Some(failure) = failed(awaited, member) {
                        return Err(failure);
                    }
                }
                let up = matches!(service.state, ServiceState::Running | ServiceState::Warning);
                if up && !members.is_empty() && members.iter().all(|member| is_ready(&member.vm)) {
                    let seconds = started.elapsed().as_secs_f64();
                    let (zone, name, state) = (&awaited.id.zone, awaited.name, service.state);
                    awaited.work.output.say(format!("  {zone}: service {name} is {state} ({seconds:.1} s)"));
                    return Ok(members.into_iter().map(|member| member.vm).collect());
                }
                if service.state.is_failed() {
                    return Err(service_failed(awaited, &service));
                }
                if started.elapsed() > PATIENCE {
                    return Err(slow(awaited, &service, &told));
                }
            }
            // A zone that does not answer for a moment is not a failed deployment.
            Err(why) if matches!(why.exit, Exit::Unreachable | Exit::TryAgain) => {
                if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                    return Err(why);
                }
            }
            Err(why) => return Err(why),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A VM of the service, in the role that OneFlow's own document gives it (a VM's attributes can be overwritten by its
/// siblings).
pub(super) struct Member {
    pub(super) role: String,
    pub(super) vm: Vm,
}

async fn look(awaited: &Awaited<'_>) -> Result<(Service, Vec<Member>), onefed_opennebula::Error> {
    let service = awaited.zone.oneflow.service(awaited.id).await?;
    let mut members = Vec::new();
    for role in &service.roles {
        for id in role.nodes.iter().flatten() {
            members.push(Member { role: role.name.clone(), vm: awaited.zone.xmlrpc.vm(id).await? });
        }
    }
    Ok((service, members))
}

/// Whether a VM runs and has said that it does its work.
fn is_ready(vm: &Vm) -> bool {
    vm.state == VmState::Active && vm.user_template.get(attribute::READY).is_some_and(|ready| ready == "YES")
}

fn slow(awaited: &Awaited<'_>, service: &Service, told: &BTreeMap<u32, String>) -> Failure {
    let states: Vec<&str> = told.values().map(String::as_str).collect();
    let (minutes, states) = (PATIENCE.as_secs() / 60, states.join("; "));
    let text = format!(
        "service {} is {} after {minutes} min, and not all is ready: {states}",
        awaited.id, service.state
    );
    Failure::new(Exit::TryAgain, "service-slow", text).hint("run `onefed apply` again: it goes on waiting")
}

/// Says how far a VM is, when that has changed.
fn tell(awaited: &Awaited<'_>, Member { role, vm }: &Member, told: &mut BTreeMap<u32, String>) {
    let of = |name: &str| vm.user_template.get(name).map(String::as_str);
    let mut words = match of(attribute::STATE) {
        None => vm.state.to_string().to_lowercase(),
        Some("starting") if of(attribute::REQUEST).is_some() && of(attribute::CERTIFICATE).is_none() => {
            "asks for its certificate".to_owned()
        }
        Some(state) => state.to_owned(),
    };
    if let Some(node) = of(attribute::NODE_ID) {
        words.push_str(&format!(", registered as node {node}"));
    }
    let line = format!("{role} VM {}: {words}", vm.id.id);
    if told.get(&vm.id.id) != Some(&line) {
        awaited.work.output.say(format!("  {}: {line}", awaited.id.zone));
        told.insert(vm.id.id, line);
    }
}

/// The failure that a VM has published, in its own words; or that it is off.
fn failed(awaited: &Awaited<'_>, Member { role, vm }: &Member) -> Option<Failure> {
    let of = |name: &str| vm.user_template.get(name);
    let who = format!("{role} VM {} of service {}", vm.id, awaited.name);
    let message = if of(attribute::STATE).is_some_and(|state| state == "failed") {
        let code = of(attribute::ERROR).map_or("unknown", String::as_str);
        let text = of(attribute::ERROR_TEXT).and_then(|text| STANDARD.decode(text).ok());
        let text = text.map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        format!("{who} failed ({code}): {text}")
    } else if zones::is_off(vm) {
        format!("{who} is {}", vm.state)
    } else {
        return None;
    };
    Some(
        Failure::new(Exit::Failed, "vm-failed", message)
            .hint("when the cause is gone, run `onefed apply` again: it replaces the service"),
    )
}

/// A service that OneFlow gave up, with the last error of its log.
fn service_failed(awaited: &Awaited<'_>, service: &Service) -> Failure {
    let log = service.log.iter().rev().find(|entry| entry.severity == "E");
    let why = log.map_or("its log names no error", |entry| entry.message.as_str());
    let text = format!("service {} ({}) is {}: {why}", awaited.name, awaited.id, service.state);
    Failure::new(Exit::Failed, "service-failed", text)
        .hint("`onefed apply` replaces a failed service once the cause is gone")
}
