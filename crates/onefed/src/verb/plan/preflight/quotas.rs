//! Quotas of the user and of its group: what there is, and what the plan would add, against what there may be.

use onefed_opennebula::xmlrpc::{Quotas, Usage};

use super::Look;
use super::templates::Machine;
use super::wants::Wants;

/// What the plan would add to a zone.
#[derive(Default)]
struct Need {
    vms: f64,
    cpu: f64,
    memory_mb: f64,
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
        }
        let leases = wants.vms() as f64;
        let mut whose = vec![(format!("user {}", user.name), user.quotas.clone())];
        if let Some(Ok(group)) = &self.extra.group {
            whose.push((format!("group {}", group.name), group.quotas.clone()));
        }
        for (who, quotas) in whose {
            self.vms(&who, &quotas, &need);
            let lease = quotas.networks.iter().find(|quota| Some(quota.network.id) == network);
            if let Some(quota) = lease {
                self.quota(&who, "addresses of the network", "", quota.leases, leases, "network");
            }
            self.image_users(&who, &quotas, wants, machines);
        }
    }

    fn vms(&mut self, who: &str, quotas: &Quotas, need: &Need) {
        for quota in &quotas.vms {
            let metrics = [
                ("VMs", "", quota.vms, need.vms),
                ("running VMs", "", quota.running_vms, need.vms),
                ("CPU", "", quota.cpu, need.cpu),
                ("running CPU", "", quota.running_cpu, need.cpu),
                ("MEMORY", " MB", quota.memory_mb, need.memory_mb),
                ("running MEMORY", " MB", quota.running_memory_mb, need.memory_mb),
            ];
            if quota.clusters.is_empty() {
                for (what, unit, usage, more) in metrics {
                    self.quota(who, what, unit, usage, more, "endpoint");
                }
                continue;
            }
            // Nobody knows yet in which cluster a VM will be.
            let clusters: Vec<String> = quota.clusters.iter().map(|cluster| cluster.id.to_string()).collect();
            for (what, unit, usage, more) in
                metrics.into_iter().filter(|(.., usage, more)| exceeds(usage, *more))
            {
                let message = format!(
                    "the quota of {who} in cluster {} is too small if all VMs come there: {}",
                    clusters.join(", "),
                    words(what, unit, usage, more)
                );
                self.warning("zone::quota", "endpoint", message, "ask the zone's administrator");
            }
        }
    }

    fn image_users(&mut self, who: &str, quotas: &Quotas, wants: &Wants, machines: &[Machine]) {
        for quota in &quotas.images {
            let uses = |machine: &&Machine| {
                machine.disks.iter().any(|disk| match &disk.image {
                    onefed_federation::Reference::Id(id) => *id == quota.image.id,
                    onefed_federation::Reference::Name(name) => self
                        .seen
                        .images
                        .iter()
                        .flatten()
                        .any(|image| image.id == quota.image && &image.name == name),
                })
            };
            let more: i64 = machines.iter().filter(uses).map(|machine| wants.of_role(machine.role)).sum();
            let what = format!("VMs with image #{}", quota.image.id);
            self.quota(who, &what, "", quota.running_vms, more as f64, "endpoint");
        }
    }

    fn quota(&mut self, who: &str, what: &str, unit: &str, usage: Usage, more: f64, key: &str) {
        if exceeds(&usage, more) {
            let message = format!("the quota of {who} is too small: {}", words(what, unit, usage, more));
            let tool = if who.starts_with("user") { "oneuser" } else { "onegroup" };
            let hint = format!(
                "the zone's administrator can raise it with `{tool} quota`; or plan fewer SuperNodes"
            );
            self.error("zone::quota", key, message, hint);
        }
    }
}

/// Whether a quota would be broken by more. One that is broken already and gets no worse is nobody's business here.
fn exceeds(usage: &Usage, more: f64) -> bool {
    more > 0.0 && !usage.allows(more)
}

/// `VMs: 2 used, 3 more wanted, 4 allowed`.
fn words(what: &str, unit: &str, usage: Usage, more: f64) -> String {
    let limit = usage.limit.unwrap_or(f64::INFINITY);
    format!(
        "{what}: {}{unit} used, {}{unit} more wanted, {}{unit} allowed",
        round(usage.used),
        round(more),
        round(limit)
    )
}

/// Without digits behind the point that say nothing.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
