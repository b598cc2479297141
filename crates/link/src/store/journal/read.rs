//! Reading a journal that may have been torn or damaged.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::disk::{self, at};
use super::{HEADER, MAGIC, checksum};

/// What is in a file.
pub(super) struct Found {
    /// The good records up to the first bad one.
    pub(super) records: Vec<Bytes>,
    /// Where they end.
    pub(super) end: u64,
    /// Bytes after that.
    pub(super) rest: u64,
    /// Whether there is a good record among them.
    pub(super) damaged: bool,
}

pub(super) fn all(file: &File) -> io::Result<Found> {
    let total = file.metadata()?.len();
    let mut from = BufReader::with_capacity(1 << 16, file);
    from.seek(SeekFrom::Start(0))?;
    let mut records = Vec::new();
    let mut end = 0;
    while let Some(record) = next(&mut from, total - end)? {
        end += (HEADER + record.len()) as u64;
        records.push(record);
    }
    drop(from);
    Ok(Found { records, end, rest: total - end, damaged: end < total && good_record_after(file, end)? })
}

/// The record at the reader's place, if it is a good one; `left` are the bytes from there to the end of the file.
fn next(from: &mut impl io::Read, left: u64) -> io::Result<Option<Bytes>> {
    if left < HEADER as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let Some((length, crc)) = parse(&header) else { return Ok(None) };
    if u64::from(length) > left - HEADER as u64 {
        return Ok(None);
    }
    // One allocation per record: what an engine keeps of one should not hold the others in memory.
    let mut payload = Vec::with_capacity(length as usize);
    from.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
    Ok((payload.len() == length as usize && checksum(length, &payload) == crc).then(|| payload.into()))
}

fn parse(header: &[u8]) -> Option<(u32, u32)> {
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let crc = rest.first_chunk::<4>()?;
    (*magic == MAGIC).then(|| (u32::from_le_bytes(*length), u32::from_le_bytes(*crc)))
}

/// Whether a good record begins anywhere after `end`. Only then the file was damaged; else its last write was torn.
fn good_record_after(file: &File, end: u64) -> io::Result<bool> {
    let mut rest = Vec::new();
    let mut from = file;
    from.seek(SeekFrom::Start(end))?;
    from.read_to_end(&mut rest)?;
    let starts = (1..rest.len()).filter(|at| rest[*at..].starts_with(&MAGIC));
    for start in starts {
        if next(&mut &rest[start..], (rest.len() - start) as u64)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Copies what is after `end` to a file of its own beside the journal, for somebody to look at.
pub(super) fn move_aside(file: &File, path: &Path, end: u64) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut number = 1;
    let aside = loop {
        let aside = path.with_file_name(format!("{name}.damaged-{number}"));
        if !aside.try_exists()? {
            break aside;
        }
        number += 1;
    };
    let mut from = file;
    from.seek(SeekFrom::Start(end))?;
    let mut to = disk::open_private(&aside)?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(at(&aside))?;
    Ok(aside)
}
