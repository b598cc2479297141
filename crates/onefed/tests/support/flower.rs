//! The Python environment that stands for the VM image.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Desk;

/// An environment that a sandbox can be started with.
#[derive(Clone, Debug)]
pub(crate) struct FlowerDir(pub(crate) PathBuf);

/// An environment that looks like Flower to onefed's eyes, and whose programs only say a word and fail; a SuperNode
/// waits, as a real one does that has nobody to talk to. Enough for everything up to the SuperLink's health.
pub(crate) fn fake_flower(desk: &Desk, release: &str) -> FlowerDir {
    let dir = desk.path("flower");
    let record = dir.join(format!("lib/python3.11/site-packages/flwr-{release}.dist-info"));
    std::fs::create_dir_all(record).unwrap();
    std::fs::create_dir_all(dir.join("bin")).unwrap();
    script(&dir.join("bin/flower-supernode"), "exec sleep 1000");
    for program in ["flower-superlink", "flwr"] {
        script(&dir.join("bin").join(program), &format!("echo '{program}: no real Flower here' >&2; exit 1"));
    }
    FlowerDir(dir)
}

/// A shell script that can be run.
pub(crate) fn script(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
