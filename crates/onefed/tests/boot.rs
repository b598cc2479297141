//! `onefed boot` by itself, without a zone: killed at every step, told another context, booted again. With real Flower
//! from its Python package and the appliance's own CA.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(clippy::print_stderr, reason = "a failed test shows the log of its boot")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const FLOWER: &str = "1.41.0";
/// A SuperLink on two noisy cores.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// A SuperLink's VM: its context, its disk, and the boot that runs in it.
struct Vm {
    dir: tempfile::TempDir,
    address: String,
    loopback: String,
    flower: PathBuf,
    boot: Option<Child>,
    /// How much of the log belongs to earlier boots.
    read: usize,
}

impl Vm {
    fn new(host: u8, flower: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("context")).unwrap();
        let vm = Self {
            address: format!("127.140.1.{host}"),
            loopback: format!("127.140.2.{host}"),
            dir,
            flower,
            boot: None,
            read: 0,
        };
        vm.context(&[]);
        vm
    }

    /// Writes the context: a SuperLink that stands alone, and these variables.
    fn context(&self, more: &[(&str, &str)]) {
        let address = self.address.as_str();
        let own = [
            ("VMID", "7"),
            ("ETH0_IP", address),
            ("FL_ROLE", "superlink"),
            ("FLOWER_VERSION", FLOWER),
            ("FL_NODE_AUTH", "YES"),
        ];
        let all: BTreeMap<&str, &str> = own.into_iter().chain(more.iter().copied()).collect();
        let text: String = all.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        std::fs::write(self.dir.path().join("context/context.sh"), text).unwrap();
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn start(&mut self) {
        assert!(self.boot.is_none());
        let log = self.dir.path().join("boot.log");
        self.read = std::fs::read(&log).map_or(0, |text| text.len());
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.arg("boot").arg("--context").arg(self.dir.path().join("context"));
        command.arg("--disk").arg(self.disk()).arg("--flower-dir").arg(&self.flower);
        command.args(["--loopback", &self.loopback]).env("ONEFED_VM", self.dir.path());
        // The end of standard input would be the end of the VM.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.boot = Some(command.spawn().unwrap());
    }

    /// What the present boot has said so far.
    fn log(&self) -> String {
        let text = std::fs::read(self.dir.path().join("boot.log")).unwrap_or_default();
        String::from_utf8_lossy(&text[self.read..]).into_owned()
    }

    /// Waits until the present boot has said all of these on one line; that line.
    #[track_caller]
    fn wait(&self, words: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.to_owned();
            }
            assert!(started.elapsed() < PATIENCE, "the boot never said {words:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.boot.as_ref().unwrap().id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Tells the boot that the context may have changed, and waits for what became of the processes.
    #[track_caller]
    fn reload(&mut self) -> String {
        self.read += self.log().len();
        self.signal(Signal::HUP);
        self.wait(&["step=\"processes\"", "ok: "])
    }

    /// Ends the boot by a signal, and waits until nothing of the VM runs any more.
    #[track_caller]
    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.boot.take().unwrap().wait().unwrap();
        let started = Instant::now();
        while !self.processes().is_empty() {
            assert!(started.elapsed() < PATIENCE, "left behind: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of this VM: their ids by what they are.
    fn processes(&self) -> BTreeMap<String, i32> {
        let mark = format!("ONEFED_VM={}", self.dir.path().display());
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if !environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                continue;
            }
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            let is = |what: &str| line.split('\0').any(|word| word.rsplit('/').next() == Some(what));
            let mut names = ["boot", "hub", "flower-superlink"].into_iter().filter(|name| is(name));
            found.insert(names.next_back().map_or_else(|| line.replace('\0', " "), str::to_owned), pid);
        }
        found
    }

    fn health(&self, role: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.args(["health", "--role", role, "--disk"]).arg(self.disk()).output().unwrap()
    }

    #[track_caller]
    fn healthy(&self) {
        let output = self.health("superlink");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("answers"));
    }

    /// Every file below the disk that is a certificate or key, with its content.
    fn secrets(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![self.disk()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                // A link shows the same files again.
                if path.is_dir() && !path.is_symlink() {
                    dirs.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path)
                    && text.contains("-----BEGIN ")
                {
                    found.insert(path.strip_prefix(self.disk()).unwrap().to_owned(), text);
                }
            }
        }
        found
    }
}

impl Drop for Vm {
    #[allow(clippy::print_stderr, reason = "what a failed test is looked at with")]
    fn drop(&mut self) {
        if let Some(mut boot) = self.boot.take() {
            if std::thread::panicking() {
                eprintln!("{}", self.log());
            }
            let _ = boot.kill();
            let _ = boot.wait();
        }
    }
}

/// What a killed boot of any kind must end in.
#[test]
fn a_boot_killed_at_every_step_and_booted_again_ends_in_the_same_state() {
    let mut vm = Vm::new(10, flower());
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
    let mut secrets: Option<BTreeMap<PathBuf, String>> = None;
    for step in steps {
        vm.start();
        vm.wait(&[&format!("step=\"{step}\""), "ok: "]);
        vm.end(Signal::KILL);
        // From where it has certificates it has them for good.
        if step == "inner certificate" {
            secrets = Some(vm.secrets());
        }
    }
    // In the middle of things too: at times that no step knows of.
    for millis in (0..120).step_by(8) {
        vm.start();
        std::thread::sleep(Duration::from_millis(millis));
        vm.end(Signal::KILL);
    }
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    vm.healthy();
    let names: Vec<String> = vm.processes().into_keys().collect();
    assert!(
        ["boot", "hub", "flower-superlink"].iter().all(|name| names.iter().any(|n| n == name)),
        "{names:?}"
    );
    assert_eq!(secrets.unwrap(), vm.secrets(), "a second CA, another certificate or key");
    vm.end(Signal::TERM);
    let left: Vec<_> =
        walk(&vm.disk()).into_iter().filter(|path| path.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "half-written files are left: {left:?}");
}

#[test]
fn another_context_restarts_exactly_what_depends_on_it() {
    let mut vm = Vm::new(11, flower());
    assert_eq!(vm.health("superlink").status.code(), Some(78), "nothing has booted yet");
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    vm.healthy();
    let wrong = vm.health("gateway");
    assert_eq!(wrong.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("this VM is a superlink, not a gateway"));
    // By content: a set of files is replaced as a whole, the CA in it too.
    let ca = |vm: &Vm| {
        let all = vm.secrets().into_iter();
        let of_ca = all.filter(|(path, _)| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ca."))
        });
        of_ca.map(|(_, text)| text).collect::<BTreeSet<_>>()
    };
    let (first, trusted) = (vm.processes(), ca(&vm));

    // The same again.
    assert!(vm.reload().contains("flower-superlink kept, hub kept"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(first["hub"], vm.processes()["hub"]);

    // Another name: the certificate, and so the hub. The CA stays.
    vm.context(&[("FL_CERT_EXTRA_SAN", "DNS:hub.example.org")]);
    assert!(vm.reload().contains("flower-superlink kept, hub restarted"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    let second = vm.processes();
    assert_eq!(first["flower-superlink"], second["flower-superlink"]);
    assert_ne!(first["hub"], second["hub"]);
    assert_eq!(trusted, ca(&vm), "nobody has to be told of another CA");

    // A context that is wrong leaves running what runs, and says so.
    vm.context(&[("FL_NUM_ROUNDS", "none"), ("FL_LOG_LEVEL", "LOUD")]);
    vm.read += vm.log().len();
    vm.signal(Signal::HUP);
    vm.wait(&["step=\"context\"", "FL_NUM_ROUNDS", "FL_LOG_LEVEL"]);
    let started = Instant::now();
    let unwell = loop {
        let output = vm.health("superlink");
        if !output.status.success() || started.elapsed() > PATIENCE {
            break output;
        }
    };
    assert_eq!(unwell.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unwell.stderr).contains("context_invalid"));
    assert_eq!(second, vm.processes());

    // Another log level: both processes have it in their environment.
    vm.context(&[("FL_LOG_LEVEL", "DEBUG")]);
    assert!(vm.reload().contains("flower-superlink restarted, hub restarted"));
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    vm.healthy();

    // A reboot keeps the certificate.
    vm.end(Signal::TERM);
    let kept = vm.secrets();
    vm.start();
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(kept, vm.secrets());
    vm.end(Signal::TERM);
}

/// A stand-in for Flower whose programs do this.
fn fake_flower(script: &str) -> tempfile::TempDir {
    let fake = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(
        fake.path().join(format!("lib/python3.11/site-packages/flwr-{FLOWER}.dist-info")),
    )
    .unwrap();
    std::fs::create_dir_all(fake.path().join("bin")).unwrap();
    for program in ["flower-superlink", "flower-supernode"] {
        let path = fake.path().join("bin").join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    fake
}

/// It would take the first one's listeners for somebody else's, and write down a failure over a VM that is well.
#[test]
fn a_second_boot_with_the_same_disk_changes_nothing() {
    let fake = fake_flower("exec sleep 600");
    let mut vm = Vm::new(15, fake.path().to_owned());
    vm.start();
    vm.wait(&["not yet: the Fleet API", "SuperLink did not answer"]);
    let record = || std::fs::read_to_string(vm.disk().join("boot.json")).unwrap();
    let (before, running) = (record(), vm.processes());
    let mut second = Command::new(env!("CARGO_BIN_EXE_onefed"));
    second.arg("boot").arg("--context").arg(vm.dir.path().join("context"));
    second.arg("--disk").arg(vm.disk()).arg("--flower-dir").arg(&vm.flower);
    second.args(["--loopback", &vm.loopback]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut second = second.stderr(Stdio::piped()).spawn().unwrap();
    let _open = second.stdin.take();
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("process {} boots this VM already", running["boot"])), "{said}");
    assert_eq!((before, running), (record(), vm.processes()));
    vm.end(Signal::TERM);
}

#[test]
fn a_crash_loop_is_reported_as_one() {
    let fake = fake_flower("echo 'no space left for the state' >&2\nexit 3");
    let mut vm = Vm::new(12, fake.path().to_owned());
    vm.start();
    let mut boot = vm.boot.take().unwrap();
    // Waiting closes it, and that would be the end of the VM.
    let _open = boot.stdin.take();
    let status = boot.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let log = vm.log();
    assert!(
        log.contains("flower-superlink keeps ending (exit status: 3): no space left for the state"),
        "{log}"
    );
    let output = vm.health("superlink");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("process_failed: flower-superlink keeps ending"), "{said}");
    assert!(vm.processes().is_empty());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
