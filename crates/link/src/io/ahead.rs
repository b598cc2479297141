//! Reads ahead for those who ask for little at a time.
//!
//! The TLS library asks for 4 KiB each time, which is a system call for every quarter of a record. While a connection is
//! busy its bytes are read in larger steps; an idle one has no buffer.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at once.
const STEP: usize = 64 << 10;

/// A stream that is read ahead while there is much to read.
pub(crate) struct Ahead<S> {
    inner: S,
    /// Empty, or [`STEP`] bytes long.
    buffer: Vec<u8>,
    /// What of the buffer has been read, and not been taken.
    from: usize,
    to: usize,
    /// The last read gave all that was asked for.
    busy: bool,
}

impl<S> Ahead<S> {
    /// Wraps a stream.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), from: 0, to: 0, busy: false }
    }

    /// The stream inside.
    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.from == this.to {
            if !this.busy || buf.remaining() >= STEP {
                let wanted = buf.remaining();
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.busy = wanted > 0 && buf.filled().len() - before == wanted;
                return Poll::Ready(Ok(()));
            }
            this.buffer.resize(STEP, 0);
            let mut step = ReadBuf::new(&mut this.buffer);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut step);
            (this.from, this.to) = (0, step.filled().len());
            if this.to < STEP / 16 {
                this.busy = false;
            }
            if this.to == 0 {
                this.buffer = Vec::new();
            }
            ready!(read)?;
        }
        let step = buf.remaining().min(this.to - this.from);
        buf.put_slice(&this.buffer[this.from..this.from + step]);
        this.from += step;
        if this.from == this.to && !this.busy {
            this.buffer = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    proptest! {
        #[test]
        fn all_bytes_come_in_order(writes in prop::collection::vec(1usize..100_000, 1..12), asks in prop::collection::vec(1usize..9000, 1..5)) {
            let bytes: Vec<u8> = (0..writes.iter().sum()).map(|n: usize| (n % 251) as u8).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut near, far) = tokio::io::duplex(80_000);
                let mut far = Ahead::new(far);
                let sent = bytes.clone();
                tokio::spawn(async move {
                    let mut rest = sent.as_slice();
                    for length in writes {
                        near.write_all(&rest[..length]).await.unwrap();
                        rest = &rest[length..];
                        tokio::task::yield_now().await;
                    }
                });
                let mut read = Vec::<u8>::new();
                for ask in asks.iter().cycle() {
                    let mut step = vec![0; *ask];
                    let length = far.read(&mut step).await.unwrap();
                    read.extend(&step[..length]);
                    if length == 0 {
                        assert!(far.buffer.is_empty(), "an idle stream has a buffer");
                        break;
                    }
                }
                read
            });
            prop_assert!(read == bytes);
        }
    }
}
