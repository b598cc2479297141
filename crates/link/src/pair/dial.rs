//! How a spoke reaches the hub: names, sockets, TLS, HTTP/2, hello.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use onefed_flower::fleet::ready;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::outbox::Outbox;
use super::run::{Half, Life};
use super::socket::{BULK_ALPN, tune};
use super::{BULK_PATH, BULK_WINDOW, CHUNK, CONTROL_PATH, CONTROL_WINDOW, SEND_BUFFER, SESSION_HEADER};
use crate::error::tls_words;
use crate::io::{Ahead, FrameTap, Meter, Metered, Tapped};
use crate::listen::Body;
use crate::wire::{HELLO_PATH, Hello, Welcome};
use crate::{Error, KeepAlive, Result};

/// A connection that is not there after so long gets another one beside it: on a line that has healed that one is there
/// first, and on a slow one the older.
const ANEW: Duration = Duration::from_secs(2);
/// So many at once; when the last of them has had its time, all of them are given up.
const TRIES: usize = 5;
/// A welcome, or a refusal, is a few hundred bytes.
const MAX_WELCOME: usize = 64 << 10;

/// How to reach the hub, and who asks.
#[derive(Clone)]
pub struct LineConfig {
    /// The hub, as the site knows it.
    pub host: String,
    /// Its Fleet port.
    pub port: u16,
    /// The local address to dial from, where the VM has more than one.
    pub from: Option<IpAddr>,
    /// TLS settings, or `None` where the operator asked for plaintext by name.
    pub tls: Option<Arc<ClientConfig>>,
    /// PINGs.
    pub keepalive: KeepAlive,
    /// What to say first. Its two keepalive fields are filled in from `keepalive`.
    pub hello: Hello,
}

impl LineConfig {
    /// `host:port`, IPv6 in brackets.
    pub fn address(&self) -> String {
        authority(&self.host, self.port)
    }

    pub(super) fn answer(&self, answer: String) -> Error {
        Error::Answer { what: format!("the hub at {}", self.address()), answer }
    }
}

/// `host:port` with IPv6 in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A time as hello and welcome carry it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The innermost cause of an HTTP error; the outer ones say little.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Why an HTTP/2 connection ended.
pub(crate) fn ending(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // hyper has no other timeout here.
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
            return "no answer to a PING in time".into();
        }
        cause = error.source();
    }
    reason(error)
}

/// Connects to a host, trying each of its addresses.
pub(crate) async fn connect(what: &'static str, host: &str, port: u16) -> Result<tokio::net::TcpStream> {
    connect_beginning_with(0, what, host, port, None).await
}

/// The same, beginning with the n-th address: one that swallows everything is not to hide the others.
async fn connect_beginning_with(
    nth: usize,
    what: &'static str,
    host: &str,
    port: u16,
    from: Option<IpAddr>,
) -> Result<tokio::net::TcpStream> {
    let fail = |why: String| Error::Unreachable { what, address: authority(host, port), why };
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|why| fail(why.to_string()))?;
    let mut addresses = addresses.collect::<Vec<_>>();
    let first = nth % addresses.len().max(1);
    addresses.rotate_left(first);
    let mut last = fail("the name has no address".into());
    for address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(|why| fail(why.to_string()))?;
        if let Some(from) = from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0)).map_err(|why| fail(format!("from {from}: {why}")))?;
        }
        match socket.connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(why) => last = fail(why.to_string()),
        }
    }
    Err(last)
}

/// Which of the two connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Bulk,
}

/// A connection to the hub. It ends when this is dropped, or when its life is closed.
pub(super) struct Wired {
    sender: SendRequest<Body>,
    meter: Arc<Meter>,
    pub(super) life: Arc<Life>,
    pub(super) tap: FrameTap,
    _end: EndOnDrop,
}

struct EndOnDrop(Arc<Life>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.close.end("no longer needed");
    }
}

/// How a connection is made.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) config: Arc<LineConfig>,
    /// PINGs, on control.
    pub(super) keepalive: KeepAlive,
    /// For each request, once there is a connection.
    pub(super) patience: Duration,
}

impl Dial {
    fn late(&self, step: &str, patience: Duration) -> Error {
        let what = format!("the hub at {} ({step})", self.config.address());
        Error::Timeout { what, seconds: patience.as_secs() }
    }

    async fn within<T>(&self, step: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.patience, work).await.unwrap_or_else(|_| Err(self.late(step, self.patience)))
    }

    /// Makes one of the connections: TCP and TLS.
    ///
    /// What a dead path has swallowed is sent again after 1, 2, 4, … seconds only, so a connection that was begun in a
    /// hole hears late of its end. Another one is begun beside it every [`ANEW`], and the first that is there is taken.
    pub(super) async fn wire(&self, kind: Kind, meter: Arc<Meter>) -> Result<Wired> {
        let (mut tries, connected) = (JoinSet::new(), Arc::<AtomicBool>::default());
        for nth in 0..TRIES {
            let (dial, meter, connected) = (self.clone(), meter.clone(), connected.clone());
            tries.spawn(async move { dial.try_to_wire(nth, kind, meter, &connected).await });
            match timeout(ANEW, tries.join_next()).await {
                Ok(Some(Ok(wired))) => return wired,
                Ok(Some(Err(why))) => return Err(self.config.answer(why.to_string())),
                Ok(None) | Err(_) => {}
            }
        }
        let step = if connected.load(Ordering::Relaxed) { "TLS" } else { "TCP" };
        Err(self.late(step, ANEW * u32::try_from(TRIES).unwrap_or(u32::MAX)))
    }

    async fn try_to_wire(
        &self,
        nth: usize,
        kind: Kind,
        meter: Arc<Meter>,
        connected: &AtomicBool,
    ) -> Result<Wired> {
        let config = &self.config;
        let tcp = connect_beginning_with(nth, "the hub", &config.host, config.port, config.from).await?;
        connected.store(true, Ordering::Relaxed);
        let patience = match kind {
            Kind::Control => self.keepalive.timeout,
            Kind::Bulk => self.keepalive.time + self.keepalive.timeout,
        };
        tune(&tcp, patience);
        let tcp = Metered::new(tcp, meter.clone());
        let Some(tls) = &config.tls else { return self.http(kind, tcp, meter).await };
        let mut tls = tls.clone();
        if kind == Kind::Bulk {
            Arc::make_mut(&mut tls).alpn_protocols = vec![BULK_ALPN.to_vec()];
        }
        let fail = |why: String| Error::Tls { what: "the hub", address: config.address(), why };
        let name = ServerName::try_from(config.host.clone()).map_err(|why| fail(why.to_string()))?;
        let stream = TlsConnector::from(tls).connect(name, Ahead::new(tcp)).await;
        let stream = stream.map_err(|why| fail(tls_words(&why)))?;
        self.http(kind, stream, meter).await
    }

    async fn http<S>(&self, kind: Kind, stream: S, meter: Arc<Meter>) -> Result<Wired>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let window = if kind == Kind::Bulk { BULK_WINDOW } else { CONTROL_WINDOW };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window)
            .max_frame_size(CHUNK as u32)
            .max_send_buf_size(SEND_BUFFER);
        if kind == Kind::Control {
            builder
                .keep_alive_interval(self.keepalive.time)
                .keep_alive_timeout(self.keepalive.timeout)
                .keep_alive_while_idle(true);
        }
        let tap = FrameTap::default();
        let shaken = builder.handshake(TokioIo::new(Tapped::new(stream, tap.clone()))).await;
        let (sender, connection) = shaken.map_err(|why| Error::Unreachable {
            what: "the hub",
            address: self.config.address(),
            why: reason(&why),
        })?;
        let life = Arc::<Life>::default();
        let its = life.clone();
        tokio::spawn(async move {
            let why = tokio::select! {
                ended = connection => match ended {
                    Ok(()) => "the hub closed the connection".into(),
                    Err(why) => ending(&why).into(),
                },
                why = its.close.wait() => why,
            };
            its.ended.end(&why);
        });
        Ok(Wired { sender, meter, tap, _end: EndOnDrop(life.clone()), life })
    }

    /// Says hello on control.
    pub(super) async fn hello(&self, wired: &mut Wired) -> Result<Welcome> {
        let config = &self.config;
        let hello = Hello {
            keepalive_time_ms: millis(self.keepalive.time),
            keepalive_timeout_ms: millis(self.keepalive.timeout),
            ..config.hello.clone()
        };
        let body = serde_json::to_vec(&hello).map_err(|why| config.answer(why.to_string()))?;
        let body = ready(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        let request = self.request(HELLO_PATH, None, body)?;
        let answer = self.within("hello", self.ask(&mut wired.sender, request)).await?;
        let body = self.within("welcome", self.words(answer.into_body())).await?;
        serde_json::from_slice(&body).map_err(|why| config.answer(format!("an unreadable welcome: {why}")))
    }

    /// Opens the long stream of a connection.
    pub(super) async fn stream(&self, kind: Kind, wired: &mut Wired, session: &str) -> Result<Half> {
        let path = if kind == Kind::Bulk { BULK_PATH } else { CONTROL_PATH };
        let outbox = Arc::<Outbox>::default();
        let request = self.request(path, Some(session), outbox.body())?;
        let answer = self.within(path, self.ask(&mut wired.sender, request)).await?;
        let (meter, life) = (wired.meter.clone(), wired.life.clone());
        Ok(Half { incoming: answer.into_body(), outbox, meter, life })
    }

    fn request(&self, path: &str, session: Option<&str>, body: Body) -> Result<Request<Body>> {
        let mut request = Request::builder().method(Method::POST).uri(format!("https://hub{path}"));
        if let Some(session) = session {
            request = request.header(SESSION_HEADER, session);
        }
        request.body(body).map_err(|why| self.config.answer(why.to_string()))
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>> {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|why| self.config.answer(reason(&why)))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let words = self.words(answer.into_body()).await?;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if status == StatusCode::CONFLICT {
            let what = format!("the hub at {}", self.config.address());
            return Err(Error::Refused { what, why: words });
        }
        Err(self.config.answer(format!("{status}: {words}")))
    }

    async fn words(&self, body: Incoming) -> Result<Bytes> {
        let body = Limited::new(body, MAX_WELCOME).collect().await;
        Ok(body.map_err(|why| self.config.answer(why.to_string()))?.to_bytes())
    }
}
