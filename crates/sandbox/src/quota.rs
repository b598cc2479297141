//! Quotas of users and groups: what is used, what is left, and oned's refusal.

use crate::access::Caller;
use crate::attributes::text;
use crate::machine::Vm;
use crate::refusal::{AUTHORIZATION, Refusal};
use crate::zone::State;
use onefed_opennebula::VmState;
use std::collections::BTreeMap;

/// Whose it is, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    User(u32),
    Group(u32),
}

/// A limit; `None` is none.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    pub(crate) of: Of,
    pub(crate) vms: Option<u32>,
    pub(crate) cpu: Option<f64>,
    /// MB.
    pub(crate) memory: Option<u32>,
    /// A network and so many leases of it.
    pub(crate) leases: Option<(u32, u32)>,
}

/// What VMs take.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) vms: u32,
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    /// By network.
    pub(crate) leases: BTreeMap<u32, u32>,
}

impl Usage {
    pub(crate) fn of(vm: &Vm) -> Self {
        let number = |key: &str| vm.capacity.get(key).and_then(|v| text(v).parse().ok()).unwrap_or(0.0);
        let mut leases = BTreeMap::new();
        for nic in &vm.nics {
            *leases.entry(nic.network).or_default() += 1;
        }
        Self { vms: 1, cpu: number("CPU"), memory: number("MEMORY"), leases }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.vms += other.vms;
        self.cpu += other.cpu;
        self.memory += other.memory;
        for (network, count) in &other.leases {
            *self.leases.entry(*network).or_default() += count;
        }
    }
}

impl State {
    pub(crate) fn usage(&self, of: Of) -> Usage {
        let mine = |vm: &&Vm| match of {
            Of::User(id) => vm.owned.uid == id,
            Of::Group(id) => vm.owned.gid == id,
        };
        let mut all = Usage::default();
        for vm in self.vms.values().filter(|vm| vm.state != VmState::Done).filter(mine) {
            all.add(&Usage::of(vm));
        }
        all
    }

    /// Whether the caller and the caller's group may have so much more.
    pub(crate) fn within_quota(&self, caller: &Caller, more: &Usage) -> Result<(), Refusal> {
        for (of, who) in [(Of::User(caller.id), "user"), (Of::Group(caller.gid), "group")] {
            // oneadmin and its group have no limits.
            let (Of::User(id) | Of::Group(id)) = of;
            if id == 0 {
                continue;
            }
            let mut then = self.usage(of);
            then.add(more);
            for quota in self.quotas.iter().filter(|q| q.of == of) {
                if let Some(why) = exceeded(quota, &then) {
                    let text = format!("User [{}] : {who} [{id}] {why}.", caller.id);
                    return Err(Refusal::new(AUTHORIZATION, -1, text));
                }
            }
        }
        Ok(())
    }

    /// NETWORK_QUOTA and VM_QUOTA.
    pub(crate) fn quota_xml(&self, of: Of) -> String {
        let used = self.usage(of);
        let mut networks: BTreeMap<u32, i64> = used.leases.keys().map(|id| (*id, -1)).collect();
        let (mut vms, mut cpu, mut memory) = (-1, -1.0, -1);
        for quota in self.quotas.iter().filter(|q| q.of == of) {
            networks.extend(quota.leases.map(|(network, leases)| (network, i64::from(leases))));
            vms = quota.vms.map_or(vms, i64::from);
            cpu = quota.cpu.unwrap_or(cpu);
            memory = quota.memory.map_or(memory, i64::from);
        }
        let one = |(id, limit): (&u32, &i64)| {
            let used = used.leases.get(id).copied().unwrap_or_default();
            format!(
                "<NETWORK><ID>{id}</ID><LEASES>{limit}</LEASES><LEASES_USED>{used}</LEASES_USED></NETWORK>"
            )
        };
        let leases: String = networks.iter().map(one).collect();
        let limited = vms != -1 || cpu != -1.0 || memory != -1;
        let vm = if used.vms > 0 || limited {
            format!(
                "<VM><CPU>{cpu}</CPU><CPU_USED>{}</CPU_USED><MEMORY>{memory}</MEMORY><MEMORY_USED>{}</MEMORY_USED>\
                 <RUNNING_CPU>-1</RUNNING_CPU><RUNNING_CPU_USED>{}</RUNNING_CPU_USED><RUNNING_MEMORY>-1</RUNNING_MEMORY>\
                 <RUNNING_MEMORY_USED>{}</RUNNING_MEMORY_USED><RUNNING_VMS>-1</RUNNING_VMS><RUNNING_VMS_USED>{}</RUNNING_VMS_USED>\
                 <SYSTEM_DISK_SIZE>-1</SYSTEM_DISK_SIZE><SYSTEM_DISK_SIZE_USED>0</SYSTEM_DISK_SIZE_USED><VMS>{vms}</VMS>\
                 <VMS_USED>{}</VMS_USED></VM>",
                used.cpu, used.memory, used.cpu, used.memory, used.vms, used.vms
            )
        } else {
            String::new()
        };
        format!(
            "<DATASTORE_QUOTA/><NETWORK_QUOTA>{leases}</NETWORK_QUOTA><VM_QUOTA>{vm}</VM_QUOTA><IMAGE_QUOTA/>"
        )
    }
}

/// oned's words for the first limit that is passed, leases first.
fn exceeded(quota: &Quota, used: &Usage) -> Option<String> {
    if let Some((network, limit)) = quota.leases
        && used.leases.get(&network).is_some_and(|used| *used > limit)
    {
        return Some(format!("limit of {limit} reached for LEASES quota in NETWORK with ID: {network}"));
    }
    let of_vm = |limit: f64, metric: &str| Some(format!("limit of {limit} reached for {metric} quota in VM"));
    if let Some(limit) = quota.vms.filter(|limit| used.vms > *limit) {
        return of_vm(f64::from(limit), "VMS");
    }
    if let Some(limit) = quota.cpu.filter(|limit| used.cpu > *limit) {
        return of_vm(limit, "CPU");
    }
    let memory = quota.memory.map(f64::from).filter(|limit| used.memory > *limit)?;
    of_vm(memory, "MEMORY")
}
