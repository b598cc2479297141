//! A zone: its settings, and all of its state behind one lock.

use crate::SandboxError;
use crate::access::{Caller, Owned};
use crate::addresses::{Plan, leases};
use crate::attributes::Attributes;
use crate::faults::{Faults, Misbehaviour};
use crate::files::random;
use crate::machine::Vm;
use crate::oneflow::Documents;
use onefed_opennebula::{Credentials, LcmState, VmState, ZoneName};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What every VM of a sandbox needs.
#[derive(Debug)]
pub(crate) struct Host {
    /// The sandbox's canonical directory, which marks its processes.
    pub(crate) dir: PathBuf,
    pub(crate) exe: PathBuf,
    pub(crate) flower_dir: PathBuf,
    pub(crate) credentials: Credentials,
}

#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: ZoneName,
    pub(crate) plan: Plan,
    pub(crate) host: std::sync::Arc<Host>,
    /// ZONE_POOL, the same in every zone.
    pub(crate) pool_xml: String,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    /// Something changed that a service may be waiting for.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) templates: BTreeMap<u32, VmTemplate>,
    pub(crate) next_template: u32,
    pub(crate) vms: BTreeMap<u32, Vm>,
    pub(crate) next_vm: u32,
    pub(crate) leases: BTreeSet<u8>,
    pub(crate) documents: Documents,
}

#[derive(Debug)]
pub(crate) struct VmTemplate {
    pub(crate) name: String,
    pub(crate) owned: Owned,
    /// Seconds since 1970.
    pub(crate) registered: u64,
    pub(crate) content: Attributes,
}

impl Zone {
    pub(crate) fn new(name: ZoneName, plan: Plan, host: std::sync::Arc<Host>, pool_xml: String) -> Self {
        let mut content = Attributes::new();
        content.insert(
            "CONTEXT".to_owned(),
            json!({"NETWORK": "YES", "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]", "TOKEN": "YES"}),
        );
        content.insert("CPU".to_owned(), json!("1"));
        content.insert("MEMORY".to_owned(), json!("2048"));
        let template = VmTemplate {
            name: "onefed".to_owned(),
            owned: Caller::oneadmin().owned(),
            registered: now(),
            content,
        };
        let state =
            State { templates: BTreeMap::from([(0, template)]), next_template: 1, ..State::default() };
        Self {
            name,
            plan,
            host,
            pool_xml,
            state: Mutex::new(state),
            faults: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The state. Nothing may be awaited while it is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn into_state(self) -> State {
        self.state.into_inner().unwrap()
    }

    pub(crate) fn vm_dir(&self, id: u32) -> PathBuf {
        self.host.dir.join("zones").join(self.name.as_str()).join("vms").join(id.to_string())
    }

    /// Names a VM in the environment of its processes.
    pub(crate) fn mark(&self, id: u32) -> String {
        format!("{}/{id}", self.name)
    }

    /// Sets the state of a VM and tells whoever waits for it.
    pub(crate) fn set(&self, id: u32, state: VmState, lcm: LcmState) {
        if let Some(vm) = self.lock().vms.get_mut(&id) {
            vm.set(state, lcm);
        }
        self.changed.notify_one();
    }

    /// How OneGate is to misbehave to a request. `Err` says what is wrong with its file of faults.
    pub(crate) fn strike(&self, vm: Option<u32>, method: &str) -> Result<Option<Misbehaviour>, String> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.strike(&self.host.dir, &self.name, vm, method)
    }

    /// The service that a VM says it is in.
    pub(crate) fn service_of(&self, vm: u32) -> Option<String> {
        self.lock().vms.get(&vm)?.user_template.get("SERVICE_ID").map(crate::attributes::text)
    }

    /// Whose login that is; `None` when it is nobody's.
    pub(crate) fn knows(&self, login: &str) -> Option<Caller> {
        Credentials::parse(login).is_ok_and(|c| c == self.host.credentials).then(Caller::oneadmin)
    }
}

impl State {
    /// Takes the wanted lease, or the lowest free one.
    pub(crate) fn lease(&mut self, wanted: Option<u8>) -> Option<u8> {
        let octet = match wanted {
            Some(octet) => octet,
            None => leases().find(|o| !self.leases.contains(o))?,
        };
        self.leases.insert(octet).then_some(octet)
    }

    /// Marks a VM as gone and gives its leases back.
    pub(crate) fn release(&mut self, id: u32) {
        if let Some(vm) = self.vms.get_mut(&id) {
            vm.set(VmState::Done, LcmState::Init);
            self.leases.remove(&vm.octet);
            for nic in &vm.nics {
                self.leases.remove(&nic.octet);
            }
        }
    }
}

/// A token of the original's shape (one AES block in base64), but opaque.
pub(crate) fn token() -> Result<String, SandboxError> {
    random(16)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// An object's member as an object, empty if it is none.
pub(crate) fn object(value: Option<&Value>) -> Attributes {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
