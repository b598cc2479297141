//! All knowledge of Flower: versions, ports, command lines, Fleet operations in both transports, runs.

mod version;

pub use version::{DEFAULT_RELEASE, Release, Transport, Version, VersionError};
