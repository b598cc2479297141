//! What hub and spoke tell about themselves, as JSON. Read by `onefed status` and by a VM's readiness check.

use serde::{Deserialize, Serialize};

/// The version of these documents.
pub const SCHEMA_VERSION: u32 = 1;

/// The state of a hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HubStatus {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The federation.
    pub federation: String,
    /// The Flower release of the SuperLink.
    pub flower: String,
    /// Who may be a site, `FL_SITE_ENROLMENT`; empty from a hub that does not say.
    #[serde(default)]
    pub site_enrolment: String,
    /// Whether SuperLink answers on its loopback.
    pub superlink: SuperLinkStatus,
    /// Days until the hub's certificate ends.
    pub certificate_days: i64,
    /// Seconds since the hub started.
    pub uptime_seconds: u64,
    /// One entry per spoke that has ever said hello, by site and spoke.
    pub spokes: Vec<SpokeLine>,
    /// Every node that came through the hub, by node id.
    pub nodes: Vec<NodeStatus>,
    /// Runs, newest first. Empty where SuperLink does not answer.
    pub runs: Vec<RunStatus>,
    /// Requests at the Fleet listener that were not one of the twelve operations.
    pub refused: u64,
    /// SuperNodes that SuperLink did not let come online, and have not come online since.
    #[serde(default)]
    pub refused_nodes: Vec<RefusedNode>,
    /// Spokes whose hello the hub refused, and that it has not taken in since.
    #[serde(default)]
    pub refused_spokes: Vec<RefusedSpoke>,
}

/// Whether SuperLink is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "why")]
pub enum SuperLinkStatus {
    /// It answers.
    Up,
    /// It does not, and why.
    Down(String),
}

/// One spoke's line, seen from the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpokeLine {
    /// The site.
    pub site: String,
    /// The spoke within the site.
    pub spoke: String,
    /// Whether the line is up now.
    pub connected: bool,
    /// Seconds since it came up, or since it went down.
    pub since_seconds: u64,
    /// The spoke's address as the hub sees it.
    pub peer: String,
    /// Bytes on the wire from the hub to the spoke, over all its connections.
    pub bytes_down: u64,
    /// Bytes on the wire from the spoke to the hub, over all its connections.
    pub bytes_up: u64,
    /// Bytes that the codec has kept off the wire to the spoke, since the hub's start.
    #[serde(default)]
    pub saved_down: u64,
    /// Bytes that the codec has kept off the wire from the spoke, since the hub's start.
    #[serde(default)]
    pub saved_up: u64,
    /// Fleet calls answered.
    pub calls: u64,
    /// PINGs that the hub sent on the present connection.
    pub pings_sent: u64,
    /// Answers to them.
    pub pings_acked: u64,
    /// Seconds since the last answer, if there was one.
    pub ping_age_seconds: Option<u64>,
    /// Round-trip time of the last PING in milliseconds, if there was one.
    pub rtt_ms: Option<f64>,
}

/// One SuperNode, as its Fleet calls show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Flower's node id. In JSON a text: it exceeds what JSON numbers hold everywhere.
    #[serde(with = "as_text")]
    pub node_id: u64,
    /// The site that its calls come from; empty for one that came to the hub without a spoke.
    pub site: String,
    /// Registered, and a heartbeat accepted within Flower's patience (60 s).
    pub online: bool,
    /// Seconds since SuperLink last accepted a sign of life.
    pub seen_seconds: u64,
    /// The fingerprint of its public key, `SHA256:…` as `ssh-keygen -l` shows it; `None` where that is not on P-384.
    #[serde(default)]
    pub key: Option<String>,
}

/// A SuperNode that asked to come online and was refused by SuperLink. It goes on asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedNode {
    /// The fingerprint of its public key, as in [`NodeStatus`].
    pub key: String,
    /// The site that it asks from; empty for one that came to the hub without a spoke.
    pub site: String,
    /// SuperLink's words and status.
    pub why: String,
    /// Seconds since it last asked.
    pub seen_seconds: u64,
}

/// A spoke that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSpoke {
    /// Its site, as it says.
    pub site: String,
    /// Which spoke of the site, as it says.
    pub spoke: String,
    /// Its address as the hub sees it.
    pub peer: String,
    /// What it was told.
    pub why: String,
    /// Seconds since it last asked.
    pub seen_seconds: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Flower's run id. In JSON a text, as the node id.
    #[serde(with = "as_text")]
    pub run_id: u64,
    /// The app, `publisher/name==version`.
    pub app: String,
    /// Flower's status, `finished:completed` and the like.
    pub status: String,
    /// The last server round whose messages went out through the hub, where the app's strategy names rounds.
    pub round: Option<u64>,
    /// Flower's details, for instance why it failed.
    pub details: String,
}

/// The state of a spoke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpokeStatus {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The site.
    pub site: String,
    /// Whether the line to the hub is up.
    pub connected: bool,
    /// Why not, when it is not.
    pub why: Option<String>,
    /// The nodes whose calls came through this spoke.
    pub nodes: Vec<NodeStatus>,
    /// SuperNodes at this spoke that SuperLink did not let come online, and have not come online since.
    #[serde(default)]
    pub refused: Vec<RefusedNode>,
}

/// What a spoke knows of the SuperNode with a given key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeByKey {
    /// Registered, and a sign of life accepted within Flower's patience.
    Online {
        /// Flower's node id.
        node_id: u64,
        /// Seconds since that sign of life. Whoever has just started the SuperNode anew must see one that is younger
        /// than its process: the killed one counts as online for a minute.
        seen_seconds: u64,
    },
    /// It was online once.
    Offline {
        /// Flower's node id.
        node_id: u64,
    },
    /// SuperLink does not let it come online, for instance because its key is not registered yet. Its words.
    Refused(String),
    /// It has not asked, or no answer came back: see [`SpokeStatus::why`].
    Unknown,
}

impl SpokeStatus {
    /// What is known of the SuperNode whose key has this fingerprint (`SHA256:…`). A refusal is always newer than the
    /// last sign of life, which would have ended it: for a minute after a SuperNode was killed, SuperLink takes it for
    /// online and refuses the one that was started in its place.
    pub fn node_by_key(&self, fingerprint: &str) -> NodeByKey {
        if let Some(refused) = self.refused.iter().find(|node| node.key == fingerprint) {
            return NodeByKey::Refused(refused.why.clone());
        }
        match self.nodes.iter().find(|node| node.key.as_deref() == Some(fingerprint)) {
            Some(&NodeStatus { online: true, node_id, seen_seconds, .. }) => {
                NodeByKey::Online { node_id, seen_seconds }
            }
            Some(&NodeStatus { node_id, .. }) => NodeByKey::Offline { node_id },
            None => NodeByKey::Unknown,
        }
    }
}

/// 64-bit ids as texts.
pub(crate) mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
