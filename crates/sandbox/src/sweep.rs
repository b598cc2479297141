//! Finding and killing what is left of a sandbox's VMs, by the marker in their environment.

use crate::SandboxError;
use crate::files::failed;
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
use std::path::Path;
use std::time::Duration;

/// Names the sandbox in the environment of every process of its VMs: its canonical directory.
pub(crate) const SANDBOX: &str = "ONEFED_SANDBOX";
/// Names the VM there: `zone/id`.
pub(crate) const VM: &str = "ONEFED_VM";

/// A killed process may fork once more on its way out, and init needs a moment to collect it.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Kills every process that is left of the VMs of the sandbox in `dir`; returns how many it found. Blocks up to two
/// seconds. Kills the VMs of a sandbox that is running, too.
///
/// # Errors
/// [`SandboxError::Leftover`] when a process does not end, [`SandboxError::File`] when `dir` or `/proc` cannot be read.
/// A directory that does not exist has no processes.
pub fn sweep(dir: &Path) -> Result<usize, SandboxError> {
    match dir.canonicalize() {
        Ok(dir) => kill_marked(&dir, None),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(failed("cannot read", dir)(e)),
    }
}

/// As [`sweep`], for one VM only when `vm` is given.
pub(crate) fn kill_marked(dir: &Path, vm: Option<&str>) -> Result<usize, SandboxError> {
    let mut wanted = vec![[SANDBOX.as_bytes(), b"=", dir.as_os_str().as_bytes()].concat()];
    wanted.extend(vm.map(|vm| format!("{VM}={vm}").into_bytes()));
    let mut killed = std::collections::BTreeSet::new();
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left = marked(&wanted)?;
        if left.is_empty() {
            return Ok(killed.len());
        }
        for pid in &left {
            if kill(*pid, &wanted) {
                killed.insert(*pid);
            }
        }
        std::thread::sleep(PAUSE);
    }
    Err(SandboxError::Leftover { dir: dir.to_owned(), pids: left })
}

fn marked(wanted: &[Vec<u8>]) -> Result<Vec<u32>, SandboxError> {
    let proc = Path::new("/proc");
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed("cannot read", proc))? {
        // A process may end while it is looked at.
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let mine = entry.metadata().is_ok_and(|m| m.uid() == getuid().as_raw());
        if mine && pid != std::process::id() && has(pid, wanted) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn has(pid: u32, wanted: &[Vec<u8>]) -> bool {
    // A process that has ended and waits for its parent has no environment any more.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    wanted.iter().all(|w| environment.split(|b| *b == 0).any(|entry| entry == w.as_slice()))
}

/// Looks again once the process is held by a descriptor, so that a reused number never dies for another's marker.
fn kill(pid: u32, wanted: &[Vec<u8>]) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else { return false };
    has(pid, wanted) && pidfd_send_signal(&process, Signal::KILL).is_ok()
}
