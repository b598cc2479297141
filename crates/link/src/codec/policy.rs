//! Whether to code the next object: only where the line is slower than the codec.
//!
//! Coding and sending overlap, so with the codec a byte of content takes as long as the slower of the two: coding it, or
//! sending what is left of it. Both are measured as they happen, on this machine and on this line.

use std::time::Duration;

/// How much of an average a whole second of measuring (or so) is.
const WEIGHT: f64 = 0.3;
/// A measurement of less than this many bytes says little about a speed, and counts for less.
const WHOLE: f64 = (4 << 20) as f64;
/// Coding has to win by this part, or it is work for nothing.
const WIN: f64 = 0.95;
/// Before so many bytes were sent nothing is known of a line: the first ones go into buffers.
const WARM: u64 = 16 << 20;
/// Objects below this many bytes tell nothing about a speed.
const TELLING: u64 = 64 << 10;
/// While coding does not pay, one object in so many is coded all the same, to see whether it would by now.
const LOOK_AGAIN: u32 = 64;

/// Measures a line in one direction and the codec before it, and says what is worth it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Bytes per second on the line, while there was something to send.
    line: Option<f64>,
    /// What was sent before that was known.
    warming: (u64, Duration),
    /// Bytes of content per second through the codec.
    codec: Option<f64>,
    /// What is left of a byte.
    ratio: f64,
    since_look: u32,
}

impl Policy {
    /// So many bytes were on the line for so long, without a pause for want of something to send.
    pub fn sent(&mut self, bytes: u64, took: Duration) {
        if bytes < TELLING {
            return;
        }
        if self.line.is_some() {
            return average(&mut self.line, bytes, took);
        }
        self.warming = (self.warming.0 + bytes, self.warming.1 + took);
        if self.warming.0 >= WARM {
            average(&mut self.line, self.warming.0, self.warming.1);
        }
    }

    /// An object of `content` bytes was coded, and `left` bytes of it are to be sent.
    pub fn coded(&mut self, content: u64, left: u64, took: Duration) {
        if content < TELLING {
            return;
        }
        let known = self.codec.is_some();
        average(&mut self.codec, content, took);
        let ratio = left as f64 / content as f64;
        let weight = if known { weight(content) } else { 1.0 };
        self.ratio += weight * (ratio - self.ratio);
    }

    /// Whether the next object, of so many bytes, is to be coded. What is not known yet is found out by doing it.
    pub fn codes(&mut self, bytes: usize) -> bool {
        let pays = self.pays();
        if pays || (bytes as u64) < TELLING {
            return pays;
        }
        self.since_look += 1;
        if self.since_look >= LOOK_AGAIN {
            self.since_look = 0;
            return true;
        }
        false
    }

    fn pays(&self) -> bool {
        let (Some(line), Some(codec)) = (self.line, self.codec) else { return true };
        let with = (1.0 / codec).max(self.ratio / line);
        with < WIN / line
    }

    /// Bytes per second on the line, if that was measured.
    pub fn line_speed(&self) -> Option<f64> {
        self.line
    }
}

fn weight(bytes: u64) -> f64 {
    WEIGHT * (bytes as f64 / WHOLE).min(1.0)
}

fn average(speed: &mut Option<f64>, bytes: u64, took: Duration) {
    if bytes == 0 || took.is_zero() {
        return;
    }
    let new = bytes as f64 / took.as_secs_f64();
    match speed {
        None => *speed = Some(new),
        // Of the time a byte takes, not of the speed: a stall then weighs what it cost.
        Some(speed) => *speed = 1.0 / (1.0 / *speed + weight(bytes) * (1.0 / new - 1.0 / *speed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// The policy after a while on a line and with a codec of these speeds (bytes per second).
    fn after(line: u64, codec: u64, ratio: f64) -> Policy {
        let mut policy = Policy::default();
        for _ in 0..50 {
            policy.sent(5 * MB, Duration::from_secs_f64(5.0 * MB as f64 / line as f64));
            let took = Duration::from_secs_f64(5.0 * MB as f64 / codec as f64);
            policy.coded(5 * MB, (5.0 * MB as f64 * ratio) as u64, took);
        }
        policy
    }

    #[test]
    fn codes_where_the_line_is_slower_than_the_codec() {
        for (line, codec, ratio, codes) in [
            (12 * MB, 500 * MB, 0.62, true),
            (125 * MB, 500 * MB, 0.62, true),
            (125 * MB, 500 * MB, 0.98, false),
            (125 * MB, 100 * MB, 0.62, false),
            (1250 * MB, 500 * MB, 0.62, false),
            (1250 * MB, 500 * MB, 0.05, false),
        ] {
            assert_eq!(after(line, codec, ratio).codes(5 << 20), codes, "{line} {codec} {ratio}");
        }
    }

    #[test]
    fn finds_out_what_it_does_not_know() {
        let mut policy = Policy::default();
        assert!(policy.codes(5 << 20));
        // The first bytes go into buffers.
        policy.sent(5 * MB, Duration::from_millis(1));
        policy.coded(5 * MB, 4 * MB, Duration::from_millis(50));
        assert!(policy.codes(5 << 20));
        (0..3).for_each(|_| policy.sent(5 * MB, Duration::from_millis(1)));
        assert!(!policy.codes(5 << 20) && !policy.codes(1));
        let mut policy = Policy::default();
        (0..4).for_each(|_| policy.sent(5 * MB, Duration::from_millis(1)));
        assert!(policy.codes(5 << 20));
        policy.coded(5 * MB, 4 * MB, Duration::from_millis(50));
        assert!(!policy.codes(5 << 20));
        // Nothing was learnt from nothing.
        policy.sent(1000, Duration::from_secs(1));
        policy.coded(1000, 1000, Duration::from_secs(1));
        policy.sent(5 * MB, Duration::ZERO);
        let line = policy.line_speed().unwrap();
        assert!((line - 5e9).abs() < 1e3, "{line}");
    }

    #[test]
    fn looks_again_now_and_then() {
        let mut policy = after(1250 * MB, 500 * MB, 0.62);
        let coded = (0..1000).filter(|_| policy.codes(5 << 20)).count();
        assert_eq!(coded, 1000 / LOOK_AGAIN as usize);
    }

    #[test]
    fn follows_a_line_that_changes() {
        let mut policy = after(1250 * MB, 500 * MB, 0.62);
        assert!(!policy.codes(5 << 20));
        let mut seconds = 0.0;
        while !policy.codes(5 << 20) && seconds < 10.0 {
            policy.sent(MB, Duration::from_millis(80));
            seconds += 0.08;
        }
        assert!(seconds < 2.0, "{seconds}");
        let mut objects = 0;
        while policy.pays() && objects < 100 {
            policy.sent(5 * MB, Duration::from_millis(4));
            objects += 1;
        }
        assert!((3..60).contains(&objects), "{objects}");
    }
}
