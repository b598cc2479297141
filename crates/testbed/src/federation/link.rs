//! What is between SuperLink and the SuperNodes: a hub, and to each site a line with a spoke behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use onefed_flower::command::CommandLine;
use onefed_trust::{ClientIdentity, ClientRole, RootCa, SanName};
use serde_json::{Map, Value, json};

use super::node_auth::{Files, Inner, trust, write};
use super::process::{Guard, end_everything_of, tail};
use super::{Failed, Process, Result, Setup};
use crate::wan::Wan;

/// How long anything may take to listen; a loaded machine needs its time to start Python.
const UP: Duration = Duration::from_secs(90);
/// The Fleet port of hubs, spokes and lines.
const FLEET: u16 = 9092;
const ADMIN: u16 = 9443;

pub(super) fn address(net: u8, third: usize, fourth: usize) -> IpAddr {
    let octet = |number: usize| u8::try_from(number).unwrap_or(255);
    IpAddr::V4(Ipv4Addr::new(127, net, octet(third), octet(fourth)))
}

pub(super) fn superlink_address(net: u8) -> IpAddr {
    address(net, 1, 1)
}

fn hub_address(net: u8) -> IpAddr {
    address(net, 1, 2)
}

fn line_address(net: u8, site: usize) -> IpAddr {
    address(net, 2, site)
}

pub(super) fn admin_address(net: u8) -> SocketAddr {
    (hub_address(net), ADMIN).into()
}

/// The CA of hub and spokes.
const SITE_CA: &str = "ca.pem";

pub(super) fn site_ca(dir: &Path) -> PathBuf {
    dir.join(SITE_CA)
}

fn spoke_address(net: u8, site: usize) -> IpAddr {
    address(net, 10 + site, 1)
}

fn spoke_name(site: usize) -> String {
    format!("spoke-{site}")
}

/// The identity of an operator, and the CA of the hub.
pub(super) type Operator = Option<(ClientIdentity, String)>;

/// What is between SuperLink and one site's SuperNodes.
#[derive(Debug)]
pub struct Hop {
    /// The line, where there is one.
    pub wan: Option<Wan>,
    /// The spoke, with a `onefed`.
    pub spoke: Option<Process>,
    /// Where the site's SuperNodes connect to.
    pub fleet: SocketAddr,
}

/// Hub, lines and spokes for a SuperLink that somebody else has started, for SuperNodes that somebody else will start.
/// Everything of it ends on drop.
#[derive(Debug)]
pub struct Link {
    /// The sites.
    pub hops: Vec<Hop>,
    /// The hub, with a `onefed`.
    pub hub: Option<Process>,
    dir: PathBuf,
    kept: std::cell::Cell<bool>,
    _guard: Guard,
}

impl Link {
    /// Starts everything between SuperLink's Fleet API and the sites of a setup, and returns when all of it listens.
    ///
    /// # Errors
    /// If a process does not come up; with the end of its log. With node authentication: SuperLink would have to show a
    /// certificate of ours.
    pub fn start(setup: &Setup, superlink: SocketAddr) -> Result<Self> {
        if setup.node_auth {
            return Err(Failed(
                "node authentication is for a `Federation`, which has a SuperLink of its own".into(),
            ));
        }
        let guard = emptied(&setup.dir)?;
        let (hub, _, hops) = hops(setup, superlink, superlink, None)?;
        Ok(Self { hops, hub, dir: setup.dir.clone(), kept: std::cell::Cell::new(false), _guard: guard })
    }

    /// The directory stays when this ends; where it is.
    pub fn keep(&self) -> &Path {
        self.kept.set(true);
        &self.dir
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        end_everything_of(&self.dir);
        if !self.kept.get() && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// An empty directory, and what ends everything in it. That works also when a start fails half-way; the directory stays
/// then, to be looked at.
pub(super) fn emptied(dir: &Path) -> Result<Guard> {
    end_everything_of(dir);
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(|why| Failed(format!("{}: {why}", dir.display())))?;
    Guard::of(dir)
}

/// The hub, its operator, and what is before each site. With `inner`, SuperLink speaks TLS.
pub(super) fn hops(
    setup: &Setup,
    fleet: SocketAddr,
    control: SocketAddr,
    inner: Option<&Inner>,
) -> Result<(Option<Process>, Operator, Vec<Hop>)> {
    let begun = Begun { setup, fleet, control, inner };
    let (mut hub, mut operator, mut far) = (None, None, fleet);
    if let Some(onefed) = &setup.onefed {
        let (process, identity, ca) = begun.hub(onefed)?;
        far = (hub_address(setup.net), FLEET).into();
        listens(&process, far)?;
        (hub, operator) = (Some(process), Some((identity, ca)));
    }
    let hops = (1..=setup.sites).map(|site| begun.hop(site, far)).collect::<Result<_>>()?;
    Ok((hub, operator, hops))
}

struct Begun<'a> {
    setup: &'a Setup,
    fleet: SocketAddr,
    control: SocketAddr,
    inner: Option<&'a Inner>,
}

impl Begun<'_> {
    /// The hub, an operator's identity for its admin endpoint, and the CA of both. Spokes that speak TLS have their
    /// certificates of that CA.
    fn hub(&self, onefed: &Path) -> Result<(Process, ClientIdentity, String)> {
        let (net, now) = (self.setup.net, SystemTime::now());
        let root = RootCa::generate("testbed", now).map_err(trust)?;
        let lines = (1..=self.setup.sites).map(|site| line_address(net, site));
        let names: Vec<SanName> = lines.chain([hub_address(net)]).map(SanName::Ip).collect();
        let server = root.issue_server(&names, now).map_err(trust)?;
        let operator = root.issue_client("testbed", ClientRole::Operator, now).map_err(trust)?;
        let dir = &self.setup.dir;
        let files = Files::of(&server, dir, "hub")?;
        write(dir, SITE_CA, root.cert_pem())?;
        if self.setup.node_auth {
            for site in 1..=self.setup.sites {
                let names = [SanName::Ip(spoke_address(net, site))];
                let server = root.issue_server(&names, now).map_err(trust)?;
                Files::of(&server, dir, &spoke_name(site))?;
            }
        }
        let (time, timeout) = self.setup.keepalive;
        let file = json!({
            "federation": "testbed",
            "site_enrolment": "open",
            "flower": self.setup.flower,
            "superlink_fleet": self.fleet,
            "superlink_control": self.control,
            "superlink_ca": self.inner.map(|inner| &inner.ca),
            "fleet": SocketAddr::from((hub_address(net), FLEET)),
            "admin": admin_address(net),
            "tls": { "certificate": files.certificate, "key": files.key },
            "admin_ca": site_ca(dir),
            "keepalive_time_ms": time.as_millis() as u64,
            "keepalive_timeout_ms": timeout.as_millis() as u64,
        });
        let hub = self.onefed(onefed, "hub", "hub", file, &self.setup.hub_extra)?;
        Ok((hub, operator, root.cert_pem().to_owned()))
    }

    fn hop(&self, site: usize, far: SocketAddr) -> Result<Hop> {
        let net = self.setup.net;
        let wan = match self.setup.line {
            None => None,
            Some(profile) => {
                let listen = SocketAddr::from((line_address(net, site), FLEET));
                let fail = |why| Failed(format!("the line at {listen}: {why}"));
                Some(Wan::open(listen, far, profile).map_err(fail)?)
            }
        };
        let far = wan.as_ref().map_or(far, Wan::address);
        let (spoke, fleet) = match &self.setup.onefed {
            None => (None, far),
            Some(onefed) => {
                let listen = SocketAddr::from((spoke_address(net, site), FLEET));
                let spoke = self.spoke(onefed, site, listen, far)?;
                listens(&spoke, listen)?;
                (Some(spoke), listen)
            }
        };
        Ok(Hop { wan, spoke, fleet })
    }

    fn spoke(&self, onefed: &Path, site: usize, listen: SocketAddr, far: SocketAddr) -> Result<Process> {
        let (time, timeout) = self.setup.keepalive;
        let (dir, name) = (&self.setup.dir, spoke_name(site));
        let tls = self.setup.node_auth.then(|| Files::at(dir, &name));
        let file = json!({
            "federation": "testbed",
            "site": format!("site-{site}"),
            "spoke": site.to_string(),
            "flower": self.setup.flower,
            "listen": listen,
            "tls": tls.map(|files| json!({ "certificate": files.certificate, "key": files.key })),
            "hub_host": far.ip().to_string(),
            "hub_port": far.port(),
            "ca": site_ca(dir),
            "dial_from": null,
            "keepalive_time_ms": time.as_millis() as u64,
            "keepalive_timeout_ms": timeout.as_millis() as u64,
        });
        self.onefed(onefed, "spoke", &name, file, &self.setup.spoke_extra)
    }

    /// A process of onefed's, with its file and a directory of its own.
    fn onefed(
        &self,
        program: &Path,
        verb: &str,
        name: &str,
        mut file: Value,
        extra: &Map<String, Value>,
    ) -> Result<Process> {
        let own = self.setup.dir.join(format!("{name}.d"));
        std::fs::create_dir_all(&own).map_err(|why| Failed(format!("{}: {why}", own.display())))?;
        file["state"] = own.display().to_string().into();
        // The defaults of the context.
        file["disk_bytes"] = (10u64 << 30).into();
        file["hold_seconds"] = 600.into();
        for (key, value) in extra {
            file[key] = value.clone();
        }
        let path = write(&self.setup.dir, &format!("{name}.json"), &file.to_string())?;
        let args = vec![verb.to_owned(), "--config".to_owned(), path.display().to_string()];
        let level = std::env::var("ONEFED_LOG").unwrap_or_else(|_| "info".to_owned());
        let mut env = vec![("ONEFED_LOG".to_owned(), level)];
        env.extend(self.setup.environment.iter().cloned());
        Process::start(name, CommandLine { program: program.to_owned(), args, env }, &self.setup.dir)
    }
}

/// Waits until a process listens.
pub(super) fn listens(process: &Process, address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        let ended = process.ended();
        if ended.is_some() || began.elapsed() > UP {
            let why =
                ended.map_or_else(|| format!("not within {UP:?}"), |status| format!("it ended: {status}"));
            let log = tail(&process.log());
            return Err(Failed(format!("{} does not listen at {address}: {why}\n{log}", process.name())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
