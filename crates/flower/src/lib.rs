//! All knowledge of Flower: versions, ports, command lines, Fleet operations in both transports, runs.

pub mod bridge;
pub mod command;
pub mod container;
pub mod control;
mod environment;
pub mod fleet;
pub mod messages;
pub mod objects;
mod operation;
pub mod run_log;
pub mod signature;
pub mod uncopied;
mod version;

pub use environment::{Environment, EnvironmentError};
pub use operation::Operation;
pub use version::{DEFAULT_RELEASE, Release, Transport, Version, VersionError};
