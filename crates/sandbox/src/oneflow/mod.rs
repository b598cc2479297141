//! OneFlow: service templates and services.

mod actions;
mod deploy;
mod http;
mod lifecycle;
mod references;
mod schema;
mod service;
mod services;
mod templates;

pub(crate) use http::router;
pub(crate) use lifecycle::{advance_forever, undeploy_everything};
pub(crate) use service::{Documents, Role, Service};

pub(crate) use lifecycle::{Unscaled, scale};
