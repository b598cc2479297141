//! One process of a federation, with its log, and what the kernel says of it.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use onefed_flower::command::CommandLine;
use rustix::process::{Pid, Signal, kill_process, setpriority_process};

use super::{Failed, Result};

/// The variable by which everything that a federation has started can be found again.
pub(super) const MARK: &str = "ONEFED_TESTBED";

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss: u64,
    /// Of that, what is not a file's.
    pub rss_anon: u64,
    /// The most that was ever resident.
    pub rss_peak: u64,
    /// Seconds on the processors, user and system.
    pub cpu_seconds: f64,
}

/// A process that can be ended and started again. It is killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: CommandLine,
    dir: PathBuf,
    nice: i32,
    // In a cell: a process is ended and started again while a run, which borrows the federation, goes on.
    child: RefCell<Option<Child>>,
}

impl Process {
    /// Starts a process; its output goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(name: &str, command: CommandLine, dir: &Path) -> Result<Self> {
        Self::start_nice(name, command, dir, 0)
    }

    /// The same with a lower priority, as `nice -n` has it, for itself and all that it starts.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_nice(name: &str, command: CommandLine, dir: &Path, nice: i32) -> Result<Self> {
        let (name, dir) = (name.to_owned(), dir.to_owned());
        let process = Self { name, command, dir, nice, child: RefCell::default() };
        process.restart()?;
        Ok(process)
    }

    /// Starts it (again), with the same command line; the log goes on.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        let fail = |why: std::io::Error| Failed(format!("{}: {why}", self.command.program.display()));
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(fail)?;
        let errors = log.try_clone().map_err(fail)?;
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.args).env_clear().envs(self.command.env.iter().cloned());
        command.env(MARK, &self.dir).current_dir(&self.dir);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(fail)?;
        self.child.replace(Some(child));
        if self.nice != 0
            && let Some(pid) = self.pid()
        {
            setpriority_process(Some(pid), self.nice).map_err(|why| fail(why.into()))?;
        }
        Ok(())
    }

    /// `kill -9`. Helpers of a Flower process end by themselves a little later.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and kills it if it has not within `patience`. How it ended, `None` if it was not running.
    pub fn stop(&self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let (mut child, began) = (self.child.take()?, Instant::now());
        while began.elapsed() < patience {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait().ok()
    }

    /// Sends a signal, for instance STOP and CONT.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its process id, if it was started and not ended by us.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.borrow().as_ref()?.id().try_into().ok()?)
    }

    /// How it ended, if it has by itself.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.borrow_mut().as_mut()?.try_wait().ok().flatten()
    }

    /// Memory and CPU; zeros for a process that does not run.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pid().map(Usage::of).unwrap_or_default()
    }

    /// Its name within the federation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a line of its output contains a text.
    ///
    /// # Errors
    /// With the end of the log, if that does not come in time or the process ends.
    pub fn wait_for_log(&self, text: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let ended = self.ended();
            if self.log().contains(text) {
                return Ok(());
            }
            if ended.is_some() || began.elapsed() > patience {
                let why =
                    ended.map_or_else(|| format!("not within {patience:?}"), |s| format!("it ended: {s}"));
                return Err(Failed(format!("{}: no `{text}`, {why}\n{}", self.name, tail(&self.log()))));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(25);
    lines[from..].iter().map(|line| format!("    {line}\n")).collect()
}

impl Usage {
    /// Of a process id; zeros for one that does not run.
    #[must_use]
    pub fn of(pid: Pid) -> Self {
        let pid = pid.as_raw_nonzero();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        // The name in brackets may hold blanks; utime and stime are fields 14 and 15.
        let stat = read("stat");
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().filter_map(|n| fields.get(*n)?.parse::<f64>().ok()).sum();
        Self {
            rss: kib("VmRSS"),
            rss_anon: kib("RssAnon"),
            rss_peak: kib("VmHWM"),
            cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64,
        }
    }
}

/// Ends everything of a federation when this process ends, however it does.
///
/// The shell waits for the end of a pipe that only this process holds, and then looks for the mark.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn of(dir: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let script = r#"read -r _; for p in /proc/[0-9]*; do
            if grep -qzsxF "$1" "$p/environ"; then kill -9 "${p#/proc/}"; fi; done"#;
        let mark = format!("{MARK}={}", dir.display());
        let mut command = Command::new("/bin/sh");
        // A group of its own, so that Ctrl-C in a terminal does not end it first.
        command.args(["-c", script, "guard", &mark]).env_remove(MARK).process_group(0);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Self).map_err(|why| Failed(format!("/bin/sh: {why}")))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Kills everything that carries the mark of this directory: also helpers whose parents are gone.
pub(super) fn end_everything_of(dir: &Path) {
    let mark = [MARK.as_bytes(), b"=", dir.as_os_str().as_encoded_bytes()].concat();
    for _ in 0..50 {
        let mut found = false;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark)
                && let Some(pid) = Pid::from_raw(pid)
            {
                found = true;
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if !found {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
