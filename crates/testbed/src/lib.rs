//! For tests and benchmarks only; nothing of it is in the product.
//!
//! - [`wan`]: a line with delay, rate and faults between two loopback addresses, without any privilege.

pub mod wan;
