//! The keepalive pair of the line between hub and spoke.

use std::time::Duration;

/// When the HTTP/2 PINGs of a hub–spoke connection go out, and how long their answer may take. Both ends ping,
/// also while the connection is idle. From `FL_GRPC_KEEPALIVE_TIME` and `FL_GRPC_KEEPALIVE_TIMEOUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// From one PING to the next.
    pub time: Duration,
    /// From a PING to giving the connection up.
    pub timeout: Duration,
}

impl KeepAlive {
    /// The shortest interval that a hub with this setting takes from a spoke: half of its own. A spoke with a shorter
    /// setting is told so, and uses this one instead.
    pub fn least_accepted(self) -> Duration {
        self.time / 2
    }
}

impl Default for KeepAlive {
    /// 60 s and 20 s, the defaults of the context variables.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), timeout: Duration::from_secs(20) }
    }
}
