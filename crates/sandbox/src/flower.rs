//! Which Python environment with Flower a VM finds: what stands for its image.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::SandboxError;
use crate::files::failed;
use crate::zone::Zone;

/// The directory for a VM with these variables in its context.
pub type ForContext = dyn Fn(&BTreeMap<String, String>) -> PathBuf + Send + Sync;

/// Where VMs find Flower.
#[derive(Clone)]
pub enum FlowerDirs {
    /// All of them here, whatever release their context asks for, as an image has one release.
    One(PathBuf),
    /// Each where this says, which is told the VM's context. It is called on a thread that may wait: an environment may be
    /// made there and then, for a VM that runs Flower.
    Each(Arc<ForContext>),
}

impl FlowerDirs {
    /// The directory for a VM, which is in BOOT for as long as this takes.
    pub(crate) async fn of(&self, zone: &Zone, vm: u32) -> Result<PathBuf, SandboxError> {
        let dir = match self {
            Self::One(dir) => dir.clone(),
            Self::Each(choose) => {
                let context = zone.lock().vms.get(&vm).map(|vm| vm.context.clone()).unwrap_or_default();
                let choose = choose.clone();
                let chosen = tokio::task::spawn_blocking(move || choose(&context)).await;
                chosen.map_err(|why| SandboxError::Config(format!("no Flower for VM {vm}: {why}")))?
            }
        };
        // The VM's process has a directory of its own.
        std::path::absolute(&dir).map_err(failed("cannot find", &dir))
    }
}

impl fmt::Debug for FlowerDirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(dir) => f.debug_tuple("One").field(dir).finish(),
            Self::Each(_) => f.write_str("Each"),
        }
    }
}
