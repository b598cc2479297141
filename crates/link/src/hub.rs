//! The hub: the one door to a SuperLink. Spokes come in at its Fleet listener, operators at its admin endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use onefed_flower::Operation;
use onefed_trust::{CertificateInfo, SecretPem};

use crate::ledger::Ledger;
use crate::listen::{Body, Listener, Peer, boxed, json, text};
use crate::pair::millis;
use crate::refused::RefusedSpokes;
use crate::spoke::{read_call, refuse_other};
use crate::status::{HubStatus, RunStatus, SCHEMA_VERSION, SpokeLine, SuperLinkStatus};
use crate::superlink::{SuperLink, SuperLinkAddress};
use crate::wire::{HELLO_PATH, Hello, PROTOCOL, Welcome};
use crate::{KeepAlive, Result, admin};

/// Names of sites have at most 31 characters, ids of VMs ten.
const MAX_NAME: usize = 64;
/// So many lines are remembered; of those that are down, the oldest make room.
const MAX_LINES: usize = 1024;
/// A hello is a few hundred bytes.
const MAX_HELLO: usize = 16 << 10;
/// How many runs a status shows at most.
const RUNS_SHOWN: u64 = 20;

/// What a hub needs.
pub struct HubConfig {
    /// The federation; a spoke of another one is refused.
    pub federation: String,
    /// Who may be a site, `FL_SITE_ENROLMENT`. Only shown: until there are join tokens, every site is taken in.
    pub site_enrolment: String,
    /// The SuperLink behind it.
    pub superlink: SuperLinkAddress,
    /// Where spokes come in.
    pub fleet_listen: SocketAddr,
    /// Where operators come in.
    pub admin_listen: SocketAddr,
    /// The certificates, or `None` where the operator asked for plaintext by name; then there is no admin
    /// endpoint either, since it knows people by their certificates only.
    pub tls: Option<HubTls>,
    /// PINGs to spokes. Half of its `time` is the shortest interval that a spoke may have.
    pub keepalive: KeepAlive,
}

/// The hub's certificates.
pub struct HubTls {
    /// Its own, for both listeners.
    pub chain_pem: String,
    /// The key of it.
    pub key_pem: SecretPem,
    /// The CA whose client certificates the admin endpoint takes; without one there is no such endpoint.
    pub client_ca_pem: Option<String>,
}

/// A hub whose listeners are open.
pub struct Hub {
    fleet: Listener,
    admin: Option<Listener>,
    shared: Arc<Shared>,
}

/// What all connections of a hub share.
pub(crate) struct Shared {
    federation: String,
    site_enrolment: String,
    keepalive: KeepAlive,
    certificate: Option<CertificateInfo>,
    started: Instant,
    refused: AtomicU64,
    lines: Mutex<BTreeMap<(String, String), LineRecord>>,
    refused_spokes: RefusedSpokes,
    pub(crate) superlink: SuperLink,
    ledger: Ledger,
}

/// What is remembered of a spoke's line over its connections.
struct LineRecord {
    peer: Peer,
    changed: Instant,
    connected: bool,
    /// Bytes of connections that have ended: down, up.
    before: (u64, u64),
    calls: u64,
    /// Which connection is the present one; an older one that ends late changes nothing.
    connection: u64,
}

impl Hub {
    /// Opens the listeners.
    ///
    /// # Errors
    /// [`crate::Error::Listen`], [`crate::Error::Trust`].
    pub async fn open(config: HubConfig) -> Result<Self> {
        let mut certificate = None;
        let (mut fleet_tls, mut admin_tls) = (None, None);
        if let Some(tls) = &config.tls {
            use onefed_trust::tls::{Versions, server};
            certificate = Some(CertificateInfo::from_pem(&tls.chain_pem)?);
            let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
            fleet_tls = Some(server(&tls.chain_pem, &tls.key_pem, None, Versions::Tls12AndUp, alpn)?);
            // A server without a client CA would take anybody.
            if let Some(ca) = tls.client_ca_pem.as_deref() {
                admin_tls = Some(server(&tls.chain_pem, &tls.key_pem, Some(ca), Versions::Tls13, alpn)?);
            }
        }
        let keepalive = Some(config.keepalive);
        let fleet =
            Listener::open("the hub's Fleet listener", config.fleet_listen, fleet_tls, keepalive).await?;
        let admin = match admin_tls {
            None => None,
            tls => {
                Some(Listener::open("the hub's admin endpoint", config.admin_listen, tls, keepalive).await?)
            }
        };
        let shared = Shared {
            federation: config.federation,
            site_enrolment: config.site_enrolment,
            keepalive: config.keepalive,
            certificate,
            started: Instant::now(),
            refused: AtomicU64::new(0),
            lines: Mutex::default(),
            refused_spokes: RefusedSpokes::default(),
            superlink: SuperLink::new(config.superlink)?,
            ledger: Ledger::default(),
        };
        Ok(Self { fleet, admin, shared: Arc::new(shared) })
    }

    /// Where spokes come in.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub fn fleet_address(&self) -> Result<SocketAddr> {
        self.fleet.address()
    }

    /// Where operators come in, if anywhere.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub fn admin_address(&self) -> Result<Option<SocketAddr>> {
        self.admin.as_ref().map(Listener::address).transpose()
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let shared = self.shared.clone();
        let fleet = self.fleet.serve(move |peer| {
            let connection = Arc::new(Connection::new(shared.clone(), peer));
            move |request| answer(connection.clone(), request)
        });
        let shared = self.shared;
        match self.admin {
            None => fleet.await,
            Some(admin) => {
                let admin = admin.serve(move |peer| admin::service(shared.clone(), peer));
                tokio::join!(fleet, admin);
            }
        }
    }
}

/// One connection at the Fleet listener. It belongs to a spoke once that has said hello.
struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    spoke: OnceLock<(String, String)>,
    number: u64,
}

static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

impl Connection {
    fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self { shared, peer, spoke: OnceLock::new(), number: CONNECTIONS.fetch_add(1, Ordering::Relaxed) }
    }

    /// The site that calls on this connection come from; empty for a SuperNode that came without a spoke.
    fn site(&self) -> &str {
        self.spoke.get().map_or("", |(site, _)| site)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(spoke) = self.spoke.get() else { return };
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(spoke).filter(|line| line.connection == self.number) {
            (line.connected, line.changed) = (false, Instant::now());
            tracing::warn!(site = spoke.0, spoke = spoke.1, peer = %self.peer.address, "spoke gone");
        }
    }
}

async fn answer(connection: Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
    let shared = &connection.shared;
    let path = request.uri().path();
    let Some((operation, transport)) = Operation::from_path(path) else {
        if path == HELLO_PATH {
            return hello(&connection, request).await;
        }
        shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(path, peer = %connection.peer.address, "refused: not a Fleet operation");
        return refuse_other(path, &request);
    };
    let call = match read_call(operation, transport, request).await {
        Ok(call) => call,
        Err(refusal) => return boxed(refusal.into_response()),
    };
    let answer = shared.superlink.fleet(&call).await;
    shared.ledger.note(connection.site(), &call, &answer);
    let Some(spoke) = connection.spoke.get() else {
        return boxed(answer.safe_for(operation, transport).into_response());
    };
    let mut lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = lines.get_mut(spoke) {
        line.calls += 1;
    }
    drop(lines);
    // The spoke hears SuperLink's own words, and makes them safe for its SuperNode.
    boxed(answer.into_response())
}

/// Takes a spoke in, or tells it why not.
async fn hello(connection: &Connection, request: Request<Incoming>) -> Response<Body> {
    let shared = &connection.shared;
    let body = match Limited::new(request.into_body(), MAX_HELLO).collect().await {
        Ok(body) => body.to_bytes(),
        Err(why) => return text(StatusCode::BAD_REQUEST, why.to_string()),
    };
    let hello: Hello = match serde_json::from_slice(&body) {
        Ok(hello) => hello,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("not a hello: {why}")),
    };
    if hello.site.len() > MAX_NAME || hello.spoke.len() > MAX_NAME {
        return text(StatusCode::BAD_REQUEST, "the name of the site or of the spoke is too long");
    }
    let id = (hello.site.clone(), hello.spoke.clone());
    if let Some(why) = shared.objection(&hello) {
        tracing::warn!(site = id.0, spoke = id.1, peer = %connection.peer.address, why, "spoke refused");
        // A spoke of another federation is not this one's business.
        if hello.federation == shared.federation {
            shared.refused_spokes.note(id, connection.peer.address, why.clone());
        }
        return text(StatusCode::CONFLICT, why);
    }
    if connection.spoke.set(id.clone()).is_err() {
        return text(StatusCode::CONFLICT, "this connection has said hello already");
    }
    shared.take_in(id.clone(), connection);
    let (site, spoke, peer) = (id.0, id.1, connection.peer.address);
    tracing::info!(site, spoke, %peer, flower = hello.flower, keepalive_ms = hello.keepalive_time_ms, "spoke up");
    json(&Welcome {
        protocol: PROTOCOL,
        flower: shared.superlink.release().version().to_string(),
        keepalive_time_ms: millis(shared.keepalive.time),
        keepalive_timeout_ms: millis(shared.keepalive.timeout),
        keepalive_least_ms: millis(shared.keepalive.least_accepted()),
        hold_ms: 0,
        session: String::new(),
    })
}

impl Shared {
    /// Why this hub does not take a spoke, if so.
    fn objection(&self, hello: &Hello) -> Option<String> {
        if hello.protocol != PROTOCOL {
            return Some(format!(
                "this hub speaks link protocol {PROTOCOL}, the spoke {}: run the same onefed release on both",
                hello.protocol
            ));
        }
        if hello.federation != self.federation {
            return Some(format!(
                "this hub serves federation `{}`, not `{}`",
                self.federation, hello.federation
            ));
        }
        None
    }

    fn take_in(&self, spoke: (String, String), connection: &Connection) {
        self.refused_spokes.forget(&spoke);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, calls) = lines.get(&spoke).map_or(((0, 0), 0), |old| {
            let ((down, up), meter) = (old.before, &old.peer.meter);
            ((down + meter.written(), up + meter.read()), old.calls)
        });
        let record = LineRecord {
            peer: connection.peer.clone(),
            changed: Instant::now(),
            connected: true,
            before,
            calls,
            connection: connection.number,
        };
        lines.insert(spoke, record);
        while lines.len() > MAX_LINES {
            let down = lines.iter().filter(|(_, line)| !line.connected).min_by_key(|(_, line)| line.changed);
            let Some(oldest) = down.map(|(spoke, _)| spoke.clone()) else { break };
            lines.remove(&oldest);
        }
    }

    /// The hub's state, with SuperLink asked now.
    pub(crate) async fn status(&self) -> HubStatus {
        let (superlink, runs) = match self.superlink.runs(RUNS_SHOWN).await {
            Ok(runs) => (SuperLinkStatus::Up, runs),
            Err(why) => (SuperLinkStatus::Down(why), Vec::new()),
        };
        let runs = runs.into_iter().map(|run| RunStatus {
            round: self.ledger.round(run.run_id),
            run_id: run.run_id,
            app: run.app,
            status: run.status,
            details: run.details,
        });
        HubStatus {
            schema_version: SCHEMA_VERSION,
            federation: self.federation.clone(),
            flower: self.superlink.release().version().to_string(),
            site_enrolment: self.site_enrolment.clone(),
            superlink,
            certificate_days: self.certificate.as_ref().map_or(0, |cert| cert.days_left(SystemTime::now())),
            uptime_seconds: self.started.elapsed().as_secs(),
            spokes: self.spokes(),
            nodes: self.ledger.nodes(),
            runs: runs.collect(),
            refused: self.refused.load(Ordering::Relaxed),
            refused_nodes: self.ledger.refused(),
            refused_spokes: self.refused_spokes.list(),
        }
    }

    fn spokes(&self) -> Vec<SpokeLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let spoke = |((site, spoke), line): (&(String, String), &LineRecord)| {
            let pings = line.peer.tap.log();
            SpokeLine {
                site: site.clone(),
                spoke: spoke.clone(),
                connected: line.connected,
                since_seconds: line.changed.elapsed().as_secs(),
                peer: line.peer.address.to_string(),
                bytes_down: line.before.0 + line.peer.meter.written(),
                bytes_up: line.before.1 + line.peer.meter.read(),
                calls: line.calls,
                pings_sent: pings.sent,
                pings_acked: pings.acked,
                ping_age_seconds: pings.last_ack.map(|at| at.elapsed().as_secs()),
                rtt_ms: pings.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            }
        };
        lines.iter().map(spoke).collect()
    }
}
