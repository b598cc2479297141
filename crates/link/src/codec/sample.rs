//! What is worth it for an object, by a look at a few places of it.

use super::planes::{self, Width};
use super::{LEAST, LEVEL};

/// So many places are looked at.
const SLICES: usize = 4;
/// Bytes at each; a multiple of the widest number.
const SLICE: usize = 8 << 10;
/// Less than this part of the content must be left, or it travels as it is.
const WORTH_IT: f64 = 0.96;
/// A way that is more work must be better by this much.
const BETTER: f64 = 0.99;
/// A plane with more than so many bits a byte is noise.
const NOISE: f64 = 7.9;
/// Flower's objects begin with their kind, the ids of their children and their length, and then a zero.
const CHUNK: &[u8] = b"ArrayChunk ";
const CHUNK_HEAD: usize = 40;

/// How an object is to be coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) width: Width,
    /// So many bytes come before the first number; fewer than a number has.
    pub(super) skip: usize,
    pub(super) delta: bool,
    /// A bit for each plane that zstd should try.
    pub(super) worth: u8,
}

/// The best way for an object. `None`: as it is.
pub(super) fn choose(raw: &[u8], base: Option<&[u8]>) -> Option<Choice> {
    if raw.len() < LEAST {
        return None;
    }
    let start = body(raw);
    let length = raw.len() - start;
    // Without its end, so that the same places exist for all widths.
    let places: Vec<usize> = if length <= SLICES * SLICE {
        vec![start]
    } else {
        let step = (length - SLICE) / (SLICES - 1);
        (0..SLICES).map(|slice| start + slice * step / 8 * 8).collect()
    };
    let span = if places.len() == 1 { length / 8 * 8 } else { SLICE };
    let sampled = (places.len() * span) as f64;
    let of = |bytes: &[u8]| -> Vec<u8> {
        places.iter().flat_map(|at| padded(bytes.get(*at..).unwrap_or_default(), span)).collect()
    };
    let (numbers, base) = (of(raw), base.map(of));

    let plain = zstd::bulk::compress(&numbers, LEVEL).map_or(f64::MAX, |packed| packed.len() as f64);
    let one = Choice { width: Width::One, skip: 0, delta: false, worth: 1 };
    let (mut least, mut best) = (WORTH_IT * sampled, None);
    if plain < least {
        (least, best) = (plain, Some(one));
    }
    let mut planes = vec![0; numbers.len()];
    for delta in [false, true] {
        if delta && base.is_none() {
            break;
        }
        for width in Width::ALL {
            planes::split(width, &numbers, base.as_deref().filter(|_| delta), &mut planes);
            let (bits, worth) = weigh(width, &planes);
            if bits / 8.0 < BETTER * least {
                let skip = start % width.bytes();
                (least, best) = (bits / 8.0, Some(Choice { width, skip, delta, worth }));
            }
        }
    }
    best
}

fn padded(bytes: &[u8], length: usize) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().copied().chain(std::iter::repeat(0)).take(length)
}

/// Where the numbers of an object begin. What numpy puts in front of them is a multiple of 64 bytes.
pub(super) fn body(raw: &[u8]) -> usize {
    let head = raw.get(..CHUNK_HEAD).filter(|head| head.starts_with(CHUNK));
    head.and_then(|head| head.iter().position(|byte| *byte == 0)).map_or(0, |zero| zero + 1)
}

/// How many bits are left of these planes, and which of them are worth a try.
fn weigh(width: Width, planes: &[u8]) -> (f64, u8) {
    let count = planes.len() / width.bytes();
    let mut worth = 0;
    let bits = planes.chunks_exact(count.max(1)).enumerate().map(|(at, plane)| {
        let per_byte = entropy(plane);
        if per_byte >= NOISE {
            return 8.0 * count as f64;
        }
        worth |= 1 << at;
        per_byte * count as f64
    });
    (bits.sum(), worth)
}

/// Bits per byte, if each stood for itself.
fn entropy(plane: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    plane.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = plane.len() as f64;
    let seen = counts.iter().filter(|count| **count > 0);
    let bits = seen.clone().map(|count| f64::from(*count) * (total / f64::from(*count)).log2()).sum::<f64>();
    // A small sample looks less random than it is (Miller and Madow).
    let unseen = seen.count().saturating_sub(1) as f64 / (2.0 * std::f64::consts::LN_2);
    ((bits + unseen) / total).min(8.0)
}
