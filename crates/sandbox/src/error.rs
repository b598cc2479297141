//! Why a sandbox cannot run.

use std::{io, net::Ipv4Addr, path::PathBuf};

/// What keeps a sandbox from starting or ending well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The list of zones or the net octet cannot be used.
    #[error("sandbox: {0}")]
    Config(String),
    /// Another sandbox runs in that directory.
    #[error(
        "another sandbox is running in {0}: stop it first (onefed sandbox down) or use another directory"
    )]
    Locked(PathBuf),
    /// An address or port cannot be had.
    #[error(
        "sandbox zone {zone}: cannot listen on {address}:{port} ({service}): {source}. Choose another --net"
    )]
    Address {
        /// The zone.
        zone: String,
        /// XML-RPC, OneFlow or OneGate.
        service: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory of the sandbox cannot be used.
    #[error("sandbox: {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The program that VMs run is not there.
    #[error("sandbox: {} is not a program that VMs could run", .0.display())]
    Program(PathBuf),
    /// Processes of VMs did not end.
    #[error("sandbox {}: processes {pids:?} did not end when killed: look at them with ps", dir.display())]
    Leftover {
        /// The sandbox.
        dir: PathBuf,
        /// Their ids.
        pids: Vec<u32>,
    },
}
