//! What each role starts, and in which order.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use onefed_context::{
    CaBundle, Endpoint, GatewayContext, GatewayPlacement, Host, KeepAlive, Secret, SuperLinkContext,
    SuperNodeContext, VmContext,
};
use onefed_flower::command::{self, SuperLinkOptions, SuperNodeOptions};
use onefed_flower::{Environment, Release};
use onefed_trust::EnrolKey;

use crate::boot::Steps;
use crate::certificate::{self, Asking};
use crate::files::{Readers, private_dir, write};
use crate::publication::{attribute, encode};
use crate::supervisor::Supervised;
use crate::{HubFile, Machine, SpokeFile, StepError, TlsFiles, discovery, health};

/// The port of a spoke, on the site's LAN or on a SuperNode VM's own loopback.
const SPOKE_PORT: u16 = 9092;

/// The SuperLink's VM: SuperLink on loopback, the hub in front of it.
pub(crate) async fn superlink(steps: &mut Steps<'_>, own: &SuperLinkContext) -> Result<(), StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let release = release(context)?;
    let address = context.addresses[0];
    let environment = steps.run("flower", async || find_flower(machine, release)).await?;
    let fleet = listen(machine, &own.fleet_api, address, "FL_FLEET_API_ADDRESS")?;
    let admin = listen(machine, &own.admin_api, address, "FL_ADMIN_API_ADDRESS")?;
    let inside = |port| SocketAddr::new(machine.loopback(), port);
    let mut sockets = vec![(fleet, "FL_FLEET_API_ADDRESS"), (admin, "FL_ADMIN_API_ADDRESS")];
    sockets.extend(release.superlink_ports().into_iter().map(|port| (inside(port), "SuperLink")));
    steps.run("addresses", async || free(&sockets)).await?;
    let names = certificate::names(&context.addresses, &own.extra_san);
    let tls = secured(steps, own.ca.as_ref(), own.enrol_key.as_ref(), names).await?;

    let processes = async || {
        let database = machine.disk.join(&own.database);
        let parent = database.parent().unwrap_or(&machine.disk);
        private_dir(parent).map_err(|why| StepError::file(parent, &why))?;
        let host = host(machine, context, release, &environment)?;
        let hub = HubFile {
            federation: context.federation.to_string(),
            flower: release.version().to_string(),
            superlink_fleet: inside(release.fleet_port()),
            superlink_control: inside(release.control_port()),
            fleet,
            admin,
            tls: tls.files.clone(),
            ca: tls.ca.clone(),
            keepalive_time_ms: millis(context.keepalive).0,
            keepalive_timeout_ms: millis(context.keepalive).1,
        };
        let file = config_file(machine, "hub.json", &hub)?;
        let superlink =
            host.superlink(&SuperLinkOptions { database: &database, tls: None, supernode_auth: false });
        let hub = own_process(machine, context, "hub", &file);
        Ok((
            vec![("flower-superlink", superlink), ("hub", hub)],
            "SuperLink on loopback, hub in front".to_owned(),
        ))
    };
    let commands = steps.run("processes", processes).await?;
    steps.start(commands);
    let published = published(fleet, address);
    let healthy = async || {
        let ca = tls.ca.as_deref().filter(|_| tls.files.is_some());
        health::superlink(published, ca, release.transport(), steps.processes).await?;
        Ok(((), format!("SuperLink {} answers at {published}", release.version())))
    };
    let log = &steps.log;
    log.run("health", healthy).await?;
    steps.ready(&[(attribute::ENDPOINT, &encode(&published.to_string()))]).await
}

/// A site's gateway VM: the spoke.
pub(crate) async fn gateway(steps: &mut Steps<'_>, own: &GatewayContext) -> Result<(), StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let release = release(context)?;
    let address = context.addresses[0];
    let listen = SocketAddr::new(address, SPOKE_PORT);
    steps.run("addresses", async || free(&[(listen, "the spoke")])).await?;
    let names = certificate::names(&context.addresses, &[]);
    let tls = secured(steps, own.ca.as_ref(), own.enrol_key.as_ref(), names).await?;
    let processes = async || {
        let spoke = spoke_file(machine, context, release, own.site.as_str(), &own.hub, listen, &tls);
        let file = config_file(machine, "spoke.json", &spoke)?;
        Ok((vec![("spoke", own_process(machine, context, "spoke", &file))], format!("spoke to {}", own.hub)))
    };
    let commands = steps.run("processes", processes).await?;
    steps.start(commands);
    // SuperNodes of the site may connect before the line is up: the spoke answers them truthfully.
    let endpoint = encode(&listen.to_string());
    steps.publisher.say(&[(attribute::ENDPOINT, &endpoint)]).await?;
    let healthy = async || {
        let ca = tls.ca.as_deref().filter(|_| tls.files.is_some());
        health::gateway(listen, ca, steps.processes).await?;
        Ok(((), format!("line to {} is up", own.hub)))
    };
    steps.log.run("health", healthy).await?;
    steps.ready(&[]).await
}

/// A SuperNode's VM: the SuperNode, and with an embedded gateway the spoke beside it.
pub(crate) async fn supernode(steps: &mut Steps<'_>, own: &SuperNodeContext) -> Result<(), StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let release = release(context)?;
    let environment = steps.run("flower", async || find_flower(machine, release)).await?;
    let loopback = SocketAddr::new(machine.loopback(), SPOKE_PORT);
    let embedded = own.gateway == GatewayPlacement::Embedded;
    let mut tls = Secured::default();
    if let Some(ca) = &own.ca {
        let install = async || {
            let path = certificate::install_ca(machine, ca, context.ca_fingerprint.as_ref())?;
            Ok((path, "the CA of the federation".to_owned()))
        };
        tls.ca = Some(steps.run("ca", install).await?);
    }
    let mut sockets = vec![(SocketAddr::new(machine.loopback(), command::CLIENT_APP_PORT), "SuperNode")];
    if embedded {
        sockets.push((loopback, "the spoke"));
    }
    steps.run("addresses", async || free(&sockets)).await?;
    let spoke = if embedded {
        Endpoint::new(Host::Ip(loopback.ip()), SPOKE_PORT)
    } else {
        let find = async || {
            let Some(gate) = steps.publisher.client() else {
                return Err(StepError::gateway("without OneGate a SuperNode cannot find its gateway"));
            };
            let found = discovery::gateway(gate).await?;
            let text = format!("gateway at {found}");
            Ok((Some(found), text))
        };
        steps.log.run("gateway", find).await?
    };
    let Some(spoke) = spoke else { return Err(StepError::gateway("the gateway names no port")) };
    let place = async || {
        let gate = steps.publisher.client();
        let (site, given) = (own.site.as_str(), &own.node_config);
        let config = discovery::node_config(machine, gate, context.vm_id, site, given, own.partition).await?;
        let text = config.to_string();
        Ok((config, text))
    };
    let config = steps.log.run("partition", place).await?;
    let processes = async || {
        let host = host(machine, context, release, &environment)?;
        let superlink = spoke.to_string();
        let node = host.supernode(&SuperNodeOptions {
            superlink: &superlink,
            root_certificates: tls.ca.as_deref().filter(|_| context.tls && !embedded),
            auth_key: None,
            node_config: &config.to_string(),
            max_retries: own.max_retries,
            max_wait_time: own.max_wait,
        });
        let mut commands = Vec::new();
        if let (true, Some(hub)) = (embedded, &own.hub) {
            let file = spoke_file(machine, context, release, own.site.as_str(), hub, loopback, &tls);
            let file = config_file(machine, "spoke.json", &file)?;
            commands.push(("spoke", own_process(machine, context, "spoke", &file)));
        }
        commands.push(("flower-supernode", node));
        Ok((commands, format!("SuperNode to {superlink}")))
    };
    let commands = steps.run("processes", processes).await?;
    steps.start(commands);
    let healthy = async || {
        let ca = tls.ca.as_deref().filter(|_| context.tls && !embedded);
        let Some(node) = steps.processes.last() else {
            return Err(StepError::process(
                "no SuperNode was started",
                "this is a defect of onefed; please report it",
            ));
        };
        let host = match &spoke.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        };
        let id = health::supernode((&host, spoke.port), ca, node, steps.processes).await?;
        Ok((id, format!("registered as node {id}")))
    };
    let id = steps.log.run("health", healthy).await?;
    steps.ready(&[(attribute::NODE_ID, &id.to_string())]).await
}

/// The certificates of a VM, as files.
#[derive(Default)]
struct Secured {
    files: Option<TlsFiles>,
    ca: Option<PathBuf>,
}

/// Installs the CA and obtains the VM's own certificate, where the context asks for TLS.
async fn secured(
    steps: &mut Steps<'_>,
    ca: Option<&CaBundle>,
    key: Option<&Secret>,
    names: Vec<onefed_trust::SanName>,
) -> Result<Secured, StepError> {
    let (machine, context) = (steps.machine, steps.context);
    if !context.tls {
        tracing::warn!(
            "FL_TLS_ENABLED is NO: this VM serves PLAINTEXT, because the operator asked for it by name"
        );
        return Ok(Secured::default());
    }
    let (Some(ca), Some(key)) = (ca, key) else {
        return Err(StepError::context(
            "FL_TLS_ENABLED is YES, but FL_SSL_CA_CERTFILE or FL_ENROL_KEY is missing",
            "deploy with `onefed apply`, which sets both",
        ));
    };
    let obtain = async || {
        let installed = certificate::install_ca(machine, ca, context.ca_fingerprint.as_ref())?;
        let key = EnrolKey::from_text(key.expose());
        let asking = Asking {
            ca,
            key: &key,
            vm_id: context.vm_id,
            generation: steps.generation,
            names: names.clone(),
        };
        let (files, text) = certificate::obtain(machine, &steps.publisher, &asking).await?;
        Ok((Secured { files: Some(files), ca: Some(installed) }, text))
    };
    steps.log.run("certificate", obtain).await
}

fn release(context: &VmContext) -> Result<Release, StepError> {
    Release::parse(context.flower.as_str())
        .map_err(|why| StepError::context(format!("FLOWER_VERSION: {why}"), why.hint()))
}

fn find_flower(machine: &Machine, release: Release) -> Result<(Environment, String), StepError> {
    let found =
        Environment::find(&machine.flower, release.version()).map_err(|why| StepError::flower(&why))?;
    Ok((found, format!("Flower {} in {}", release.version(), machine.flower.display())))
}

fn host<'a>(
    machine: &Machine,
    context: &'a VmContext,
    release: Release,
    environment: &'a Environment,
) -> Result<command::Host<'a>, StepError> {
    let home = machine.flower_home();
    let temporary = home.join("tmp");
    private_dir(&temporary).map_err(|why| StepError::file(&temporary, &why))?;
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

/// Checks that nobody else listens where this VM is going to.
fn free(sockets: &[(SocketAddr, &str)]) -> Result<((), String), StepError> {
    for (socket, who) in sockets {
        if let Err(why) = std::net::TcpListener::bind(socket) {
            let text = format!("{who} cannot listen on {socket}: {why}");
            return Err(StepError::address(
                text,
                "stop what listens there, or choose another address or port",
            ));
        }
    }
    Ok(((), format!("{} are free", sockets.len())))
}

fn spoke_file(
    machine: &Machine,
    context: &VmContext,
    release: Release,
    site: &str,
    hub: &Endpoint,
    listen: SocketAddr,
    tls: &Secured,
) -> SpokeFile {
    SpokeFile {
        federation: context.federation.to_string(),
        site: site.to_owned(),
        spoke: context.vm_id.to_string(),
        flower: release.version().to_string(),
        listen,
        tls: tls.files.clone(),
        hub_host: match &hub.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        },
        hub_port: hub.port,
        ca: tls.ca.clone().filter(|_| context.tls),
        dial_from: machine.dial_from(context.addresses[0]),
        keepalive_time_ms: millis(context.keepalive).0,
        keepalive_timeout_ms: millis(context.keepalive).1,
    }
}

fn config_file(machine: &Machine, name: &str, content: &impl serde::Serialize) -> Result<PathBuf, StepError> {
    let path = machine.disk.join(name);
    let json = serde_json::to_vec_pretty(content).map_err(|why| StepError::file(&path, &why.into()))?;
    write(&path, &json, Readers::Owner).map_err(|why| StepError::file(&path, &why))?;
    Ok(path)
}

/// The command line of one of onefed's own processes.
fn own_process(machine: &Machine, context: &VmContext, verb: &str, file: &Path) -> command::CommandLine {
    command::CommandLine {
        program: machine.exe.clone(),
        args: vec![verb.to_owned(), "--config".to_owned(), file.display().to_string()],
        env: vec![
            ("HOME".to_owned(), machine.disk.display().to_string()),
            (
                "ONEFED_LOG".to_owned(),
                context.log_level.as_str().to_ascii_lowercase().replace("warning", "warn"),
            ),
        ],
    }
}

fn millis(pair: KeepAlive) -> (u64, u64) {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    (millis(pair.time), millis(pair.timeout))
}

/// Used by the boot to hand processes to the supervisor.
pub(crate) type Commands = Vec<(&'static str, command::CommandLine)>;

impl Steps<'_> {
    fn start(&mut self, commands: Commands) {
        for (name, command) in commands {
            let marker = crate::boot::marker();
            let log_dir = self.machine.log_dir();
            self.processes.push(Supervised::start(name, &self.machine.exe, command, marker, &log_dir));
        }
    }
}
