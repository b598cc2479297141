//! One at a time per object: who comes later waits, and finds the content that the first one left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use tokio::sync::OwnedMutexGuard;

type Cell = Arc<tokio::sync::Mutex<Option<Bytes>>>;
type Cells = Arc<Mutex<HashMap<ObjectId, Cell>>>;

/// The objects that somebody works on.
#[derive(Default)]
pub(super) struct Flights(Cells);

/// The right to work on an object, until it is dropped.
pub(super) struct Seat {
    /// Dropped before the place, which counts who else is there.
    guard: OwnedMutexGuard<Option<Bytes>>,
    _place: Place,
}

/// A place in an object's queue. The last one to go takes the queue away.
struct Place {
    cells: Cells,
    id: ObjectId,
    cell: Cell,
}

impl Flights {
    /// Waits until nobody else works on the object.
    pub(super) async fn enter(&self, id: ObjectId) -> Seat {
        let cell = Arc::clone(locked(&self.0).entry(id).or_default());
        let place = Place { cells: Arc::clone(&self.0), id, cell };
        let guard = Arc::clone(&place.cell).lock_owned().await;
        Seat { guard, _place: place }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        locked(&self.0).is_empty()
    }

    /// How many wait for the one that works on the object.
    #[cfg(test)]
    pub(super) fn waiting(&self, id: ObjectId) -> usize {
        // Who waits has its place, and a share in the wait.
        locked(&self.0).get(&id).map_or(0, |cell| (Arc::strong_count(cell) - 3) / 2)
    }
}

impl Seat {
    /// The content that one before us left for those who waited.
    pub(super) fn left(&self) -> Option<Bytes> {
        self.guard.clone()
    }

    /// Leaves the content for those who wait, and nothing if there is none (any more).
    pub(super) fn leave(&mut self, content: Option<Bytes>) {
        *self.guard = content;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut cells = locked(&self.cells);
        // The map's and ours; new ones are only made under this lock.
        if Arc::strong_count(&self.cell) == 2 {
            cells.remove(&self.id);
        }
    }
}

fn locked(cells: &Cells) -> MutexGuard<'_, HashMap<ObjectId, Cell>> {
    cells.lock().unwrap_or_else(PoisonError::into_inner)
}
