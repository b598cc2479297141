//! Starting and stopping a whole sandbox.

use crate::addresses::{MAX_ZONES, ONEFLOW, ONEGATE, Plan, XMLRPC};
use crate::federation::{Federation, ZoneEntry};
use crate::files::{failed, private_dir, private_file, random};
use crate::flower::FlowerDirs;
use crate::oneflow::{self, Service, undeploy_everything};
use crate::supervisor::Command;
use crate::sweep::kill_marked;
use crate::zone::{Host, Zone};
use crate::{SandboxError, World, faults, onegate, xmlrpc};
use axum::Router;
use onefed_opennebula::{Credentials, VmState, ZoneName};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A VM has 20 s to shut down and is killed then, and there are two passes: what takes longer than this is broken.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Its directory: `one_auth`, `lock`, and `zones/<zone>/vms/<id>` for each VM. Made when it is not there, with
    /// mode 0700. `zones` is emptied at the start and at the end.
    pub dir: PathBuf,
    /// Second octet of all its addresses, 1 to 255. Zone k (from 0) is 127.net.(k+1).0/24, the inside of its VMs
    /// 127.net.(k+101).0/24.
    pub net: u8,
    /// Names of its zones, 1 to 99.
    pub zones: Vec<String>,
    /// What VMs run: the onefed binary.
    pub exe: PathBuf,
    /// Where its VMs find a Python environment with Flower.
    pub flower: FlowerDirs,
    /// How the zones differ from the default.
    pub world: World,
    /// Stop when standard input ends, so that a sandbox never outlives who started it.
    pub lease_stdin: bool,
}

/// Where a zone can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneEndpoints {
    /// Its name.
    pub zone: ZoneName,
    /// `http://127.x.y.1:2633/RPC2`
    pub xmlrpc: String,
    /// `http://127.x.y.1:2474`
    pub oneflow: String,
    /// `http://127.x.y.1:5030`, for VMs.
    pub onegate: String,
    /// `user:password` is in this file, the same for all zones.
    pub auth_file: PathBuf,
}

/// Runs a sandbox until `shutdown` (or, with `lease_stdin`, the end of standard input); `ready` is told the zones once all of
/// them answer. Before it starts it kills what a sandbox that was killed has left in the same directory. On the way out
/// services are undeployed, training sites before coordinators, and the VMs' directories removed.
///
/// # Errors
/// [`SandboxError`]; nothing is left running then.
pub async fn run(
    config: SandboxConfig,
    ready: oneshot::Sender<Vec<ZoneEndpoints>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let names = check(&config)?;
    private_dir(&config.dir)?;
    let dir = config.dir.canonicalize().map_err(failed("cannot read", &config.dir))?;
    // Held until the end. Two sandboxes in one directory would take each other's VMs for leftovers.
    let _lock = lock(&dir)?;
    sweep(&dir).await?;
    remove_vms(&dir)?;
    faults::lift(&dir)?;
    let auth_file = dir.join("one_auth");
    let login = format!("oneadmin:{}", random(18)?);
    let credentials = Credentials::parse(&login).map_err(|e| SandboxError::Config(e.to_string()))?;
    private_file(&auth_file, &format!("{login}\n"))?;

    let absolute = |path: &Path| std::path::absolute(path).map_err(failed("cannot find", path));
    let exe = absolute(&config.exe)?;
    let federation = Federation::new(&credentials, &config.world.users)?;
    let host = Arc::new(Host::new(dir.clone(), exe, config.flower.clone(), federation));
    let mut zones = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let plan = Plan::new(config.net, index);
        let world = config.world.of(name.as_str());
        // As in a real federation: the master is 0, the others count from 100.
        let id = if index == 0 { 0 } else { u32::try_from(99 + index).unwrap_or(u32::MAX) };
        let oneflow = world.oneflow_endpoint.clone().unwrap_or_else(|| plan.url(ONEFLOW, ""));
        host.federation().zones.push(ZoneEntry {
            id,
            name: name.to_string(),
            endpoint: world.endpoint.clone().unwrap_or_else(|| plan.url(XMLRPC, "/RPC2")),
            oneflow: Some(oneflow).filter(|url| !url.is_empty()),
            enabled: world.enabled != Some(false),
        });
        zones.push(Arc::new(Zone::new(name, id, plan, host.clone(), &world)));
    }

    // Dropping the set ends every server and loop, on an error as on the orderly way out.
    let mut tasks = JoinSet::new();
    for zone in &zones {
        serve(&mut tasks, zone, XMLRPC, "XML-RPC", xmlrpc::router(zone.clone())).await?;
        serve(&mut tasks, zone, ONEFLOW, "OneFlow", oneflow::router(zone.clone())).await?;
        serve(&mut tasks, zone, ONEGATE, "OneGate", onegate::router(zone.clone())).await?;
        tasks.spawn(oneflow::advance_forever(zone.clone()));
    }
    let endpoints = |zone: &Arc<Zone>| ZoneEndpoints {
        zone: zone.name.clone(),
        xmlrpc: zone.plan.url(XMLRPC, "/RPC2"),
        oneflow: zone.plan.url(ONEFLOW, ""),
        onegate: zone.plan.url(ONEGATE, ""),
        auth_file: auth_file.clone(),
    };
    // Who does not listen does not want to know.
    let _ = ready.send(zones.iter().map(endpoints).collect());

    tokio::select! {
        () = shutdown => tracing::info!("the sandbox was told to stop"),
        () = stdin_end(config.lease_stdin) => tracing::info!("standard input ended: the sandbox stops"),
    }
    if tokio::time::timeout(SHUTDOWN, stop(&zones)).await.is_err() {
        tracing::warn!("services were not undeployed within {SHUTDOWN:?}: their VMs are killed");
    }
    drop(tasks);
    sweep(&dir).await?;
    faults::lift(&dir)?;
    remove_vms(&dir)
}

fn check(config: &SandboxConfig) -> Result<Vec<ZoneName>, SandboxError> {
    let bad = |why: String| Err(SandboxError::Config(why));
    if config.net == 0 {
        return bad("--net must be 1 to 255: 127.0.x.x is the machine's own".to_owned());
    }
    if config.zones.is_empty() || config.zones.len() > MAX_ZONES {
        return bad(format!("{} zones: there must be 1 to {MAX_ZONES}", config.zones.len()));
    }
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for zone in &config.zones {
        match zone.parse::<ZoneName>() {
            Ok(name) if seen.insert(name.clone()) => names.push(name),
            Ok(name) => return bad(format!("two zones are named {name}")),
            Err(error) => return bad(error.to_string()),
        }
    }
    let strangers = config.world.strangers(&config.zones);
    if !strangers.is_empty() {
        return bad(strangers.join("; "));
    }
    match std::fs::metadata(&config.exe) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Ok(names),
        _ => Err(SandboxError::Program(config.exe.clone())),
    }
}

fn lock(dir: &Path) -> Result<std::fs::File, SandboxError> {
    let path = dir.join("lock");
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed("cannot open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SandboxError::Locked(dir.to_owned())),
        Err(error) => Err(failed("cannot lock", &path)(error.into())),
    }
}

async fn sweep(dir: &Path) -> Result<(), SandboxError> {
    let target = dir.to_owned();
    let swept = tokio::task::spawn_blocking(move || kill_marked(&target, None)).await;
    let killed = swept.map_err(|e| SandboxError::Config(format!("the sweep failed: {e}")))??;
    if killed > 0 {
        tracing::warn!(killed, dir = %dir.display(), "killed leftover processes of VMs");
    }
    Ok(())
}

fn remove_vms(dir: &Path) -> Result<(), SandboxError> {
    let zones = dir.join("zones");
    match std::fs::remove_dir_all(&zones) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("cannot remove", &zones)(e)),
        _ => Ok(()),
    }
}

async fn serve(
    tasks: &mut JoinSet<()>,
    zone: &Zone,
    port: u16,
    service: &'static str,
    router: Router,
) -> Result<(), SandboxError> {
    let address = zone.plan.api();
    let listener = TcpListener::bind((address, port)).await.map_err(|source| SandboxError::Address {
        zone: zone.name.to_string(),
        service,
        address,
        port,
        source,
    })?;
    tasks.spawn(async move {
        let service = router.into_make_service_with_connect_info::<faults::Cut>();
        if let Err(error) = axum::serve(faults::CutListener(listener), service).await {
            tracing::error!(%address, port, %error, "a server ended");
        }
    });
    Ok(())
}

/// Ends when standard input does; never when it is not the lease.
async fn stdin_end(lease: bool) {
    if !lease {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel();
    // A thread of its own: tokio's would keep the runtime from ending as long as the read lasts.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

/// Training sites first, so that they can still say goodbye to their coordinator.
async fn stop(zones: &[Arc<Zone>]) {
    let site = |s: &Service| s.has("supernode") && !s.has("superlink");
    let passes: [fn(&Service) -> bool; 2] = [site, |_| true];
    for pass in passes {
        let mut ending = JoinSet::new();
        for zone in zones {
            let zone = zone.clone();
            ending.spawn(async move { undeploy_everything(&zone, pass).await });
        }
        ending.join_all().await;
    }
    // VMs that no service knew (any more).
    loop {
        let mut alive = 0;
        for zone in zones {
            for vm in zone.lock().vms.values().filter(|vm| vm.state != VmState::Done) {
                alive += 1;
                vm.tell(Command::Terminate { hard: true });
            }
        }
        if alive == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
