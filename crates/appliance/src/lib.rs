//! The boot of a VM: from its context to files, processes, publications and health.
//!
//! [`boot`] runs a list of named steps. Each either does its work or fails with a code, a text and a hint; a failure
//! is published. Children of the boot end with it; units of systemd stay for the next one. After the last step the VM says READY, and the [manager] keeps
//! its processes running. Booting again, after a crash, a reboot or with another context, applies only differences.
//!
//! [manager]: crate::Machine::units

pub mod authority;
mod boot;
mod claim;
mod discovery;
mod error;
pub mod files;
mod flower;
mod foreground;
mod health;
mod machine;
mod manager;
mod node_key;
mod process;
mod publication;
mod record;
mod roles;
mod service;
mod steps;
mod supervisor;
mod systemd;
mod tcp_buffers;
#[cfg(test)]
mod testing;
mod tls;

pub use boot::{Outcome, boot};
pub use error::StepError;
pub use health::health;
pub use machine::Machine;
pub use process::{HubFile, SpokeFile, TlsFiles, exec_child, run_hub, run_spoke};
pub use publication::attribute;
pub use tcp_buffers::raise_tcp_buffers;
