//! Readiness questions. To a Fleet endpoint: TLS with the published CA and name, then a heartbeat without a
//! signature. SuperLink must refuse that one as unauthenticated: then the whole way to it works, and nothing changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, ready};
use onefed_flower::{Operation, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::error::tls_words;
use crate::pair::{authority, connect, reason};
use crate::status::SpokeStatus;
use crate::wire::SPOKE_PATH;
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a Fleet endpoint whether a SuperLink answers behind it. `tls` must offer the ALPN of the transport; `name` is
/// what its certificate must name, where that is not `host`.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Tls`], [`Error::Timeout`], or [`Error::Answer`] if somebody else answered.
pub async fn fleet(
    host: &str,
    port: u16,
    name: Option<&str>,
    tls: Option<Arc<ClientConfig>>,
    transport: Transport,
) -> Result<()> {
    let what = format!("the Fleet API at {}", authority(host, port));
    let late = |_| Error::Timeout { what: what.clone(), seconds: PATIENCE.as_secs() };
    let answer = tokio::time::timeout(PATIENCE, ask(host, port, name.unwrap_or(host), tls, transport))
        .await
        .map_err(late)??;
    if answer.is_unauthenticated() {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(Error::Answer { what, answer: format!("{:?} {body}", answer.status) })
}

/// Asks a spoke how it is. `tls` must offer `http/1.1`.
///
/// # Errors
/// As [`fleet`].
pub async fn spoke(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> Result<SpokeStatus> {
    let what = format!("the spoke at {}", authority(host, port));
    let bad = |answer: String| Error::Answer { what: what.clone(), answer };
    let late = |_| Error::Timeout { what: what.clone(), seconds: PATIENCE.as_secs() };
    let request = http::Request::get(SPOKE_PATH)
        .header(http::header::HOST, authority(host, port))
        .body(ready(Bytes::new()))
        .map_err(|why| bad(why.to_string()))?;
    let exchange = async {
        let tcp = connect("the spoke", host, port).await?;
        match tls {
            None => http1_exchange(TokioIo::new(tcp), request).await,
            Some(tls) => {
                let fail =
                    |why: String| Error::Tls { what: "the spoke", address: authority(host, port), why };
                let name = ServerName::try_from(host.to_owned()).map_err(|why| fail(why.to_string()))?;
                let stream =
                    TlsConnector::from(tls).connect(name, tcp).await.map_err(|why| fail(tls_words(&why)))?;
                http1_exchange(TokioIo::new(stream), request).await
            }
        }
        .map_err(|why| bad(reason(&why)))
    };
    let (parts, body) = tokio::time::timeout(PATIENCE, exchange).await.map_err(late)??;
    if parts.status != http::StatusCode::OK {
        return Err(bad(parts.status.to_string()));
    }
    serde_json::from_slice(&body).map_err(|why| bad(format!("an unreadable status: {why}")))
}

async fn http1_exchange<S>(
    io: TokioIo<S>,
    request: http::Request<ReadyBody>,
) -> hyper::Result<(http::response::Parts, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok((parts, body.collect().await?.to_bytes()))
}

async fn ask(
    host: &str,
    port: u16,
    name: &str,
    tls: Option<Arc<ClientConfig>>,
    transport: Transport,
) -> Result<FleetAnswer> {
    let tcp = connect("the Fleet API", host, port).await?;
    match tls {
        None => exchange(tcp, host, port, transport).await,
        Some(tls) => {
            let fail =
                |why: String| Error::Tls { what: "the Fleet API", address: authority(host, port), why };
            let name = ServerName::try_from(name.to_owned()).map_err(|why| fail(why.to_string()))?;
            let stream =
                TlsConnector::from(tls).connect(name, tcp).await.map_err(|why| fail(tls_words(&why)))?;
            exchange(stream, host, port, transport).await
        }
    }
}

async fn exchange<S>(stream: S, host: &str, port: u16, transport: Transport) -> Result<FleetAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fail =
        |why: String| Error::Unreachable { what: "the Fleet API", address: authority(host, port), why };
    let operation = Operation::SendNodeHeartbeat;
    let call = FleetCall { operation, transport, headers: HeaderMap::new(), body: Bytes::new() };
    let authority = authority(host, port);
    let mut request =
        call.to_request(&format!("https://{authority}")).map_err(|why| fail(why.to_string()))?;
    let io = TokioIo::new(stream);
    let response = match transport {
        Transport::Grpc => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|why| fail(reason(&why)))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        }
        Transport::Http => {
            *request.uri_mut() = http::Uri::from_static(operation.path(Transport::Http));
            let host = http::HeaderValue::from_str(&authority).map_err(|why| fail(why.to_string()))?;
            request.headers_mut().insert(http::header::HOST, host);
            let (mut sender, connection) = http1::handshake(io).await.map_err(|why| fail(reason(&why)))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    };
    let (parts, body) = response.map_err(|why| fail(reason(&why)))?.into_parts();
    let body = body.collect().await.map_err(|why| fail(reason(&why)))?;
    let trailers = body.trailers().cloned();
    FleetAnswer::from_response(transport, parts.status, &parts.headers, trailers.as_ref(), body.to_bytes())
        .map_err(|why| Error::Answer { what: "the Fleet API".into(), answer: why.to_string() })
}
