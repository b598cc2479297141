//! For tests: how many cases, and a file system of a few MiB where the machine allows namespaces.

use std::path::PathBuf;
use std::process::Command;

/// How many cases a test of random histories does, where `ONEFED_CASES` says nothing else.
pub(super) fn cases(usual: u32) -> u32 {
    std::env::var("ONEFED_CASES").ok().map_or(usual, |cases| cases.parse().unwrap())
}

const DIR: &str = "ONEFED_TEST_SMALL_DISK";
const MOUNT: &str =
    "mount -t tmpfs -o size=$2 none \"$ONEFED_TEST_SMALL_DISK\" || exit 77; exec \"$0\" --exact \"$1\"";

/// Runs the test of this name once more, with a small file system of its own, and fails if that fails. In that second
/// run this returns where it is; in the first one `None`, as on a machine that allows no namespaces.
pub(super) fn small_disk(test: &str, size: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(DIR) {
        return Some(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut again = Command::new("unshare");
    again
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT])
        .arg(std::env::current_exe().unwrap());
    let Ok(done) = again.args([test, size]).env(DIR, dir.path()).output() else { return None };
    let words = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if done.status.code() == Some(77) || words.starts_with("unshare:") {
        println!("not tested on a full disk: {words}");
        return None;
    }
    assert!(done.status.success(), "{words}");
    assert!(words.contains("1 passed"), "{test} is no test: {words}");
    None
}
