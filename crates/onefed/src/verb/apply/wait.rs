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
use super::hub::{self, Coordinator};
use super::register::{Registrar, SUPERNODE};
use super::report::Outcome;
use super::room::Room;
use super::sign::{SERVING, SUPERLINK, Signer};
use crate::failure::{Exit, Failure};
use crate::table::plain;
use crate::zones;

/// From the request for a service to all its VMs being ready.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How long a zone may not answer meanwhile.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the VMs of a site are given to come as far as they can while there is no hub.
const SETTLING: Duration = Duration::from_secs(5 * 60);
const LOOK: Duration = Duration::from_millis(300);

/// A service that is waited for.
pub(super) struct Awaited<'a> {
    pub(super) work: &'a Work,
    pub(super) room: &'a Room,
    pub(super) part: Part<'a>,
    pub(super) name: &'a str,
    pub(super) id: &'a ServiceId,
    /// The key by which its VMs vouch for what they ask for.
    pub(super) key: Option<EnrolKey>,
}

/// Waits until the service is RUNNING and every VM of it says READY. OneFlow alone is not enough: it takes a VM that is
/// powered off for a success. A site whose hub does not come in this run is done when it has come as far as it can.
pub(super) async fn until_ready(awaited: &Awaited<'_>) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let mut told: BTreeMap<u32, String> = BTreeMap::new();
    let mut signer = Signer::default();
    let mut registrar = Registrar::default();
    let mut silent_since: Option<Instant> = None;
    let mut without_hub: Option<Instant> = None;
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
                let whole = !members.is_empty() && members.len() >= wanted(&service);
                let all_ready = whole && members.iter().all(|member| is_ready(&member.vm));
                if awaited.part == Part::Coordinator {
                    announce(awaited, &members)?;
                }
                // After a scaling it cools down for minutes, in which it runs like any other.
                let runs = matches!(
                    service.state,
                    ServiceState::Running | ServiceState::Warning | ServiceState::Cooldown
                );
                if all_ready && runs {
                    let seconds = started.elapsed().as_secs_f64();
                    let (zone, name, state) = (&awaited.id.zone, awaited.name, service.state);
                    awaited.work.output.say(format!("  {zone}: service {name} is {state} ({seconds:.1} s)"));
                    return Ok(Outcome::Done { service: awaited.id.id, vms: members.len() });
                }
                if service.state.is_failed() {
                    return Err(service_failed(awaited, &service));
                }
                let missing = awaited.work.hub.news().coordinator == Coordinator::Missing;
                if missing && awaited.part != Part::Coordinator {
                    let since = without_hub.get_or_insert_with(Instant::now).elapsed();
                    let settled = whole && members.iter().all(|member| is_settled(awaited, member));
                    if settled || since > SETTLING {
                        let why = "its SuperNodes go on when the hub is there".to_owned();
                        return Ok(Outcome::Waiting { service: Some(awaited.id.id), why });
                    }
                }
                if started.elapsed() > PATIENCE {
                    return Err(slow(awaited, &service, &told));
                }
            }
            // A zone that does not answer for a moment is not a failed deployment.
            Err(why) if why.passes() => {
                if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                    return Ok(Outcome::Down(why));
                }
            }
            Err(why) => return Err(why),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the others have to know: where the hub is, as soon as OneFlow has made its VM, and when it does its work.
/// SuperNodes of its own service are others too: they cannot come before their keys are registered with it.
fn announce(awaited: &Awaited<'_>, members: &[Member]) -> Result<(), Failure> {
    let work = awaited.work;
    let planned = hub::planned(&work.federation);
    let hubs = || members.iter().filter(|member| member.role == SUPERLINK).map(|member| &member.vm);
    let ready = hubs().next().is_some() && hubs().all(is_ready);
    let of_vm = || hubs().flat_map(|vm| &vm.nics).find_map(|nic| nic.ip);
    let hub = planned.or_else(|| Some(hub::at(&work.federation, of_vm()?.to_string())));
    match hub {
        Some(hub) => work.hub_is_at(awaited.id.zone.as_str(), hub)?,
        None if ready => {
            let text = format!("zone {}: the SuperLink's VM has no address", awaited.id.zone);
            return Err(
                Failure::new(Exit::Failed, "no-address", text).hint("name it as `address` in [coordinator]")
            );
        }
        None => {}
    }
    if ready {
        work.hub.coordinator(Coordinator::Ready);
    }
    Ok(())
}

/// How many VMs the service is to have.
fn wanted(service: &Service) -> usize {
    service.roles.iter().map(|role| role.cardinality as usize).sum()
}

/// Whether a VM of a site is as far as it can come without the hub: it has its certificate, or has shown its key.
fn is_settled(awaited: &Awaited<'_>, Member { role, vm }: &Member) -> bool {
    let has = |name: &str| vm.user_template.contains_key(name);
    let federation = &awaited.work.federation;
    if SERVING.contains(&role.as_str()) && federation.tls {
        has(attribute::CERTIFICATE)
    } else if role == SUPERNODE && federation.node_auth() {
        has(attribute::NODE_KEY)
    } else {
        has(attribute::STATE)
    }
}

/// A VM of the service, in the role that OneFlow's own document gives it (a VM's attributes can be overwritten by its
/// siblings).
pub(super) struct Member {
    pub(super) role: String,
    pub(super) vm: Vm,
}

async fn look(awaited: &Awaited<'_>) -> Result<(Service, Vec<Member>), onefed_opennebula::Error> {
    let clients = &awaited.room.clients;
    let service = clients.oneflow.service(awaited.id).await?;
    let asked = service.roles.iter().flat_map(|role| role.nodes.iter().flatten().map(move |id| (role, id)));
    let asked = asked.map(|(role, id)| async move {
        Ok(Member { role: role.name.clone(), vm: clients.xmlrpc.vm(id).await? })
    });
    let members = futures_util::future::try_join_all(asked).await?;
    Ok((service, members))
}

/// Whether a VM runs and has said that it does its work.
pub(super) fn is_ready(vm: &Vm) -> bool {
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
        Some("starting") if of(attribute::WAITING).is_some() => {
            let what = of(attribute::WAITING).and_then(|what| STANDARD.decode(what).ok()).unwrap_or_default();
            format!("waits: {}", plain(&String::from_utf8_lossy(&what)))
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
