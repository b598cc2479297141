//! VM templates that the plan calls by name or id, and what VMs from them would need.

use onefed_context::Role;
use onefed_federation::{Reference, VmTemplate};
use onefed_opennebula::VmTemplateId;
use onefed_opennebula::xmlrpc::VmTemplate as Template;

use super::Look;

/// The templates of the three roles.
pub(super) struct Templates {
    pub(super) superlink: Found,
    pub(super) gateway: Found,
    pub(super) supernode: Found,
}

/// What is known of a role's template.
pub(super) enum Found {
    /// It is there.
    There(u32),
    /// No VM of this zone has the role, or onefed is still to make it.
    NotYet,
    /// It is missing, and that has been noted.
    Missing,
}

/// What one VM of a role needs. `None` is what the template does not say.
pub(super) struct Machine {
    pub(super) role: Role,
    pub(super) cpu: Option<f64>,
    pub(super) memory_mb: Option<f64>,
    pub(super) disks: Vec<Disk>,
    /// The template, as the plan calls it.
    pub(super) template: String,
    /// The key of the plan that says so; roles with one key have one template.
    pub(super) key: &'static str,
}

/// A disk of a VM with an image.
pub(super) struct Disk {
    pub(super) image: Reference,
    /// Whose the image is; of an image called by name alone it is the user's own.
    pub(super) owner: Option<String>,
    /// In MB, where it is not the image's own size.
    pub(super) size_mb: Option<u64>,
    /// The zone's own `image`, which is looked up among all that the login may use.
    pub(super) any_owner: bool,
}

impl Found {
    /// The id; 0 for one that nobody needs yet.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::There(id) => Some(*id),
            Self::NotYet => Some(0),
            Self::Missing => None,
        }
    }
}

impl Templates {
    fn of(&self, role: Role) -> &Found {
        match role {
            Role::SuperLink => &self.superlink,
            Role::Gateway => &self.gateway,
            Role::SuperNode => &self.supernode,
        }
    }
}

impl Look<'_> {
    /// Looks all templates up. What is missing is noted once for each key of the plan.
    pub(super) async fn templates(&mut self) -> Templates {
        Templates {
            superlink: self.template(Role::SuperLink).await,
            gateway: self.template(Role::Gateway).await,
            supernode: self.template(Role::SuperNode).await,
        }
    }

    async fn template(&mut self, role: Role) -> Found {
        if !self.federation.roles_in(&self.zone.name).contains(&role) {
            return Found::NotYet;
        }
        let wanted = match self.zone.templates.of(role) {
            VmTemplate::Given(wanted) => wanted.clone(),
            VmTemplate::Made => {
                let name = self.federation.vm_template_name(role);
                let ours = self.seen.objects.iter().find(|it| it.name == name && it.id.is_some());
                return ours.and_then(|it| it.id).map_or(Found::NotYet, Found::There);
            }
        };
        let all: Vec<(u32, String, String)> = self
            .seen
            .templates
            .iter()
            .map(|it| (it.id.id, it.name.clone(), it.owner.uname.clone()))
            .collect();
        match self.choose("VM template", self.template_key(role), &wanted, &all) {
            Some(id) => Found::There(id),
            None => {
                let listed = format!("there are: {}", list(&all));
                let id = if let Reference::Id(id) = wanted { Some(id) } else { None };
                let refused = match id {
                    Some(id) => {
                        let id = VmTemplateId::new(self.clients.xmlrpc.zone().clone(), id);
                        self.clients.xmlrpc.template_info(&id).await.is_err_and(|why| why.is_unauthorized())
                    }
                    None => false,
                };
                self.missing("VM template", self.template_key(role), &wanted, refused, &listed);
                Found::Missing
            }
        }
    }

    /// The key of the plan that a role's template is called by.
    fn template_key(&self, role: Role) -> &'static str {
        let own = match role {
            Role::SuperLink => "superlink_template",
            Role::Gateway => "gateway_template",
            Role::SuperNode => "supernode_template",
        };
        if self.says(own) { own } else { "template" }
    }

    /// One of several things by name or id. Of several with one name the login's own counts, else the oldest; that there
    /// are several is a warning.
    pub(super) fn choose(
        &mut self,
        what: &str,
        key: &str,
        wanted: &Reference,
        all: &[(u32, String, String)],
    ) -> Option<u32> {
        let name = match wanted {
            Reference::Id(id) => return all.iter().map(|(have, ..)| *have).find(|have| have == id),
            Reference::Name(name) => name,
        };
        let mut fitting: Vec<_> = all.iter().filter(|(_, have, _)| have == name).collect();
        let user = self.user().to_owned();
        fitting.sort_by_key(|(id, _, owner)| (*owner != user, *id));
        let (first, ..) = *fitting.first()?;
        if fitting.len() > 1 {
            let them: Vec<_> = fitting.iter().map(|(id, _, owner)| format!("#{id} of {owner}")).collect();
            let message = format!("there are several {what}s {name}: {}; #{first} is taken", them.join(", "));
            self.warning("zone::ambiguous", key, message, "write the id of the one that is meant");
        }
        Some(*first)
    }

    /// Notes that there is no such thing, or none that the login may use.
    pub(super) fn missing(&mut self, what: &str, key: &str, wanted: &Reference, refused: bool, listed: &str) {
        let user = self.user().to_owned();
        let (none, rights, tool) = match what {
            "VM template" => ("zone::no-template", "zone::template-rights", "onetemplate"),
            "network" => ("zone::no-network", "zone::network-rights", "onevnet"),
            _ => ("zone::no-image", "zone::image-rights", "oneimage"),
        };
        if refused {
            let number = wanted.to_string();
            let number = number.trim_start_matches('#');
            let hint = format!("its owner can give the right: `{tool} chmod {number} 644`");
            self.error(rights, key, format!("{user} may not use {what} {wanted}"), hint);
        } else {
            let message = format!("no {what} {wanted} ({listed})");
            let hint =
                "correct the plan file, or ask the zone's administrator for it and the right to use it";
            self.error(none, key, message, hint);
        }
    }

    /// What a VM of each role of this zone needs; nothing of roles whose template is missing.
    pub(super) fn machines(&self, templates: &Templates) -> Vec<Machine> {
        let roles = self.federation.roles_in(&self.zone.name);
        roles.into_iter().filter_map(|role| self.machine(role, templates.of(role))).collect()
    }

    fn machine(&self, role: Role, found: &Found) -> Option<Machine> {
        if *self.zone.templates.of(role) == VmTemplate::Made {
            let machine = self.zone.machine.as_ref()?;
            let size_mb = machine.disk.map(u64::from);
            let disk = Disk { image: machine.image.clone(), owner: None, size_mb, any_owner: true };
            return Some(Machine {
                role,
                cpu: Some(f64::from(machine.cpu)),
                memory_mb: Some(f64::from(machine.memory)),
                disks: vec![disk],
                template: self.federation.vm_template_name(role),
                key: "image",
            });
        }
        let Found::There(id) = found else { return None };
        let template = self.seen.templates.iter().find(|template| template.id.id == *id)?;
        let name = format!("{} #{id}", template.name);
        Some(from_template(role, template, name, self.template_key(role)))
    }
}

fn from_template(role: Role, template: &Template, name: String, key: &'static str) -> Machine {
    let number = |name| template.attributes.text(name).and_then(|text| text.trim().parse::<f64>().ok());
    let disk = |disk: &std::collections::BTreeMap<String, String>| {
        let by_id = disk.get("IMAGE_ID").and_then(|id| id.trim().parse().ok()).map(Reference::Id);
        // A disk without an image is made empty with the VM.
        let image = by_id.or_else(|| disk.get("IMAGE").cloned().map(Reference::Name))?;
        let size_mb = disk.get("SIZE").and_then(|size| size.trim().parse().ok());
        Some(Disk { image, owner: disk.get("IMAGE_UNAME").cloned(), size_mb, any_owner: false })
    };
    Machine {
        role,
        cpu: number("CPU"),
        memory_mb: number("MEMORY"),
        disks: template.attributes.vectors("DISK").filter_map(disk).collect(),
        template: name,
        key,
    }
}

/// Things by name and id, for a message.
pub(super) fn list(all: &[(u32, String, String)]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> =
        all.iter().take(SHOWN).map(|(id, name, _)| format!("{name} #{id}")).collect();
    if all.len() > SHOWN {
        shown.push(format!("{} more", all.len() - SHOWN));
    }
    if shown.is_empty() { "none that this login may use".to_owned() } else { shown.join(", ") }
}
