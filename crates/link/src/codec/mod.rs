//! How an object is coded on a bulk connection, bit by bit as it was.
//!
//! Weights are numbers of 2, 4 or 8 bytes whose high bytes resemble each other and whose low ones are noise. So an object
//! is split into *planes*, the first bytes of all numbers, the second ones, and so on, and each plane is compressed by
//! zstd or left alone. Where the receiver holds the counterpart of the last round, the planes are those of the difference:
//! as integers, since the bits of a float count up with its value, with the sign folded in. (An XOR would do too, but a
//! carry flips many bits: it costs 3 % more for fp32 and 15 % for bf16.) A sample says which of it is worth it.
//!
//! The bytes of a coded object: a head (u8: the logarithm of the width, and how many bytes come before the first number),
//! these bytes, then blocks of `BLOCK` bytes of numbers, then the bytes after the last whole number. A block is its
//! planes in order, each with its length (u24, little endian): as many bytes as the block has numbers are the plane
//! itself, fewer are a zstd frame of it.

mod planes;
pub mod policy;
mod sample;
mod sketch;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use planes::Width;
use sample::Choice;
pub use sketch::Sketch;

/// So many bytes of numbers are one block: it stays in a core's cache from the first step to the last.
const BLOCK: usize = 256 << 10;
/// Higher levels find nothing more in planes, and take longer.
const LEVEL: i32 = 1;
/// Objects below this many bytes travel as they are.
const LEAST: usize = 256;

/// How the bytes of an object on the line relate to its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// They are the content.
    Plain,
    /// They are compressed planes of it.
    Packed,
    /// They are compressed planes of the difference to a base.
    Delta,
}

impl Coding {
    /// Its number on the line.
    pub fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Packed => 1,
            Self::Delta => 2,
        }
    }

    /// The coding of this number on the line.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Plain, Self::Packed, Self::Delta].into_iter().find(|coding| coding.number() == number)
    }
}

/// An object as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How it is coded.
    pub coding: Coding,
    /// Its bytes; never more than the content has.
    pub bytes: Bytes,
}

/// Why bytes are not an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early, or go on after the end.
    #[error("a coded object has {0} bytes too many or too few")]
    Length(usize),
    /// The head says something that this release does not know.
    #[error("a coded object with the unknown head {0:#04x}")]
    Head(u8),
    /// A plane is not what its length says.
    #[error("a broken plane in a coded object, at byte {0} of its content")]
    Plane(usize),
    /// It was coded against a base, and there is none.
    #[error("an object coded against a base that is not there")]
    NoBase,
    /// Its content does not fit into memory.
    #[error("a coded object of {0} bytes does not fit into memory")]
    Memory(usize),
}

/// Codes an object, against `base` if that helps. Content that does not shrink is passed on as it is, without a copy.
pub fn encode(raw: &Bytes, base: Option<&[u8]>) -> Encoded {
    let packed = sample::choose(raw, base).and_then(|choice| {
        let coding = if choice.delta { Coding::Delta } else { Coding::Packed };
        let bytes = pack(raw, base.filter(|_| choice.delta), &choice)?;
        Some(Encoded { coding, bytes: bytes.into() })
    });
    packed.unwrap_or_else(|| Encoded { coding: Coding::Plain, bytes: raw.clone() })
}

/// `None` where nothing was gained.
fn pack(raw: &[u8], base: Option<&[u8]>, choice: &Choice) -> Option<Vec<u8>> {
    let Choice { width, skip, .. } = *choice;
    let (before, numbers) = raw.split_at_checked(skip)?;
    let (numbers, after) = numbers.split_at_checked(numbers.len() - numbers.len() % width.bytes())?;
    let mut zstd = Compressor::new(LEVEL).ok()?;
    // Grows as needed: the whole length would be touched for nothing where little is left of it.
    let mut out = Vec::with_capacity(raw.len() / 2);
    out.push(head_of(width, skip));
    out.extend(before);
    let mut planes = vec![0; numbers.len().min(BLOCK)];
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK / width.bytes()));
    for (at, block) in numbers.chunks(BLOCK).enumerate() {
        let planes = planes.get_mut(..block.len())?;
        planes::split(width, block, base.map(|base| after_first(base, skip + at * BLOCK)), planes);
        let count = block.len() / width.bytes();
        for (number, plane) in planes.chunks_exact(count).enumerate() {
            packed.clear();
            let worth = choice.worth & 1 << number != 0
                && zstd.compress_to_buffer(plane, &mut packed).is_ok()
                && packed.len() < plane.len();
            let bytes = if worth { packed.as_slice() } else { plane };
            let length = u32::try_from(bytes.len()).ok()?.to_le_bytes();
            out.extend(&length[..3]);
            out.extend(bytes);
        }
        if out.len() > raw.len() {
            return None;
        }
    }
    out.extend(after);
    (out.len() < raw.len()).then_some(out)
}

/// The content of an object of `raw_len` bytes. Never holds more than that, and what [`encode`] needs for one block; takes
/// memory only as the content comes forth. Its hash is not checked here.
///
/// # Errors
/// [`CodecError`].
pub fn decode(
    coding: Coding,
    bytes: &Bytes,
    raw_len: usize,
    base: Option<&[u8]>,
) -> Result<Bytes, CodecError> {
    let base = match coding {
        Coding::Plain if bytes.len() == raw_len => return Ok(bytes.clone()),
        Coding::Plain => return Err(CodecError::Length(bytes.len().abs_diff(raw_len))),
        Coding::Packed => None,
        Coding::Delta => Some(base.ok_or(CodecError::NoBase)?),
    };
    unpack(bytes, raw_len, base).map(Bytes::from)
}

fn unpack(bytes: &[u8], raw_len: usize, base: Option<&[u8]>) -> Result<Vec<u8>, CodecError> {
    let mut rest = bytes;
    let [head] = *take(&mut rest, 1)? else { return Err(CodecError::Length(1)) };
    let (width, skip) = read_head(head).ok_or(CodecError::Head(head))?;
    let before = take(&mut rest, skip)?;
    let numbers = raw_len.checked_sub(skip).ok_or(CodecError::Length(skip))?;
    let after = numbers % width.bytes();
    let mut raw = Vec::new();
    raw.try_reserve_exact(raw_len).map_err(|_| CodecError::Memory(raw_len))?;
    raw.extend(before);
    let mut zstd = Decompressor::new().map_err(|_| CodecError::Memory(raw_len))?;
    let mut planes = vec![0; numbers.min(BLOCK)];
    while raw.len() < raw_len - after {
        let at = raw.len();
        let length = (raw_len - after - at).min(BLOCK);
        let count = length / width.bytes();
        let planes = planes.get_mut(..length).ok_or(CodecError::Plane(at))?;
        for plane in planes.chunks_exact_mut(count) {
            let length = match *take(&mut rest, 3)? {
                [a, b, c] => u32::from_le_bytes([a, b, c, 0]) as usize,
                _ => return Err(CodecError::Plane(at)),
            };
            let bytes = take(&mut rest, length)?;
            if length == count {
                plane.copy_from_slice(bytes);
            } else if length > count || zstd.decompress_to_buffer(bytes, plane).ok() != Some(count) {
                return Err(CodecError::Plane(at));
            }
        }
        raw.resize(at + length, 0);
        planes::join(width, planes, base.map(|base| after_first(base, at)), &mut raw[at..]);
    }
    raw.extend(take(&mut rest, after)?);
    if rest.is_empty() { Ok(raw) } else { Err(CodecError::Length(rest.len())) }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], CodecError> {
    let missing = length.saturating_sub(rest.len());
    rest.split_off(..length).ok_or(CodecError::Length(missing))
}

fn after_first(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(count..).unwrap_or_default()
}

fn head_of(width: Width, skip: usize) -> u8 {
    // Fewer than eight.
    width.logarithm() | (skip as u8) << 2
}

fn read_head(head: u8) -> Option<(Width, usize)> {
    let width = Width::of_logarithm(head & 3)?;
    let skip = usize::from(head >> 2);
    (skip < width.bytes()).then_some((width, skip))
}

#[cfg(test)]
mod tests;
