//! What a sandbox's zones are like where they are not as by default: users, rights, versions, objects, quotas, slowness.
//!
//! Written as TOML. What stands under `[all]` holds for every zone, what stands under `[zone.NAME]` for that one; a list that a
//! zone gives replaces the one of all, and so does each delay.
//!
//! ```toml
//! [[user]]                       # of the whole federation, beside oneadmin
//! name = "alice"
//! password = "a secret"
//! groups = ["users"]             # the first is the primary one; this is the default
//!
//! [all]
//! version = "7.4.0"              # what one.system.version says
//! enabled = true                 # false: reads work, writes are refused
//! vdc = ["users"]                # groups that may use hosts and networks; by default `users` in the first zone, none elsewhere
//! endpoint = "http://localhost:2633/RPC2"    # what the zone pool says, by default where the zone really is
//! oneflow_endpoint = ""          # the same of OneFlow; "" is not there at all
//! delays = { boot_seconds = 20, shutdown_seconds = 5, xmlrpc_seconds = 0.001, oneflow_seconds = 0.23, onegate_seconds = 0.23, ready_poll_seconds = 30 }
//! host = [{ name = "kvm-1", cpu = 64, memory = 262144, state = "on" }]       # cores and MB; off: the administrator disabled it
//! network = [{ name = "private", size = 100, owner = "oneadmin", permissions = "644" }]
//! image = [{ name = "onefed", state = "ready", size = 4096, owner = "oneadmin", permissions = "644" }]
//! template = [{ name = "onefed", image = "onefed", owner = "oneadmin", permissions = "644", cpu = 1, memory = 2048, inputs = { FL_X = "O|text|it" } }]
//! quota = [{ user = "alice", vms = 3, cpu = 4, memory = 8192, network = "private", leases = 5 }]   # or group = "users"
//!
//! [zone.paris]
//! version = "6.10.0"
//! ```

mod fields;
mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::access::Mode;
use onefed_opennebula::Secret;

/// The version that a sandbox answers like.
pub(crate) const VERSION: &str = "7.4.0";

/// How the zones of a sandbox differ from the default: oneadmin alone, one network "private", images "onefed", "Ubuntu
/// 24.04" and "Debian 12", one VM template "onefed", one large host, no quotas, no delays.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub(crate) users: Vec<UserWorld>,
    pub(crate) all: ZoneWorld,
    pub(crate) zones: BTreeMap<String, ZoneWorld>,
}

impl World {
    /// Reads a world from TOML text.
    ///
    /// # Errors
    /// All problems, each with its line: unknown keys with a suggestion, values of the wrong kind, names that nothing has.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        read::world(text)
    }

    /// [`parse`](Self::parse) of a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), or why the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|why| vec![why.to_string()])?;
        Self::parse(&text)
    }

    /// Zones that the world speaks of and the sandbox does not have, as problems.
    pub(crate) fn strangers(&self, zones: &[String]) -> Vec<String> {
        let unknown = self.zones.keys().filter(|name| !zones.contains(name));
        unknown
            .map(|name| format!("the world has a zone {name}, the sandbox has {}", zones.join(", ")))
            .collect()
    }

    /// What holds for one zone.
    pub(crate) fn of(&self, zone: &str) -> ZoneWorld {
        let mut world = self.all.clone();
        if let Some(own) = self.zones.get(zone) {
            world.overlay(own);
        }
        world
    }
}

/// A user beside oneadmin.
#[derive(Clone, Debug)]
pub(crate) struct UserWorld {
    pub(crate) name: String,
    pub(crate) password: Secret,
    pub(crate) groups: Vec<String>,
}

/// A zone; `None` is as by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZoneWorld {
    pub(crate) version: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) vdc: Option<Vec<String>>,
    pub(crate) endpoint: Option<String>,
    pub(crate) oneflow_endpoint: Option<String>,
    pub(crate) hosts: Option<Vec<HostWorld>>,
    pub(crate) networks: Option<Vec<NetworkWorld>>,
    pub(crate) images: Option<Vec<ImageWorld>>,
    pub(crate) templates: Option<Vec<TemplateWorld>>,
    pub(crate) quotas: Option<Vec<QuotaWorld>>,
    pub(crate) delays: DelaysWorld,
}

impl ZoneWorld {
    fn overlay(&mut self, own: &Self) {
        fn over<T: Clone>(base: &mut Option<T>, own: &Option<T>) {
            if own.is_some() {
                base.clone_from(own);
            }
        }
        over(&mut self.version, &own.version);
        over(&mut self.enabled, &own.enabled);
        over(&mut self.vdc, &own.vdc);
        over(&mut self.endpoint, &own.endpoint);
        over(&mut self.oneflow_endpoint, &own.oneflow_endpoint);
        over(&mut self.hosts, &own.hosts);
        over(&mut self.networks, &own.networks);
        over(&mut self.images, &own.images);
        over(&mut self.templates, &own.templates);
        over(&mut self.quotas, &own.quotas);
        over(&mut self.delays.boot, &own.delays.boot);
        over(&mut self.delays.shutdown, &own.delays.shutdown);
        over(&mut self.delays.xmlrpc, &own.delays.xmlrpc);
        over(&mut self.delays.oneflow, &own.delays.oneflow);
        over(&mut self.delays.onegate, &own.delays.onegate);
        over(&mut self.delays.ready_poll, &own.delays.ready_poll);
    }

    pub(crate) fn delays(&self) -> Delays {
        let world = &self.delays;
        Delays {
            boot: world.boot.unwrap_or_default(),
            shutdown: world.shutdown.unwrap_or_default(),
            xmlrpc: world.xmlrpc.unwrap_or_default(),
            oneflow: world.oneflow.unwrap_or_default(),
            onegate: world.onegate.unwrap_or_default(),
            ready_poll: world.ready_poll.unwrap_or(READY_POLL),
        }
    }
}

/// How often OneFlow re-reads VMs, in case an event was missed.
const READY_POLL: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub(crate) struct DelaysWorld {
    pub(crate) boot: Option<Duration>,
    pub(crate) shutdown: Option<Duration>,
    pub(crate) xmlrpc: Option<Duration>,
    pub(crate) oneflow: Option<Duration>,
    pub(crate) onegate: Option<Duration>,
    pub(crate) ready_poll: Option<Duration>,
}

/// How slow a zone is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    /// From PROLOG to the start of the guest.
    pub(crate) boot: Duration,
    /// From the guest's end to the VM's, unless it is ended hard.
    pub(crate) shutdown: Duration,
    /// Each call of XML-RPC, OneFlow, OneGate.
    pub(crate) xmlrpc: Duration,
    pub(crate) oneflow: Duration,
    pub(crate) onegate: Duration,
    pub(crate) ready_poll: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct HostWorld {
    pub(crate) name: String,
    /// Cores.
    pub(crate) cpu: u32,
    /// MB.
    pub(crate) memory: u32,
    pub(crate) on: bool,
}

/// Owner (by name) and permissions of an object.
#[derive(Clone, Debug)]
pub(crate) struct OwnerWorld {
    pub(crate) owner: String,
    pub(crate) mode: Mode,
}

#[derive(Clone, Debug)]
pub(crate) struct NetworkWorld {
    pub(crate) name: String,
    /// Leases; without it, an equal part of what the others leave.
    pub(crate) size: Option<u8>,
    pub(crate) owner: OwnerWorld,
}

#[derive(Clone, Debug)]
pub(crate) struct ImageWorld {
    pub(crate) name: String,
    pub(crate) state: ImageState,
    /// MB.
    pub(crate) size: u32,
    pub(crate) owner: OwnerWorld,
}

/// The states of an image that matter before a VM uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    Ready,
    Disabled,
    Locked,
    Error,
}

#[derive(Clone, Debug)]
pub(crate) struct TemplateWorld {
    pub(crate) name: String,
    pub(crate) image: Option<String>,
    pub(crate) cpu: f64,
    /// MB.
    pub(crate) memory: u32,
    /// USER_INPUTS, as OpenNebula writes them.
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) owner: OwnerWorld,
}

#[derive(Clone, Debug)]
pub(crate) struct QuotaWorld {
    pub(crate) of: QuotaOf,
    pub(crate) vms: Option<u32>,
    pub(crate) cpu: Option<f64>,
    pub(crate) memory: Option<u32>,
    /// A network by name and how many leases of it.
    pub(crate) leases: Option<(String, u32)>,
}

/// Whose quota it is, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuotaOf {
    User(String),
    Group(String),
}

impl ZoneWorld {
    pub(crate) fn hosts(&self) -> Vec<HostWorld> {
        let large = || HostWorld { name: "kvm-1".to_owned(), cpu: 256, memory: 1 << 20, on: true };
        self.hosts.clone().unwrap_or_else(|| vec![large()])
    }

    pub(crate) fn networks(&self) -> Vec<NetworkWorld> {
        let private =
            || NetworkWorld { name: "private".to_owned(), size: None, owner: OwnerWorld::default() };
        self.networks.clone().unwrap_or_else(|| vec![private()])
    }

    pub(crate) fn images(&self) -> Vec<ImageWorld> {
        let ready = |name: &str| ImageWorld {
            name: name.to_owned(),
            state: ImageState::Ready,
            size: 4096,
            owner: OwnerWorld::default(),
        };
        self.images.clone().unwrap_or_else(|| ["onefed", "Ubuntu 24.04", "Debian 12"].map(ready).into())
    }

    pub(crate) fn templates(&self) -> Vec<TemplateWorld> {
        let onefed = || TemplateWorld {
            name: "onefed".to_owned(),
            // Who lists images of his own may have left this one out.
            image: self.images().iter().any(|i| i.name == "onefed").then(|| "onefed".to_owned()),
            cpu: 1.0,
            memory: 2048,
            inputs: BTreeMap::new(),
            owner: OwnerWorld::default(),
        };
        self.templates.clone().unwrap_or_else(|| vec![onefed()])
    }
}

impl Default for OwnerWorld {
    /// oneadmin's, and private.
    fn default() -> Self {
        Self { owner: "oneadmin".to_owned(), mode: Mode(0o600) }
    }
}

#[cfg(test)]
mod tests;
