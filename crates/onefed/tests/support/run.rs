//! Running commands with a deadline, and finding and ending what a test has left running.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No command of a test may take longer, except those that train.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a command came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The command line without the binary's directory.
    pub(crate) line: String,
    /// The exit code; `None` after a signal.
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Run {
    /// Fails the test, with everything that was said, unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, exit: i32) -> Self {
        assert_eq!(self.exit, Some(exit), "{}\n{}{}", self.line, self.stdout, self.stderr);
        self
    }

    /// Standard output as the one JSON document that it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|why| panic!("{}: {why}\n{}", self.line, self.stdout))
    }
}

/// Runs a command to its end, without a terminal. One that takes more than a minute is killed and fails the test.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Run {
    run_within(command, DEADLINE)
}

/// As [`run`], with another deadline.
#[track_caller]
pub(crate) fn run_within(command: &mut Command, deadline: Duration) -> Run {
    let words = std::iter::once("onefed".into()).chain(command.get_args().map(|arg| arg.to_string_lossy()));
    let line = words.collect::<Vec<_>>().join(" ");
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let exit = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status.code());
        }
        if started.elapsed() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
    let Some(exit) = exit else { panic!("{line} took more than {deadline:?}\n{stdout}{stderr}") };
    Run { line, exit, stdout, stderr, took: started.elapsed() }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).expect("output that is not UTF-8")
    })
}

/// The processes whose working directory is `dir` or below it, with their command lines. A desk's directory is nobody
/// else's, so they are the desk's own.
pub(super) fn processes_in(dir: &Path) -> Vec<(Pid, String)> {
    let Ok(dir) = dir.canonicalize() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // What ends while it is looked at is no process any more.
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(cwd) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let (true, Some(pid)) = (cwd.starts_with(&dir), Pid::from_raw(pid)) {
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned()));
        }
    }
    found
}

/// Ends every process of a desk.
pub(super) fn end_everything_in(dir: &Path) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let left = processes_in(dir);
        if left.is_empty() {
            return;
        }
        for (pid, _) in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
