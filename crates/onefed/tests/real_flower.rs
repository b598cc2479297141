//! The whole way with real Flower from its Python package: sandbox zones, apply, training, status, connect, destroy.
//!
//! The tests here run one after the other: each starts a SuperLink and four SuperNodes. Their Python environments are
//! made below `.flower/` of the repository when they are not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Two federations at once would need more than two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A federation on sandbox zones of its own; taken down when dropped, however the test ends.
struct World {
    dir: tempfile::TempDir,
    net: u8,
    flower: &'static str,
}

impl World {
    fn new(net: u8, flower: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let example = std::fs::read_to_string(repository().join("examples/three-zones.toml")).unwrap();
        let plan = example
            .replace("127.71.", &format!("127.{net}."))
            .replace(".onefed-sandbox/one_auth", &dir.path().join("sandbox/one_auth").display().to_string())
            .replace("\"1.41.0\"", &format!("\"{flower}\""));
        std::fs::write(dir.path().join("federation.toml"), plan).unwrap();
        Self { dir, net, flower }
    }

    /// The same with the spoke inside each SuperNode's VM at the second site.
    fn with_an_embedded_gateway(self) -> Self {
        self.with_more_at_lisbon("gateway    = \"embedded\"")
    }

    /// The same with another Flower release at the second site. Its calls are translated.
    fn with_a_site_of(self, flower: &str) -> Self {
        self.with_more_at_lisbon(&format!("flower     = \"{flower}\""))
    }

    fn with_more_at_lisbon(self, line: &str) -> Self {
        let path = self.dir.path().join("federation.toml");
        let plan = std::fs::read_to_string(&path).unwrap();
        let (before, after) =
            plan.split_once("name       = \"lisbon\"\n").expect("the example has a site lisbon");
        std::fs::write(&path, format!("{before}name       = \"lisbon\"\n{line}\n{after}")).unwrap();
        self
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The binary, in the repository, without the surroundings of whoever runs the tests.
    fn onefed(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.args(verb).current_dir(repository()).stdin(Stdio::null()).env("NO_COLOR", "1");
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    /// A verb that takes the plan file and the state directory.
    fn verb(&self, verb: &[&str]) -> Command {
        let mut command = self.onefed(verb);
        command.args(["-f", &self.path("federation.toml"), "--state", &self.path("state")]);
        command
    }

    fn up(&self) {
        let (dir, net) = (self.path("sandbox"), self.net.to_string());
        run(&mut self.onefed(&["sandbox", "up", "--dir", &dir, "--net", &net, "--flower", self.flower]), 0);
    }

    fn down(&self) {
        run(&mut self.onefed(&["sandbox", "down", "--dir", &self.path("sandbox")]), 0);
    }

    fn status(&self) -> Value {
        json(&self.verb(&["status", "--format", "json"]).output().unwrap())
    }

    /// The processes of a sandbox below this directory, by the mark in their environment: ids and arguments.
    fn processes(&self, sandbox: &str) -> Vec<(i32, String)> {
        let mark =
            format!("ONEFED_SANDBOX={}", self.dir.path().canonicalize().unwrap().join(sandbox).display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                let arguments = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
                let pid = entry.file_name().to_str().unwrap().parse().unwrap();
                found.push((pid, arguments.replace('\0', " ")));
            }
        }
        found
    }

    /// Ports on which somebody listens on an address of this sandbox: `zone` and `host` are its last two numbers.
    /// gRPC listens on an IPv6 socket that is bound to the IPv4 address.
    fn listeners(&self, zone: u8, host: u8) -> Vec<u16> {
        let plain = format!("{host:02X}{zone:02X}{:02X}7F", self.net);
        let mapped = format!("0000000000000000FFFF0000{plain}");
        let listening = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (ip, port) = fields.get(1)?.split_once(':')?;
            let ours = fields.get(3) == Some(&"0A") && (ip == plain || ip == mapped);
            ours.then(|| u16::from_str_radix(port, 16).ok()).flatten()
        };
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
            .map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let mut ports: Vec<u16> =
            tables.iter().flat_map(|table| table.lines().filter_map(listening)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.onefed(&["sandbox", "down", "--dir", &self.path("sandbox")]).output();
    }
}

/// Runs a command and checks its exit code; everything that it said is in the failure.
fn run(command: &mut Command, exit: i32) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{command:?}\n--- stdout\n{out}\n--- stderr\n{err}");
    output
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let bad = |why| panic!("{why} in {text}\n--- stderr\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(bad)
}

fn until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < patience, "{what} did not come within {patience:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_federation_of_flower_1_41_with_a_site_of_1_31_trains_and_leaves_nothing() {
    the_whole_story(&World::new(161, "1.41.0").with_a_site_of("1.31.0"));
}

#[test]
fn a_federation_of_flower_1_31_trains_and_leaves_nothing() {
    the_whole_story(&World::new(151, "1.31.0").with_an_embedded_gateway());
}

fn the_whole_story(world: &World) {
    let _alone = alone();
    world.up();
    run(&mut world.verb(&["plan"]), 2);
    run(&mut world.verb(&["apply"]), 0);
    let again = run(&mut world.verb(&["plan"]), 0);
    assert!(String::from_utf8_lossy(&again.stdout).contains("Plan: 0 to create, 0 to change, 0 to remove"));
    let status = world.status();
    assert_eq!(status["healthy"], true, "{status:#}");
    for site in status["sites"].as_array().unwrap() {
        assert_eq!((&site["online"], &site["expected"]), (&2.into(), &2.into()), "{site}");
    }
    only_the_hub_is_reachable(world);
    no_secret_travels(world);

    // Two rounds are enough for the federation to be better than every site alone.
    let config = "num-server-rounds=2 min-nodes=4";
    let trained = run(&mut world.verb(&["train", "apps/digits", "-c", config, "--format", "json"]), 0);
    let report = json(&trained);
    assert_eq!(report["status"], "finished:completed");
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2, "{report:#}");
    let together = rounds[1]["accuracy"].as_f64().unwrap();
    let sites = report["alone"].as_object().unwrap();
    assert_eq!(sites.len(), 2, "{report:#}");
    for (site, alone) in sites {
        assert!(together > alone.as_f64().unwrap() + 0.2, "{site} alone {alone}, together {together}");
        for way in [0, 1] {
            // The model down and an update of each of the two SuperNodes up, twice. Where one round ends and the next begins
            // is a matter of when it was looked.
            let carried = rounds.iter().map(|round| round["wan"][site][way].as_u64().unwrap());
            assert!(carried.sum::<u64>() > 40_000, "{report:#}");
        }
    }
    let status = world.status();
    let last = &status["hub"]["known"]["runs"][0];
    assert_eq!((last["status"].as_str(), last["round"].as_u64()), (Some("finished:completed"), Some(2)));

    an_unmodified_flwr_works_through_connect(world);
    a_killed_supernode_and_a_killed_hub_come_back(world);
    if world.flower == "1.41.0" {
        rebooted_vms_come_back_by_themselves(world);
        no_secret_travels(world);
    }

    run(&mut world.verb(&["destroy", "--yes"]), 0);
    assert_eq!(world.status()["services"][0]["state"], "absent");
    until("the end of all VMs", Duration::from_secs(5), || world.processes("sandbox").is_empty());
    world.down();
    assert!(world.listeners(1, 10).is_empty() && world.listeners(101, 10).is_empty());
    assert!(!world.dir.path().join("sandbox").exists());
}

/// On the outside address of the SuperLink's VM nobody but the hub listens; Flower is on the VM's own loopback. What
/// the hub answers in detail is tested in the link crate; here, that a client that is not ours gets no further.
fn only_the_hub_is_reachable(world: &World) {
    assert_eq!(world.listeners(1, 10), [9092, 9443]);
    let flower = world.listeners(101, 10);
    assert!(
        !flower.is_empty() && flower.iter().all(|port| [28000, 29091, 29092, 29093].contains(port)),
        "{flower:?}"
    );
    let (outside, ca) = (format!("127.{}.1.10", world.net), world.path("state/ca.pem"));
    // A listener on the wildcard address would not show above, but answer here.
    for port in [8000, 9091, 9093, 28000, 29091, 29092, 29093] {
        assert!(std::net::TcpStream::connect((outside.as_str(), port)).is_err(), "{outside}:{port} is open");
    }
    for path in ["/v1/control/list-runs", "/v1/runtime/acquire-task", "/flwr.proto.Control/ListRuns", "/"] {
        let answer = https(&outside, 9092, path, &ca);
        assert!(answer.contains("HTTP/1.1 404"), "{path}: {answer}");
    }
    // Without a client certificate the admin endpoint ends the handshake.
    let refused = https(&outside, 9443, "/v1/control/list-runs", &ca);
    assert!(!refused.contains("HTTP/1.1"), "{refused}");
}

/// One POST by `openssl s_client`.
fn https(host: &str, port: u16, path: &str, ca: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", host, "-CAfile", ca])
        .args(["-alpn", "http/1.1", "-connect", &format!("{host}:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let fields = "Connection: close\r\nContent-Type: application/protobuf\r\nContent-Length: 0";
    let request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n");
    let _ = child.stdin.as_mut().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// No private key is in what zones are told, in argument lists or in logs; key files are for their owner only.
fn no_secret_travels(world: &World) {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut keys, mut texts) = (Vec::new(), Vec::new());
    let mut dirs = vec![world.dir.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "key") {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", path.display());
                keys.push(std::fs::read_to_string(&path).unwrap());
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                texts.push((path, text));
            }
        }
    }
    keys.retain(|key| key.contains("PRIVATE KEY"));
    assert!(keys.len() >= 4, "root, operator, hub and a gateway have keys; found are {}", keys.len());
    texts
        .extend(world.processes("sandbox").into_iter().map(|(_, arguments)| ("arguments".into(), arguments)));
    for key in keys {
        let heart = key.lines().nth(1).unwrap();
        for (path, text) in &texts {
            assert!(!text.contains(heart), "a private key is in {}", path.display());
        }
    }
}

/// `onefed connect` with a data scientist's certificate and a FLWR_HOME of its own; then `flwr run`, `ls`, `log` and `stop` as Flower ships them.
fn an_unmodified_flwr_works_through_connect(world: &World) {
    let home = world.dir.path().join("flwr-home");
    std::fs::create_dir(&home).unwrap();
    let mine = "[superlink]\ndefault = \"lab\"\n\n[superlink.lab]\naddress = \"lab.example:9093\"\ninsecure = true\n";
    std::fs::write(home.join("config.toml"), mine).unwrap();
    let theirs = world.path("ada");
    run(&mut world.onefed(&["user", "ada", "--state", &world.path("state"), "--out", &theirs]), 0);
    assert!(!Path::new(&theirs).join("ca.key").exists() && !Path::new(&theirs).join("operator.key").exists());
    let mut connect = world.onefed(&["connect", "--port", "0", "--state", &theirs]);
    let connect = connect.env("FLWR_HOME", &home).stdout(Stdio::null()).stderr(Stdio::null());
    let mut connect = connect.spawn().unwrap();
    let config = || std::fs::read_to_string(home.join("config.toml")).unwrap();
    until("the connection in config.toml", Duration::from_secs(10), || {
        config().contains("[superlink.hospitals]")
    });
    assert!(config().starts_with(mine), "{}", config());

    let flwr = |args: &[&str]| {
        let mut command = Command::new(repository().join(".flower").join(world.flower).join("bin/flwr"));
        command
            .args(args)
            .current_dir(world.dir.path())
            .env("FLWR_HOME", &home)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("FLWR_TELEMETRY_ENABLED", "0").env("FLWR_DISABLE_UPDATE_CHECK", "1");
        command
    };
    let app = repository().join("apps/digits").display().to_string();
    let submitted = run(&mut flwr(&["run", &app, "hospitals", "--format", "json"]), 0);
    let id = json(&submitted)["run-id"].as_str().unwrap().to_owned();
    let listed = json(&run(&mut flwr(&["ls", "hospitals", "--format", "json"]), 0));
    let ids: Vec<&str> =
        listed["runs"].as_array().unwrap().iter().filter_map(|run| run["run-id"].as_str()).collect();
    assert!(ids.len() == 2 && ids.contains(&id.as_str()), "{listed:#}");
    until("the run's log", Duration::from_secs(60), || {
        let log = flwr(&["log", &id, "hospitals", "--show"]).output().unwrap();
        String::from_utf8_lossy(&log.stdout).contains("[ROUND 1/3]")
    });
    run(&mut flwr(&["stop", &id, "hospitals"]), 0);
    until("the stopped run", Duration::from_secs(30), || {
        let listed = json(&flwr(&["ls", "hospitals", "--run-id", &id, "--format", "json"]).output().unwrap());
        listed["runs"][0]["status"] == "finished:stopped"
    });
    let _ = connect.kill();
    let _ = connect.wait();
}

/// The node ids that SuperLink knows as online, by site.
fn nodes(status: &Value) -> Vec<(String, String)> {
    let nodes = status["hub"]["known"]["nodes"].as_array().into_iter().flatten();
    let mut found: Vec<_> = nodes
        .filter(|node| node["online"] == true)
        .map(|node| (node["site"].as_str().unwrap().to_owned(), node["node_id"].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

/// Reboots a VM through its zone, as its administrator would.
fn reboot(world: &World, zone: &str, number: u8, vm: u32) {
    use onefed_opennebula::xmlrpc::{Client, VmAction};
    use onefed_opennebula::{Credentials, VmId, ZoneName};
    let zone: ZoneName = zone.parse().unwrap();
    let login = std::fs::read_to_string(world.path("sandbox/one_auth")).unwrap();
    let endpoint = format!("http://127.{}.{number}.1:2633/RPC2", world.net).parse().unwrap();
    let client = Client::new(zone.clone(), endpoint, Credentials::parse(&login).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.vm_action(&VmId::new(zone, vm), VmAction::Reboot)).unwrap();
}

/// The number of boots that a VM's disk has seen.
fn boots(world: &World, zone: &str, vm: u32) -> u64 {
    let path = world.path(&format!("sandbox/zones/{zone}/vms/{vm}/disk/boot-generation"));
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// VMs that reboot keep their certificates, keys and places: nobody has to run `apply`, and the nodes are the same.
fn rebooted_vms_come_back_by_themselves(world: &World) {
    let before = nodes(&world.status());
    assert_eq!(before.len(), 4, "{before:?}");
    let vms = [("madrid", 1, 0), ("paris", 2, 0), ("paris", 2, 1), ("lisbon", 3, 1)];
    for (zone, number, vm) in vms {
        reboot(world, zone, number, vm);
    }
    until("a second boot of all", Duration::from_secs(60), || {
        vms.iter().all(|(zone, _, vm)| boots(world, zone, *vm) == 2)
    });
    until("a whole federation after the reboots", Duration::from_secs(150), || {
        let status = world.status();
        status["healthy"] == true && nodes(&status) == before
    });
}

/// The supervisor brings crashed processes back, and the federation is whole again. A SuperNode keeps its id; SuperLink
/// lets it in again when it has missed the heartbeats of the one that was killed, for 60 s.
fn a_killed_supernode_and_a_killed_hub_come_back(world: &World) {
    let before = nodes(&world.status());
    let kill = |parts: [&str; 2]| {
        let of = |arguments: &str| parts.iter().all(|part| arguments.contains(part));
        let found = world.processes("sandbox").into_iter().find(|(_, arguments)| of(arguments));
        let (pid, _) = found.unwrap_or_else(|| panic!("no process like {parts:?}"));
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    kill(["bin/flower-supernode ", &format!("--superlink 127.{}.2.10:9092", world.net)]);
    kill(["onefed hub ", "--config"]);
    let whole = |status: &Value| {
        let young = status["hub"]["known"]["uptime_seconds"].as_u64().is_some_and(|seconds| seconds < 120);
        status["healthy"] == true && young && nodes(status) == before
    };
    until("a whole federation after two crashes", Duration::from_secs(110), || whole(&world.status()));
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_and_the_next_one_succeeds() {
    let _alone = alone();
    let world = World::new(162, "1.41.0");
    let demo = || {
        let mut command = world.onefed(&["demo", "--dir", &world.path("demo"), "--rounds", "1"]);
        command.args(["--net", &world.net.to_string()]);
        command
    };
    let processes = || world.processes("demo/sandbox").len();
    let mut first = demo().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Boot, hub, SuperLink with its helper, and the first processes of the sites.
    until("processes of the first demo", Duration::from_secs(240), || processes() >= 8);
    first.kill().unwrap();
    first.wait().unwrap();
    until("the end of everything that it started", Duration::from_secs(60), || processes() == 0);
    until("free addresses", Duration::from_secs(10), || {
        [(1, 1), (2, 1), (3, 1), (1, 10), (101, 10)]
            .iter()
            .all(|(zone, host)| world.listeners(*zone, *host).is_empty())
    });

    let second = run(&mut demo(), 0);
    let told = String::from_utf8_lossy(&second.stdout);
    assert!(told.contains("all is well"), "{told}");
    assert!(told.lines().last().unwrap().starts_with("demo done: "), "{told}");
    assert_eq!(processes(), 0);
    assert!(!world.dir.path().join("demo").exists(), "the demo left its directory");
}
