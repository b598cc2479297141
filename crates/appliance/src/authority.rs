//! A CA of this VM's own: made once, kept over reboots, and the server certificate that it issues.
//!
//! It serves where nobody gave a certificate: for the SuperLink's outside, and for hops inside one VM, because Flower
//! refuses to authenticate nodes without TLS. The CA stays, so that nobody has to be told when a certificate is
//! issued anew. `<dir>/ca` (0700) holds the CA and its key, `<dir>/server/current` what a server needs, as one set.

mod error;
mod imported;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use onefed_trust::{CertificateInfo, Error as TrustError, RootCa, SanName, SecretPem, check_leaf};

pub use crate::authority::error::AuthorityError;
pub use crate::authority::imported::{
    Installed, Parts, imported_set, install, installed, kept_request_key, request_key,
};
use crate::files::set::{lock, passable_dir, sync, write_new};
use crate::files::{FileSet, Member, Owner, Readers, crash_point, read_if_there};

/// A certificate that ends sooner is issued anew. It is issued for a year, because a VM may run long without a boot.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);
const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const SERVER_CERT: &str = "server.pem";
const SERVER_KEY: &str = "server.key";

/// What is wanted of a VM's own CA.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Where everything of this CA is kept; made if it is not there.
    pub dir: &'a Path,
    /// The common name of the CA, should one have to be made.
    pub name: &'a str,
    /// The names that the server certificate is for, exactly; at least one.
    pub names: &'a [SanName],
    /// Whom the server's files belong to; nobody else can read its key. `None` for this process's user.
    pub owner: Option<Owner>,
    /// The time.
    pub now: SystemTime,
}

/// A server certificate that is in force, as files.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The CA certificate, for those who connect. This path and the next two stay the same for ever.
    pub ca: PathBuf,
    /// The server certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What was done for it.
    pub done: Done,
    /// The server certificate.
    pub leaf: CertificateInfo,
    /// The CA certificate.
    pub authority: CertificateInfo,
}

/// What [`keep`] did. `Display` gives a few words for a log, without the days left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing: everything still fits.
    Kept,
    /// A new server certificate by the kept CA.
    Reissued(Reason),
    /// A CA and its first server certificate.
    Made,
}

/// Why a server certificate was issued anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A file of the set was missing.
    Missing,
    /// A file of the set could not be read as what it is.
    Damaged,
    /// The key was another certificate's.
    OtherKey,
    /// Another CA had signed it.
    OtherCa,
    /// It is for other names than are wanted now.
    Names {
        /// Wanted, and not in the certificate.
        added: Vec<SanName>,
        /// In the certificate, and not wanted any more.
        removed: Vec<SanName>,
    },
    /// Its files belonged to another user.
    Owner,
    /// It has ended, ends within 30 days, or has not begun.
    Dates,
}

/// Makes the CA if there is none, and a server certificate if the kept one does not fit. Safe against a crash at any
/// point, and against being called twice at a time.
///
/// # Errors
/// [`AuthorityError`]. A CA that is damaged or incomplete is never replaced: peers trust it.
pub fn keep(order: &Order<'_>) -> Result<Kept, AuthorityError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |why| AuthorityError::File { path, why }
    };
    passable_dir(order.dir).map_err(at(order.dir))?;
    let _held = lock(order.dir).map_err(at(order.dir))?;
    let server = order.dir.join("server");
    let set = FileSet::at(&server);
    let kept = set.read([CA_CERT, SERVER_CERT, SERVER_KEY]).map_err(at(&server))?;
    let found = find_ca(order)?;
    let verdict = judge(&kept, found.as_ref().map(RootCa::cert_pem), order)
        .and_then(|good| if belongs(&set, order.owner) { Ok(good) } else { Err(Reason::Owner) });
    if let Ok((leaf, authority)) = verdict {
        return Ok(outcome(&set, Done::Kept, leaf, authority));
    }
    let reason = verdict.err().unwrap_or(Reason::Missing);
    let (ca, done) = match found {
        Some(ca) => (ca, Done::Reissued(reason)),
        // There was a CA once, and peers trust it.
        None if kept.iter().any(Option::is_some) => {
            return Err(AuthorityError::CaGone { dir: ca_dir(order.dir), reason });
        }
        None => (make_ca(order)?, Done::Made),
    };
    let made = ca.issue_server(order.names, order.now)?;
    let members = [
        Member { name: CA_CERT, content: ca.cert_pem().as_bytes(), readers: Readers::All },
        Member { name: SERVER_CERT, content: made.cert_pem.as_bytes(), readers: Readers::All },
        Member { name: SERVER_KEY, content: made.key_pem.expose().as_bytes(), readers: Readers::Owner },
    ];
    set.replace(&members, order.owner).map_err(at(&server))?;
    let leaf = CertificateInfo::from_pem(&made.cert_pem)?;
    Ok(outcome(&set, done, leaf, CertificateInfo::from_pem(ca.cert_pem())?))
}

fn outcome(set: &FileSet, done: Done, leaf: CertificateInfo, authority: CertificateInfo) -> Kept {
    Kept {
        ca: set.path(CA_CERT),
        chain: set.path(SERVER_CERT),
        key: set.path(SERVER_KEY),
        done,
        leaf,
        authority,
    }
}

/// Whether the kept set still serves. `ca` is the CA, where it is there; one that was taken away for safe keeping
/// is missed only when something has to be signed.
fn judge(
    [kept_ca, cert, key]: &[Option<String>; 3],
    ca: Option<&str>,
    order: &Order<'_>,
) -> Result<(CertificateInfo, CertificateInfo), Reason> {
    let (Some(kept_ca), Some(cert), Some(key)) = (kept_ca, cert, key) else { return Err(Reason::Missing) };
    if ca.is_some_and(|ca| ca != kept_ca) {
        return Err(Reason::OtherCa);
    }
    let key = SecretPem::new(key.clone());
    let leaf = check_leaf(cert, &key, kept_ca, order.now).map_err(|why| match why {
        TrustError::OtherKey => Reason::OtherKey,
        TrustError::NotSignedByCa(_) => Reason::OtherCa,
        TrustError::Dates(_) => Reason::Dates,
        _ => Reason::Damaged,
    })?;
    let not_in = |these: &[SanName], those: &[SanName]| -> Vec<SanName> {
        these.iter().filter(|name| !those.contains(name)).cloned().collect()
    };
    let (added, removed) = (not_in(order.names, &leaf.names), not_in(&leaf.names, order.names));
    if !added.is_empty() || !removed.is_empty() {
        return Err(Reason::Names { added, removed });
    }
    let authority = CertificateInfo::from_pem(kept_ca).map_err(|_| Reason::Damaged)?;
    // Where the CA itself ends, a new certificate would end no later.
    if leaf.not_after < order.now + RENEW && leaf.not_after < authority.not_after {
        return Err(Reason::Dates);
    }
    Ok((leaf, authority))
}

/// Whether the key can be read by whom it is for.
fn belongs(set: &FileSet, owner: Option<Owner>) -> bool {
    let meta = std::fs::metadata(set.path(SERVER_KEY));
    owner.is_none_or(|owner| meta.is_ok_and(|meta| (meta.uid(), meta.gid()) == (owner.uid, owner.gid)))
}

pub(crate) fn ca_dir(dir: &Path) -> PathBuf {
    dir.join("ca")
}

/// The kept CA; `None` where none was ever completed, or where all of it has been taken away.
fn find_ca(order: &Order<'_>) -> Result<Option<RootCa>, AuthorityError> {
    let dir = ca_dir(order.dir);
    let read = |name: &str| {
        let path = dir.join(name);
        read_if_there(&path).map_err(|why| AuthorityError::File { path, why })
    };
    let (cert, key) = match (read(CA_CERT)?, read(CA_KEY)?) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(AuthorityError::HalfCa { dir, there: CA_CERT, lacks: CA_KEY }),
        (None, Some(_)) => return Err(AuthorityError::HalfCa { dir, there: CA_KEY, lacks: CA_CERT }),
    };
    let private = std::fs::set_permissions(&dir, Permissions::from_mode(0o700));
    private.map_err(|why| AuthorityError::File { path: dir.clone(), why })?;
    let ca = RootCa::load(&cert, &SecretPem::new(key))
        .map_err(|why| AuthorityError::DamagedCa { dir: dir.clone(), why })?;
    let info = CertificateInfo::from_pem(ca.cert_pem())?;
    info.in_force(order.now).map_err(|why| AuthorityError::CaNotInForce { dir, why })?;
    Ok(Some(ca))
}

/// Makes the CA. It appears with both files or not at all.
fn make_ca(order: &Order<'_>) -> Result<RootCa, AuthorityError> {
    let (dir, half) = (ca_dir(order.dir), order.dir.join("ca.new"));
    let ca = RootCa::generate_for_vm(order.name, order.now)?;
    let files = [
        Member { name: CA_KEY, content: ca.key_pem().expose().as_bytes(), readers: Readers::Owner },
        Member { name: CA_CERT, content: ca.cert_pem().as_bytes(), readers: Readers::All },
    ];
    let write = || {
        if half.exists() {
            std::fs::remove_dir_all(&half)?;
        }
        crash_point();
        DirBuilder::new().mode(0o700).create(&half)?;
        crash_point();
        for file in &files {
            write_new(&half.join(file.name), file, None)?;
            crash_point();
        }
        sync(&half)?;
        std::fs::rename(&half, &dir)?;
        crash_point();
        sync(order.dir)
    };
    write().map_err(|why| AuthorityError::File { path: dir.clone(), why })?;
    Ok(ca)
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("kept"),
            Self::Reissued(reason) => write!(f, "issued anew by the kept CA: {reason}"),
            Self::Made => f.write_str("made, with a CA of this VM's own"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[SanName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Missing => f.write_str("there was none"),
            Self::Damaged => f.write_str("a file of it was damaged"),
            Self::OtherKey => f.write_str("its key was another one's"),
            Self::OtherCa => f.write_str("another CA had signed it"),
            Self::Names { added, removed } if removed.is_empty() => write!(f, "it lacked {}", list(added)),
            Self::Names { added, removed } if added.is_empty() => {
                write!(f, "it had {}, which this VM has no more", list(removed))
            }
            Self::Names { added, removed } => {
                write!(f, "it lacked {}, and had {}, which this VM has no more", list(added), list(removed))
            }
            Self::Owner => f.write_str("its files belonged to another user"),
            Self::Dates => f.write_str("it ends within 30 days, or is not in force"),
        }
    }
}
