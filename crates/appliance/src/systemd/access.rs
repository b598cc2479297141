//! Who may read and write a VM's files: each service's user what the service needs, and nobody else.
//!
//! Only below the data directory are owners and modes changed, and never through a link: some directories there belong
//! to users that run other people's code, and root must not be led by what they put into them.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod, fchown, fstat, open,
    openat2, statat,
};

use super::{SystemdError, unit};
use crate::service::{Service, User};
use onefed_flower::container::FLOWER_ID;

/// Deeper than this no service keeps its files.
const DEEPEST: u32 = 64;

/// Where owners may be set, and what is to be kept from all services.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) data: PathBuf,
    pub(super) never: Vec<PathBuf>,
    /// The list of users, in the form of `/etc/passwd`.
    pub(super) users: PathBuf,
}

/// A user's number and that of its group.
type Ids = (u32, u32);

impl Access {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), never: Vec::new(), users: "/etc/passwd".into() }
    }

    /// Refuses files that a service must not have, and files that two users claim. Changes nothing.
    pub(super) fn check(&self, services: &[Service]) -> Result<(), SystemdError> {
        let mut problems = Vec::new();
        let mut owners: HashMap<&Path, (User, &'static str)> = HashMap::new();
        for service in services {
            let forbidden = |path: &Path, why: String| SystemdError::Forbidden {
                path: path.to_owned(),
                service: service.name,
                why,
            };
            for path in service.reads.iter().chain(&service.writes).chain(&service.inputs) {
                if let Some(never) =
                    self.never.iter().find(|never| path.starts_with(never) || never.starts_with(path))
                {
                    problems.push(forbidden(path, format!("{} is for the boot alone", never.display())));
                }
            }
            for path in service.reads.iter().chain(&service.writes) {
                if let Some((_, other)) = owners
                    .iter()
                    .find(|(theirs, (user, _))| {
                        *user != service.user && (path.starts_with(theirs) || theirs.starts_with(path))
                    })
                    .map(|(_, owner)| owner)
                {
                    problems.push(forbidden(path, format!("it is {other}'s, which runs as another user")));
                }
                owners.insert(path, (service.user, service.name));
            }
        }
        SystemdError::all(problems)
    }

    /// Gives every service its files.
    pub(super) fn settle(&self, services: &[Service]) -> Result<(), SystemdError> {
        let users = std::fs::read_to_string(&self.users)
            .map_err(|why| SystemdError::File { path: self.users.clone(), why })?;
        let mut problems = Vec::new();
        for service in services {
            match ids(&users, service.user) {
                Ok(ids) => problems.extend(self.give(service, ids).err()),
                Err(why) => problems.push(why),
            }
        }
        SystemdError::all(problems)
    }

    fn give(&self, service: &Service, ids: Ids) -> Result<(), SystemdError> {
        for path in &service.inputs {
            // The process reads it and must not be able to change what it is told.
            if !service.reads.contains(path) {
                self.in_data(path, ids, |file| readable_by_group(file, ids))?;
            }
        }
        for path in &service.reads {
            self.in_data(path, ids, |file| own_file(file, ids))?;
        }
        for path in &service.writes {
            self.in_data(path, ids, |file| match FileType::from_raw_mode(fstat(file)?.st_mode) {
                FileType::Directory => own_tree(file, ids),
                _ => own_file(file, ids),
            })?;
        }
        Ok(())
    }

    /// Opens a path below the data directory, makes the way to it passable, and does something with it. Other paths are
    /// the operator's.
    fn in_data(
        &self,
        path: &Path,
        ids: Ids,
        act: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> Result<(), SystemdError> {
        if !path.starts_with(&self.data) {
            return Ok(());
        }
        let failed = |path: &Path, why: rustix::io::Errno| SystemdError::File {
            path: path.to_owned(),
            why: why.into(),
        };
        // A set of files is reached by a link of the boot's own. What that leads to is opened without any.
        let file = |path: &Path, why| SystemdError::File { path: path.to_owned(), why };
        let real = |path: &Path| std::fs::canonicalize(path).map_err(|why| file(path, why));
        self.only_own_links(path).map_err(|why| file(path, why))?;
        let (real, data) = (&real(path)?, &real(&self.data)?);
        let out = || file(path, std::io::Error::other("a link on the way leads out of the data directory"));
        let below = real.strip_prefix(data).map_err(|_| out())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let data = open(data, flags | OFlags::DIRECTORY, Mode::empty()).map_err(|why| failed(data, why))?;
        let inside = |path: &Path, flags| {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            openat2(&data, path, flags, Mode::empty(), resolve)
        };
        passable(data.as_fd(), ids).map_err(|why| failed(&self.data, why))?;
        let mut way: Vec<&Path> =
            below.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
        way.reverse();
        for part in way {
            let dir = inside(part, flags | OFlags::DIRECTORY);
            dir.and_then(|dir| passable(dir.as_fd(), ids))
                .map_err(|why| failed(&self.data.join(part), why))?;
        }
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        inside(below, flags).and_then(|file| act(file.as_fd())).map_err(|why| failed(path, why))
    }
}

impl Access {
    /// Refuses a path below the data directory that a link of some user's leads on: only in directories of the boot's
    /// own user nobody else can have put one.
    fn only_own_links(&self, path: &Path) -> std::io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        for part in path.ancestors().take_while(|part| *part != self.data) {
            let led = part.is_symlink() && part.parent().is_none_or(|dir| foreign(dir, own));
            if led {
                let text = format!("{} is a link that a user other than root may have made", part.display());
                return Err(std::io::Error::other(text));
            }
        }
        Ok(())
    }
}

/// Whether a directory is not this user's.
fn foreign(dir: &Path, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(dir).map_or(true, |meta| meta.uid() != user)
}

/// The numbers of a user, which must be those that the images and the data disk count on.
fn ids(users: &str, user: User) -> Result<Ids, SystemdError> {
    let name = unit::user_name(user);
    let line =
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.len() > 3 && f[0] == name);
    let ids = line.and_then(|f| Some((f[2].parse::<u32>().ok()?, f[3].parse::<u32>().ok()?)));
    match (ids, user) {
        (None, _) => Err(SystemdError::NoUser { name, detail: "" }),
        (Some((0, _) | (_, 0)), _) => Err(SystemdError::NoUser { name, detail: " that is not root's" }),
        (Some(ids), User::Flower) if ids != (FLOWER_ID, FLOWER_ID) => {
            Err(SystemdError::NoUser { name, detail: " that has the number 49999, as in Flower's images," })
        }
        (Some(ids), _) => Ok(ids),
    }
}

/// Lets everybody go through a directory that is on the way, unless it is the user's own. What is in it stays unlisted
/// and has modes of its own.
fn passable(dir: BorrowedFd<'_>, (uid, _): Ids) -> rustix::io::Result<()> {
    let stat = fstat(dir)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::XOTH) || stat.st_uid == uid {
        return Ok(());
    }
    fchmod(dir, mode | Mode::XGRP | Mode::XOTH)
}

/// A file of root's that one group may read (0640), unless everybody may already.
fn readable_by_group(file: BorrowedFd<'_>, (_, gid): Ids) -> rustix::io::Result<()> {
    let stat = fstat(file)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    single(&stat)?;
    if mode.contains(Mode::ROTH) || (stat.st_gid == gid && mode.contains(Mode::RGRP)) {
        return Ok(());
    }
    fchown(file, None, Some(Gid::from_raw(gid)))?;
    fchmod(file, Mode::RUSR | Mode::WUSR | Mode::RGRP)
}

/// A file that one user has for itself (0600).
fn own_file(file: BorrowedFd<'_>, (uid, gid): Ids) -> rustix::io::Result<()> {
    let stat = fstat(file)?;
    single(&stat)?;
    let mode = Mode::RUSR | Mode::WUSR;
    // First nobody else may, then it changes hands.
    if Mode::from_raw_mode(stat.st_mode) != mode {
        fchmod(file, mode)?;
    }
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

/// A directory that one user has for itself (0700), with everything in it. Once it is handed over it is left alone.
fn own_tree(dir: BorrowedFd<'_>, ids: Ids) -> rustix::io::Result<()> {
    let stat = fstat(dir)?;
    if (stat.st_uid, stat.st_gid) != ids {
        // The directory itself last: where this is interrupted, it is done again.
        hand_over(dir, ids, 0)?;
        fchown(dir, Some(Uid::from_raw(ids.0)), Some(Gid::from_raw(ids.1)))?;
    }
    if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
        fchmod(dir, Mode::RWXU)?;
    }
    Ok(())
}

fn hand_over(dir: BorrowedFd<'_>, ids: Ids, depth: u32) -> rustix::io::Result<()> {
    if depth > DEEPEST {
        return Err(rustix::io::Errno::LOOP);
    }
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner: OwnedFd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
                hand_over(inner.as_fd(), ids, depth + 1)?;
            }
            // Another name of a file elsewhere would give that away with it.
            FileType::RegularFile if stat.st_nlink != 1 => continue,
            _ => {}
        }
        chownat(
            dir,
            name,
            Some(Uid::from_raw(ids.0)),
            Some(Gid::from_raw(ids.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// A regular file with one name.
fn single(stat: &Stat) -> rustix::io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink == 1 => Ok(()),
        FileType::RegularFile => Err(rustix::io::Errno::MLINK),
        _ => Err(rustix::io::Errno::INVAL),
    }
}
