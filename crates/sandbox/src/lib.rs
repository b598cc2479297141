//! OpenNebula-compatible zones on one machine whose VMs run the real appliance.
//!
//! Each zone has XML-RPC, OneFlow and OneGate on loopback addresses of its own and answers as a real 7.4 does, refusals
//! included. A "VM" is a process group that runs `onefed boot` with a context as a real VM gets it, so that what is
//! tested here is what boots there. State lives in memory: a sandbox that stops is gone.
//!
//! VMs can be powered off, resumed, rebooted and given another context, as by oned. A context that changes while a VM runs is
//! told to its first process by SIGHUP, as contextualization does it for the appliance.
//!
//! A [`World`] says how zones differ from the default: versions, ordinary users with their rights and quotas, hosts, networks,
//! images, VM templates, slowness. [`misbehave`] makes services fail on purpose and VMs not come up; the file it writes,
//! `faults` in the sandbox's directory, can be written by hand as well, one fault a line, such as
//! `answer=503 service=oneflow zone=paris method=POST times=3 seconds=10`.
//!
//! # What is not as in the original
//!
//! - Images are names with states: whatever image a VM is made of, it boots `onefed boot`, also where a real VM would need a
//!   start script for that. START_SCRIPT and FILES of a context are handed on and not run.
//! - Of oned there is what onefed and its tests call: system, zones, users, groups, quotas, ACL, VM templates, VMs; networks,
//!   images, hosts and datastores can be read and not changed. No gRPC, no locks, no hooks, no servers' Raft.
//! - Of a world's version only the number changes: the answers stay those of 7.4.
//! - Hosts have CPU and memory, and a VM goes to the first that has room; SCHED_REQUIREMENTS and clusters are not looked at.
//! - Networks of a service are only looked up, never created or reserved.
//! - `vr` roles are made like `vm` roles. Elasticity and scheduled policies are checked and stored, and do nothing.
//! - Scheduled actions of services and roles happen at once, or a period later, in this process; they cannot be listed or
//!   taken back. Those that need a stopped or suspended VM are refused by every state.
//! - A guest that does not shut down when asked is killed after 20 s (KVM's stock settings: 180 s), and so is one that does
//!   not reboot (there it is left alone); a reboot starts the VM's process anew, with the context disk as it is.

mod access;
mod addresses;
mod attributes;
mod context;
mod error;
mod faults;
mod federation;
mod files;
mod flower;
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
pub use flower::{FlowerDirs, ForContext};
pub use run::{SandboxConfig, ZoneEndpoints, run};
pub use sweep::sweep;
pub use world::World;

#[cfg(test)]
mod tests;
