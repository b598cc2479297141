//! Where hub and spoke keep what must survive them.

use std::path::PathBuf;

use crate::store::{Limits, ObjectStore};
use crate::{Error, Result};

/// A directory on a disk that survives a reboot, and how much of it may be used.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The directory. It is made (0700) where it is not there. One hub or spoke at a time uses it.
    pub dir: PathBuf,
    /// How many bytes objects may take. Those of messages and replies that are under way may go beyond.
    pub bytes: u64,
}

impl Disk {
    /// The objects of this directory. So many bytes of those that were just stored wait in memory for their reader.
    pub(crate) async fn objects(&self, handover: u64) -> Result<ObjectStore> {
        let limits = Limits { bytes: self.bytes, handover, ..Limits::default() };
        ObjectStore::open(self.dir.join("objects"), limits).await.map_err(|why| self.error(why))
    }

    /// What went wrong here.
    pub(crate) fn error(&self, why: std::io::Error) -> Error {
        Error::Disk { dir: self.dir.clone(), why }
    }
}
