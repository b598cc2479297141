//! Bringing a federation up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use onefed_flower::command::{CommandLine, Host, SuperLinkOptions, SuperNodeOptions};
use onefed_flower::{Environment, Release};
use onefed_trust::{ClientIdentity, ClientRole, RootCa, SanName};
use serde_json::{Map, Value, json};

use super::process::{Guard, end_everything_of, tail};
use super::{Failed, Federation, Process, Result, Setup, Site};
use crate::wan::Wan;

/// How long anything may take to listen; a loaded machine needs its time to start Python.
const UP: Duration = Duration::from_secs(90);
/// The Fleet port of hubs, spokes and lines.
const FLEET: u16 = 9092;
const ADMIN: u16 = 9443;

fn address(net: u8, third: usize, fourth: usize) -> IpAddr {
    let octet = |number: usize| u8::try_from(number).unwrap_or(255);
    IpAddr::V4(Ipv4Addr::new(127, net, octet(third), octet(fourth)))
}

fn superlink_address(net: u8) -> IpAddr {
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
        end_everything_of(&setup.dir);
        let _ = std::fs::remove_dir_all(&setup.dir);
        std::fs::create_dir_all(&setup.dir)
            .map_err(|why| Failed(format!("{}: {why}", setup.dir.display())))?;
        // Nothing keeps running either when the start fails half-way. The directory stays then, to be looked at.
        let guard = Guard::of(&setup.dir)?;
        let begun = Begun { setup: &setup, release, environment: &environment };
        let (superlink, hub, operator, sites) = begun.all()?;
        let (failed, runs) = (std::cell::Cell::new(false), std::cell::Cell::new(0));
        Ok(Self { sites, hub, superlink, setup, release, environment, operator, failed, runs, _guard: guard })
    }
}

type Operator = Option<(ClientIdentity, String)>;

struct Begun<'a> {
    setup: &'a Setup,
    release: Release,
    environment: &'a Environment,
}

impl Begun<'_> {
    fn all(&self) -> Result<(Process, Option<Process>, Operator, Vec<Site>)> {
        let net = self.setup.net;
        let fleet = (superlink_address(net), self.release.fleet_port()).into();
        let control = control_address(net, self.release);
        for address in [fleet, control] {
            // What listens there already would be taken for our own.
            let fail = |why| Failed(format!("{address} is not free: {why}"));
            drop(std::net::TcpListener::bind(address).map_err(fail)?);
        }
        let superlink = self.superlink()?;
        let (hub, operator) = match &self.setup.onefed {
            None => (None, None),
            Some(onefed) => {
                let (hub, identity, ca) = self.hub(onefed)?;
                (Some(hub), Some((identity, ca)))
            }
        };
        listens(&superlink, fleet)?;
        listens(&superlink, control)?;
        let far = match &hub {
            None => fleet,
            Some(hub) => {
                let address = (hub_address(net), FLEET).into();
                listens(hub, address)?;
                address
            }
        };
        let sites = (1..=self.setup.sites).map(|site| self.site(site, far)).collect::<Result<_>>()?;
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
        let superlink = superlink_address(net);
        let file = json!({
            "federation": "testbed",
            "site_enrolment": "open",
            "flower": self.setup.flower,
            "superlink_fleet": SocketAddr::from((superlink, self.release.fleet_port())),
            "superlink_control": control_address(net, self.release),
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

    fn site(&self, site: usize, far: SocketAddr) -> Result<Site> {
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
        let (spoke, superlink) = match &self.setup.onefed {
            None => (None, far),
            Some(onefed) => {
                let listen = SocketAddr::from((address(net, 10 + site, 1), FLEET));
                let spoke = self.spoke(onefed, site, listen, far)?;
                listens(&spoke, listen)?;
                (Some(spoke), listen)
            }
        };
        let supernodes = (1..=self.setup.nodes).map(|node| {
            let name = format!("supernode-{site}-{node}");
            let host = self.host(&name, address(net, 10 + site, 10 + node), "INFO")?;
            let command = host.supernode(&SuperNodeOptions {
                superlink: &superlink.to_string(),
                root_certificates: None,
                auth_key: None,
                node_config: "",
                max_retries: None,
                max_wait_time: None,
            });
            Process::start(&name, command, &self.setup.dir)
        });
        let supernodes = supernodes.collect::<Result<_>>()?;
        Ok(Site { wan, spoke, supernodes })
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

/// Where `.flower` and the app are.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Waits until a process listens.
fn listens(process: &Process, address: SocketAddr) -> Result<()> {
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
