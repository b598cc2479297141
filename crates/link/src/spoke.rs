//! The spoke: Flower's Fleet API for the SuperNodes of a site, passed on over the line to the hub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use onefed_flower::fleet::{FleetAnswer, FleetCall, MAX_BODY, Refusal};
use onefed_flower::{Operation, Transport};
use tokio_rustls::rustls::ServerConfig;

use crate::ledger::Ledger;
use crate::listen::{Body, Listener, boxed, json, text};
use crate::status::{SCHEMA_VERSION, SpokeStatus};
use crate::wire::SPOKE_PATH;
use crate::{Line, LineConfig, Result};

/// How long a spoke that is told to stop waits for its nodes.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a spoke needs.
pub struct SpokeConfig {
    /// Where the SuperNodes come in.
    pub listen: SocketAddr,
    /// TLS towards the SuperNodes; `None` only on a VM's own loopback, or where plaintext was asked for by name.
    pub tls: Option<Arc<ServerConfig>>,
    /// The way to the hub.
    pub line: LineConfig,
}

/// A spoke that is listening.
pub struct Spoke {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    site: String,
    line: Line,
    ledger: Ledger,
}

impl Spoke {
    /// Opens the listener and starts to dial the hub.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub async fn open(config: SpokeConfig) -> Result<Self> {
        let listener = Listener::open("the spoke's Fleet listener", config.listen, config.tls, None).await?;
        let site = config.line.hello.site.clone();
        let shared = Arc::new(Shared { site, line: Line::start(config.line), ledger: Ledger::default() });
        Ok(Self { listener, shared })
    }

    /// Where the listener is.
    ///
    /// # Errors
    /// [`crate::Error::Listen`].
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.address()
    }

    /// The line to the hub.
    pub fn line(&self) -> Line {
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
        let shared = self.shared;
        self.listener
            .serve(move |_peer| {
                let shared = shared.clone();
                move |request| answer(shared.clone(), request)
            })
            .await;
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let Some((operation, transport)) = Operation::from_path(request.uri().path()) else {
        return match request.uri().path() {
            SPOKE_PATH => json(&shared.status()),
            other => refuse_other(other, &request),
        };
    };
    let call = match read_call(operation, transport, request).await {
        Ok(call) => call,
        Err(refusal) => return boxed(refusal.into_response()),
    };
    let answer = match shared.line.call(&call).await {
        Ok(answer) => answer,
        Err(why) => {
            tracing::debug!(operation = operation.name(), %why, "call not passed on");
            FleetAnswer::refusal(
                transport,
                Refusal::Unavailable,
                &format!("spoke of site {}: {why}", shared.site),
            )
        }
    };
    shared.ledger.note(&shared.site, &call, &answer);
    boxed(answer.safe_for(operation, transport).into_response())
}

/// Reads a Fleet call to its end. The error is the answer to give instead.
pub(crate) async fn read_call(
    operation: Operation,
    transport: Transport,
    request: Request<Incoming>,
) -> std::result::Result<FleetCall, FleetAnswer> {
    let (parts, body) = request.into_parts();
    if parts.method != http::Method::POST {
        return Err(FleetAnswer::refusal(
            transport,
            Refusal::Malformed,
            "Fleet operations are POST requests",
        ));
    }
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|why| FleetAnswer::refusal(transport, Refusal::Malformed, &why.to_string()))?;
    FleetCall::from_request(operation, transport, &parts.headers, body.to_bytes())
        .map_err(|why| FleetAnswer::refusal(transport, Refusal::Malformed, &why.to_string()))
}

/// Refuses what is not a Fleet operation, in the words of the transport that it looks like.
pub(crate) fn refuse_other(path: &str, request: &Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let text_ = format!("{path} is not one of the twelve Fleet operations");
    if kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
        return boxed(FleetAnswer::refusal(Transport::Grpc, Refusal::NotFleet, &text_).into_response());
    }
    text(StatusCode::NOT_FOUND, text_)
}

impl Shared {
    fn status(&self) -> SpokeStatus {
        let why = self.line.why_down();
        SpokeStatus {
            schema_version: SCHEMA_VERSION,
            site: self.site.clone(),
            connected: why.is_none(),
            why,
            nodes: self.ledger.nodes(),
            refused: self.ledger.refused(),
        }
    }
}
