//! The key with which this VM's SuperNode signs: born here, kept on the data disk, so that a rebooted SuperNode is the
//! same node.

use std::path::PathBuf;

use onefed_trust::{NodeKey, SecretPem};

use crate::files::{Readers, private_dir, read_if_there, write};
use crate::{Machine, StepError};

/// A SuperNode's key.
pub(crate) struct Kept {
    /// The private key, a file of its own (0600), as Flower reads it.
    pub(crate) private: PathBuf,
    /// The public key, an OpenSSH line.
    pub(crate) public: String,
    /// Its fingerprint, as `ssh-keygen -l` shows it.
    pub(crate) fingerprint: String,
    /// Whether this boot made it.
    pub(crate) made: bool,
}

/// The key that is there, or a new one. One that cannot be read is an error: a new key would be a new node, with the
/// old one's data but none of its history.
pub(crate) fn keep(machine: &Machine) -> Result<Kept, StepError> {
    let dir = machine.node_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let private = dir.join("supernode.key");
    let there = read_if_there(&private).map_err(|why| StepError::file(&private, &why))?;
    let made = there.is_none();
    let key = match there {
        Some(pem) => NodeKey::from_pem(&SecretPem::new(pem)).map_err(|why| {
            StepError::certificate(
                format!("{}: {why}", private.display()),
                "restore the file, or remove it: then this VM becomes a new node",
            )
        })?,
        None => {
            let key = NodeKey::generate()?;
            write(&private, key.private_pem().expose().as_bytes(), Readers::Owner)
                .map_err(|why| StepError::file(&private, &why))?;
            key
        }
    };
    Ok(Kept { private, public: key.public().to_string(), fingerprint: key.public().fingerprint(), made })
}
