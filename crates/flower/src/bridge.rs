//! Fleet calls and answers from one transport into the other, so that SuperNodes of releases before 1.40 (gRPC) work with
//! a SuperLink from 1.40 on (HTTP), and the other way round.
//!
//! Bodies are the same bytes in both. Two headers change their name and their base64, and a status has to keep its
//! consequence: what a SuperNode does after a refusal depends on nothing else. A SuperNode stops at 401 / UNAUTHENTICATED,
//! takes 403 / PERMISSION_DENIED for the end of the run, and tries again after 502, 503, 504 / UNAVAILABLE. Any other
//! refusal is final for the call. So the first two come from the same status only, and all that an HTTP SuperNode would
//! try again after becomes UNAVAILABLE.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::Transport;
use crate::fleet::{FleetAnswer, FleetCall, FleetStatus};
use crate::messages::BASE64;

/// The headers with binary values, as gRPC names them (HTTP/2 carries those in base64, mostly unpadded) and as Flower
/// names them in HTTP (always padded: SuperLink insists).
const BINARY: [(&str, &str); 2] =
    [("flwr-public-key-bin", "flwr-public-key"), ("flwr-signature-bin", "flwr-signature")];

/// gRPC's codes, and the HTTP statuses that Flower 1.41 has for them in its table of errors; for the rest those of the
/// usual mapping. The first row of a status is its way back.
const STATUSES: [(u16, StatusCode); 17] = [
    (0, StatusCode::OK),
    (14, StatusCode::SERVICE_UNAVAILABLE),
    (16, StatusCode::UNAUTHORIZED),
    (7, StatusCode::FORBIDDEN),
    (3, StatusCode::BAD_REQUEST),
    (12, StatusCode::NOT_FOUND),
    (5, StatusCode::NOT_FOUND),
    (6, StatusCode::CONFLICT),
    (9, StatusCode::PRECONDITION_FAILED),
    (8, StatusCode::TOO_MANY_REQUESTS),
    (13, StatusCode::INTERNAL_SERVER_ERROR),
    (4, StatusCode::GATEWAY_TIMEOUT),
    (1, StatusCode::INTERNAL_SERVER_ERROR),
    (2, StatusCode::INTERNAL_SERVER_ERROR),
    (10, StatusCode::CONFLICT),
    (11, StatusCode::BAD_REQUEST),
    (15, StatusCode::INTERNAL_SERVER_ERROR),
];

const INVALID_ARGUMENT: u16 = 3;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

/// The same call in a transport. The body is the same memory.
pub fn call(call: &FleetCall, to: Transport) -> FleetCall {
    let headers = headers(&call.headers, call.transport, to);
    FleetCall { operation: call.operation, transport: to, headers, body: call.body.clone() }
}

/// The same answer in a transport: the consequence for a SuperNode and the words are kept.
pub fn answer(answer: FleetAnswer, to: Transport) -> FleetAnswer {
    match (&answer.status, to) {
        (FleetStatus::Grpc(..), Transport::Grpc) | (FleetStatus::Http(_), Transport::Http) => answer,
        _ if answer.is_ok() => FleetAnswer::ok(to, answer.body),
        (FleetStatus::Grpc(code, _), Transport::Http) => {
            FleetAnswer::http_refusal(http_of(*code), &answer.document())
        }
        (FleetStatus::Http(status), Transport::Grpc) => {
            let document = answer.document();
            FleetAnswer::grpc_refusal(grpc_of(*status, document.code), &document)
        }
    }
}

/// Flower's headers of a call in another transport. One with a binary value that cannot be read is left out: SuperLink
/// refuses the call as it would refuse the value. So is a signature or a key that has the name of the other transport
/// already, which nobody on this side would have looked at.
pub fn headers(headers: &HeaderMap, from: Transport, to: Transport) -> HeaderMap {
    if from == to {
        return headers.clone();
    }
    let mut translated = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| **name != CONTENT_TYPE) {
        let pair = BINARY.iter().find(|(grpc, http)| name == grpc || name == http);
        let ours = |(grpc, http): &(&str, &str)| match from {
            Transport::Grpc => name == grpc,
            Transport::Http => name == http,
        };
        match pair {
            None => {
                translated.append(name.clone(), value.clone());
            }
            Some(pair) if !ours(pair) => {}
            Some((grpc, http)) => {
                let Ok(bytes) = BASE64.decode(value.as_bytes()) else { continue };
                let (name, text) = match to {
                    Transport::Grpc => (grpc, STANDARD_NO_PAD.encode(bytes)),
                    Transport::Http => (http, STANDARD.encode(bytes)),
                };
                let Ok(value) = HeaderValue::try_from(text) else { continue };
                translated.append(HeaderName::from_static(name), value);
            }
        }
    }
    translated
}

/// The HTTP status of a gRPC code; an unknown code is an internal error.
fn http_of(code: u16) -> StatusCode {
    let row = STATUSES.iter().find(|(grpc, _)| *grpc == code);
    row.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status)
}

/// The gRPC code of an HTTP status that is not a success. `code` is the number in Flower's error document, 0 without one.
fn grpc_of(status: StatusCode, code: i64) -> u16 {
    match status {
        // An HTTP SuperNode tries again after all three; a gRPC one would not after DEADLINE_EXCEEDED.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        // With a number of Flower's, something of the request was not found; without one, the operation was not.
        StatusCode::NOT_FOUND if code != 0 => NOT_FOUND,
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => UNIMPLEMENTED,
        other => match STATUSES.iter().find(|(_, status)| *status == other) {
            Some((0, _)) => INTERNAL,
            Some((grpc, _)) => *grpc,
            None if other.is_client_error() => INVALID_ARGUMENT,
            None => INTERNAL,
        },
    }
}

#[cfg(test)]
mod tests;
