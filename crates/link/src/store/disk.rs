//! The few things that journal and store need of a file system.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An error that also says where.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes a directory that only its owner may enter, with all above it.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

/// Opens a file for reading and writing that only its owner may read. It is made if it is not there, and never cut.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(at(path))
}

/// A lock that says that one process uses this. It is free when the value is dropped, and when the process is dead.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Takes a lock. Waits that long for one who has it: a process that was killed, or a job of ours that nobody waits for,
/// may need a moment to end.
///
/// # Errors
/// Of the kind `ResourceBusy` if another process, or another part of this one, has it.
pub(super) fn lock(path: PathBuf, patience: Duration) -> io::Result<Lock> {
    const STEP: Duration = Duration::from_millis(10);
    let file = open_private(&path)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(STEP),
            Err(TryLockError::WouldBlock) => {
                let text =
                    format!("{} is held: another process uses this directory; end it first", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
        }
    }
}

/// Bytes that are free for us on the file system of this directory.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir).map_err(|error| at(dir)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Writes a small file that only its owner may read, so that it is there whole or not at all, also after a power cut.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = open_private(&part)?;
    file.set_len(0)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(at(path))?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(())
}

/// Why something may not be on the disk.
#[derive(Debug)]
pub(super) enum SyncError {
    /// Nothing was tried.
    NotTried(io::Error),
    /// The disk failed, and the system forgot what it should have written: trying again would say that all is well.
    Disk(io::Error),
}

impl From<SyncError> for io::Error {
    fn from(error: SyncError) -> Self {
        let (SyncError::NotTried(error) | SyncError::Disk(error)) = error;
        error
    }
}

/// Makes the content of a file survive a power cut, unless it has been removed.
pub(super) fn sync_if_there(path: &Path) -> Result<(), SyncError> {
    match File::open(path) {
        Ok(file) => file.sync_data().map_err(at(path)).map_err(SyncError::Disk),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SyncError::NotTried(at(path)(error))),
    }
}

/// Makes the names in a directory survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<(), SyncError> {
    let file = File::open(dir).map_err(at(dir)).map_err(SyncError::NotTried)?;
    file.sync_all().map_err(at(dir)).map_err(SyncError::Disk)
}

/// Makes all that was written to the file system of this directory survive a power cut.
pub(super) fn sync_file_system(dir: &Path) -> Result<(), SyncError> {
    let file = File::open(dir).map_err(at(dir)).map_err(SyncError::NotTried)?;
    rustix::fs::syncfs(&file).map_err(|error| SyncError::Disk(at(dir)(error.into())))
}
