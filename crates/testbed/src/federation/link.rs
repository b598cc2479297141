//! What is between SuperLink and the SuperNodes: a hub, and to each site a line with a spoke behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use onefed_flower::command::CommandLine;
use onefed_trust::{ClientIdentity, ClientRole, RootCa, SanName};
use serde_json::{Map, Value, json};

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
    /// If a process does not come up; with the end of its log.
    pub fn start(setup: &Setup, superlink: SocketAddr) -> Result<Self> {
        let guard = emptied(&setup.dir)?;
        let (hub, _, hops) = hops(setup, superlink, superlink)?;
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

/// The hub, its operator, and what is before each site.
pub(super) fn hops(
    setup: &Setup,
    fleet: SocketAddr,
    control: SocketAddr,
) -> Result<(Option<Process>, Operator, Vec<Hop>)> {
    let begun = Begun { setup, fleet, control };
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
}

impl Begun<'_> {
    /// The hub, an operator's identity for its admin endpoint, and the CA of both.
    fn hub(&self, onefed: &Path) -> Result<(Process, ClientIdentity, String)> {
        let (net, now) = (self.setup.net, SystemTime::now());
        let trust = |why: onefed_trust::Error| Failed(why.to_string());
        let root = RootCa::generate("testbed", now).map_err(trust)?;
        let lines = (1..=self.setup.sites).map(|site| line_address(net, site));
        let names: Vec<SanName> = lines.chain([hub_address(net)]).map(SanName::Ip).collect();
        let server = root.issue_server(&names, now).map_err(trust)?;
        let operator = root.issue_client("testbed", ClientRole::Operator, now).map_err(trust)?;
        let ca = self.write("ca.pem", root.cert_pem())?;
        let certificate = self.write("hub.pem", &server.cert_pem)?;
        let key = self.write("hub.key", server.key_pem.expose())?;
        let (time, timeout) = self.setup.keepalive;
        let file = json!({
            "federation": "testbed",
            "site_enrolment": "open",
            "flower": self.setup.flower,
            "superlink_fleet": self.fleet,
            "superlink_control": self.control,
            "superlink_ca": null,
            "fleet": SocketAddr::from((hub_address(net), FLEET)),
            "admin": admin_address(net),
            "tls": { "certificate": certificate, "key": key },
            "admin_ca": ca,
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
                let listen = SocketAddr::from((address(net, 10 + site, 1), FLEET));
                let spoke = self.spoke(onefed, site, listen, far)?;
                listens(&spoke, listen)?;
                (Some(spoke), listen)
            }
        };
        Ok(Hop { wan, spoke, fleet })
    }

    fn spoke(&self, onefed: &Path, site: usize, listen: SocketAddr, far: SocketAddr) -> Result<Process> {
        let (time, timeout) = self.setup.keepalive;
        let file = json!({
            "federation": "testbed",
            "site": format!("site-{site}"),
            "spoke": site.to_string(),
            "flower": self.setup.flower,
            "listen": listen,
            "tls": null,
            "hub_host": far.ip().to_string(),
            "hub_port": far.port(),
            "ca": self.setup.dir.join("ca.pem"),
            "dial_from": null,
            "keepalive_time_ms": time.as_millis() as u64,
            "keepalive_timeout_ms": timeout.as_millis() as u64,
        });
        self.onefed(onefed, "spoke", &format!("spoke-{site}"), file, &self.setup.spoke_extra)
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
        let path = self.write(&format!("{name}.json"), &file.to_string())?;
        let args = vec![verb.to_owned(), "--config".to_owned(), path.display().to_string()];
        let level = std::env::var("ONEFED_LOG").unwrap_or_else(|_| "info".to_owned());
        let mut env = vec![("ONEFED_LOG".to_owned(), level)];
        env.extend(self.setup.environment.iter().cloned());
        Process::start(name, CommandLine { program: program.to_owned(), args, env }, &self.setup.dir)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.setup.dir.join(name);
        let fail = |why| Failed(format!("{}: {why}", path.display()));
        let mut options = std::fs::File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        Ok(path)
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
