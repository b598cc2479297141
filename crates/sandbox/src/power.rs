//! What a VM may be told in which state, and in which words oned refuses. What happens then is the supervisor's.

use crate::machine::Vm;
use crate::supervisor::Command;
use onefed_opennebula::{LcmState, VmState};

impl Vm {
    /// `one.vm.action`. The state in which oned shows the VM from now on is set at once.
    ///
    /// `Err` is oned's text.
    pub(crate) fn act(&mut self, action: &str) -> Result<(), String> {
        let hard = action.ends_with("-hard");
        let running = self.is_running();
        let (then, command) = match action {
            "terminate" | "terminate-hard" => return self.terminate(action, hard),
            "poweroff" | "poweroff-hard"
                // A hard one overrides one that takes its time.
                if running || hard && self.is_active(LcmState::ShutdownPoweroff) =>
            {
                (Some(LcmState::ShutdownPoweroff), Command::Poweroff { hard })
            }
            // The guest's own business: oned shows nothing of it.
            "reboot" | "reboot-hard" if running => (None, Command::Reboot { hard }),
            "resume" if self.state == VmState::Poweroff => (Some(LcmState::BootPoweroff), Command::Resume),
            "hold" if self.state == VmState::Pending => {
                self.set(VmState::Hold, LcmState::Init);
                return Ok(());
            }
            "release" if self.state == VmState::Hold => {
                self.set(VmState::Pending, LcmState::Init);
                self.tell(Command::Retry);
                return Ok(());
            }
            "poweroff" | "poweroff-hard" | "reboot" | "reboot-hard" | "resume" | "hold" | "release" => {
                let why = format!("This action is not available for state {}", self.shown());
                return Err(refusal(action, &why));
            }
            _ => return Err(format!("Action \"{action}\" is not supported")),
        };
        if let Some(lcm) = then {
            self.set(VmState::Active, lcm);
        }
        self.tell(command);
        Ok(())
    }

    fn terminate(&mut self, action: &str, hard: bool) -> Result<(), String> {
        match (self.state, self.lcm) {
            (VmState::Done, _) => return Ok(()),
            (VmState::Active, LcmState::Running | LcmState::Unknown) => {
                self.set(VmState::Active, LcmState::Shutdown);
            }
            (VmState::Poweroff, _) => self.set(VmState::Active, LcmState::Epilog),
            (VmState::Active, LcmState::Shutdown) if hard => {}
            (VmState::Active, _) if !self.has_failed() => {
                let why = format!("Could not terminate VM {}, wrong state {}.", self.id, self.shown());
                return Err(refusal(action, &why));
            }
            _ => {}
        }
        self.tell(Command::Terminate { hard });
        Ok(())
    }

    /// `one.vm.recover`: 2 boots again what has failed, 3 ends the VM at once in whatever state.
    ///
    /// `Err` is oned's text.
    pub(crate) fn recover(&mut self, operation: i64) -> Result<(), String> {
        match operation {
            2 if self.has_failed() => self.tell(Command::Retry),
            3 if self.state != VmState::Done => self.tell(Command::Terminate { hard: true }),
            0..=5 => return Err(format!("Recover action is not available for state {}", self.shown())),
            _ => return Err("Wrong recovery operation code".to_owned()),
        }
        Ok(())
    }

    /// As oned names a state to people: the LCM state of a VM that is ACTIVE.
    pub(crate) fn shown(&self) -> String {
        if self.state == VmState::Active { self.lcm.to_string() } else { self.state.to_string() }
    }

    pub(crate) fn is_active(&self, lcm: LcmState) -> bool {
        self.state == VmState::Active && self.lcm == lcm
    }

    /// Commands are carried out one after another.
    pub(crate) fn tell(&self, command: Command) {
        // Nobody listens for a VM that is done, and nobody needs to.
        let _ = self.commands.send(command);
    }
}

fn refusal(action: &str, why: &str) -> String {
    format!("Error performing action \"{action}\": {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(state: VmState, lcm: LcmState) -> Vm {
        let mut vm = Vm::new(3, String::new(), tokio::sync::mpsc::unbounded_channel().0);
        vm.set(state, lcm);
        vm
    }

    /// State after each action that is taken; `None` where it is refused.
    fn all(state: VmState, lcm: LcmState) -> [Option<String>; 7] {
        let actions =
            ["poweroff", "poweroff-hard", "resume", "reboot", "reboot-hard", "terminate", "terminate-hard"];
        actions.map(|action| {
            let mut vm = vm(state, lcm);
            vm.act(action).ok().map(|()| vm.shown())
        })
    }

    #[test]
    fn the_table_of_oned() {
        use LcmState as L;
        let table = [
            (VmState::Poweroff, L::Init, ["-", "-", "BOOT_POWEROFF", "-", "-", "EPILOG", "EPILOG"]),
            (
                VmState::Active,
                L::Running,
                ["SHUTDOWN_POWEROFF", "SHUTDOWN_POWEROFF", "-", "RUNNING", "RUNNING", "SHUTDOWN", "SHUTDOWN"],
            ),
            (VmState::Active, L::ShutdownPoweroff, ["-", "SHUTDOWN_POWEROFF", "-", "-", "-", "-", "-"]),
            (VmState::Active, L::Shutdown, ["-", "-", "-", "-", "-", "-", "SHUTDOWN"]),
            (VmState::Active, L::BootPoweroff, ["-"; 7]),
            (VmState::Active, L::Hotplug, ["-"; 7]),
            (VmState::Active, L::BootFailure, ["-", "-", "-", "-", "-", "BOOT_FAILURE", "BOOT_FAILURE"]),
            (VmState::Done, L::Init, ["-", "-", "-", "-", "-", "DONE", "DONE"]),
        ];
        for (state, lcm, wanted) in table {
            let wanted = wanted.map(|w| (w != "-").then(|| w.to_owned()));
            assert_eq!(all(state, lcm), wanted, "{state} {lcm}");
        }
    }

    #[test]
    fn refusals_word_for_word() {
        for (lcm, action, text) in [
            (
                LcmState::Running,
                "resume",
                "Error performing action \"resume\": This action is not available for state RUNNING",
            ),
            (
                LcmState::Boot,
                "terminate",
                "Error performing action \"terminate\": Could not terminate VM 3, wrong state BOOT.",
            ),
            (LcmState::Running, "dance", "Action \"dance\" is not supported"),
        ] {
            assert_eq!(vm(VmState::Active, lcm).act(action).unwrap_err(), text);
        }
    }
}
