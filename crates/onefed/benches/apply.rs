//! What `onefed apply` adds to the time that the VMs need by themselves: three sandbox zones whose VMs take 20 s to boot,
//! with real Flower, from the start of `apply` to its end, when all SuperNodes are registered.
//!
//! What the slowest VM needs by itself is measured right before, on the same machine under the same load: the delay of a
//! boot, and the time in which one SuperLink and four SuperNodes that are started at once have all come up (the SuperLink
//! listens, each SuperNode dials).
//!
//! `cargo bench -p onefed --bench apply`, or `make bench`. Writes `target/bench/apply.json`; asserts nothing. Takes the Python
//! environment in `.flower/1.41.0`, which `onefed sandbox up` makes, and runs with an address block of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and may fail by a panic"
)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

const RUNS: usize = 3;
const FLOWER: &str = "1.41.0";
/// Second octet of the addresses.
const NET: u8 = 233;
/// What a VM takes until its first process starts.
const BOOT: f64 = 20.0;
const SUPERNODES: usize = 4;
/// The aim, in seconds.
const TARGET: f64 = 6.0;
const EXAMPLE: &str = include_str!("../../../examples/three-zones.toml");
/// Slow as a real front end: OneFlow and OneGate start a process for each call.
const WORLD: &str = "[all]\ndelays = { boot_seconds = 20, xmlrpc_seconds = 0.001, oneflow_seconds = 0.23, onegate_seconds = 0.23, ready_poll_seconds = 30 }\n";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let flower = root.join(".flower").join(FLOWER);
    if !flower.join("bin/flower-superlink").exists() {
        println!("apply: no Flower in {}; `onefed sandbox up` makes it", flower.display());
        return;
    }
    let mut runs = Vec::new();
    for run in 1..=RUNS {
        let dir = tempfile::tempdir().unwrap();
        let started = flower_alone(&flower, dir.path());
        let took = apply(&flower, dir.path());
        let own = BOOT + started;
        println!(
            "run {run}: apply {took:5.1} s; the slowest VM by itself {own:5.1} s ({BOOT} s boot, {started:.1} s Flower); apply adds {:4.1} s",
            took - own
        );
        runs.push((took, started, took - own));
    }
    let mut added: Vec<f64> = runs.iter().map(|run| run.2).collect();
    added.sort_by(f64::total_cmp);
    let median = added[added.len() / 2];
    println!("apply adds {median:.1} s (median of {RUNS}); the aim is {TARGET} s or less");
    let all = runs.iter().map(|(apply, flower, added)| {
        json!({ "apply_seconds": apply, "boot_seconds": BOOT, "flower_seconds": flower, "added_seconds": added })
    });
    let document = json!({
        "schema_version": 1,
        "benchmark": "apply",
        "flower": FLOWER,
        "supernodes": SUPERNODES,
        "target_seconds": TARGET,
        "median_added_seconds": median,
        "within_target": median <= TARGET,
        "runs": all.collect::<Vec<_>>(),
    });
    let out = root.join("target/bench");
    std::fs::create_dir_all(&out).unwrap();
    let text = serde_json::to_string_pretty(&document).unwrap();
    std::fs::write(out.join("apply.json"), text + "\n").unwrap();
}

/// Ends its processes.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Flower's processes of this federation by themselves, all at once: seconds until the last one has come up.
fn flower_alone(flower: &Path, dir: &Path) -> f64 {
    let address = |host: u8, port: u16| format!("127.{NET}.200.{host}:{port}");
    // What the SuperNodes dial.
    let far = TcpListener::bind(address(1, 9092)).unwrap();
    let start = |program: &str, host: u8, args: &[String]| {
        let home = dir.join(format!("alone-{host}"));
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(flower.join("bin").join(program));
        command.args(args).env("FLWR_HOME", &home).env("HOME", &home).env("FLWR_TELEMETRY_ENABLED", "0");
        command.env("FLWR_DISABLE_UPDATE_CHECK", "1").current_dir(&home);
        // Flower starts its helpers by name.
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", flower.join("bin").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let listen = |host: u8, port: u16| format!("--host 127.{NET}.200.{host} --port {port}");
    let begin = Instant::now();
    let superlink = format!("--insecure --isolation subprocess --database state.db {}", listen(2, 9093));
    let mut running = Processes(vec![start("flower-superlink", 2, &words(&superlink))]);
    for node in 0..SUPERNODES as u8 {
        let args = format!("--insecure --isolation subprocess --superlink {} ", address(1, 9092));
        let args = words(&(args + &listen(10 + node, 9094)));
        running.0.push(start("flower-supernode", 10 + node, &args));
    }
    // Each dials from a socket of its own and is left without an answer; one that has dialled has come up.
    far.set_nonblocking(true).unwrap();
    let (mut dialled, mut up) = (Vec::new(), false);
    while !up || dialled.len() < SUPERNODES {
        assert!(begin.elapsed() < Duration::from_secs(300), "Flower does not come up");
        up = up || TcpStream::connect(address(2, 9093)).is_ok();
        if let Ok((stream, _)) = far.accept() {
            dialled.push(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed().as_secs_f64()
}

/// Seconds that `onefed apply` takes, on zones of its own.
fn apply(flower: &Path, dir: &Path) -> f64 {
    let plan = EXAMPLE.replace("127.71.", &format!("127.{NET}."));
    std::fs::write(dir.join("federation.toml"), plan).unwrap();
    std::fs::write(dir.join("world.toml"), WORLD).unwrap();
    let zones = Zones { dir: dir.to_owned() };
    let net = NET.to_string();
    let up = ["sandbox", "up", "--net", &net, "--world", "world.toml", "--flower", FLOWER, "--flower-dir"];
    zones.onefed(&[&up[..], &[flower.to_str().unwrap()]].concat());
    let begin = Instant::now();
    zones.onefed(&["apply"]);
    begin.elapsed().as_secs_f64()
}

/// A sandbox, taken down in the end.
struct Zones {
    dir: PathBuf,
}

impl Zones {
    fn onefed(&self, args: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        let output = command.args(args).current_dir(&self.dir).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "onefed {}: {}\n{text}", args.join(" "), output.status);
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        let _ = command.args(["sandbox", "down"]).current_dir(&self.dir).stdin(Stdio::null()).output();
    }
}
