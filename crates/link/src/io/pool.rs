//! Memory for large bodies, used again: fresh memory is given page by page by the kernel, cleared, which takes longer than
//! to fill it.
//!
//! There is one pool for the process. What is not used for a while is given back.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

/// Flower's objects are of 5 MiB and a few bytes; calls that carry them are a little longer.
const SIZE: usize = (5 << 20) + (128 << 10);
/// For less the allocator does as well.
const LEAST: usize = 1 << 20;
/// So many are kept that nobody uses.
const KEPT: usize = 6;
/// What was not used for this long (twice this at most) is given back.
const SWEEP: Duration = Duration::from_secs(5);

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), least: 0, swept: false });

struct Pool {
    free: Vec<Vec<u8>>,
    /// The fewest that were free since the last sweep: so many were of no use.
    least: usize,
    /// Whether there is somebody who sweeps.
    swept: bool,
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A vector whose memory may come from the pool, and goes back to it.
#[derive(Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        if !(LEAST..=SIZE).contains(&bytes) {
            return Self(Vec::with_capacity(bytes));
        }
        let mut pool = pool();
        let free = pool.free.pop();
        pool.least = pool.least.min(pool.free.len());
        drop(pool);
        Self(free.unwrap_or_else(|| Vec::with_capacity(SIZE)))
    }

    /// What is in it. The memory goes back when the last reference is gone.
    pub(crate) fn freeze(mut self) -> Bytes {
        if self.is_pooled() { Bytes::from_owner(self) } else { std::mem::take(&mut self.0).into() }
    }

    fn is_pooled(&self) -> bool {
        self.0.capacity() == SIZE
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_pooled() {
            return;
        }
        // Where there is nobody to give it back later it is given back now.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut memory = std::mem::take(&mut self.0);
        memory.clear();
        let mut pool = pool();
        if pool.free.len() >= KEPT {
            return;
        }
        pool.free.push(memory);
        let begin = !std::mem::replace(&mut pool.swept, true);
        drop(pool);
        if begin {
            runtime.spawn(sweep(Sweeping));
        }
    }
}

/// Somebody sweeps, until this is dropped: also with its runtime.
struct Sweeping;

impl Drop for Sweeping {
    fn drop(&mut self) {
        let mut pool = pool();
        pool.swept = false;
        let free = std::mem::take(&mut pool.free);
        drop(pool);
        drop(free);
    }
}

async fn sweep(sweeping: Sweeping) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut pool = pool();
        let unused = pool.least;
        let rest = pool.free.len().saturating_sub(unused);
        let gone = pool.free.split_off(rest);
        pool.least = pool.free.len();
        let done = pool.free.is_empty() && gone.is_empty();
        drop(pool);
        drop(gone);
        if done {
            break;
        }
    }
    drop(sweeping);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_used_again_and_given_back() {
        let mut one = Buffer::with_capacity(LEAST);
        assert_eq!(one.capacity(), SIZE);
        one.extend_from_slice(b"content");
        let bytes = one.freeze();
        let slice = bytes.slice(3..);
        drop(bytes);
        assert_eq!(&slice[..], b"tent");
        drop(slice);
        // Other tests use the pool, too.
        let all: Vec<_> = (0..2 * KEPT).map(|_| Buffer::with_capacity(SIZE)).collect();
        assert!(all.iter().all(|buffer| buffer.is_empty() && buffer.capacity() == SIZE));
        drop(all);
        assert!(pool().free.len() <= KEPT);
        assert!(Buffer::with_capacity(LEAST - 1).capacity() < SIZE);
        assert!(Buffer::with_capacity(SIZE + 1).capacity() > SIZE);
    }
}
