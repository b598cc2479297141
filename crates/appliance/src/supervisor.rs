//! The foreground supervisor: the one owner that restarts a VM's processes where there is no systemd.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onefed_flower::command::{CommandLine, announced_node_id};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::StepError;
use crate::service::{InContainer, Service};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);
/// How long a command beside a process may take: a container engine gives a container 30 s to stop.
const ASIDE: Duration = Duration::from_secs(45);
/// Waits before restarts: from this, doubling …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A process that ran so long starts over with the shortest wait.
const STABLE: Duration = Duration::from_secs(60);
/// So many short lives in a row are a crash loop.
const CRASH_LOOP: u32 = 4;
/// A log file is moved aside at this size, so that two of them are kept at most.
const LOG_LIMIT: u64 = 16 << 20;

/// What is known of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessState {
    /// How often in a row it has ended soon after its start.
    pub(crate) short_lives: u32,
    /// How it ended the last time.
    pub(crate) last_exit: Option<String>,
    /// The node id that its output announced, if it is a SuperNode.
    pub(crate) node_id: Option<u64>,
}

/// One supervised process.
pub(crate) struct Supervised {
    name: &'static str,
    log: PathBuf,
    state: watch::Receiver<ProcessState>,
    stop: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts a process and keeps it running. Its output goes to `<log_dir>/<name>.log`.
    pub(crate) fn start(service: Service, exe: &Path, marker: Vec<(String, String)>, log_dir: &Path) -> Self {
        let Service { name, command, container, .. } = service;
        let log = log_dir.join(format!("{name}.log"));
        let (state, state_seen) = watch::channel(ProcessState::default());
        let (stop, stopped) = mpsc::channel(1);
        let (exe, log_file, state) = (exe.to_owned(), log.clone(), Arc::new(state));
        let keeper = Keeper { name, exe, command, container, marker, log: log_file, state };
        let task = tokio::spawn(keeper.keep(stopped));
        Self { name, log, state: state_seen, stop, task }
    }

    pub(crate) fn state(&self) -> ProcessState {
        self.state.borrow().clone()
    }

    /// Fails where the process ends again and again, until it has run for a while.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        let state = self.state();
        match &state.last_exit {
            Some(exit) if state.short_lives >= CRASH_LOOP => Err(StepError::process(
                format!("{} keeps ending ({exit}): {}", self.name, last_words(&self.log)),
                format!("see {}", self.log.display()),
            )),
            _ => Ok(()),
        }
    }

    /// Stops the process and everything that it started.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(()).await;
        let _ = self.task.await;
    }
}

struct Keeper {
    name: &'static str,
    exe: PathBuf,
    command: CommandLine,
    container: Option<InContainer>,
    marker: Vec<(String, String)>,
    log: PathBuf,
    state: Arc<watch::Sender<ProcessState>>,
}

impl Keeper {
    async fn keep(self, mut stopped: mpsc::Receiver<()>) {
        let mut wait = FIRST_WAIT;
        loop {
            for command in self.container.iter().flat_map(|container| &container.before) {
                aside(command).await;
            }
            let started = Instant::now();
            let exit = match self.spawn() {
                Err(why) => format!("cannot start {}: {why}", self.command.program.display()),
                Ok(mut child) => {
                    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                    self.follow(&mut child);
                    let settled = tokio::time::sleep(STABLE);
                    tokio::pin!(settled);
                    loop {
                        tokio::select! {
                            status = child.wait() => {
                                // What it started must not meet what is started next.
                                if let Some(group) = group {
                                    let _ = kill_process_group(group, Signal::KILL);
                                }
                                break status.map_or_else(|why| why.to_string(), |status| status.to_string());
                            }
                            _ = stopped.recv() => {
                                if let Some(container) = &self.container {
                                    aside(&container.stop).await;
                                }
                                return end(&mut child).await;
                            }
                            () = &mut settled, if !settled.is_elapsed() => {
                                self.state.send_modify(|state| state.short_lives = 0);
                            }
                        }
                    }
                }
            };
            let stable = started.elapsed() > STABLE;
            if stable {
                wait = FIRST_WAIT;
            }
            tracing::warn!(
                process = self.name,
                exit,
                wait_seconds = wait.as_secs(),
                "process ended, starting it again"
            );
            self.state.send_modify(|state| {
                state.short_lives = if stable { 0 } else { state.short_lives + 1 };
                state.last_exit = Some(exit);
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.recv() => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.exe);
        command
            .args(["exec-child", "--parent", &std::process::id().to_string(), "--"])
            .arg(&self.command.program)
            .args(&self.command.args)
            .env_clear()
            .envs(self.command.env.iter().map(|(k, v)| (k, v)))
            .envs(self.marker.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn()?;
        self.state.send_modify(|state| state.node_id = None);
        Ok(child)
    }

    /// Copies the child's output into its log, and listens for what it announces.
    fn follow(&self, child: &mut Child) {
        if let Some(out) = child.stdout.take() {
            tokio::spawn(copy(out, self.log.clone(), self.state.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(copy(err, self.log.clone(), self.state.clone()));
        }
    }
}

async fn copy(from: impl AsyncRead + Unpin, log: PathBuf, state: Arc<watch::Sender<ProcessState>>) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        if let Some(id) = announced_node_id(&String::from_utf8_lossy(&line)) {
            state.send_modify(|state| state.node_id = Some(id));
        }
        line.push(b'\n');
        if let Err(why) = append(&log, &line).await {
            tracing::warn!(log = %log.display(), %why, "cannot write the log");
        }
    }
}

async fn append(log: &Path, line: &[u8]) -> std::io::Result<()> {
    if std::fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        std::fs::rename(log, log.with_extension("log.1"))?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let mut file = tokio::fs::File::from_std(file);
    file.write_all(line).await?;
    file.flush().await
}

/// Runs a command line beside the process to its end, whatever that is.
async fn aside(command: &CommandLine) {
    let mut run = Command::new(&command.program);
    run.args(&command.args).env_clear().envs(command.env.iter().map(|(k, v)| (k, v)));
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(ASIDE, run.status()).await;
    if !matches!(&ended, Ok(Ok(status)) if status.success()) {
        tracing::debug!(program = %command.program.display(), ?ended, "did not succeed");
    }
}

/// Asks the child to end, then makes it, with everything in its process group.
async fn end(child: &mut Child) {
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let _ = kill_process(pid, Signal::TERM);
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = child.wait().await;
}

/// The last line of a log, for an error text.
pub(crate) fn last_words(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    last.trim().chars().take(300).collect()
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the default action ends the process, which is as good.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}
