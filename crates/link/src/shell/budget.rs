//! A bound on the memory of bodies: whoever wants to hold a large one waits until there is room for it.
//!
//! What is held is given back when the last reference to the bytes is gone, wherever they are by then: in a queue, at the
//! disk, or in the buffers of a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use onefed_flower::fleet::MAX_BODY;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::io::Buffer;

/// Room is counted in units of this size.
const UNIT: usize = 64 << 10;
/// A body up to this size needs no room: nearly all calls.
const SMALL: usize = 64 << 10;
/// Flower's objects are of 5 MiB and a few bytes. A body whose length is not told is taken for one of these.
const OBJECT: usize = (5 << 20) + (128 << 10);
/// What comes before the message in a gRPC frame.
const FRAME_HEAD: usize = 5;

/// How much may be held.
#[derive(Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    all: u32,
    /// Bodies larger than an object are read one at a time: no two of them can wait for each other's room.
    large: Arc<Semaphore>,
}

/// Room for some bytes.
pub(crate) struct Room([Option<OwnedSemaphorePermit>; 2]);

/// Bytes with the room that they take.
struct Held(Bytes, #[expect(dead_code, reason = "held, not read")] Room);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyProblem {
    #[error("a body of more than {} MiB", MAX_BODY >> 20)]
    TooLong,
    #[error("there is no room for it in memory: the disk is slow, or others bring much")]
    NoRoom,
    #[error("the body ended early: {0}")]
    Broken(hyper::Error),
}

impl Budget {
    /// A budget of about so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(all as usize)), all, large: Arc::new(Semaphore::new(1)) }
    }

    /// Waits for room. More than there is in all is taken for all of it.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.all);
        // The semaphores are never closed.
        Room([self.units.clone().acquire_many_owned(units).await.ok(), None])
    }

    /// Waits for room for one of Flower's objects.
    pub(crate) async fn object_room(&self) -> Room {
        self.room(OBJECT).await
    }

    /// Reads a body to its end; one that is `framed` is a gRPC frame. Room is taken for those that are not small, before
    /// they are held; it is given back with the bytes. A body that waited in vain is read all the same, and thrown away:
    /// who is still sending it does not look for an answer.
    ///
    /// # Errors
    /// [`BodyProblem`].
    pub(crate) async fn read(
        &self,
        mut body: Incoming,
        framed: bool,
        wait: Duration,
    ) -> Result<(Bytes, Option<Room>), BodyProblem> {
        let until = Instant::now() + wait;
        let told = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let (mut gathered, mut room) = (Gather::new(told, framed), None);
        loop {
            let expected = gathered.expected();
            if expected > MAX_BODY {
                return Err(BodyProblem::TooLong);
            }
            if expected > SMALL && room.is_none() {
                let expected = if gathered.is_told() { expected } else { expected.max(OBJECT) };
                let Ok(got) = timeout_at(until, self.room(expected)).await else {
                    return thrown_away(body).await;
                };
                room = Some((got, expected));
            }
            if let Some((held, had)) = room.as_mut().filter(|(_, had)| expected > *had) {
                let large = timeout_at(until, self.large.clone().acquire_owned()).await;
                let Ok(large) = large else {
                    drop((gathered, room));
                    return thrown_away(body).await;
                };
                (held.0[1], *had) = (large.ok(), MAX_BODY);
            }
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame.map_err(BodyProblem::Broken)?.into_data() else { continue };
            gathered.add(data);
        }
        Ok((gathered.done(), room.map(|(room, _)| room)))
    }
}

async fn thrown_away<T>(mut body: Incoming) -> Result<T, BodyProblem> {
    while let Some(Ok(_)) = body.frame().await {}
    Err(BodyProblem::NoRoom)
}

/// Puts a body together from its pieces, in memory that is taken once if the body says how long it is.
pub(crate) struct Gather {
    framed: bool,
    /// By the headers, or by the head of a gRPC frame.
    told: Option<usize>,
    /// A body that comes in one piece is not copied.
    first: Bytes,
    rest: Option<Buffer>,
}

impl Gather {
    /// For a body of so many bytes, if that is known. One that is `framed` is a gRPC frame, and says it itself.
    pub(crate) fn new(told: Option<usize>, framed: bool) -> Self {
        Self { framed, told, first: Bytes::new(), rest: None }
    }

    /// The bytes that the body has, as far as is known.
    pub(crate) fn expected(&self) -> usize {
        let here = self.rest.as_ref().map_or(self.first.len(), |rest| rest.len());
        self.told.map_or(here, |told| told.max(here))
    }

    fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Appends a piece.
    pub(crate) fn add(&mut self, piece: Bytes) {
        if self.first.is_empty() && self.rest.is_none() {
            if self.framed
                && self.told.is_none()
                && let Some(&[_, a, b, c, d]) = piece.first_chunk()
            {
                self.told = Some(FRAME_HEAD.saturating_add(u32::from_be_bytes([a, b, c, d]) as usize));
            }
            self.first = piece;
            return;
        }
        let expected = self.expected().min(MAX_BODY).max(self.first.len() + piece.len());
        let rest = self.rest.get_or_insert_with(|| {
            let mut rest = Buffer::with_capacity(expected);
            rest.extend_from_slice(&std::mem::take(&mut self.first));
            rest
        });
        rest.extend_from_slice(&piece);
    }

    /// The body.
    pub(crate) fn done(self) -> Bytes {
        self.rest.map_or(self.first, Buffer::freeze)
    }
}

impl Room {
    /// Gives back what so many bytes do not need. For room that was taken before their number was known.
    pub(crate) fn fit(mut self, bytes: usize) -> Self {
        let needed = if bytes > SMALL { bytes.div_ceil(UNIT) } else { 0 };
        if let Some(units) = &mut self.0[0] {
            drop(units.split(units.num_permits().saturating_sub(needed)));
        }
        self
    }

    /// Binds the room to bytes: it is given back when the last reference to them is gone.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held(bytes, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_make_the_body(body in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..80, 1..6), told: bool, framed: bool) {
            let mut whole = if framed { vec![0, 0, 0, body.len().to_be_bytes()[6], body.len().to_be_bytes()[7]] } else { Vec::new() };
            whole.extend(&body);
            let mut gathered = Gather::new(told.then_some(whole.len()), framed);
            let mut rest = Bytes::from(whole.clone());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                gathered.add(rest.split_to((*cut).min(rest.len())));
                prop_assert!(gathered.expected() <= whole.len());
                prop_assert!(!told || gathered.expected() == whole.len());
            }
            prop_assert!(gathered.done() == whole);
        }
    }

    #[test]
    fn a_grpc_frame_says_how_long_it_is_and_may_lie() {
        let mut gathered = Gather::new(None, true);
        gathered.add(Bytes::from_static(&[0, 0, 0, 4, 0]));
        assert_eq!(gathered.expected(), 1029);
        gathered.add(Bytes::from_static(&[7; 2000]));
        assert_eq!((gathered.expected(), gathered.done().len()), (2005, 2005));
        let mut long = Gather::new(None, true);
        long.add(Bytes::from_static(&[0, 255, 255, 255, 255]));
        assert!(long.expected() > MAX_BODY);
    }

    #[tokio::test]
    async fn room_that_is_not_needed_is_given_back() {
        let budget = Budget::new(OBJECT);
        let held = budget.object_room().await.fit(3 * UNIT).hold(Bytes::from_static(b"x"));
        assert_eq!(budget.units.available_permits(), OBJECT / UNIT - 3);
        drop(held);
        let held = budget.object_room().await.fit(10);
        assert_eq!(budget.units.available_permits(), OBJECT / UNIT);
        drop(held);
    }
}
