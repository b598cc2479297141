//! The spoke's end of the line: it dials the hub, says hello, keeps the connection alive and replaces a dead one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, ready};
use onefed_flower::{Operation, Transport};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::backoff::Backoff;
use crate::error::tls_words;
use crate::io::{FrameTap, Meter, Metered, Tapped};
use crate::listen::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::pair::{LineConfig, connect, millis, reason, tune};
use crate::wire::{HELLO_PATH, Welcome};
use crate::{Error, KeepAlive, Result};

const DIAL_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Flower gives a heartbeat 5 s; an answer must be there before.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(4);
/// From 1.40 Flower reads for at most 30 s; an answer must be there before.
const HTTP_DEADLINE: Duration = Duration::from_secs(25);
/// Up to 1.39 Flower waits for ever, so a slow line may take its time; a dead one is found out by PINGs.
const GRPC_DEADLINE: Duration = Duration::from_secs(300);

/// The state of a line.
#[derive(Clone)]
pub(crate) enum LineState {
    /// Being dialled, and why the last try or connection ended.
    Down(Arc<str>),
    /// Up.
    Up(SendRequest<ReadyBody>),
}

/// A line to the hub. Cheap to clone; the last clone that goes ends it.
#[derive(Clone)]
pub struct Line {
    state: watch::Receiver<LineState>,
    tap: watch::Receiver<FrameTap>,
    meter: Arc<Meter>,
    _task: Arc<AbortOnDrop>,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    /// Starts to dial, and goes on for ever.
    pub fn start(mut config: LineConfig) -> Self {
        // The hub judges by what is said; so that is what is done.
        config.hello.keepalive_time_ms = millis(config.keepalive.time);
        config.hello.keepalive_timeout_ms = millis(config.keepalive.timeout);
        let (state, state_seen) = watch::channel(LineState::Down("not connected yet".into()));
        let (tap, tap_seen) = watch::channel(FrameTap::default());
        let meter = Arc::<Meter>::default();
        let task = tokio::spawn(keep(config, state, tap, meter.clone()));
        Self { state: state_seen, tap: tap_seen, meter, _task: Arc::new(AbortOnDrop(task)) }
    }

    /// Waits until the line is up, at most `patience`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the reason of the last failure.
    pub async fn wait_up(&self, patience: Duration) -> Result<()> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, LineState::Up(_)));
        match tokio::time::timeout(patience, up).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Timeout {
                what: format!("the hub ({})", self.why_down().unwrap_or_default()),
                seconds: patience.as_secs(),
            }),
        }
    }

    /// Why the line is down, or `None` while it is up.
    pub fn why_down(&self) -> Option<String> {
        match &*self.state.borrow() {
            LineState::Down(why) => Some(why.to_string()),
            LineState::Up(_) => None,
        }
    }

    /// The PINGs of the present connection.
    pub fn pings(&self) -> crate::io::PingLog {
        self.tap.borrow().log()
    }

    /// The bytes of all connections of this line.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Makes one Fleet call. Fails at once while the line is down, and at the latest before Flower's own deadline.
    ///
    /// # Errors
    /// [`Error::Unreachable`] while the line is down or when it breaks under the call, [`Error::Timeout`],
    /// [`Error::Answer`] for something that is not a Fleet answer.
    pub async fn call(&self, call: &FleetCall) -> Result<FleetAnswer> {
        let deadline = deadline(call.operation, call.transport);
        let broken = |why: String| Error::Unreachable { what: "the hub", address: "the line".into(), why };
        let mut sender = match &*self.state.borrow() {
            LineState::Up(sender) => sender.clone(),
            LineState::Down(why) => return Err(broken(why.to_string())),
        };
        let request = call.to_request("https://hub").map_err(|why| broken(why.to_string()))?;
        let transport = call.transport;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|why| broken(reason(&why)))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|why| broken(reason(&why)))?;
            let trailers = body.trailers().cloned();
            FleetAnswer::from_response(
                transport,
                parts.status,
                &parts.headers,
                trailers.as_ref(),
                body.to_bytes(),
            )
            .map_err(|why| Error::Answer { what: "the hub".into(), answer: why.to_string() })
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(done) => done,
            Err(_) => Err(Error::Timeout {
                what: format!("the hub, asked for {},", call.operation.name()),
                seconds: deadline.as_secs(),
            }),
        }
    }
}

/// How long a Fleet call may take, seen from the spoke.
pub(crate) fn deadline(operation: Operation, transport: Transport) -> Duration {
    match (operation, transport) {
        (Operation::SendNodeHeartbeat, _) => HEARTBEAT_DEADLINE,
        (_, Transport::Http) => HTTP_DEADLINE,
        (_, Transport::Grpc) => GRPC_DEADLINE,
    }
}

/// Keeps the line up.
async fn keep(
    mut config: LineConfig,
    state: watch::Sender<LineState>,
    tap: watch::Sender<FrameTap>,
    meter: Arc<Meter>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let started = Instant::now();
        let why = match dial(&config, meter.clone()).await {
            Ok(connected) if millis(config.keepalive.time) < connected.welcome.keepalive_least_ms => {
                let least = Duration::from_millis(connected.welcome.keepalive_least_ms);
                tracing::warn!(
                    asked_seconds = config.keepalive.time.as_secs_f64(),
                    seconds = least.as_secs_f64(),
                    "the hub takes fewer PINGs than FL_GRPC_KEEPALIVE_TIME asks for: its least interval is used"
                );
                config.keepalive.time = least;
                config.hello.keepalive_time_ms = millis(least);
                connected.connection.abort();
                continue;
            }
            Ok(connected) => {
                tracing::info!(hub = config.address(), flower = connected.welcome.flower, "line up");
                backoff.reset();
                tap.send_replace(connected.tap);
                state.send_replace(LineState::Up(connected.sender));
                let why = match connected.connection.await {
                    Ok(Ok(())) => "the hub closed the connection".to_owned(),
                    Ok(Err(why)) => reason(&why),
                    Err(why) => why.to_string(),
                };
                tracing::warn!(
                    hub = config.address(),
                    why,
                    up_seconds = started.elapsed().as_secs(),
                    "line down"
                );
                why
            }
            Err(why) => {
                let (now, before) = (why.to_string(), why_down(&state));
                if before.as_deref() != Some(now.as_str()) {
                    tracing::warn!(hub = config.address(), why = now, "cannot reach the hub, trying again");
                }
                now
            }
        };
        state.send_replace(LineState::Down(why.into()));
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn why_down(state: &watch::Sender<LineState>) -> Option<String> {
    match &*state.borrow() {
        LineState::Down(why) => Some(why.to_string()),
        LineState::Up(_) => None,
    }
}

/// A connection that has said hello.
struct Connected {
    sender: SendRequest<ReadyBody>,
    connection: tokio::task::JoinHandle<hyper::Result<()>>,
    tap: FrameTap,
    welcome: Welcome,
}

async fn dial(config: &LineConfig, meter: Arc<Meter>) -> Result<Connected> {
    let late = || Error::Timeout {
        what: format!("the hub at {}", config.address()),
        seconds: DIAL_PATIENCE.as_secs(),
    };
    tokio::time::timeout(DIAL_PATIENCE, dial_patiently(config, meter)).await.map_err(|_| late())?
}

async fn dial_patiently(config: &LineConfig, meter: Arc<Meter>) -> Result<Connected> {
    let tcp = connect(&config.host, config.port, config.from).await?;
    tune(&tcp, config.keepalive.timeout);
    let tcp = Metered::new(tcp, meter);
    let tap = FrameTap::default();
    let (sender, connection) = match &config.tls {
        None => handshake(Tapped::new(tcp, tap.clone()), config.keepalive).await,
        Some(tls) => {
            let fail = |why: String| Error::Tls { what: "the hub", address: config.address(), why };
            let name = ServerName::try_from(config.host.clone()).map_err(|why| fail(why.to_string()))?;
            let tls = TlsConnector::from(tls.clone()).connect(name, tcp).await;
            let tls = tls.map_err(|why| fail(tls_words(&why)))?;
            handshake(Tapped::new(tls, tap.clone()), config.keepalive).await
        }
    }
    .map_err(|why| Error::Unreachable {
        what: "the hub",
        address: config.address(),
        why: reason(&why),
    })?;
    let (sender, welcome) = hello(config, sender).await?;
    Ok(Connected { sender, connection, tap, welcome })
}

async fn handshake<S>(
    stream: S,
    keepalive: KeepAlive,
) -> hyper::Result<(SendRequest<ReadyBody>, tokio::task::JoinHandle<hyper::Result<()>>)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(keepalive.time)
        .keep_alive_timeout(keepalive.timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    Ok((sender, tokio::spawn(connection)))
}

async fn hello(
    config: &LineConfig,
    mut sender: SendRequest<ReadyBody>,
) -> Result<(SendRequest<ReadyBody>, Welcome)> {
    let fail = |answer: String| Error::Answer { what: format!("the hub at {}", config.address()), answer };
    let body = serde_json::to_vec(&config.hello).map_err(|why| fail(why.to_string()))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://hub{HELLO_PATH}"))
        .body(ready(Bytes::from(body)))
        .map_err(|why| fail(why.to_string()))?;
    let response = sender.send_request(request).await.map_err(|why| fail(reason(&why)))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|why| fail(reason(&why)))?.to_bytes();
    if status != StatusCode::OK {
        return Err(fail(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
    }
    let welcome =
        serde_json::from_slice(&body).map_err(|why| fail(format!("an unreadable welcome: {why}")))?;
    Ok((sender, welcome))
}
