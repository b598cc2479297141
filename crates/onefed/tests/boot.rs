//! `onefed boot` by itself, without a zone: killed at every step, told another context, booted again. With real Flower
//! from its Python package and the appliance's own CA.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(clippy::print_stderr, reason = "a failed test shows the log of its boot")]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/vm.rs"]
mod vm;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vm::{Flower, PATIENCE, Vm};

const FLOWER: &str = "1.41.0";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Python environment with Flower. A sandbox checks it, and makes it where it is not there: once, while the other
/// tests wait.
fn flower() -> PathBuf {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let sandbox = tempfile::tempdir().unwrap();
        for verb in [&["up", "--net", "141", "--flower", FLOWER][..], &["down"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
            command.arg("sandbox").args(verb).args(["--dir"]).arg(sandbox.path().join("sandbox"));
            assert!(command.current_dir(repository()).status().unwrap().success());
        }
        repository().join(".flower").join(FLOWER)
    };
    READY.get_or_init(make).clone()
}

/// A SuperLink that stands alone, without OneGate. Blocks of two tests are nine apart at least.
fn superlink(block: u8, flower: PathBuf) -> Vm {
    let vm = Vm::new(block, false, flower);
    context(&vm, &[]);
    vm
}

/// Writes the context of a SuperLink that stands alone, with these variables.
fn context(vm: &Vm, more: &[(&str, &str)]) {
    let own = [("FL_ROLE", "superlink"), ("FLOWER_VERSION", FLOWER), ("FL_NODE_AUTH", "YES")];
    vm.context(&[&own[..], more].concat());
}

/// Tells the boot that the context may have changed, and waits for what became of the processes.
#[track_caller]
fn reload(vm: &mut Vm) -> String {
    vm.forget();
    vm.signal(Signal::HUP);
    vm.wait(&["step=\"processes\"", "ok: "])
}

/// The processes of a VM: their ids by what they are.
fn processes(vm: &Vm) -> BTreeMap<String, i32> {
    let named = |(pid, words, _): (i32, Vec<String>, String)| {
        let is = |what: &str| words.iter().any(|word| word.rsplit('/').next() == Some(what));
        let mut names = ["boot", "hub", "flower-superlink"].into_iter().filter(|name| is(name));
        (names.next_back().map_or_else(|| words.join(" "), str::to_owned), pid)
    };
    vm.processes().into_iter().map(named).collect()
}

fn health(vm: &Vm, role: &str) -> (i32, String, String) {
    vm.onefed(&["health", "--role", role])
}

#[track_caller]
fn healthy(vm: &Vm) {
    let (exit, said, why) = health(vm, "superlink");
    assert_eq!(exit, 0, "{why}");
    assert!(said.contains("answers"), "{said}");
}

/// Every file on the disk that is a certificate or key, with its content.
fn secrets(vm: &Vm) -> BTreeMap<PathBuf, String> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok().filter(|text| text.contains("-----BEGIN "))?;
        Some((path.strip_prefix(vm.disk()).unwrap().to_owned(), text))
    };
    vm.files().into_iter().filter_map(read).collect()
}

/// What a killed boot of any kind must end in.
#[test]
fn a_boot_killed_at_every_step_and_booted_again_ends_in_the_same_state() {
    let mut vm = superlink(0, flower());
    let steps = [
        "context",
        "disk",
        "onegate",
        "flower",
        "addresses",
        "certificate",
        "inner certificate",
        "processes",
        "health",
    ];
    let mut made: Option<BTreeMap<PathBuf, String>> = None;
    for step in steps {
        vm.start();
        vm.wait(&[&format!("step=\"{step}\""), "ok: "]);
        vm.kill(Signal::KILL);
        // From where it has certificates it has them for good.
        if step == "inner certificate" {
            made = Some(secrets(&vm));
        }
    }
    // In the middle of things too: at times that no step knows of.
    for millis in (0..120).step_by(8) {
        vm.start();
        std::thread::sleep(Duration::from_millis(millis));
        vm.kill(Signal::KILL);
    }
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    healthy(&vm);
    let names: Vec<String> = processes(&vm).into_keys().collect();
    assert!(
        ["boot", "hub", "flower-superlink"].iter().all(|name| names.iter().any(|n| n == name)),
        "{names:?}"
    );
    assert_eq!(made.unwrap(), secrets(&vm), "a second CA, another certificate or key");
    vm.kill(Signal::TERM);
    let left: Vec<_> =
        vm.files().into_iter().filter(|path| path.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "half-written files are left: {left:?}");
}

#[test]
fn another_context_restarts_exactly_what_depends_on_it() {
    let mut vm = superlink(10, flower());
    assert_eq!(health(&vm, "superlink").0, 78, "nothing has booted yet");
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    healthy(&vm);
    let (exit, _, why) = health(&vm, "gateway");
    assert_eq!(exit, 78);
    assert!(why.contains("this VM is a superlink, not a gateway"), "{why}");
    // By content: a set of files is replaced as a whole, the CA in it too.
    let ca = |vm: &Vm| {
        let all = secrets(vm).into_iter();
        let of_ca = all.filter(|(path, _)| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ca."))
        });
        of_ca.map(|(_, text)| text).collect::<BTreeSet<_>>()
    };
    let (first, trusted) = (processes(&vm), ca(&vm));

    // The same again.
    assert!(reload(&mut vm).contains("flower-superlink kept, hub kept"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(first["hub"], processes(&vm)["hub"]);

    // Another name: the certificate, and so the hub. The CA stays.
    context(&vm, &[("FL_CERT_EXTRA_SAN", "DNS:hub.example.org")]);
    assert!(reload(&mut vm).contains("flower-superlink kept, hub restarted"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    let second = processes(&vm);
    assert_eq!(first["flower-superlink"], second["flower-superlink"]);
    assert_ne!(first["hub"], second["hub"]);
    assert_eq!(trusted, ca(&vm), "nobody has to be told of another CA");

    // A context that is wrong leaves running what runs, and says so.
    context(&vm, &[("FL_NUM_ROUNDS", "none"), ("FL_LOG_LEVEL", "LOUD")]);
    vm.forget();
    vm.signal(Signal::HUP);
    vm.wait(&["step=\"context\"", "FL_NUM_ROUNDS", "FL_LOG_LEVEL"]);
    let started = Instant::now();
    let (exit, _, why) = loop {
        let output = health(&vm, "superlink");
        if output.0 != 0 || started.elapsed() > PATIENCE {
            break output;
        }
    };
    assert_eq!(exit, 1);
    assert!(why.contains("context_invalid"), "{why}");
    assert_eq!(second, processes(&vm));

    // Another log level: both processes have it in their environment.
    context(&vm, &[("FL_LOG_LEVEL", "DEBUG")]);
    assert!(reload(&mut vm).contains("flower-superlink restarted, hub restarted"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    healthy(&vm);

    // A reboot keeps the certificate.
    vm.kill(Signal::TERM);
    let kept = secrets(&vm);
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(kept, secrets(&vm));
    vm.kill(Signal::TERM);
}

/// It would take the first one's listeners for somebody else's, and write down a failure over a VM that is well.
#[test]
fn a_second_boot_with_the_same_disk_changes_nothing() {
    let fake = Flower::doing(&[FLOWER], "exec sleep 600");
    let mut vm = superlink(20, fake.of(FLOWER));
    vm.start();
    vm.wait(&["not yet: the Fleet API", "SuperLink did not answer"]);
    let record = || std::fs::read_to_string(vm.disk().join("boot.json")).unwrap();
    let (before, running) = (record(), processes(&vm));
    let mut second = vm.command().stderr(Stdio::piped()).spawn().unwrap();
    let _open = second.stdin.take();
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("process {} boots this VM already", running["boot"])), "{said}");
    assert_eq!((before, running), (record(), processes(&vm)));
    vm.kill(Signal::TERM);
}

#[test]
fn a_crash_loop_is_reported_as_one() {
    let fake = Flower::doing(&[FLOWER], "echo 'no space left for the state' >&2\nexit 3");
    let mut vm = superlink(30, fake.of(FLOWER));
    vm.start();
    assert_eq!(vm.ended(), 1);
    let log = vm.log();
    assert!(
        log.contains("flower-superlink keeps ending (exit status: 3): no space left for the state"),
        "{log}"
    );
    let (exit, _, said) = health(&vm, "superlink");
    assert_eq!(exit, 1);
    assert!(said.contains("process_failed: flower-superlink keeps ending"), "{said}");
    assert!(processes(&vm).is_empty());
}
