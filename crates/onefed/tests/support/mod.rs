//! What the tests of the binary share: a place to work in, commands with a clean environment, a sandbox that never
//! outlives its test, and snapshots.
//!
//! Second octets of these tests: 120 to 139.
//!
//! A test makes a [`Desk`] (a directory and a second octet of its own, so that tests can run side by side), runs the
//! binary on it with [`Desk::onefed`], and shows the outcome to [`Desk::snapshot`]. A test that needs zones takes a
//! [`Sandbox`].

// Every test binary uses a part of this.
#![allow(dead_code, unused_imports)]

mod dry;
mod flower;
mod proxy;
mod run;
mod sandbox;
mod snapshot;
pub(crate) mod spec;

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use dry::{DryZones, until, zone_name};
pub(crate) use flower::{FlowerDir, fake_flower};
pub(crate) use proxy::{Proxies, Verdict};
pub(crate) use run::{Run, run, run_within};
pub(crate) use sandbox::Sandbox;

/// The repository's example, which is also the plan of the demo.
const EXAMPLE: &str = include_str!("../../../../examples/three-zones.toml");
/// What of the example depends on the sandbox that it is for.
const EXAMPLE_NET: &str = "127.71.";
const EXAMPLE_AUTH: &str = ".onefed-sandbox/one_auth";
/// Where a desk's sandbox is, below the desk.
pub(crate) const SANDBOX_DIR: &str = "sandbox";

/// A directory for one test, with the second octet of all the addresses that the test may use.
///
/// It is below cargo's target directory and has a fixed name, so that what a killed test run has left is found, ended
/// and removed by the next one.
pub(crate) struct Desk {
    dir: PathBuf,
    net: u8,
}

impl Desk {
    /// An empty directory. `name` must be unique among all tests of this package, `net` among those with zones.
    pub(crate) fn new(name: &str, net: u8) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        run::end_everything_in(&dir);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir: dir.canonicalize().unwrap(), net }
    }

    /// The directory. Commands of [`Desk::onefed`] run in it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The second octet.
    pub(crate) fn net(&self) -> u8 {
        self.net
    }

    /// An address of this desk's network, `127.NET.rest`.
    pub(crate) fn address(&self, rest: &str) -> String {
        format!("127.{}.{rest}", self.net)
    }

    /// The binary under test, in this directory, with nothing of the caller's environment but the search path and the
    /// settings of numeric libraries. `args` is split at blanks.
    pub(crate) fn onefed(&self, args: &str) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_onefed"));
        command.args(args.split_whitespace());
        command
    }

    /// Any program in this directory, with nothing of the caller's environment either.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear();
        for (name, value) in std::env::vars_os() {
            let passes = name.to_str().is_some_and(|name| {
                name == "PATH" || name.starts_with("OPENBLAS_") || name.starts_with("OMP_")
            });
            if passes {
                command.env(name, value);
            }
        }
        command.env("HOME", &self.dir).env("LANG", "C.UTF-8").env("NO_COLOR", "1").env("COLUMNS", "100");
        command
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a program.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The example plan, for this desk's network and the login of its sandbox.
    pub(crate) fn example(&self) -> String {
        let auth = format!("{SANDBOX_DIR}/one_auth");
        EXAMPLE.replace(EXAMPLE_NET, &format!("127.{}.", self.net)).replace(EXAMPLE_AUTH, &auth)
    }

    /// Writes [`Desk::example`], changed by `edit`, as `federation.toml`, where verbs look for it.
    pub(crate) fn plan(&self, edit: impl FnOnce(String) -> String) -> PathBuf {
        self.write("federation.toml", &edit(self.example()))
    }

    /// Everything that is in the directory, as sorted relative paths; directories end with a slash.
    pub(crate) fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(base).unwrap().display().to_string();
                if path.is_dir() {
                    found.push(name + "/");
                    walk(&path, base, found);
                } else {
                    found.push(name);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.dir, &self.dir, &mut found);
        found.sort();
        found
    }

    /// The processes that work in this directory or below: the sandbox, its VMs and everything they started.
    pub(crate) fn processes(&self) -> Vec<String> {
        run::processes_in(&self.dir).into_iter().map(|(_, command)| command).collect()
    }

    /// Runs a command and compares exit code and both outputs with the snapshot of this name.
    #[track_caller]
    pub(crate) fn snapshot(&self, name: &str, command: &mut Command) -> Run {
        let outcome = run(command);
        snapshot::assert(self, name, &outcome);
        outcome
    }
}

impl Drop for Desk {
    /// Nothing keeps running, however the test ended. The files of a failed test stay, to be looked at.
    fn drop(&mut self) {
        run::end_everything_in(&self.dir);
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Replaces a text that must be there exactly once, so that an edit of the example cannot silently stop working.
#[track_caller]
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} must be in the plan once");
    text.replace(from, to)
}
