//! What the boot writes down about itself for those who come later: `onefed health`, and the next boot.

use std::path::{Path, PathBuf};

use onefed_flower::Transport;
use serde::{Deserialize, Serialize};

use crate::StepError;
use crate::files::{Readers, read_if_there, write};

/// The state of a VM's boot, as its disk says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Which boot of this disk it was.
    pub(crate) generation: u64,
    /// Process id of that boot.
    pub(crate) pid: u32,
    /// How far it is.
    pub(crate) state: State,
    /// The questions that tell whether the VM does its work; none before its processes were started.
    pub(crate) health: Option<HealthCheck>,
}

/// How far a boot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub(crate) enum State {
    /// Its steps are under way.
    Starting,
    /// It has said READY.
    Ready,
    /// It was ready, and something keeps ending since.
    Degraded {
        /// A code of [`StepError`].
        code: String,
        /// What and why.
        text: String,
    },
    /// A step failed.
    Failed {
        /// A code of [`StepError`].
        code: String,
        /// What and why.
        text: String,
    },
}

/// What to ask whom to know that a VM does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthCheck {
    /// The role, as in the context.
    pub(crate) role: String,
    /// Who to ask: the hub at its published address, or the spoke.
    pub(crate) host: String,
    /// What its certificate names, where that is not the host.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Its port.
    pub(crate) port: u16,
    /// The CA that its certificate must have; none for plaintext.
    pub(crate) ca: Option<PathBuf>,
    /// The transport of the Fleet API behind a hub: `grpc` or `http`.
    pub(crate) grpc: bool,
    /// Which node must be registered and alive, on a SuperNode's VM.
    pub(crate) node: Option<Node>,
}

/// How a spoke's node is told from the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Node {
    /// By the fingerprint of the key that it signs with, `SHA256:…`.
    Key(String),
    /// By its node id: where it signs with a key that Flower makes for itself.
    Id(u64),
    /// It is the only one: an embedded spoke without TLS.
    Only,
}

impl HealthCheck {
    pub(crate) fn transport(&self) -> Transport {
        if self.grpc { Transport::Grpc } else { Transport::Http }
    }
}

impl Record {
    pub(crate) fn write(&self, disk: &Path) -> Result<(), StepError> {
        let path = path(disk);
        let json = serde_json::to_vec_pretty(self).map_err(|why| StepError::file(&path, &why.into()))?;
        write(&path, &json, Readers::Owner).map_err(|why| StepError::file(&path, &why))
    }

    /// Reads what the last boot wrote; `None` where there was none.
    pub(crate) fn read(disk: &Path) -> Result<Option<Self>, StepError> {
        let path = path(disk);
        let text = read_if_there(&path).map_err(|why| StepError::file(&path, &why))?;
        text.map(|text| serde_json::from_str(&text).map_err(|why| StepError::file(&path, &why.into())))
            .transpose()
    }
}

fn path(disk: &Path) -> PathBuf {
    disk.join("boot.json")
}
