//! What happens to an engine, in the order in which it happened: a queue with one reader that is a thread of its own.
//!
//! Whoever can wait takes a place first, so that a busy engine holds its callers back instead of piling up their bodies.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pair::Held;

/// So many events wait at most, beside those that nobody can hold back.
const PLACES: usize = 1024;
/// So many are taken at once: what the first of them asks for must not wait for ever.
const BATCH: usize = 512;

/// The writing end. The reader's thread ends with the last of these.
pub(crate) struct Mailbox<T>(Arc<Slot<T>>);

/// A writing end that does not keep the reader's thread alive: for the reader itself.
pub(crate) struct WeakMailbox<T>(Weak<Slot<T>>);

/// What an event takes while it waits, given back when it is read: a place of the mailbox, or, for a frame, room of its
/// pair, from which nothing more is read when all of that is taken.
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Place {
    /// None, for events of which there is one for each call or connection at most: these are bounded.
    pub(crate) const FEW: Self = Self(None);
}

impl From<Held> for Place {
    fn from(held: Held) -> Self {
        Self(Some(held.0))
    }
}

struct Slot<T> {
    queue: Sender<(T, Place)>,
    places: Arc<Semaphore>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The reading end.
pub(crate) struct Letters<T>(Receiver<(T, Place)>);

/// Makes a mailbox.
pub(crate) fn mailbox<T>() -> (Mailbox<T>, Letters<T>) {
    let (queue, letters) = mpsc::channel();
    (Mailbox(Arc::new(Slot { queue, places: Arc::new(Semaphore::new(PLACES)) })), Letters(letters))
}

impl<T> Mailbox<T> {
    /// Waits for a place, and puts an event in. Where nobody reads any more, it is dropped.
    pub(crate) async fn send(&self, event: T) {
        // The semaphore is never closed.
        if let Ok(place) = self.0.places.clone().acquire_owned().await {
            self.put(event, Place(Some(place)));
        }
    }

    /// Puts an event in at once, for whoever cannot wait: `place` says what bounds the number of such events.
    pub(crate) fn put(&self, event: T, place: impl Into<Place>) {
        let _ = self.0.queue.send((event, place.into()));
    }

    pub(crate) fn weak(&self) -> WeakMailbox<T> {
        WeakMailbox(Arc::downgrade(&self.0))
    }
}

impl<T> WeakMailbox<T> {
    /// A writing end that lasts, unless all of them are gone.
    pub(crate) fn get(&self) -> Option<Mailbox<T>> {
        self.0.upgrade().map(Mailbox)
    }
}

impl<T> Letters<T> {
    /// Waits for events at most `patience`, and takes those that are there; `None` once nobody can write any more.
    pub(crate) fn take(&self, patience: Duration) -> Option<Vec<T>> {
        let first = match self.0.recv_timeout(patience) {
            Ok((event, _)) => event,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let more = self.0.try_iter().take(BATCH - 1).map(|(event, _)| event);
        Some(std::iter::once(first).chain(more).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_writes_too_much_waits_and_who_cannot_wait_does_not() {
        let (mailbox, letters) = mailbox();
        for number in 0..PLACES {
            mailbox.send(number).await;
        }
        let late = tokio::time::timeout(Duration::from_millis(50), mailbox.send(PLACES)).await;
        assert!(late.is_err(), "there was another place");
        mailbox.put(PLACES, Place::FEW);
        let mut taken = Vec::new();
        while taken.len() <= PLACES {
            taken.extend(letters.take(Duration::ZERO).unwrap());
        }
        assert_eq!(taken, (0..=PLACES).collect::<Vec<_>>());
        mailbox.send(7).await;
        assert_eq!(letters.take(Duration::ZERO).unwrap(), [7]);
        // A frame takes its pair's room until it is read.
        let room = Arc::new(Semaphore::new(3));
        mailbox.put(8, Held(room.clone().acquire_many_owned(3).await.unwrap()));
        assert_eq!(room.available_permits(), 0);
        assert_eq!(letters.take(Duration::ZERO).unwrap(), [8]);
        assert_eq!(room.available_permits(), 3);
        let weak = mailbox.weak();
        assert!(weak.get().is_some());
        drop(mailbox);
        assert!(weak.get().is_none());
        assert_eq!(letters.take(Duration::from_secs(5)), None);
    }
}
