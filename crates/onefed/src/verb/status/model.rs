//! What a status is made of: the JSON document, and what the screen is drawn from.

use onefed_link::status::HubStatus;
use serde::Serialize;

/// The state of a federation.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(super) schema_version: u32,
    pub(super) federation: String,
    pub(super) flower: String,
    pub(super) zones: Vec<ZoneLine>,
    pub(super) services: Vec<ServiceLine>,
    pub(super) sites: Vec<SiteLine>,
    /// Where the hub was asked, where that is known.
    pub(super) hub_address: Option<AskedHub>,
    /// The hub's own words, or why they are unknown.
    pub(super) hub: Known<HubStatus>,
    pub(super) certificates: Vec<CertificateLine>,
    /// What is open, one sentence each.
    pub(super) open: Vec<String>,
    /// Everything that is missing, broken or unknown. What is not in here is well.
    pub(super) problems: Vec<Problem>,
    /// There is no problem.
    pub(crate) healthy: bool,
}

/// A value that could be asked for, or the cause why it could not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Known<T> {
    Known(T),
    Unknown(String),
}

/// A zone of the plan.
#[derive(Debug, Serialize)]
pub(super) struct ZoneLine {
    pub(super) zone: String,
    /// OpenNebula's version; `None` where it does not say.
    pub(super) version: Option<String>,
    /// Its version is one that onefed can work with.
    pub(super) supported: bool,
    /// Why the version is not known.
    pub(super) why: Option<String>,
    /// Why OneFlow does not say which services there are.
    pub(super) oneflow_why: Option<String>,
}

/// A service of the federation and its VMs.
#[derive(Debug, Serialize)]
pub(super) struct ServiceLine {
    pub(super) zone: String,
    pub(super) name: String,
    pub(super) id: Option<u32>,
    /// OneFlow's state, `absent`, or `unknown`.
    pub(super) state: String,
    /// Why it is unknown.
    pub(super) why: Option<String>,
    /// It was made from what the plan file says now; `None` where there is no service to compare.
    pub(super) as_planned: Option<bool>,
    /// The ids of further services of this name, which should not be there.
    pub(super) doubles: Vec<u32>,
    pub(super) roles: Vec<RoleLine>,
    pub(super) vms: Vec<VmLine>,
}

/// A role of a service.
#[derive(Debug, Serialize)]
pub(super) struct RoleLine {
    pub(super) role: String,
    /// How many VMs there should be: as OneFlow was told to scale it, and never fewer than the plan's.
    pub(super) expected: u32,
    /// How many VMs OneFlow has; `None` where it does not say.
    pub(super) vms: Option<u32>,
}

/// One VM.
#[derive(Debug, Serialize)]
pub(super) struct VmLine {
    /// `None` where OneFlow itself does not know.
    pub(super) id: Option<u32>,
    pub(super) role: String,
    /// What OpenNebula says of it, or `unknown`.
    pub(super) state: String,
    /// What exactly, while its state is ACTIVE.
    pub(super) lcm: Option<String>,
    /// What it says of itself, or why it is unknown.
    pub(super) says: String,
    /// What went wrong in it, in its own words.
    pub(super) error: Option<String>,
    pub(super) address: Option<String>,
    pub(super) node_id: Option<String>,
    /// The certificate that `apply` has signed for it, in PEM.
    #[serde(skip)]
    pub(super) certificate: Option<String>,
}

/// A site's link and SuperNodes.
#[derive(Debug, Serialize)]
pub(super) struct SiteLine {
    pub(super) site: String,
    /// The release that the plan gives it.
    pub(super) flower: String,
    pub(super) expected: u32,
    /// `None` where the hub does not say.
    pub(super) online: Option<u32>,
    pub(super) spokes_expected: u32,
    pub(super) spokes_connected: Option<u32>,
}

/// The admin endpoint that was asked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AskedHub {
    pub(super) host: String,
    pub(super) port: u16,
    /// Who says that it is there.
    pub(super) from: &'static str,
}

/// A certificate and how long it lasts.
#[derive(Debug, Serialize)]
pub(super) struct CertificateLine {
    /// Whose it is.
    pub(super) of: String,
    /// Days until it ends; negative when it has. `None` where it cannot be read.
    pub(super) days: Option<i64>,
}

/// One reason why not all is well.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub(super) kind: ProblemKind,
    pub(super) what: String,
}

/// Whether something is known to be wrong, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProblemKind {
    Broken,
    Unknown,
}

impl VmLine {
    /// Its id, or a question mark.
    pub(super) fn number(&self) -> String {
        self.id.map_or("?".to_owned(), |id| id.to_string())
    }
}
