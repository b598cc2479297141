//! Which of several objects resembles another, by a few bytes of each.
//!
//! Flower's object trees do not say which array is which: a SuperLink with a database gives the children of an object in
//! the order of their hashes. So counterparts are found by what is in them.

use std::fmt;

use super::{LEAST, sample};

/// So many places of an object are looked at.
const PLACES: usize = 4;
/// Bytes at each: two of the widest numbers, eight of the narrowest.
const SPAN: usize = 16;
/// Fewer equal bytes than this say nothing.
const TELLING: usize = PLACES * SPAN / 8;

/// A few bytes of an object: those of its counterpart in the next round have the same signs and exponents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sketch([u8; PLACES * SPAN]);

impl Sketch {
    /// The sketch of a content. `None` for one that is too short to be coded.
    pub fn of(content: &[u8]) -> Option<Self> {
        if content.len() < LEAST {
            return None;
        }
        let numbers = content.get(sample::body(content)..)?;
        let mut sketch = [0; PLACES * SPAN];
        for (place, bytes) in sketch.chunks_exact_mut(SPAN).enumerate() {
            // What numpy puts in front of the numbers is the same for all arrays of a shape, and at the very beginning.
            let at = (numbers.len() * (place + 1) / (PLACES + 1)).next_multiple_of(8);
            bytes.copy_from_slice(numbers.get(at..at + SPAN)?);
        }
        Some(Self(sketch))
    }

    /// How many bytes are equal; `None` for so few that they say nothing.
    pub fn likeness(&self, other: &Self) -> Option<usize> {
        let equal = self.0.iter().zip(&other.0).filter(|(one, other)| one == other).count();
        (equal >= TELLING).then_some(equal)
    }
}

impl fmt::Debug for Sketch {
    // It is a part of a model.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sketch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights N(0, 0.02²) as a chunk of Flower's, and the same after an update N(0, 1e-4²).
    fn arrays(seed: u32, bytes_of: fn(f64) -> Vec<u8>) -> (Vec<u8>, Vec<u8>) {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let both: Vec<_> = (0..2000).map(|_| (0.02 * normal(), 1e-4 * normal())).collect();
        let chunk = |numbers: Vec<f64>| {
            let head = [b"ArrayChunk  8128\0".as_slice(), &[b'{'; 128]].concat();
            [head, numbers.into_iter().flat_map(bytes_of).collect()].concat()
        };
        let old = chunk(both.iter().map(|(weight, _)| *weight).collect());
        (old, chunk(both.iter().map(|(weight, update)| weight + update).collect()))
    }

    #[test]
    fn an_array_resembles_itself_a_round_later_most() {
        let of_width: [fn(f64) -> Vec<u8>; 3] = [
            |number| ((number as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec(),
            |number| (number as f32).to_le_bytes().to_vec(),
            |number| number.to_le_bytes().to_vec(),
        ];
        for (width, bytes_of) in of_width.into_iter().enumerate() {
            let all: Vec<_> = (1..200).map(|seed| arrays(seed * 7919, bytes_of)).collect();
            let old: Vec<_> = all.iter().map(|(old, _)| Sketch::of(old).unwrap()).collect();
            for (at, (_, new)) in all.iter().enumerate() {
                let new = Sketch::of(new).unwrap();
                let best = (0..old.len()).max_by_key(|other| new.likeness(&old[*other])).unwrap();
                assert_eq!(best, at, "width {width}: {:?}", new.likeness(&old[at]));
            }
        }
    }

    #[test]
    fn what_is_short_or_noise_resembles_nothing() {
        assert_eq!(Sketch::of(&[0; LEAST - 1]), None);
        assert!(Sketch::of(&[0; LEAST]).is_some());
        let of = |factor: u32| {
            let noise = (0..500u32).map(|n| (n.wrapping_mul(factor).wrapping_mul(0x9e37_79b9) >> 11) as u8);
            Sketch::of(&noise.collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(of(3).likeness(&of(5)), None);
        assert_eq!(of(3).likeness(&of(3)), Some(64));
    }
}
