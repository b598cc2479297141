//! SuperNodes of Flower 1.31 (gRPC) and of Flower 1.41 (HTTP) at one spoke, behind them a real SuperLink of either: a round
//! of a real app in which all have a part. In drills SuperNodes of all four releases of the version table, under a SuperLink
//! of each. Second octet: 26.
//!
//! The Python environments are made below `.flower/` of the repository when they are not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

#[path = "support/environment.rs"]
mod environment;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use onefed_flower::command::{CommandLine, Host, SuperLinkOptions, SuperNodeOptions, settings};
use onefed_flower::{Environment, Release, Transport};
use onefed_link::hub::{Hub, HubConfig};
use onefed_link::spoke::{Spoke, SpokeConfig};
use onefed_link::superlink::{SuperLink, SuperLinkAddress};
use onefed_link::wire::{Hello, PROTOCOL};
use onefed_link::{Disk, KeepAlive, LineConfig, probe};
use rustix::process::{Pid, Signal, kill_process_group};

/// One release of each band, then the others of the version table.
const RELEASES: [&str; 4] = ["1.31.0", "1.41.0", "1.32.0", "1.40.0"];

/// The app: SuperLink sends two arrays to each node, and each sends back their sum and its number.
const PYPROJECT: &str = r#"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "sums"
version = "1.0.0"
license = "Apache-2.0"
dependencies = ["flwr>=1.31.0"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "onefed"

[tool.flwr.app.components]
serverapp = "sums.server_app:app"
clientapp = "sums.client_app:app"

[tool.flwr.app.config]
"#;
const SERVER_APP: &str = r#"
import time

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < @NODES@:
        time.sleep(0.2)
    many = np.arange(100_000, dtype=np.float64)
    arrays = ArrayRecord([many, np.ones_like(many)])
    content = RecordDict({"arrays": arrays})
    asked = [Message(content, dst_node_id=node, message_type="query") for node in nodes]
    replies = list(grid.send_and_receive(asked, timeout=90))
    numbers = set()
    for reply in replies:
        assert not reply.has_error(), reply.error
        (total,) = reply.content["sum"].to_numpy_ndarrays()
        assert np.array_equal(total, many + 1)
        numbers.add(reply.content["node"]["number"])
    assert numbers == set(range(1, @NODES@ + 1)), numbers
"#;
const CLIENT_APP: &str = r#"
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    one, other = message.content["arrays"].to_numpy_ndarrays()
    node = MetricRecord({"number": context.node_config["number"]})
    content = RecordDict({"sum": ArrayRecord([one + other]), "node": node})
    return Message(content, reply_to=message)
"#;

/// A round takes half a minute of a quiet machine, so it is one SuperLink and two SuperNodes where `ONEFED_CASES` does not
/// ask for more: so many SuperLinks then, each with SuperNodes of all releases. HTTP to gRPC comes first: without a bridge
/// nothing else does that.
#[test]
fn supernodes_of_both_bands_train_under_one_superlink() {
    let cases: Option<usize> = std::env::var("ONEFED_CASES").ok().map(|cases| cases.parse().unwrap());
    let nodes = if cases.is_some() { RELEASES.len() } else { 2 };
    for (superlink, zone) in RELEASES.into_iter().zip(31..).take(cases.unwrap_or(1)) {
        a_round_with(superlink, &RELEASES[..nodes], zone);
    }
}

/// One SuperLink, one hub, one spoke, and a SuperNode of each band.
struct World {
    dir: tempfile::TempDir,
    zone: u8,
    running: Vec<Running>,
}

/// A process with its children; all of them end with it.
struct Running {
    name: String,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn a_round_with(superlink: &str, nodes: &[&str], zone: u8) {
    let mut world = World { dir: tempfile::tempdir().unwrap(), zone, running: Vec::new() };
    let release = Release::parse(superlink).unwrap();
    world.start_superlink(release);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let spoke = runtime.block_on(world.start_link(release));
    runtime.block_on(async {
        for transport in [Transport::Grpc, Transport::Http] {
            // A call without a signature is SuperLink's own "unauthenticated" in both transports.
            until_ok("SuperLink's answer", async || {
                probe::fleet(&spoke.ip().to_string(), spoke.port(), None, None, transport).await
            })
            .await;
        }
    });
    for (number, node) in (1..).zip(nodes) {
        world.start_supernode(Release::parse(node).unwrap(), number, spoke);
    }
    world.submit(release, nodes.len());
    let control = SuperLink::new(world.superlink_address(release)).unwrap();
    until(&world, "the end of the run", Duration::from_secs(120), || {
        let runs = runtime.block_on(control.runs(1)).unwrap();
        let (status, details) = runs.first().map(|run| (run.status.as_str(), &run.details)).unwrap();
        let going = !status.starts_with("finished") || status == "finished:completed";
        assert!(going, "{status} {details}\n{}", world.logs());
        status == "finished:completed"
    });
    for node in nodes {
        let log = world.log(&format!("supernode-{node}"));
        assert_eq!(log.matches("Sent successfully").count(), 1, "{node}\n{}", world.logs());
        assert!(!log.contains("Failed to") && !log.contains("raised"), "{node}\n{log}");
    }
    // Goodbyes are translated as well: SuperLink no longer counts the nodes.
    world.stop_supernodes();
    let deactivated = world.log("superlink").matches("[Fleet.DeactivateNode]").count();
    assert_eq!(deactivated, nodes.len(), "under {superlink}\n{}", world.logs());
}

impl World {
    fn address(&self, host: u8) -> IpAddr {
        IpAddr::from([127, 26, self.zone, host])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let of = |running: &Running| format!("--- {}\n{}", running.name, self.log(&running.name));
        self.running.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    /// Starts one of Flower's processes, with all that it says in a log.
    fn start(&mut self, name: &str, line: &CommandLine) {
        std::fs::create_dir_all(
            line.env.iter().find(|(key, _)| key == "TMPDIR").map(|(_, dir)| dir).unwrap(),
        )
        .unwrap();
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(&line.program);
        command.args(&line.args).env_clear().envs(line.env.iter().cloned()).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.running.push(Running { name: name.to_owned(), child: command.spawn().unwrap() });
    }

    fn start_superlink(&mut self, release: Release) {
        let (environment, database) = (environment(release), self.path("state.db"));
        let host = Host {
            release,
            environment: &environment,
            loopback: self.address(1),
            home: self.path("superlink"),
            log_level: "INFO",
        };
        let options = SuperLinkOptions { database: &database, tls: None, supernode_auth: false };
        self.start("superlink", &host.superlink(&options));
    }

    fn start_supernode(&mut self, release: Release, number: u8, spoke: SocketAddr) {
        let environment = environment(release);
        let host = Host {
            release,
            environment: &environment,
            loopback: self.address(10 + number),
            home: self.path(&format!("supernode-{number}")),
            log_level: "INFO",
        };
        let options = SuperNodeOptions {
            superlink: &spoke.to_string(),
            root_certificates: None,
            auth_key: None,
            node_config: &format!("number={number}"),
            max_retries: None,
            max_wait_time: None,
        };
        self.start(&format!("supernode-{}", release.version()), &host.supernode(&options));
    }

    /// As Ctrl-C would. Their goodbyes are answered before they end.
    fn stop_supernodes(&mut self) {
        let mut supernodes: Vec<_> =
            self.running.iter_mut().filter(|running| running.name.starts_with("supernode")).collect();
        for supernode in &supernodes {
            let pid = Pid::from_raw(i32::try_from(supernode.child.id()).unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::INT).unwrap();
        }
        let started = Instant::now();
        while supernodes.iter_mut().any(|supernode| supernode.child.try_wait().unwrap().is_none()) {
            assert!(started.elapsed() < Duration::from_secs(20), "a SuperNode does not stop");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Hub and spoke, in plaintext: what they protect is tested elsewhere.
    async fn start_link(&self, release: Release) -> SocketAddr {
        let hub = HubConfig {
            federation: "bridge".into(),
            site_enrolment: "open".into(),
            superlink: self.superlink_address(release),
            fleet_listen: SocketAddr::new(self.address(2), 0),
            admin_listen: SocketAddr::new(self.address(2), 0),
            tls: None,
            keepalive: KeepAlive::default(),
            disk: Disk { dir: self.path("hub"), bytes: 1 << 30 },
            hold: Duration::from_secs(600),
        };
        let hub = Hub::open(hub).await.unwrap();
        let door = hub.fleet_address().unwrap();
        tokio::spawn(hub.serve());
        let spoke = SpokeConfig {
            listen: SocketAddr::new(self.address(3), 0),
            tls: None,
            line: LineConfig {
                host: door.ip().to_string(),
                port: door.port(),
                from: None,
                tls: None,
                keepalive: KeepAlive::default(),
                hello: Hello {
                    protocol: PROTOCOL,
                    federation: "bridge".into(),
                    site: "paris".into(),
                    spoke: "1".into(),
                    flower: release.version().to_string(),
                    keepalive_time_ms: 0,
                    keepalive_timeout_ms: 0,
                    epoch: 0,
                },
            },
            disk: Disk { dir: self.path("spoke"), bytes: 1 << 30 },
            hold: Duration::from_secs(600),
        };
        let spoke = Spoke::open(spoke).await.unwrap();
        let address = spoke.address().unwrap();
        tokio::spawn(spoke.serve());
        address
    }

    fn superlink_address(&self, release: Release) -> SuperLinkAddress {
        SuperLinkAddress {
            release,
            fleet: SocketAddr::new(self.address(1), release.fleet_port()),
            control: SocketAddr::new(self.address(1), release.control_port()),
            ca_pem: None,
        }
    }

    /// Submits the app with `flwr` of the SuperLink's release.
    fn submit(&self, release: Release, nodes: usize) {
        let (home, app) = (self.path("cli"), self.path("app"));
        for (dir, file, text) in [
            (&app, "pyproject.toml", PYPROJECT),
            (&app.join("sums"), "__init__.py", ""),
            (&app.join("sums"), "server_app.py", &SERVER_APP.replace("@NODES@", &nodes.to_string())),
            (&app.join("sums"), "client_app.py", CLIENT_APP),
            (&home, "config.toml", &self.connection(release)),
        ] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join(file), text).unwrap();
        }
        let mut command = Command::new(environment(release).program("flwr"));
        command.arg("run").arg(app).arg("bridge").current_dir(self.dir.path()).stdin(Stdio::null());
        command.envs(settings()).env("FLWR_HOME", &home).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", self.logs());
    }

    fn connection(&self, release: Release) -> String {
        let control = self.superlink_address(release).control;
        format!("[superlink.bridge]\naddress = \"{control}\"\ninsecure = true\n")
    }
}

fn environment(release: Release) -> Environment {
    let dir = environment::environment(&release.version().to_string(), 26);
    Environment::find(&dir, release.version()).unwrap()
}

fn until(world: &World, what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < patience, "{what} did not come within {patience:?}\n{}", world.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

async fn until_ok<T, E: std::fmt::Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) => assert!(started.elapsed() < Duration::from_secs(30), "no {what}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
