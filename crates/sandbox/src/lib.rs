//! OpenNebula-compatible zones on one machine whose VMs run the real appliance.
//!
//! Each zone has XML-RPC, OneFlow and OneGate on loopback addresses of its own and answers as a real 7.4 does, refusals
//! included. A "VM" is a process group that runs `onefed boot` with a context as a real VM gets it, so that what is
//! tested here is what boots there. State lives in memory: a sandbox that stops is gone.
//!
//! VMs can be powered off, resumed, rebooted and given another context, as by oned. A context that changes while a VM runs is
//! told to its first process by SIGHUP, as contextualization does it for the appliance. [`misbehave`] makes OneGate fail
//! on purpose; the file it writes, `onegate-faults` in the sandbox's directory, can be written by hand as well, one
//! fault a line, such as `answer=503 zone=paris vm=2 method=PUT times=3 seconds=10`.
//!
//! What is not as in the original: OneGate's token is an opaque random text of the same shape (there it is an AES
//! ciphertext); the NETWORKS of a service are only looked up, never created; `vr` roles, elasticity, schedules and
//! `on_hold` are accepted and do nothing; a guest that does not shut down when asked is killed after 20 s (KVM's stock
//! settings: 180 s), and so is one that does not reboot (there it is left alone); a reboot starts the VM's process anew,
//! with the context disk as it is.

mod access;
mod addresses;
mod attributes;
mod context;
mod error;
mod faults;
mod federation;
mod files;
mod guest;
mod instantiate;
mod machine;
mod objects;
mod oneflow;
mod onegate;
mod power;
mod quota;
mod reconfigure;
mod refusal;
mod run;
mod schedule;
mod supervisor;
mod sweep;
mod world;
mod xmlrpc;
mod zone;

pub use error::SandboxError;
pub use faults::{Fault, Misbehaviour, Service, misbehave};
pub use run::{SandboxConfig, ZoneEndpoints, run};
pub use sweep::sweep;
pub use world::World;

#[cfg(test)]
mod tests;
