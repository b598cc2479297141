//! The client of the admin endpoint: the operator's questions, and a local port for a data scientist's `flwr`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use onefed_flower::control::is_control_path;
use onefed_flower::fleet::ready;
use onefed_trust::{ClientIdentity, NodePublicKey, tls};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::error::tls_words;
use crate::listen::{Body, BodyError, CONNECTION_WINDOW, Listener, STREAM_WINDOW, text};
use crate::pair::{authority, connect, reason};
use crate::status::HubStatus;
use crate::superlink::{empty, strip_hop_headers};
use crate::wire::{
    AdmitNode, NodeAdmitted, NodeWithdrawn, REGISTER_NODE_PATH, STATUS_PATH, UNREGISTER_NODE_PATH,
    WithdrawNode,
};
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);
/// An admin connection is kept alive, so that a log stream without lines does not look dead to a firewall.
const PING_EVERY: Duration = Duration::from_secs(60);

/// A client of a hub's admin endpoint. Connects when first needed, and again when the connection is gone.
#[derive(Clone)]
pub struct AdminClient {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    sender: Arc<Mutex<Option<SendRequest<Body>>>>,
}

impl AdminClient {
    /// Makes a client that trusts `ca_pem` and shows `identity`.
    ///
    /// # Errors
    /// [`Error::Trust`] for damaged certificates.
    pub fn new(host: &str, port: u16, ca_pem: &str, identity: &ClientIdentity) -> Result<Self> {
        let tls = tls::client(ca_pem, Some(identity), &[b"h2"])?;
        Ok(Self { host: host.to_owned(), port, tls, sender: Arc::default() })
    }

    /// The state of the hub.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Tls`], [`Error::Timeout`], [`Error::Answer`], and [`Error::Refused`] for who is
    /// no operator.
    pub async fn status(&self) -> Result<HubStatus> {
        self.ask(Request::get(STATUS_PATH).body(empty())).await
    }

    /// Lets the SuperNode with this key come online. A key that is registered already keeps its node id, so this may be
    /// repeated at will.
    ///
    /// # Errors
    /// As [`status`](Self::status). [`Error::Unreachable`] also where SuperLink does not answer the hub: try again.
    /// [`Error::Refused`] also for a key that was unregistered before, which is spent.
    pub async fn register_node(&self, key: &NodePublicKey) -> Result<NodeAdmitted> {
        self.post(REGISTER_NODE_PATH, &AdmitNode { public_key: key.to_string() }).await
    }

    /// Withdraws a SuperNode for good: its key can never be registered again. May be repeated at will.
    ///
    /// # Errors
    /// As [`register_node`](Self::register_node).
    pub async fn unregister_node(&self, node_id: u64) -> Result<NodeWithdrawn> {
        self.post(UNREGISTER_NODE_PATH, &WithdrawNode { node_id }).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(message).map_err(|why| self.odd(why.to_string()))?;
        let body = ready(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        self.ask(Request::post(path).body(body)).await
    }

    /// One question of our own, answered in JSON.
    async fn ask<T: DeserializeOwned>(&self, request: http::Result<Request<Body>>) -> Result<T> {
        let request = request.map_err(|why| self.odd(why.to_string()))?;
        let exchange = async {
            let response = self.send(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|why| self.odd(reason(&why)))?.to_bytes();
            if status == StatusCode::OK {
                return serde_json::from_slice(&body)
                    .map_err(|why| self.odd(format!("an unreadable answer: {why}")));
            }
            let why = String::from_utf8_lossy(&body).trim().to_owned();
            Err(match status {
                StatusCode::SERVICE_UNAVAILABLE => {
                    Error::Unreachable { what: "the SuperLink behind the hub", address: self.address(), why }
                }
                StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
                    Error::Refused { what: self.what(), why }
                }
                _ => self.odd(format!("{status}: {why}")),
            })
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(done) => done,
            Err(_) => {
                // A connection that does not answer is not asked again.
                self.sender.lock().await.take();
                Err(Error::Timeout { what: self.what(), seconds: PATIENCE.as_secs() })
            }
        }
    }

    fn what(&self) -> String {
        format!("the admin endpoint at {}", self.address())
    }

    fn odd(&self, answer: String) -> Error {
        Error::Answer { what: self.what(), answer }
    }

    /// Sends one request; the path and query of its URI count.
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        let fail =
            |why: String| Error::Unreachable { what: "the admin endpoint", address: self.address(), why };
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(Authority::try_from(self.address()).map_err(|why| fail(why.to_string()))?);
        *request.uri_mut() = Uri::from_parts(uri).map_err(|why| fail(why.to_string()))?;
        *request.version_mut() = http::Version::HTTP_2;
        strip_hop_headers(request.headers_mut());
        let mut sender = self.sender().await?;
        sender.send_request(request).await.map_err(|why| fail(reason(&why)))
    }

    fn address(&self) -> String {
        authority(&self.host, self.port)
    }

    async fn sender(&self) -> Result<SendRequest<Body>> {
        let mut slot = self.sender.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = tokio::time::timeout(PATIENCE, self.dial()).await;
        let late = |_| Error::Timeout {
            what: format!("the admin endpoint at {}", self.address()),
            seconds: PATIENCE.as_secs(),
        };
        let sender = sender.map_err(late)??;
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn dial(&self) -> Result<SendRequest<Body>> {
        let what = "the admin endpoint";
        let tls_fail = |why: String| Error::Tls { what, address: self.address(), why };
        let tcp = connect(what, &self.host, self.port).await?;
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.host.clone()).map_err(|why| tls_fail(why.to_string()))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, tcp).await;
        let stream = stream.map_err(|why| tls_fail(tls_words(&why)))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|why| tls_fail(reason(&why)))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A local port that reaches Flower's Control operations through the admin endpoint, and nothing else.
pub struct ControlPort {
    listener: Listener,
    client: AdminClient,
}

impl ControlPort {
    /// Opens the port. `listen` should be a loopback address: whoever reaches it acts with this identity.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn open(listen: SocketAddr, client: AdminClient) -> Result<Self> {
        Ok(Self { listener: Listener::open("the Control port", listen, None, None).await?, client })
    }

    /// Where it is.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.address()
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let client = self.client;
        self.listener
            .serve(move |_peer| {
                let client = client.clone();
                move |request: Request<Incoming>| {
                    let client = client.clone();
                    async move { pass(&client, request).await }
                }
            })
            .await;
    }
}

/// Whether a request may come from a web page: it has an origin, or was sent to another name than this machine's own
/// (a page can make its own name point here).
fn from_a_browser(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let own = host.is_some_and(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(name, "127.0.0.1" | "localhost" | "[::1]")
    });
    request.headers().contains_key(http::header::ORIGIN) || !own
}

async fn pass(client: &AdminClient, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if from_a_browser(&request) {
        return text(StatusCode::FORBIDDEN, "this port is for Flower's command line, not for web pages");
    }
    if !is_control_path(&path) {
        return text(
            StatusCode::NOT_FOUND,
            format!("{path} is not a Control operation; this port reaches no other"),
        );
    }
    match client.send(request.map(|body| body.map_err(BodyError::from).boxed_unsync())).await {
        Ok(response) => {
            let mut response = response.map(|body| body.map_err(BodyError::from).boxed_unsync());
            strip_hop_headers(response.headers_mut());
            response
        }
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
    }
}
