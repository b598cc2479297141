//! Quotas of the user and of its group: what there is, and what the plan would add, against what there may be.

use onefed_federation::Reference;
use onefed_opennebula::xmlrpc::{ImageQuota, Quotas, Usage, VmQuota};

use super::Look;
use super::templates::{Disk, Machine};
use super::wants::Wants;

/// What the plan would add to a zone.
#[derive(Default)]
struct Need {
    vms: f64,
    cpu: f64,
    memory_mb: f64,
    disk_mb: f64,
    leases: f64,
}

impl Look<'_> {
    /// Checks the quotas that oned counts a new VM in: those of the user and of its primary group.
    pub(super) fn quotas(&mut self, wants: &Wants, machines: &[Machine], network: Option<u32>) {
        let Ok(user) = &self.extra.user else { return };
        if user.is_admin() {
            return;
        }
        let mut need = Need::default();
        for machine in machines {
            let count = wants.of_role(machine.role) as f64;
            need.vms += count;
            need.cpu += count * machine.cpu.unwrap_or_default();
            need.memory_mb += count * machine.memory_mb.unwrap_or_default();
            need.disk_mb += count * self.disks_mb(machine);
        }
        need.leases = wants.vms() as f64;
        let mut whose = vec![("user", user.name.clone(), user.quotas.clone())];
        if let Some(Ok(group)) = &self.extra.group {
            whose.push(("group", group.name.clone(), group.quotas.clone()));
        }
        for (kind, name, quotas) in whose {
            let mut broken: Vec<String> = Vec::new();
            for quota in quotas.vms.iter().filter(|quota| quota.clusters.is_empty()) {
                broken.extend(need.breaks(quota));
            }
            let lease = quotas.networks.iter().find(|quota| Some(quota.network.id) == network);
            broken.extend(
                lease.and_then(|quota| breaks("addresses of the network", "", quota.leases, need.leases)),
            );
            broken.extend(self.image_users(&quotas, wants, machines));
            if !broken.is_empty() {
                let message = format!("the quota of {kind} {name} is too small: {}", broken.join("; "));
                let hint = format!(
                    "the zone's administrator can raise it with `one{kind} quota {name}`; or plan fewer SuperNodes"
                );
                self.error("zone::quota", "auth", message, hint);
            }
            self.clusters(kind, &name, &quotas, &need);
        }
    }

    /// The disks of a machine: each as large as it should be, else as its image.
    fn disks_mb(&self, machine: &Machine) -> f64 {
        let size = |disk: &Disk| {
            let image = self.seen.images.iter().flatten().find(|image| match &disk.image {
                Reference::Id(id) => image.id.id == *id,
                Reference::Name(name) => &image.name == name,
            });
            // A persistent image stays where it is.
            let own = image.filter(|image| !image.persistent).map(|image| image.size_mb);
            disk.size_mb.or(own).unwrap_or_default() as f64
        };
        machine.disks.iter().map(size).sum()
    }

    /// Quotas of clusters. Nobody knows yet in which cluster a VM will be.
    fn clusters(&mut self, kind: &str, name: &str, quotas: &Quotas, need: &Need) {
        for quota in quotas.vms.iter().filter(|quota| !quota.clusters.is_empty()) {
            let broken = need.breaks(quota);
            if broken.is_empty() {
                continue;
            }
            let clusters: Vec<String> = quota.clusters.iter().map(|cluster| cluster.id.to_string()).collect();
            let message = format!(
                "the quota of {kind} {name} in cluster {} is too small if all VMs come there: {}",
                clusters.join(", "),
                broken.join("; ")
            );
            self.warning("zone::quota", "auth", message, "ask the zone's administrator");
        }
    }

    /// Images that may have only so many users.
    fn image_users(&self, quotas: &Quotas, wants: &Wants, machines: &[Machine]) -> Vec<String> {
        let broken = |quota: &ImageQuota| {
            let is_it = |disk: &Disk| match &disk.image {
                Reference::Id(id) => *id == quota.image.id,
                Reference::Name(name) => {
                    let mut images = self.seen.images.iter().flatten();
                    images.any(|image| image.id == quota.image && &image.name == name)
                }
            };
            let users = machines.iter().filter(|machine| machine.disks.iter().any(is_it));
            let more: i64 = users.map(|machine| wants.of_role(machine.role)).sum();
            breaks(&format!("VMs with image #{}", quota.image.id), "", quota.running_vms, more as f64)
        };
        quotas.images.iter().filter_map(broken).collect()
    }
}

impl Need {
    /// The limits of a quota that would be broken.
    fn breaks(&self, quota: &VmQuota) -> Vec<String> {
        let metrics = [
            ("VMs", "", quota.vms, self.vms),
            ("running VMs", "", quota.running_vms, self.vms),
            ("CPU", "", quota.cpu, self.cpu),
            ("running CPU", "", quota.running_cpu, self.cpu),
            ("MEMORY", " MB", quota.memory_mb, self.memory_mb),
            ("running MEMORY", " MB", quota.running_memory_mb, self.memory_mb),
            ("system disks", " MB", quota.system_disk_mb, self.disk_mb),
        ];
        metrics.into_iter().filter_map(|(what, unit, usage, more)| breaks(what, unit, usage, more)).collect()
    }
}

/// `VMs: 2 used, 3 more wanted, 4 allowed`, if a limit would be broken by more. One that is broken already and gets no
/// worse is nobody's business here.
fn breaks(what: &str, unit: &str, usage: Usage, more: f64) -> Option<String> {
    let limit = usage.limit?;
    (more > 0.0 && !usage.allows(more)).then(|| {
        let [used, more, limit] = [usage.used, more, limit].map(round);
        format!("{what}: {used}{unit} used, {more}{unit} more wanted, {limit}{unit} allowed")
    })
}

/// Without digits behind the point that say nothing.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
