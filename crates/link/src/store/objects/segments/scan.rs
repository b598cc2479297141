//! Finding the records of a segment by their headers alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use onefed_flower::objects::ObjectId;

use super::{HEADER, MAGIC, Slot};

/// A record that was found. Its content has not been looked at.
#[derive(Clone, Copy)]
pub(in super::super) struct Record {
    pub(in super::super) id: ObjectId,
    pub(in super::super) sealed: bool,
    pub(in super::super) slot: Slot,
}

/// The records of a segment, and where the last one ends. What is no record is skipped.
pub(super) fn records(file: &File, segment: u32) -> io::Result<(Vec<Record>, u64)> {
    let total = file.metadata()?.len();
    let mut window = Window { file, start: 0, bytes: Vec::new() };
    let (mut found, mut at, mut end) = (Vec::new(), 0, 0);
    while at + HEADER as u64 <= total {
        let header = parse(window.header(at)?);
        match (header, u32::try_from(at)) {
            (Some((id, sealed, length)), Ok(offset)) if at + HEADER as u64 + u64::from(length) <= total => {
                found.push(Record { id, sealed, slot: Slot { segment, at: offset, length } });
                at += HEADER as u64 + u64::from(length);
                end = at;
            }
            _ => at += 1,
        }
    }
    Ok((found, end))
}

pub(super) fn header(id: ObjectId, sealed: bool, length: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&u32::from(sealed).to_le_bytes());
    header[12..44].copy_from_slice(&id.0);
    let crc = crc32fast::hash(&header[..44]);
    header[44..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a header says: the id, whether the content is encrypted, and its stored length.
pub(super) fn parse(header: &[u8; HEADER]) -> Option<(ObjectId, bool, u32)> {
    let number = |from: usize| {
        u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]])
    };
    if header[..4] != MAGIC || number(44) != crc32fast::hash(&header[..44]) {
        return None;
    }
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(&header[12..44]);
    Some((id, number(8) == 1, number(4)))
}

/// A part of the file in memory, so that headers that are close together cost one read.
struct Window<'a> {
    file: &'a File,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    const LENGTH: usize = 64 << 10;

    /// The bytes at this place, where the file has at least so many.
    fn header(&mut self, at: u64) -> io::Result<&[u8; HEADER]> {
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + HEADER as u64 > end {
            self.bytes.resize(Self::LENGTH, 0);
            let mut length = 0;
            while length < HEADER {
                match self.file.read_at(&mut self.bytes[length..], at + length as u64)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    more => length += more,
                }
            }
            self.bytes.truncate(length);
            self.start = at;
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        self.bytes[from..].first_chunk().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
