//! What lies under a connection: a byte meter and a buffer below TLS, a frame tap below HTTP/2; and the memory that large
//! bodies are put together in.

mod ahead;
mod meter;
mod pool;
mod tap;

pub(crate) use ahead::Ahead;
pub use meter::{Meter, Metered};
pub(crate) use pool::Buffer;
pub use tap::{FrameTap, PingLog, Tapped};
