//! What hub and spoke tell about themselves, as JSON. Read by `onefed status` and by a VM's readiness check.

use serde::{Deserialize, Serialize};

use crate::stats::SpokeStats;
use crate::unknown::UnknownOperation;

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
    /// What keeps the hub from serving spokes, and what helps: it cannot write its journal, for instance.
    #[serde(default)]
    pub trouble: Option<String>,
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
    /// Fleet operations that SuperNodes without a spoke asked for, and that this release does not know.
    #[serde(default)]
    pub unknown: Vec<UnknownOperation>,
    /// What the hub has done and has in hand, over all spokes; `None` from a hub that does not say.
    #[serde(default)]
    pub link: Option<HubLink>,
}

/// What a hub has done for its spokes since it started, and what it has in hand. Counts, if not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HubLink {
    /// Whether its disk has room. If not, calls are passed through one by one, and no cut is hidden.
    pub room: bool,
    /// For how many seconds a site's nodes are kept alive without it, `FL_LINK_HOLD`.
    pub hold_seconds: u64,
    /// Calls that spokes passed on.
    pub calls: u64,
    /// Calls that came a second time, and were not made a second time.
    pub repeated: u64,
    /// Messages pulled from SuperLink.
    pub messages: u64,
    /// Objects pulled from SuperLink, each once for all sites.
    pub objects_pulled: u64,
    /// Bytes of their content.
    pub content_pulled: u64,
    /// Objects that were on the hub's disk when a message named them.
    pub objects_reused: u64,
    /// Replies that SuperLink has.
    pub replies: u64,
    /// Push sessions that had to be begun again.
    pub sessions_again: u64,
    /// Nodes that were kept alive in a cut, each time counted.
    pub holds: u64,
    /// Messages that may have been lost next to SuperLink, or that a SuperNode took and never answered; the ServerApp was
    /// told by taking the node offline for a moment.
    pub suspected: u64,
    /// Replies and messages that came to nothing, each with a line in the hub's log.
    pub given_up: u64,
    /// Objects that a spoke asked for and that no message of it names.
    pub refused_wants: u64,
    /// Calls that were put off since their spoke had not said that earlier answers arrived.
    pub held_back: u64,
    /// Messages that their SuperNodes have not confirmed.
    pub open_messages: u64,
    /// Replies that SuperLink does not have yet.
    pub open_replies: u64,
    /// Calls of spokes that may come again: under way, or with an answer that is kept until it has arrived.
    pub kept_calls: u64,
    /// What these take, in bytes.
    pub kept_call_bytes: u64,
    /// Bytes of objects on its disk.
    pub disk_bytes: u64,
    /// Of these, needed by messages and replies under way.
    pub disk_needed_bytes: u64,
    /// What objects may take, `FL_LINK_DISK`.
    pub disk_limit_bytes: u64,
    /// Objects removed to make room.
    pub evictions: u64,
    /// Objects found damaged on the disk.
    pub damaged: u64,
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
    /// Why the line went down; empty while it is up.
    #[serde(default)]
    pub why: String,
    /// How often it went down.
    #[serde(default)]
    pub cuts: u64,
    /// From the hub to the spoke.
    #[serde(default)]
    pub down: Flow,
    /// From the spoke to the hub.
    #[serde(default)]
    pub up: Flow,
    /// Its nodes that the hub keeps alive at SuperLink although it is out of reach.
    #[serde(default)]
    pub held: u64,
    /// Seconds until the first of them is given up.
    #[serde(default)]
    pub held_seconds_left: Option<u64>,
    /// What the spoke last said of itself, and how many seconds ago; `None` before its first word.
    #[serde(default)]
    pub said: Option<Said>,
}

/// One direction of a line since the hub started, over all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Objects that crossed.
    pub objects: u64,
    /// Bytes of their content.
    pub content: u64,
    /// Bytes of content that did not have to cross, since the other end had them. Counted by the spoke since it started.
    pub saved_by_cache: u64,
    /// Bytes that coding kept off the wire. Counted down by the spoke since it started, up by the hub.
    pub saved_by_codec: u64,
}

/// What a spoke said of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// How many seconds ago.
    pub age_seconds: u64,
    /// What.
    #[serde(flatten)]
    pub stats: SpokeStats,
}

impl SpokeLine {
    /// How many of the bytes that had to get over were kept off the line, in per cent; `None` while that is nothing.
    pub fn saved_percent(&self) -> Option<f64> {
        let saved: u64 =
            [self.down, self.up].iter().map(|flow| flow.saved_by_cache + flow.saved_by_codec).sum();
        let all = saved + self.bytes_down + self.bytes_up;
        (saved > 0).then(|| 100.0 * saved as f64 / all as f64)
    }
}

/// One SuperNode, as its Fleet calls show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Flower's node id. In JSON a text: it exceeds what JSON numbers hold everywhere.
    #[serde(with = "as_text")]
    pub node_id: u64,
    /// The site that its calls come from; empty for one that came to the hub without a spoke.
    pub site: String,
    /// Registered, and a heartbeat accepted within Flower's patience: 60 s, longer while the hub keeps it alive.
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
    /// Whether the line to the hub is up and the spoke works.
    pub connected: bool,
    /// Why not, when it is not. Also what keeps the spoke itself from working, and what helps.
    pub why: Option<String>,
    /// The nodes whose calls came through this spoke.
    pub nodes: Vec<NodeStatus>,
    /// SuperNodes at this spoke that SuperLink did not let come online, and have not come online since.
    #[serde(default)]
    pub refused: Vec<RefusedNode>,
    /// What the spoke has done and has in hand.
    #[serde(default)]
    pub link: Option<SpokeStats>,
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
