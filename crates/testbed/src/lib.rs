//! For tests and benchmarks only; nothing of it is in the product.
//!
//! - [`wan`]: a line with delay, rate and faults between two loopback addresses, without any privilege.
//! - [`federation`]: real Flower processes on this machine, with and without onefed's link between them.
//! - [`synthetic`]: a SuperLink and SuperNodes that only move bytes, for loads that real Flower cannot make here.

pub mod federation;
pub mod synthetic;
pub mod wan;
