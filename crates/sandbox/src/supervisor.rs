//! The life of one VM: files, process, power.

use crate::SandboxError;
use crate::context;
use crate::files::{failed, private_dir, private_file};
use crate::sweep::{self, kill_marked};
use crate::zone::Zone;
use onefed_opennebula::{LcmState, VmState};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, process::Stdio};
use tokio::process::{Child, ChildStdin, Command as Process};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// How long a VM may take to shut down.
const GRACE: Duration = Duration::from_secs(20);

/// What a VM can be told. `hard` leaves out the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Terminate { hard: bool },
    Poweroff { hard: bool },
    Reboot { hard: bool },
    Resume,
}

/// A VM that is on.
struct Running {
    child: Child,
    /// Also the id of its process group.
    pid: Option<Pid>,
    /// Held here because [`Child::wait`] closes what it finds: the end of this pipe tells the VM that its host is gone.
    _host: Option<ChildStdin>,
}

/// Runs a VM from its creation until it is done. Ends with the zone's record in DONE.
pub(crate) async fn supervise(zone: Arc<Zone>, id: u32, mut commands: UnboundedReceiver<Command>) {
    'power: loop {
        let mut child = match start(&zone, id) {
            Ok(child) => Some(child),
            Err(error) => {
                tracing::error!(zone = %zone.name, vm = id, %error, "a VM cannot boot");
                set(&zone, id, VmState::Active, LcmState::BootFailure);
                None
            }
        };
        loop {
            let command = match &mut child {
                Some(running) => tokio::select! {
                    ended = running.child.wait() => {
                        tracing::info!(zone = %zone.name, vm = id, ?ended, "the VM switched itself off");
                        None
                    }
                    command = commands.recv() => Some(command),
                },
                None => Some(commands.recv().await),
            };
            match command {
                // Power off takes everything with it.
                None => {
                    stop(&zone, id, child.take(), true).await;
                    set(&zone, id, VmState::Poweroff, LcmState::Init);
                }
                Some(Some(Command::Poweroff { hard })) => {
                    stop(&zone, id, child.take(), hard).await;
                    set(&zone, id, VmState::Poweroff, LcmState::Init);
                }
                Some(Some(Command::Resume)) if child.is_none() => continue 'power,
                Some(Some(Command::Resume)) => {}
                Some(Some(Command::Reboot { hard })) => {
                    stop(&zone, id, child.take(), hard).await;
                    continue 'power;
                }
                // No sender is left: the zone is gone.
                Some(None) => break 'power finish(&zone, id, child.take(), true).await,
                Some(Some(Command::Terminate { hard })) => {
                    break 'power finish(&zone, id, child.take(), hard).await;
                }
            }
        }
    }
}

async fn finish(zone: &Zone, id: u32, child: Option<Running>, hard: bool) {
    set(zone, id, VmState::Active, LcmState::Shutdown);
    stop(zone, id, child, hard).await;
    // The console stays for whoever asks why; disks and secrets go.
    for part in ["context", "disk", "tmp"] {
        let path = zone.vm_dir(id).join(part);
        if let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot be removed");
        }
    }
    zone.lock().release(id);
    zone.changed.notify_one();
}

fn set(zone: &Zone, id: u32, state: VmState, lcm: LcmState) {
    if let Some(vm) = zone.lock().vms.get_mut(&id) {
        (vm.state, vm.lcm) = (state, lcm);
    }
    zone.changed.notify_one();
}

fn start(zone: &Zone, id: u32) -> Result<Running, SandboxError> {
    set(zone, id, VmState::Active, LcmState::Prolog);
    let (variables, token, octet) = {
        let state = zone.lock();
        let Some(vm) = state.vms.get(&id) else {
            return Err(SandboxError::Config(format!("VM {id} is unknown")));
        };
        (vm.context.clone(), vm.token.clone(), vm.octet)
    };
    let dir = zone.vm_dir(id);
    let [context, disk, tmp] = ["context", "disk", "tmp"].map(|part| dir.join(part));
    for path in [&dir, &context, &disk, &tmp] {
        private_dir(path)?;
    }
    private_file(&context.join("context.sh"), &context::shell(&variables))?;
    if variables.contains_key("ONEGATE_ENDPOINT") {
        private_file(&context.join("token.txt"), &format!("{token}\n"))?;
    }
    let log = dir.join("console.log");
    let console = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let console = console.map_err(failed("cannot open", &log))?;
    let again = console.try_clone().map_err(failed("cannot open", &log))?;

    set(zone, id, VmState::Active, LcmState::Boot);
    let host = &zone.host;
    let mut process = Process::new(&host.exe);
    process.arg("boot").arg("--context").arg(&context).arg("--disk").arg(&disk);
    process
        .arg("--loopback")
        .arg(zone.plan.inside(octet).to_string())
        .arg("--flower-dir")
        .arg(&host.flower_dir);
    // Nothing of the caller's environment is the VM's business, proxies least of all.
    process.env_clear().env("HOME", &dir).env("TMPDIR", &tmp);
    for (name, value) in std::env::vars_os() {
        let passes = name.to_str().is_some_and(|n| {
            matches!(n, "PATH" | "LANG") || n.starts_with("OPENBLAS_") || n.starts_with("OMP_")
        });
        if passes {
            process.env(name, value);
        }
    }
    process.env(sweep::SANDBOX, &host.dir).env(sweep::VM, mark(zone, id));
    process.current_dir(&dir).process_group(0);
    process.stdin(Stdio::piped()).stdout(console).stderr(again);
    let mut child = process.spawn().map_err(failed("cannot run", &host.exe))?;
    set(zone, id, VmState::Active, LcmState::Running);
    let pid = child.id().and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw);
    Ok(Running { pid, _host: child.stdin.take(), child })
}

fn mark(zone: &Zone, id: u32) -> String {
    format!("{}/{id}", zone.name)
}

/// Ends the process, its group and whatever carries the VM's mark.
async fn stop(zone: &Zone, id: u32, child: Option<Running>, hard: bool) {
    if let Some(Running { mut child, pid: Some(pid), _host }) = child {
        // A child that has ended by itself was waited for and has no id any more.
        if !hard && child.id().is_some() {
            let _ = kill_process(pid, Signal::TERM);
            if timeout(GRACE, child.wait()).await.is_err() {
                tracing::warn!(zone = %zone.name, vm = id, "not down after {GRACE:?}: killed");
            }
        }
        // Its group first, for processes that dropped the mark; usually nobody is left in it.
        if let Err(error) = kill_process_group(pid, Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(zone = %zone.name, vm = id, %error, "cannot kill its process group");
        }
        let _ = child.wait().await;
    }
    let (dir, mark) = (zone.host.dir.clone(), mark(zone, id));
    match tokio::task::spawn_blocking(move || kill_marked(&dir, Some(&mark))).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(zone = %zone.name, vm = id, %error, "leftovers"),
        Err(error) => tracing::error!(zone = %zone.name, vm = id, %error, "the sweep failed"),
    }
}
