//! Private files and directories, random texts.

use crate::SandboxError;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::{fs, io, path::Path};

pub(crate) fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SandboxError + 'a {
    move |source| SandboxError::File { doing, path: path.to_owned(), source }
}

/// Makes a directory that only its owner may enter, with its parents.
pub(crate) fn private_dir(path: &Path) -> Result<(), SandboxError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("cannot make", path))
}

/// Replaces a file in one step; only its owner may read it.
pub(crate) fn private_file(path: &Path, content: &str) -> Result<(), SandboxError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&beside, path)
    };
    write().map_err(failed("cannot write", path))
}

/// `bytes` random bytes in base64.
pub(crate) fn random(bytes: usize) -> Result<String, SandboxError> {
    Ok(STANDARD.encode(random_bytes(bytes)?))
}

/// `bytes` random bytes in hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String, SandboxError> {
    Ok(random_bytes(bytes)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random_bytes(bytes: usize) -> Result<Vec<u8>, SandboxError> {
    let source = Path::new("/dev/urandom");
    let mut buffer = vec![0; bytes];
    let read = fs::File::open(source).and_then(|mut file| file.read_exact(&mut buffer));
    read.map_err(failed("cannot read", source))?;
    Ok(buffer)
}
