//! Large objects: a file each.
//!
//! A name is `id.serial` or, encrypted, `id.serial.sealed`. No serial is used twice, so that the file that is removed is
//! never one that has just been written for the same object.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use onefed_flower::objects::ObjectId;

use super::super::disk::{self, SyncError, at};
use super::seal::{self, Vault};
use crate::io::Buffer;

/// A file that was found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) written: SystemTime,
    pub(super) serial: u64,
    pub(super) id: ObjectId,
    pub(super) bytes: u64,
    pub(super) sealed: bool,
}

pub(super) struct Files {
    dir: PathBuf,
    serial: AtomicU64,
    unsynced: Mutex<BTreeSet<(u64, ObjectId, bool)>>,
}

impl Files {
    /// Finds what is there, the oldest first, and removes what was not finished.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Vec<Found>)> {
        let mut found = Vec::new();
        for file in std::fs::read_dir(dir).map_err(at(dir))? {
            let file = file.map_err(at(dir))?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".part") {
                std::fs::remove_file(file.path()).map_err(at(&file.path()))?;
            } else if let Some((id, serial, sealed)) = parse(&name) {
                let about = file.metadata().map_err(at(&file.path()))?;
                let length = if sealed { seal::content_length(about.len()) } else { Some(about.len()) };
                match length {
                    Some(bytes) => {
                        let written = about.modified().map_err(at(&file.path()))?;
                        found.push(Found { written, serial, id, bytes, sealed });
                    }
                    None => std::fs::remove_file(file.path()).map_err(at(&file.path()))?,
                }
            }
        }
        found.sort_unstable();
        let last = found.iter().map(|file| file.serial).max().unwrap_or_default();
        let files =
            Self { dir: dir.to_owned(), serial: AtomicU64::new(last + 1), unsynced: Mutex::default() };
        Ok((files, found))
    }

    /// Writes a content. Returns the serial of its file.
    pub(super) fn write(&self, id: ObjectId, content: &[u8], vault: Option<&Vault>) -> io::Result<u64> {
        let serial = self.serial.fetch_add(1, Relaxed);
        let part = self.dir.join(format!("{serial}.part"));
        let written = disk::open_private(&part).and_then(|mut file| {
            match vault {
                Some(vault) => vault.seal(id, content, &mut file),
                None => file.write_all(content),
            }?;
            std::fs::rename(&part, self.path(id, serial, vault.is_some()))
        });
        if let Err(error) = written {
            let _ = std::fs::remove_file(&part);
            return Err(at(&part)(error));
        }
        self.unsynced().insert((serial, id, vault.is_some()));
        Ok(serial)
    }

    /// Opens the file of an object and gives it to a reader.
    pub(super) fn read(&self, id: ObjectId, serial: u64, bytes: usize) -> io::Result<Buffer> {
        let mut content = Buffer::with_capacity(bytes);
        File::open(self.path(id, serial, false))?.take(bytes as u64).read_to_end(&mut content)?;
        Ok(content)
    }

    /// The same for one that is encrypted; `None` if it is not what was sealed.
    pub(super) fn unseal(
        &self,
        id: ObjectId,
        serial: u64,
        bytes: usize,
        vault: &Vault,
    ) -> io::Result<Option<Buffer>> {
        vault.unseal(id, bytes, &mut File::open(self.path(id, serial, true))?)
    }

    pub(super) fn remove(&self, id: ObjectId, serial: u64, sealed: bool) {
        self.unsynced().remove(&(serial, id, sealed));
        let path = self.path(id, serial, sealed);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(object = %path.display(), %error, "cannot remove an object");
            }
            _ => {}
        }
    }

    /// Makes the contents that were written survive a power cut; their names do when the directory was synced, too.
    /// Returns whether there were any.
    pub(super) fn sync(&self) -> Result<bool, SyncError> {
        let files = std::mem::take(&mut *self.unsynced());
        for (serial, id, sealed) in &files {
            disk::sync_if_there(&self.path(*id, *serial, *sealed))?;
        }
        Ok(!files.is_empty())
    }

    /// Says that all that was written so far will be on disk otherwise.
    pub(super) fn forget_unsynced(&self) {
        self.unsynced().clear();
    }

    fn path(&self, id: ObjectId, serial: u64, sealed: bool) -> PathBuf {
        self.dir.join(format!("{id}.{serial}{}", if sealed { ".sealed" } else { "" }))
    }

    fn unsynced(&self) -> MutexGuard<'_, BTreeSet<(u64, ObjectId, bool)>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(name: &str) -> Option<(ObjectId, u64, bool)> {
    let (id, rest) = name.split_once('.')?;
    let (serial, sealed) = match rest.strip_suffix(".sealed") {
        Some(serial) => (serial, true),
        None => (rest, false),
    };
    Some((id.parse().ok()?, serial.parse().ok()?, sealed))
}
