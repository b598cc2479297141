//! Bringing a federation of Flower up.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use onefed_flower::command::{Host, SuperLinkOptions, SuperNodeOptions};
use onefed_flower::{Environment, Release};
use onefed_trust::NodePublicKey;

use super::link::{Hop, Operator, address, emptied, hops, listens, site_ca, superlink_address};
use super::node_auth::{Inner, node_key};
use super::{Failed, Federation, Process, Result, Setup, Site};

/// What SuperNodes and their apps are nicer by than all else: they would have machines of their own. Four apps that start at once
/// would slow SuperLink down until its database is locked for more than the 5 s that a ServerApp's call waits for it.
const OTHER_MACHINE: i32 = 10;

/// SuperLink's Control API.
pub(super) fn control_address(net: u8, release: Release) -> SocketAddr {
    (superlink_address(net), release.control_port()).into()
}

impl Federation {
    /// Starts all processes and returns when all of them listen. The SuperNodes may not be registered yet; the app
    /// waits for them. With node authentication somebody has to register [`Federation::node_keys`].
    ///
    /// # Errors
    /// If Flower is not there, or a process does not come up; with the end of its log.
    pub fn start(setup: Setup) -> Result<Self> {
        if setup.node_auth && setup.onefed.is_none() {
            return Err(Failed(
                "node authentication is for a federation with a hub: nobody else registers keys".into(),
            ));
        }
        let superlink = Installed::find(&setup.flower)?;
        let supernodes = match &setup.supernodes[..] {
            [] => vec![superlink.clone()],
            releases => releases.iter().map(|release| Installed::find(release)).collect::<Result<_>>()?,
        };
        let guard = emptied(&setup.dir)?;
        let inner = match setup.node_auth {
            true => Some(Inner::make(&setup.dir, superlink_address(setup.net))?),
            false => None,
        };
        let begun =
            Begun { setup: &setup, superlink: &superlink, supernodes: &supernodes, inner: inner.as_ref() };
        let (process, hub, operator, sites, node_keys) = begun.all()?;
        let (failed, runs) = (std::cell::Cell::new(false), std::cell::Cell::new(0));
        let Installed { release, environment } = superlink;
        let superlink_ca = inner.map(|inner| inner.ca);
        Ok(Self {
            sites,
            hub,
            superlink: process,
            setup,
            release,
            environment,
            operator,
            node_keys,
            superlink_ca,
            failed,
            runs,
            _guard: guard,
        })
    }
}

/// A release of Flower on this machine.
#[derive(Clone)]
struct Installed {
    release: Release,
    environment: Environment,
}

impl Installed {
    fn find(version: &str) -> Result<Self> {
        let release = Release::parse(version).map_err(|why| Failed(why.to_string()))?;
        let place = repository().join(".flower").join(version);
        let environment = Environment::find(&place, release.version())
            .map_err(|why| Failed(format!("{why}; `onefed sandbox up --flower {version}` makes it")))?;
        Ok(Self { release, environment })
    }
}

struct Begun<'a> {
    setup: &'a Setup,
    superlink: &'a Installed,
    supernodes: &'a [Installed],
    inner: Option<&'a Inner>,
}

type All = (Process, Option<Process>, Operator, Vec<Site>, Vec<NodePublicKey>);

impl Begun<'_> {
    fn all(&self) -> Result<All> {
        let release = self.superlink.release;
        let fleet = (superlink_address(self.setup.net), release.fleet_port()).into();
        let control = control_address(self.setup.net, release);
        for address in [fleet, control] {
            // What listens there already would be taken for our own.
            let fail = |why| Failed(format!("{address} is not free: {why}"));
            drop(std::net::TcpListener::bind(address).map_err(fail)?);
        }
        let superlink = self.superlink()?;
        listens(&superlink, fleet)?;
        listens(&superlink, control)?;
        let (hub, operator, hops) = hops(self.setup, fleet, control, self.inner)?;
        let (mut sites, mut keys) = (Vec::new(), Vec::new());
        for (site, hop) in (1..).zip(hops) {
            sites.push(self.site(site, hop, &mut keys)?);
        }
        Ok((superlink, hub, operator, sites, keys))
    }

    fn host<'i>(
        &self,
        name: &str,
        installed: &'i Installed,
        loopback: IpAddr,
        log_level: &'static str,
    ) -> Result<Host<'i>> {
        let home = self.setup.dir.join("home").join(name);
        for dir in [home.join("tmp"), home.join("flwr")] {
            std::fs::create_dir_all(&dir).map_err(|why| Failed(format!("{}: {why}", dir.display())))?;
        }
        let Installed { release, environment } = installed;
        Ok(Host { release: *release, environment, loopback, home, log_level })
    }

    fn superlink(&self) -> Result<Process> {
        let loopback = superlink_address(self.setup.net);
        let host = self.host("superlink", self.superlink, loopback, self.setup.log_level)?;
        let database = self.setup.database.clone().unwrap_or_else(|| self.setup.dir.join("state.db"));
        let tls = self.inner.map(Inner::superlink_tls);
        let options = SuperLinkOptions { database: &database, tls, supernode_auth: self.setup.node_auth };
        Process::start("superlink", host.superlink(&options), &self.setup.dir)
    }

    fn site(&self, site: usize, hop: Hop, keys: &mut Vec<NodePublicKey>) -> Result<Site> {
        let (dir, ca) = (&self.setup.dir, site_ca(&self.setup.dir));
        let mut supernodes = Vec::new();
        for (node, installed) in (1..=self.setup.nodes).zip(self.supernodes.iter().cycle()) {
            let name = format!("supernode-{site}-{node}");
            let host = self.host(&name, installed, address(self.setup.net, 10 + site, 10 + node), "INFO")?;
            let mut key = None;
            if self.setup.node_auth {
                let (file, public) = node_key(dir, &name)?;
                key = Some(file);
                keys.push(public);
            }
            let command = host.supernode(&SuperNodeOptions {
                superlink: &hop.fleet.to_string(),
                root_certificates: key.is_some().then_some(&*ca),
                auth_key: key.as_deref(),
                node_config: "",
                max_retries: None,
                max_wait_time: None,
            });
            supernodes.push(Process::start_nice(&name, command, dir, OTHER_MACHINE)?);
        }
        Ok(Site { wan: hop.wan, spoke: hop.spoke, supernodes })
    }
}

/// Where `.flower` and the app are.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
