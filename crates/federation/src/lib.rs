//! `federation.toml` to a validated plan: objects wanted per zone, and how they differ from what is there. No IO.
//!
//! The way through the crate: [`parse`] reads the text and reports every problem with its place; [`wanted`] names
//! the OneFlow objects that the federation needs in each zone; [`service_template`] and [`merge_template`] are their
//! bodies, [`vm_template`] the text of a VM template; [`diff`] compares with what exists and gives a [`Plan`] that is shown, stored and applied.

pub mod by_hand;
mod diagnostic;
mod diff;
mod model;
mod objects;
mod plan;
mod read;
mod source;
mod start;

pub use diagnostic::{Diagnostic, Place};
pub use diff::{Blind, Condition, Existing, ZoneExisting, diff, diff_seen};
pub use model::{
    Coordinator, Count, Federation, FlowerFrom, Install, LocalNodes, Location, Machine, Network, NetworkMode,
    Part, Reference, Site, Source, Templates, VmTemplate, Zone, ZoneName,
};
pub use objects::{
    Difference, Facts, ImageIds, Inputs, Names, Object, ObjectError, ObjectKind, VmTemplateLabel, ZoneIds,
    ZoneWanted, machines, merge_template, service_template, vm_template, wanted,
};
pub use plan::{Action, Change, Plan, Unseen, ZonePlan};
pub use read::{Checked, check, parse};
pub use source::PlanText;
pub use start::start_script;
