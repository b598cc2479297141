//! How long to wait before the next try: doubling, capped, with jitter so that sites do not come back in step.

use std::time::Duration;

use ring::rand::SecureRandom;

/// Waits between tries: `first`, then twice that, up to `cap`, each shortened by up to half at random.
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// Forgets earlier failures.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The wait before the next try.
    pub(crate) fn wait(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.cap);
        let mut byte = [0u8];
        // Without random bytes there is no jitter; the wait is still right.
        let _ = ring::rand::SystemRandom::new().fill(&mut byte);
        full - full.mul_f64(f64::from(byte[0]) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_stay_within_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
        for full in [1, 2, 4, 4] {
            let wait = backoff.wait().as_secs_f64();
            assert!((f64::from(full) / 2.0..=f64::from(full)).contains(&wait), "{wait} of {full}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }
}
