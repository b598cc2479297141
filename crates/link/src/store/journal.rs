//! An append-only file of records.
//!
//! A record is `magic (4) · length (u32 LE) · CRC-32 of length and payload (u32 LE) · payload`. What `append` returned
//! `Ok` for is in the file, so `kill -9` does not lose it; `sync` makes it survive a power cut, too.
//!
//! Space is set aside beyond the end of the file, and a spare file waits for the next compaction, so that a full disk
//! stops neither: what was accepted can be finished. When no more can be set aside, [`Journal::room`] says so.

mod read;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::FallocateFlags;

use super::disk::{self, Lock, at};

const MAGIC: [u8; 4] = *b"1fJ1";
const HEADER: usize = 12;
/// Space ahead of the end that a full disk cannot take away; so much is also in the spare file. The records that finish
/// a message are below 100 bytes, so this is room for tens of thousands.
const RESERVE: u64 = 4 << 20;

/// How long another process may need to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// An append-only file of records, each of them some bytes.
pub struct Journal {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// Up to where space is set aside.
    reserved: u64,
    after_rewrite: u64,
    /// Set when the file's state is unknown: half a record that could not be cut off, or a failed `fdatasync`.
    broken: bool,
    _lock: Lock,
}

impl Journal {
    /// Opens or makes the journal `name` in `dir`, and reads its records.
    ///
    /// A torn record at the end is cut off: it was never promised. If there are good records behind a bad one, the file
    /// was damaged: what comes before is kept, the rest is moved to `name.damaged-N`. Both are logged with their bytes.
    ///
    /// # Errors
    /// If the files cannot be read or written, or if another process has them open.
    pub fn open(dir: &Path, name: &str) -> io::Result<(Self, Vec<Bytes>)> {
        disk::make_private_dir(dir)?;
        let lock = disk::lock(dir.join(format!("{name}.lock")), PATIENCE)?;
        let path = dir.join(name);
        let file = disk::open_private(&path)?;
        let found = read::all(&file).map_err(at(&path))?;
        if found.rest > 0 {
            if found.damaged {
                let aside = read::move_aside(&file, &path, found.end)?;
                tracing::warn!(
                    journal = %path.display(), kept = found.records.len(), bytes = found.rest, moved_to = %aside.display(),
                    "the journal is damaged: the records before the damage are used, the rest was moved aside"
                );
            } else {
                tracing::warn!(
                    journal = %path.display(), kept = found.records.len(), bytes = found.rest,
                    "the journal ends in half a record, which was never promised: cut off"
                );
            }
            file.set_len(found.end).and_then(|()| file.sync_all()).map_err(at(&path))?;
        }
        let mut journal = Self {
            dir: dir.to_owned(),
            path,
            file,
            end: found.end,
            reserved: 0,
            after_rewrite: 0,
            broken: false,
            _lock: lock,
        };
        journal.reserve();
        journal.make_spare();
        if found.end == 0 {
            // It may be new, and its name not on the disk yet.
            disk::sync_dir(dir)?;
        }
        Ok((journal, found.records))
    }

    /// Writes records, all or none. They are safe from `kill -9` then.
    ///
    /// # Errors
    /// If they were not written. After an error of the disk itself every later call fails, too.
    pub fn append(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.check()?;
        let bytes = encode(records)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // Half a record would hide the next ones from a reader.
            if self.file.set_len(self.end).is_err() {
                self.broken = true;
            }
            self.reserved = self.end;
            self.reserve();
            return Err(at(&self.path)(error));
        }
        self.end += bytes.len() as u64;
        if self.end + RESERVE / 2 > self.reserved {
            self.reserve();
        }
        Ok(())
    }

    /// Tries whether anything can be appended, and leaves everything as it is.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn probe(&mut self) -> io::Result<()> {
        self.check()?;
        // Half a record, should the process end here: it is cut off as one that was never promised.
        let tried = self.file.write_all_at(&MAGIC, self.end);
        let cut = self.file.set_len(self.end);
        // Cutting a file gives back what was set aside beyond its end.
        self.reserved = self.end;
        self.reserve();
        self.broken |= cut.is_err();
        tried.and(cut).map_err(at(&self.path))
    }

    /// Makes what was appended survive a power cut. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the disk fails. What it holds is unknown then, and every later call fails, too.
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data().map_err(|error| {
            self.broken = true;
            at(&self.path)(error)
        })
    }

    /// Puts these records in the place of all others. They survive a power cut then.
    ///
    /// # Errors
    /// If they were not written: all is as before then, unless the disk itself failed.
    pub fn rewrite(&mut self, snapshot: &[Vec<u8>]) -> io::Result<()> {
        self.check()?;
        let bytes = encode(snapshot)?;
        let spare = self.spare();
        let file = disk::open_private(&spare)?;
        let written = file
            .write_all_at(&bytes, 0)
            .and_then(|()| file.sync_all())
            .map_err(at(&spare))
            .and_then(|()| std::fs::rename(&spare, &self.path).map_err(at(&self.path)));
        if let Err(error) = written {
            // A spare with something in it is of no use.
            let _ = std::fs::remove_file(&spare);
            self.make_spare();
            return Err(error);
        }
        self.file = file;
        self.end = bytes.len() as u64;
        self.after_rewrite = self.end;
        self.reserved = 0;
        self.reserve();
        self.make_spare();
        // Should it not be on the disk after a power cut, the old records are: appended ones would be lost.
        disk::sync_dir(&self.dir).map_err(|error| {
            self.broken = true;
            error.into()
        })
    }

    /// Length in bytes, headers included.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Length in bytes just after the last [`rewrite`](Self::rewrite), 0 before the first.
    pub fn bytes_after_rewrite(&self) -> u64 {
        self.after_rewrite
    }

    /// Whether new work may be accepted: all the space is set aside that finishing it takes. Tries again if it was not.
    pub fn room(&mut self) -> bool {
        if self.broken {
            return false;
        }
        if self.end + RESERVE / 2 > self.reserved {
            self.reserve();
        }
        let spare = std::fs::metadata(self.spare()).is_ok() || self.make_spare();
        self.end + RESERVE / 2 <= self.reserved && spare
    }

    fn check(&self) -> io::Result<()> {
        if self.broken {
            let text = format!("{}: an earlier write failed", self.path.display());
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// Sets space aside ahead of the end, if the disk has it.
    fn reserve(&mut self) {
        if set_aside(&self.file, self.end) {
            self.reserved = self.end + RESERVE;
        }
    }

    fn spare(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}.spare"))
    }

    /// Makes the empty file, with space set aside, that the next compaction goes into.
    fn make_spare(&self) -> bool {
        let spare = self.spare();
        // Cutting a file gives the space beyond its end back, and a full disk would not give it to us again.
        let empty = |file: &File| match file.metadata() {
            Ok(about) => about.len() == 0 || file.set_len(0).is_ok(),
            Err(_) => false,
        };
        let made = disk::open_private(&spare).is_ok_and(|file| empty(&file) && set_aside(&file, 0));
        if !made {
            let _ = std::fs::remove_file(&spare);
        }
        made
    }
}

/// Sets space aside beyond the end of a file. A file system that cannot do this is taken to have room.
fn set_aside(file: &File, from: u64) -> bool {
    use rustix::io::Errno;
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, RESERVE) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => true,
        Err(_) => false,
    }
}

fn encode(records: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(records.iter().map(|record| HEADER + record.len()).sum());
    for record in records {
        let length = u32::try_from(record.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a record of 4 GiB or more"))?;
        out.extend(MAGIC);
        out.extend(length.to_le_bytes());
        out.extend(checksum(length, record).to_le_bytes());
        out.extend(record);
    }
    Ok(out)
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}
