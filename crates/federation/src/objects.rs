//! The objects that a federation needs: a OneFlow template and a service for the coordinator and for each site, and the
//! VM templates of zones whose plan names an image.

mod body;
mod digest;
mod facts;
pub(crate) mod inputs;
#[cfg(test)]
mod tests;
mod vm_template;

use onefed_context::{GatewayPlacement, Role};
use serde::Serialize;

use crate::model::{Count, Federation, Part, ZoneName};
use inputs::Seat;

pub use body::{Inputs, ObjectError, ZoneIds, merge_template, service_template};
pub use facts::{Difference, Facts, Names};
pub use vm_template::{ImageIds, VmTemplateLabel, vm_template};

/// What kind of thing an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A VM template, in a zone whose plan names an image.
    VmTemplate,
    /// A service template.
    ServiceTemplate,
    /// A service, made from the template of the same name.
    Service,
}

/// An object that a zone should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Which kind.
    pub kind: ObjectKind,
    /// `<federation>-coordinator` or `<federation>-<site>`; of a VM template `<federation>-<role>`.
    pub name: String,
    /// 16 hexadecimal digits over everything that the plan says about it; a service template and its service have the
    /// same. A VM template's has its start script in it too, which is onefed's: see [`vm_template`].
    /// Secrets, the CA, ids and addresses that become known later are not in it.
    pub digest: String,
    /// What it is for a reader, for instance "2 SuperNodes + 1 gateway"; with its Flower release where that is not the
    /// federation's.
    pub detail: String,
}

/// The objects that one zone should have, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneWanted {
    /// The zone.
    pub zone: ZoneName,
    /// What the zone is for, for instance "coordinator" or "site paris".
    pub role: String,
    /// The VM templates of this zone, then template and service of each part in it.
    pub objects: Vec<Object>,
}

/// What a federation needs in each of its zones: the coordinator's zone first, then in the order of the sites.
pub fn wanted(federation: &Federation) -> Vec<ZoneWanted> {
    let mut zones: Vec<ZoneWanted> = Vec::new();
    for part in federation.parts() {
        let Some((zone, label, detail)) = describe(federation, part) else { continue };
        let entry = match zones.iter_mut().find(|entry| &entry.zone == zone) {
            Some(entry) => {
                entry.role = format!("{}, {label}", entry.role);
                entry
            }
            None => {
                zones.push(ZoneWanted { zone: zone.clone(), role: label, objects: Vec::new() });
                let Some(entry) = zones.last_mut() else { continue };
                entry
            }
        };
        let digest = digest::of(federation, part);
        for kind in [ObjectKind::ServiceTemplate, ObjectKind::Service] {
            let (digest, detail) = (digest.clone(), detail.clone());
            entry.objects.push(Object { kind, name: federation.object_name(part), digest, detail });
        }
    }
    for entry in &mut zones {
        entry.objects.splice(0..0, vm_template::wanted(federation, &entry.zone));
    }
    zones
}

/// The VMs of a part's service, role by role; nothing for a part that the federation does not have.
pub fn machines(federation: &Federation, part: Part<'_>) -> Vec<(Role, Count)> {
    let roles = Seat::new(federation, part).map(|seat| seat.role_inputs()).unwrap_or_default();
    roles.into_iter().map(|role| (role.role, role.count)).collect()
}

/// Zone, label and contents of a part; `None` for a site that the federation does not have.
fn describe<'a>(federation: &'a Federation, part: Part<'_>) -> Option<(&'a ZoneName, String, String)> {
    match part {
        Part::Coordinator => {
            let local = federation.coordinator.local.as_ref();
            let nodes = local.map(|local| format!(" + {}", supernodes(local.supernodes)));
            let detail = format!("1 SuperLink{}", nodes.unwrap_or_default());
            Some((&federation.coordinator.zone, "coordinator".to_owned(), detail))
        }
        Part::Site(name) => {
            let site = federation.site(name)?;
            let nodes = supernodes(site.supernodes);
            let mut detail = match site.gateway {
                GatewayPlacement::Dedicated => format!("{nodes} + 1 gateway"),
                GatewayPlacement::Embedded => format!("{nodes} with embedded gateways"),
            };
            if site.flower != federation.flower {
                detail = format!("{detail}, Flower {}", site.flower.version());
            }
            Some((&site.zone, format!("site {name}"), detail))
        }
    }
}

fn supernodes(count: Count) -> String {
    format!("{count} SuperNode{}", if count.max == 1 { "" } else { "s" })
}
