//! A VM that is on: its files, its process, and what reaches it from outside.

use crate::SandboxError;
use crate::context;
use crate::files::{failed, private_dir, private_file};
use crate::sweep;
use crate::zone::Zone;
use onefed_opennebula::{LcmState, VmState};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fs, io, process::Stdio};
use tokio::process::{Child, ChildStdin, Command as Process};

/// Why a VM is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It is new, or never came up.
    First,
    /// It was powered off.
    Resumed,
    /// It reboots: the guest's own affair, so its state stays as it is, and its context disk too.
    Again,
}

/// The process of a VM that is on.
pub(crate) struct Guest {
    child: Child,
    /// Also the id of its process group.
    pid: Option<Pid>,
    /// Held here because [`Child::wait`] closes what it finds: the end of this pipe tells the VM that its host is gone.
    _host: Option<ChildStdin>,
}

impl Guest {
    /// Returns when its first process has ended.
    pub(crate) async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Says whether there is anything to wait for.
    pub(crate) fn ask_to_stop(&self) -> bool {
        // A child that has ended by itself was waited for and has no id any more.
        match self.pid {
            Some(pid) if self.child.id().is_some() => kill_process(pid, Signal::TERM).is_ok(),
            _ => false,
        }
    }

    /// Tells the first process as contextualization does: by SIGHUP. One that does not listen for it is left alone, since
    /// the signal would end it; if it has just been started it has not read its context yet.
    pub(crate) fn context_changed(&self) {
        if let Some(pid) = self.pid
            && self.child.id().is_some()
            && catches_hangup(pid)
        {
            // It may end at any time; the supervisor sees it.
            let _ = kill_process(pid, Signal::HUP);
        }
    }

    /// Ends everything in its process group.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        // The group first, for processes that dropped the mark; usually nobody is left in it.
        let killed = match self.pid.map(|pid| kill_process_group(pid, Signal::KILL)) {
            Some(Err(error)) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        };
        let _ = self.child.wait().await;
        killed
    }
}

/// Whether a process has a handler for SIGHUP.
fn catches_hangup(pid: Pid) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())) else {
        return false;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    // Bit n - 1 is signal n.
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Writes what a real VM finds on its context disk.
pub(crate) fn write_context(zone: &Zone, id: u32) -> Result<(), SandboxError> {
    let (variables, token) = {
        let mut state = zone.lock();
        let vm = state.vms.get_mut(&id).ok_or_else(|| unknown(id))?;
        context::network(&mut vm.context, &context::Of { nics: &vm.nics, vm: id, plan: zone.plan });
        (vm.context.clone(), vm.token.clone())
    };
    let dir = zone.vm_dir(id).join("context");
    private_dir(&dir)?;
    // First, so that whoever reads the variables finds the token that they promise.
    let file = dir.join("token.txt");
    if context::has_token(&variables) {
        private_file(&file, &format!("{token}\n"))?;
    } else {
        absent(&file, fs::remove_file(&file))?;
    }
    private_file(&dir.join("context.sh"), &context::shell(&variables))
}

fn unknown(id: u32) -> SandboxError {
    SandboxError::Config(format!("VM {id} is unknown"))
}

/// What is not there needs no removal.
fn absent(path: &Path, removed: io::Result<()>) -> Result<(), SandboxError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

/// Starts the process of a VM, which is RUNNING then. `flower` is an absolute path.
pub(crate) fn power_on(zone: &Zone, id: u32, start: Start, flower: &Path) -> Result<Guest, SandboxError> {
    let octet = zone.lock().vms.get(&id).map(|vm| vm.octet).ok_or_else(|| unknown(id))?;
    let dir = zone.vm_dir(id);
    let [context, disk, tmp] = ["context", "disk", "tmp"].map(|part| dir.join(part));
    // What is in memory does not outlive a boot.
    absent(&tmp, fs::remove_dir_all(&tmp))?;
    for path in [&dir, &context, &disk, &tmp] {
        private_dir(path)?;
    }
    if start != Start::Again {
        write_context(zone, id)?;
    }
    let log = dir.join("console.log");
    let console = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let console = console.map_err(failed("cannot open", &log))?;
    let again = console.try_clone().map_err(failed("cannot open", &log))?;

    let host = &zone.host;
    let mut process = Process::new(&host.exe);
    process.arg("boot").arg("--context").arg(&context).arg("--disk").arg(&disk);
    process.arg("--loopback").arg(zone.plan.inside(octet).to_string()).arg("--flower-dir").arg(flower);
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
    process.env(sweep::SANDBOX, &host.dir).env(sweep::VM, zone.mark(id));
    process.current_dir(&dir).process_group(0);
    process.stdin(Stdio::piped()).stdout(console).stderr(again);
    let mut child = process.spawn().map_err(failed("cannot run", &host.exe))?;
    if start != Start::Again {
        zone.set(id, VmState::Active, LcmState::Running);
    }
    let pid = child.id().and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw);
    Ok(Guest { pid, _host: child.stdin.take(), child })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// Whether a shell that does this first is taken for one that listens.
    fn listens(first: &str) -> bool {
        // A shell cannot catch what its parents ignore, as `nohup` makes them do.
        let mut shell = std::process::Command::new("env");
        let shell = shell.args(["--default-signal=HUP", "sh", "-c", &format!("{first}; echo; read line")]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let found = catches_hangup(Pid::from_raw(shell.id() as i32).unwrap());
        shell.kill().unwrap();
        shell.wait().unwrap();
        found
    }

    #[test]
    fn only_who_listens_is_told() {
        assert!(listens("trap : HUP"));
        assert!(!listens("trap : TERM") && !listens("trap '' HUP"));
    }
}
