//! A pair at work: the same at both ends.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::bulk::{self, Decoder, Item, Parcel};
use super::outbox::Outbox;
use super::{CHUNK, CONTROL_HELD, Control, End, Frame, Held, Pair, SEND_BUFFER, reason};
use crate::KeepAlive;
use crate::engine::frame::Parts;
use crate::io::Meter;

/// Content below this is copied into the chunk that its head is in; above, it goes as it is.
const SMALL: usize = 16 << 10;
/// So many bytes make a chunk that does not wait for more.
const WORTH_SENDING: usize = 64 << 10;
/// How long the last small objects wait for others to share a chunk with.
const LINGER: Duration = Duration::from_millis(1);
/// What is taken is acknowledged after so many bytes at the latest.
const ACK_EVERY: u64 = 1 << 20;
/// How long to wait for a connection's own words on why its stream ended.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Something that ends once, with a reason.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<Option<Arc<str>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Stop {
    /// Ends it. Only the first reason counts.
    pub(crate) fn end(&self, why: &str) {
        self.0.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why.into());
            }
            first
        });
    }

    /// Why it has ended, if it has.
    pub(crate) fn why(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Arc<str> {
        let mut ended = self.0.subscribe();
        loop {
            if let Some(why) = ended.borrow_and_update().clone() {
                return why;
            }
            if ended.changed().await.is_err() {
                // Never: the sender is in `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The life of one connection.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Set to have it closed.
    pub(crate) close: Stop,
    /// Set when it has ended.
    pub(crate) ended: Stop,
}

/// One connection of a pair, its stream open in both directions.
pub(super) struct Half {
    pub(super) incoming: Incoming,
    pub(super) outbox: Arc<Outbox>,
    pub(super) meter: Arc<Meter>,
    pub(super) life: Arc<Life>,
}

/// What was given to the bulk stream, and what the other end has taken of it.
#[derive(Default)]
struct Flow {
    sent: AtomicU64,
    taken: AtomicU64,
}

/// Runs a pair to its end and says why it ended. The end has been told when this returns; `is_up` is called right after it
/// has been told of the beginning.
pub(super) async fn run<E: End>(
    end: Arc<E>,
    control: Half,
    bulk: Half,
    stop: Arc<Stop>,
    keepalive: KeepAlive,
    is_up: impl FnOnce(),
) -> Arc<str> {
    let sending = Control { outbox: control.outbox.clone(), parts: Mutex::default() };
    let pair = Pair { control: Arc::new(sending), stop: stop.clone(), _out: std::marker::PhantomData };
    end.up(pair);
    is_up();

    let (flow, patience) = (Arc::new(Flow::default()), keepalive.time + keepalive.timeout);
    let mut tasks = JoinSet::new();
    tasks.spawn(read_control(end.clone(), control.incoming, control.life.clone()));
    let reader = BulkReader {
        out: bulk.outbox.clone(),
        flow: flow.clone(),
        decoder: Decoder::default(),
        acked: 0,
        busy: keepalive.timeout / 2,
    };
    tasks.spawn(reader.read(end.clone(), bulk.incoming, bulk.life.clone()));
    tasks.spawn(pump(end.clone(), bulk.outbox.clone(), flow.clone()));
    tasks.spawn(watch_over(flow, bulk.meter, patience));

    let why = tokio::select! {
        why = stop.wait() => why,
        ended = tasks.join_next() => match ended {
            Some(Ok(why)) => why.into(),
            Some(Err(why)) => why.to_string().into(),
            None => "nothing left to do".into(),
        },
        why = control.life.ended.wait() => format!("control: {why}").into(),
        why = bulk.life.ended.wait() => format!("bulk: {why}").into(),
    };
    stop.end(&why);
    tasks.shutdown().await;
    control.outbox.end();
    bulk.outbox.end();
    control.life.close.end(&why);
    bulk.life.close.end(&why);
    end.down(&why);
    why
}

/// The next chunk of a stream, or why there is none.
async fn next_chunk(incoming: &mut Incoming, what: &str, life: &Life) -> Result<Bytes, String> {
    loop {
        let why = match incoming.frame().await {
            // Anything but data is nothing to us.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => return Ok(chunk),
                Err(_) => continue,
            },
            Some(Err(why)) => reason(&why),
            None => "the other end has closed it".into(),
        };
        let better = timeout(LAST_WORDS, life.ended.wait()).await;
        return Err(format!("{what}: {}", better.map_or(why, |better| better.to_string())));
    }
}

async fn read_control<E: End>(end: Arc<E>, mut incoming: Incoming, life: Arc<Life>) -> String {
    let (mut parts, mut bytes) = (Parts::default(), BytesMut::new());
    let room = Arc::new(Semaphore::new(CONTROL_HELD));
    loop {
        match next_chunk(&mut incoming, "control", &life).await {
            Ok(chunk) if bytes.is_empty() => bytes = BytesMut::from(chunk),
            Ok(chunk) => bytes.put_slice(&chunk),
            Err(why) => return why,
        }
        loop {
            let frame = match E::In::decode(&mut parts, &mut bytes) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(why) => return format!("control: the other end sent {why}"),
            };
            // One that is larger than all the room has it for itself.
            let weight = (frame.weight() + size_of::<E::In>()).min(CONTROL_HELD);
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            match room.clone().acquire_many_owned(weight).await {
                Ok(held) => end.frame(frame, Held(held)),
                // Never: nobody closes it.
                Err(why) => return why.to_string(),
            }
        }
    }
}

struct BulkReader {
    out: Arc<Outbox>,
    flow: Arc<Flow>,
    decoder: Decoder,
    acked: u64,
    /// How often to say so while the end is busy.
    busy: Duration,
}

impl BulkReader {
    async fn read<E: End>(mut self, end: Arc<E>, mut incoming: Incoming, life: Arc<Life>) -> String {
        loop {
            let chunk = tokio::select! {
                biased;
                chunk = next_chunk(&mut incoming, "bulk", &life) => chunk,
                // Nothing more for now.
                () = std::future::ready(()) => {
                    self.acknowledge(1);
                    next_chunk(&mut incoming, "bulk", &life).await
                }
            };
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(why) => return why,
            };
            loop {
                match self.decoder.next(&mut chunk) {
                    Ok(Some(Item::Object(parcel))) => {
                        if let Err(why) = self.hand_over(&end, parcel).await {
                            return format!("bulk: {why}");
                        }
                    }
                    Ok(Some(Item::Ack(taken))) => {
                        self.flow.taken.fetch_max(taken, Ordering::Relaxed);
                    }
                    Ok(None) => break,
                    Err(why) => return format!("bulk: the other end sent {why}"),
                }
            }
            self.acknowledge(ACK_EVERY);
        }
    }

    async fn hand_over<E: End>(&mut self, end: &Arc<E>, parcel: Parcel) -> Result<(), String> {
        let mut taken = pin!(end.object(parcel));
        loop {
            tokio::select! {
                biased;
                taken = &mut taken => return taken,
                // A word that this end lives, though it takes nothing.
                () = sleep(self.busy) => self.acknowledge(0),
            }
        }
    }

    /// Says how much has been taken, if that is at least so many bytes more than was said before.
    fn acknowledge(&mut self, least: u64) {
        let taken = self.decoder.taken();
        // Where the other end does not even take acknowledgements, more of them do not help.
        if taken - self.acked >= least && self.out.waiting() < 4 * SEND_BUFFER {
            self.acked = taken;
            self.out.write(|out| bulk::put_ack(taken, out));
            self.out.flush();
        }
    }
}

/// Moves objects from the end to the outbox, as fast as that empties. The next one is made ready while one is sent.
async fn pump<E: End>(end: Arc<E>, out: Arc<Outbox>, flow: Arc<Flow>) -> String {
    let (mut next, mut ready) = (pin!(end.next_object()), None);
    loop {
        let parcel = match ready.take() {
            Some(parcel) => parcel,
            None => tokio::select! {
                biased;
                parcel = &mut next => parcel,
                () = sleep(LINGER), if out.waiting() > 0 => {
                    out.flush();
                    next.as_mut().await
                }
            },
        };
        next.set(end.next_object());
        if parcel.length > bulk::MAX_OBJECT {
            tracing::error!(
                id = ?parcel.id,
                bytes = parcel.length,
                "an object that is too long for the line is not sent"
            );
            continue;
        }
        let (bytes, began) = (parcel.bytes.len(), Instant::now());
        let mut sending = pin!(send(parcel, &out, &flow));
        loop {
            tokio::select! {
                biased;
                () = &mut sending => break,
                parcel = &mut next, if ready.is_none() => ready = Some(parcel),
            }
        }
        end.sent(bytes, began.elapsed());
    }
}

async fn send(parcel: Parcel, out: &Outbox, flow: &Flow) {
    out.room(SEND_BUFFER).await;
    let note = |written: usize| {
        flow.sent.fetch_add(written as u64, Ordering::Relaxed);
        if out.waiting() >= WORTH_SENDING {
            out.flush();
        }
    };
    let head = out.write(|out| {
        bulk::put_object(&parcel, out);
        if !parcel.bytes.is_empty() && parcel.bytes.len() < SMALL {
            bulk::put_part(parcel.bytes.len(), out);
            out.put_slice(&parcel.bytes);
        }
    });
    note(head.added);
    let mut bytes = parcel.bytes;
    if bytes.len() < SMALL {
        return;
    }
    while !bytes.is_empty() {
        let part = bytes.split_to(bytes.len().min(CHUNK));
        let length = part.len();
        note(out.write_with(|out| bulk::put_part(length, out), part).added);
        out.room(SEND_BUFFER).await;
    }
}

/// Ends a bulk connection on which nothing moves although something should.
async fn watch_over(flow: Arc<Flow>, meter: Arc<Meter>, patience: Duration) -> String {
    let moved = || (meter.read(), meter.written());
    let (mut last, mut since) = (moved(), Instant::now());
    loop {
        sleep(patience / 8).await;
        let owed = flow.sent.load(Ordering::Relaxed) > flow.taken.load(Ordering::Relaxed);
        if !owed || moved() != last {
            (last, since) = (moved(), Instant::now());
        } else if since.elapsed() >= patience {
            return format!("bulk: no byte moved for {} s", since.elapsed().as_secs_f64().round());
        }
    }
}
