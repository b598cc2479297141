//! What hub and spoke share around their engines: the thread, the calls that wait, and the bounds on memory.

pub(crate) mod actor;
pub(crate) mod budget;
pub(crate) mod flush;
pub(crate) mod mailbox;
pub(crate) mod packer;
pub(crate) mod state;
