//! A certificate of an operator's own PKI, where a VM keeps it: what `onefed pki` puts there, and boot takes up.
//!
//! Nothing is checked here: `onefed_trust::import` does that, before a set is kept and again when it is used.

use std::path::{Path, PathBuf};

use onefed_trust::import::Imported;
use onefed_trust::{LeafRequest, SanName, SecretPem};

use super::{AuthorityError, CA_CERT, SERVER_CERT, SERVER_KEY};
use crate::files::set::lock;
use crate::files::{FileSet, Member, Owner, Readers, private_dir, read_if_there, write};

/// The names that peers dial, one a line.
const DIALLED: &str = "dialled.txt";

/// A set as it is kept: all of it was read from the same one.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The path of the CA certificates; this one and the next two always lead to the set in force.
    pub ca: PathBuf,
    /// The path of the server certificate with its intermediates.
    pub chain: PathBuf,
    /// The path of the private key.
    pub key: PathBuf,
    /// The CA certificates in PEM.
    pub ca_pem: String,
    /// The server certificate with its intermediates in PEM.
    pub chain_pem: String,
    /// The private key in PEM.
    pub key_pem: SecretPem,
    /// The names that peers dial, which the certificate was checked for.
    pub dialled: Vec<SanName>,
}

/// Where `onefed pki import` puts a set, on a VM's disk.
pub fn imported_set(disk: &Path) -> FileSet {
    FileSet::at(disk.join("tls/imported"))
}

/// Keeps a set that passed its checks, in the place of an earlier one.
///
/// # Errors
/// [`AuthorityError::File`].
pub fn install(
    set: &FileSet,
    imported: &Imported,
    dialled: &[SanName],
    owner: Option<Owner>,
) -> Result<(), AuthorityError> {
    let host = |name: &SanName| match name {
        SanName::Ip(ip) => format!("{ip}\n"),
        SanName::Dns(dns) => format!("{dns}\n"),
    };
    let dialled: String = dialled.iter().map(host).collect();
    let member = |name, text, readers| Member { name, content: str::as_bytes(text), readers };
    let members = [
        member(CA_CERT, &imported.ca_pem, Readers::All),
        member(SERVER_CERT, &imported.chain_pem, Readers::All),
        member(SERVER_KEY, imported.key_pem.expose(), Readers::Owner),
        member(DIALLED, &dialled, Readers::All),
    ];
    set.replace(&members, owner).map_err(|why| AuthorityError::File { path: set.path(""), why })
}

/// The set that is kept; `None` where there is none. A file that was removed from it reads as empty, so that the
/// check of the set says what is wrong.
///
/// # Errors
/// [`AuthorityError::File`].
pub fn installed(set: &FileSet) -> Result<Option<Installed>, AuthorityError> {
    let read = set.read([CA_CERT, SERVER_CERT, SERVER_KEY, DIALLED]);
    let files = read.map_err(|why| AuthorityError::File { path: set.path(""), why })?;
    if files.iter().all(Option::is_none) {
        return Ok(None);
    }
    let [ca_pem, chain_pem, key_pem, dialled] = files.map(Option::unwrap_or_default);
    Ok(Some(Installed {
        ca: set.path(CA_CERT),
        chain: set.path(SERVER_CERT),
        key: set.path(SERVER_KEY),
        ca_pem,
        chain_pem,
        key_pem: SecretPem::new(key_pem),
        dialled: dialled.lines().map(SanName::of_host).collect(),
    }))
}

/// The key for which `onefed pki csr` asks for a certificate: made once, and the same from then on. Its path, and the
/// key; `None` if there is none and none is to be made.
///
/// # Errors
/// [`AuthorityError::File`], [`AuthorityError::Trust`] if the random source fails.
pub fn request_key(disk: &Path, make: bool) -> Result<(PathBuf, Option<SecretPem>), AuthorityError> {
    let dir = disk.join("tls/requested");
    let path = dir.join(SERVER_KEY);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |why| AuthorityError::File { path, why }
    };
    let held = if make {
        private_dir(&dir).map_err(at(&dir))?;
        Some(lock(&dir).map_err(at(&dir))?)
    } else {
        None
    };
    let kept = read_if_there(&path).map_err(at(&path))?.map(SecretPem::new);
    if kept.is_some() || held.is_none() {
        return Ok((path, kept));
    }
    let key = LeafRequest::generate(&[])?.key_pem;
    write(&path, key.expose().as_bytes(), Readers::Owner).map_err(at(&path))?;
    Ok((path, Some(key)))
}
