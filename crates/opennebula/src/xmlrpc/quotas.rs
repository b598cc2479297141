//! Quotas of a user or a group: what it may have in a zone, and has.
//!
//! oned shows -1 for "as the default says" and -2 for "no limit", and leaves out what was never limited or used. Here the
//! defaults are already worked in: a limit is a number or nothing.

use crate::xml::Element;
use crate::{ClusterId, DatastoreId, ImageId, VnetId, ZoneName};

/// All quotas of a user or a group in one zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// VMs: one for the whole zone, and one for each set of clusters that has its own.
    pub vms: Vec<VmQuota>,
    /// Addresses of networks.
    pub networks: Vec<NetworkQuota>,
    /// VMs that use an image.
    pub images: Vec<ImageQuota>,
    /// Images in a datastore.
    pub datastores: Vec<DatastoreQuota>,
}

/// How much there is of something and how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// What there is.
    pub used: f64,
    /// What there may be; `None` for no limit.
    pub limit: Option<f64>,
}

impl Usage {
    /// Whether `more` of it is allowed.
    pub fn allows(&self, more: f64) -> bool {
        self.limit.is_none_or(|limit| self.used + more <= limit)
    }

    /// What is left; `None` for no limit. Never below 0, though a limit may be set below what there is.
    pub fn left(&self) -> Option<f64> {
        self.limit.map(|limit| (limit - self.used).max(0.0))
    }
}

/// The quota of VMs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VmQuota {
    /// The clusters that it counts; none for the whole zone.
    pub clusters: Vec<ClusterId>,
    /// VMs that are not done.
    pub vms: Usage,
    /// VMs that run.
    pub running_vms: Usage,
    /// CPU of all VMs, in cores.
    pub cpu: Usage,
    /// CPU of those that run, in cores.
    pub running_cpu: Usage,
    /// Memory of all VMs, in MB.
    pub memory_mb: Usage,
    /// Memory of those that run, in MB.
    pub running_memory_mb: Usage,
    /// Disks in system datastores, in MB.
    pub system_disk_mb: Usage,
}

/// The quota of a network's addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkQuota {
    /// The network.
    pub network: VnetId,
    /// Addresses.
    pub leases: Usage,
}

/// The quota of an image's users.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageQuota {
    /// The image.
    pub image: ImageId,
    /// VMs that use it.
    pub running_vms: Usage,
}

/// The quota of a datastore.
#[derive(Clone, Debug, PartialEq)]
pub struct DatastoreQuota {
    /// The datastore.
    pub datastore: DatastoreId,
    /// Images in it.
    pub images: Usage,
    /// Their size in MB.
    pub size_mb: Usage,
}

/// The quotas in a USER or GROUP; `defaults` is the element that holds the zone's default quotas.
pub(super) fn read(zone: &ZoneName, xml: &Element, defaults: &str) -> Quotas {
    let defaults = xml.child(defaults);
    let id = |entry: &Entry<'_>| entry.key.parse().ok();
    Quotas {
        vms: entries(xml, defaults, "VM_QUOTA", "VM", "CLUSTER_IDS").map(|e| vms(zone, &e)).collect(),
        networks: entries(xml, defaults, "NETWORK_QUOTA", "NETWORK", "ID")
            .filter_map(|e| {
                Some(NetworkQuota { network: VnetId::new(zone.clone(), id(&e)?), leases: e.usage("LEASES") })
            })
            .collect(),
        images: entries(xml, defaults, "IMAGE_QUOTA", "IMAGE", "ID")
            .filter_map(|e| {
                Some(ImageQuota { image: ImageId::new(zone.clone(), id(&e)?), running_vms: e.usage("RVMS") })
            })
            .collect(),
        datastores: entries(xml, defaults, "DATASTORE_QUOTA", "DATASTORE", "ID")
            .filter_map(|e| {
                Some(DatastoreQuota {
                    datastore: DatastoreId::new(zone.clone(), id(&e)?),
                    images: e.usage("IMAGES"),
                    size_mb: e.usage("SIZE"),
                })
            })
            .collect(),
    }
}

fn vms(zone: &ZoneName, entry: &Entry<'_>) -> VmQuota {
    let clusters = entry.key.split(',').filter_map(|id| id.trim().parse().ok());
    VmQuota {
        clusters: clusters.map(|id| ClusterId::new(zone.clone(), id)).collect(),
        vms: entry.usage("VMS"),
        running_vms: entry.usage("RUNNING_VMS"),
        cpu: entry.usage("CPU"),
        running_cpu: entry.usage("RUNNING_CPU"),
        memory_mb: entry.usage("MEMORY"),
        running_memory_mb: entry.usage("RUNNING_MEMORY"),
        system_disk_mb: entry.usage("SYSTEM_DISK_SIZE"),
    }
}

/// What a user has of one thing, and the default for the same thing. One of the two may be missing.
struct Entry<'a> {
    key: &'a str,
    own: Option<&'a Element>,
    default: Option<&'a Element>,
}

impl Entry<'_> {
    fn usage(&self, metric: &str) -> Usage {
        let number =
            |xml: Option<&Element>, name: &str| xml?.number_of::<f64>(name).filter(|n| n.is_finite());
        let limit = match number(self.own, metric) {
            // -2 is "no limit"; -1, like nothing at all, is "the default".
            Some(own) if own != -1.0 => Some(own),
            _ => number(self.default, metric),
        };
        Usage {
            used: number(self.own, &format!("{metric}_USED")).unwrap_or(0.0),
            limit: limit.filter(|limit| *limit >= 0.0),
        }
    }
}

fn entries<'a>(
    xml: &'a Element,
    defaults: Option<&'a Element>,
    quota: &'a str,
    item: &'a str,
    key: &'a str,
) -> impl Iterator<Item = Entry<'a>> {
    let of = move |xml: Option<&'a Element>| -> Vec<(&'a str, &'a Element)> {
        let items = xml.and_then(|xml| xml.child(quota)).into_iter().flat_map(move |q| q.all(item));
        items.map(|item| (item.text_of(key).unwrap_or_default().trim(), item)).collect()
    };
    let (own, default) = (of(Some(xml)), of(defaults));
    let find =
        |list: &[(&str, &'a Element)], key: &str| list.iter().find(|(k, _)| *k == key).map(|(_, e)| *e);
    let mut merged: Vec<Entry<'a>> =
        own.iter().map(|(key, own)| Entry { key, own: Some(own), default: find(&default, key) }).collect();
    merged.extend(default.iter().filter(|(key, _)| find(&own, key).is_none()).map(|(key, default)| Entry {
        key,
        own: None,
        default: Some(default),
    }));
    merged.into_iter()
}
