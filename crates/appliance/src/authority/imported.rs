//! A certificate of an operator's own PKI, where a VM keeps it: what `onefed pki` puts there, and boot takes up.
//!
//! Nothing is checked here: `onefed_trust::import` does that, before a set is kept and again when it is used.

use std::path::{Path, PathBuf};

use onefed_trust::import::Imported;
use onefed_trust::{LeafRequest, SanName, SecretPem};

use super::{AuthorityError, CA_CERT, SERVER_CERT, SERVER_KEY};
use crate::files::set::lock;
use crate::files::{FileSet, Member, Owner, Readers, private_dir, read_if_there, write};

/// Where the key of a request is kept, on a VM's disk.
const REQUESTED: &str = "tls/requested";
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

/// What makes a set: checked by whoever has it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The CA certificates in PEM.
    pub ca_pem: &'a str,
    /// The server certificate with its intermediates in PEM.
    pub chain_pem: &'a str,
    /// Its private key.
    pub key_pem: &'a SecretPem,
}

impl<'a> From<&'a Imported> for Parts<'a> {
    fn from(imported: &'a Imported) -> Self {
        Self { ca_pem: &imported.ca_pem, chain_pem: &imported.chain_pem, key_pem: &imported.key_pem }
    }
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
    parts: &Parts<'_>,
    dialled: &[SanName],
    owner: Option<Owner>,
) -> Result<Installed, AuthorityError> {
    let host = |name: &SanName| match name {
        SanName::Ip(ip) => format!("{ip}\n"),
        SanName::Dns(dns) => format!("{dns}\n"),
    };
    let text: String = dialled.iter().map(host).collect();
    let member = |name, text, readers| Member { name, content: str::as_bytes(text), readers };
    let members = [
        member(CA_CERT, parts.ca_pem, Readers::All),
        member(SERVER_CERT, parts.chain_pem, Readers::All),
        member(SERVER_KEY, parts.key_pem.expose(), Readers::Owner),
        member(DIALLED, &text, Readers::All),
    ];
    set.replace(&members, owner).map_err(|why| AuthorityError::File { path: set.path(""), why })?;
    let texts = [parts.ca_pem, parts.chain_pem, parts.key_pem.expose(), &text].map(str::to_owned);
    Ok(as_installed(set, texts))
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
    Ok(Some(as_installed(set, files.map(Option::unwrap_or_default))))
}

fn as_installed(set: &FileSet, [ca_pem, chain_pem, key_pem, dialled]: [String; 4]) -> Installed {
    Installed {
        ca: set.path(CA_CERT),
        chain: set.path(SERVER_CERT),
        key: set.path(SERVER_KEY),
        ca_pem,
        chain_pem,
        key_pem: SecretPem::new(key_pem),
        dialled: dialled.lines().map(SanName::of_host).collect(),
    }
}

/// The key for which this VM asks for a certificate: made once, and the same from then on. Its path, and the key.
///
/// # Errors
/// [`AuthorityError::File`], [`AuthorityError::Trust`] if the random source fails.
pub fn request_key(disk: &Path) -> Result<(PathBuf, SecretPem), AuthorityError> {
    let dir = disk.join(REQUESTED);
    let failed = |why| AuthorityError::File { path: dir.clone(), why };
    private_dir(&dir).map_err(failed)?;
    let _held = lock(&dir).map_err(failed)?;
    let (path, kept) = kept_request_key(disk)?;
    if let Some(kept) = kept {
        return Ok((path, kept));
    }
    let key = LeafRequest::generate(&[])?.key_pem;
    let written = write(&path, key.expose().as_bytes(), Readers::Owner);
    written.map_err(|why| AuthorityError::File { path: path.clone(), why })?;
    Ok((path, key))
}

/// Where [`request_key`] keeps its key, and the key if there is one.
///
/// # Errors
/// [`AuthorityError::File`].
pub fn kept_request_key(disk: &Path) -> Result<(PathBuf, Option<SecretPem>), AuthorityError> {
    let path = disk.join(REQUESTED).join(SERVER_KEY);
    match read_if_there(&path) {
        Ok(text) => Ok((path, text.map(SecretPem::new))),
        Err(why) => Err(AuthorityError::File { path, why }),
    }
}
