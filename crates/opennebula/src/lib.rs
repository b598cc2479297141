//! Clients for OpenNebula's XML-RPC, OneFlow and OneGate.
//!
//! Shapes and names are those of OpenNebula 7.0 and later, as captured from running servers. Three clients, one per
//! service: [`xmlrpc::Client`] (the core: zones, VMs, templates, networks), [`oneflow::Client`] (services, that is
//! groups of VMs) and [`onegate::Client`] (what a VM sees and says about itself). Nothing here knows about Flower.
//!
//! Two rules hold everywhere: an id never travels without its zone ([`VmId`] and its siblings; a client refuses an id
//! of another zone), and every wait has a deadline and a name ([`Error::Timeout`]).

mod attributes;
mod credentials;
mod error;
mod http;
mod ids;
mod json;
pub mod oneflow;
pub mod onegate;
mod state;
pub mod template;
mod tls;
pub mod xml;
pub mod xmlrpc;

pub use attributes::{Attribute, Attributes};
pub use credentials::{BadCredentials, Credentials, Secret};
pub use error::{Call, Error};
pub use ids::{
    BadId, ClusterId, DatastoreId, GroupId, HostId, ImageId, ServiceId, ServiceTemplateId, UserId, VmId,
    VmTemplateId, VnetId, ZoneName,
};
pub use state::{
    DatastoreKind, HostState, ImageKind, ImageState, LcmState, NetworkState, RoleState, ServiceState, VmState,
};

#[cfg(test)]
mod tests;
