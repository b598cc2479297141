//! The spoke: Flower's Fleet API for the SuperNodes of a site. What it says is its engine's business; here are the
//! listener, the pair of connections to the hub, and the disk.

mod calls;
mod hands;
mod seen;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use onefed_flower::Operation;
use tokio::runtime::Handle;
use tokio_rustls::rustls::ServerConfig;

use self::calls::{Answer, Calls};
use self::hands::{SpokeEnd, SpokeHands};
use self::seen::Seen;
use crate::Result;
use crate::engine::Connection;
use crate::engine::spoke::{Settings, Spoke as Engine};
use crate::fleet::read_call;
use crate::ledger::Ledger;
use crate::listen::{Body, Listener, boxed, json};
use crate::pair::{Dialler, LineConfig};
use crate::shell::actor::{self, Actor};
use crate::shell::budget::Budget;
use crate::shell::flush::Flush;
use crate::shell::mailbox::mailbox;
use crate::shell::packer::Packer;
use crate::shell::state::Disk;
use crate::status::{SCHEMA_VERSION, SpokeStatus};
use crate::wire::SPOKE_PATH;

/// How long a spoke that is told to stop waits for its nodes.
const GOODBYE: Duration = Duration::from_secs(5);
/// So much of what SuperNodes bring is in memory at once …
const INCOMING: usize = 24 << 20;
/// … and so much of what they get. The pair has bounds of its own.
const OUTGOING: usize = 16 << 20;
/// So much of what was just stored waits in memory for its reader. Less than half of what SuperNodes may bring at once: a
/// slow line does not slow them down.
const HANDOVER: u64 = 11 << 20;

/// What a spoke needs.
pub struct SpokeConfig {
    /// Where the SuperNodes come in.
    pub listen: SocketAddr,
    /// TLS towards the SuperNodes; `None` only on a VM's own loopback, or where plaintext was asked for by name.
    pub tls: Option<Arc<ServerConfig>>,
    /// The way to the hub.
    pub line: LineConfig,
    /// What it may use of the disk. Messages, replies and their objects are there: the disk needs what the VM needs of
    /// protection.
    pub disk: Disk,
    /// For how long a cut of the line is hidden from SuperNodes.
    pub hold: Duration,
}

/// A spoke that is listening.
pub struct Spoke {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    site: String,
    line: Arc<Dialler>,
    calls: Calls,
    incoming: Budget,
    ledger: Arc<Ledger>,
    seen: Arc<Seen>,
}

impl Spoke {
    /// Opens the listener and the journal, and starts to dial the hub.
    ///
    /// # Errors
    /// [`crate::Error::Listen`]; [`crate::Error::Disk`], also while another spoke uses the same directory.
    pub async fn open(mut config: SpokeConfig) -> Result<Self> {
        let listener = Listener::open("the spoke's Fleet listener", config.listen, config.tls, None).await?;
        let site = config.line.hello.site.clone();
        let store = config.disk.objects(HANDOVER).await?;
        let runtime = Handle::current();
        let flush = Flush::new(store.clone(), runtime.clone());
        let (engine, letters) = mailbox();
        let packer = Arc::new(Packer::new(store.clone(), true));
        let ledger = Arc::<Ledger>::default();
        let calls = Calls::new(engine.clone());
        let seen = Arc::new(Seen::new(&config.disk, store.clone(), config.hold));
        let hands = SpokeHands {
            site: site.clone(),
            calls: calls.waiting(),
            engine: engine.weak(),
            store: store.clone(),
            flush: flush.clone(),
            budget: Budget::new(OUTGOING),
            runtime,
            pair: None,
            room: None,
            packer: packer.clone(),
            seen: seen.clone(),
            ledger: ledger.clone(),
            activations: BTreeMap::new(),
        };
        let actor = Actor {
            letters,
            unread: Default::default(),
            hands,
            store: store.clone(),
            flush: flush.clone(),
            dir: config.disk.dir.clone(),
            name: "spoke",
            settings: Settings { site: site.clone(), hold: config.hold },
            began: Instant::now(),
            unsynced: false,
        };
        let epoch = actor::start(actor, Engine::epoch).map_err(|why| config.disk.error(why))?;
        config.line.hello.epoch = epoch;
        let end = Arc::new(SpokeEnd { engine, packer, flush, seen: seen.clone() });
        let line = Arc::new(Dialler::start(config.line, end));
        seen.of(&line);
        let shared = Shared { site, line, calls, incoming: Budget::new(INCOMING), ledger, seen };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where the listener is.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.address()
    }

    /// The line to the hub.
    pub fn line(&self) -> Arc<Dialler> {
        self.shared.line.clone()
    }

    /// Serves until `stop`, and then for as long as nodes are online, at most five seconds: SuperNodes that stop at
    /// the same time can say goodbye.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) {
        let shared = self.shared.clone();
        let last_nodes = async {
            stop.await;
            let waited = tokio::time::Instant::now();
            while shared.ledger.any_online() && waited.elapsed() < GOODBYE {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = self.serve() => {}
            () = last_nodes => {}
        }
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let (shared, connections) = (self.shared, AtomicU64::new(0));
        self.listener
            .serve(move |_peer| {
                let shared = shared.clone();
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                move |request| answer(shared.clone(), connection, request)
            })
            .await;
    }
}

async fn answer(shared: Arc<Shared>, connection: Connection, request: Request<Incoming>) -> Response<Body> {
    let Some((operation, transport)) = Operation::from_path(request.uri().path()) else {
        return match request.uri().path() {
            SPOKE_PATH => json(&shared.status()),
            other => shared.seen.unknown.refuse(other, request.headers()),
        };
    };
    let began = tokio::time::Instant::now();
    let call = match read_call(operation, transport, request, &shared.incoming, calls::ROOM).await {
        Ok(call) => call,
        Err(refusal) => return boxed(refusal.into_response()),
    };
    // What the ledger reads is small; the body of an object must not be held for it.
    let noted = (operation != Operation::PushObject).then(|| call.clone());
    let answer = match shared.calls.ask(connection, call, began).await {
        Ok(Answer::Made(response)) => return boxed(response),
        Ok(Answer::Said(answer)) => answer,
        Err(why) => {
            tracing::warn!(operation = operation.name(), why, "call not answered");
            calls::unavailable(transport, &shared.site, why)
        }
    };
    if let Some(call) = noted {
        shared.ledger.note(&shared.site, &call, &answer);
    }
    boxed(answer.safe_for(operation, transport).into_response())
}

impl Shared {
    fn status(&self) -> SpokeStatus {
        let why = self.seen.in_trouble().or_else(|| self.line.why_down().map(|why| why.to_string()));
        SpokeStatus {
            schema_version: SCHEMA_VERSION,
            site: self.site.clone(),
            connected: why.is_none(),
            why,
            nodes: self.ledger.nodes(),
            refused: self.ledger.refused(),
            link: Some(self.seen.stats()),
        }
    }
}
