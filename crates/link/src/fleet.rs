//! Fleet calls as they come in over HTTP, at a spoke and at the hub.

use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::{Operation, Transport};

use crate::shell::budget::Budget;

/// How long a caller may take to send its call, and may have to wait for room for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a Fleet call to its end. Large ones wait for room in the budget; an object keeps its room until it is nowhere
/// any more. The error is the answer to give instead.
pub(crate) async fn read_call(
    operation: Operation,
    transport: Transport,
    request: Request<Incoming>,
    budget: &Budget,
) -> Result<FleetCall, FleetAnswer> {
    let malformed = |why: &str| FleetAnswer::refusal(transport, Refusal::Malformed, why);
    let (parts, body) = request.into_parts();
    if parts.method != http::Method::POST {
        return Err(malformed("Fleet operations are POST requests"));
    }
    let read = tokio::time::timeout(PATIENCE, budget.read(body, transport == Transport::Grpc)).await;
    let late = |_| FleetAnswer::refusal(transport, Refusal::Unavailable, "the call took too long to arrive");
    let (mut body, room) = read.map_err(late)?.map_err(|why| malformed(&why.to_string()))?;
    // The tree of a message may be held for long, and is not what memory is full of.
    if operation == Operation::PushObject
        && let Some(room) = room
    {
        body = room.hold(body);
    }
    FleetCall::from_request(operation, transport, &parts.headers, body)
        .map_err(|why| malformed(&why.to_string()))
}
