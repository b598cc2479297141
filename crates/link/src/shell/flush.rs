//! Objects on their way to the platters before anybody waits for it: a record that says that they are there is then
//! quickly safe from a power cut.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::store::ObjectStore;

/// What comes in meanwhile is flushed together.
const GATHER: Duration = Duration::from_millis(100);

/// Flushes a store in the background.
#[derive(Clone)]
pub(crate) struct Flush {
    store: ObjectStore,
    runtime: Handle,
    due: Arc<AtomicBool>,
}

impl Flush {
    pub(crate) fn new(store: ObjectStore, runtime: Handle) -> Self {
        Self { store, runtime, due: Arc::default() }
    }

    /// Something was stored.
    pub(crate) fn soon(&self) {
        if self.due.swap(true, Ordering::AcqRel) {
            return;
        }
        let flush = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(GATHER).await;
            flush.due.store(false, Ordering::Release);
            // Whoever needs it hears of it: the store does not forget a disk that failed.
            if let Err(why) = flush.store.sync().await {
                tracing::error!(%why, "the disk does not take what it was given");
            }
        });
    }

    /// Flushes, and waits for it. Must not be waited for in a task.
    ///
    /// # Errors
    /// If the disk failed, now or before.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.runtime.block_on(self.store.sync())
    }
}
