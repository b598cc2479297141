//! `federation.toml` to a validated plan: objects wanted per zone, and how they differ from what is there. No IO.
//!
//! The way through the crate: [`parse`] reads the text and reports every problem with its place; [`wanted`] names
//! the OneFlow objects that the federation needs in each zone; [`service_template`] and [`merge_template`] are their
//! bodies; [`diff`] compares with what exists and gives a [`Plan`] that is shown, stored and applied.

mod diagnostic;
mod diff;
mod model;
mod objects;
mod plan;
mod read;

pub use diagnostic::{Diagnostic, Place};
pub use diff::{Blind, Condition, Existing, ZoneExisting, diff, diff_seen};
pub use model::{
    Coordinator, Count, Federation, Network, NetworkMode, Part, Reference, Site, Templates, Zone, ZoneName,
};
pub use objects::{
    Inputs, Object, ObjectError, ObjectKind, ZoneIds, ZoneWanted, merge_template, service_template, wanted,
};
pub use plan::{Action, Change, Plan, Unseen, ZonePlan};
pub use read::{Checked, check, parse};
