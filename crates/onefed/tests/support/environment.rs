//! Flower on this machine, for tests that start it themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment of a release below the repository. Starting a sandbox makes it; the second octet of its addresses is
/// given.
pub(crate) fn environment(release: &str, net: u8) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let dir = repository.join(".flower").join(release);
    if dir.join("onefed-ready").exists() {
        return dir;
    }
    let (scratch, net) = (tempfile::tempdir().unwrap(), net.to_string());
    for verb in [&["up", "--net", &net, "--flower", release][..], &["down"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefed"));
        command.arg("sandbox").args(verb).arg("--dir").arg(scratch.path().join("sandbox"));
        let done = command.current_dir(&repository).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    dir
}
