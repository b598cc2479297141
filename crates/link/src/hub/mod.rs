//! The hub: the one door to a SuperLink. Spokes come in at its Fleet listener, operators at its admin endpoint. What is
//! said to spokes and to SuperLink is the engine's business; SuperNodes without a spoke are passed through.

mod hands;
mod origins;
mod seen;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use onefed_flower::Operation;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_trust::{CertificateInfo, SecretPem};
use tokio::runtime::Handle;

use self::hands::{HubEnd, HubHands, Inner};
use self::origins::Origins;
use self::seen::Seen;
use crate::engine::frame::SpokeFrame;
use crate::engine::hub::{Settings, SpokeName};
use crate::fleet::read_call;
use crate::ledger::Ledger;
use crate::listen::{Body, Listener, boxed};
use crate::pair::{Door, Pairs, PairsConfig};
use crate::shell::actor::{self, Actor};
use crate::shell::budget::Budget;
use crate::shell::flush::Flush;
use crate::shell::mailbox::mailbox;
use crate::shell::packer::Packer;
use crate::shell::state::Disk;
use crate::status::{HubStatus, RunStatus, SCHEMA_VERSION, SuperLinkStatus};
use crate::store::ObjectStore;
use crate::superlink::{SuperLink, SuperLinkAddress};
use crate::{KeepAlive, Result, admin};

/// How many runs a status shows at most.
const RUNS_SHOWN: u64 = 20;
/// How long a SuperNode without a spoke waits for room in memory: with the time that a SuperLink of 1.40 and newer has,
/// it is answered within 30 s.
const ROOM: Duration = Duration::from_secs(4);
/// So much of what these bring is in memory at once …
const INCOMING: usize = 32 << 20;
/// … and so much of what comes from SuperLink, until the disk has it and its first spoke was sent it …
const PULLED: usize = 24 << 20;
/// … and so much of what goes there.
const PUSHED: usize = 16 << 20;
/// All of what was pulled may wait in memory for its spoke: a quick SuperLink then goes at the pace of the line, and little
/// is read from the disk.
const HANDOVER: u64 = PULLED as u64;

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
    /// What it may use of the disk. Messages, replies and their objects are there: the disk needs what the VM needs of
    /// protection.
    pub disk: Disk,
    /// For how long the nodes of a site whose line is cut are kept alive at SuperLink.
    pub hold: Duration,
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
    pairs: Arc<Pairs<HubEnd>>,
    door: Arc<Shared>,
    store: ObjectStore,
}

/// What the hub's connections and its engine's hands share.
pub(crate) struct Shared {
    federation: String,
    site_enrolment: String,
    certificate: Option<CertificateInfo>,
    started: Instant,
    refused: AtomicU64,
    incoming: Budget,
    pub(crate) superlink: SuperLink,
    ledger: Ledger,
    origins: Origins,
    seen: Seen,
}

/// What the admin endpoint shows and asks.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) shared: Arc<Shared>,
    pairs: Arc<Pairs<HubEnd>>,
    store: ObjectStore,
}

impl Hub {
    /// Opens the listeners and the journal.
    ///
    /// # Errors
    /// [`crate::Error::Listen`], [`crate::Error::Trust`]; [`crate::Error::Disk`], also while another hub uses the same
    /// directory.
    pub async fn open(config: HubConfig) -> Result<Self> {
        let mut certificate = None;
        let (mut fleet_tls, mut admin_tls) = (None, None);
        if let Some(tls) = &config.tls {
            use onefed_trust::tls::{Versions, server};
            certificate = Some(CertificateInfo::from_pem(&tls.chain_pem)?);
            let alpn = [Pairs::<HubEnd>::alpn(), &[b"http/1.1"]].concat();
            fleet_tls = Some(server(&tls.chain_pem, &tls.key_pem, None, Versions::Tls12AndUp, &alpn)?);
            // A server without a client CA would take anybody.
            if let Some(ca) = tls.client_ca_pem.as_deref() {
                let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
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
        let superlink = SuperLink::new(config.superlink)?;
        let says = PairsConfig {
            federation: config.federation.clone(),
            flower: superlink.release().version().to_string(),
            keepalive: config.keepalive,
            hold: config.hold,
        };
        let shared = Arc::new(Shared {
            federation: config.federation,
            site_enrolment: config.site_enrolment,
            certificate,
            started: Instant::now(),
            refused: AtomicU64::new(0),
            incoming: Budget::new(INCOMING),
            superlink,
            ledger: Ledger::default(),
            origins: Origins::default(),
            seen: Seen::new(&config.disk, config.hold),
        });
        let inner = start(&shared, &config.disk, config.hold).await?;
        let store = inner.store.clone();
        let ends = shared.clone();
        let pairs = Pairs::new(says, move |hello| {
            let spoke = (hello.site.clone(), hello.spoke.clone());
            let packer = Arc::new(Packer::new(inner.store.clone(), false));
            Arc::new(HubEnd { spoke, shared: ends.clone(), hub: inner.clone(), packer })
        });
        Ok(Self { fleet, admin, pairs, door: shared, store })
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
        let Self { fleet, admin, pairs, door: shared, store } = self;
        let sight = Sight { shared: shared.clone(), pairs: pairs.clone(), store };
        let fleet = fleet.serve(move |peer| {
            let peer_address = peer.address;
            let (shared, pairs, door) = (shared.clone(), pairs.clone(), Arc::new(Door::new(peer)));
            move |request: Request<Incoming>| {
                let (shared, pairs, door) = (shared.clone(), pairs.clone(), door.clone());
                async move {
                    if Pairs::<HubEnd>::serves(request.uri().path()) {
                        return pairs.answer(&door, request).await;
                    }
                    pass(&shared, peer_address, request).await
                }
            }
        });
        match admin {
            None => fleet.await,
            Some(admin) => {
                let admin = admin.serve(move |peer| admin::service(sight.clone(), peer));
                tokio::join!(fleet, admin);
            }
        }
    }
}

/// Starts the engine.
async fn start(shared: &Arc<Shared>, disk: &Disk, hold: Duration) -> Result<Inner> {
    let store = disk.objects(HANDOVER).await?;
    let runtime = Handle::current();
    let flush = Flush::new(store.clone(), runtime.clone());
    let (engine, letters) = mailbox();
    let hands = HubHands {
        shared: shared.clone(),
        engine: engine.weak(),
        store: store.clone(),
        flush: flush.clone(),
        pulls: Budget::new(PULLED),
        pushes: Budget::new(PUSHED),
        runtime,
        spokes: BTreeMap::new(),
    };
    let actor = Actor {
        letters,
        unread: Default::default(),
        hands,
        store: store.clone(),
        flush: flush.clone(),
        dir: disk.dir.clone(),
        name: "hub",
        settings: Settings { hold },
        began: shared.seen.began,
        unsynced: false,
    };
    actor::start(actor, |_| ()).map_err(|why| disk.error(why))?;
    Ok(Inner { engine, store, flush })
}

/// Passes the call of a SuperNode on that came without a spoke.
async fn pass(shared: &Shared, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let Some((operation, transport)) = Operation::from_path(path) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(path, %peer, "refused: not a Fleet operation");
        return shared.seen.unknown.refuse(path, request.headers());
    };
    let call = match read_call(operation, transport, request, &shared.incoming, ROOM).await {
        Ok(call) => call,
        Err(refusal) => return boxed(refusal.into_response()),
    };
    let answer = shared.superlink.fleet(&call).await;
    shared.ledger.note("", &call, &answer);
    boxed(answer.safe_for(operation, transport).into_response())
}

impl Shared {
    /// Notes what a spoke's frame says about its nodes.
    fn note_frame(&self, spoke: &SpokeName, frame: &SpokeFrame) {
        self.seen.frame(spoke, frame);
        match frame {
            SpokeFrame::Call { call, .. } => {
                self.origins.note(&spoke.0, call);
            }
            SpokeFrame::Auth { node, .. } => self.origins.note_node(&spoke.0, *node),
            _ => {}
        }
    }

    /// Notes what SuperLink's answer to the engine says.
    fn note_answer(&self, call: &FleetCall, answer: &FleetAnswer) {
        if let Some(site) = self.origins.of(call) {
            self.ledger.note(&site, call, answer);
        }
    }
}

impl Sight {
    /// The hub's state, with SuperLink asked now.
    pub(crate) async fn status(&self) -> HubStatus {
        let shared = &self.shared;
        let (superlink, runs) = match shared.superlink.runs(RUNS_SHOWN).await {
            Ok(runs) => (SuperLinkStatus::Up, runs),
            Err(why) => (SuperLinkStatus::Down(why), Vec::new()),
        };
        let runs = runs.into_iter().map(|run| RunStatus {
            round: shared.ledger.round(run.run_id),
            run_id: run.run_id,
            app: run.app,
            status: run.status,
            details: run.details,
        });
        HubStatus {
            schema_version: SCHEMA_VERSION,
            federation: shared.federation.clone(),
            flower: shared.superlink.release().version().to_string(),
            site_enrolment: shared.site_enrolment.clone(),
            superlink,
            trouble: shared.seen.in_trouble(),
            certificate_days: shared.certificate.as_ref().map_or(0, |cert| cert.days_left(SystemTime::now())),
            uptime_seconds: shared.started.elapsed().as_secs(),
            spokes: shared.seen.lines(self.pairs.sights()),
            nodes: shared.ledger.nodes(),
            runs: runs.collect(),
            refused: shared.refused.load(Ordering::Relaxed),
            refused_nodes: shared.ledger.refused(),
            refused_spokes: self.pairs.refused(),
            unknown: shared.seen.unknown.list(),
            link: Some(shared.seen.link(&self.store)),
        }
    }
}
