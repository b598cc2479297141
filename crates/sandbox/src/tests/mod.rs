//! Contract tests: a whole sandbox in this process, driven by the project's own clients. Its VMs run a small shell script
//! that only waits; what a VM would publish, the test publishes with that VM's token.

mod faults;
mod flow;
mod gate;
mod life;
mod power;
mod processes;
mod refusals;
mod rights;
mod templates;
mod worlds;

use crate::{SandboxConfig, SandboxError, ZoneEndpoints, run};
use onefed_opennebula::{
    Credentials, Error, Secret, ServiceId, ServiceState, VmId, ZoneName,
    oneflow::{self, Service},
    onegate,
    xmlrpc::{
        self,
        wire::{self, Outcome, Param, Reply},
    },
};
use serde_json::{Value, json};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{LazyLock, atomic::AtomicU8, atomic::Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Waits to be told to stop, with a child that does not listen and one that leaves the process group. Does not stop while
/// there is disk/stubborn. Notes the context's A at every SIGHUP.
const GUEST: &str = r#"#!/usr/bin/env -S --default-signal=HUP sh
trap '[ -e "$HOME/disk/stubborn" ] || { echo down; exit 0; }' TERM
trap 'grep ^A= "$HOME/context/context.sh" >> "$HOME/told.txt"' HUP
echo "guest: $*"
env > "$HOME/env.new"
mv "$HOME/env.new" "$HOME/env.txt"
setsid sleep 120 &
( trap '' TERM; sleep 120 ) &
until wait; do :; done
"#;

pub(super) struct Bed {
    pub(super) dir: tempfile::TempDir,
    pub(super) net: u8,
    pub(super) zones: Vec<ZoneEndpoints>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), SandboxError>>,
}

pub(super) fn config(dir: &std::path::Path, net: u8, zones: &[&str]) -> SandboxConfig {
    let exe = dir.join("guest.sh");
    if !exe.exists() {
        std::fs::write(&exe, GUEST).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    SandboxConfig {
        dir: dir.join("sandbox"),
        net,
        zones: zones.iter().map(|z| (*z).to_owned()).collect(),
        exe,
        flower: crate::FlowerDirs::One(PathBuf::from("/nowhere/flower")),
        world: crate::World::default(),
        lease_stdin: false,
    }
}

/// Nets 200 to 239, from a random start, each once in this process.
pub(super) fn next_net() -> u8 {
    static NEXT: LazyLock<AtomicU8> =
        LazyLock::new(|| AtomicU8::new(RandomState::new().build_hasher().finish() as u8 % 40));
    200 + NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some((n + 1) % 40)).unwrap()
}

pub(super) async fn up(zones: &[&str]) -> Bed {
    up_in(zones, "").await
}

/// Zones in a world of their own.
pub(super) async fn up_in(zones: &[&str], world: &str) -> Bed {
    let world = crate::World::parse(world).unwrap();
    let dir = tempfile::tempdir().unwrap();
    loop {
        let net = next_net();
        let (ready, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = SandboxConfig { world: world.clone(), ..config(dir.path(), net, zones) };
        let task = tokio::spawn(run(config, ready, async {
            let _ = stopped.await;
        }));
        match told.await {
            Ok(zones) => {
                let bed = Bed { dir, net, zones, stop: Some(stop), task };
                // The project's first client chooses this process's TLS, which every other client needs, too.
                bed.rpc(0);
                return bed;
            }
            Err(_) => match task.await.unwrap() {
                Err(SandboxError::Address { .. }) => {}
                other => panic!("{other:?}"),
            },
        }
    }
}

impl Drop for Bed {
    /// A test that failed leaves no processes either.
    fn drop(&mut self) {
        let _ = crate::sweep(&self.dir.path().join("sandbox"));
    }
}

impl Bed {
    pub(super) async fn down(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.task).await.unwrap().unwrap();
        assert!(!self.dir.path().join("sandbox/zones").exists());
    }

    pub(super) fn login(&self) -> Credentials {
        Credentials::parse(&std::fs::read_to_string(&self.zones[0].auth_file).unwrap()).unwrap()
    }

    pub(super) fn rpc(&self, zone: usize) -> xmlrpc::Client {
        let at = &self.zones[zone];
        xmlrpc::Client::new(at.zone.clone(), at.xmlrpc.parse().unwrap(), self.login()).unwrap()
    }

    pub(super) fn flow(&self, zone: usize) -> oneflow::Client {
        let at = &self.zones[zone];
        oneflow::Client::new(at.zone.clone(), at.oneflow.parse().unwrap(), self.login()).unwrap()
    }

    /// A call as it is on the wire; `Err` is oned's code and text.
    pub(super) fn session(&self) -> String {
        let login = self.login();
        format!("{}:{}", login.user, login.password.expose())
    }

    pub(super) async fn call(
        &self,
        zone: usize,
        method: &str,
        params: &[Param],
    ) -> Result<String, (i32, String)> {
        self.call_as(zone, &self.session(), method, params).await
    }

    pub(super) async fn call_as(
        &self,
        zone: usize,
        session: &str,
        method: &str,
        params: &[Param],
    ) -> Result<String, (i32, String)> {
        calling(self.zones[zone].xmlrpc.clone(), session.to_owned(), method.to_owned(), params.to_vec()).await
    }

    pub(super) fn vm_dir(&self, id: &VmId) -> PathBuf {
        self.dir.path().join(format!("sandbox/zones/{}/vms/{}", id.zone, id.id))
    }

    /// What the VM itself would use.
    pub(super) async fn gate(&self, id: &VmId) -> onegate::Client {
        let token = self.vm_dir(id).join("context/token.txt");
        let token = until("token.txt", async || std::fs::read_to_string(&token).ok()).await;
        assert_eq!(token.len(), 25);
        let at = self.zones.iter().find(|z| z.zone == id.zone).unwrap();
        onegate::Client::new(at.onegate.parse().unwrap(), Secret::new(token), id.id).unwrap()
    }

    /// Stores a template and instantiates it.
    pub(super) async fn start(&self, zone: usize, template: &Value, over: &Value) -> ServiceId {
        let flow = self.flow(zone);
        let template = flow.create_service_template(template).await.unwrap();
        flow.instantiate(&template.id, over).await.unwrap()
    }

    pub(super) async fn reach(&self, id: &ServiceId, wanted: ServiceState) -> Service {
        let flow = self.flow(self.zones.iter().position(|z| z.zone == id.zone).unwrap());
        until(&wanted.to_string(), async || {
            let service = flow.service(id).await.unwrap();
            (service.state == wanted).then_some(service)
        })
        .await
    }

    pub(super) async fn gone(&self, id: &ServiceId) {
        let flow = self.flow(self.zones.iter().position(|z| z.zone == id.zone).unwrap());
        until("404", async || flow.service(id).await.is_err_and(|e| e.is_not_found()).then_some(())).await;
    }
}

/// Asks until there is an answer, for ten seconds.
pub(super) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn calling(
    url: String,
    session: String,
    method: String,
    params: Vec<Param>,
) -> Result<String, (i32, String)> {
    let session = Param::Text(session);
    let body = wire::request(&method, std::iter::once(&session).chain(&params));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.post(url).body(body).send().await.unwrap();
    match wire::parse(&answer.bytes().await.unwrap()).unwrap() {
        Reply::Answer(Outcome::Success(wire::Value::Text(text))) => Ok(text),
        Reply::Answer(Outcome::Success(wire::Value::Int(number))) => Ok(number.to_string()),
        Reply::Answer(Outcome::Failure { code, message }) => Err((code, message)),
        other => panic!("{other:?}"),
    }
}

pub(super) fn text(text: &str) -> Param {
    Param::Text(text.to_owned())
}

pub(super) fn role(name: &str, cardinality: u32) -> Value {
    json!({"name": name, "type": "vm", "template_id": 0, "cardinality": cardinality, "cooldown": 0,
        "template_contents": {"NIC": [{"NETWORK_ID": "0"}]}})
}

pub(super) fn gated(roles: Vec<Value>) -> Value {
    json!({"name": "t", "deployment": "straight", "ready_status_gate": true, "roles": roles})
}

pub(super) fn nodes(service: &Service, role: &str) -> Vec<VmId> {
    let role = service.roles.iter().find(|r| r.name == role).unwrap();
    role.nodes.iter().flatten().cloned().collect()
}

pub(super) fn zone(name: &str) -> ZoneName {
    name.parse().unwrap()
}

pub(super) fn wrong_state(result: Result<impl std::fmt::Debug, Error>, text: &str) {
    match result {
        Err(Error::Conflict { message, .. }) if message.contains(text) => {}
        other => panic!("wanted {text}, got {other:?}"),
    }
}

pub(super) fn refused(result: Result<impl std::fmt::Debug, Error>, code: i32, text: &str) {
    match result {
        Err(Error::Refused { code: got, message, .. }) if got == code && message.contains(text) => {}
        Err(Error::Schema { message, .. }) if code == 400 && message.contains(text) => {}
        other => panic!("wanted {code} {text}, got {other:?}"),
    }
}
