//! A federation of real processes on loopback: a SuperLink and sites with SuperNodes, as Flower ships them, with an
//! emulated WAN to each site. Either plain Flower over that line, or with a spoke and a hub at its ends:
//!
//! ```text
//! stock   SuperNodes ──────────── line ───────── SuperLink
//! ours    SuperNodes ── spoke ─── line ─── hub ── SuperLink
//! ```
//!
//! The app that runs on it is in `app/`: it moves a model of any size and shape to all nodes and back, checks every
//! bit of it, and reports how long each round took.
//!
//! Addresses, with N the federation's own octet: SuperLink 127.N.1.1, hub 127.N.1.2, the line to site k 127.N.2.k, its
//! spoke 127.N.(10+k).1, its SuperNodes 127.N.(10+k).11 and up.
//!
//! With [`Setup::node_auth`] as the appliance does it with `FL_NODE_AUTH`: SuperLink takes only SuperNodes whose keys were
//! registered, and every hop is TLS, since Flower shows a key over nothing else.

mod link;
mod node_auth;
mod process;
mod run;
mod start;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use onefed_flower::{Environment, Release};
use onefed_trust::{ClientIdentity, NodePublicKey};

pub use link::{Hop, Link};
pub use process::{Process, Usage};
pub use run::{Event, Load, Report, Round, Run, What};

use crate::wan::{Profile, Wan};

/// What went wrong, in words; a test or a benchmark shows it and ends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// The result of what may fail.
pub type Result<T> = std::result::Result<T, Failed>;

/// What federation to start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The Flower release, `X.Y.Z`; its Python environment is looked for in `.flower/X.Y.Z` of the repository.
    pub flower: String,
    /// The releases of each site's SuperNodes, one after the other and from the first again; empty for `flower`.
    pub supernodes: Vec<String>,
    /// Flower's node authentication; only with `onefed`.
    pub node_auth: bool,
    /// The second octet of all addresses.
    pub net: u8,
    /// Where everything is written. Emptied first; removed in the end, unless something failed.
    pub dir: PathBuf,
    /// SuperLink's database; `None` is a file in `dir`. On a disk that is busy for more than five seconds SuperLink fails a
    /// run ("database is locked").
    pub database: Option<PathBuf>,
    /// The `onefed` program for a federation with spokes and a hub, `None` for plain Flower.
    pub onefed: Option<PathBuf>,
    /// How many sites.
    pub sites: usize,
    /// SuperNodes per site.
    pub nodes: usize,
    /// How the line to each site behaves; `None` is no line at all, not even a forwarder.
    pub line: Option<Profile>,
    /// PING interval and timeout of the link.
    pub keepalive: (Duration, Duration),
    /// `FLWR_LOG_LEVEL` of SuperLink. At `DEBUG` it names every object that is pulled, see [`Federation::pulls`].
    pub log_level: &'static str,
    /// Further variables of the environment of hub and spokes, by name.
    pub environment: Vec<(String, String)>,
    /// Further settings for the hub's file, by name.
    pub hub_extra: serde_json::Map<String, serde_json::Value>,
    /// Further settings for the files of the spokes, by name.
    pub spoke_extra: serde_json::Map<String, serde_json::Value>,
}

impl Setup {
    /// Plain Flower without a line.
    #[must_use]
    pub fn new(flower: &str, net: u8, dir: &Path, sites: usize, nodes: usize) -> Self {
        Self {
            flower: flower.to_owned(),
            supernodes: Vec::new(),
            node_auth: false,
            net,
            dir: dir.to_owned(),
            database: None,
            onefed: None,
            sites,
            nodes,
            line: None,
            keepalive: (Duration::from_secs(10), Duration::from_secs(5)),
            log_level: "INFO",
            environment: Vec::new(),
            hub_extra: serde_json::Map::new(),
            spoke_extra: serde_json::Map::new(),
        }
    }

    /// With a hub and spokes of this program.
    #[must_use]
    pub fn ours(mut self, onefed: &Path) -> Self {
        // Processes start in a directory of their own.
        self.onefed = Some(std::path::absolute(onefed).unwrap_or_else(|_| onefed.to_owned()));
        self
    }

    /// With a line to each site.
    #[must_use]
    pub fn over(mut self, line: Profile) -> Self {
        self.line = Some(line);
        self
    }
}

/// One site's processes and its line.
#[derive(Debug)]
pub struct Site {
    /// The line, where there is one.
    pub wan: Option<Wan>,
    /// The spoke, in a federation of ours.
    pub spoke: Option<Process>,
    /// The SuperNodes. One that is started anew is another node for Flower, since it makes its own key; not so with node
    /// authentication.
    pub supernodes: Vec<Process>,
}

/// A running federation. Everything of it ends on drop.
#[derive(Debug)]
pub struct Federation {
    // First, so that sites are gone before what they talk to.
    /// The sites.
    pub sites: Vec<Site>,
    /// The hub, in a federation of ours.
    pub hub: Option<Process>,
    /// The SuperLink.
    pub superlink: Process,
    setup: Setup,
    release: Release,
    environment: Environment,
    operator: Option<(ClientIdentity, String)>,
    node_keys: Vec<NodePublicKey>,
    superlink_ca: Option<PathBuf>,
    failed: std::cell::Cell<bool>,
    runs: std::cell::Cell<usize>,
    _guard: process::Guard,
}

impl Federation {
    /// How it was set up.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its directory: logs, state, reports.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.setup.dir
    }

    /// The directory stays when this ends.
    pub fn keep(&self) {
        self.failed.set(true);
    }

    /// Bytes that the lines have carried so far, up and down, for all sites together.
    #[must_use]
    pub fn carried(&self) -> (u64, u64) {
        let counts = self.sites.iter().filter_map(|site| Some(site.wan.as_ref()?.counts()));
        counts.fold((0, 0), |(up, down), counts| (up + counts.up, down + counts.down))
    }

    /// How often an object was pulled from SuperLink so far, and how many different ones; needs
    /// [`Setup::log_level`] `DEBUG`.
    #[must_use]
    pub fn pulls(&self) -> (usize, usize) {
        let log = self.superlink.log();
        let ids = log.lines().filter_map(|line| {
            let (_, id) = line.split_once("[Fleet.PullObject] Pull Object with object_id=")?;
            id.get(..64)
        });
        let all: Vec<&str> = ids.collect();
        let distinct: std::collections::HashSet<&str> = all.iter().copied().collect();
        (all.len(), distinct.len())
    }

    /// The hub's admin endpoint, the operator's identity for it, and the CA; `None` without a hub.
    #[must_use]
    pub fn admin(&self) -> Option<(std::net::SocketAddr, &ClientIdentity, &str)> {
        let (identity, ca) = self.operator.as_ref()?;
        Some((link::admin_address(self.setup.net), identity, ca))
    }

    /// With node authentication: the keys of all SuperNodes, site by site. Until they are registered, at the admin
    /// endpoint as an operator does it, their SuperNodes wait.
    #[must_use]
    pub fn node_keys(&self) -> &[NodePublicKey] {
        &self.node_keys
    }

    /// Marks the federation as failed, so that its directory stays, and says where that is.
    fn fail<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|Failed(why)| {
            self.failed.set(true);
            Failed(format!("{why}\nlogs are in {}", self.setup.dir.display()))
        })
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        process::end_everything_of(&self.setup.dir);
        if !self.failed.get() && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.setup.dir);
        }
    }
}
