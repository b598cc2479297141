//! What lies under a connection: a byte meter below TLS, a frame tap below HTTP/2.

mod meter;
mod tap;

pub use meter::{Meter, Metered};
pub use tap::{FrameTap, PingLog, Tapped};
