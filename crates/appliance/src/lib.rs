//! The boot of a VM: from its context to files, processes, publications and health.
//!
//! [`boot`] runs a list of named steps. Each either does its work or fails with a code, a text and a hint; a failure
//! is published and nothing half-started stays behind. After the last step the VM says READY and the supervisor keeps
//! its processes running.

mod boot;
mod certificate;
mod discovery;
mod error;
pub mod files;
mod health;
mod machine;
mod process;
mod publication;
mod roles;
mod supervisor;
#[allow(dead_code, reason = "until the boot's manager calls it")]
mod systemd;

pub use boot::{Outcome, boot};
pub use error::StepError;
pub use machine::Machine;
pub use process::{HubFile, SpokeFile, TlsFiles, exec_child, run_hub, run_spoke};
pub use publication::attribute;
