//! The hub's side: takes spokes in, and fences the older pair of a spoke that comes again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use ring::rand::SecureRandom as _;
use tokio::sync::oneshot;
use tokio_rustls::rustls::ServerConfig;

use super::outbox::Outbox;
use super::run::{Half, Stop, run};
use super::{BULK_PATH, CONTROL_PATH, End, HubFrame, SESSION_HEADER, SpokeFrame, millis};
use crate::io::PingLog;
use crate::listen::{Body, Listener, Peer, json, text};
use crate::refused::RefusedSpokes;
use crate::status::RefusedSpoke;
use crate::wire::{HELLO_PATH, Hello, PROTOCOL, Welcome};
use crate::{KeepAlive, Result};

/// Names of sites have at most 31 characters, ids of VMs ten.
const MAX_NAME: usize = 64;
/// So many spokes are remembered; of those that are down, the oldest make room.
const MAX_SPOKES: usize = 1024;
/// A hello is a few hundred bytes.
const MAX_HELLO: usize = 16 << 10;
/// From the hello to both streams.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a hub says to its spokes.
#[derive(Clone, Debug)]
pub struct PairsConfig {
    /// The federation; a spoke of another one is refused.
    pub federation: String,
    /// The Flower release of the SuperLink.
    pub flower: String,
    /// PINGs to spokes. Half of its `time` is the shortest interval that a spoke may have.
    pub keepalive: KeepAlive,
    /// How long a cut is hidden.
    pub hold: Duration,
}

/// What a status shows of a spoke.
#[derive(Clone, Debug)]
pub struct PairSight {
    /// The site.
    pub site: String,
    /// The spoke within the site.
    pub spoke: String,
    /// Whether the pair is up now.
    pub connected: bool,
    /// When it came up, or went down.
    pub since: Instant,
    /// Why it went down; empty while it is up.
    pub why: String,
    /// The spoke's address as the hub sees it.
    pub peer: SocketAddr,
    /// Bytes on the wire over all control connections: received, sent.
    pub control: (u64, u64),
    /// Bytes on the wire over all bulk connections: received, sent.
    pub bulk: (u64, u64),
    /// The PINGs of the present control connection, or of the last one.
    pub pings: PingLog,
    /// Pairs that have been up so far, the present one included.
    pub pairs: u64,
}

type Make<E> = dyn Fn(&Hello) -> Arc<E> + Send + Sync;

/// The pairs of a hub.
pub struct Pairs<E> {
    config: PairsConfig,
    make: Box<Make<E>>,
    inner: Mutex<Inner>,
    refused: RefusedSpokes,
}

#[derive(Default)]
struct Inner {
    spokes: BTreeMap<(String, String), Spoke>,
    /// By token.
    sessions: HashMap<String, Arc<Session>>,
}

/// What is remembered of a spoke over its pairs.
struct Spoke {
    epoch: u64,
    session: Arc<Session>,
    connected: bool,
    changed: Instant,
    why: String,
    pairs: u64,
    /// Bytes of connections that have ended.
    control_before: (u64, u64),
    bulk_before: (u64, u64),
}

/// Says that a session is over, however that came.
struct Done(Arc<Session>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.done.end("done");
    }
}

/// A spoke that has said hello, up to the end of its pair.
struct Session {
    token: String,
    name: (String, String),
    hello: Hello,
    control: Peer,
    bulk: OnceLock<Peer>,
    /// Ends it.
    stop: Arc<Stop>,
    /// Has ended when its end has been told.
    done: Stop,
    opened: (Open, Open),
}

/// Where a half goes once its stream is open.
struct Open(Mutex<Option<oneshot::Sender<Half>>>);

impl Open {
    fn take(&self) -> Option<oneshot::Sender<Half>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Session {
    /// Bytes of its connections: control and bulk, each received and sent.
    fn moved(&self) -> ((u64, u64), (u64, u64)) {
        let of = |peer: &Peer| (peer.meter.read(), peer.meter.written());
        (of(&self.control), self.bulk.get().map_or((0, 0), of))
    }
}

/// A connection at the hub's Fleet listener, which may become one of a pair.
pub(crate) struct Door {
    peer: Peer,
    session: OnceLock<Arc<Session>>,
}

impl Door {
    pub(crate) fn new(peer: Peer) -> Self {
        Self { peer, session: OnceLock::new() }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            session.stop.end("the control connection has ended");
        }
    }
}

type Answer = std::result::Result<Response<Body>, (StatusCode, String)>;

impl<E: End<In = SpokeFrame, Out = HubFrame>> Pairs<E> {
    /// Makes ends by `make` when a pair is up.
    pub fn new(config: PairsConfig, make: impl Fn(&Hello) -> Arc<E> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            config,
            make: Box::new(make),
            inner: Mutex::default(),
            refused: RefusedSpokes::default(),
        })
    }

    /// Opens a listener for spokes and nothing else. Gives its address, and the future that serves it until it is dropped.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub async fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<(SocketAddr, impl Future<Output = ()> + Send + use<E>)> {
        let listener =
            Listener::open("the listener for spokes", address, tls, Some(self.config.keepalive)).await?;
        let (address, pairs) = (listener.address()?, self.clone());
        let serve = listener.serve(move |peer| {
            let (pairs, door) = (pairs.clone(), Arc::new(Door::new(peer)));
            move |request| {
                let (pairs, door) = (pairs.clone(), door.clone());
                async move { pairs.answer(&door, request).await }
            }
        });
        Ok((address, serve))
    }

    /// The protocols that a TLS listener for spokes has to offer, in order of preference.
    pub fn alpn() -> &'static [&'static [u8]] {
        &[super::BULK_ALPN, b"h2"]
    }

    /// Whether a request is for [`Pairs::answer`].
    pub(crate) fn serves(path: &str) -> bool {
        [HELLO_PATH, CONTROL_PATH, BULK_PATH].contains(&path)
    }

    /// Answers a request on a connection.
    pub(crate) async fn answer(self: &Arc<Self>, door: &Door, request: Request<Incoming>) -> Response<Body> {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::POST, HELLO_PATH) => self.hello(door, request).await,
            (&Method::POST, CONTROL_PATH) => self.control(door, request),
            (&Method::POST, BULK_PATH) => self.bulk(door, request),
            _ => Err((StatusCode::NOT_FOUND, "not a request of a spoke".into())),
        };
        answer.unwrap_or_else(|(status, why)| text(status, why))
    }

    /// What a status shows, by site and spoke.
    pub fn sights(&self) -> Vec<PairSight> {
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        let sight = |((site, name), spoke): (&(String, String), &Spoke)| {
            let (control, bulk) = spoke.session.moved();
            PairSight {
                site: site.clone(),
                spoke: name.clone(),
                connected: spoke.connected,
                since: spoke.changed,
                why: spoke.why.clone(),
                peer: spoke.session.control.address,
                control: sum(spoke.control_before, control),
                bulk: sum(spoke.bulk_before, bulk),
                pings: spoke.session.control.tap.log(),
                pairs: spoke.pairs,
            }
        };
        self.inner().spokes.iter().map(sight).collect()
    }

    /// Spokes whose hello was refused, and that have not been taken in since.
    pub fn refused(&self) -> Vec<RefusedSpoke> {
        self.refused.list()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a spoke in, or tells it why not.
    async fn hello(self: &Arc<Self>, door: &Door, request: Request<Incoming>) -> Answer {
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let body = Limited::new(request.into_body(), MAX_HELLO).collect().await;
        let body = body.map_err(|why| bad(why.to_string()))?.to_bytes();
        let hello: Hello = serde_json::from_slice(&body).map_err(|why| bad(format!("not a hello: {why}")))?;
        if hello.site.len() > MAX_NAME || hello.spoke.len() > MAX_NAME {
            return Err(bad("the name of the site or of the spoke is too long".into()));
        }
        if door.session.get().is_some() {
            return Err((StatusCode::CONFLICT, "this connection has said hello already".into()));
        }
        let (name, peer) = ((hello.site.clone(), hello.spoke.clone()), door.peer.address);
        let least = self.config.keepalive.least_accepted();
        let (federation, asked) = (hello.federation.clone(), Duration::from_millis(hello.keepalive_time_ms));
        let objection = self.objection(&hello);
        // A spoke that has to adjust its PINGs comes again at once; there is no pair before.
        let taken = match objection {
            None if asked < least => Ok(String::new()),
            None => self.take_in(door, hello),
            Some(why) => Err(why),
        };
        let session = taken.map_err(|why| {
            tracing::warn!(site = name.0, spoke = name.1, %peer, why, "spoke refused");
            // A spoke of another federation is not this one's business.
            if federation == self.config.federation {
                self.refused.note(name, peer, why.clone());
            }
            (StatusCode::CONFLICT, why)
        })?;
        Ok(json(&Welcome {
            protocol: PROTOCOL,
            flower: self.config.flower.clone(),
            keepalive_time_ms: millis(self.config.keepalive.time),
            keepalive_timeout_ms: millis(self.config.keepalive.timeout),
            keepalive_least_ms: millis(least),
            hold_ms: millis(self.config.hold),
            session,
        }))
    }

    /// Why this hub does not take a spoke, if so.
    fn objection(&self, hello: &Hello) -> Option<String> {
        if hello.protocol != PROTOCOL {
            return Some(format!(
                "this hub speaks link protocol {PROTOCOL}, the spoke {}: run the same onefed release on both",
                hello.protocol
            ));
        }
        let ours = &self.config.federation;
        (hello.federation != *ours)
            .then(|| format!("this hub serves federation `{ours}`, not `{}`", hello.federation))
    }

    /// Makes a session, ends the one before, and gives the token.
    fn take_in(self: &Arc<Self>, door: &Door, hello: Hello) -> std::result::Result<String, String> {
        let (name, epoch) = ((hello.site.clone(), hello.spoke.clone()), hello.epoch);
        let token = token()?;
        let ((control_open, control), (bulk_open, bulk)) = (oneshot::channel(), oneshot::channel());
        let session = Arc::new(Session {
            token: token.clone(),
            name: name.clone(),
            hello,
            control: door.peer.clone(),
            bulk: OnceLock::new(),
            stop: Arc::default(),
            done: Stop::default(),
            opened: (Open(Some(control_open).into()), Open(Some(bulk_open).into())),
        });
        if door.session.set(session.clone()).is_err() {
            return Err("this connection has said hello already".into());
        }
        let mut inner = self.inner();
        let before = inner.spokes.get(&name);
        if let Some(before) = before.filter(|before| before.epoch > epoch) {
            let why = format!(
                "a later start of this spoke was here (start {}, this is {epoch}): is it running twice, or was its VM set \
                 back to an older state? Stop the other one, or delete this one's state",
                before.epoch
            );
            return Err(why);
        }
        let mut spoke = Spoke {
            epoch,
            session: session.clone(),
            connected: false,
            changed: Instant::now(),
            why: "the spoke has said hello".into(),
            pairs: 0,
            control_before: (0, 0),
            bulk_before: (0, 0),
        };
        let mut previous = None;
        if let Some(before) = inner.spokes.remove(&name) {
            let ((in_, out), (bulk_in, bulk_out)) = before.session.moved();
            spoke.control_before = (before.control_before.0 + in_, before.control_before.1 + out);
            spoke.bulk_before = (before.bulk_before.0 + bulk_in, before.bulk_before.1 + bulk_out);
            (spoke.pairs, spoke.changed) = (before.pairs, before.changed);
            if before.connected {
                spoke.changed = Instant::now();
            }
            before.session.stop.end("a newer connection of the same spoke is here");
            previous = Some(before.session);
        }
        self.refused.forget(&name);
        inner.spokes.insert(name, spoke);
        inner.sessions.insert(token.clone(), session.clone());
        inner.make_room();
        drop(inner);
        tokio::spawn(self.clone().keep(session, previous, control, bulk));
        Ok(token)
    }

    /// The life of a session.
    async fn keep(
        self: Arc<Self>,
        session: Arc<Session>,
        previous: Option<Arc<Session>>,
        control: oneshot::Receiver<Half>,
        bulk: oneshot::Receiver<Half>,
    ) {
        let done = Done(session.clone());
        let ended = async {
            if let Some(previous) = previous {
                previous.done.wait().await;
            }
        };
        tokio::pin!(ended);
        let mut gone = false;
        let both = async {
            let halves = tokio::try_join!(control, bulk);
            ended.as_mut().await;
            gone = true;
            halves
        };
        let halves = tokio::select! {
            both = tokio::time::timeout(PATIENCE, both) => both.ok().and_then(std::result::Result::ok),
            _ = session.stop.wait() => None,
        };
        match halves {
            Some((control, bulk)) => self.serve(&session, control, bulk).await,
            None => session.stop.end("no pair came of the hello in time"),
        }
        let why = session.stop.why().unwrap_or_default();
        session.control.life.close.end(&why);
        if let Some(bulk) = session.bulk.get() {
            bulk.life.close.end(&why);
        }
        self.inner().sessions.remove(&session.token);
        // Whoever comes next waits for this one only: the older one has to be gone first, whatever became of this.
        if !gone {
            ended.await;
        }
        drop(done);
    }

    async fn serve(&self, session: &Arc<Session>, control: Half, bulk: Half) {
        let ((site, spoke), began) = (&session.name, Instant::now());
        let (peer, flower) = (session.control.address, &session.hello.flower);
        let is_up = || {
            let mut down_ms = 0;
            self.note(session, |now| {
                down_ms = millis(now.changed.elapsed());
                (now.connected, now.changed, now.why) = (true, began, String::new());
                now.pairs += 1;
            });
            tracing::info!(site, spoke, %peer, flower, epoch = session.hello.epoch, down_ms, "spoke up");
        };
        let (end, stop) = ((self.make)(&session.hello), session.stop.clone());
        let why = run(end, control, bulk, stop, self.config.keepalive, is_up).await;
        self.note(session, |now| {
            (now.connected, now.changed, now.why) = (false, Instant::now(), why.to_string());
        });
        tracing::debug!(site, spoke, %peer, why = &*why, up_ms = millis(began.elapsed()), "pair ended");
    }

    /// Changes what is remembered of a spoke, if this is its present session.
    fn note(&self, session: &Arc<Session>, change: impl FnOnce(&mut Spoke)) {
        let mut inner = self.inner();
        let present = inner.spokes.get_mut(&session.name);
        if let Some(spoke) = present.filter(|spoke| Arc::ptr_eq(&spoke.session, session)) {
            change(spoke);
        }
    }

    fn control(&self, door: &Door, request: Request<Incoming>) -> Answer {
        let session = door.session.get().ok_or((StatusCode::CONFLICT, "say hello first".to_owned()))?;
        open(&session.opened.0, &door.peer, request)
    }

    fn bulk(&self, door: &Door, request: Request<Incoming>) -> Answer {
        let token = request.headers().get(SESSION_HEADER).and_then(|token| token.to_str().ok());
        let session = token.and_then(|token| self.inner().sessions.get(token).cloned());
        let gone = || (StatusCode::GONE, "there is no such session (any more): say hello again".to_owned());
        let session = session.ok_or_else(gone)?;
        if session.bulk.set(door.peer.clone()).is_err() {
            return Err((StatusCode::GONE, "this session has its bulk connection already".into()));
        }
        open(&session.opened.1, &door.peer, request)
    }
}

impl Inner {
    fn make_room(&mut self) {
        while self.spokes.len() > MAX_SPOKES {
            let down = self.spokes.iter().filter(|(_, spoke)| !spoke.connected);
            let oldest = down.min_by_key(|(_, spoke)| spoke.changed).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            if let Some(spoke) = self.spokes.remove(&oldest) {
                spoke.session.stop.end("too many spokes");
            }
        }
    }
}

/// Opens a stream: the request's body is what the spoke says, the answer's what the hub says.
fn open(to: &Open, peer: &Peer, request: Request<Incoming>) -> Answer {
    let gone = || (StatusCode::GONE, "this session has ended, or has this stream already".to_owned());
    let to = to.take().ok_or_else(gone)?;
    let outbox = Arc::<Outbox>::default();
    let body = outbox.body();
    let half =
        Half { incoming: request.into_body(), outbox, meter: peer.meter.clone(), life: peer.life.clone() };
    to.send(half).map_err(|_| gone())?;
    Ok(Response::new(body))
}

/// 128 random bits.
fn token() -> std::result::Result<String, String> {
    let mut bytes = [0u8; 16];
    let random = ring::rand::SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| "the hub has no random numbers".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
