//! One boot at a time works with a disk: a second one would take the first one's addresses for somebody else's, and
//! publish and write down a failure over a VM that is well.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::StepError;
use crate::files::private_dir;

/// A boot that was told to stop stops its processes first, and one that was killed may have a child that has not
/// become another program yet.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
const LOOK: Duration = Duration::from_millis(50);
/// Locked while a boot works with the disk. The system takes the lock back however that boot ends.
const NAME: &str = "boot.lock";

/// The right to a disk, until it is dropped. `None` where the disk cannot be written: the boot's own step says that.
pub(crate) async fn claim(disk: &Path) -> Result<Option<File>, StepError> {
    let path = disk.join(NAME);
    let open = || {
        private_dir(disk)?;
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let Ok(mut file) = open() else { return Ok(None) };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::Error(_)) => return Ok(None),
            Err(std::fs::TryLockError::WouldBlock) if started.elapsed() > PATIENCE => {
                let who = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(StepError::process(
                    format!("{}: process {} boots this VM already", path.display(), who.trim()),
                    "leave it to that one (SIGHUP makes it read its context again), or stop it first",
                ));
            }
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
        }
    }
    // Only for the words above.
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_is_for_one_boot_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let held = claim(&disk).await.unwrap().unwrap();
        let why = claim(&disk).await.unwrap_err();
        assert!(why.text.contains(&std::process::id().to_string()), "{why}");
        drop(held);
        assert!(claim(&disk).await.unwrap().is_some());
        assert!(claim(Path::new("/proc/nowhere")).await.unwrap().is_none());
    }
}
