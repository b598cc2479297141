//! The liveness test of the WAN link.

use std::time::Duration;

/// Interval and patience of the HTTP/2 PINGs between hub and spoke. `timeout` is always below `time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// From one PING to the next (`FL_GRPC_KEEPALIVE_TIME`).
    pub time: Duration,
    /// How long the answer to a PING may take (`FL_GRPC_KEEPALIVE_TIMEOUT`).
    pub timeout: Duration,
}

/// A pair that cannot work: the next PING would be due before the last one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("FL_GRPC_KEEPALIVE_TIMEOUT ({timeout}) must be less than FL_GRPC_KEEPALIVE_TIME ({time}).")]
pub struct KeepAliveError {
    /// The interval, in seconds.
    pub time: u32,
    /// The patience, in seconds.
    pub timeout: u32,
}

impl KeepAlive {
    /// Below this interval, in seconds, the traffic of the PINGs themselves is worth a warning.
    pub const SHORT: u32 = 10;

    /// A pair from seconds.
    ///
    /// # Errors
    /// [`KeepAliveError`] where `timeout >= time`; the reference asks for it with the defaults applied.
    pub fn from_secs(time: u32, timeout: u32) -> Result<Self, KeepAliveError> {
        if timeout < time {
            Ok(Self { time: Duration::from_secs(time.into()), timeout: Duration::from_secs(timeout.into()) })
        } else {
            Err(KeepAliveError { time, timeout })
        }
    }
}
