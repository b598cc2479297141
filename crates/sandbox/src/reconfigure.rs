//! `one.vm.updateconf`: what may be changed about a VM that exists, and when.

use crate::addresses::Plan;
use crate::attributes::{Attributes, merge};
use crate::context;
use crate::machine::Vm;
use crate::supervisor::Command;
use onefed_opennebula::{LcmState, VmState};
use serde_json::{Value, json};

/// What can be changed beside CONTEXT. Everything else that is sent is ignored.
const PARTS: [&str; 8] =
    ["OS", "FEATURES", "INPUT", "GRAPHICS", "VIDEO", "RAW", "CPU_MODEL", "BACKUP_CONFIG"];

impl Vm {
    /// Takes a new configuration. A VM that is running is handed a changed context at once, in LCM state HOTPLUG.
    ///
    /// `Err` is oned's text; nothing has changed then.
    pub(crate) fn reconfigure(&mut self, given: &Attributes, append: bool, plan: Plan) -> Result<(), String> {
        if !self.takes_configuration() {
            return Err(format!("configuration cannot be updated in state {}", self.shown()));
        }
        let context = match given.get("CONTEXT") {
            Some(Value::Object(_)) if self.context.is_empty() => {
                return Err("Virtual machine does not have context, cannot add a new one.".to_owned());
            }
            Some(Value::Object(new)) => {
                // References are to the VM's own attributes before the user's.
                let mut known = self.user_template.clone();
                known.extend(self.capacity.clone());
                known.insert("VMID".to_owned(), json!(self.id.to_string()));
                let vm = context::Of { nics: &self.nics, vm: self.id, plan };
                Some(context::change(&self.context, new, append, &known, &vm)?)
            }
            _ => None,
        };
        for part in PARTS {
            match given.get(part) {
                Some(value @ Value::Object(_)) if append => {
                    let mut over = Attributes::new();
                    over.insert(part.to_owned(), value.clone());
                    merge(&mut self.capacity, &over);
                }
                Some(value @ Value::Object(_)) => {
                    self.capacity.insert(part.to_owned(), value.clone());
                }
                _ if !append => {
                    self.capacity.remove(part);
                }
                _ => {}
            }
        }
        if let Some((context, changed)) = context {
            self.context = context;
            if changed && self.is_running() {
                self.set(VmState::Active, LcmState::Hotplug);
                self.tell(Command::Reconfigure);
            }
        }
        Ok(())
    }

    fn takes_configuration(&self) -> bool {
        match self.state {
            VmState::Pending | VmState::Hold | VmState::Poweroff | VmState::Undeployed => true,
            VmState::Active => matches!(
                self.lcm,
                LcmState::Init
                    | LcmState::Prolog
                    | LcmState::Running
                    | LcmState::Epilog
                    | LcmState::Shutdown
                    | LcmState::ShutdownPoweroff
                    | LcmState::BootFailure
                    | LcmState::PrologFailure
            ),
            _ => false,
        }
    }
}
