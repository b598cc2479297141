//! Small objects that wait to be stored. Whoever comes while a write is under way shares the next one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use tokio::sync::oneshot;

use super::PutError;
use super::flight::Seat;
use super::keeper::Keeper;

/// So many bytes are written at once at most.
const BATCH: usize = 1 << 20;

/// Each waiting one belongs to a caller of `put`, so there are no more than the callers allow themselves.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    served: bool,
}

pub(super) struct Waiting {
    pub(super) id: ObjectId,
    pub(super) content: Bytes,
    pub(super) seat: Seat,
    pub(super) done: oneshot::Sender<Result<(), PutError>>,
}

impl Queue {
    /// Adds one. Whether nobody serves the queue: then the caller has to see to it.
    pub(super) fn push(&self, one: Waiting) -> bool {
        let mut state = self.state();
        state.waiting.push(one);
        !std::mem::replace(&mut state.served, true)
    }

    /// Stores what waits, until there is nothing. Blocks.
    pub(super) fn serve(&self, keeper: &Keeper) {
        let _serving = Serving(self);
        while let Some(batch) = self.next() {
            let objects: Vec<_> = batch.iter().map(|one| (one.id, one.content.clone())).collect();
            let outcomes = keeper.put_small(&objects);
            for (mut one, outcome) in batch.into_iter().zip(outcomes) {
                if outcome.is_ok() {
                    one.seat.leave(Some(one.content));
                }
                drop(one.seat);
                // If nobody waits any more, it is stored all the same.
                let _ = one.done.send(outcome);
            }
        }
    }

    fn next(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state();
        let mut total = 0;
        let count = state.waiting.iter().take_while(|one| {
            total += one.content.len();
            total <= BATCH
        });
        let count = count.count();
        if count == 0 {
            *state = State::default();
            return None;
        }
        Some(state.waiting.drain(..count).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that a panic does not leave the queue without anybody.
struct Serving<'a>(&'a Queue);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.state() = State::default();
        }
    }
}
