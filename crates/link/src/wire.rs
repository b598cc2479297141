//! What hub and spoke say to each other beside Fleet calls, and where.
//!
//! The first request of a spoke is the hello. What comes after is in [`crate::pair`].

use serde::{Deserialize, Serialize};

/// The version of this protocol. Ends with different versions refuse each other by name.
pub const PROTOCOL: u32 = 2;
/// Where the hello goes.
pub const HELLO_PATH: &str = "/onefed/v1/hello";
/// Where a SuperNode's VM asks its spoke for the state of line and nodes.
pub const SPOKE_PATH: &str = "/onefed/v1/spoke";
/// Where an operator asks the hub for its state (admin endpoint).
pub const STATUS_PATH: &str = "/onefed/v1/status";
/// Where Prometheus reads the same as metrics (admin endpoint; [`crate::metrics`]).
pub const METRICS_PATH: &str = "/metrics";

/// Where an operator admits a SuperNode ([`AdmitNode`]; admin endpoint).
pub const REGISTER_NODE_PATH: &str = "/onefed/v1/nodes/register";
/// Where an operator withdraws one ([`WithdrawNode`]; admin endpoint).
pub const UNREGISTER_NODE_PATH: &str = "/onefed/v1/nodes/unregister";

/// Asks for a SuperNode to be admitted by its public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitNode {
    /// The OpenSSH line, `ecdsa-sha2-nistp384 AAAA…`.
    pub public_key: String,
}

/// The answer to [`AdmitNode`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAdmitted {
    /// Flower's node id, the same for the same key. In JSON a text, as everywhere.
    #[serde(with = "crate::status::as_text")]
    pub node_id: u64,
    /// Whether this request registered it; `false` where it was before.
    pub new: bool,
}

/// Asks for a SuperNode to be withdrawn for good: its key is spent with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawNode {
    /// Flower's node id.
    #[serde(with = "crate::status::as_text")]
    pub node_id: u64,
}

/// The answer to [`WithdrawNode`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWithdrawn {
    /// Whether there was such a node; `false` where it had been withdrawn before, or never was.
    pub was_there: bool,
}

/// What a spoke says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the spoke.
    pub protocol: u32,
    /// The federation that the spoke was deployed for.
    pub federation: String,
    /// Its site.
    pub site: String,
    /// Which spoke of the site: the id of its VM.
    pub spoke: String,
    /// The Flower release at the site.
    pub flower: String,
    /// The spoke's PING interval, in milliseconds.
    pub keepalive_time_ms: u64,
    /// The spoke's PING timeout, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// How often the spoke has been started. Of two with the same name the one that started later is the right one.
    #[serde(default)]
    pub epoch: u64,
}

/// What the hub answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`] of the hub.
    pub protocol: u32,
    /// The Flower release of the SuperLink.
    pub flower: String,
    /// The hub's PING interval, in milliseconds.
    pub keepalive_time_ms: u64,
    /// The hub's PING timeout, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// The shortest PING interval that the hub takes, in milliseconds. A spoke with a shorter one uses this instead, and
    /// says hello again.
    #[serde(default)]
    pub keepalive_least_ms: u64,
    /// How long a cut of the line is hidden from Flower, in milliseconds.
    #[serde(default)]
    pub hold_ms: u64,
    /// What joins the bulk connection to this one. A secret. Empty for a spoke that has to say hello again.
    #[serde(default)]
    pub session: String,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("flower", &self.flower)
            .field("keepalive_least_ms", &self.keepalive_least_ms)
            .field("hold_ms", &self.hold_ms)
            .finish_non_exhaustive()
    }
}
