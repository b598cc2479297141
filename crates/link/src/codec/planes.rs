//! From numbers to planes of bytes and back. The loops are such that a compiler makes vector instructions of them.

/// How many bytes a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    One,
    Two,
    Four,
    Eight,
}

impl Width {
    pub(super) const ALL: [Self; 4] = [Self::One, Self::Two, Self::Four, Self::Eight];

    pub(super) fn logarithm(self) -> u8 {
        self as u8
    }

    pub(super) fn of_logarithm(logarithm: u8) -> Option<Self> {
        Self::ALL.get(usize::from(logarithm)).copied()
    }

    pub(super) fn bytes(self) -> usize {
        1 << self.logarithm()
    }
}

/// So many numbers are worked on at a time: they stay in the first cache.
const STRIP: usize = 1024;

/// Splits numbers into planes, or what they are more than those of the base; missing ones are 0. `numbers` has whole
/// numbers only, and `planes` as many bytes.
pub(super) fn split(width: Width, numbers: &[u8], base: Option<&[u8]>, planes: &mut [u8]) {
    match width {
        Width::One => eight::split(numbers, base, planes),
        Width::Two => sixteen::split(numbers, base, planes),
        Width::Four => thirty_two::split(numbers, base, planes),
        Width::Eight => sixty_four::split(numbers, base, planes),
    }
}

/// The inverse of [`split`].
pub(super) fn join(width: Width, planes: &[u8], base: Option<&[u8]>, numbers: &mut [u8]) {
    match width {
        Width::One => eight::join(planes, base, numbers),
        Width::Two => sixteen::join(planes, base, numbers),
        Width::Four => thirty_two::join(planes, base, numbers),
        Width::Eight => sixty_four::join(planes, base, numbers),
    }
}

macro_rules! of_width {
    ($name:ident, $word:ty, $signed:ty) => {
        mod $name {
            use super::STRIP;

            const BYTES: usize = size_of::<$word>();
            const TOP: u32 = <$word>::BITS - 1;

            /// The sign becomes the lowest bit, so that small differences are small numbers.
            fn fold(difference: $word) -> $word {
                difference << 1 ^ (difference as $signed >> TOP) as $word
            }

            fn unfold(folded: $word) -> $word {
                folded >> 1 ^ (folded & 1).wrapping_neg()
            }

            pub(super) fn split(numbers: &[u8], base: Option<&[u8]>, planes: &mut [u8]) {
                let (numbers, _) = numbers.as_chunks::<BYTES>();
                let count = numbers.len();
                let mut words = [0; STRIP];
                for (strip, numbers) in numbers.chunks(STRIP).enumerate() {
                    let first = strip * STRIP;
                    let words = &mut words[..numbers.len()];
                    for (word, number) in words.iter_mut().zip(numbers) {
                        *word = <$word>::from_le_bytes(*number);
                    }
                    if let Some(base) = base {
                        let (base, _) = base.get(first * BYTES..).unwrap_or_default().as_chunks::<BYTES>();
                        for (word, base) in words.iter_mut().zip(base) {
                            *word = word.wrapping_sub(<$word>::from_le_bytes(*base));
                        }
                        words.iter_mut().for_each(|word| *word = fold(*word));
                    }
                    for (at, plane) in planes.chunks_exact_mut(count).enumerate() {
                        for (byte, word) in plane[first..].iter_mut().zip(words.iter()) {
                            *byte = (*word >> (8 * at)) as u8;
                        }
                    }
                }
            }

            pub(super) fn join(planes: &[u8], base: Option<&[u8]>, numbers: &mut [u8]) {
                let (numbers, _) = numbers.as_chunks_mut::<BYTES>();
                let count = numbers.len();
                let mut words = [0; STRIP];
                for (strip, numbers) in numbers.chunks_mut(STRIP).enumerate() {
                    let first = strip * STRIP;
                    let words = &mut words[..numbers.len()];
                    words.fill(0);
                    for (at, plane) in planes.chunks_exact(count).enumerate() {
                        for (byte, word) in plane[first..].iter().zip(words.iter_mut()) {
                            *word |= <$word>::from(*byte) << (8 * at);
                        }
                    }
                    if let Some(base) = base {
                        words.iter_mut().for_each(|word| *word = unfold(*word));
                        let (base, _) = base.get(first * BYTES..).unwrap_or_default().as_chunks::<BYTES>();
                        for (word, base) in words.iter_mut().zip(base) {
                            *word = word.wrapping_add(<$word>::from_le_bytes(*base));
                        }
                    }
                    for (number, word) in numbers.iter_mut().zip(words.iter()) {
                        *number = word.to_le_bytes();
                    }
                }
            }
        }
    };
}

of_width!(eight, u8, i8);
of_width!(sixteen, u16, i16);
of_width!(thirty_two, u32, i32);
of_width!(sixty_four, u64, i64);
