//! Small objects: many to a file, so that a thousand of them cost neither a thousand files nor a thousand syncs.
//!
//! A segment is a list of records `magic (4) · length (u32 LE) · 1 if encrypted (u32 LE) · id (32) · CRC-32 of all this
//! (u32 LE) · content`. It is only appended to, and removed when nothing in it is used any more; of one that is mostly
//! unused the rest is copied on ([`Segments::sparse`]). The contents are verified when they are read, like all others.

mod scan;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onefed_flower::objects::ObjectId;

use super::super::disk::{self, at};
use super::seal;
pub(super) use scan::Record;

const MAGIC: [u8; 4] = *b"1fS1";
const HEADER: usize = 48;
/// A segment of this length is not appended to any more.
const FULL: u64 = 8 << 20;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// Number of the segment.
    pub(super) segment: u32,
    /// Offset of the record's header in it.
    pub(super) at: u32,
    /// Bytes after the header.
    pub(super) length: u32,
}

impl Slot {
    fn bytes(self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }
}

impl Record {
    /// Bytes of content. `None` if it cannot be.
    pub(super) fn bytes(&self) -> Option<u64> {
        let stored = u64::from(self.slot.length);
        if self.sealed { seal::content_length(stored) } else { Some(stored) }
    }
}

#[derive(Default)]
struct Segment {
    /// Length of the file.
    bytes: u64,
    /// Bytes of the records that are used.
    used: u64,
}

pub(super) struct Segments {
    dir: PathBuf,
    table: BTreeMap<u32, Segment>,
    /// The one that is appended to.
    active: Option<(u32, File)>,
    /// Number of the next one; none is used twice.
    next: u32,
    unsynced: BTreeSet<u32>,
}

impl Segments {
    /// Finds what is there, in the order in which it was written.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Vec<(SystemTime, Record)>)> {
        let mut table = BTreeMap::new();
        let mut records = Vec::new();
        let mut numbers = BTreeSet::new();
        for file in std::fs::read_dir(dir).map_err(at(dir))? {
            let name = file.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
            numbers.extend(name.strip_prefix("segment-").and_then(|number| number.parse::<u32>().ok()));
        }
        for number in &numbers {
            let path = path(dir, *number);
            let file = disk::open_private(&path)?;
            let (found, end) = scan::records(&file, *number).map_err(at(&path))?;
            if found.is_empty() {
                std::fs::remove_file(&path).map_err(at(&path))?;
                continue;
            }
            let written = file.metadata().and_then(|about| about.modified()).map_err(at(&path))?;
            // The last write may be torn. A file that ends well is left alone, and its time with it.
            if file.metadata().map_err(at(&path))?.len() > end {
                file.set_len(end).map_err(at(&path))?;
            }
            table.insert(
                *number,
                Segment { bytes: end, used: found.iter().map(|record| record.slot.bytes()).sum() },
            );
            records.extend(found.into_iter().map(|record| (written, record)));
        }
        let next = numbers.last().map_or(1, |last| last + 1);
        let mut segments = Self { dir: dir.to_owned(), table, active: None, next, unsynced: BTreeSet::new() };
        if let Some((number, _)) = segments.table.last_key_value().filter(|(_, last)| last.bytes < FULL) {
            segments.active = Some((*number, disk::open_private(&path(dir, *number))?));
        }
        Ok((segments, records))
    }

    /// Writes records, all or none: their ids, whether they are encrypted, and what is stored.
    pub(super) fn append(&mut self, records: &[(ObjectId, bool, Cow<'_, [u8]>)]) -> io::Result<Vec<Slot>> {
        let total = records.iter().map(|(.., content)| HEADER + content.len()).sum();
        let (number, file) = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        let start = self.table.entry(number).or_default().bytes;
        let mut bytes = Vec::with_capacity(total);
        let mut slots = Vec::with_capacity(records.len());
        for (id, sealed, content) in records {
            let offset = start + bytes.len() as u64;
            let (Ok(at), Ok(length)) = (u32::try_from(offset), u32::try_from(content.len())) else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for a segment"));
            };
            slots.push(Slot { segment: number, at, length });
            bytes.extend(scan::header(*id, *sealed, length));
            bytes.extend(&content[..]);
        }
        if let Err(error) = file.write_all_at(&bytes, start) {
            // What is left of it must not be found after a restart. If that is not possible, this segment is not
            // appended to again.
            if file.set_len(start).is_ok() {
                self.active = Some((number, file));
            }
            return Err(at(&path(&self.dir, number))(error));
        }
        self.unsynced.insert(number);
        let segment = self.table.entry(number).or_default();
        segment.bytes += bytes.len() as u64;
        segment.used += bytes.len() as u64;
        if segment.bytes < FULL {
            self.active = Some((number, file));
        }
        Ok(slots)
    }

    /// Gives up a record. The file goes with the last one.
    pub(super) fn forget(&mut self, slot: Slot) {
        let Some(segment) = self.table.get_mut(&slot.segment) else { return };
        segment.used = segment.used.saturating_sub(slot.bytes());
        let active = self.active.as_ref().is_some_and(|(number, _)| *number == slot.segment);
        if segment.used == 0 && !active {
            self.remove(slot.segment);
        }
    }

    /// A segment of which less than half is used, if there is one that is not appended to.
    pub(super) fn sparse(&self) -> Option<u32> {
        let active = self.active.as_ref().map(|(number, _)| *number);
        let sparse = |(number, segment): &(&u32, &Segment)| {
            Some(**number) != active && segment.used.saturating_mul(2) < segment.bytes
        };
        self.table.iter().find(sparse).map(|(number, _)| *number)
    }

    /// All records of a segment, also those that are not used any more.
    pub(super) fn records(&self, number: u32) -> io::Result<Vec<Record>> {
        let path = path(&self.dir, number);
        let file = File::open(&path).map_err(at(&path))?;
        Ok(scan::records(&file, number).map_err(at(&path))?.0)
    }

    /// Removes a segment with all that is in it.
    pub(super) fn remove(&mut self, number: u32) {
        self.table.remove(&number);
        self.unsynced.remove(&number);
        let path = path(&self.dir, number);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(segment = %path.display(), %error, "cannot remove a segment");
        }
    }

    /// Bytes of files that no object uses.
    pub(super) fn unused_bytes(&self) -> u64 {
        self.table.values().map(|segment| segment.bytes.saturating_sub(segment.used)).sum()
    }

    /// The segments that were written to since this was asked last.
    pub(super) fn take_unsynced(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.unsynced).into_iter().map(|number| path(&self.dir, number)).collect()
    }

    fn begin(&mut self) -> io::Result<(u32, File)> {
        let number = self.next;
        self.next += 1;
        Ok((number, disk::open_private(&path(&self.dir, number))?))
    }
}

/// Reads what is stored of an object; `None` if there is something else.
pub(super) fn read(dir: &Path, slot: Slot, id: ObjectId) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path(dir, slot.segment))?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, u64::from(slot.at))?;
    if scan::parse(&header).is_none_or(|found| (found.0, found.2) != (id, slot.length)) {
        return Ok(None);
    }
    let mut content = vec![0; slot.length as usize];
    file.read_exact_at(&mut content, u64::from(slot.at) + HEADER as u64)?;
    Ok(Some(content))
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("segment-{number}"))
}
