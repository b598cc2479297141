//! A VM that boots by itself, without a zone: a context, a disk, programs in place of Flower's, a OneGate of its own,
//! and the real `onefed boot`.

// Every test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::gate::{Gate, TOKEN, VM};

/// A boot in a debug build, with a real SuperLink where a test has one, on two noisy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const PROGRAMS: [&str; 2] = ["flower-superlink", "flower-supernode"];

/// Directories that look like Flower to onefed's eyes, one for each release; their programs do nothing, for long.
pub(crate) struct Flower(tempfile::TempDir);

impl Flower {
    pub(crate) fn new(releases: &[&str]) -> Self {
        // The shell stays, so that its arguments can be seen.
        Self::doing(releases, "sleep 600 &\nwait")
    }

    /// The same with programs that do this.
    pub(crate) fn doing(releases: &[&str], body: &str) -> Self {
        let all = Self(tempfile::tempdir().unwrap());
        for release in releases {
            let dir = all.of(release);
            let record = dir.join(format!("lib/python3.11/site-packages/flwr-{release}.dist-info"));
            std::fs::create_dir_all(record).unwrap();
            std::fs::create_dir(dir.join("bin")).unwrap();
            for program in PROGRAMS {
                script(&dir.join("bin").join(program), body);
            }
        }
        all
    }

    pub(crate) fn of(&self, release: &str) -> PathBuf {
        self.0.path().join(release)
    }
}

/// A shell script that can be run.
pub(crate) fn script(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One VM. Its addresses are nobody else's.
pub(crate) struct Vm {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) loopback: String,
    pub(crate) gate: Option<Gate>,
    pub(crate) flower: PathBuf,
    boot: Option<(Child, ChildStdin)>,
    /// How much of the log belongs to earlier boots.
    read: usize,
}

impl Vm {
    /// `block`: the third octets of its addresses begin there; two tests that run at a time need two blocks of nine.
    pub(crate) fn new(block: u8, gate: bool, flower: PathBuf) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (third, fourth) = (u16::from(block) + number / 250, number % 250 + 1);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("context")).unwrap();
        Self {
            address: format!("127.143.{third}.{fourth}"),
            loopback: format!("127.143.{}.{fourth}", third + 3),
            gate: gate.then(|| Gate::at(&format!("127.143.{}.{fourth}:5030", third + 6))),
            dir,
            flower,
            boot: None,
            read: 0,
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        self.gate.as_ref().unwrap()
    }

    /// Writes the context: what OpenNebula gives by itself, and these variables.
    pub(crate) fn context(&self, variables: &[(&str, &str)]) {
        let mut all: BTreeMap<&str, String> = BTreeMap::new();
        all.insert("VMID", VM.to_string());
        all.insert("ETH0_IP", self.address.clone());
        if let Some(gate) = &self.gate {
            all.insert("TOKEN", "YES".to_owned());
            all.insert("ONEGATE_ENDPOINT", gate.endpoint());
            std::fs::write(self.dir.path().join("context/token.txt"), format!("{TOKEN}\n")).unwrap();
        }
        all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let text: String = all.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        std::fs::write(self.dir.path().join("context/context.sh"), text).unwrap();
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Starts a boot, and keeps its standard input open.
    pub(crate) fn start(&mut self) {
        assert!(self.boot.is_none());
        let log = self.dir.path().join("boot.log");
        self.read = std::fs::read(&log).map_or(0, |text| text.len());
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut child = self.command().stderr(log).spawn().unwrap();
        let open = child.stdin.take().unwrap();
        self.boot = Some((child, open));
    }

    /// The command line of a boot of this VM. The end of its standard input is the end of the VM.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.arg("boot").arg("--context").arg(self.dir.path().join("context"));
        command.arg("--disk").arg(self.disk()).arg("--flower-dir").arg(&self.flower);
        command.args(["--loopback", &self.loopback]).env("ONEFED_VM", self.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command
    }

    /// What the present boot has said so far.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.dir.path().join("boot.log")).unwrap_or_default();
        String::from_utf8_lossy(&text[self.read..]).into_owned()
    }

    /// Forgets what was said until now.
    pub(crate) fn forget(&mut self) {
        self.read += self.log().len();
    }

    /// Waits until the boot has ended (its exit code), or has said all of these on one line (none).
    #[track_caller]
    pub(crate) fn outcome(&mut self, lines: &[&[&str]]) -> Option<i32> {
        let started = Instant::now();
        loop {
            // First the end, then what was said before it.
            let ended = self.boot.as_mut().unwrap().0.try_wait().unwrap();
            let log = self.log();
            if log.lines().any(|line| lines.iter().any(|words| words.iter().all(|word| line.contains(word))))
            {
                return None;
            }
            if let Some(status) = ended {
                self.boot = None;
                return Some(status.code().unwrap_or(-1));
            }
            assert!(started.elapsed() < PATIENCE, "the boot never said one of {lines:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits until the boot has said all of these on one line; that line.
    #[track_caller]
    pub(crate) fn wait(&mut self, words: &[&str]) -> String {
        let ended = self.outcome(&[words]);
        let log = self.log();
        assert_eq!(ended, None, "the boot has ended and never said {words:?}:\n{log}");
        log.lines().find(|line| words.iter().all(|word| line.contains(word))).unwrap().to_owned()
    }

    /// Waits for the end of the boot; its exit code.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        self.outcome(&[]).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.boot.as_ref().unwrap().0.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the boot by a signal, and waits until nothing of the VM runs any more.
    #[track_caller]
    pub(crate) fn kill(&mut self, signal: Signal) {
        self.signal(signal);
        self.boot.as_mut().unwrap().0.wait().unwrap();
        self.end();
    }

    /// Ends the boot, and waits until nothing of the VM runs any more.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        if let Some((mut child, open)) = self.boot.take() {
            drop(open);
            child.wait().unwrap();
        }
        let started = Instant::now();
        while !self.processes().is_empty() {
            assert!(started.elapsed() < PATIENCE, "left behind: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The processes of this VM: id, arguments, environment.
    pub(crate) fn processes(&self) -> Vec<(i32, Vec<String>, String)> {
        let mark = format!("ONEFED_VM={}", self.dir.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if !environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                continue;
            }
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let words = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
            found.push((pid, words, String::from_utf8_lossy(&environment).into_owned()));
        }
        found
    }

    /// The arguments of one of Flower's programs, as the running process has them.
    #[track_caller]
    pub(crate) fn arguments(&self, program: &str) -> Vec<String> {
        let started = Instant::now();
        loop {
            for (_, words, _) in self.processes() {
                let place = words.iter().position(|word| word.ends_with(&format!("/bin/{program}")));
                // Before it has become that program, it is onefed with the same words behind it.
                if let Some(place) = place {
                    return words[place + 1..].to_vec();
                }
            }
            assert!(started.elapsed() < PATIENCE, "{program} does not run: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `hub.json`, `spoke.json` or `boot.json`.
    #[track_caller]
    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        let path = self.disk().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    /// Any verb of the binary on this VM's disk: exit code, standard output, standard error.
    pub(crate) fn onefed(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.args(args).arg("--disk").arg(self.disk()).current_dir(self.dir.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Every file on the disk.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        walk(&self.disk())
    }
}

impl Drop for Vm {
    #[allow(clippy::print_stderr, reason = "what a failed test is looked at with")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if let Some((mut child, open)) = self.boot.take() {
            drop(open);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() && !path.is_symlink() { walk(&path) } else { vec![path] })
        .collect()
}
