//! Waiting for a service: signing what its VMs ask for, telling how far each is, and naming what failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{ServiceId, ServiceState};
use onefed_trust::EnrolKey;

use super::{Work, sign};
use crate::failure::{Exit, Failure};
use crate::zones::ZoneClients;

/// From the request for a service to all its VMs being ready.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
const LOOK: Duration = Duration::from_millis(400);

/// A service that is waited for.
pub(super) struct Gate<'a> {
    pub(super) work: &'a Work,
    pub(super) zone: &'a ZoneClients,
    pub(super) name: &'a str,
    pub(super) id: &'a ServiceId,
    pub(super) key: EnrolKey,
}

/// Waits until the service is RUNNING, and returns its VMs.
pub(super) async fn until_ready(gate: &Gate<'_>) -> Result<Vec<Vm>, Failure> {
    let started = Instant::now();
    let mut told: BTreeMap<u32, String> = BTreeMap::new();
    let mut signed: BTreeMap<u32, String> = BTreeMap::new();
    let mut silent_since: Option<Instant> = None;
    loop {
        // A zone that does not answer for a moment is not a failed deployment.
        let (service, vms) = match look(gate).await {
            Ok(seen) => {
                silent_since = None;
                seen
            }
            Err(why)
                if why.is_transient()
                    && silent_since.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(60) =>
            {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        for vm in &vms {
            tell(gate, vm, &mut told);
            if let Some(failure) = failed(gate, vm) {
                return Err(failure);
            }
            sign::if_asked(gate, vm, &mut signed).await?;
        }
        match service.state {
            ServiceState::Running => {
                gate.work.output.say(format!(
                    "  {}: service {} is RUNNING ({:.1} s)",
                    gate.id.zone,
                    gate.name,
                    started.elapsed().as_secs_f64()
                ));
                return Ok(vms);
            }
            state if state.is_failed() || state == ServiceState::Warning => {
                return Err(service_failed(gate, &service));
            }
            _ => {}
        }
        if started.elapsed() > PATIENCE {
            let states: Vec<&str> = told.values().map(String::as_str).collect();
            let text = format!(
                "service {} is still {} after {} min: {}",
                gate.id,
                service.state,
                PATIENCE.as_secs() / 60,
                states.join("; ")
            );
            return Err(Failure::new(Exit::TryAgain, "service-slow", text)
                .hint("run `onefed apply` again: it goes on waiting"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(gate: &Gate<'_>) -> Result<(Service, Vec<Vm>), onefed_opennebula::Error> {
    let service = gate.zone.oneflow.service(gate.id).await?;
    let mut vms = Vec::new();
    for id in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
        vms.push(gate.zone.xmlrpc.vm(id).await?);
    }
    Ok((service, vms))
}

/// Says how far a VM is, when that has changed.
fn tell(gate: &Gate<'_>, vm: &Vm, told: &mut BTreeMap<u32, String>) {
    let of = |name: &str| vm.user_template.get(name).map(String::as_str);
    let role = vm.role_name.as_deref().unwrap_or("?");
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
        gate.work.output.say(format!("  {}: {line}", gate.id.zone));
        told.insert(vm.id.id, line);
    }
}

/// The failure that a VM has published, in its own words.
fn failed(gate: &Gate<'_>, vm: &Vm) -> Option<Failure> {
    let of = |name: &str| vm.user_template.get(name);
    if of(attribute::STATE).map(String::as_str) != Some("failed") {
        return None;
    }
    let code = of(attribute::ERROR).map_or("unknown", String::as_str);
    let text = of(attribute::ERROR_TEXT).and_then(|text| STANDARD.decode(text).ok());
    let text = text.map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
    let role = vm.role_name.as_deref().unwrap_or("?");
    let message = format!("{role} VM {} of service {} failed ({code}): {text}", vm.id, gate.name);
    Some(
        Failure::new(Exit::Failed, "vm-failed", message)
            .hint("when the cause is gone, run `onefed apply` again: it replaces the service"),
    )
}

/// A service that OneFlow gave up, with the last error of its log.
fn service_failed(gate: &Gate<'_>, service: &Service) -> Failure {
    let log = service.log.iter().rev().find(|entry| entry.severity == "E");
    let why = log.map_or("its log names no error", |entry| entry.message.as_str());
    let text = format!("service {} ({}) is {}: {why}", gate.name, gate.id, service.state);
    Failure::new(Exit::Failed, "service-failed", text)
        .hint("`onefed apply` replaces a failed service once the cause is gone")
}
