//! Files that belong together, replaced together: a reader sees all old ones or all new ones, also after a crash.
//!
//! Each set is a numbered directory; a symbolic link `current` names the one in force, and renaming a new link over
//! it is the only step that counts. What a crash leaves beside it is removed by the next replacement.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Readers;

/// The link to the set in force.
const CURRENT: &str = "current";
/// The link before it is in force.
const NEXT: &str = "current.new";
/// Held while a set is replaced.
const LOCK: &str = "lock";

/// A directory that holds one set of files at a time.
#[derive(Clone, Debug)]
pub struct FileSet {
    dir: PathBuf,
}

/// A file of a set.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// The name, without directories.
    pub name: &'a str,
    /// The content.
    pub content: &'a [u8],
    /// Who may read it.
    pub readers: Readers,
}

/// A user and group that files are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl FileSet {
    /// The set that is kept in this directory, which need not be there yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The path of a member. It stays the same when the set is replaced, and always leads to the set in force.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(CURRENT).join(name)
    }

    /// Reads members, all of the same set; `None` for one that is not there. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// What the system says, other than that a file or the set is not there.
    pub fn read<const N: usize>(&self, names: [&str; N]) -> io::Result<[Option<String>; N]> {
        loop {
            let Some(set) = self.in_force()? else { return Ok([const { None }; N]) };
            let mut texts = [const { None }; N];
            for (text, name) in texts.iter_mut().zip(names) {
                *text = match std::fs::read(self.dir.join(&set).join(name)) {
                    Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                    Err(why) if why.kind() == io::ErrorKind::NotFound => None,
                    Err(why) => return Err(why),
                };
            }
            // Replaced in the meantime: what was read may lack files, so read the new set.
            if self.in_force()? == Some(set) {
                return Ok(texts);
            }
        }
    }

    /// Puts a new set in the place of the old one. The files belong to `owner` from before their first byte. Without one
    /// each belongs to whom it belonged to in the old set, so that a service can read what is in force at any time; a new
    /// one belongs to this process's user.
    ///
    /// # Errors
    /// What the system says; the old set is in force then, unless only its removal failed.
    pub fn replace(&self, members: &[Member<'_>], owner: Option<Owner>) -> io::Result<()> {
        passable_dir(&self.dir)?;
        let _held = lock(&self.dir)?;
        let old = self.in_force()?;
        self.remove_all_but(old.as_deref())?;
        crash_point();
        let number = old.and_then(|name| name.parse::<u64>().ok()).unwrap_or(0) + 1;
        let set = self.dir.join(number.to_string());
        let written = self.write(&set, members, |name| owner.or_else(|| self.owner(name)));
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&set);
        }
        written?;
        self.remove_all_but(Some(&number.to_string()))
    }

    /// Who has a member of the set in force, where that is somebody else.
    fn owner(&self, name: &str) -> Option<Owner> {
        let meta = std::fs::metadata(self.path(name)).ok()?;
        let own = rustix::process::geteuid().as_raw();
        (meta.uid() != own).then(|| Owner { uid: meta.uid(), gid: meta.gid() })
    }

    fn write(
        &self,
        set: &Path,
        members: &[Member<'_>],
        owner: impl Fn(&str) -> Option<Owner>,
    ) -> io::Result<()> {
        DirBuilder::new().mode(0o711).create(set)?;
        crash_point();
        for member in members {
            write_new(&set.join(member.name), member, owner(member.name))?;
            crash_point();
        }
        sync(set)?;
        let next = self.dir.join(NEXT);
        std::os::unix::fs::symlink(set.file_name().unwrap_or_default(), &next)?;
        crash_point();
        std::fs::rename(&next, self.dir.join(CURRENT))?;
        crash_point();
        sync(&self.dir)
    }

    /// The name of the numbered directory in force.
    fn in_force(&self) -> io::Result<Option<String>> {
        match std::fs::read_link(self.dir.join(CURRENT)) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Removes earlier sets and what a crash left of later ones.
    fn remove_all_but(&self, keep: Option<&str>) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == NEXT {
                std::fs::remove_file(entry.path())?;
            } else if name.parse::<u64>().is_ok() && Some(name.as_str()) != keep {
                std::fs::remove_dir_all(entry.path())?;
                crash_point();
            }
        }
        Ok(())
    }
}

/// Makes a directory and its parents, in which others may reach what they know the name of (0711).
pub(crate) fn passable_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// Waits until no other process changes this directory, and keeps others out until the file is dropped.
pub(crate) fn lock(dir: &Path) -> io::Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Writes a file that is not there yet. It is never open to more readers or owners than it is to be in the end.
pub(crate) fn write_new(path: &Path, member: &Member<'_>, owner: Option<Owner>) -> io::Result<()> {
    let mode = member.readers.mode();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Some(owner) = owner {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    // The process's umask may have taken away more than was meant.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(member.content)?;
    file.sync_all()
}

/// Makes what happened to the names in a directory last.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Where a test lets the process die.
#[cfg(not(test))]
pub(crate) fn crash_point() {}
#[cfg(test)]
pub(crate) use tests::crash_point;

#[cfg(test)]
#[path = "set_tests.rs"]
pub(crate) mod tests;
