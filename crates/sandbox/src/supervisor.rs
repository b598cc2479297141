//! The life of one VM: what it is told, one thing after another, until it is done.

use crate::faults::Misbehaviour;
use crate::guest::{Guest, Start, power_on, write_context};
use crate::schedule::{date, dispatch};
use crate::sweep::kill_marked;
use crate::zone::{Zone, now};
use onefed_opennebula::{LcmState, VmState};
use serde_json::json;
use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// How long a VM may take to shut down.
const GRACE: Duration = Duration::from_secs(20);
/// How often a VM without a host is looked at.
const SCHEDULER: Duration = Duration::from_millis(200);

/// What a VM can be told. `hard` leaves out the grace, and ends one that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Terminate {
        hard: bool,
    },
    Poweroff {
        hard: bool,
    },
    Reboot {
        hard: bool,
    },
    Resume,
    /// Boot again what could not be booted.
    Retry,
    /// Take the context as it is now.
    Reconfigure,
}

impl Command {
    fn is_hard(self) -> bool {
        match self {
            Self::Terminate { hard } | Self::Poweroff { hard } | Self::Reboot { hard } => hard,
            Self::Resume | Self::Retry | Self::Reconfigure => false,
        }
    }
}

/// Commands in their order. What arrives while the VM shuts down waits here.
struct Orders {
    backlog: VecDeque<Command>,
    receiver: UnboundedReceiver<Command>,
}

impl Orders {
    /// `None` when no sender is left.
    async fn next(&mut self) -> Option<Command> {
        match self.backlog.pop_front() {
            Some(command) => Some(command),
            None => self.receiver.recv().await,
        }
    }

    /// Forgets reboots that were asked for while the VM went down for one: this is theirs too. Says whether the VM is to
    /// come up again.
    fn rebooted(&mut self) -> bool {
        self.backlog.retain(|c| !matches!(c, Command::Reboot { .. }));
        !self.backlog.iter().any(|c| matches!(c, Command::Poweroff { .. } | Command::Terminate { .. }))
    }

    /// Returns when something arrives that a VM on its way up has to stop for.
    async fn ending(&mut self) {
        loop {
            if self.backlog.iter().any(|c| matches!(c, Command::Poweroff { .. } | Command::Terminate { .. }))
            {
                return;
            }
            match self.receiver.recv().await {
                Some(command) => self.backlog.push_back(command),
                None => return,
            }
        }
    }

    /// Returns when something arrives that does not wait for a grace to end.
    async fn hard(&mut self) {
        while let Some(command) = self.receiver.recv().await {
            self.backlog.push_back(command);
            if command.is_hard() {
                return;
            }
        }
    }
}

/// Runs a VM from its creation until it is done. Ends with the zone's record in DONE.
pub(crate) async fn supervise(zone: Arc<Zone>, id: u32, receiver: UnboundedReceiver<Command>) {
    let mut orders = Orders { backlog: VecDeque::new(), receiver };
    if !placed(&zone, id, &mut orders).await {
        return finish(&zone, id, None, true, &mut orders).await;
    }
    let mut guest = up(&zone, id, Start::First, &mut orders).await;
    loop {
        let order = match &mut guest {
            Some(running) => tokio::select! {
                () = running.ended() => {
                    tracing::info!(zone = %zone.name, vm = id, "the VM switched itself off");
                    // Power off takes everything with it.
                    stop(&zone, id, guest.take(), true, &mut orders).await;
                    powered_off(&zone, id);
                    continue;
                }
                order = orders.next() => order,
            },
            None => orders.next().await,
        };
        match order {
            Some(Command::Poweroff { hard }) => {
                stop(&zone, id, guest.take(), hard, &mut orders).await;
                powered_off(&zone, id);
            }
            // What was accepted while the VM was on, and finds it off, comes too late.
            Some(Command::Reboot { hard }) if guest.is_some() => {
                stop(&zone, id, guest.take(), hard, &mut orders).await;
                guest = if orders.rebooted() { up(&zone, id, Start::Again, &mut orders).await } else { None };
            }
            Some(Command::Resume) if guest.is_none() => {
                guest = up(&zone, id, Start::Resumed, &mut orders).await;
            }
            Some(Command::Retry) if guest.is_none() => {
                guest = up(&zone, id, Start::First, &mut orders).await;
            }
            Some(Command::Reconfigure) => {
                if let Some(running) = &guest {
                    reconfigure(&zone, id, running);
                }
            }
            Some(Command::Reboot { .. } | Command::Resume | Command::Retry) => {}
            Some(Command::Terminate { hard }) => {
                return finish(&zone, id, guest.take(), hard, &mut orders).await;
            }
            // No sender is left: the zone is gone.
            None => return finish(&zone, id, guest.take(), true, &mut orders).await,
        }
    }
}

/// Waits until the VM is released and has a host; `false` when it is ended before.
async fn placed(zone: &Zone, id: u32, orders: &mut Orders) -> bool {
    loop {
        let held = zone.lock().vms.get(&id).is_some_and(|vm| vm.state == VmState::Hold);
        if !held && dispatch(zone, id) {
            zone.changed.notify_one();
            return true;
        }
        tokio::select! {
            order = orders.next() => {
                if matches!(order, Some(Command::Terminate { .. }) | None) {
                    return false;
                }
            }
            // Somebody else may have made room.
            () = tokio::time::sleep(SCHEDULER), if !held => {}
        }
    }
}

/// Takes a VM through the states on its way to RUNNING, as slowly as the zone is.
async fn up(zone: &Zone, id: u32, start: Start, orders: &mut Orders) -> Option<Guest> {
    let delay = zone.delays.boot;
    if start == Start::First {
        let fault = zone.boot_fault(id, zone.role_of(id).as_deref());
        zone.set(id, VmState::Active, LcmState::Prolog);
        pause(delay / 2, orders).await?;
        if fault == Some(Misbehaviour::PrologFailure) {
            return fail(zone, id, LcmState::PrologFailure, "TRANSFER: ERROR: clone: Command failed");
        }
        zone.set(id, VmState::Active, LcmState::Boot);
        pause(delay / 2, orders).await?;
        if fault == Some(Misbehaviour::BootFailure) {
            return fail(
                zone,
                id,
                LcmState::BootFailure,
                "DEPLOY: ERROR: deploy: Could not create the domain",
            );
        }
    } else {
        pause(delay, orders).await?;
    }
    let flower = tokio::select! {
        () = orders.ending() => return None,
        flower = zone.host.flower.of(zone, id) => flower,
    };
    match flower.and_then(|flower| power_on(zone, id, start, &flower)) {
        Ok(guest) => Some(guest),
        Err(error) => {
            tracing::error!(zone = %zone.name, vm = id, %error, "a VM cannot boot");
            match start {
                Start::Resumed => zone.set(id, VmState::Poweroff, LcmState::Init),
                Start::First | Start::Again => zone.set(id, VmState::Active, LcmState::BootFailure),
            }
            None
        }
    }
}

/// A VM that did not come up: oned keeps the driver's words in ERROR.
fn fail(zone: &Zone, id: u32, lcm: LcmState, why: &str) -> Option<Guest> {
    if let Some(vm) = zone.lock().vms.get_mut(&id) {
        vm.user_template.insert("ERROR".to_owned(), json!(format!("{} : {why}", date(now()))));
    }
    zone.set(id, VmState::Active, lcm);
    None
}

/// `None` when the VM is to end instead.
async fn pause(delay: Duration, orders: &mut Orders) -> Option<()> {
    if delay.is_zero() {
        return Some(());
    }
    tokio::select! {
        () = orders.ending() => None,
        () = tokio::time::sleep(delay) => Some(()),
    }
}

/// POWEROFF, unless the VM is on its way to DONE or was resumed already.
fn powered_off(zone: &Zone, id: u32) {
    let on = |lcm| matches!(lcm, LcmState::Running | LcmState::ShutdownPoweroff | LcmState::Hotplug);
    if zone.lock().vms.get(&id).is_some_and(|vm| vm.state == VmState::Active && on(vm.lcm)) {
        zone.set(id, VmState::Poweroff, LcmState::Init);
    }
}

/// A new context for a VM that is running.
fn reconfigure(zone: &Zone, id: u32, guest: &Guest) {
    // oned goes back to RUNNING when it fails, too.
    match write_context(zone, id) {
        Ok(()) => guest.context_changed(),
        Err(error) => tracing::error!(zone = %zone.name, vm = id, %error, "the context cannot be changed"),
    }
    if zone.lock().vms.get(&id).is_some_and(|vm| vm.is_active(LcmState::Hotplug)) {
        zone.set(id, VmState::Active, LcmState::Running);
    }
}

async fn finish(zone: &Zone, id: u32, guest: Option<Guest>, hard: bool, orders: &mut Orders) {
    if guest.is_some() {
        zone.set(id, VmState::Active, LcmState::Shutdown);
    }
    stop(zone, id, guest, hard, orders).await;
    zone.set(id, VmState::Active, LcmState::Epilog);
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

/// The guest's end, and as long as the zone takes to notice.
async fn down(guest: &mut Guest, delay: Duration) {
    guest.ended().await;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Ends the process, its group and whatever carries the VM's mark.
async fn stop(zone: &Zone, id: u32, guest: Option<Guest>, hard: bool, orders: &mut Orders) {
    if let Some(mut guest) = guest {
        if !hard && guest.ask_to_stop() {
            tokio::select! {
                () = down(&mut guest, zone.delays.shutdown) => {}
                () = orders.hard() => tracing::info!(zone = %zone.name, vm = id, "killed on its way down"),
                () = tokio::time::sleep(GRACE + zone.delays.shutdown) => {
                    tracing::warn!(zone = %zone.name, vm = id, "not down after {GRACE:?}: killed");
                }
            }
        }
        if let Err(error) = guest.kill().await {
            tracing::warn!(zone = %zone.name, vm = id, %error, "cannot kill its process group");
        }
    }
    let (dir, mark) = (zone.host.dir.clone(), zone.mark(id));
    match tokio::task::spawn_blocking(move || kill_marked(&dir, Some(&mark))).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(zone = %zone.name, vm = id, %error, "leftovers"),
        Err(error) => tracing::error!(zone = %zone.name, vm = id, %error, "the sweep failed"),
    }
}
