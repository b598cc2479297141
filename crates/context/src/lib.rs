//! What a VM is told: the table of context variables, parsing and validation.
//!
//! A VM of a federation learns everything it needs from OpenNebula's `context.sh`. This crate reads that file as
//! data ([`RawContext`]), checks it against one table ([`TABLE`]) and hands out types that cannot be wrong
//! ([`VmContext`]). The same table writes the inputs of service templates and checks the variables of a plan, so
//! that a name, a default or a message is decided in exactly one place.
//!
//! The crate does no IO and never panics on bad input; every problem of an input is reported at once.

mod endpoint;
mod fingerprint;
mod keepalive;
mod name;
mod node_config;
mod pem;
mod problem;
mod raw;
mod reference;
mod render;
mod role;
mod rule;
mod runtime;
mod san;
mod schema;
mod secret;
mod suggest;
mod table;
mod template;
mod together;
mod trust;
mod validate;
mod variable;
mod vm;

pub use endpoint::{Endpoint, EndpointError, HUB_PORT, Host};
pub use fingerprint::{CaFingerprint, FingerprintError};
pub use keepalive::{KeepAlive, KeepAliveError};
pub use name::{FederationName, NameError, SiteName, is_plain_name};
pub use node_config::{NodeConfig, NodeConfigError, NodeValue};
pub use pem::{CaBundle, CaBundleError};
pub use problem::{Problem, Severity};
pub use raw::RawContext;
pub use reference::reference_markdown;
pub use render::render_context_sh;
pub use role::{GatewayPlacement, LogLevel, Role, SiteEnrolment, UnknownWord};
pub use rule::{Rule, Span};
pub use runtime::{ContainerImage, ContainerImageError, Runtime};
pub use san::{San, SanError, parse_san_list};
pub use schema::context_schema;
pub use secret::Secret;
pub use suggest::nearest;
pub use table::{TABLE, variable};
pub use template::{vm_template, vm_template_with};
pub use together::{idle, together};
pub use trust::{GatewayTls, SiteTrust, SuperLinkTls};
pub use validate::{Validated, read_context_sh, validate};
pub use variable::{Effect, InputFlag, InputType, Placement, Variable, When};
pub use vm::{
    FlowerVersion, FlowerVersionError, GatewayContext, HubSource, LinkLimits, PartitionShare, RoleContext,
    SuperLinkContext, SuperNodeContext, VmContext,
};
