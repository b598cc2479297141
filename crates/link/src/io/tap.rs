//! Watches the HTTP/2 frames of a connection, to know when PINGs went out and came back.
//!
//! The HTTP/2 library sends and answers PINGs but does not show them; the operator wants to see that they flow, and
//! how old the last answer is. Frames are only looked at, never changed.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// HTTP/2 frame type of PING, and its ACK flag (RFC 9113, 6.7).
const PING: u8 = 0x6;
const ACK: u8 = 0x1;
/// A frame header: 24-bit length, type, flags, 32-bit stream id.
const HEADER: usize = 9;
/// What a client sends before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of the PINGs of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingLog {
    /// PINGs that we sent.
    pub sent: u64,
    /// Answers to them that came back.
    pub acked: u64,
    /// PINGs of the other end.
    pub received: u64,
    /// When the last answer came back.
    pub last_ack: Option<Instant>,
    /// How long the last answer took.
    pub rtt: Option<Duration>,
    sent_at: Option<Instant>,
}

/// The shared record of one connection's PINGs.
#[derive(Clone, Debug, Default)]
pub struct FrameTap(Arc<Mutex<PingLog>>);

impl FrameTap {
    /// The record so far.
    pub fn log(&self) -> PingLog {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, direction: Direction, ack: bool) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (direction, ack) {
            (Direction::Out, false) => {
                log.sent += 1;
                log.sent_at = Some(Instant::now());
            }
            (Direction::In, true) => {
                log.acked += 1;
                log.last_ack = Some(Instant::now());
                log.rtt = log.sent_at.map(|at| at.elapsed());
            }
            (Direction::In, false) => log.received += 1,
            (Direction::Out, true) => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// Finds frame boundaries in one direction of a connection.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// Bytes to pass over: the rest of a payload, or of the preface.
    skip: usize,
    started: bool,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut ping: impl FnMut(bool)) {
        if !self.started && !bytes.is_empty() {
            self.started = true;
            // A frame header starts with a length; only a client's preface starts with `P`.
            if bytes[0] == PREFACE[0] {
                self.skip = PREFACE.len();
            }
        }
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            let step = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == HEADER {
                self.have = 0;
                let [l0, l1, l2, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
                if kind == PING {
                    ping(flags & ACK != 0);
                }
            }
        }
    }
}

/// A stream whose HTTP/2 frames are watched.
pub struct Tapped<S> {
    inner: S,
    tap: FrameTap,
    incoming: Frames,
    outgoing: Frames,
}

impl<S> Tapped<S> {
    /// Wraps a stream that will carry HTTP/2 from its first byte.
    pub fn new(inner: S, tap: FrameTap) -> Self {
        Self { inner, tap, incoming: Frames::default(), outgoing: Frames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let done = Pin::new(&mut this.inner).poll_read(cx, buf);
        let tap = &this.tap;
        this.incoming.feed(&buf.filled()[before..], |ack| tap.note(Direction::In, ack));
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        let done = Pin::new(&mut this.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = done {
            let tap = &this.tap;
            this.outgoing.feed(&buf[..count], |ack| tap.note(Direction::Out, ack));
        }
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        let done = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut count)) = done {
            let tap = &this.tap;
            for buf in bufs {
                let step = count.min(buf.len());
                this.outgoing.feed(&buf[..step], |ack| tap.note(Direction::Out, ack));
                count -= step;
            }
        }
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn pings_are_found_however_the_bytes_are_cut(cuts in prop::collection::vec(1usize..40, 1..60), preface: bool) {
            let mut wire = if preface { PREFACE.to_vec() } else { Vec::new() };
            wire.extend(frame(4, 0, &[]));
            wire.extend(frame(PING, 0, &[6; 8]));
            // A payload that looks like a PING must not count.
            wire.extend(frame(0, 0, &frame(PING, 0, &[0; 8])));
            wire.extend(frame(PING, ACK, &[6; 8]));
            let (mut frames, mut seen, mut rest) = (Frames::default(), Vec::new(), wire.as_slice());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                frames.feed(now, |ack| seen.push(ack));
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(seen, vec![false, true]);
        }
    }
}
