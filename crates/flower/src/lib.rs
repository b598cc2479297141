//! All knowledge of Flower: versions, ports, command lines, Fleet operations in both transports, runs.

pub mod fleet;
pub mod messages;
mod operation;
mod version;

pub use operation::Operation;
pub use version::{DEFAULT_RELEASE, Release, Transport, Version, VersionError};
