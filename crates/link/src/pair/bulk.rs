//! The bytes on a bulk stream.
//!
//! A sequence of items, each `kind (u8) · length (u32, big endian, of what follows) · payload`:
//!
//! - [`OBJECT`]: an object begins. Payload: its id (32 bytes), how many bytes follow (u32), how they are coded (u8, a
//!   [`Coding`]; one that is not known ends the pair); unless they are the content itself, the length of that (u32); for a
//!   difference, the id of its base (32 bytes).
//! - [`PART`]: its bytes, in one or more parts that follow each other without gaps.
//! - [`ACK`]: how many bytes of items other than this the sender of it has taken so far (u64), since the stream began.
//! - A kind from [`OPTIONAL`] up that is not known, with at most [`MAX_SMALL`] bytes, is passed over.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use onefed_flower::fleet::MAX_BODY;
use onefed_flower::objects::ObjectId;

use crate::codec::Coding;
use crate::io::Buffer;

/// An object begins.
pub const OBJECT: u8 = 1;
/// The next part of its content.
pub const PART: u8 = 2;
/// From this kind on an item may be passed over by those who do not know it.
pub const OPTIONAL: u8 = 0x80;
/// What has been taken so far.
pub const ACK: u8 = 0x80;
/// The longest payload of an item that is neither an object nor a part.
pub const MAX_SMALL: usize = 4 << 10;
/// The longest content.
pub const MAX_OBJECT: usize = MAX_BODY;
/// Kind and length.
const HEAD: usize = 5;
/// Id, length, coding.
const OBJECT_HEAD: usize = 37;
/// With the content's length.
const PACKED_HEAD: usize = OBJECT_HEAD + 4;
/// With the base.
const DELTA_HEAD: usize = PACKED_HEAD + 32;

/// An object on the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Which one.
    pub id: ObjectId,
    /// How it is coded.
    pub coding: Coding,
    /// The length of its content in bytes.
    pub length: usize,
    /// What it is the difference to; for [`Coding::Delta`] and no other.
    pub base: Option<ObjectId>,
    /// What is sent.
    pub bytes: Bytes,
}

impl Parcel {
    /// An object as it is.
    pub fn plain(id: ObjectId, content: Bytes) -> Self {
        Self { id, coding: Coding::Plain, length: content.len(), base: None, bytes: content }
    }
}

/// What arrives on a bulk stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole object. Its bytes are not looked at.
    Object(Parcel),
    /// The other end has taken so many bytes.
    Ack(u64),
}

/// Why bytes are not items. The pair ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// A kind that has to be understood, and is not.
    #[error("a bulk item of the unknown kind {0}")]
    UnknownKind(u8),
    /// Longer than its kind may be, or than what is missing of the object.
    #[error("a bulk item of kind {0} with {1} bytes")]
    WrongLength(u8, u64),
    /// An object of more than [`MAX_OBJECT`] bytes.
    #[error("an object of {0} bytes")]
    TooLong(u64),
    /// A part without an object, or an object before the last one was whole.
    #[error("a bulk item of kind {0} out of turn")]
    OutOfTurn(u8),
    /// A coding that this release does not know.
    #[error("an object coded in the unknown way {0:#x}")]
    UnknownCoding(u8),
}

/// Appends the beginning of an object.
pub fn put_object(parcel: &Parcel, out: &mut BytesMut) {
    // At most MAX_OBJECT.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    put_head(OBJECT, head_of(parcel.coding), out);
    out.put_slice(&parcel.id.0);
    out.put_u32(length(parcel.bytes.len()));
    out.put_u8(parcel.coding.number());
    if parcel.coding != Coding::Plain {
        out.put_u32(length(parcel.length));
    }
    if parcel.coding == Coding::Delta {
        out.put_slice(&parcel.base.unwrap_or(parcel.id).0);
    }
}

fn head_of(coding: Coding) -> usize {
    match coding {
        Coding::Plain => OBJECT_HEAD,
        Coding::Packed => PACKED_HEAD,
        Coding::Delta => DELTA_HEAD,
    }
}

/// Appends the beginning of a part; its bytes follow.
pub fn put_part(length: usize, out: &mut BytesMut) {
    put_head(PART, length, out);
}

/// Appends how much has been taken.
pub fn put_ack(taken: u64, out: &mut BytesMut) {
    put_head(ACK, 8, out);
    out.put_u64(taken);
}

fn put_head(kind: u8, length: usize, out: &mut BytesMut) {
    out.put_u8(kind);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Reads items from chunks of any size. Holds at most one object.
#[derive(Default)]
pub struct Decoder {
    small: BytesMut,
    state: State,
    object: Option<Assembly>,
    taken: u64,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// Kind and length are being gathered.
    #[default]
    Head,
    /// The payload of something small is.
    Small(u8, usize),
    /// So many bytes of a part are missing.
    Part(usize),
    /// So many bytes are to be passed over.
    Skip(usize),
}

/// What comes of an object; `missing` bytes of it are still to come.
struct Assembly {
    parcel: Parcel,
    missing: usize,
    bytes: Buffer,
}

impl Decoder {
    /// Reads on in `chunk`, and takes what it reads off its front, up to the end of the next item or of the chunk. `None`:
    /// the chunk is empty now, and nothing is whole.
    ///
    /// # Errors
    /// [`BulkError`]; the decoder is then of no more use.
    pub fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Item>, BulkError> {
        loop {
            match self.state {
                State::Head => {
                    if !self.gather(HEAD, chunk) {
                        return Ok(None);
                    }
                    let (kind, length) = (self.small.get_u8(), self.small.get_u32() as usize);
                    self.state = self.begin(kind, length)?;
                }
                State::Small(kind, length) => {
                    if !self.gather(length, chunk) {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    if kind == ACK {
                        return Ok(Some(Item::Ack(self.small.get_u64())));
                    }
                    self.taken += (HEAD + length) as u64;
                    self.begin_object()?;
                }
                State::Part(missing) => {
                    let step = missing.min(chunk.len());
                    let Some(object) = &mut self.object else { return Err(BulkError::OutOfTurn(PART)) };
                    object.bytes.extend_from_slice(&chunk[..step]);
                    object.missing -= step;
                    chunk.advance(step);
                    self.taken += step as u64;
                    if step < missing {
                        self.state = State::Part(missing - step);
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Skip(missing) => {
                    let step = missing.min(chunk.len());
                    chunk.advance(step);
                    if step < missing {
                        self.state = State::Skip(missing - step);
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
            }
            if let Some(object) = self.object.take_if(|object| object.missing == 0) {
                return Ok(Some(Item::Object(Parcel { bytes: object.bytes.freeze(), ..object.parcel })));
            }
        }
    }

    /// The bytes of objects and parts that were read so far, their heads included: what an [`ACK`] says.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn gather(&mut self, length: usize, chunk: &mut Bytes) -> bool {
        let step = length.saturating_sub(self.small.len()).min(chunk.len());
        self.small.put_slice(&chunk[..step]);
        chunk.advance(step);
        self.small.len() >= length
    }

    fn begin(&mut self, kind: u8, length: usize) -> Result<State, BulkError> {
        let wrong = BulkError::WrongLength(kind, length as u64);
        match (kind, &self.object) {
            (OBJECT, Some(_)) | (PART, None) => Err(BulkError::OutOfTurn(kind)),
            (OBJECT, None) if [OBJECT_HEAD, PACKED_HEAD, DELTA_HEAD].contains(&length) => {
                Ok(State::Small(kind, length))
            }
            (PART, Some(object)) if length > 0 && length <= object.missing => {
                self.taken += HEAD as u64;
                Ok(State::Part(length))
            }
            (ACK, _) if length == 8 => Ok(State::Small(kind, length)),
            (ACK, _) => Err(wrong),
            (OPTIONAL.., _) if length <= MAX_SMALL => Ok(State::Skip(length)),
            (OBJECT | PART | OPTIONAL.., _) => Err(wrong),
            _ => Err(BulkError::UnknownKind(kind)),
        }
    }

    fn begin_object(&mut self) -> Result<(), BulkError> {
        let head = self.small.len();
        let mut id = ObjectId([0; 32]);
        self.small.copy_to_slice(&mut id.0);
        let (missing, number) = (self.small.get_u32() as usize, self.small.get_u8());
        let coding = Coding::of_number(number).ok_or(BulkError::UnknownCoding(number))?;
        if head != head_of(coding) {
            return Err(BulkError::WrongLength(OBJECT, head as u64));
        }
        let length = if coding == Coding::Plain { missing } else { self.small.get_u32() as usize };
        if length > MAX_OBJECT {
            return Err(BulkError::TooLong(length as u64));
        }
        if missing > length {
            return Err(BulkError::WrongLength(OBJECT, missing as u64));
        }
        let mut base = None;
        if coding == Coding::Delta {
            let mut id = ObjectId([0; 32]);
            self.small.copy_to_slice(&mut id.0);
            base = Some(id);
        }
        let parcel = Parcel { id, coding, length, base, bytes: Bytes::new() };
        // Pages that nothing was written to cost nothing, so a length that is never sent costs nothing either.
        self.object = Some(Assembly { parcel, missing, bytes: Buffer::with_capacity(missing) });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
