//! Calls and answers that end with an object, made without copying it: a model passes a hop in objects of 5 MiB, and each
//! copy of them costs as much as their TLS.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use crate::Transport;
use crate::fleet::{FleetAnswer, FleetCall, FleetStatus, ReadyBody, frame_head};
use crate::objects::{ObjectId, object_content_head, push_object_head};

/// The answer to PullObject that brings an object.
pub fn object_answer(transport: Transport, content: Bytes) -> Response<ReadyBody> {
    answer(transport, object_content_head(content.len()), content)
}

/// A success whose body is these bytes.
pub fn whole_answer(transport: Transport, body: Bytes) -> Response<ReadyBody> {
    answer(transport, BytesMut::new(), body)
}

/// A PushObject call: `call` without a body, and what the body is to say. `base` is `scheme://authority`.
///
/// # Errors
/// [`http::Error`] if `base` is not a valid URI start.
pub fn push_object(
    call: &FleetCall,
    base: &str,
    (node, run, session): (u64, u64, &str),
    (id, content): (ObjectId, Bytes),
) -> Result<Request<ReadyBody>, http::Error> {
    let head = push_object_head(node, run, session, id, content.len());
    let body = InTwo::new(call.transport, head, content, None);
    Ok(call.to_request(base)?.map(|_empty| UnsyncBoxBody::new(body)))
}

fn answer(transport: Transport, head: BytesMut, content: Bytes) -> Response<ReadyBody> {
    let (status, trailers) = match transport {
        Transport::Grpc => {
            let ok = HeaderMap::from_iter([(crate::fleet::GRPC_STATUS, HeaderValue::from_static("0"))]);
            (FleetStatus::Grpc(0, None), Some(ok))
        }
        Transport::Http => (FleetStatus::Http(http::StatusCode::OK), None),
    };
    let content_type = Some(crate::fleet::PROTOBUF_CONTENT);
    let envelope = FleetAnswer { status, body: Bytes::new(), content_type }.into_response();
    let body = InTwo::new(transport, head, content, trailers);
    envelope.map(|_empty| UnsyncBoxBody::new(body))
}

/// A body of two pieces.
struct InTwo {
    pieces: [Bytes; 2],
    trailers: Option<HeaderMap>,
}

impl InTwo {
    fn new(transport: Transport, head: BytesMut, content: Bytes, trailers: Option<HeaderMap>) -> Self {
        let head = match transport {
            Transport::Http => head,
            Transport::Grpc => {
                let mut framed = BytesMut::from(&frame_head(head.len() + content.len())[..]);
                framed.unsplit(head);
                framed
            }
        };
        Self { pieces: [head.freeze(), content], trailers }
    }
}

impl Body for InTwo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.iter_mut().find(|piece| !piece.is_empty()).map(std::mem::take);
        let frame = next.map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.pieces.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{object_content, push_object_request};
    use crate::{Operation, fleet};
    use http_body_util::BodyExt as _;
    use std::task::Waker;

    fn collect(body: ReadyBody) -> (Bytes, Option<HeaderMap>) {
        let told = body.size_hint().exact();
        let mut collect = std::pin::pin!(body.collect());
        // All bodies here are ready at once.
        let Poll::Ready(Ok(all)) = collect.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("not ready")
        };
        let trailers = all.trailers().cloned();
        let bytes = all.to_bytes();
        assert_eq!(told, Some(bytes.len() as u64));
        (bytes, trailers)
    }

    #[test]
    fn answers_are_the_same_as_the_copied_ones() {
        for content in [&b""[..], b"x", &[7; 300]].map(Bytes::copy_from_slice) {
            for transport in [Transport::Grpc, Transport::Http] {
                for (made, body) in [
                    (object_answer(transport, content.clone()), object_content(&content)),
                    (whole_answer(transport, content.clone()), content.clone()),
                ] {
                    let (parts, made) = made.into_parts();
                    let (bytes, trailers) = collect(made);
                    let read = FleetAnswer::from_response(
                        transport,
                        parts.status,
                        &parts.headers,
                        trailers.as_ref(),
                        bytes,
                    );
                    let read = read.unwrap();
                    assert!(read.is_ok(), "{transport}");
                    assert_eq!(read.body, body, "{transport}");
                }
            }
        }
    }

    #[test]
    fn calls_say_the_same_as_the_copied_ones() {
        let (id, headers) = (ObjectId([7; 32]), HeaderMap::new());
        for content in [&b""[..], b"x", &[7; 300]].map(Bytes::copy_from_slice) {
            for transport in [Transport::Grpc, Transport::Http] {
                let call = FleetCall {
                    operation: Operation::PushObject,
                    transport,
                    headers: headers.clone(),
                    body: Bytes::new(),
                };
                let made = push_object(&call, "http://x", (5, 6, "session"), (id, content.clone())).unwrap();
                assert_eq!(made.uri().path(), Operation::PushObject.path(transport));
                let (bytes, _) = collect(made.into_body());
                let bytes = if transport == Transport::Grpc { fleet::unframe(bytes).unwrap() } else { bytes };
                let copied = push_object_request(5, 6, "session", id, &content);
                let read = crate::objects::pushed_object(&bytes).unwrap();
                assert_eq!(Some(read), crate::objects::pushed_object(&copied));
            }
        }
    }
}
