//! The operator's state directory: the root CA, the operator's certificate, enrolment keys, inventory, journal, lock.
//!
//! Private from the first byte (0700, files 0600). What is here and not in the zones: keys. The rest is a cache of
//! what the zones say, and a record of what was done.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onefed_appliance::files::{Readers, private_dir, read_if_there, write};
use onefed_trust::{CertificateInfo, ClientIdentity, ClientRole, EnrolKey, RootCa, SecretPem};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// The version of the inventory file.
const SCHEMA_VERSION: u32 = 1;

/// A client certificate with fewer days left is made again by the next `apply`.
const RENEW_BELOW_DAYS: i64 = 60;

/// The state directory of one federation.
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

/// A step in the journal: written before it is done, and after.
#[derive(Serialize)]
struct Entry<'a> {
    at: f64,
    phase: &'a str,
    step: &'a str,
    zone: &'a str,
    detail: &'a str,
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
        match self.read(&self.dir.join("federation"))? {
            Some(name) => Ok(Some(name.trim().to_owned())),
            None => Ok(self.inventory()?.map(|known| known.federation)),
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

    /// The federation's root CA, made at first use. Never made anew over a certificate that VMs have: a certificate
    /// without its key is an error.
    pub(crate) fn root(&self, federation: &str) -> Result<RootCa, Failure> {
        let (cert, key) = (self.dir.join("ca.pem"), self.dir.join("ca.key"));
        match (self.read(&cert)?, self.read(&key)?) {
            (Some(cert), Some(key)) => return Ok(RootCa::load(&cert, &SecretPem::new(key))?),
            (Some(_), None) => {
                let text = format!("{} is there, but its key {} is not", cert.display(), key.display());
                return Err(Failure::new(Exit::Configuration, "root-key-missing", text).hint(
                    "put the root key back for the time of `apply`; without it nothing can be signed",
                ));
            }
            // A key alone is left of a first run that was cut short before anybody got the certificate.
            (None, _) => {}
        }
        let root = RootCa::generate(federation, SystemTime::now())?;
        self.write(&self.dir.join("federation"), &format!("{federation}\n"), Readers::Owner)?;
        self.write(&key, root.key_pem().expose(), Readers::Owner)?;
        self.write(&cert, root.cert_pem(), Readers::All)?;
        Ok(root)
    }

    /// The CA's certificate, for those who do not sign.
    pub(crate) fn ca_pem(&self) -> Result<String, Failure> {
        let path = self.dir.join("ca.pem");
        self.read(&path)?.ok_or_else(|| not_deployed(&self.dir))
    }

    /// The operator's own client certificate, made at first use and again before it ends.
    pub(crate) fn operator(&self, root: &RootCa) -> Result<ClientIdentity, Failure> {
        if let Some(identity) = self.identity()? {
            let days = CertificateInfo::from_pem(&identity.cert_pem)?.days_left(SystemTime::now());
            if days >= RENEW_BELOW_DAYS {
                return Ok(identity);
            }
        }
        let identity = root.issue_client("operator", ClientRole::Operator, SystemTime::now())?;
        self.write(&self.dir.join("operator.key"), identity.key_pem.expose(), Readers::Owner)?;
        self.write(&self.dir.join("operator.pem"), &identity.cert_pem, Readers::All)?;
        Ok(identity)
    }

    /// The client certificate in this directory, if there is one: the operator's, or a user's.
    pub(crate) fn identity(&self) -> Result<Option<ClientIdentity>, Failure> {
        for role in [ClientRole::Operator, ClientRole::User] {
            let cert = self.read(&self.dir.join(format!("{}.pem", role.name())))?;
            let key = self.read(&self.dir.join(format!("{}.key", role.name())))?;
            if let Some((cert_pem, key)) = cert.zip(key) {
                return Ok(Some(ClientIdentity { cert_pem, key_pem: SecretPem::new(key) }));
            }
        }
        Ok(None)
    }

    /// A client certificate for the hub: the one in this directory, else one that the root key gives for the moment, so
    /// that the root key and its certificate are enough to look. Nothing is written.
    pub(crate) fn client(&self, federation: &str) -> Result<ClientIdentity, Failure> {
        if let Some(identity) = self.identity()? {
            return Ok(identity);
        }
        self.ca_pem()?;
        if self.dir.join("ca.key").exists() {
            return Ok(self.root(federation)?.issue_client(
                "operator",
                ClientRole::Operator,
                SystemTime::now(),
            )?);
        }
        let text = "there is no client certificate in the state directory";
        Err(Failure::new(Exit::Permission, "no-certificate", text)
            .hint("run `onefed apply`, which makes one"))
    }

    /// Makes a directory for a data scientist: the CA's certificate, a client certificate that reaches Flower's Control
    /// operations only, and where the hub is. No key of the operator is in it.
    pub(crate) fn hand_out(&self, name: &str, to: &Path) -> Result<(), Failure> {
        let inventory = self.deployed()?;
        let root = self.root(&inventory.federation)?;
        let identity = root.issue_client(name, ClientRole::User, SystemTime::now())?;
        if to.exists() {
            return Err(
                Failure::file(to, "is there already").hint("name a directory that does not exist yet")
            );
        }
        private_dir(to).map_err(|why| Failure::file(to, why))?;
        let theirs = Self::open(to)?;
        theirs.write(&to.join("user.key"), identity.key_pem.expose(), Readers::Owner)?;
        theirs.write(&to.join("user.pem"), &identity.cert_pem, Readers::All)?;
        theirs.write(&to.join("ca.pem"), root.cert_pem(), Readers::All)?;
        theirs.save_inventory(&inventory)
    }

    /// The enrolment key of a service, made at first use, so that an interrupted `apply` can go on.
    pub(crate) fn enrol_key(&self, service: &str) -> Result<EnrolKey, Failure> {
        let dir = self.dir.join("enrol");
        private_dir(&dir).map_err(|why| Failure::file(&dir, why))?;
        let path = dir.join(format!("{service}.key"));
        if let Some(text) = self.read(&path)? {
            return Ok(EnrolKey::from_text(text.trim()));
        }
        let key = EnrolKey::generate()?;
        self.write(&path, key.expose(), Readers::Owner)?;
        Ok(key)
    }

    /// Forgets the enrolment key of a service that is gone.
    pub(crate) fn forget_enrol_key(&self, service: &str) {
        let _ = std::fs::remove_file(self.dir.join("enrol").join(format!("{service}.key")));
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

    pub(crate) fn forget_inventory(&self) {
        let _ = std::fs::remove_file(self.dir.join("inventory.json"));
    }

    /// Notes a step before it is done (`begin`) and after (`done`, `failed`).
    pub(crate) fn journal(&self, phase: &str, zone: &str, step: &str, detail: &str) -> Result<(), Failure> {
        let path = self.dir.join("journal.jsonl");
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut line = serde_json::to_string(&Entry { at, phase, step, zone, detail })
            .map_err(|why| Failure::file(&path, why))?;
        line.push('\n');
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let written =
            file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()));
        written.map_err(|why| Failure::file(&path, why))
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
