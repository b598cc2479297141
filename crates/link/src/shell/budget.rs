//! A bound on the memory of bodies: whoever wants to hold a large one waits until there is room for it.
//!
//! What is held is given back when the last reference to the bytes is gone, wherever they are by then: in a queue, at the
//! disk, or in the buffers of a socket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use onefed_flower::fleet::MAX_BODY;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is counted in units of this size.
const UNIT: usize = 64 << 10;
/// A body up to this size needs no room: nearly all calls.
const SMALL: usize = 64 << 10;
/// Flower's objects are of 5 MiB and a few bytes. A body whose length is not told is taken for one of these.
const OBJECT: usize = (5 << 20) + (128 << 10);

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

    /// Reads a body to its end. Room is taken for those that are not small, before they are held; it is given back with
    /// the bytes.
    ///
    /// # Errors
    /// [`BodyProblem`].
    pub(crate) async fn read(&self, mut body: Incoming) -> Result<(Bytes, Option<Room>), BodyProblem> {
        let told = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        if told.is_some_and(|bytes| bytes > MAX_BODY) {
            return Err(BodyProblem::TooLong);
        }
        let (mut bytes, mut room) = (BytesMut::new(), None);
        let mut expected = told.unwrap_or(0);
        let mut first = None;
        loop {
            if expected > SMALL && room.is_none() {
                let expected = if told.is_some() { expected } else { expected.max(OBJECT) };
                room = Some((self.room(expected).await, expected));
            }
            if let Some((held, had)) = room.as_mut().filter(|(_, had)| expected > *had) {
                held.0[1] = self.large.clone().acquire_owned().await.ok();
                *had = MAX_BODY;
            }
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame.map_err(BodyProblem::Broken)?.into_data() else { continue };
            let length = bytes.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
            if length > MAX_BODY {
                return Err(BodyProblem::TooLong);
            }
            expected = expected.max(length);
            // A body that comes in one piece is not copied.
            if first.is_none() && bytes.is_empty() {
                first = Some(data);
                continue;
            }
            if let Some(first) = first.take() {
                bytes.reserve(expected);
                bytes.extend_from_slice(&first);
            }
            bytes.extend_from_slice(&data);
        }
        Ok((first.unwrap_or_else(|| bytes.freeze()), room.map(|(room, _)| room)))
    }
}

impl Room {
    /// Binds the room to bytes: it is given back when the last reference to them is gone.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held(bytes, self))
    }
}
