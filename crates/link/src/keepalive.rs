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
    /// The shortest interval that a hub with this setting takes from a spoke: half of its own.
    pub fn least_accepted(self) -> Duration {
        self.time / 2
    }

    /// Why a hub with this setting does not take a spoke of `site` that would PING every `asked`; `None` if it does.
    pub(crate) fn refusal_of(self, site: &str, asked: Duration) -> Option<String> {
        let least = self.least_accepted();
        (asked < least).then(|| {
            let whole = least.as_secs() + u64::from(least.subsec_nanos() > 0);
            format!(
                "this hub accepts PINGs every {} s at most often, site {site} asks for {} s: \
                 set FL_GRPC_KEEPALIVE_TIME to {whole} or more there",
                least.as_secs_f64(),
                asked.as_secs_f64(),
            )
        })
    }
}

impl Default for KeepAlive {
    /// 60 s and 20 s, the defaults of the context variables.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), timeout: Duration::from_secs(20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_hubs_interval_is_the_least_and_the_text_names_both() {
        let hub = |seconds| KeepAlive { time: Duration::from_secs(seconds), ..KeepAlive::default() };
        assert_eq!(hub(60).refusal_of("lisbon", Duration::from_secs(30)), None);
        assert_eq!(
            hub(60).refusal_of("lisbon", Duration::from_secs(10)).unwrap(),
            "this hub accepts PINGs every 30 s at most often, site lisbon asks for 10 s: \
             set FL_GRPC_KEEPALIVE_TIME to 30 or more there"
        );
        let odd = hub(45).refusal_of("paris", Duration::from_secs(22)).unwrap();
        assert!(odd.contains("every 22.5 s") && odd.contains("to 23 or more"), "{odd}");
    }
}
