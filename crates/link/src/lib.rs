//! Hub and spoke: the WAN hop of Flower's Fleet API.
//!
//! A spoke stands at a training site and speaks Flower's Fleet API to the SuperNodes there. The hub stands in the
//! SuperLink's VM and speaks the same API to SuperLink over loopback. Between them is a pair of connections ([`pair`]), TLS
//! 1.3 and HTTP/2, control with PINGs from both ends also while it is idle. The hub shows a certificate, the spoke none.
//! Neither end is a TCP forwarder: each ends the transport and passes on [`FleetCall`](onefed_flower::fleet::FleetCall)s, the twelve Fleet operations and nothing else.
//!
//! No PING ever goes to a SuperLink: it would close the connection ([`superlink`]).

pub mod admin;
mod admission;
mod backoff;
pub mod codec;
pub mod connect;
mod cuts;
mod dial;
pub mod engine;
mod error;
mod fleet;
pub mod hub;
pub mod io;
mod keepalive;
mod ledger;
mod listen;
pub mod metrics;
pub mod pair;
pub mod probe;
mod refused;
mod shell;
pub mod spoke;
pub mod stats;
pub mod status;
pub mod store;
pub mod superlink;
pub mod unknown;
pub mod wire;

pub use error::{Error, Result};
pub use keepalive::KeepAlive;
pub use pair::{Dialler, LineConfig};
pub use shell::state::Disk;
