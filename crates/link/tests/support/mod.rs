//! What the tests of this crate share: certificates, hubs, spokes, and a SuperLink stand-in.

// Each test file compiles this for itself and uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "shared by tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onefed_flower::control::nodes::NodeOperation;
use onefed_flower::fleet::{FleetAnswer, FleetCall, FleetStatus, ReadyBody, ready, unframe};
use onefed_flower::{Operation, Release, Transport, messages};
use onefed_link::hub::{Hub, HubConfig, HubTls};
use onefed_link::io::{FrameTap, Tapped};
use onefed_link::spoke::{Spoke, SpokeConfig};
use onefed_link::superlink::SuperLinkAddress;
use onefed_link::wire::{Hello, PROTOCOL};
use onefed_link::{Dialler, Disk, KeepAlive, LineConfig, connect};
use onefed_trust::{ClientIdentity, ClientRole, LeafRequest, RootCa, SanName, SecretPem, tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How long anything may take to come up.
pub const UP: Duration = Duration::from_secs(10);

/// What a SuperLink stand-in has seen, and the nodes that it knows: id, PEM text of the key, whether withdrawn.
#[derive(Default)]
pub struct Seen {
    pub calls: AtomicUsize,
    pub other: AtomicUsize,
    pub nodes: Mutex<Vec<(u64, String, bool)>>,
}

pub fn release(transport: Transport) -> &'static str {
    match transport {
        Transport::Grpc => "1.31.0",
        Transport::Http => "1.41.0",
    }
}

/// Answers Fleet calls by sending their body back; heartbeats without a signature are unauthenticated, as at a real one.
pub async fn superlink(transport: Transport) -> (SocketAddr, Arc<Seen>, FrameTap) {
    superlink_with(transport, None).await
}

/// The same, with TLS where `trust` is given; like a real one it has no ALPN for HTTP/1.1 and insists on h2 for gRPC.
pub async fn superlink_with(
    transport: Transport,
    trust: Option<&Trust>,
) -> (SocketAddr, Arc<Seen>, FrameTap) {
    let listener = TcpListener::bind("127.80.1.1:0").await.unwrap();
    let (address, seen, tap) = (listener.local_addr().unwrap(), Arc::<Seen>::default(), FrameTap::default());
    let alpn: &[&[u8]] = if transport == Transport::Grpc { &[b"h2"] } else { &[] };
    let acceptor = trust.map(|trust| {
        let config = tls::server(&trust.chain, &trust.key, None, tls::Versions::Tls12AndUp, alpn);
        TlsAcceptor::from(config.unwrap())
    });
    let (seen_too, tap_too) = (seen.clone(), tap.clone());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (seen, tap, acceptor) = (seen_too.clone(), tap_too.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(tcp, transport, seen, tap).await,
                    Some(acceptor) => {
                        // A client that speaks no TLS, or does not trust this, is turned away.
                        let Ok(stream) = acceptor.accept(tcp).await else { return };
                        if transport == Transport::Grpc && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                            return;
                        }
                        serve(stream, transport, seen, tap).await;
                    }
                }
            });
        }
    });
    (address, seen, tap)
}

async fn serve<S>(stream: S, transport: Transport, seen: Arc<Seen>, tap: FrameTap)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| answer(seen.clone(), transport, request));
    match transport {
        Transport::Grpc => {
            let io = TokioIo::new(Tapped::new(stream, tap));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(io, service).await;
        }
        Transport::Http => {
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    }
}

async fn answer(
    seen: Arc<Seen>,
    transport: Transport,
    request: Request<Incoming>,
) -> Result<Response<ReadyBody>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path();
    let Some((operation, spoken)) = Operation::from_path(path) else {
        let asked =
            |operation: NodeOperation| operation.path(Release::parse(release(transport)).unwrap()) == path;
        let body = if transport == Transport::Grpc { unframe(body).unwrap_or_default() } else { body };
        for operation in [NodeOperation::Register, NodeOperation::Unregister, NodeOperation::List] {
            if asked(operation) {
                return Ok(seen.nodes_answer(transport, operation, &body).into_response());
            }
        }
        seen.other.fetch_add(1, Ordering::Relaxed);
        return Ok(Response::new(ready(Bytes::from_static(b"control"))));
    };
    assert_eq!(spoken, transport);
    seen.calls.fetch_add(1, Ordering::Relaxed);
    let call = FleetCall::from_request(operation, transport, &parts.headers, body).unwrap();
    if operation == Operation::ActivateNode {
        let key = messages::activated_key(&call.body).unwrap();
        let nodes = seen.nodes.lock().unwrap();
        let node = nodes.iter().find(|(_, pem, gone)| *pem == key && !gone);
        return Ok(match node {
            Some((id, ..)) => plain(transport, FleetStatus::Grpc(0, None), message_of_id(*id)),
            None => {
                plain(transport, FleetStatus::Grpc(9, Some("No SuperNode found".parse().unwrap())), vec![])
            }
        }
        .into_response());
    }
    let signed = call.headers.contains_key("flwr-timestamp");
    let status = FleetStatus::Grpc(if signed { 0 } else { 16 }, None);
    Ok(plain(transport, status, call.body.to_vec()).into_response())
}

/// An answer in the words of a transport, from the status that it would have in gRPC.
fn plain(transport: Transport, status: FleetStatus, body: Vec<u8>) -> FleetAnswer {
    let (FleetStatus::Grpc(code, text), Transport::Http) = (&status, transport) else {
        return FleetAnswer { status, body: Bytes::from(body), content_type: None };
    };
    let http = match code {
        0 => StatusCode::OK,
        5 => StatusCode::NOT_FOUND,
        9 => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::UNAUTHORIZED,
    };
    let detail = text.as_ref().map(|text| format!("{{\"code\": 1, \"detail\": {text:?}}}").into_bytes());
    FleetAnswer { status: FleetStatus::Http(http), body: detail.unwrap_or(body).into(), content_type: None }
}

impl Seen {
    /// What Flower's Control API does with nodes: a key is unique for ever.
    fn nodes_answer(&self, transport: Transport, operation: NodeOperation, body: &Bytes) -> FleetAnswer {
        let mut nodes = self.nodes.lock().unwrap();
        let ok = |body| plain(transport, FleetStatus::Grpc(0, None), body);
        let no =
            |code, text: &str| plain(transport, FleetStatus::Grpc(code, Some(text.parse().unwrap())), vec![]);
        match operation {
            NodeOperation::Register => {
                let key = messages::activated_key(body).unwrap();
                if nodes.iter().any(|(_, pem, _)| *pem == key) {
                    return no(9, "Public key already in use");
                }
                let id = u64::MAX - nodes.len() as u64;
                nodes.push((id, key, false));
                ok(message_of_id(id))
            }
            NodeOperation::Unregister => {
                let id = messages::granted_node(body).unwrap();
                match nodes.iter_mut().find(|(node, _, gone)| *node == id && !gone) {
                    None => no(5, "Node ID not found for account"),
                    Some((_, _, gone)) => {
                        *gone = true;
                        ok(vec![])
                    }
                }
            }
            NodeOperation::List => {
                let listed = nodes.iter().flat_map(|(id, pem, gone)| {
                    let mut node = message_of_id(*id);
                    node.extend(text_field(4, if *gone { "unregistered" } else { "registered" }));
                    node.extend(text_field(11, pem));
                    field(1, &node)
                });
                ok(listed.collect())
            }
        }
    }
}

/// A protobuf message whose field 1 is an id.
pub fn message_of_id(id: u64) -> Vec<u8> {
    [vec![0x08], varint(id)].concat()
}

/// A protobuf field with a length.
pub fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn text_field(tag: u8, text: &str) -> Vec<u8> {
    field(tag, text.as_bytes())
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// Certificates of a small federation, for the addresses that the tests use.
pub struct Trust {
    pub root: RootCa,
    pub chain: String,
    pub key: SecretPem,
}

impl Trust {
    pub fn new() -> Self {
        let now = SystemTime::now();
        let root = RootCa::generate("test", now).unwrap();
        let names = [SanName::of_host("127.0.0.1"), SanName::of_host("127.80.1.1")];
        let request = LeafRequest::generate(&names).unwrap();
        let chain = root.sign_server(&request.csr_pem, &names, now).unwrap();
        Self { root, chain, key: request.key_pem }
    }

    pub fn client(&self, role: ClientRole) -> ClientIdentity {
        self.root.issue_client("test", role, SystemTime::now()).unwrap()
    }
}

/// How long a cut is hidden.
pub const HOLD: Duration = Duration::from_secs(60);

fn disk(state: &Path) -> Disk {
    Disk { dir: state.join("state"), bytes: 1 << 30 }
}

/// A running hub: its Fleet and admin addresses.
pub struct RunningHub {
    pub fleet: SocketAddr,
    pub admin: SocketAddr,
    pub task: tokio::task::JoinHandle<()>,
}

pub async fn hub(
    trust: &Trust,
    release: &str,
    superlink: SocketAddr,
    keepalive: KeepAlive,
    fleet: &str,
) -> RunningHub {
    hub_with(trust, release, superlink, keepalive, fleet, None).await
}

pub async fn hub_with(
    trust: &Trust,
    release: &str,
    superlink: SocketAddr,
    keepalive: KeepAlive,
    fleet: &str,
    ca_pem: Option<String>,
) -> RunningHub {
    let state = tempfile::tempdir().unwrap();
    let config = hub_config(trust, release, superlink, keepalive, fleet, ca_pem, state.path());
    run_hub(Hub::open(config).await.unwrap(), Some(state))
}

/// A hub that keeps its state in a directory; waits until it is free.
pub async fn hub_in(
    trust: &Trust,
    release: &str,
    superlink: SocketAddr,
    keepalive: KeepAlive,
    fleet: &str,
    state: &Path,
) -> RunningHub {
    let began = Instant::now();
    loop {
        let config = hub_config(trust, release, superlink, keepalive, fleet, None, state);
        match Hub::open(config).await {
            Ok(hub) => break run_hub(hub, None),
            Err(why) => assert!(began.elapsed() < UP, "{why}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn hub_config(
    trust: &Trust,
    release: &str,
    superlink: SocketAddr,
    keepalive: KeepAlive,
    fleet: &str,
    ca_pem: Option<String>,
    state: &Path,
) -> HubConfig {
    HubConfig {
        federation: "test".into(),
        site_enrolment: "open".into(),
        superlink: SuperLinkAddress {
            release: Release::parse(release).unwrap(),
            fleet: superlink,
            control: superlink,
            ca_pem,
        },
        fleet_listen: fleet.parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(HubTls {
            chain_pem: trust.chain.clone(),
            key_pem: trust.key.clone(),
            client_ca_pem: Some(trust.root.cert_pem().into()),
        }),
        keepalive,
        disk: disk(state),
        hold: HOLD,
    }
}

pub fn run_hub(hub: Hub, state: Option<tempfile::TempDir>) -> RunningHub {
    let (fleet, admin) = (hub.fleet_address().unwrap(), hub.admin_address().unwrap().unwrap());
    let task = tokio::spawn(async move {
        let _state = state;
        hub.serve().await;
    });
    RunningHub { fleet, admin, task }
}

/// A running spoke: where its SuperNodes come in, and its line.
pub struct RunningSpoke {
    pub listen: SocketAddr,
    pub line: Arc<Dialler>,
    pub task: tokio::task::JoinHandle<()>,
}

/// A running spoke that listens in plaintext, and its line.
pub async fn spoke(
    trust: &Trust,
    hub: SocketAddr,
    keepalive: KeepAlive,
    federation: &str,
) -> (SocketAddr, Arc<Dialler>) {
    let state = tempfile::tempdir().unwrap();
    let config = spoke_config(trust, hub, keepalive, federation, "127.0.0.1:0", state.path());
    let spoke = run_spoke(Spoke::open(config).await.unwrap(), Some(state));
    (spoke.listen, spoke.line)
}

/// A spoke that keeps its state in a directory; waits until it is free.
pub async fn spoke_in(
    trust: &Trust,
    hub: SocketAddr,
    keepalive: KeepAlive,
    listen: &str,
    state: &Path,
) -> RunningSpoke {
    let began = Instant::now();
    loop {
        match Spoke::open(spoke_config(trust, hub, keepalive, "test", listen, state)).await {
            Ok(spoke) => break run_spoke(spoke, None),
            Err(why) => assert!(began.elapsed() < UP, "{why}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn spoke_config(
    trust: &Trust,
    hub: SocketAddr,
    keepalive: KeepAlive,
    federation: &str,
    listen: &str,
    state: &Path,
) -> SpokeConfig {
    SpokeConfig {
        listen: listen.parse().unwrap(),
        tls: None,
        line: LineConfig {
            host: hub.ip().to_string(),
            port: hub.port(),
            from: None,
            tls: Some(tls::client(trust.root.cert_pem(), None, &[b"h2"]).unwrap()),
            keepalive,
            hello: Hello {
                protocol: PROTOCOL,
                federation: federation.into(),
                site: "paris".into(),
                spoke: "7".into(),
                flower: "1.41.0".into(),
                keepalive_time_ms: 0,
                keepalive_timeout_ms: 0,
                epoch: 0,
            },
        },
        disk: disk(state),
        hold: HOLD,
    }
}

pub fn run_spoke(spoke: Spoke, state: Option<tempfile::TempDir>) -> RunningSpoke {
    let (listen, line) = (spoke.address().unwrap(), spoke.line());
    let task = tokio::spawn(async move {
        let _state = state;
        spoke.serve().await;
    });
    RunningSpoke { listen, line, task }
}

pub fn short() -> KeepAlive {
    KeepAlive { time: Duration::from_millis(200), timeout: Duration::from_millis(150) }
}

pub fn admin(trust: &Trust, address: SocketAddr, role: ClientRole) -> connect::AdminClient {
    let host = address.ip().to_string();
    connect::AdminClient::new(&host, address.port(), trust.root.cert_pem(), &trust.client(role)).unwrap()
}

pub fn request(path: &str) -> Request<ReadyBody> {
    let request = Request::post(path).header("host", "hub").header("content-type", "application/protobuf");
    request.body(ready(Bytes::new())).unwrap()
}

/// One POST over TLS and HTTP/1.1.
pub async fn post(
    address: SocketAddr,
    config: Arc<tls::ClientConfig>,
    path: &str,
) -> Result<StatusCode, String> {
    ask(address, config, request(path)).await.map(|(status, _)| status)
}

/// One request over TLS and HTTP/1.1.
pub async fn ask(
    address: SocketAddr,
    config: Arc<tls::ClientConfig>,
    request: Request<ReadyBody>,
) -> Result<(StatusCode, String), String> {
    let tcp = tokio::net::TcpStream::connect(address).await.map_err(|why| why.to_string())?;
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream =
        tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.map_err(|why| why.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|why| why.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|why| why.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The ALPN of a transport.
pub fn alpn(transport: Transport) -> &'static [&'static [u8]] {
    match transport {
        Transport::Grpc => &[b"h2"],
        Transport::Http => &[b"http/1.1"],
    }
}

/// One Fleet call as a SuperNode makes it, in plaintext.
pub async fn call_at(address: SocketAddr, transport: Transport, call: &FleetCall) -> FleetAnswer {
    exchange(tokio::net::TcpStream::connect(address).await.unwrap(), transport, call).await
}

/// The same over TLS.
pub async fn call_with_tls(
    address: SocketAddr,
    transport: Transport,
    call: &FleetCall,
    config: Arc<tls::ClientConfig>,
) -> FleetAnswer {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from(address.ip().to_string()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
    exchange(stream, transport, call).await
}

async fn exchange<S>(stream: S, transport: Transport, call: &FleetCall) -> FleetAnswer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = call.to_request("http://spoke").unwrap();
    let io = TokioIo::new(stream);
    let response = match transport {
        Transport::Grpc => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
        Transport::Http => {
            request.headers_mut().insert("host", "spoke".parse().unwrap());
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    FleetAnswer::from_response(transport, parts.status, &parts.headers, trailers.as_ref(), body.to_bytes())
        .unwrap()
}
