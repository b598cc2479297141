//! Files that are whole or not there, and private from their first byte.

pub(crate) mod set;

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstat, mkdirat, open, openat};

pub(crate) use set::crash_point;
pub use set::{FileSet, Member, Owner};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The owner only (0600).
    Owner,
    /// Everybody (0644).
    All,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::All => 0o644,
        }
    }
}

/// As [`write`], unless the file is there with this content already. Then it also keeps its owner and mode: a service
/// that was given it can read it whatever becomes of the boot that is under way.
///
/// # Errors
/// As [`write`].
pub(crate) fn keep(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    match std::fs::read(path) {
        Ok(there) if there == content => Ok(()),
        _ => write(path, content, readers),
    }
}

/// Writes a file by a temporary one beside it: a reader sees the old or the new content, also after a crash.
///
/// # Errors
/// What the system says; nothing is left beside the file then.
pub fn write(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = readers.mode();
    let written = (|| {
        let _ = std::fs::remove_file(&temporary);
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The process's umask may have taken away more than was meant.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Removes what an earlier process that was killed has left of [`write()`] in a directory. For directories that only
/// one process at a time writes into.
///
/// # Errors
/// What the system says; a directory that is not there has nothing left in it.
pub fn sweep(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".new-") && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a directory and its parents, readable by the owner only (0700). One that is there is left as it is.
///
/// # Errors
/// What the system says.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a directory below another one and what is between them (0700). What is new belongs to whom the directory around
/// it belongs: once a tree has been given to a service's user, a later boot's root must not put directories into it that
/// this user cannot open. Never through a link: that user may have made it.
///
/// # Errors
/// What the system says, `InvalidInput` for a path that leads out of `base`.
pub(crate) fn dir_within(base: &Path, below: &Path) -> io::Result<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    private_dir(base)?;
    let mut around = open(base, flags, Mode::empty())?;
    for part in below.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let made = match mkdirat(&around, name, Mode::RWXU) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(why) => return Err(why.into()),
        };
        let dir = openat(&around, name, flags, Mode::empty())?;
        if made {
            let (whose, own) = (fstat(&around)?, fstat(&dir)?);
            if (whose.st_uid, whose.st_gid) != (own.st_uid, own.st_gid) {
                fchown(&dir, Some(Uid::from_raw(whose.st_uid)), Some(Gid::from_raw(whose.st_gid)))?;
            }
        }
        around = dir;
    }
    Ok(base.join(below))
}

/// Reads a text file, or `None` where there is none.
///
/// # Errors
/// What the system says, other than that there is no file.
pub fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_private_file_is_never_readable_by_others_and_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.key");
        write(&path, b"one", Readers::Owner).unwrap();
        write(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("none/x"), b"", Readers::All).is_err());
        assert_eq!(read_if_there(&dir.path().join("nothing")).unwrap(), None);
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// The boot's unit has `UMask=0077`.
    #[test]
    fn a_file_for_everybody_is_one_under_any_umask() {
        const DIR: &str = "ONEFED_TEST_UMASK_DIR";
        if let Some(dir) = std::env::var_os(DIR) {
            return write(&Path::new(&dir).join("ca.pem"), b"x", Readers::All).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let name = "files::tests::a_file_for_everybody_is_one_under_any_umask";
        let mut again = std::process::Command::new("sh");
        again.args(["-c", "umask 077; exec \"$0\" --exact \"$1\""]).arg(std::env::current_exe().unwrap());
        assert!(again.arg(name).env(DIR, dir.path()).output().unwrap().status.success());
        assert_eq!(mode(&dir.path().join("ca.pem")), 0o644);
    }

    #[test]
    fn a_file_that_says_the_same_is_left_to_whom_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.json");
        keep(&path, b"one", Readers::Owner).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        keep(&path, b"one", Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o640);
        keep(&path, b"two", Readers::Owner).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o600));
    }

    #[test]
    fn a_directory_in_a_tree_that_was_given_away_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("superlink");
        let made = dir_within(&base, Path::new("state")).unwrap();
        assert_eq!((made.clone(), mode(&made)), (base.join("state"), 0o700));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&base, Some(49999), Some(49998)).unwrap();
            let meta = std::fs::metadata(dir_within(&base, Path::new("other/deep")).unwrap()).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (49999, 49998));
        }
        std::os::unix::fs::symlink(dir.path(), base.join("led")).unwrap();
        assert!(dir_within(&base, Path::new("led/astray")).is_err());
        assert!(dir_within(&base, Path::new("../x")).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
