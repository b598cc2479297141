//! Images: of the disks of VM templates, of zones with a plain `image`, and the files of `[install]`.

use onefed_context::Severity;
use onefed_federation::{Location, Reference, VmTemplate};
use onefed_opennebula::xmlrpc::Image;
use onefed_opennebula::{ImageId, ImageKind, ImageState};

use super::Look;
use super::templates::{Disk, Machine, list};

impl Look<'_> {
    /// Checks every image that VMs of this zone need.
    pub(super) async fn images(&mut self, machines: &[Machine]) {
        let mut done = Vec::new();
        for machine in machines {
            // Two roles may share a template.
            if done.contains(&machine.key) {
                continue;
            }
            done.push(machine.key);
            for disk in &machine.disks {
                self.disk(machine, disk, machines).await;
            }
        }
        let roles = self.federation.roles_in(&self.zone.name);
        if roles.into_iter().any(|role| *self.zone.templates.of(role) == VmTemplate::Made) {
            self.files();
        }
    }

    async fn disk(&mut self, machine: &Machine, disk: &Disk, all: &[Machine]) {
        if self.seen.images.is_err() {
            return;
        }
        let Some(image) = self.image(machine, disk).await else { return };
        let of = if disk.any_owner { String::new() } else { format!(" of VM template {}", machine.template) };
        let name = format!("image {} #{}{of}", image.name, image.id.id);
        let id = image.id.id;
        match image.state {
            ImageState::Ready | ImageState::Used => {}
            ImageState::UsedPersistent if self.is_kept() => {}
            ImageState::Locked | ImageState::LockedUsed => {
                let hint = format!("wait until `oneimage show {id}` says READY");
                self.error("zone::image-state", machine.key, format!("{name} is still being made"), hint);
            }
            ImageState::Disabled => {
                let hint = format!("`oneimage enable {id}`");
                self.error("zone::image-state", machine.key, format!("{name} is disabled"), hint);
            }
            state => {
                let said = image.attributes.text("ERROR").map(|text| format!(": {text}")).unwrap_or_default();
                let hint = format!("`oneimage show {id}` says why; it has to be READY");
                self.error("zone::image-state", machine.key, format!("{name} is {state}{said}"), hint);
            }
        }
        if disk.any_owner && image.kind != ImageKind::Os {
            let message = format!("{name} is of type {}, not OS", image.kind);
            self.error(
                "zone::image-kind",
                machine.key,
                message,
                "name a system image that has contextualization",
            );
        }
        let same = all.iter().filter(|other| other.key == machine.key);
        let most: u64 = same.map(|machine| self.most(machine)).sum();
        if image.persistent && most > 1 {
            let message =
                format!("{name} is persistent, so that one VM can have it, and the plan has {most}");
            self.error(
                "zone::image-persistent",
                machine.key,
                message,
                format!("`oneimage nonpersistent {id}`"),
            );
        }
        if let Some(size) = disk.size_mb.filter(|size| *size < image.size_mb) {
            let message = format!("{name} has {} MB, and the disk should have {size}", image.size_mb);
            let key = if disk.any_owner { "disk" } else { machine.key };
            self.error(
                "zone::disk-size",
                key,
                message,
                "a disk can be made larger than its image, not smaller",
            );
        }
    }

    /// The image of a disk; noted if it is not there.
    async fn image(&mut self, machine: &Machine, disk: &Disk) -> Option<Image> {
        let images: Vec<Image> = self.seen.images.as_ref().ok()?.clone();
        let all: Vec<(u32, String, String)> =
            images.iter().map(|it| (it.id.id, it.name.clone(), it.owner.uname.clone())).collect();
        let mut listed = format!("there are: {}", list(&all));
        if !disk.any_owner {
            listed = format!("VM template {} names it; {listed}", machine.template);
        }
        let by_id = |id: u32| images.iter().find(|image| image.id.id == id).cloned();
        match &disk.image {
            Reference::Id(id) => {
                if let Some(image) = by_id(*id) {
                    return Some(image);
                }
                let unseen = ImageId::new(self.clients.xmlrpc.zone().clone(), *id);
                let refused =
                    self.clients.xmlrpc.image(&unseen).await.is_err_and(|why| why.is_unauthorized());
                self.missing("image", machine.key, &disk.image, refused, &listed);
                None
            }
            Reference::Name(_) if disk.any_owner => {
                let found = self.choose("image", machine.key, &disk.image, &all).and_then(by_id);
                if found.is_none() {
                    self.missing("image", machine.key, &disk.image, false, &listed);
                }
                found
            }
            Reference::Name(name) => {
                // As oned does: among the images of the owner that the template names, else of who makes the VM.
                let owner = disk.owner.clone().unwrap_or_else(|| self.user().to_owned());
                let named: Vec<&Image> = images.iter().filter(|image| &image.name == name).collect();
                if let Some(image) = named.iter().find(|image| image.owner.uname == owner) {
                    return Some((*image).clone());
                }
                match named.first() {
                    Some(other) if self.extra.user.is_ok() => {
                        let message = format!(
                            "image {name} of VM template {} is looked for among those of {owner}, and it is one of {}",
                            machine.template, other.owner.uname
                        );
                        let hint = format!(
                            "in the VM template, write IMAGE_ID = {} or IMAGE_UNAME = {}",
                            other.id.id, other.owner.uname
                        );
                        self.error("zone::image-owner", machine.key, message, hint);
                    }
                    Some(_) => {}
                    None => self.missing("image", machine.key, &disk.image, false, &listed),
                }
                None
            }
        }
    }

    /// The files of `[install]` that come with the context.
    fn files(&mut self) {
        let (Some(install), Ok(images)) = (&self.federation.install, &self.seen.images) else { return };
        let images = images.clone();
        let files: Vec<(&'static str, String)> = install
            .sources()
            .filter_map(|(key, source)| match &source.at {
                Location::File(name) => Some((key, name.clone())),
                Location::Url(_) => None,
            })
            .collect();
        for (key, name) in files {
            let place = self.federation.text.place(&["install", key]);
            let found = images.iter().find(|image| image.name == name && image.kind == ImageKind::Context);
            let other = images.iter().find(|image| image.name == name);
            let (code, message, hint) = match (found, other) {
                (Some(image), _) if image.state.is_usable() => continue,
                (Some(image), _) => (
                    "zone::image-state",
                    format!("the file {name} #{} is {}", image.id.id, image.state),
                    format!("`oneimage show {}` says why; it has to be READY", image.id.id),
                ),
                (None, Some(image)) => (
                    "zone::image-kind",
                    format!(
                        "the image {name} #{} is of type {}, and a file has to be CONTEXT",
                        image.id.id, image.kind
                    ),
                    "put it into a FILES datastore with `oneimage create --type CONTEXT`".to_owned(),
                ),
                (None, None) => (
                    "zone::no-file",
                    format!("no file {name} in a FILES datastore"),
                    format!(
                        "`oneimage create --name {name} --type CONTEXT --path … -d files`, or give a URL"
                    ),
                ),
            };
            self.note_at(Severity::Error, code, place, message, hint);
        }
    }

    /// How many VMs of a role the zone may come to have.
    fn most(&self, machine: &Machine) -> u64 {
        let here = |part: &onefed_federation::Part<'_>| match part {
            onefed_federation::Part::Coordinator => self.federation.coordinator.zone == self.zone.name,
            onefed_federation::Part::Site(name) => {
                self.federation.site(name).is_some_and(|site| site.zone == self.zone.name)
            }
        };
        let parts = self.federation.parts().filter(here);
        let counts = parts.flat_map(|part| onefed_federation::machines(self.federation, part));
        counts.filter(|(role, _)| *role == machine.role).map(|(_, count)| u64::from(count.max)).sum()
    }

    /// Whether all VMs are there already and stay.
    fn is_kept(&self) -> bool {
        let service = onefed_federation::ObjectKind::Service;
        let mut services = self.changes.changes.iter().filter(|change| change.kind == service);
        services.all(|change| change.action == onefed_federation::Action::Keep)
    }
}
