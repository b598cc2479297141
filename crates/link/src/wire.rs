//! What hub and spoke say to each other beside Fleet calls, and where.
//!
//! A line is one TLS 1.3 + HTTP/2 connection. Its first request is the hello; after the answer it carries Fleet
//! calls under Flower's own paths.

use serde::{Deserialize, Serialize};

/// The version of this protocol. Ends with different versions refuse each other by name.
pub const PROTOCOL: u32 = 1;
/// Where the hello goes.
pub const HELLO_PATH: &str = "/onefed/v1/hello";
/// Where a SuperNode's VM asks its spoke for the state of line and nodes.
pub const SPOKE_PATH: &str = "/onefed/v1/spoke";
/// Where an operator asks the hub for its state (admin endpoint).
pub const STATUS_PATH: &str = "/onefed/v1/status";

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
}

/// What the hub answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`] of the hub.
    pub protocol: u32,
    /// The Flower release of the SuperLink.
    pub flower: String,
    /// The hub's PING interval, in milliseconds.
    pub keepalive_time_ms: u64,
    /// The hub's PING timeout, in milliseconds.
    pub keepalive_timeout_ms: u64,
}
