//! Fleet calls as they come in over HTTP, at a spoke and at the hub.

use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use onefed_flower::fleet::{FleetAnswer, FleetCall, Refusal};
use onefed_flower::{Operation, Transport};

use crate::shell::budget::{BodyProblem, Budget};

/// How long a caller may take to send its call.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a Fleet call to its end. Large ones wait for room in the budget, no longer than `wait`; an object keeps its room
/// until it is nowhere any more. The error is the answer to give instead.
pub(crate) async fn read_call(
    operation: Operation,
    transport: Transport,
    request: Request<Incoming>,
    budget: &Budget,
    wait: Duration,
) -> Result<FleetCall, FleetAnswer> {
    let malformed = |why: &str| FleetAnswer::refusal(transport, Refusal::Malformed, why);
    let (parts, body) = request.into_parts();
    if parts.method != http::Method::POST {
        return Err(malformed("Fleet operations are POST requests"));
    }
    let read = tokio::time::timeout(PATIENCE, budget.read(body, transport == Transport::Grpc, wait)).await;
    let for_now = |why: &str| FleetAnswer::refusal(transport, Refusal::Unavailable, why);
    let read = read.map_err(|_| for_now("the call took too long to arrive"))?;
    let (mut body, room) = read.map_err(|why| match why {
        BodyProblem::NoRoom => for_now(&why.to_string()),
        BodyProblem::TooLong | BodyProblem::Broken(_) => malformed(&why.to_string()),
    })?;
    // The tree of a message may be held for long, and is not what memory is full of.
    if operation == Operation::PushObject
        && let Some(room) = room
    {
        body = room.hold(body);
    }
    FleetCall::from_request(operation, transport, &parts.headers, body)
        .map_err(|why| malformed(&why.to_string()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use onefed_flower::fleet::ReadyBody;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const WAIT: Duration = Duration::from_millis(300);
    const BODY: usize = 700_000;

    /// Somebody who reads calls, and answers with what was wrong with them.
    fn serving(budget: Arc<Budget>) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let service = service_fn(move |request| {
            let budget = budget.clone();
            async move {
                let call = read_call(Operation::PushObject, Transport::Http, request, &budget, WAIT).await;
                let length = |call: FleetCall| call.body.len().to_string();
                let answer = call.map(|call| FleetAnswer::ok(Transport::Http, length(call).into()));
                Ok::<Response<ReadyBody>, Infallible>(answer.unwrap_or_else(|why| why).into_response())
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service),
        );
        ours
    }

    /// Sends all of a large call before it looks for the answer, as Flower does.
    async fn call(line: &mut DuplexStream) -> String {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY}\r\n\r\n");
        line.write_all(head.as_bytes()).await.unwrap();
        line.write_all(&vec![7; BODY]).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = line.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_in_time_and_may_come_again_on_the_same_connection() {
        let budget = Arc::new(Budget::new(BODY));
        let held = budget.room(BODY).await;
        let mut line = serving(budget.clone());
        let began = std::time::Instant::now();
        let answer = call(&mut line).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("no room for it in memory"), "{answer}");
        assert!(began.elapsed() >= WAIT, "{:?}", began.elapsed());
        drop(held);
        let answer = call(&mut line).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("700000"), "{answer}");
    }
}
