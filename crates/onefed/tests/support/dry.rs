//! Zones whose VMs do nothing but what an operator sees of them: fast enough to be made and removed hundreds of times.
//!
//! The sandbox is the real one, in this process; what its VMs run is a shell that waits. A thread plays the guests: it
//! asks for certificates with a proof, as a boot does, and says READY when it has one and the hub is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_opennebula::xmlrpc::{Client, VmTemplate};
use onefed_opennebula::{Credentials, VmId, ZoneName, oneflow};
use onefed_sandbox::{SandboxConfig, World};
use onefed_trust::{EnrolKey, LeafRequest, SanName};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::flower::script;
use super::{Desk, SANDBOX_DIR};

/// The three zones of the example plan, with VMs that are played.
pub(crate) struct DryZones {
    net: u8,
    runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    sandbox: Option<tokio::task::JoinHandle<()>>,
    /// Whether there is a player.
    playing: Arc<AtomicBool>,
    /// Whether it does nothing for now.
    paused: Arc<AtomicBool>,
    player: Option<JoinHandle<()>>,
    credentials: Credentials,
}

impl DryZones {
    /// Starts them in a desk's directory.
    pub(crate) fn up(desk: &Desk) -> Self {
        let exe = desk.path("dry-vm");
        // Ends with its host, as a VM does.
        script(&exe, "exec cat > /dev/null");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, zones) = oneshot::channel();
        let config = SandboxConfig {
            dir: desk.path(SANDBOX_DIR),
            net: desk.net(),
            zones: ["madrid", "paris", "lisbon"].map(str::to_owned).to_vec(),
            exe,
            flower: onefed_sandbox::FlowerDirs::One(desk.path("no-flower")),
            world: World::default(),
            lease_stdin: false,
        };
        let dir = config.dir.clone();
        let sandbox = runtime.spawn(async move {
            let shutdown = async move { drop(stopped.await) };
            onefed_sandbox::run(config, ready, shutdown).await.expect("the sandbox");
        });
        runtime.block_on(zones).expect("the sandbox has not started");
        let auth = std::fs::read_to_string(dir.join("one_auth")).unwrap();
        let credentials = Credentials::parse(auth.trim()).unwrap();
        let mut zones = Self {
            net: desk.net(),
            runtime,
            stop: Some(stop),
            sandbox: Some(sandbox),
            playing: Arc::default(),
            paused: Arc::default(),
            player: None,
            credentials,
        };
        zones.play(dir);
        zones
    }

    /// A client of a zone's oned.
    pub(crate) fn xmlrpc(&self, zone: &str) -> Client {
        client(self.net, zone, &self.credentials)
    }

    /// A client of a zone's OneFlow.
    pub(crate) fn oneflow(&self, zone: &str) -> oneflow::Client {
        let url = format!("http://127.{}.{}.1:2474", self.net, place(zone)).parse().unwrap();
        oneflow::Client::new(zone.parse().unwrap(), url, self.credentials.clone()).unwrap()
    }

    /// Runs a call to its end.
    pub(crate) fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// The VM templates of a zone.
    pub(crate) fn templates(&self, zone: &str) -> Vec<VmTemplate> {
        self.block_on(self.xmlrpc(zone).templates()).unwrap()
    }

    /// Everything in all zones whose name begins so, as `zone kind name`, sorted; two of a name are there twice.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for zone in ZONES {
            let mut note = |kind: &str, name: String| {
                if name.starts_with(prefix) {
                    found.push(format!("{zone} {kind} {name}"));
                }
            };
            let flow = self.oneflow(zone);
            self.block_on(flow.service_templates())
                .unwrap()
                .into_iter()
                .for_each(|it| note("template", it.name));
            self.block_on(flow.services()).unwrap().into_iter().for_each(|it| note("service", it.name));
            self.templates(zone).into_iter().for_each(|it| note("VM template", it.name));
        }
        found.sort();
        found
    }

    /// The locks that are left in any zone.
    pub(crate) fn locks(&self) -> Vec<String> {
        self.objects("onefed-lock-")
    }

    /// Guests boot no further from now on, or go on.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    fn play(&mut self, dir: PathBuf) {
        let paused = self.paused.clone();
        let (playing, net, credentials) = (self.playing.clone(), self.net, self.credentials.clone());
        playing.store(true, Ordering::Relaxed);
        self.player = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut guests: BTreeMap<(String, u32), Guest> = BTreeMap::new();
            let (mut done, mut hubs) = (BTreeSet::new(), BTreeSet::new());
            while playing.load(Ordering::Relaxed) {
                if paused.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                for (zone, id, context) in booted(&dir) {
                    if done.contains(&(zone.clone(), id)) {
                        continue;
                    }
                    let guest = guests.entry((zone.clone(), id)).or_insert_with(|| Guest::new(&context, id));
                    let client = client(net, &zone, &credentials);
                    if runtime.block_on(guest.act(&client, &mut hubs)).unwrap_or(false) {
                        done.insert((zone, id));
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }
}

impl Drop for DryZones {
    fn drop(&mut self) {
        self.playing.store(false, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            let _ = player.join();
        }
        drop(self.stop.take());
        if let Some(sandbox) = self.sandbox.take() {
            let _ = self.runtime.block_on(sandbox);
        }
    }
}

const ZONES: [&str; 3] = ["madrid", "paris", "lisbon"];

fn place(zone: &str) -> usize {
    ZONES.iter().position(|name| *name == zone).unwrap() + 1
}

fn client(net: u8, zone: &str, credentials: &Credentials) -> Client {
    let url = format!("http://127.{net}.{}.1:2633/RPC2", place(zone)).parse().unwrap();
    Client::new(zone.parse().unwrap(), url, credentials.clone()).unwrap()
}

/// The VMs that have a context disk: zone, number, variables.
fn booted(dir: &Path) -> Vec<(String, u32, BTreeMap<String, String>)> {
    let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for zone in entries(dir.join("zones")) {
        for vm in entries(zone.path().join("vms")) {
            let Ok(text) = std::fs::read_to_string(vm.path().join("context/context.sh")) else { continue };
            let pairs = text.lines().filter_map(|line| {
                let (key, value) = line.split_once('=')?;
                Some((key.to_owned(), value.trim_matches('\'').to_owned()))
            });
            let name = |entry: &std::fs::DirEntry| entry.file_name().to_str().map(str::to_owned);
            if let (Some(zone), Some(id)) = (name(&zone), name(&vm).and_then(|id| id.parse().ok())) {
                found.push((zone, id, pairs.collect()));
            }
        }
    }
    found
}

/// A VM as it is seen from outside.
struct Guest {
    id: u32,
    serves: bool,
    key: Option<EnrolKey>,
    address: SanName,
    asked: bool,
    federation: String,
    /// It is the hub; all others are ready when that is.
    is_hub: bool,
}

impl Guest {
    fn new(context: &BTreeMap<String, String>, id: u32) -> Self {
        let of = |name: &str| context.get(name).map(String::as_str);
        let address = of("ETH0_IP").and_then(|ip| ip.parse().ok()).map(SanName::Ip);
        Self {
            id,
            serves: matches!(of("FL_ROLE"), Some("superlink" | "gateway")),
            key: of("FL_ENROL_KEY").map(EnrolKey::from_text),
            address: address.unwrap_or_else(|| SanName::of_host("nowhere.example")),
            asked: false,
            federation: of("FL_FEDERATION").unwrap_or_default().to_owned(),
            is_hub: of("FL_ROLE") == Some("superlink"),
        }
    }

    /// Does the next thing. `hubs`: federations whose hub is ready. True when it is done with everything.
    async fn act(
        &mut self,
        client: &Client,
        hubs: &mut BTreeSet<String>,
    ) -> Result<bool, onefed_opennebula::Error> {
        let id = VmId::new(client.zone().clone(), self.id);
        if let (true, Some(key)) = (self.serves, &self.key) {
            if !self.asked {
                let request = LeafRequest::generate(std::slice::from_ref(&self.address)).unwrap();
                let csr = request.csr_pem.trim();
                let (proof, text) = (key.proof(self.id, 1, csr), STANDARD.encode(csr));
                let said =
                    [("FL_STATE", "starting"), ("FL_BOOT", "1"), ("FL_CSR", &text), ("FL_CSR_PROOF", &proof)];
                client.vm_update(&id, &said, true).await?;
                self.asked = true;
                return Ok(false);
            }
            if !client.vm(&id).await?.user_template.contains_key("FL_CERT") {
                return Ok(false);
            }
        }
        if !self.is_hub && !hubs.contains(&self.federation) {
            if !self.asked {
                client.vm_update(&id, &[("FL_STATE", "starting")], true).await?;
                self.asked = true;
            }
            return Ok(false);
        }
        client.vm_update(&id, &[("FL_STATE", "ready"), ("READY", "YES")], true).await?;
        if self.is_hub {
            hubs.insert(self.federation.clone());
        }
        Ok(true)
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The name of a zone, for ids.
pub(crate) fn zone_name(zone: &str) -> ZoneName {
    zone.parse().unwrap()
}
