//! What is said about what was found.

use serde::Serialize;

use super::choose::Choice;
use super::zone::{Object, Zone};
use crate::table::render;

/// The outcome as a JSON document.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema_version: u32,
    /// The federation's name.
    pub(super) federation: &'a str,
    /// Every zone that was found, used or not.
    pub(super) zones: &'a [Zone],
    /// What the plan uses of them.
    pub(super) coordinator: &'a str,
    pub(super) sites: Vec<SiteLine<'a>>,
    /// The file that was written.
    pub(super) written: String,
    /// What to do next.
    pub(super) next: Vec<String>,
}

/// A site of the plan.
#[derive(Serialize)]
pub(super) struct SiteLine<'a> {
    name: &'a str,
    zone: &'a str,
    supernodes: u32,
}

/// The sites of a choice.
pub(super) fn sites(choice: &Choice) -> Vec<SiteLine<'_>> {
    choice
        .sites
        .iter()
        .map(|site| SiteLine { name: &site.name, zone: &site.zone, supernodes: site.supernodes })
        .collect()
}

/// The zones as a table.
pub(super) fn table(zones: &[Zone]) -> String {
    let count = |objects: &Option<Vec<Object>>| {
        objects.as_ref().map_or("?".to_owned(), |objects| objects.len().to_string())
    };
    let rows: Vec<Vec<String>> = zones
        .iter()
        .map(|zone| {
            let version = match (&zone.version, zone.supported) {
                (Some(version), true) => version.clone(),
                (Some(version), false) => format!("{version}, too old"),
                (None, _) => "no answer".to_owned(),
            };
            let name = match zone.zone == zone.opennebula_name {
                true => zone.zone.clone(),
                false => format!("{} ({})", zone.zone, zone.opennebula_name),
            };
            vec![
                name,
                version,
                if zone.oneflow_answers { "answers" } else { "no answer" }.to_owned(),
                count(&zone.templates),
                count(&zone.networks),
                count(&zone.images),
                zone.endpoint.as_ref().map_or("–".to_owned(), ToString::to_string),
            ]
        })
        .collect();
    render(&["zone", "OpenNebula", "OneFlow", "templates", "networks", "images", "endpoint"], &rows)
}
