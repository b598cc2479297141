//! The hub's client to the SuperLink on its own VM.
//!
//! Never a PING: a SuperLink answers them with GOAWAY. Idle HTTP/1.1 connections go after 3 s, before uvicorn closes
//! them at 5 s, so that no call meets a closing connection. Nothing is tried twice: PullMessages has side effects.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal, frame, ready};
use onefed_flower::{Release, Transport, bridge, control};

use crate::Result;
use crate::dial::Dial;
use crate::line::deadline;
use crate::listen::{Body, BodyError, CONNECTION_WINDOW, STREAM_WINDOW};
use crate::pair::reason;

/// uvicorn closes an idle connection after 5 s.
const IDLE: Duration = Duration::from_secs(3);
/// The hub answers before the spoke gives up, so that no answer that is there is thrown away on the way.
const HEAD_START: Duration = Duration::from_secs(1);
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
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW),
        };
        Ok(Self { client: builder.build(dial), address })
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
        let deadline = deadline(call.operation, transport) - HEAD_START;
        let answer = tokio::time::timeout(deadline, self.fleet_once(call)).await;
        let refuse =
            |why: &str| FleetAnswer::refusal(transport, Refusal::Unavailable, &format!("hub: {why}"));
        match answer {
            Ok(Ok(answer)) => bridge::answer(answer, transport),
            Ok(Err(why)) => {
                tracing::warn!(operation = call.operation.name(), why, "SuperLink did not answer");
                refuse(&format!("SuperLink did not answer: {why}"))
            }
            Err(_) => refuse(&format!("SuperLink did not answer within {} s", deadline.as_secs())),
        }
    }

    async fn fleet_once(&self, call: &FleetCall) -> std::result::Result<FleetAnswer, String> {
        let base = format!("{}://{}", self.scheme(), self.address.fleet);
        let call = bridge::call(call, self.address.release.transport());
        let request = call.to_request(&base).map_err(|why| why.to_string())?;
        self.exchange(request.map(|body| body.map_err(|never| match never {}).boxed_unsync())).await
    }

    /// One unary exchange. Control answers come in the same envelopes as Fleet answers.
    async fn exchange(&self, request: Request<Body>) -> std::result::Result<FleetAnswer, String> {
        let response = self.client.request(request).await.map_err(|why| reason(&why))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|why| reason(&why))?;
        let trailers = body.trailers().cloned();
        let transport = self.address.release.transport();
        FleetAnswer::from_response(
            transport,
            parts.status,
            &parts.headers,
            trailers.as_ref(),
            body.to_bytes(),
        )
        .map_err(|why| why.to_string())
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
        answer.map_err(|_| format!("no answer within {} s", STATUS_DEADLINE.as_secs()))?
    }
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
