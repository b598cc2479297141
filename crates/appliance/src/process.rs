//! The processes of onefed's own: hub and spoke, each with a file that says what it needs, and the start of children
//! so that none outlives its parent.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onefed_flower::Release;
use onefed_link::hub::{Hub, HubConfig, HubTls};
use onefed_link::spoke::{Spoke, SpokeConfig};
use onefed_link::superlink::SuperLinkAddress;
use onefed_link::wire::{Hello, PROTOCOL};
use onefed_link::{Disk, KeepAlive, LineConfig};
use onefed_trust::tls::Versions;
use onefed_trust::{SecretPem, tls};
use serde::{Deserialize, Serialize};

/// A certificate with its key, as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM, 0600.
    pub key: PathBuf,
}

/// What `onefed hub` needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubFile {
    /// The federation.
    pub federation: String,
    /// Who may be a site, `FL_SITE_ENROLMENT`.
    #[serde(default)]
    pub site_enrolment: String,
    /// The Flower release of the SuperLink.
    pub flower: String,
    /// SuperLink's Fleet API, on loopback.
    pub superlink_fleet: SocketAddr,
    /// SuperLink's Control API, on loopback.
    pub superlink_control: SocketAddr,
    /// The CA of SuperLink's own certificate, PEM; without one that hop is plaintext on loopback.
    pub superlink_ca: Option<PathBuf>,
    /// The Fleet listener.
    pub fleet: SocketAddr,
    /// The admin endpoint.
    pub admin: SocketAddr,
    /// The hub's certificate; without one everything is plaintext.
    pub tls: Option<TlsFiles>,
    /// The CA of the people at the admin endpoint, PEM; without one there is no such endpoint.
    pub admin_ca: Option<PathBuf>,
    /// PING interval in milliseconds.
    pub keepalive_time_ms: u64,
    /// PING timeout in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// Where it keeps what must survive it: a directory of its own on a disk that survives a reboot.
    pub state: PathBuf,
    /// How many bytes of that disk objects may take, `FL_LINK_DISK`.
    pub disk_bytes: u64,
    /// For how long a cut of the line is hidden, in seconds, `FL_LINK_HOLD`.
    pub hold_seconds: u64,
}

/// What `onefed spoke` needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpokeFile {
    /// The federation.
    pub federation: String,
    /// The site.
    pub site: String,
    /// Which spoke of the site: the VM's id.
    pub spoke: String,
    /// The Flower release at the site.
    pub flower: String,
    /// The listener for SuperNodes.
    pub listen: SocketAddr,
    /// Its certificate; without one it speaks plaintext, which is for loopback or was asked for by name.
    pub tls: Option<TlsFiles>,
    /// The hub's host.
    pub hub_host: String,
    /// The hub's Fleet port.
    pub hub_port: u16,
    /// The CA of the hub, PEM; without one the line is plaintext.
    pub ca: Option<PathBuf>,
    /// The address to dial from, where it matters.
    pub dial_from: Option<IpAddr>,
    /// PING interval in milliseconds.
    pub keepalive_time_ms: u64,
    /// PING timeout in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// Where it keeps what must survive it: a directory of its own on a disk that survives a reboot.
    pub state: PathBuf,
    /// How many bytes of that disk objects may take, `FL_LINK_DISK`.
    pub disk_bytes: u64,
    /// For how long a cut of the line is hidden, in seconds, `FL_LINK_HOLD`.
    pub hold_seconds: u64,
}

/// Runs a hub until it is told to stop.
///
/// # Errors
/// A text that names the file, address or certificate that is wrong.
pub async fn run_hub(file: &Path) -> Result<(), String> {
    let file: HubFile = read(file)?;
    let tls = match &file.tls {
        None if file.admin_ca.is_some() => {
            // Half of it is a mistake, and a mistake must not end in plaintext.
            return Err("the hub's file has a CA for operators, but no certificate".into());
        }
        None => None,
        Some(files) => Some(HubTls {
            chain_pem: text(&files.certificate)?,
            key_pem: SecretPem::new(text(&files.key)?),
            client_ca_pem: file.admin_ca.as_deref().map(text).transpose()?,
        }),
    };
    let config = HubConfig {
        superlink: SuperLinkAddress {
            release: Release::parse(&file.flower).map_err(|why| why.to_string())?,
            fleet: file.superlink_fleet,
            control: file.superlink_control,
            ca_pem: file.superlink_ca.as_deref().map(text).transpose()?,
        },
        federation: file.federation,
        site_enrolment: file.site_enrolment,
        fleet_listen: file.fleet,
        admin_listen: file.admin,
        tls,
        keepalive: keepalive(file.keepalive_time_ms, file.keepalive_timeout_ms),
        disk: Disk { dir: file.state, bytes: file.disk_bytes },
        hold: Duration::from_secs(file.hold_seconds),
    };
    let hub = Hub::open(config).await.map_err(|why| why.to_string())?;
    tracing::info!(fleet = %file.fleet, admin = %file.admin, "hub listening");
    tokio::select! {
        () = hub.serve() => {}
        () = crate::supervisor::stop_signal() => {}
    }
    Ok(())
}

/// Runs a spoke until it is told to stop.
///
/// # Errors
/// As [`run_hub`].
pub async fn run_spoke(file: &Path) -> Result<(), String> {
    let file: SpokeFile = read(file)?;
    let keepalive = keepalive(file.keepalive_time_ms, file.keepalive_timeout_ms);
    let trust = |why: onefed_trust::Error| why.to_string();
    let line_tls = match &file.ca {
        Some(ca) => Some(tls::client(&text(ca)?, None, &[b"h2"]).map_err(trust)?),
        None => None,
    };
    let listen_tls = match &file.tls {
        None => None,
        Some(files) => {
            let (chain, key) = (text(&files.certificate)?, SecretPem::new(text(&files.key)?));
            Some(
                tls::server(&chain, &key, None, Versions::Tls12AndUp, &[b"h2", b"http/1.1"])
                    .map_err(trust)?,
            )
        }
    };
    let config = SpokeConfig {
        listen: file.listen,
        tls: listen_tls,
        line: LineConfig {
            host: file.hub_host,
            port: file.hub_port,
            from: file.dial_from,
            tls: line_tls,
            keepalive,
            hello: Hello {
                protocol: PROTOCOL,
                federation: file.federation,
                site: file.site,
                spoke: file.spoke,
                flower: file.flower,
                keepalive_time_ms: file.keepalive_time_ms,
                keepalive_timeout_ms: file.keepalive_timeout_ms,
                // Counted in its journal.
                epoch: 0,
            },
        },
        disk: Disk { dir: file.state, bytes: file.disk_bytes },
        hold: Duration::from_secs(file.hold_seconds),
    };
    let spoke = Spoke::open(config).await.map_err(|why| why.to_string())?;
    tracing::info!(listen = %file.listen, "spoke listening");
    spoke.serve_until(crate::supervisor::stop_signal()).await;
    Ok(())
}

fn keepalive(time_ms: u64, timeout_ms: u64) -> KeepAlive {
    KeepAlive { time: Duration::from_millis(time_ms), timeout: Duration::from_millis(timeout_ms) }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&text(path)?).map_err(|why| format!("{}: {why}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// Becomes another program that is killed when the parent dies, however it dies. Returns only on failure.
///
/// `parent` is the process id that asked for the child; if that is gone already, the program is not started.
///
/// # Errors
/// Why the program could not be started.
pub fn exec_child(parent: i32, program: &Path, args: &[String]) -> std::io::Error {
    if let Err(why) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        return why.into();
    }
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return std::io::Error::other("the parent process is gone");
    }
    std::process::Command::new(program).args(args).exec()
}
