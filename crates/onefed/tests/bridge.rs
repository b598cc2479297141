//! SuperNodes of Flower 1.31 (gRPC) and of Flower 1.41 (HTTP) at one spoke, behind them a real SuperLink of either: a round
//! of a real app in which all have a part. Second octet: 26.
//!
//! The Python environments are made below `.flower/` of the repository when they are not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use onefed_flower::command::{CommandLine, Host, SuperLinkOptions, SuperNodeOptions, settings};
use onefed_flower::{Environment, Release, Transport};
use onefed_link::hub::{Hub, HubConfig};
use onefed_link::spoke::{Spoke, SpokeConfig};
use onefed_link::superlink::SuperLinkAddress;
use onefed_link::wire::{Hello, PROTOCOL};
use onefed_link::{KeepAlive, LineConfig, probe};
use rustix::process::{Pid, Signal, kill_process_group};

const BANDS: [&str; 2] = ["1.31.0", "1.41.0"];
/// Two SuperLinks at once would need more than two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn supernodes_of_both_bands_train_under_a_superlink_of_1_31() {
    a_round_with_both_bands("1.31.0", 31);
}

#[test]
fn supernodes_of_both_bands_train_under_a_superlink_of_1_41() {
    a_round_with_both_bands("1.41.0", 41);
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

fn a_round_with_both_bands(superlink: &str, zone: u8) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
    for (number, band) in (1..).zip(BANDS) {
        world.start_supernode(Release::parse(band).unwrap(), number, spoke);
    }
    let id = world.submit(release);
    until(&world, "the end of the run", Duration::from_secs(180), || {
        let status = world.run_status(release, &id);
        assert!(!status.contains("failed") && !status.contains("stopped"), "{status}\n{}", world.logs());
        status == "finished:completed"
    });
    for band in BANDS {
        let log = world.log(&format!("supernode-{band}"));
        // Once in training and once in evaluation; a node that fails a message still goes on.
        assert_eq!(log.matches("Sent successfully").count(), 2, "{band}\n{}", world.logs());
        assert!(!log.contains("Failed to") && !log.contains("raised"), "{band}\n{log}");
    }
    // Goodbyes are translated as well: SuperLink no longer counts the nodes.
    world.stop_supernodes();
    for band in BANDS {
        let deactivated = world.log("superlink").matches("[Fleet.DeactivateNode]").count();
        assert_eq!(deactivated, 2, "{band}\n{}", world.logs());
    }
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
            node_config: &format!("site=\"paris\" num-partitions=2 partition-id={}", number - 1),
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
        let control = SocketAddr::new(self.address(1), release.control_port());
        let hub = HubConfig {
            federation: "bridge".into(),
            site_enrolment: "open".into(),
            superlink: SuperLinkAddress {
                release,
                fleet: SocketAddr::new(self.address(1), release.fleet_port()),
                control,
                ca_pem: None,
            },
            fleet_listen: SocketAddr::new(self.address(2), 0),
            admin_listen: SocketAddr::new(self.address(2), 0),
            tls: None,
            keepalive: KeepAlive::default(),
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
                },
            },
        };
        let spoke = Spoke::open(spoke).await.unwrap();
        let address = spoke.address().unwrap();
        tokio::spawn(spoke.serve());
        address
    }

    /// `flwr` of the SuperLink's release, at its Control API.
    fn flwr(&self, release: Release, args: &[&str]) -> serde_json::Value {
        let home = self.path("cli");
        std::fs::create_dir_all(&home).unwrap();
        let control = SocketAddr::new(self.address(1), release.control_port());
        let config = format!("[superlink.bridge]\naddress = \"{control}\"\ninsecure = true\n");
        std::fs::write(home.join("config.toml"), config).unwrap();
        let mut command = Command::new(environment(release).program("flwr"));
        command.args(args).args(["--format", "json"]).current_dir(self.dir.path()).stdin(Stdio::null());
        command.envs(settings()).env("FLWR_HOME", &home).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {args:?}\n{out}\n{err}"))
    }

    fn submit(&self, release: Release) -> String {
        let app = repository().join("apps/digits").display().to_string();
        let config = "num-server-rounds=1 min-nodes=2 local-epochs=2";
        let answer = self.flwr(release, &["run", &app, "bridge", "--run-config", config]);
        answer["run-id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
    }

    fn run_status(&self, release: Release, id: &str) -> String {
        let answer = self.flwr(release, &["ls", "bridge", "--run-id", id]);
        answer["runs"][0]["status"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The environment of a release; starting a sandbox makes it.
fn environment(release: Release) -> Environment {
    let dir = repository().join(".flower").join(release.version().to_string());
    if !dir.join("onefed-ready").exists() {
        let (scratch, version) = (tempfile::tempdir().unwrap(), release.version().to_string());
        for verb in [&["up", "--net", "26", "--flower", &version][..], &["down"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
            command.arg("sandbox").args(verb).arg("--dir").arg(scratch.path().join("sandbox"));
            let done = command.current_dir(repository()).stdin(Stdio::null()).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
    }
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
