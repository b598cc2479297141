//! One zone: its version, the federation's services in it, and their VMs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use onefed_appliance::attribute;
use onefed_context::{GatewayPlacement, Role};
use onefed_federation::{Federation, ObjectKind, Part, wanted};
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::Vm;
use onefed_opennebula::{VmId, VmState};

use super::model::{RoleLine, ServiceLine, VmLine, ZoneLine};
use crate::zones::{self, ZoneClients};

/// A part that belongs into a zone, as far as its service is looked for.
struct Expected {
    name: String,
    /// The digest that the plan file comes to.
    digest: String,
    /// Roles with the fewest VMs of each.
    roles: Vec<(Role, u32)>,
}

/// Looks at a zone of the plan; without clients, there is at most a cause.
pub(super) async fn look(
    federation: &Federation,
    clients: Result<&ZoneClients, Option<&str>>,
    name: String,
) -> (ZoneLine, Vec<ServiceLine>) {
    let expected = expected(federation, &name);
    let clients = match clients {
        Ok(clients) => clients,
        Err(why) => {
            let why = why.map_or_else(|| format!("zone {name}: it cannot be asked"), str::to_owned);
            let services = expected.iter().map(|part| unknown(&name, part, &why)).collect();
            let (version, oneflow_why) = (None, None);
            let line = ZoneLine { zone: name, version, supported: false, why: Some(why), oneflow_why };
            return (line, services);
        }
    };
    let (version, services) = tokio::join!(clients.xmlrpc.system_version(), clients.oneflow.services());
    let (version, supported, why) = match version {
        Ok(version) => (Some(version.text.clone()), version.major >= 7, None),
        Err(why) => (None, false, Some(why.to_string())),
    };
    let oneflow_why = services.as_ref().err().map(ToString::to_string);
    let lines = match services {
        Ok(services) => {
            let lines = expected.iter().map(|part| {
                let found = find(federation, &services, part);
                async { service_line(clients, &name, part, found).await }
            });
            join_all(lines).await
        }
        Err(why) => expected.iter().map(|part| unknown(&name, part, &why.to_string())).collect(),
    };
    (ZoneLine { zone: name, version, supported, why, oneflow_why }, lines)
}

/// What of the federation belongs into this zone.
fn expected(federation: &Federation, zone: &str) -> Vec<Expected> {
    let objects = wanted(federation);
    let here = federation.parts().filter_map(|part| {
        let (of, roles) = match part {
            Part::Coordinator => (&federation.coordinator.zone, vec![(Role::SuperLink, 1)]),
            Part::Site(name) => {
                let site = federation.site(name)?;
                let gateway = (site.gateway == GatewayPlacement::Dedicated).then_some((Role::Gateway, 1));
                let nodes = (Role::SuperNode, site.supernodes.min);
                (&site.zone, gateway.into_iter().chain([nodes]).collect())
            }
        };
        let name = federation.object_name(part);
        let service = objects
            .iter()
            .filter(|zone| &zone.zone == of)
            .flat_map(|zone| &zone.objects)
            .find(|object| object.kind == ObjectKind::Service && object.name == name)?;
        (of.as_str() == zone).then(|| Expected { name, digest: service.digest.clone(), roles })
    });
    here.collect()
}

/// The services of a part: the one that counts first, as `plan` chooses it, then those that should not be there.
fn find<'a>(federation: &Federation, services: &'a [Service], part: &Expected) -> Vec<&'a Service> {
    let ours = |service: &&Service| {
        let of = label(service, "federation");
        service.name == part.name && of == Some(federation.name.as_str())
    };
    let mut found: Vec<&Service> = services.iter().filter(ours).collect();
    found.sort_by_key(|service| (label(service, "digest") != Some(&part.digest), service.id.id));
    found
}

/// What onefed wrote about itself into a service.
fn label<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.body.get("onefed")?.get(key)?.as_str()
}

fn unknown(zone: &str, part: &Expected, why: &str) -> ServiceLine {
    let roles = part.roles.iter().map(|(role, least)| RoleLine {
        role: role.to_string(),
        expected: *least,
        vms: None,
    });
    ServiceLine {
        zone: zone.to_owned(),
        name: part.name.clone(),
        id: None,
        state: "unknown".to_owned(),
        why: Some(why.to_owned()),
        as_planned: None,
        doubles: Vec::new(),
        roles: roles.collect(),
        vms: Vec::new(),
    }
}

async fn service_line(
    zone: &ZoneClients,
    zone_name: &str,
    part: &Expected,
    found: Vec<&Service>,
) -> ServiceLine {
    let mut line = unknown(zone_name, part, "");
    line.why = None;
    let Some((service, doubles)) = found.split_first() else {
        line.state = "absent".to_owned();
        line.roles.iter_mut().for_each(|role| role.vms = Some(0));
        return line;
    };
    line.id = Some(service.id.id);
    line.state = service.state.to_string();
    line.as_planned = Some(label(service, "digest") == Some(&part.digest));
    line.doubles = doubles.iter().map(|double| double.id.id).collect();
    for role in &mut line.roles {
        let has = service.roles.iter().find(|has| has.name == role.role);
        role.vms = Some(has.map_or(0, |has| u32::try_from(has.nodes.len()).unwrap_or(u32::MAX)));
        role.expected = role.expected.max(has.map_or(0, |has| has.cardinality));
    }
    let members = service.roles.iter().flat_map(|role| role.nodes.iter().map(move |id| (&role.name, id)));
    let asked = members.map(|(role, id)| vm_line(zone, role, id.as_ref()));
    line.vms = stream::iter(asked).buffered(zones::AT_ONCE).collect().await;
    line
}

/// A VM in the role that OneFlow's own document gives it: a VM's attributes can be overwritten by its siblings.
async fn vm_line(zone: &ZoneClients, role: &str, id: Option<&VmId>) -> VmLine {
    let unknown = |id: Option<u32>, says: String| VmLine {
        id,
        role: role.to_owned(),
        state: "unknown".to_owned(),
        lcm: None,
        says,
        error: None,
        address: None,
        node_id: None,
        certificate: None,
    };
    let Some(id) = id else { return unknown(None, "OneFlow could not read which VM it is".to_owned()) };
    match zone.xmlrpc.vm(id).await {
        Ok(vm) => VmLine { role: role.to_owned(), ..described(&vm) },
        Err(why) => unknown(Some(id.id), why.to_string()),
    }
}

fn described(vm: &Vm) -> VmLine {
    let of = |name: &str| vm.user_template.get(name).cloned();
    let decoded = |name: &str| {
        let bytes = STANDARD.decode(of(name)?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let error = of(attribute::ERROR).filter(|code| !code.is_empty()).map(|code| {
        match decoded(attribute::ERROR_TEXT) {
            Some(text) => format!("{code}: {text}"),
            None => code,
        }
    });
    let mut says = of(attribute::STATE).unwrap_or_else(|| "nothing yet".into());
    if let Some(what) = decoded(attribute::WAITING).filter(|_| says == "starting") {
        says.push_str(&format!(", waits: {what}"));
    }
    VmLine {
        id: Some(vm.id.id),
        role: String::new(),
        state: vm.state.to_string(),
        lcm: (vm.state == VmState::Active).then(|| vm.lcm_state.to_string()),
        says,
        error,
        address: vm.nics.iter().find_map(|nic| nic.ip).map(|ip| ip.to_string()),
        node_id: of(attribute::NODE_ID),
        certificate: decoded(attribute::CERTIFICATE),
    }
}
