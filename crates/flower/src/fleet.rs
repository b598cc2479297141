//! A Fleet call and its answer, independent of the transport that carries them.
//!
//! Bodies are Flower's protobuf bytes and stay opaque here; they are identical in both transports. What differs
//! is the envelope: gRPC has a five-byte frame header and a status in the trailers, HTTP/1.1 has neither.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::{Operation, Transport};

/// The largest body that is taken, in bytes. Flower cuts arrays into objects of 5 MiB, and limits an app bundle to
/// 10 MB; nobody may make a hub hold more than that at will.
pub const MAX_BODY: usize = 64 << 20;

/// The longest text of a refusal that is passed on, in characters.
const MAX_WORDS: usize = 300;

const GRPC_CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
pub(crate) const PROTOBUF_CONTENT: HeaderValue = HeaderValue::from_static("application/protobuf");
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A request or response body that is ready to send: all bytes known, perhaps with trailers.
pub type ReadyBody = UnsyncBoxBody<Bytes, Infallible>;

/// One call of the Fleet API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCall {
    /// What is asked.
    pub operation: Operation,
    /// The transport that the caller speaks, and so expects the answer in.
    pub transport: Transport,
    /// Flower's own headers (`flwr-…`: signature, timestamp, key, version) and the content type, as sent.
    pub headers: HeaderMap,
    /// The protobuf message.
    pub body: Bytes,
}

/// The answer to a [`FleetCall`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetAnswer {
    /// Success or failure, in the words of the transport.
    pub status: FleetStatus,
    /// The protobuf message of a success; over HTTP also the error document of a failure.
    pub body: Bytes,
    /// The content type of an HTTP answer; gRPC has only one.
    pub content_type: Option<HeaderValue>,
}

/// The status of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetStatus {
    /// A gRPC status code (0 is OK) and its message, percent-encoded as on the wire.
    Grpc(u16, Option<HeaderValue>),
    /// An HTTP status.
    Http(StatusCode),
}

/// A reason of our own for not passing a call on. Maps to a status that SuperNodes take for passing or final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The next hop is not there right now. Every Flower release tries again after it.
    Unavailable,
    /// Not one of the twelve operations.
    NotFleet,
    /// The envelope is broken or of a kind that Flower does not send.
    Malformed,
}

/// What SuperLink says beside the status of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    /// Flower's number for what happened; 0 is none of its own.
    pub(crate) code: i64,
    /// The text.
    pub(crate) detail: String,
    /// More about it.
    pub(crate) extra: Option<String>,
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.code != 0 {
            write!(f, "[code: {}] ", self.code)?;
        }
        f.write_str(&self.detail)?;
        self.extra.as_ref().map_or(Ok(()), |extra| write!(f, " {extra}"))
    }
}

/// Why an envelope could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// A gRPC body that is not exactly one uncompressed frame.
    #[error("not exactly one uncompressed gRPC frame ({0} bytes)")]
    Frame(usize),
    /// A gRPC answer without a status.
    #[error("a gRPC answer without a grpc-status")]
    NoStatus,
}

impl FleetCall {
    /// Reads a call from a request whose body has arrived in full.
    ///
    /// # Errors
    /// [`EnvelopeError::Frame`] for a gRPC body that is not one plain frame.
    pub fn from_request(
        operation: Operation,
        transport: Transport,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, EnvelopeError> {
        let kept =
            headers.iter().filter(|(name, _)| name.as_str().starts_with("flwr-") || **name == CONTENT_TYPE);
        let mut kept: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let body = match transport {
            Transport::Grpc => {
                kept.remove(CONTENT_TYPE);
                unframe(body)?
            }
            Transport::Http => body,
        };
        Ok(Self { operation, transport, headers: kept, body })
    }

    /// Builds the request that carries this call to the next hop. `base` is `scheme://authority`.
    ///
    /// # Errors
    /// [`http::Error`] if `base` is not a valid URI start.
    pub fn to_request(&self, base: &str) -> Result<Request<ReadyBody>, http::Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{base}{}", self.operation.path(self.transport)))
            .body(match self.transport {
                Transport::Grpc => ready(frame(&self.body)),
                Transport::Http => ready(self.body.clone()),
            })?;
        *request.headers_mut() = self.headers.clone();
        match self.transport {
            Transport::Grpc => {
                request.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT);
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            }
            Transport::Http => {
                request.headers_mut().entry(CONTENT_TYPE).or_insert(PROTOBUF_CONTENT);
            }
        }
        Ok(request)
    }
}

impl FleetAnswer {
    /// A success with this protobuf message.
    pub fn ok(transport: Transport, body: Bytes) -> Self {
        match transport {
            Transport::Grpc => Self { status: FleetStatus::Grpc(0, None), body, content_type: None },
            Transport::Http => {
                Self { status: FleetStatus::Http(StatusCode::OK), body, content_type: Some(PROTOBUF_CONTENT) }
            }
        }
    }

    /// An answer of our own that refuses a call, with a text for whoever reads the SuperNode's log.
    pub fn refusal(transport: Transport, refusal: Refusal, text: &str) -> Self {
        let document = Document { code: 0, detail: text.to_owned(), extra: None };
        let (grpc, http) = match refusal {
            Refusal::Unavailable => (14, StatusCode::SERVICE_UNAVAILABLE),
            Refusal::NotFleet => (12, StatusCode::NOT_FOUND),
            Refusal::Malformed => (3, StatusCode::BAD_REQUEST),
        };
        match transport {
            Transport::Grpc => Self::grpc_refusal(grpc, &document),
            Transport::Http => Self::http_refusal(http, &document),
        }
    }

    /// A refusal with a gRPC code. The words are a plain text, as those of a gRPC SuperLink.
    pub(crate) fn grpc_refusal(code: u16, document: &Document) -> Self {
        let mut text = document.to_string();
        // Whatever the code, a gRPC SuperNode gives up for good at these words (1.31, `retry_invoker.py`).
        const FATAL: &str = "handshake failed";
        while let Some(at) = text.to_ascii_lowercase().find(FATAL) {
            text.replace_range(at..at + FATAL.len(), "handshake did not succeed");
        }
        let words = HeaderValue::from_str(&percent_encode(&text)).ok();
        Self { status: FleetStatus::Grpc(code, words), body: Bytes::new(), content_type: None }
    }

    /// A refusal with an HTTP status and Flower's own error document.
    pub(crate) fn http_refusal(status: StatusCode, document: &Document) -> Self {
        let mut json = serde_json::json!({ "code": document.code, "detail": document.detail });
        if let Some(extra) = &document.extra {
            json["extra"] = extra.as_str().into();
        }
        Self {
            status: FleetStatus::Http(status),
            body: Bytes::from(json.to_string()),
            content_type: Some(HeaderValue::from_static("application/json")),
        }
    }

    /// Reads an answer from a response that has arrived in full.
    ///
    /// # Errors
    /// [`EnvelopeError`] for a gRPC answer without a status, or a success that is not one plain frame.
    pub fn from_response(
        transport: Transport,
        status: StatusCode,
        headers: &HeaderMap,
        trailers: Option<&HeaderMap>,
        body: Bytes,
    ) -> Result<Self, EnvelopeError> {
        if transport == Transport::Http {
            let content_type = headers.get(CONTENT_TYPE).cloned();
            return Ok(Self { status: FleetStatus::Http(status), body, content_type });
        }
        let find = |name: &HeaderName| trailers.and_then(|t| t.get(name)).or_else(|| headers.get(name));
        let code = find(&GRPC_STATUS).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let code: u16 = code.ok_or(EnvelopeError::NoStatus)?;
        let body = if code == 0 { unframe(body)? } else { Bytes::new() };
        let message = find(&GRPC_MESSAGE).cloned();
        Ok(Self { status: FleetStatus::Grpc(code, message), body, content_type: None })
    }

    /// Builds the response for the previous hop.
    pub fn into_response(self) -> Response<ReadyBody> {
        let mut response;
        match self.status {
            FleetStatus::Grpc(code, message) => {
                let mut fields = HeaderMap::new();
                fields.insert(GRPC_STATUS, HeaderValue::from(code));
                if let Some(message) = message {
                    fields.insert(GRPC_MESSAGE, message);
                }
                if code == 0 {
                    let body =
                        Full::new(frame(&self.body)).with_trailers(std::future::ready(Some(Ok(fields))));
                    response = Response::new(UnsyncBoxBody::new(body));
                } else {
                    response = Response::new(ready(Bytes::new()));
                    *response.headers_mut() = fields;
                }
                response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT);
            }
            FleetStatus::Http(status) => {
                response = Response::new(ready(self.body));
                *response.status_mut() = status;
                if let Some(content_type) = self.content_type {
                    response.headers_mut().insert(CONTENT_TYPE, content_type);
                }
            }
        }
        response
    }

    /// The answer as a SuperNode may get it. Any other refusal of a heartbeat than "unauthenticated" and "unavailable"
    /// ends a SuperNode's heartbeat thread for good, and with it the node; a SuperLink that is merely busy says such
    /// things (a locked database is an internal error). Any such refusal of an activation ends the SuperNode itself,
    /// where waiting would help: its key is not registered yet, or SuperLink still takes the node that was killed a
    /// moment ago for online (60 s).
    pub fn safe_for(self, operation: Operation, transport: Transport) -> Self {
        let what = match operation {
            Operation::SendNodeHeartbeat => "the heartbeat",
            Operation::ActivateNode => "this SuperNode",
            _ => return self,
        };
        if self.is_ok() || self.is_unauthenticated() || self.is_unavailable() {
            return self;
        }
        let text = format!("SuperLink refused {what} for now: {}", self.words());
        Self::refusal(transport, Refusal::Unavailable, &text)
    }

    /// What a refusal says, in one line: the status, and the text of SuperLink or of a hop before it.
    pub fn words(&self) -> String {
        let status = match &self.status {
            FleetStatus::Grpc(code, _) => format!("gRPC status {code}"),
            FleetStatus::Http(status) => format!("HTTP {status}"),
        };
        let Document { detail, extra, .. } = self.document();
        let text = one_line(&format!("{detail} {}", extra.unwrap_or_default()));
        if text.is_empty() { status } else { format!("{text} ({status})") }
    }

    /// What a refusal says, in Flower's terms. Texts are one line each and short.
    pub(crate) fn document(&self) -> Document {
        let json = match &self.status {
            FleetStatus::Grpc(_, message) => {
                let text = message.as_ref().map(|text| percent_decode(text.as_bytes())).unwrap_or_default();
                // Newer releases write the document in other words where they speak gRPC; older ones a plain text.
                match serde_json::from_str::<serde_json::Value>(&text) {
                    Ok(json) if json["public_message"].is_string() => json,
                    _ => return Document { code: 0, detail: one_line(&text), extra: None },
                }
            }
            FleetStatus::Http(_) => serde_json::from_slice(&self.body).unwrap_or_default(),
        };
        let part = |names: [&str; 2]| {
            let text = names.iter().find_map(|name| json[*name].as_str()).unwrap_or_default();
            one_line(text)
        };
        Document {
            code: json["code"].as_i64().unwrap_or_default(),
            detail: part(["detail", "public_message"]),
            extra: Some(part(["extra", "public_details"])).filter(|extra| !extra.is_empty()),
        }
    }

    /// Whether the call succeeded.
    pub fn is_ok(&self) -> bool {
        matches!(self.status, FleetStatus::Grpc(0, _) | FleetStatus::Http(StatusCode::OK))
    }

    /// Whether SuperLink refused what is asked (403 / PERMISSION_DENIED): to a SuperNode, the run has ended.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status, FleetStatus::Grpc(7, _) | FleetStatus::Http(StatusCode::FORBIDDEN))
    }

    /// Whether the next hop was not there (503 / UNAVAILABLE), which every Flower release tries again after.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status, FleetStatus::Grpc(14, _) | FleetStatus::Http(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// Whether the call could not be served just now, as opposed to being refused: the next one may well be. A SuperLink
    /// whose database is locked calls that an internal error.
    pub fn is_passing(&self) -> bool {
        match self.status {
            FleetStatus::Grpc(code, _) => matches!(code, 2 | 4 | 8 | 10 | 13 | 14),
            FleetStatus::Http(status) => status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Whether SuperLink refused the caller's identity (401 / UNAUTHENTICATED).
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self.status, FleetStatus::Grpc(16, _) | FleetStatus::Http(StatusCode::UNAUTHORIZED))
    }
}

/// A body of known bytes without trailers.
pub fn ready(bytes: Bytes) -> ReadyBody {
    UnsyncBoxBody::new(Full::new(bytes))
}

/// Wraps a protobuf message into one uncompressed gRPC frame.
pub fn frame(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_slice(&frame_head(message.len()));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// What comes before a message of so many bytes in an uncompressed gRPC frame.
pub(crate) fn frame_head(length: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// Unwraps exactly one uncompressed gRPC frame.
///
/// # Errors
/// [`EnvelopeError::Frame`] for anything else.
pub fn unframe(mut framed: Bytes) -> Result<Bytes, EnvelopeError> {
    let whole = framed.len();
    if whole < 5 || framed[0] != 0 {
        return Err(EnvelopeError::Frame(whole));
    }
    let length = u32::from_be_bytes([framed[1], framed[2], framed[3], framed[4]]) as usize;
    let message = framed.split_off(5);
    if message.len() == length { Ok(message) } else { Err(EnvelopeError::Frame(whole)) }
}

/// A text of somebody else in one line, without control characters and not too long.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

/// Encodes a text for `grpc-message`: printable ASCII but `%` stays, the rest becomes `%XX`.
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// The text of a `grpc-message`; what is not a percent-encoded byte stands for itself.
fn percent_decode(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits make at most 255.
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(response: Response<ReadyBody>) -> (StatusCode, HeaderMap, Option<HeaderMap>, Bytes) {
        let (parts, body) = response.into_parts();
        // All bodies here are ready at once, so polling with a no-op waker is enough.
        let mut collect = std::pin::pin!(body.collect());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::future::Future::poll(collect.as_mut(), &mut context) {
            std::task::Poll::Ready(Ok(all)) => {
                let trailers = all.trailers().cloned();
                (parts.status, parts.headers, trailers, all.to_bytes())
            }
            _ => panic!("the body is not ready"),
        }
    }

    fn round_trip(answer: &FleetAnswer, transport: Transport) -> FleetAnswer {
        let (status, headers, trailers, body) = collect(answer.clone().into_response());
        FleetAnswer::from_response(transport, status, &headers, trailers.as_ref(), body).unwrap()
    }

    #[test]
    fn a_success_of_our_own_survives_the_hop() {
        for transport in [Transport::Grpc, Transport::Http] {
            let answer = FleetAnswer::ok(transport, Bytes::from_static(b"\x08\x01"));
            assert!(answer.is_ok() && !answer.is_forbidden());
            assert_eq!(round_trip(&answer, transport), answer);
        }
        let denied = |status| FleetAnswer { status, body: Bytes::new(), content_type: None };
        assert!(denied(FleetStatus::Grpc(7, None)).is_forbidden());
        assert!(denied(FleetStatus::Http(StatusCode::FORBIDDEN)).is_forbidden());
        assert!(!denied(FleetStatus::Grpc(16, None)).is_forbidden());
    }

    #[test]
    fn refusals_survive_the_hop_and_read_as_flower_expects() {
        for transport in [Transport::Grpc, Transport::Http] {
            for refusal in [Refusal::Unavailable, Refusal::NotFleet, Refusal::Malformed] {
                let answer = FleetAnswer::refusal(transport, refusal, "zone `paris` is 100 % öffline\n");
                assert_eq!(round_trip(&answer, transport), answer);
                assert!(!answer.is_ok() && !answer.is_unauthenticated());
            }
        }
        let grpc = FleetAnswer::refusal(Transport::Grpc, Refusal::Unavailable, "a%b");
        assert_eq!(grpc.status, FleetStatus::Grpc(14, Some(HeaderValue::from_static("a%25b"))));
        let fatal = FleetAnswer::refusal(Transport::Grpc, Refusal::Unavailable, "TLS handshake failed: x");
        assert!(!fatal.words().contains("handshake failed"), "{}", fatal.words());
        let http = FleetAnswer::refusal(Transport::Http, Refusal::Unavailable, "x");
        assert_eq!(http.status, FleetStatus::Http(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn signs_of_life_are_answered_with_success_unauthenticated_or_unavailable_only() {
        let of = |transport: Transport, grpc: u16, http: StatusCode| FleetAnswer {
            status: match transport {
                Transport::Grpc => FleetStatus::Grpc(grpc, None),
                Transport::Http => FleetStatus::Http(http),
            },
            body: Bytes::new(),
            content_type: None,
        };
        for (transport, operation) in [
            (Transport::Grpc, Operation::SendNodeHeartbeat),
            (Transport::Http, Operation::SendNodeHeartbeat),
            (Transport::Grpc, Operation::ActivateNode),
            (Transport::Http, Operation::ActivateNode),
        ] {
            for (grpc, http) in
                [(0, StatusCode::OK), (16, StatusCode::UNAUTHORIZED), (14, StatusCode::SERVICE_UNAVAILABLE)]
            {
                let answer = of(transport, grpc, http);
                assert_eq!(answer.clone().safe_for(operation, transport), answer);
            }
            let broken = of(transport, 13, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(broken.clone().safe_for(Operation::GetRun, transport), broken);
            let safe = broken.safe_for(operation, transport);
            assert!(matches!(
                safe.status,
                FleetStatus::Grpc(14, _) | FleetStatus::Http(StatusCode::SERVICE_UNAVAILABLE)
            ));
        }
    }

    #[test]
    fn superlinks_words_are_read_from_both_transports() {
        let message = HeaderValue::from_static("No SuperNode found%0a with the given public key. 100%");
        let status = FleetStatus::Grpc(9, Some(message));
        let grpc = FleetAnswer { status, body: Bytes::new(), content_type: None };
        let text = "No SuperNode found with the given public key. 100% (gRPC status 9)";
        assert_eq!(grpc.words(), text);
        let safe = grpc.safe_for(Operation::ActivateNode, Transport::Grpc);
        assert_eq!(
            safe.words(),
            format!("SuperLink refused this SuperNode for now: {text} (gRPC status 14)")
        );
        let http = |body: &'static [u8]| FleetAnswer {
            status: FleetStatus::Http(StatusCode::PRECONDITION_FAILED),
            body: Bytes::from_static(body),
            content_type: None,
        };
        assert_eq!(
            http(br#"{"code": 2004, "detail": "Failed to activate SuperNode."}"#).words(),
            "Failed to activate SuperNode. (HTTP 412 Precondition Failed)"
        );
        assert_eq!(http(b"<html>").words(), "HTTP 412 Precondition Failed");
    }

    #[test]
    fn only_flowers_headers_are_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("flwr-timestamp", "t"), ("authorization", "secret"), ("host", "h"), ("te", "trailers")]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let call =
            FleetCall::from_request(Operation::GetRun, Transport::Http, &headers, Bytes::from_static(b"x"))
                .unwrap();
        assert_eq!(call.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["flwr-timestamp"]);
    }

    proptest! {
        #[test]
        fn success_survives_the_hop(body: Vec<u8>) {
            let body = Bytes::from(body);
            let grpc = FleetAnswer { status: FleetStatus::Grpc(0, None), body: body.clone(), content_type: None };
            prop_assert_eq!(&round_trip(&grpc, Transport::Grpc), &grpc);
            let http = FleetAnswer {
                status: FleetStatus::Http(StatusCode::OK), body, content_type: Some(PROTOBUF_CONTENT),
            };
            prop_assert_eq!(&round_trip(&http, Transport::Http), &http);
        }

        #[test]
        fn texts_survive_a_grpc_message(text: String, bytes: Vec<u8>) {
            prop_assert_eq!(percent_decode(percent_encode(&text).as_bytes()), text);
            let _ = percent_decode(&bytes);
        }

        #[test]
        fn frames_round_trip_and_no_bytes_panic(body: Vec<u8>) {
            let body = Bytes::from(body);
            prop_assert_eq!(unframe(frame(&body)), Ok(body.clone()));
            let _ = unframe(body);
        }
    }
}
