//! The accept loop that all listeners share: TLS or not, HTTP/1.1 and HTTP/2, one service per connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use onefed_flower::fleet::ReadyBody;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::io::{Ahead, FrameTap, Meter, Metered, Tapped};
use crate::pair::{self, Life};
use crate::{Error, KeepAlive, Result};

/// How long a client may take for its TLS handshake or its request headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// HTTP/2 windows: enough for a whole object of 5 MiB without waiting for a window update.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
/// Calls of one connection at once: of a SuperNode, or of an operator.
const STREAMS: u32 = 4096;
/// So many connections at once; more wait.
const CONNECTIONS: usize = 8192;
pub(crate) const CONNECTION_WINDOW: u32 = 32 << 20;
/// On a LAN nothing is gained by more than this, and each SuperNode could fill it.
const NEAR_WINDOW: u32 = 1 << 20;
/// A SuperNode that takes no byte for so long is gone, and what it was sent is not kept any longer.
const NEAR_PATIENCE: Duration = Duration::from_secs(60);

/// An error that a body may end with.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a response that is passed through.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Turns a ready body into the common body type.
pub(crate) fn boxed(response: Response<ReadyBody>) -> Response<Body> {
    response.map(|body| body.map_err(|never: Infallible| match never {}).boxed_unsync())
}

/// A plain answer of a few words.
pub(crate) fn text(status: http::StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = boxed(Response::new(onefed_flower::fleet::ready(Bytes::from(text.into() + "\n"))));
    *response.status_mut() = status;
    response
}

/// A JSON document.
pub(crate) fn json<T: serde::Serialize>(document: &T) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => {
            let mut response = boxed(Response::new(onefed_flower::fleet::ready(Bytes::from(bytes))));
            let kind = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        Err(why) => text(http::StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

/// What is known of a connection before its first request.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The other end.
    pub(crate) address: SocketAddr,
    /// Its bytes on the wire.
    pub(crate) meter: Arc<Meter>,
    /// Its PINGs, meaningful on HTTP/2 only.
    pub(crate) tap: FrameTap,
    /// The client certificate (DER) where one was asked for and verified.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Whether it was negotiated to be a bulk connection of a spoke.
    pub(crate) bulk: bool,
    /// Ends it, and tells when it has ended.
    pub(crate) life: Arc<Life>,
}

/// An open listener.
pub(crate) struct Listener {
    who: &'static str,
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    keepalive: Option<KeepAlive>,
}

impl Listener {
    /// Opens a listener. `who` names it in errors and logs. With `keepalive`, HTTP/2 connections are pinged; without, they
    /// come from the same network.
    pub(crate) async fn open(
        who: &'static str,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        keepalive: Option<KeepAlive>,
    ) -> Result<Self> {
        let tcp = TcpListener::bind(address).await.map_err(|why| Error::Listen { who, address, why })?;
        Ok(Self { who, tcp, tls: tls.map(TlsAcceptor::from), keepalive })
    }

    /// Where the listener is, with the real port.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        self.tcp.local_addr().map_err(|why| Error::Listen { who: self.who, address: unspecified, why })
    }

    /// Accepts until the future is dropped; every connection then ends. `make` gives each connection its service.
    pub(crate) async fn serve<Make, Serve, Answer>(self, make: Make)
    where
        Make: Fn(Peer) -> Serve + Send + Sync + 'static,
        Serve: Fn(Request<Incoming>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Response<Body>> + Send + 'static,
    {
        let make = Arc::new(make);
        let mut connections = JoinSet::new();
        loop {
            let (tcp, address) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(why) => {
                    // Out of file descriptors, usually: wait for some to come back instead of spinning.
                    tracing::warn!(listener = self.who, %why, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS {
                tracing::warn!(listener = self.who, "too many connections, waiting for one to end");
                connections.join_next().await;
            }
            let (tls, keepalive, who, make) = (self.tls.clone(), self.keepalive, self.who, make.clone());
            connections.spawn(async move {
                prepare(&tcp, keepalive);
                let mut peer = Peer {
                    address,
                    meter: Arc::default(),
                    tap: FrameTap::default(),
                    certificate: None,
                    bulk: false,
                    life: Arc::default(),
                };
                let tcp = Metered::new(tcp, peer.meter.clone());
                let Some(acceptor) = tls else {
                    return drive(who, tcp, make(peer.clone()), peer, keepalive).await;
                };
                // A handshake that ends with a FIN looks like a TLS error to a SuperNode, and since 1.40 it takes
                // that for final; a reset is a connection error, which it tries again after.
                end_by_reset(tcp.get_ref(), true);
                let handshake = match tokio::time::timeout(PATIENCE, acceptor.accept(Ahead::new(tcp))).await {
                    Ok(Ok(stream)) => Ok(stream),
                    Ok(Err(why)) => Err(why.to_string()),
                    Err(_) => Err("it took too long".to_owned()),
                };
                let stream = match handshake {
                    Ok(stream) => stream,
                    // A health check that looks whether somebody listens, and goes: several times a minute, for ever.
                    Err(_) if peer.meter.read() == 0 => {
                        return tracing::debug!(listener = who, %address, "a connection that said nothing");
                    }
                    Err(why) => {
                        return tracing::info!(listener = who, %address, why, "TLS handshake failed");
                    }
                };
                let (tcp, session) = stream.get_ref();
                let tcp = tcp.get_ref();
                end_by_reset(tcp.get_ref(), false);
                peer.certificate =
                    session.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec()));
                peer.bulk = session.alpn_protocol() == Some(pair::BULK_ALPN);
                if let Some(keepalive) = keepalive.filter(|_| peer.bulk) {
                    pair::tune(tcp.get_ref(), keepalive.time + keepalive.timeout);
                }
                drive(who, stream, make(peer.clone()), peer, keepalive).await;
            });
        }
    }
}

/// Socket options of an accepted connection.
fn prepare(tcp: &TcpStream, keepalive: Option<KeepAlive>) {
    match keepalive {
        // The kernel gives a connection up whose data stays unacknowledged, as the PING timeout does above it.
        Some(keepalive) => pair::tune(tcp, keepalive.timeout),
        None => {
            // Not essential; a socket that refuses it is about to fail anyway.
            let _ = tcp.set_nodelay(true);
            let millis = u32::try_from(NEAR_PATIENCE.as_millis()).unwrap_or(u32::MAX);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp, millis);
            // One that waits for us to send has nothing unacknowledged.
            let probes = TcpKeepalive::new().with_time(NEAR_PATIENCE / 2).with_interval(NEAR_PATIENCE / 4);
            let _ = SockRef::from(tcp).set_tcp_keepalive(&probes);
        }
    }
}

fn end_by_reset(tcp: &TcpStream, reset: bool) {
    let _ = rustix::net::sockopt::set_socket_linger(tcp, reset.then_some(Duration::ZERO));
}

/// Serves one connection to its end.
async fn drive<S, Serve, Answer>(
    who: &'static str,
    stream: S,
    serve: Serve,
    peer: Peer,
    keepalive: Option<KeepAlive>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Serve: Fn(Request<Incoming>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let (meter, before) = (peer.meter.clone(), peer.meter.read());
    let service = service_fn(move |request| {
        let answer = serve(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let (stream_window, connection_window) = match keepalive {
        _ if peer.bulk => (pair::BULK_WINDOW, pair::BULK_WINDOW),
        Some(_) => (STREAM_WINDOW, CONNECTION_WINDOW),
        None => (NEAR_WINDOW, 4 * NEAR_WINDOW),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_frame_size(pair::CHUNK as u32)
        .max_send_buf_size(pair::SEND_BUFFER)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window);
    if let Some(keepalive) = keepalive.filter(|_| !peer.bulk) {
        builder.http2().keep_alive_interval(keepalive.time).keep_alive_timeout(keepalive.timeout);
    }
    let (life, stream) = (peer.life, TokioIo::new(Tapped::new(stream, peer.tap)));
    let served = builder.serve_connection(stream, service);
    let silent = async {
        tokio::time::sleep(PATIENCE).await;
        if meter.read() > before {
            std::future::pending::<()>().await;
        }
    };
    // Who connects and says nothing does not keep a place.
    let why = tokio::select! {
        served = served => served.map_or_else(|why| pair::ending(&*why), |()| "closed".into()),
        () = silent => "it said nothing".into(),
        why = life.close.wait() => why.to_string(),
    };
    tracing::debug!(listener = who, why, "connection ended");
    life.ended.end(&why);
}
