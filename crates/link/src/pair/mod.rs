//! The connection pair between a spoke and the hub.
//!
//! # Shape
//!
//! A pair is two TLS 1.3 + HTTP/2 connections: **control** carries frames ([`SpokeFrame`],
//! [`HubFrame`]), **bulk** carries whole objects, so that a heartbeat never waits behind a model.
//! What an end does with what arrives, and where it gets objects to send, is its [`End`]:
//!
//! - At a spoke: `Dialler::start(config, Arc<End>)`. It dials for ever. `Dialler::state` and `Dialler::sight` are for the
//!   status.
//! - At a hub: `Pairs::new(config, make)` where `make(&Hello) -> Arc<End>` is called once for each pair; then either
//!   `Pairs::answer` inside a listener that serves other things, too, or `Pairs::listen` for a listener of its own.
//!   `Pairs::sights` is for the status.
//!
//! An end is told [`End::up`] with the [`Pair`] to send by, then frames and objects, then [`End::down`]; nothing of a pair
//! comes after its `down`, and a newer pair of the same spoke is `up` only after the older one is `down`.
//!
//! # How a pair comes to be
//!
//! The spoke dials both connections at once. On control it says hello (`POST` [`HELLO_PATH`](crate::wire::HELLO_PATH),
//! JSON) and gets a welcome with a random session token. Then there is one long `POST` on each connection, to
//! [`CONTROL_PATH`] and to [`BULK_PATH`] with the token in [`SESSION_HEADER`]: its body is what the spoke says, the
//! response's body what the hub says. A newer hello of the same spoke ends the older pair; one with a lower epoch is refused.
//!
//! # How it ends
//!
//! With either connection. Control is found dead by HTTP/2 PINGs that both ends send, while idle too. Bulk has none, as
//! their timeout runs on while data arrives and would end a slow line that is healthy: there the receiver acknowledges
//! what it has taken, and repeats that while its end is busy with an object; a sender that has something unacknowledged
//! and sees no byte move, in or out, for PING interval and timeout together ends the pair.
//!
//! # Memory
//!
//! Of what the other end sends, at most [`BULK_WINDOW`] (24 MiB) is in flight or waits on bulk and [`CONTROL_WINDOW`] on
//! control, and [`CONTROL_HELD`] (2 MiB) wait for the end; added to that is the one object that is being put together and the one that the end is busy with (5 MiB each
//! in Flower, with a coded one the coded bytes and its base, too). Towards the other end there are the object being sent,
//! the next one being made ready, and [`SEND_BUFFER`]. That is below 64 MiB for a pair
//! both of whose directions are stalled, and a few MiB otherwise. Half a window is what may be on its way before the other
//! end hears that there is room again: 12 MiB are 1 Gbit/s at 100 ms. The kernel's own limit for a TCP connection (`tcp_rmem`,
//! 6 MiB) binds before that unless it is raised, as `onefed boot` does on VMs.

pub mod bulk;
mod dial;
mod outbox;
mod run;
mod socket;
mod spoke;
mod take;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::frame::{FrameError, HubFrame, Parts, SpokeFrame};
use crate::wire::Welcome;
pub use bulk::Parcel;
pub use dial::LineConfig;
pub(crate) use dial::{authority, connect, ending, millis, reason};
use outbox::Outbox;
pub(crate) use run::Life;
use run::Stop;
pub(crate) use socket::{BULK_ALPN, tune};
pub use spoke::{Dialler, LineSight, LineState};
pub(crate) use take::Door;
pub use take::{PairSight, Pairs, PairsConfig};

/// Where the control stream goes.
pub const CONTROL_PATH: &str = "/onefed/v2/control";
/// Where the bulk stream goes.
pub const BULK_PATH: &str = "/onefed/v2/bulk";
/// The request header of both that carries the session token of the welcome.
pub const SESSION_HEADER: &str = "onefed-session";
/// HTTP/2 window of the bulk connection, in bytes.
pub const BULK_WINDOW: u32 = 24 << 20;
/// HTTP/2 window of the control connection, in bytes.
pub const CONTROL_WINDOW: u32 = 8 << 20;
/// What a connection keeps of its own to be sent, in bytes, beside what the kernel has.
pub const SEND_BUFFER: usize = 512 << 10;
/// The largest HTTP/2 frame that is taken, and the largest chunk that is made.
pub(crate) const CHUNK: usize = 256 << 10;
/// So many bytes may wait on control, beside the frame that comes next. Who is slower than that loses the pair.
pub const CONTROL_QUEUE: usize = 64 << 20;

/// Frames of so many bytes are with an end at once, beside those that the connection's window holds back.
pub const CONTROL_HELD: usize = 2 << 20;

/// Room for a frame that an end was given. To be dropped when the frame has been dealt with: nothing more is read from
/// control while those that are held weigh [`CONTROL_HELD`] bytes.
#[derive(Debug)]
pub struct Held(pub(crate) OwnedSemaphorePermit);

/// What goes over a control connection.
pub trait Frame: Sized + Send + 'static {
    /// About how many bytes of memory it takes beside itself.
    fn weight(&self) -> usize;
    /// Appends the frame's bytes. `parts` belongs to this direction of one connection.
    fn encode(&self, parts: &mut Parts, out: &mut BytesMut);
    /// Takes the next whole frame off the front; `None` while it is not all there.
    ///
    /// # Errors
    /// [`FrameError`]: the pair has to end.
    fn decode(parts: &mut Parts, bytes: &mut BytesMut) -> Result<Option<Self>, FrameError>;
}

/// About what a header takes beside its words.
const HEADER: usize = 64;

fn weight_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| HEADER + name.as_str().len() + value.len()).sum()
}

impl Frame for SpokeFrame {
    fn weight(&self) -> usize {
        match self {
            Self::Call { call, .. } => call.body.len() + weight_of(&call.headers),
            Self::Auth { headers, .. } => weight_of(headers),
            Self::Want(wanted) => size_of_val(&wanted[..]),
            Self::Reply(reply) => reply.body.len(),
            // Rare, and of many parts: as much as there may be.
            Self::Stats(_) => CONTROL_HELD,
            _ => 0,
        }
    }

    fn encode(&self, _parts: &mut Parts, out: &mut BytesMut) {
        Self::encode(self, out);
    }

    fn decode(_parts: &mut Parts, bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        Self::decode(bytes)
    }
}

impl Frame for HubFrame {
    fn weight(&self) -> usize {
        match self {
            Self::Result { answer, .. } => answer.body.len(),
            Self::Offer(offer) => offer.body.len() + offer.run.as_ref().map_or(0, Bytes::len),
            Self::Want(wanted) => size_of_val(&wanted[..]),
            _ => 0,
        }
    }

    fn encode(&self, parts: &mut Parts, out: &mut BytesMut) {
        self.encode_with(parts, out);
    }

    fn decode(parts: &mut Parts, bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        Self::decode_with(parts, bytes)
    }
}

/// What one end does with what arrives, and where it gets objects to send.
pub trait End: Send + Sync + 'static {
    /// What the other end says.
    type In: Frame;
    /// What this one says.
    type Out: Frame;

    /// What the hub said at a spoke's hello. Called before [`End::up`], at a spoke only.
    fn welcome(&self, _welcome: &Welcome) {}

    /// Both connections are there. Called before anything of the pair arrives.
    fn up(&self, pair: Pair<Self::Out>);

    /// The other end says something. Must not block: who cannot deal with it at once keeps `held` with it.
    fn frame(&self, frame: Self::In, held: Held);

    /// An object has arrived; nothing of it is checked. The next one is read only when this is done, which is how a slow
    /// disk slows the other end down. Dropped unfinished when the pair ends. An error ends the pair.
    fn object(&self, parcel: Parcel) -> impl Future<Output = std::result::Result<(), String>> + Send;

    /// Waits for the next object to send. Asked again while the last one is being sent; nothing queues beyond that.
    /// Dropped unfinished when the pair ends, and an object that was given may then be lost: wants end with the pair.
    fn next_object(&self) -> impl Future<Output = Parcel> + Send;

    /// So many bytes of an object were given to the connection, which took so long: the speed of the line, while there is
    /// always something to send.
    fn sent(&self, bytes: usize, took: Duration);

    /// The pair is gone. Called once for each [`End::up`]; nothing of the pair comes after it.
    fn down(&self, why: &str);
}

/// A pair that is up, to send by. Cheap to clone; dropping it ends nothing.
pub struct Pair<Out> {
    control: Arc<Control>,
    stop: Arc<Stop>,
    _out: std::marker::PhantomData<fn(Out)>,
}

/// The sending side of a control connection: frames are encoded in the order in which they are sent.
struct Control {
    outbox: Arc<Outbox>,
    parts: std::sync::Mutex<Parts>,
}

impl<Out> Clone for Pair<Out> {
    fn clone(&self) -> Self {
        Self { control: self.control.clone(), stop: self.stop.clone(), _out: std::marker::PhantomData }
    }
}

impl<Out: Frame> Pair<Out> {
    /// Sends a frame. Never blocks; does nothing once the pair has ended. More than [`CONTROL_QUEUE`] bytes that the other
    /// end does not take end the pair.
    pub fn send(&self, frame: &Out) {
        let mut parts = self.control.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waiting = self.control.outbox.write(|out| frame.encode(&mut parts, out));
        drop(parts);
        if waiting.before > CONTROL_QUEUE {
            self.stop.end("the other end does not read what it is told: 64 MiB wait");
        }
        self.control.outbox.flush();
    }

    /// Ends the pair. A spoke dials again.
    pub fn close(&self, why: &str) {
        self.stop.end(why);
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.stop.why().is_some()
    }
}
