//! `onefed sandbox`: OpenNebula-compatible zones on this machine.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use onefed_flower::Release;
use onefed_sandbox::{FlowerDirs, SandboxConfig, World};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::cli::{SandboxArgs, SandboxVerb};
use crate::failure::{Done, Exit, Failure};
use crate::flower_env;
use crate::output::Output;

const START_PATIENCE: Duration = Duration::from_secs(30);
/// The sandbox itself takes at most 60 s to undeploy everything.
const STOP_PATIENCE: Duration = Duration::from_secs(75);

/// What a running sandbox says about itself, in `sandbox.json` of its directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    schema_version: u32,
    pid: i32,
    pub(crate) zones: Vec<RunningZone>,
}

/// One of its zones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunningZone {
    pub(crate) zone: String,
    pub(crate) endpoint: String,
    pub(crate) oneflow: String,
    pub(crate) onegate: String,
}

/// Runs a sandbox verb.
pub(crate) fn run(verb: SandboxVerb, output: Output) -> Done {
    match verb {
        SandboxVerb::Up(args) => up(&args, output),
        SandboxVerb::Down { dir } => down(&dir, output),
        SandboxVerb::Serve { args, lease_stdin } => serve(&args, lease_stdin),
    }
}

fn up(args: &SandboxArgs, output: Output) -> Done {
    if let Some(running) = running(&args.dir) {
        let text = format!("a sandbox is running in {} (process {})", args.dir.display(), running.pid);
        return Err(
            Failure::new(Exit::BadInput, "sandbox-running", text).hint("`onefed sandbox down` stops it")
        );
    }
    // Before anything is made.
    world(args)?;
    prepare(args, output)?;
    let mut child = spawn(args, false)?;
    let running = wait_until_up(args, &mut child)?;
    for zone in &running.zones {
        output.text(format!("  {:<10} {}   {}", zone.zone, zone.endpoint, zone.oneflow));
    }
    output.json(&running);
    output.say(format!("credentials are in {}", args.dir.join("one_auth").display()));
    Ok(Exit::Ok)
}

/// Makes what stands for the VM image, where it is missing.
pub(crate) fn prepare(args: &SandboxArgs, output: Output) -> Result<(), Failure> {
    let release = release(args)?;
    match &args.flower_dir {
        None => flower_env::ensure(release, &flower_env::default_dir(release), output).map(drop),
        Some(dir) => onefed_flower::Environment::find(dir, release.version())
            .map(drop)
            .map_err(|why| Failure::new(Exit::Configuration, "flower-missing", &why).hint(why.hint())),
    }
}

/// The world that the file describes; the default without one.
fn world(args: &SandboxArgs) -> Result<World, Failure> {
    let Some(file) = &args.world else { return Ok(World::default()) };
    World::load(file).map_err(|problems| {
        let text = format!("{} cannot be the sandbox's world:\n  {}", file.display(), problems.join("\n  "));
        Failure::new(Exit::BadInput, "sandbox-world", text)
    })
}

fn release(args: &SandboxArgs) -> Result<Release, Failure> {
    Release::parse(&args.flower)
        .map_err(|why| Failure::new(Exit::BadInput, "flower-version", &why).hint(why.hint()))
}

/// Starts the sandbox's own process. With `lease`, it ends when the returned child's standard input is closed.
pub(crate) fn spawn(args: &SandboxArgs, lease: bool) -> Result<Child, Failure> {
    onefed_appliance::files::private_dir(&args.dir).map_err(|why| Failure::file(&args.dir, why))?;
    // An old note must not be taken for the new sandbox's.
    let _ = std::fs::remove_file(note(&args.dir));
    let log = args.dir.join("sandbox.log");
    let file = std::fs::File::create(&log).map_err(|why| Failure::file(&log, why))?;
    let errors = file.try_clone().map_err(|why| Failure::file(&log, why))?;
    let exe = std::env::current_exe().map_err(|why| Failure::new(Exit::Failed, "exe", why))?;
    let mut command = Command::new(exe);
    command.args(["sandbox", "serve", "--dir"]).arg(&args.dir).args(["--net", &args.net.to_string()]);
    command.args(["--zones", &args.zones.join(","), "--flower", &args.flower]);
    if let Some(dir) = &args.flower_dir {
        command.arg("--flower-dir").arg(dir);
    }
    if let Some(world) = &args.world {
        command.arg("--world").arg(world);
    }
    if lease {
        command.arg("--lease-stdin").stdin(Stdio::piped());
    } else {
        command.stdin(Stdio::null());
    }
    // Its own group: an interrupt at the terminal is for the verb, which then stops the sandbox in order.
    command.stdout(file).stderr(errors).process_group(0);
    command.spawn().map_err(|why| Failure::new(Exit::Failed, "sandbox", why))
}

/// Waits until the zones answer.
pub(crate) fn wait_until_up(args: &SandboxArgs, child: &mut Child) -> Result<Running, Failure> {
    let started = Instant::now();
    let log = args.dir.join("sandbox.log");
    while started.elapsed() < START_PATIENCE {
        if let Some(running) = running(&args.dir) {
            return Ok(running);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            // Its last line is an error as every verb gives it; the code and the mark are ours to write.
            let why = said.lines().rev().find(|line| line.starts_with("error["));
            let why = why.and_then(|line| line.split_once("]: ")).map_or(said.trim(), |(_, why)| why);
            let text = format!("the sandbox did not start ({status}): {why}");
            return Err(Failure::new(Exit::Configuration, "sandbox", text));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let text = format!("the sandbox did not come up within {} s", START_PATIENCE.as_secs());
    Err(Failure::new(Exit::Failed, "sandbox", text).hint(format!("see {}", log.display())))
}

/// Tells a sandbox that is our own child to stop, and waits until it has.
pub(crate) fn stop(child: &mut Child) {
    drop(child.stdin.take());
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let started = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if started.elapsed() > STOP_PATIENCE {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The note of a sandbox that is alive.
pub(crate) fn running(dir: &Path) -> Option<Running> {
    let running: Running = serde_json::from_str(&std::fs::read_to_string(note(dir)).ok()?).ok()?;
    // A living sandbox holds this lock; its number alone may be somebody else's by now.
    let lock = std::fs::File::open(dir.join("lock")).ok()?;
    lock.try_lock().is_err().then_some(running)
}

fn note(dir: &Path) -> PathBuf {
    dir.join("sandbox.json")
}

/// Stops a sandbox in order, removes what a crash left, and removes its directory.
pub(crate) fn down(dir: &Path, output: Output) -> Done {
    if !dir.exists() {
        output.say(format!("there is no sandbox in {}", dir.display()));
        return Ok(Exit::Ok);
    }
    if !["sandbox.log", "sandbox.json", "one_auth"].iter().any(|name| dir.join(name).exists()) {
        let text = format!("{} is not a sandbox's directory", dir.display());
        return Err(Failure::new(Exit::BadInput, "not-a-sandbox", text).hint("name the sandbox's with --dir"));
    }
    if let Some(pid) = running(dir).and_then(|running| Pid::from_raw(running.pid)) {
        let _ = kill_process(pid, Signal::TERM);
        let started = Instant::now();
        while running(dir).is_some() && started.elapsed() < STOP_PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        if running(dir).is_some() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let fail = |why: onefed_sandbox::SandboxError| Failure::new(Exit::Failed, "sandbox", why);
    let left = onefed_sandbox::sweep(dir).map_err(fail)?;
    if left > 0 {
        output.say(format!("  ended {left} processes that an earlier sandbox had left"));
    }
    std::fs::remove_dir_all(dir).map_err(|why| Failure::file(dir, why))?;
    output.say(format!("the sandbox in {} is gone", dir.display()));
    Ok(Exit::Ok)
}

/// The sandbox's own process.
fn serve(args: &SandboxArgs, lease_stdin: bool) -> Done {
    super::vm::log_to_stderr();
    let exe = std::env::current_exe().map_err(|why| Failure::new(Exit::Failed, "exe", why))?;
    let config = SandboxConfig {
        dir: args.dir.clone(),
        net: args.net,
        zones: args.zones.clone(),
        exe,
        flower: match &args.flower_dir {
            Some(dir) => FlowerDirs::One(dir.clone()),
            None => flower_env::each(release(args)?),
        },
        world: world(args)?,
        lease_stdin,
    };
    let dir = args.dir.clone();
    super::block_on(async move {
        let (ready, told) = tokio::sync::oneshot::channel::<Vec<onefed_sandbox::ZoneEndpoints>>();
        let announce = tokio::spawn(async move {
            let Ok(zones) = told.await else { return };
            let zones = zones.into_iter().map(|zone| RunningZone {
                zone: zone.zone.to_string(),
                endpoint: zone.xmlrpc,
                oneflow: zone.oneflow,
                onegate: zone.onegate,
            });
            let running =
                Running { schema_version: 1, pid: std::process::id().cast_signed(), zones: zones.collect() };
            let json = serde_json::to_vec_pretty(&running).unwrap_or_default();
            let readers = onefed_appliance::files::Readers::Owner;
            if let Err(why) = onefed_appliance::files::write(&note(&dir), &json, readers) {
                tracing::error!(%why, "cannot say that the sandbox is up");
            }
        });
        let done = onefed_sandbox::run(config, ready, stop_signal()).await;
        announce.abort();
        done.map(|()| Exit::Ok).map_err(|why| Failure::new(Exit::Configuration, "sandbox", why))
    })
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
