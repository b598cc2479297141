//! How long `onefed boot` takes until it starts Flower's process: on a disk with certificates (a reboot), and on an
//! empty one. In place of Flower stands a program that writes down when it was started, so that the time is the
//! boot's own. The two alternate, beside a bare start of the same program for what the machine itself takes.
//!
//! `cargo bench -p onefed --bench boot`, or `make bench`. Prints medians and the spread; asserts nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail by a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 25;
const FLOWER: &str = "1.41.0";
const ADDRESS: &str = "127.142.1.10";
const LOOPBACK: &str = "127.142.2.10";

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (context, flower) = (dir.path().join("context"), dir.path().join("flower"));
    let started = dir.path().join("started");
    fs::create_dir(&context).unwrap();
    let text = format!(
        "VMID='7'\nETH0_IP='{ADDRESS}'\nFL_ROLE='superlink'\nFLOWER_VERSION='{FLOWER}'\nFL_NODE_AUTH='YES'\n"
    );
    fs::write(context.join("context.sh"), text).unwrap();
    fs::create_dir_all(flower.join(format!("lib/python3.11/site-packages/flwr-{FLOWER}.dist-info"))).unwrap();
    fs::create_dir(flower.join("bin")).unwrap();
    for program in ["flower-superlink", "flower-supernode"] {
        let path = flower.join("bin").join(program);
        let body = format!("#!/bin/sh\n: > {0}.new; mv {0}.new {0}\nexec sleep 60\n", started.display());
        fs::write(&path, body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let disk = dir.path().join("disk");
    let boot = |disk: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.arg("boot").arg("--context").arg(&context).arg("--disk").arg(disk);
        command.arg("--flower-dir").arg(&flower).args(["--loopback", LOOPBACK]);
        measure(&mut command, &started)
    };
    let bare = || measure(&mut Command::new(flower.join("bin/flower-superlink")), &started);
    boot(&disk);
    let (mut reboots, mut first, mut none) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        reboots.push(boot(&disk));
        let empty = dir.path().join("empty");
        first.push(boot(&empty));
        fs::remove_dir_all(&empty).unwrap();
        none.push(bare());
    }
    println!("start of `onefed boot` to the start of Flower's process, {RUNS} runs of each, alternating");
    for (name, times) in [("reboot", reboots), ("first boot", first), ("bare start", none)] {
        println!("{name:<12} {}", spread(times));
    }
}

/// From the start of a command until the program of the benchmark has written that it was started.
fn measure(command: &mut Command, started: &Path) -> Duration {
    let _ = fs::remove_file(started);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().unwrap();
    // The file's own time is of a clock that ticks every few milliseconds.
    let took = loop {
        if started.exists() {
            break begin.elapsed();
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the program was never started");
        std::thread::sleep(Duration::from_micros(200));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    format!("median {:6.1} ms   10 % {:6.1} ms   90 % {:6.1} ms", at(50), at(10), at(90))
}
