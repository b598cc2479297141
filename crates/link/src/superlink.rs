//! The hub's client to the SuperLink on its own VM.
//!
//! Never a PING: a SuperLink answers them with GOAWAY. Idle HTTP/1.1 connections go after 3 s, before uvicorn closes
//! them at 5 s, so that no call meets a closing connection. Nothing is tried twice: PullMessages has side effects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, Refusal, frame, ready};
use onefed_flower::objects::ObjectId;
use onefed_flower::uncopied;
use onefed_flower::{Operation, Release, Transport, bridge, control};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::Result;
use crate::dial::Dial;
use crate::listen::{Body, BodyError};
use crate::pair::reason;
use crate::shell::budget::Gather;

/// uvicorn closes an idle connection after 5 s.
const IDLE: Duration = Duration::from_secs(3);
/// What a SuperNode without a spoke waits for: a heartbeat 5 s, any other call 30 s from Flower 1.40 on …
const DIRECT_HEARTBEAT: Duration = Duration::from_secs(4);
const DIRECT_HTTP: Duration = Duration::from_secs(25);
/// … and up to 1.39 for ever.
const DIRECT_GRPC: Duration = Duration::from_secs(300);
/// A heartbeat of the hub's engine; its SuperNode waits for 5 s.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Any other call of the hub's engine. A SuperNode may have given up by then, but the answer is not lost.
const CALL: Duration = Duration::from_secs(60);
/// So many objects are pulled or pushed at once. A SuperLink is slower with more: its threads take turns on one core, and each
/// object is a few writes to a database that takes one writer at a time; whoever waits for that longer than 5 s fails, the
/// ServerApp too.
const OBJECTS: usize = 1;
/// So many other calls are made at once, beside those.
const CALLS: usize = 16;
/// The longest rest between two calls that enter or remove whole messages: whoever waits for SuperLink's database looks for
/// it every 100 ms, the ServerApp too, and hits a gap of that length. After a short call it is half as long as that took.
const REST: Duration = Duration::from_millis(250);
/// HTTP/2 windows, and the largest frame: on the VM itself nothing is gained by more, and what is on the way is memory.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const FRAME: u32 = 64 << 10;
/// A status line must not hang on a busy SuperLink.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// Where a SuperLink is, and which release it is.
#[derive(Clone, Debug)]
pub struct SuperLinkAddress {
    /// Its release.
    pub release: Release,
    /// Its Fleet API.
    pub fleet: SocketAddr,
    /// Its Control API.
    pub control: SocketAddr,
    /// The CA (PEM) of the certificate that it shows on both APIs, which must name their addresses; `None` where it
    /// speaks in plaintext on the VM's own loopback. TLS 1.3 only.
    pub ca_pem: Option<String>,
}

/// A client to one SuperLink.
#[derive(Clone)]
pub struct SuperLink {
    address: SuperLinkAddress,
    client: Client<Dial, Body>,
    lanes: Arc<Lanes>,
}

/// What the hub's engine asks for is bounded, and heartbeats and polls never wait behind objects.
struct Lanes {
    objects: Semaphore,
    calls: Semaphore,
    /// Whose turn it is to write: what enters or removes whole messages alone, all else together; and until when the next
    /// of those rests.
    turns: RwLock<Instant>,
}

/// The right to make a call now.
struct Place<'a> {
    _lane: SemaphorePermit<'a>,
    turn: Turn<'a>,
    since: Instant,
}

/// What a call has of [`Lanes::turns`].
enum Turn<'a> {
    None,
    Shared { _guard: RwLockReadGuard<'a, Instant> },
    Alone(RwLockWriteGuard<'a, Instant>),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Turn::Alone(rest_until) = &mut self.turn {
            let now = Instant::now();
            **rest_until = now + ((now - self.since) / 2).min(REST);
        }
    }
}

impl Lanes {
    /// Waits until a call may be made. PushMessages makes SuperLink enter every object of a message into its database in
    /// one go, ConfirmMessageReceived has it delete them, seconds for some hundred arrays: whatever else wants to write
    /// meanwhile fails after 5 s. So nothing of the hub's own does, but for heartbeats, which the spoke can answer. And
    /// between two of them there is a [`REST`].
    async fn place(&self, operation: Operation) -> Option<Place<'_>> {
        let shared = async || Turn::Shared { _guard: self.turns.read().await };
        let (lane, turn) = match operation {
            Operation::PullObject | Operation::PushObject | Operation::GetFab => {
                let lane = self.objects.acquire().await;
                (lane, shared().await)
            }
            Operation::SendNodeHeartbeat => (self.calls.acquire().await, Turn::None),
            Operation::PushMessages | Operation::ConfirmMessageReceived => {
                let turn = self.turns.write().await;
                tokio::time::sleep_until(*turn).await;
                (self.calls.acquire().await, Turn::Alone(turn))
            }
            _ => {
                let turn = shared().await;
                (self.calls.acquire().await, turn)
            }
        };
        Some(Place { _lane: lane.ok()?, turn, since: Instant::now() })
    }
}

/// Why there is no answer.
enum NoAnswer {
    /// SuperLink has not seen the call.
    NotSent(String),
    /// Nobody knows whether it was carried out.
    Unknown(String),
}

impl NoAnswer {
    fn words(self) -> String {
        match self {
            Self::NotSent(why) | Self::Unknown(why) => why,
        }
    }
}

impl SuperLink {
    /// Makes a client; connects when first needed.
    ///
    /// # Errors
    /// [`crate::Error::Trust`] for a damaged CA certificate.
    pub fn new(address: SuperLinkAddress) -> Result<Self> {
        let transport = address.release.transport();
        let dial = Dial::new(address.ca_pem.as_deref(), transport)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.retry_canceled_requests(false).pool_timer(TokioTimer::new());
        match transport {
            Transport::Http => builder.pool_idle_timeout(IDLE),
            Transport::Grpc => builder
                .pool_idle_timeout(None)
                .http2_only(true)
                .http2_max_frame_size(FRAME)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW),
        };
        let turns = RwLock::new(Instant::now());
        let lanes = Lanes { objects: Semaphore::new(OBJECTS), calls: Semaphore::new(CALLS), turns };
        Ok(Self { client: builder.build(dial), address, lanes: Arc::new(lanes) })
    }

    /// The release that this SuperLink is.
    pub fn release(&self) -> Release {
        self.address.release
    }

    fn scheme(&self) -> Scheme {
        if self.address.ca_pem.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Passes a Fleet call on, in the transport of this SuperLink; the answer is in that of the call. Failures come back
    /// as the answer that makes a SuperNode try again.
    pub async fn fleet(&self, call: &FleetCall) -> FleetAnswer {
        let transport = call.transport;
        let deadline = match (call.operation, transport) {
            (Operation::SendNodeHeartbeat, _) => DIRECT_HEARTBEAT,
            (_, Transport::Http) => DIRECT_HTTP,
            (_, Transport::Grpc) => DIRECT_GRPC,
        };
        let answer = tokio::time::timeout(deadline, self.fleet_once(call)).await;
        let refuse =
            |why: &str| FleetAnswer::refusal(transport, Refusal::Unavailable, &format!("hub: {why}"));
        match answer {
            Ok(Ok(answer)) => bridge::answer(answer, transport),
            Ok(Err(why)) => {
                let why = why.words();
                tracing::warn!(operation = call.operation.name(), why, "SuperLink did not answer");
                refuse(&format!("SuperLink did not answer: {why}"))
            }
            Err(_) => refuse(&format!("SuperLink did not answer within {} s", deadline.as_secs())),
        }
    }

    /// Makes a call for the hub's engine, in the transport of this SuperLink; the answer is in that of the call. Whatever
    /// SuperLink has certainly not seen is answered "unavailable"; `None` where nobody knows whether it was carried out.
    pub(crate) async fn carry(&self, call: &FleetCall) -> Option<FleetAnswer> {
        self.carry_request(call, |call, base| call.to_request(base)).await
    }

    /// The same for a PushObject call whose body is made of these: node, run and session, object and content.
    pub(crate) async fn carry_object(
        &self,
        call: &FleetCall,
        of: (u64, u64, &str),
        object: (ObjectId, Bytes),
    ) -> Option<FleetAnswer> {
        self.carry_request(call, |call, base| uncopied::push_object(call, base, of, object)).await
    }

    async fn carry_request(
        &self,
        call: &FleetCall,
        request: impl FnOnce(&FleetCall, &str) -> std::result::Result<Request<ReadyBody>, http::Error>,
    ) -> Option<FleetAnswer> {
        let (transport, operation) = (call.transport, call.operation.name());
        let patience = if call.operation == Operation::SendNodeHeartbeat { HEARTBEAT } else { CALL };
        let refuse =
            |why: &str| FleetAnswer::refusal(transport, Refusal::Unavailable, &format!("hub: {why}"));
        let place = tokio::time::timeout(patience, self.lanes.place(call.operation)).await;
        let Ok(Some(_place)) = place else {
            tracing::warn!(operation, "SuperLink is too busy");
            return Some(refuse("SuperLink is too busy"));
        };
        let bridged = bridge::call(call, self.address.release.transport());
        let request = match request(&bridged, &self.fleet_base()) {
            Ok(request) => request.map(|body| body.map_err(|never| match never {}).boxed_unsync()),
            Err(why) => return Some(refuse(&why.to_string())),
        };
        match tokio::time::timeout(patience, self.exchange(request)).await {
            Ok(Ok(answer)) => Some(bridge::answer(answer, transport)),
            Ok(Err(NoAnswer::NotSent(why))) => {
                tracing::warn!(operation, why, "SuperLink could not be asked");
                Some(refuse(&format!("SuperLink could not be asked: {why}")))
            }
            Ok(Err(NoAnswer::Unknown(why))) => {
                tracing::warn!(operation, why, "SuperLink did not answer");
                None
            }
            Err(_) => {
                tracing::warn!(operation, seconds = patience.as_secs(), "SuperLink did not answer in time");
                None
            }
        }
    }

    fn fleet_base(&self) -> String {
        format!("{}://{}", self.scheme(), self.address.fleet)
    }

    async fn fleet_once(&self, call: &FleetCall) -> std::result::Result<FleetAnswer, NoAnswer> {
        let call = bridge::call(call, self.address.release.transport());
        let request =
            call.to_request(&self.fleet_base()).map_err(|why| NoAnswer::NotSent(why.to_string()))?;
        self.exchange(request.map(|body| body.map_err(|never| match never {}).boxed_unsync())).await
    }

    /// One unary exchange. Control answers come in the same envelopes as Fleet answers.
    async fn exchange(&self, request: Request<Body>) -> std::result::Result<FleetAnswer, NoAnswer> {
        let response = self.client.request(request).await.map_err(|why| {
            let text = reason(&why);
            if why.is_connect() || canceled(&why) { NoAnswer::NotSent(text) } else { NoAnswer::Unknown(text) }
        })?;
        let unknown = |why: &dyn std::error::Error| NoAnswer::Unknown(reason(why));
        let (parts, body) = response.into_parts();
        let transport = self.address.release.transport();
        let (body, trailers) = read(body, transport).await.map_err(|why| unknown(&why))?;
        FleetAnswer::from_response(transport, parts.status, &parts.headers, trailers.as_ref(), body)
            .map_err(|why| unknown(&why))
    }

    /// Passes a request of the Control API on, streams in both directions. The caller has checked the path.
    ///
    /// # Errors
    /// Why SuperLink did not answer.
    pub async fn control(&self, request: Request<Incoming>) -> std::result::Result<Response<Body>, String> {
        let (mut parts, body) = request.into_parts();
        parts.uri = rebase(&parts.uri, self.scheme(), self.address.control)?;
        parts.version = http::Version::default();
        strip_hop_headers(&mut parts.headers);
        let body = body.map_err(BodyError::from).boxed_unsync();
        let request = Request::from_parts(parts, body);
        let response = self.client.request(request).await.map_err(|why| reason(&why))?;
        let mut response = response.map(|body| body.map_err(BodyError::from).boxed_unsync());
        strip_hop_headers(response.headers_mut());
        Ok(response)
    }

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// Why SuperLink did not answer, or not as it should.
    pub async fn runs(&self, limit: u64) -> std::result::Result<Vec<control::RunInfo>, String> {
        let path = control::list_runs_path(self.address.release);
        let answer = self.ask(path, control::list_runs_request(limit)).await?;
        if !answer.is_ok() {
            return Err(format!("ListRuns: {}", answer.words()));
        }
        control::list_runs_answer(answer.body)
    }

    /// Asks the Control API one thing of our own. Refusals are answers.
    ///
    /// # Errors
    /// Why SuperLink did not answer.
    pub(crate) async fn ask(&self, path: &str, message: Bytes) -> std::result::Result<FleetAnswer, String> {
        let transport = self.address.release.transport();
        let (kind, body) = match transport {
            Transport::Grpc => ("application/grpc", frame(&message)),
            Transport::Http => ("application/protobuf", message),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}://{}{path}", self.scheme(), self.address.control))
            .header(CONTENT_TYPE, kind)
            .header("flwr-package-name", "flwr")
            .header("flwr-package-version", self.address.release.version().to_string())
            .header("flwr-component-name", "CLI");
        let request = match transport {
            Transport::Grpc => request.header(TE, "trailers"),
            Transport::Http => request,
        };
        let body = ready(body).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|why| why.to_string())?;
        let answer = tokio::time::timeout(STATUS_DEADLINE, self.exchange(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", STATUS_DEADLINE.as_secs()))?;
        answer.map_err(NoAnswer::words)
    }
}

/// A whole body, and what comes after it.
async fn read(
    mut body: Incoming,
    transport: Transport,
) -> std::result::Result<(Bytes, Option<http::HeaderMap>), hyper::Error> {
    let told = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let (mut gathered, mut trailers) = (Gather::new(told, transport == Transport::Grpc), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(piece) => gathered.add(piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((gathered.done(), trailers))
}

/// Whether a request was given back before a byte of it was written, as to a connection that closed at that moment.
fn canceled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The same path and query at another authority.
fn rebase(uri: &Uri, scheme: Scheme, address: SocketAddr) -> std::result::Result<Uri, String> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(address.to_string()).map_err(|why| why.to_string())?);
    Uri::from_parts(parts).map_err(|why| why.to_string())
}

/// Removes what belongs to one connection only and must not be passed on (RFC 9110, 7.6.1). `te: trailers` stays:
/// gRPC needs it.
pub(crate) fn strip_hop_headers(headers: &mut http::HeaderMap) {
    const HOP: [&str; 7] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "host",
        "http2-settings",
    ];
    for name in HOP {
        headers.remove(HeaderName::from_static(name));
    }
    if headers.get(TE).is_some_and(|te| te != HeaderValue::from_static("trailers")) {
        headers.remove(TE);
    }
}

/// An empty body, for requests without one.
pub(crate) fn empty() -> Body {
    ready(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Lanes {
        let turns = RwLock::new(Instant::now());
        Lanes { objects: Semaphore::new(OBJECTS), calls: Semaphore::new(CALLS), turns }
    }

    /// Makes a call that takes at least so long; when it began and ended.
    async fn call(lanes: &Lanes, operation: Operation, takes: u64) -> (Instant, Instant) {
        let place = lanes.place(operation).await.unwrap();
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(takes)).await;
        drop(place);
        (began, Instant::now())
    }

    #[tokio::test]
    async fn messages_are_entered_and_removed_alone_and_with_rests_between() {
        let lanes = lanes();
        let (first, second, poll) = tokio::join!(
            call(&lanes, Operation::PushMessages, 40),
            call(&lanes, Operation::ConfirmMessageReceived, 40),
            call(&lanes, Operation::PullMessages, 1),
        );
        assert!(second.0 >= first.0 + Duration::from_millis(60), "{first:?} {second:?}");
        assert!(poll.0 >= second.1, "nothing of the hub's own is asked meanwhile: {second:?} {poll:?}");
        let rest_until = *lanes.turns.read().await;
        assert!(rest_until <= second.1 + REST, "{second:?} {rest_until:?}");
    }

    #[tokio::test]
    async fn heartbeats_wait_for_nothing_and_objects_for_one_another() {
        let lanes = lanes();
        let (messages, heartbeat, pull, push) = tokio::join!(
            call(&lanes, Operation::PushMessages, 40),
            call(&lanes, Operation::SendNodeHeartbeat, 1),
            call(&lanes, Operation::PullObject, 1),
            call(&lanes, Operation::PushObject, 1),
        );
        assert!(heartbeat.0 < messages.1, "{messages:?} {heartbeat:?}");
        assert!(pull.0 >= messages.1 && push.0 >= pull.1, "{messages:?} {pull:?} {push:?}");
    }
}
