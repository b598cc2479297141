//! The operator's state directory: the root CA, the operator's certificate, inventory, journal, lock.
//!
//! Private from the first byte (0700, files 0600). What is here and not in the zones is the root CA. The rest is made
//! again or found in the zones: operator's certificate, where the hub is; or is a record of what was done.

mod journal;
mod keys;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use onefed_appliance::files::{Readers, private_dir, read_if_there, write};
use serde::{Deserialize, Serialize};

pub(crate) use self::keys::Authority;

use crate::failure::{Exit, Failure};

/// The version of the inventory file.
const SCHEMA_VERSION: u32 = 1;

/// The state directory of one federation.
#[derive(Clone)]
pub(crate) struct State {
    dir: PathBuf,
}

/// What was deployed, as far as later verbs need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inventory {
    pub(crate) schema_version: u32,
    pub(crate) federation: String,
    /// Where the hub is.
    pub(crate) hub: HubAddress,
}

/// The hub, as sites and operators reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HubAddress {
    /// An address or a DNS name.
    pub(crate) host: String,
    pub(crate) fleet_port: u16,
    pub(crate) admin_port: u16,
}

impl Inventory {
    pub(crate) fn new(federation: &str, hub: HubAddress) -> Self {
        Self { schema_version: SCHEMA_VERSION, federation: federation.to_owned(), hub }
    }
}

/// Held while a verb changes something; released when dropped, also by a crash.
pub(crate) struct Lock {
    _file: File,
}

impl State {
    /// Opens the directory. It need not be there: it is made by the first verb that takes the lock, and not by one
    /// that only looks.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        if dir.exists() && !dir.is_dir() {
            let text = format!("{} is not a directory, so it cannot hold the state", dir.display());
            return Err(Failure::new(Exit::BadInput, "state", text).hint("name a directory with --state"));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// As [`State::open`], for the verbs that read a plan: refuses the directory of another federation, whose keys and
    /// hub must not be mixed up with this one's.
    pub(crate) fn open_for(dir: &Path, federation: &str) -> Result<Self, Failure> {
        let state = Self::open(dir)?;
        match state.owner()?.filter(|owner| owner != federation) {
            None => Ok(state),
            Some(owner) => {
                let text = format!(
                    "{} holds the state of federation {owner}, but the plan file is of {federation}",
                    dir.display()
                );
                Err(Failure::new(Exit::BadInput, "other-federation", text)
                    .hint("name another plan file with -f, or another state directory with --state"))
            }
        }
    }

    /// The federation that the directory belongs to: that of its CA.
    fn owner(&self) -> Result<Option<String>, Failure> {
        if let Some(name) = self.read(&self.dir.join("federation"))? {
            return Ok(Some(name.trim().to_owned()));
        }
        match self.inventory()? {
            Some(known) => Ok(Some(known.federation)),
            None => self.owner_by_certificate(),
        }
    }

    /// Takes the lock, or says who has it. Makes the directory if it is not there.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        private_dir(&self.dir).map_err(|why| Failure::file(&self.dir, why))?;
        let path = self.dir.join("lock");
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let mut file = file.map_err(|why| Failure::file(&path, why))?;
        if file.try_lock().is_err() {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let text = format!("another onefed is at work on this federation ({})", holder.trim());
            return Err(Failure::new(Exit::TryAgain, "locked", text).hint("wait until it has ended"));
        }
        // Who holds it, for the one that comes second. The lock itself does not depend on this text.
        let _ = file.set_len(0);
        let _ = writeln!(file, "process {}", std::process::id());
        sweep(&self.dir);
        Ok(Lock { _file: file })
    }

    /// What was deployed.
    pub(crate) fn inventory(&self) -> Result<Option<Inventory>, Failure> {
        let path = self.dir.join("inventory.json");
        let Some(text) = self.read(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|why| Failure::file(&path, why))
    }

    pub(crate) fn deployed(&self) -> Result<Inventory, Failure> {
        self.inventory()?.ok_or_else(|| not_deployed(&self.dir))
    }

    pub(crate) fn save_inventory(&self, inventory: &Inventory) -> Result<(), Failure> {
        let path = self.dir.join("inventory.json");
        let json = serde_json::to_string_pretty(inventory).map_err(|why| Failure::file(&path, why))?;
        self.write(&path, &json, Readers::Owner)
    }

    /// Forgets where the hub was.
    pub(crate) fn forget_inventory(&self) {
        let _ = std::fs::remove_file(self.dir.join("inventory.json"));
    }

    /// The zones in which there may be something of the federation, so that one that leaves the plan file is not
    /// forgotten.
    pub(crate) fn used_zones(&self) -> Result<BTreeSet<String>, Failure> {
        let text = self.read(&self.dir.join("zones"))?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Notes the zones in which there may be something from now on.
    pub(crate) fn use_zones(&self, zones: &BTreeSet<String>) -> Result<(), Failure> {
        let path = self.dir.join("zones");
        if zones.is_empty() {
            let _ = std::fs::remove_file(&path);
            return Ok(());
        }
        let text: String = zones.iter().map(|zone| format!("{zone}\n")).collect();
        self.write(&path, &text, Readers::Owner)
    }

    /// A directory for short-lived files of one process.
    pub(crate) fn scratch(&self) -> Result<Scratch, Failure> {
        let dir = self.dir.join(format!("tmp-{}", std::process::id()));
        private_dir(&dir).map_err(|why| Failure::file(&dir, why))?;
        Ok(Scratch(dir))
    }

    fn read(&self, path: &Path) -> Result<Option<String>, Failure> {
        read_if_there(path).map_err(|why| Failure::file(path, why))
    }

    fn write(&self, path: &Path, text: &str, readers: Readers) -> Result<(), Failure> {
        write(path, text.as_bytes(), readers).map_err(|why| Failure::file(path, why))
    }
}

/// Removes the short-lived directories of processes that are gone.
fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("tmp-")?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn not_deployed(dir: &Path) -> Failure {
    let text = format!("no federation has been deployed from {}", dir.display());
    Failure::new(Exit::Configuration, "not-deployed", text)
        .hint("run `onefed apply` first, or name another state directory with --state")
}

/// A directory that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
