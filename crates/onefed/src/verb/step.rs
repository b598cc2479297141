//! How verbs change zones: with the lock in hand, and with every step in the journal before it is done, and after.

use crate::failure::Failure;
use crate::state::State;
use crate::zone_lock::ZoneLock;

/// The right to change zones.
pub(crate) struct Steps {
    pub(crate) state: State,
    lock: ZoneLock,
}

impl Steps {
    pub(crate) fn new(state: State, lock: ZoneLock) -> Self {
        Self { state, lock }
    }

    /// Does a step in a zone, unless the lock was taken away. `name` says to which object, the words that the step ends
    /// with say what came of it.
    pub(crate) async fn step<T>(
        &self,
        zone: &str,
        step: &str,
        name: &str,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failure> {
        self.lock.check().await?;
        self.state.journal("begin", zone, step, name)?;
        match work.await {
            Ok((value, words)) => {
                self.state.journal("done", zone, step, format!("{name} {words}").trim_end())?;
                Ok(value)
            }
            Err(why) => {
                self.state.journal("failed", zone, step, &format!("{name}: {}", why.message))?;
                Err(why)
            }
        }
    }

    /// Gives the lock back.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        self.lock.release().await
    }
}
