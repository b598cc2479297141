//! What was found out about one zone.

use serde::{Serialize, Serializer};
use url::Url;

/// A zone as it presents itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Zone {
    /// Its name in the plan.
    pub(super) zone: String,
    /// Its name in OpenNebula.
    pub(super) opennebula_name: String,
    /// Its number in its federation.
    pub(super) id: Option<u32>,
    /// Its XML-RPC endpoint, as it can be used from here; `None` where there is none.
    #[serde(serialize_with = "text")]
    pub(super) endpoint: Option<Url>,
    /// Its OneFlow endpoint, answering or not.
    #[serde(serialize_with = "text")]
    pub(super) oneflow: Option<Url>,
    /// Whether OneFlow answers there.
    pub(super) oneflow_answers: bool,
    /// OpenNebula's version; `None` where it did not answer.
    pub(super) version: Option<String>,
    /// The version is one that onefed can work with.
    pub(super) supported: bool,
    /// The VM templates, networks and images that this login may use; `None` where the zone did not say.
    pub(super) templates: Option<Vec<Object>>,
    pub(super) networks: Option<Vec<Object>>,
    pub(super) images: Option<Vec<Object>>,
    /// The file with its login, where it was named on the command line.
    pub(super) auth: Option<String>,
    /// The file with the CA of its endpoints, where one was named.
    pub(super) ca: Option<String>,
    /// What somebody should know, in sentences.
    pub(super) notes: Vec<String>,
}

/// Something that a zone has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Object {
    pub(super) id: u32,
    pub(super) name: String,
}

fn text<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(Url::as_str).serialize(serializer)
}

impl Zone {
    /// A zone of which only names are known yet.
    pub(super) fn new(zone: String, opennebula_name: String, id: Option<u32>) -> Self {
        Self {
            zone,
            opennebula_name,
            id,
            endpoint: None,
            oneflow: None,
            oneflow_answers: false,
            version: None,
            supported: false,
            templates: None,
            networks: None,
            images: None,
            auth: None,
            ca: None,
            notes: Vec::new(),
        }
    }

    /// The names that somebody may call it by.
    pub(super) fn names(&self) -> [&str; 2] {
        [&self.zone, &self.opennebula_name]
    }

    /// Whether something can be deployed in it, as far as is known.
    pub(super) fn usable(&self) -> bool {
        self.supported && self.oneflow.is_some()
    }
}
