//! A zone: its settings, and all of its state behind one lock.

use crate::access::{Caller, Owned};
use crate::addresses::Plan;
use crate::attributes::Attributes;
use crate::faults::{Asked, Faults, Misbehaviour};
use crate::federation::Federation;
use crate::flower::FlowerDirs;
use crate::machine::Vm;
use crate::objects::{Image, Network, VmHost, owned};
use crate::oneflow::Documents;
use crate::quota::{Of, Quota};
use crate::refusal::Refusal;
use crate::world::{Delays, QuotaOf, QuotaWorld, TemplateWorld, VERSION, ZoneWorld};
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use onefed_opennebula::{LcmState, Secret, VmState, ZoneName};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What every VM of a sandbox needs, and what all zones share.
#[derive(Debug)]
pub(crate) struct Host {
    /// The sandbox's canonical directory, which marks its processes.
    pub(crate) dir: PathBuf,
    pub(crate) exe: PathBuf,
    pub(crate) flower: FlowerDirs,
    federation: Mutex<Federation>,
}

impl Host {
    pub(crate) fn new(dir: PathBuf, exe: PathBuf, flower: FlowerDirs, federation: Federation) -> Self {
        Self { dir, exe, flower, federation: Mutex::new(federation) }
    }

    /// What the zones share. May be taken while a zone is locked, never the other way round.
    pub(crate) fn federation(&self) -> MutexGuard<'_, Federation> {
        self.federation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: ZoneName,
    /// Its number in the federation.
    pub(crate) id: u32,
    pub(crate) plan: Plan,
    pub(crate) host: std::sync::Arc<Host>,
    /// What one.system.version says.
    pub(crate) version: String,
    /// Groups that may use its hosts and networks.
    pub(crate) vdc: BTreeSet<u32>,
    pub(crate) delays: Delays,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    /// Something changed that a service may be waiting for.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Disabled by the administrator: writes are refused.
    pub(crate) disabled: bool,
    pub(crate) templates: BTreeMap<u32, VmTemplate>,
    pub(crate) next_template: u32,
    pub(crate) networks: BTreeMap<u32, Network>,
    pub(crate) images: BTreeMap<u32, Image>,
    pub(crate) hosts: BTreeMap<u32, VmHost>,
    pub(crate) quotas: Vec<Quota>,
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
    pub(crate) fn new(
        name: ZoneName,
        id: u32,
        plan: Plan,
        host: std::sync::Arc<Host>,
        world: &ZoneWorld,
    ) -> Self {
        let federation = host.federation();
        let networks: Vec<_> = Network::all(&world.networks(), &federation);
        let images: Vec<_> = world.images().iter().map(|i| Image::new(i, &federation)).collect();
        let templates: Vec<_> =
            world.templates().iter().map(|t| VmTemplate::new(t, &images, &federation)).collect();
        let quota = |quota: &QuotaWorld| Quota {
            of: match &quota.of {
                QuotaOf::User(user) => Of::User(federation.user_id(user).unwrap_or(u32::MAX)),
                QuotaOf::Group(group) => Of::Group(federation.group_id(group).unwrap_or(u32::MAX)),
            },
            vms: quota.vms,
            cpu: quota.cpu,
            memory: quota.memory,
            leases: quota.leases.as_ref().and_then(|(name, count)| {
                let id = networks.iter().position(|n| n.name == *name)?;
                Some((u32::try_from(id).ok()?, *count))
            }),
        };
        let quotas = world.quotas.iter().flatten().map(quota).collect();
        // The default VDC has the first zone's resources for the group users; other zones give ordinary users nothing.
        let own = || if id == 0 { vec!["users".to_owned()] } else { Vec::new() };
        let vdc = world.vdc.clone().unwrap_or_else(own);
        let vdc = vdc.iter().filter_map(|group| federation.group_id(group)).collect();
        drop(federation);
        let hosts: Vec<_> = world.hosts().iter().map(VmHost::new).collect();
        let state = State {
            disabled: world.enabled == Some(false),
            next_template: u32::try_from(templates.len()).unwrap_or(u32::MAX),
            templates: (0..).zip(templates).collect(),
            networks: (0..).zip(networks).collect(),
            images: (0..).zip(images).collect(),
            hosts: (0..).zip(hosts).collect(),
            quotas,
            ..State::default()
        };
        Self {
            name,
            id,
            plan,
            host,
            version: world.version.clone().unwrap_or_else(|| VERSION.to_owned()),
            vdc,
            delays: world.delays(),
            state: Mutex::new(state),
            faults: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether its VDC gives the caller's groups hosts and networks.
    pub(crate) fn grants(&self, caller: &Caller) -> bool {
        caller.is_admin() || caller.groups.iter().any(|group| self.vdc.contains(group))
    }

    /// Waits as long as a call takes here.
    pub(crate) async fn delay(&self, how_long: Duration) {
        // Even the shortest sleep is one of a millisecond.
        if !how_long.is_zero() {
            tokio::time::sleep(how_long).await;
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

    /// How a request or a boot is to go wrong, and after how long. `Err` says what is wrong with the file of faults.
    pub(crate) fn strike(&self, asked: &Asked<'_>) -> Result<Option<(Misbehaviour, Duration)>, String> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.strike(&self.host.dir, &self.name, asked)
    }

    /// The service that a VM says it is in.
    pub(crate) fn service_of(&self, vm: u32) -> Option<String> {
        self.lock().vms.get(&vm)?.user_template.get("SERVICE_ID").map(crate::attributes::text)
    }

    /// The role that a VM says it has.
    pub(crate) fn role_of(&self, vm: u32) -> Option<String> {
        self.lock().vms.get(&vm)?.user_template.get("ROLE_NAME").map(crate::attributes::text)
    }

    /// Whose login that is; `None` when it is nobody's.
    pub(crate) fn knows(&self, login: &str) -> Option<Caller> {
        self.host.federation().login(login)
    }
}

impl VmTemplate {
    fn new(world: &TemplateWorld, images: &[Image], federation: &Federation) -> Self {
        let content = json!({
            "CONTEXT": {"NETWORK": "YES", "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]", "TOKEN": "YES"},
            "CPU": world.cpu.to_string(),
            "MEMORY": world.memory.to_string(),
        });
        let mut content = object(Some(&content));
        let image = world.image.as_ref().and_then(|name| images.iter().position(|i| i.name == *name));
        if let Some(id) = image {
            content.insert("DISK".to_owned(), json!({"IMAGE_ID": id.to_string()}));
        }
        if !world.inputs.is_empty() {
            content.insert("USER_INPUTS".to_owned(), json!(world.inputs));
        }
        Self { name: world.name.clone(), owned: owned(&world.owner, federation), registered: now(), content }
    }
}

impl State {
    /// Takes the wanted lease of a range, or the lowest free one.
    pub(crate) fn lease(&mut self, mut range: impl Iterator<Item = u8>, wanted: Option<u8>) -> Option<u8> {
        let octet = match wanted {
            Some(octet) => range.find(|o| *o == octet)?,
            None => range.find(|o| !self.leases.contains(o))?,
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

/// A VM's OneGate token as the original makes it: its number and its start, as AES-256-CBC with an IV of zeroes under the
/// first 32 characters of its creator's TOKEN_PASSWORD.
pub(crate) fn token(password: &Secret, vm: u32, started: u64) -> Result<String, Refusal> {
    let bad = || Refusal::internal("the user's TOKEN_PASSWORD is too short");
    let key = password.expose().as_bytes().get(..32).ok_or_else(bad)?;
    let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(key, &[0; 16]).map_err(|_| bad())?;
    Ok(STANDARD.encode(cipher.encrypt_padded_vec::<Pkcs7>(format!("{vm}:{started}").as_bytes())))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// An object's member as an object, empty if it is none.
pub(crate) fn object(value: Option<&Value>) -> Attributes {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
