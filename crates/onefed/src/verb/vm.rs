//! What runs inside a VM: `boot`, and the processes that it starts.

use std::path::Path;

use onefed_appliance::{Machine, Outcome, StepError};
use serde_json::json;

use crate::cli::{BootArgs, HealthArgs, ManagerChoice};
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;

/// Where systemd takes its units from.
const UNITS: &str = "/etc/systemd/system";
/// There while systemd runs the machine (`sd_booted`).
const SYSTEMD_RUNS: &str = "/run/systemd/system";
/// The limits of the kernel of a VM that is ours.
const TCP_LIMITS: &str = "/proc/sys/net/ipv4";

/// Boots this VM and runs it until it is told to stop.
pub(crate) fn boot(args: &BootArgs) -> Done {
    log_to_stderr();
    let exe = std::env::current_exe().map_err(|why| Failure::new(Exit::Failed, "exe", why))?;
    // Its processes may run in another directory: units do.
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|why| Failure::new(Exit::BadInput, "file", format!("{}: {why}", path.display())))
    };
    let machine = Machine {
        context: absolute(&args.context)?,
        disk: absolute(&args.disk)?,
        flower: absolute(&args.flower_dir)?,
        exe,
        units: units(args).then(|| UNITS.into()),
        sandbox_loopback: args.loopback,
    };
    if machine.units.is_some() && Path::new(SYSTEMD_RUNS).exists() {
        onefed_appliance::raise_tcp_buffers(Path::new(TCP_LIMITS));
    }
    // One thread: a child's "die with my parent" is bound to the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failure::new(Exit::Failed, "runtime", why))?;
    match runtime.block_on(onefed_appliance::boot(&machine)) {
        Outcome::Stopped => Ok(Exit::Ok),
        Outcome::Failed(why) => Err(failure(why)),
    }
}

/// Whether systemd is to keep the processes. A sandbox VM is not the machine that systemd runs.
fn units(args: &BootArgs) -> bool {
    match args.manager {
        ManagerChoice::Auto => args.loopback.is_none() && Path::new(SYSTEMD_RUNS).exists(),
        ManagerChoice::Systemd => true,
        ManagerChoice::Foreground => false,
    }
}

/// Says in one line whether this VM does its work.
pub(crate) async fn health(args: &HealthArgs, output: Output) -> Done {
    let words = onefed_appliance::health(&args.disk, args.role).await.map_err(failure)?;
    output.text(&words);
    output.json(&json!({ "schema_version": 1, "healthy": true, "why": words }));
    Ok(Exit::Ok)
}

fn failure(why: StepError) -> Failure {
    let exit = match why.exit {
        69 => Exit::Unreachable,
        78 => Exit::Configuration,
        _ => Exit::Failed,
    };
    Failure::new(exit, why.code, why.text).hint(why.hint)
}

/// Runs the hub.
pub(crate) fn hub(config: &Path) -> Done {
    log_to_stderr();
    let done = super::block_on(async { onefed_appliance::run_hub(config).await.map_err(refused) });
    done.map(|()| Exit::Ok)
}

/// Runs a spoke.
pub(crate) fn spoke(config: &Path) -> Done {
    log_to_stderr();
    let done = super::block_on(async { onefed_appliance::run_spoke(config).await.map_err(refused) });
    done.map(|()| Exit::Ok)
}

fn refused(why: String) -> Failure {
    Failure::new(Exit::Configuration, "link", why)
}

/// Becomes another program. Returns only when that fails.
pub(crate) fn exec_child(parent: i32, command: &[String]) -> Done {
    let Some((program, args)) = command.split_first() else {
        return Err(Failure::new(Exit::Failed, "exec", "no program named"));
    };
    let why = onefed_appliance::exec_child(parent, Path::new(program), args);
    Err(Failure::new(Exit::Failed, "exec", format!("{program}: {why}")))
}

/// Log lines to standard error; `ONEFED_LOG` chooses what, `info` is the default.
pub(crate) fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("ONEFED_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(false);
    // A second call would fail; there is one per process.
    let _ = subscriber.with_writer(std::io::stderr).try_init();
}
