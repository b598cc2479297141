//! What waits to be sent on a stream, and the HTTP body that takes it from there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

use super::CHUNK;
use crate::listen::{Body, BodyError};

/// A queue of bytes. Small pieces are gathered to chunks, large ones pass through as they are.
#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    room: Notify,
}

#[derive(Default)]
struct Inner {
    ready: VecDeque<Bytes>,
    /// Small pieces, younger than everything that is ready.
    tail: BytesMut,
    waiting: usize,
    reader: Option<Waker>,
    ended: bool,
}

/// How many bytes waited before something was written, and how many it was.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) before: usize,
    pub(super) added: usize,
}

impl Outbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends small pieces. They may stay until [`Outbox::flush`].
    pub(super) fn write(&self, put: impl FnOnce(&mut BytesMut)) -> Written {
        self.write_with(put, Bytes::new())
    }

    /// Appends small pieces and then a large one, this without a copy. Nothing that others write comes between them.
    pub(super) fn write_with(&self, put: impl FnOnce(&mut BytesMut), piece: Bytes) -> Written {
        let mut inner = self.inner();
        let before = inner.waiting;
        if inner.ended {
            return Written { before, added: 0 };
        }
        let length = inner.tail.len();
        put(&mut inner.tail);
        let added = inner.tail.len() - length + piece.len();
        inner.waiting += added;
        if !piece.is_empty() {
            inner.seal();
            inner.ready.push_back(piece);
        }
        Written { before, added }
    }

    /// Has what waits sent.
    pub(super) fn flush(&self) {
        let reader = self.inner().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.inner().waiting
    }

    /// Waits until fewer than `limit` bytes wait.
    pub(super) async fn room(&self, limit: usize) {
        while self.waiting() >= limit {
            // A permit is kept where the room came between the look and the wait.
            self.room.notified().await;
        }
    }

    /// Ends the stream: what waits is dropped.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        inner.ended = true;
        inner.ready.clear();
        (inner.tail, inner.waiting) = (BytesMut::new(), 0);
        drop(inner);
        self.flush();
        self.room.notify_one();
    }

    /// The body that sends what is in this outbox.
    pub(super) fn body(self: &Arc<Self>) -> Body {
        Outgoing(self.clone()).boxed_unsync()
    }
}

impl Inner {
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.seal();
        }
        let mut piece = self.ready.pop_front()?;
        if piece.len() > CHUNK {
            let rest = piece.split_off(CHUNK);
            self.ready.push_front(rest);
        }
        self.waiting -= piece.len();
        Some(piece)
    }
}

struct Outgoing(Arc<Outbox>);

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut inner = self.0.inner();
        if let Some(piece) = inner.next() {
            drop(inner);
            self.0.room.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::bulk::{self, Decoder, Item, Parcel};
    use onefed_flower::objects::ObjectId;

    /// Acknowledgements are written by who reads, objects by who sends, each in a thread of its own.
    #[test]
    fn nothing_comes_between_the_head_of_a_part_and_its_bytes() {
        const PARTS: usize = 20_000;
        const LENGTH: usize = 40;
        let out = Outbox::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..PARTS {
                    let parcel = Parcel::plain(ObjectId([number as u8; 32]), vec![7; LENGTH].into());
                    out.write(|out| bulk::put_object(&parcel, out));
                    out.write_with(|out| bulk::put_part(LENGTH, out), parcel.bytes);
                }
            });
            scope.spawn(|| {
                for _ in 0..2 * PARTS {
                    out.write(|out| bulk::put_ack(1, out));
                }
            });
        });
        let (mut decoder, mut objects) = (Decoder::default(), 0);
        while let Some(mut chunk) = out.inner().next() {
            while let Some(item) = decoder.next(&mut chunk).unwrap() {
                match item {
                    Item::Object(parcel) => {
                        assert_eq!(parcel.bytes, vec![7; LENGTH]);
                        objects += 1;
                    }
                    Item::Ack(taken) => assert_eq!(taken, 1),
                }
            }
        }
        assert_eq!((objects, out.waiting()), (PARTS, 0));
    }
}
