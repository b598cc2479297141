//! What each role starts, and in which order; here is what they share.

mod gateway;
mod superlink;
mod supernode;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use onefed_context::{Endpoint, Host, KeepAlive, VmContext};
use onefed_flower::command::{self, CommandLine};
use onefed_flower::{Environment, Release};

use crate::files::{Readers, dir_within, keep};
use crate::foreground::free;
use crate::service::{Service, User};
use crate::steps::Steps;
use crate::tls::Secured;
use crate::{Machine, SpokeFile, StepError, flower};

pub(crate) use gateway::gateway;
pub(crate) use superlink::superlink;
pub(crate) use supernode::supernode;

/// The port of a spoke, on the site's LAN or on a SuperNode VM's own loopback.
const SPOKE_PORT: u16 = 9092;

/// The release of the context; a step of its own only where it fails.
async fn release(steps: &Steps<'_>) -> Result<Release, StepError> {
    match Release::parse(steps.context.flower.as_str()) {
        Ok(release) => Ok(release),
        Err(why) => {
            let failed = StepError::context(format!("FLOWER_VERSION: {why}"), why.hint());
            steps.run("release", async || Err(failed)).await
        }
    }
}

fn host<'a>(
    machine: &Machine,
    context: &'a VmContext,
    release: Release,
    environment: &'a Environment,
) -> Result<command::Host<'a>, StepError> {
    let home = flower::own_home(machine)?;
    Ok(command::Host {
        release,
        environment,
        loopback: machine.loopback(),
        home,
        log_level: context.log_level.as_str(),
    })
}

fn listen(machine: &Machine, endpoint: &Endpoint, own: IpAddr, name: &str) -> Result<SocketAddr, StepError> {
    machine.listen(endpoint, own).ok_or_else(|| {
        let text = format!("{name}: {endpoint} is a name, not an address to listen on");
        StepError::context(text, "use 0.0.0.0, [::] or an address of this VM")
    })
}

/// What peers dial: the listener, or the VM's own address where it listens on all.
fn published(listener: SocketAddr, own: IpAddr) -> SocketAddr {
    if listener.ip().is_unspecified() { SocketAddr::new(own, listener.port()) } else { listener }
}

/// Checks before anything else is done that nobody else listens where this VM is going to. A service of an earlier
/// boot that still runs may.
async fn addresses(steps: &Steps<'_>, sockets: &[(SocketAddr, &str, &'static str)]) -> Result<(), StepError> {
    let look = async || {
        for (socket, what, service) in sockets {
            if !steps.manager.runs(service).await {
                free(*socket, what)?;
            }
        }
        Ok(((), format!("{} are free", sockets.len())))
    };
    steps.run("addresses", look).await
}

fn spoke_file(
    steps: &Steps<'_>,
    release: Release,
    site: &str,
    hub: &Endpoint,
    listen: SocketAddr,
    tls: &Secured,
) -> SpokeFile {
    let (machine, context) = (steps.machine, steps.context);
    SpokeFile {
        federation: context.federation.to_string(),
        site: site.to_owned(),
        spoke: context.name_in_zone(),
        flower: release.version().to_string(),
        listen,
        tls: tls.files.clone(),
        hub_host: host_text(hub),
        hub_port: hub.port,
        ca: tls.ca.clone(),
        dial_from: machine.dial_from(context.addresses[0]),
        keepalive_time_ms: millis(context.keepalive).0,
        keepalive_timeout_ms: millis(context.keepalive).1,
        state: machine.link_dir("spoke"),
        disk_bytes: context.link.disk_bytes,
        hold_seconds: context.link.hold.as_secs(),
    }
}

/// One of onefed's own processes, with the file that tells it what it needs, and what its listener serves with. `more`
/// is another file that it reads.
fn own_service(
    steps: &Steps<'_>,
    name: &'static str,
    content: &impl serde::Serialize,
    listens: Vec<SocketAddr>,
    tls: &Secured,
    more: Option<&PathBuf>,
) -> Result<Service, StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let state = machine.link_dir(name);
    dir_within(&machine.disk, Path::new("link").join(name).as_path())
        .map_err(|why| StepError::file(&state, &why))?;
    let file = machine.disk.join(format!("{name}.json"));
    let json = serde_json::to_vec_pretty(content).map_err(|why| StepError::file(&file, &why.into()))?;
    keep(&file, &json, Readers::Owner).map_err(|why| StepError::file(&file, &why))?;
    let command = CommandLine {
        program: machine.exe.clone(),
        args: vec![name.to_owned(), "--config".to_owned(), file.display().to_string()],
        env: vec![
            ("HOME".to_owned(), machine.disk.display().to_string()),
            (
                "ONEFED_LOG".to_owned(),
                context.log_level.as_str().to_ascii_lowercase().replace("warning", "warn"),
            ),
        ],
    };
    let mut inputs = tls.inputs();
    inputs.extend(more.cloned());
    inputs.push(file);
    Ok(Service {
        name,
        command,
        inputs,
        user: User::Onefed,
        writes: vec![state],
        reads: tls.keys(),
        listens,
        gpu: false,
        container: None,
    })
}

/// One of Flower's processes.
fn flower_service(
    machine: &Machine,
    name: &'static str,
    command: CommandLine,
    listens: Vec<SocketAddr>,
    inputs: Vec<PathBuf>,
    reads: Vec<PathBuf>,
) -> Service {
    let writes = vec![machine.flower_home()];
    Service { name, command, inputs, user: User::Flower, writes, reads, listens, gpu: false, container: None }
}

fn host_text(endpoint: &Endpoint) -> String {
    match &endpoint.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.clone(),
    }
}

fn millis(pair: KeepAlive) -> (u64, u64) {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    (millis(pair.time), millis(pair.timeout))
}
