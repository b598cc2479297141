//! What one zone has of a federation, found by its labels.

use std::collections::BTreeMap;

use onefed_appliance::attribute;
use onefed_context::Role;
use onefed_federation::{Condition, Existing, Facts, Federation, Names, ObjectKind, VmTemplateLabel};
use onefed_opennebula::oneflow::{Service, ServiceTemplate};
use onefed_opennebula::xmlrpc::{Image, VirtualNetwork, Vm, VmTemplate};
use onefed_opennebula::{Attribute, Error, ServiceState, VmState};

use crate::zone_lock;
use crate::zones::{self, ZoneClients};

/// The longest part of somebody else's words in a reason.
const QUOTED: usize = 160;

/// What a zone says of itself, as far as this login may see it.
pub(super) struct Seen {
    /// The objects of the federation, in order.
    pub(super) objects: Vec<Existing>,
    /// How many VMs of each role there are, by the id of the service.
    pub(super) alive: BTreeMap<u32, BTreeMap<String, u32>>,
    /// All VM templates that this login may use.
    pub(super) templates: Vec<VmTemplate>,
    /// All networks that this login may use.
    pub(super) networks: Vec<VirtualNetwork>,
    /// All images that this login may use, or why they are not known.
    pub(super) images: Result<Vec<Image>, Error>,
}

/// A zone that did not tell what of the federation is there.
pub(super) struct Blind {
    /// Why.
    pub(super) why: Error,
    /// What it told all the same, without services and their templates: oned answered, and OneFlow did not.
    pub(super) rest: Option<Box<Seen>>,
}

impl From<Error> for Blind {
    fn from(why: Error) -> Self {
        Self { why, rest: None }
    }
}

/// Looks into a zone.
pub(super) async fn zone(federation: &Federation, zone: &ZoneClients) -> Result<Seen, Blind> {
    zone.xmlrpc.check_version().await?;
    // All to their ends: of several errors the same one is told every time.
    let (templates, networks, images, flow_templates, services) = tokio::join!(
        zone.xmlrpc.templates(),
        zone.xmlrpc.networks(),
        zone.xmlrpc.images(),
        zone.oneflow.service_templates(),
        zone.oneflow.services(),
    );
    let (mut templates, networks) = (templates?, networks?);
    // The lock is there while somebody is at work, and nothing that a plan could name.
    templates.retain(|template| !zone_lock::is_lock(template));
    let names = Names {
        templates: templates.iter().map(|it| (it.id.id, it.name.clone())).collect(),
        networks: networks.iter().map(|it| (it.id.id, it.name.clone())).collect(),
        images: images.iter().flatten().map(|it| (it.id.id, it.name.clone())).collect(),
    };
    let objects = templates.iter().filter_map(|template| vm_template(federation, template, &names)).collect();
    let mut seen = Seen { objects, alive: BTreeMap::new(), templates, networks, images };
    let documents =
        async { add_documents(federation, zone, flow_templates?, services?, &names, &mut seen).await };
    match documents.await {
        Ok(()) => {
            seen.objects.sort_by_key(Existing::order);
            Ok(seen)
        }
        Err(why) => Err(Blind { why, rest: Some(Box::new(seen)) }),
    }
}

/// The service templates and services of the federation.
async fn add_documents(
    federation: &Federation,
    zone: &ZoneClients,
    templates: Vec<ServiceTemplate>,
    services: Vec<Service>,
    names: &Names,
    seen: &mut Seen,
) -> Result<(), Error> {
    for template in templates {
        let Some(digest) = digest_of(federation, &template.body) else { continue };
        seen.objects.push(Existing {
            id: Some(template.id.id),
            kind: ObjectKind::ServiceTemplate,
            name: template.name,
            digest,
            state: Condition::Good,
            trouble: String::new(),
            facts: Facts::of_document(&template.body, names),
        });
    }
    for service in services {
        let Some(digest) = digest_of(federation, &service.body) else { continue };
        let vms = vms(zone, &service).await?;
        let (state, trouble) = condition(&service, &vms);
        seen.alive.insert(service.id.id, alive(&service, &vms));
        seen.objects.push(Existing {
            id: Some(service.id.id),
            kind: ObjectKind::Service,
            name: service.name,
            digest,
            state,
            trouble,
            facts: Facts::of_document(&service.body, names),
        });
    }
    Ok(())
}

/// A VM template that onefed has made for this federation.
fn vm_template(federation: &Federation, template: &VmTemplate, names: &Names) -> Option<Existing> {
    let attributes = &template.attributes;
    let label = attributes.vector(VmTemplateLabel::ATTRIBUTE)?;
    let label = VmTemplateLabel::read(|key| label.get(key).map(String::as_str))?;
    let get = |vector: &str, key: &str| match vector {
        "" => attributes.text(key),
        // A role's own template has one of each.
        _ => attributes.iter().find_map(|(name, value)| match value {
            Attribute::Vector(map) if name == vector => map.get(key).map(String::as_str),
            _ => None,
        }),
    };
    (label.federation == federation.name.as_str()).then(|| Existing {
        id: Some(template.id.id),
        kind: ObjectKind::VmTemplate,
        name: template.name.clone(),
        digest: label.digest,
        state: Condition::Good,
        trouble: String::new(),
        facts: Facts::of_vm_template(get, names),
    })
}

/// The digest that a document of this federation carries; `None` for documents that are not ours.
fn digest_of(federation: &Federation, body: &serde_json::Value) -> Option<String> {
    let label = body.get("onefed")?;
    let ours = label.get("federation")?.as_str()? == federation.name.as_str();
    ours.then(|| label.get("digest").and_then(|digest| digest.as_str()).unwrap_or_default().to_owned())
}

/// The VMs of a service that are there at all.
async fn vms(zone: &ZoneClients, service: &Service) -> Result<Vec<Vm>, Error> {
    let mut found = Vec::new();
    for id in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
        match zone.xmlrpc.vm(id).await {
            Ok(vm) => found.push(vm),
            Err(why) if why.is_not_found() => {}
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}

/// How many VMs of each role there are that are not gone.
fn alive(service: &Service, vms: &[Vm]) -> BTreeMap<String, u32> {
    let there = |id: &onefed_opennebula::VmId| vms.iter().any(|vm| vm.id == *id && vm.state != VmState::Done);
    let count = |role: &onefed_opennebula::oneflow::Role| {
        u32::try_from(role.nodes.iter().flatten().filter(|id| there(id)).count()).unwrap_or(u32::MAX)
    };
    service.roles.iter().map(|role| (role.name.clone(), count(role))).collect()
}

/// How a service is, and what is wrong with it.
fn condition(service: &Service, vms: &[Vm]) -> (Condition, String) {
    match service.state {
        ServiceState::Undeploying | ServiceState::UndeployingNets | ServiceState::Done => {
            (Condition::Leaving, String::new())
        }
        state if state.is_failed() => {
            let last = service.log.iter().rev().find(|entry| entry.severity == "E");
            let words = last.map(|entry| format!(": {}", quoted(&entry.message))).unwrap_or_default();
            (Condition::Failed, format!("it has failed, {state}{words}"))
        }
        // OneFlow does not see a VM that failed to boot, and takes one that is off for a success.
        state => match vms.iter().find_map(failed) {
            Some(why) => (Condition::Failed, why),
            None if matches!(state, ServiceState::Running | ServiceState::Warning) => short(service, vms),
            None => (Condition::Busy, String::new()),
        },
    }
}

/// Whether a VM says that it failed to boot, or is off. One that is gone altogether is another matter.
fn failed(vm: &Vm) -> Option<String> {
    if vm.state == VmState::Done {
        return None;
    }
    if zones::is_off(vm) {
        return Some(format!("VM {} is {}", vm.id.id, vm.state));
    }
    let says = vm.user_template.get(attribute::STATE).is_some_and(|state| state == "failed");
    let code = vm.user_template.get(attribute::ERROR).map(|code| format!(" ({})", quoted(code)));
    says.then(|| format!("VM {} has failed to boot{}", vm.id.id, code.unwrap_or_default()))
}

/// A service that runs and may have lost VMs: somebody ended them, and OneFlow lowers its own numbers with them.
fn short(service: &Service, vms: &[Vm]) -> (Condition, String) {
    let alive = alive(service, vms);
    let mut worst = (Condition::Good, Vec::new());
    for role in service.body.get("roles").and_then(|roles| roles.as_array()).into_iter().flatten() {
        let name = role.get("name").and_then(|name| name.as_str()).unwrap_or_default();
        let least = role.get("min_vms").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let have = u64::from(alive.get(name).copied().unwrap_or(0));
        if have >= least {
            continue;
        }
        // The others of a service depend on these; SuperNodes are added as when it scales.
        let others_depend = name != Role::SuperNode.as_str();
        if others_depend || worst.0 == Condition::Failed {
            worst.0 = Condition::Failed;
        } else {
            worst.0 = Condition::Short;
        }
        worst.1.push(format!("it has {have} of {least} {name} VMs"));
    }
    (worst.0, worst.1.join(", "))
}

/// The first line of somebody else's words, not too much of it.
fn quoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
