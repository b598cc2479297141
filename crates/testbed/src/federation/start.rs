//! Bringing a federation of Flower up.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use onefed_flower::command::{Host, SuperLinkOptions, SuperNodeOptions};
use onefed_flower::{Environment, Release};

use super::link::{Hop, Operator, address, emptied, hops, listens, superlink_address};
use super::{Failed, Federation, Process, Result, Setup, Site};

/// SuperLink's Control API.
pub(super) fn control_address(net: u8, release: Release) -> SocketAddr {
    (superlink_address(net), release.control_port()).into()
}

impl Federation {
    /// Starts all processes and returns when all of them listen. The SuperNodes may not be registered yet; the app
    /// waits for them.
    ///
    /// # Errors
    /// If Flower is not there, or a process does not come up; with the end of its log.
    pub fn start(setup: Setup) -> Result<Self> {
        let release = Release::parse(&setup.flower).map_err(|why| Failed(why.to_string()))?;
        let place = repository().join(".flower").join(&setup.flower);
        let environment = Environment::find(&place, release.version()).map_err(|why| {
            Failed(format!("{why}; `onefed sandbox up --flower {}` makes it", setup.flower))
        })?;
        let guard = emptied(&setup.dir)?;
        let begun = Begun { setup: &setup, release, environment: &environment };
        let (superlink, hub, operator, sites) = begun.all()?;
        let (failed, runs) = (std::cell::Cell::new(false), std::cell::Cell::new(0));
        Ok(Self { sites, hub, superlink, setup, release, environment, operator, failed, runs, _guard: guard })
    }
}

struct Begun<'a> {
    setup: &'a Setup,
    release: Release,
    environment: &'a Environment,
}

impl Begun<'_> {
    fn all(&self) -> Result<(Process, Option<Process>, Operator, Vec<Site>)> {
        let fleet = (superlink_address(self.setup.net), self.release.fleet_port()).into();
        let control = control_address(self.setup.net, self.release);
        for address in [fleet, control] {
            // What listens there already would be taken for our own.
            let fail = |why| Failed(format!("{address} is not free: {why}"));
            drop(std::net::TcpListener::bind(address).map_err(fail)?);
        }
        let superlink = self.superlink()?;
        listens(&superlink, fleet)?;
        listens(&superlink, control)?;
        let (hub, operator, hops) = hops(self.setup, fleet, control)?;
        let sites = (1..).zip(hops).map(|(site, hop)| self.site(site, hop)).collect::<Result<_>>()?;
        Ok((superlink, hub, operator, sites))
    }

    fn host(&self, name: &str, loopback: IpAddr, log_level: &'static str) -> Result<Host<'_>> {
        let home = self.setup.dir.join("home").join(name);
        for dir in [home.join("tmp"), home.join("flwr")] {
            std::fs::create_dir_all(&dir).map_err(|why| Failed(format!("{}: {why}", dir.display())))?;
        }
        let (release, environment) = (self.release, self.environment);
        Ok(Host { release, environment, loopback, home, log_level })
    }

    fn superlink(&self) -> Result<Process> {
        let host = self.host("superlink", superlink_address(self.setup.net), self.setup.log_level)?;
        let database = self.setup.database.clone().unwrap_or_else(|| self.setup.dir.join("state.db"));
        let options = SuperLinkOptions { database: &database, tls: None, supernode_auth: false };
        Process::start("superlink", host.superlink(&options), &self.setup.dir)
    }

    fn site(&self, site: usize, hop: Hop) -> Result<Site> {
        let supernodes = (1..=self.setup.nodes).map(|node| {
            let name = format!("supernode-{site}-{node}");
            let host = self.host(&name, address(self.setup.net, 10 + site, 10 + node), "INFO")?;
            let command = host.supernode(&SuperNodeOptions {
                superlink: &hop.fleet.to_string(),
                root_certificates: None,
                auth_key: None,
                node_config: "",
                max_retries: None,
                max_wait_time: None,
            });
            Process::start(&name, command, &self.setup.dir)
        });
        let supernodes = supernodes.collect::<Result<_>>()?;
        Ok(Site { wan: hop.wan, spoke: hop.spoke, supernodes })
    }
}

/// Where `.flower` and the app are.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
