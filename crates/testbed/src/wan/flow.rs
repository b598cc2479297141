//! One connection, and each of its two directions.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::Lane;

/// The largest piece that is read at once.
const PIECE: usize = 256 * 1024;
/// The smallest, which is about a packet.
const PACKET: usize = 1500;
/// Reads of less than this are copied, so that a small piece does not hold a large buffer.
const SMALL: usize = 32 * 1024;
/// What a connection may have on its way in a lane without a rate.
const FREE: usize = 32 << 20;
/// Buffers that are kept for the next read.
const SPARE: usize = 64;
/// How much too early something may go on its way: about what a wake-up from `poll` is late.
const EARLY: Duration = Duration::from_micros(60);

/// What all connections share in one direction.
pub(super) struct Shared {
    pub(super) lane: Lane,
    /// When the last byte that was taken in has left the sender's side of the line.
    busy_until: Instant,
    /// Nothing moves.
    pub(super) hold: bool,
    /// Bytes delivered since the last look.
    pub(super) delivered: u64,
    spare: Vec<Vec<u8>>,
    random: u64,
}

impl Shared {
    pub(super) fn new(lane: Lane, now: Instant, seed: u64) -> Self {
        Self { lane, busy_until: now, hold: false, delivered: 0, spare: Vec::new(), random: seed }
    }

    /// The next number of a fixed sequence in 0..1 (splitmix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How much is read at once: a millisecond's worth, so that the delay is right.
    fn piece(&self) -> usize {
        self.lane.rate.map_or(PIECE, |rate| ((rate / 1000) as usize).clamp(PACKET, PIECE))
    }

    /// How much a connection may have on its way: what the line holds, and its queue.
    fn window(&self) -> usize {
        let Some(rate) = self.lane.rate else { return FREE };
        let seconds = (self.lane.delay + self.lane.queue).as_secs_f64();
        (rate as f64 * seconds) as usize + 2 * self.piece()
    }

    /// When the queue has room again; in the past if it has.
    fn room_at(&self) -> Instant {
        self.busy_until.checked_sub(self.lane.queue).unwrap_or(self.busy_until)
    }

    /// Sends so many bytes: when they will have arrived, without loss.
    fn send(&mut self, now: Instant, bytes: usize) -> Instant {
        let start = self.busy_until.max(now);
        let seconds = self.lane.rate.map_or(0.0, |rate| bytes as f64 / rate as f64);
        self.busy_until = start + Duration::from_secs_f64(seconds);
        let jitter = if self.lane.jitter.is_zero() { 0.0 } else { self.random() };
        self.busy_until + self.lane.delay + self.lane.jitter.mul_f64(jitter)
    }

    /// Whether one of so many bytes is lost.
    fn loses(&mut self, bytes: usize) -> bool {
        self.lane.loss_per_mb > 0.0 && {
            let none = (-self.lane.loss_per_mb * bytes as f64 / 1e6).exp();
            self.random() > none
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; PIECE])
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.len() == PIECE && self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }
}

enum What {
    /// A buffer, of which this part is still to be delivered.
    Bytes(Vec<u8>, usize, usize),
    Fin,
    Reset,
}

/// How a step has ended for the whole connection.
#[derive(PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// A reset has arrived at the far end of this direction.
    ResetArrived,
}

/// One direction of a connection.
pub(super) struct Half {
    queue: VecDeque<(Instant, What)>,
    held: usize,
    /// Nothing more is read: the sender has ended, or nobody wants it.
    closed: bool,
    /// The end of it was delivered, or there is nobody to deliver to.
    pub(super) done: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    last_due: Instant,
    /// Not read before: the handshake takes its time, and a slow reader too.
    not_before: Instant,
}

impl Half {
    pub(super) fn new(not_before: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            held: 0,
            closed: false,
            done: false,
            readable: false,
            writable: true,
            last_due: not_before,
            not_before,
        }
    }

    /// Adds the sender's reset behind what it has sent.
    pub(super) fn push_reset(&mut self, now: Instant, shared: &mut Shared) {
        if !self.done {
            self.closed = true;
            let due = shared.send(now, 0).max(self.last_due);
            self.queue.push_back((due, What::Reset));
        }
    }

    /// There is nobody to deliver to any more.
    pub(super) fn give_up(&mut self) {
        (self.closed, self.done, self.held) = (true, true, 0);
        self.queue.clear();
    }

    /// When there is something to do without an event; `None` if only an event helps.
    pub(super) fn wake(&self, shared: &Shared, now: Instant) -> Option<Instant> {
        if shared.hold || self.done {
            return None;
        }
        let deliver = self.queue.front().filter(|_| self.writable).map(|(due, _)| *due);
        // Where there is room but nothing to read, the event will say when there is.
        let read = self.wants_to_read(shared).then(|| self.read_at(shared));
        let read = read.filter(|at| self.readable || *at > now);
        [deliver, read].into_iter().flatten().min()
    }

    fn wants_to_read(&self, shared: &Shared) -> bool {
        !self.closed && self.held < shared.window()
    }

    fn read_at(&self, shared: &Shared) -> Instant {
        shared.room_at().max(self.not_before)
    }

    /// Whether a byte from the sender is worth an event.
    pub(super) fn polls_read(&self, shared: &Shared, now: Instant) -> bool {
        !shared.hold && !self.readable && self.wants_to_read(shared) && self.read_at(shared) <= now
    }

    /// Whether room at the receiver is worth an event.
    pub(super) fn polls_write(&self, shared: &Shared) -> bool {
        !shared.hold && !self.writable && !self.done
    }

    /// Takes in one piece, if there is one and room for it. An error is that of the sender.
    pub(super) fn take(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        from: &mut TcpStream,
    ) -> std::io::Result<()> {
        if shared.hold || !self.readable || !self.wants_to_read(shared) || self.read_at(shared) > now {
            return Ok(());
        }
        let mut buffer = shared.buffer();
        let most = shared.piece();
        let read = match from.read(&mut buffer[..most]) {
            Ok(read) => read,
            Err(why) => {
                shared.keep(buffer);
                if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    self.readable = why.kind() == ErrorKind::Interrupted;
                    return Ok(());
                }
                return Err(why);
            }
        };
        if read == 0 {
            shared.keep(buffer);
            self.closed = true;
            let due = shared.send(now, 0).max(self.last_due);
            self.queue.push_back((due, What::Fin));
            return Ok(());
        }
        self.readable = read == most;
        let kept = if read < SMALL {
            let small = buffer[..read].to_vec();
            shared.keep(buffer);
            small
        } else {
            buffer
        };
        let mut due = shared.send(now, read).max(self.last_due);
        if shared.loses(read) {
            due += shared.lane.stall;
        }
        if let Some(rate) = shared.lane.slow_reader {
            self.not_before = now + Duration::from_secs_f64(read as f64 / rate.max(1) as f64);
        }
        self.last_due = due;
        self.held += read;
        self.queue.push_back((due, What::Bytes(kept, 0, read)));
        Ok(())
    }

    /// Delivers what is due. An error is that of the receiver.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        to: &mut TcpStream,
    ) -> std::io::Result<Fate> {
        while self.writable && !shared.hold && !self.done {
            let Some((due, what)) = self.queue.front_mut() else { break };
            if *due > now + EARLY {
                break;
            }
            match what {
                What::Reset => return Ok(Fate::ResetArrived),
                What::Fin => {
                    // It may be gone already, which is as good.
                    let _ = to.shutdown(Shutdown::Write);
                    self.done = true;
                }
                What::Bytes(buffer, start, end) => match to.write(&buffer[*start..*end]) {
                    Ok(written) => {
                        *start += written;
                        let whole = *start == *end;
                        self.held -= written;
                        shared.delivered += written as u64;
                        if whole && let Some((_, What::Bytes(buffer, ..))) = self.queue.pop_front() {
                            shared.keep(buffer);
                        }
                    }
                    Err(why) if why.kind() == ErrorKind::WouldBlock => self.writable = false,
                    Err(why) if why.kind() == ErrorKind::Interrupted => {}
                    Err(why) => return Err(why),
                },
            }
        }
        Ok(Fate::Lives)
    }
}
