//! `[[site]]`.

use std::ops::Range;

use onefed_context::{GatewayPlacement, NodeConfig, NodeValue, SiteName};
use onefed_flower::Release;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{Fields, integer};
use super::settings::{Scope, Settings, portable};
use super::{read_release, zone};
use crate::diagnostic::Sink;
use crate::model::{Count, ZoneName};

const KEYS: &[&str] = &["name", "zone", "supernodes", "gateway", "node_config", "flower", "variables"];

/// The most SuperNodes of one site.
const MOST: u32 = 10_000;

/// A site as it was read.
pub(super) struct SiteDraft {
    pub(super) at: Range<usize>,
    pub(super) name: Option<Spanned<SiteName>>,
    pub(super) zone: Option<Spanned<ZoneName>>,
    pub(super) supernodes: Option<Count>,
    pub(super) gateway: GatewayPlacement,
    pub(super) node_config: NodeConfig,
    pub(super) flower: Option<Spanned<Release>>,
    pub(super) settings: Settings,
}

impl SiteDraft {
    /// Reads the key `site` of the plan; its absence has been reported.
    /// `others` tells whether there are SuperNodes without them.
    pub(super) fn read_all(root: &Fields<'_, '_>, others: bool, sink: &mut Sink<'_>) -> Vec<Self> {
        let Some(value) = root.get("site") else { return Vec::new() };
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            DeValue::Table(_) => {
                let message = "a site is written [[site]], with two brackets";
                sink.error("plan::wrong-type", value.span(), message);
                vec![value]
            }
            _ => {
                root.wrong_type("site", value, "a list of tables: [[site]]", sink);
                return Vec::new();
            }
        };
        if items.is_empty() && !others {
            sink.error("plan::missing-key", value.span(), "a federation needs at least one site");
        }
        items.into_iter().filter_map(|item| Self::read(root, item, sink)).collect()
    }

    /// The site's name for messages.
    pub(super) fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("site `{}`", name.get_ref()),
            None => "a site".to_owned(),
        }
    }

    fn read(root: &Fields<'_, '_>, item: &Spanned<DeValue<'_>>, sink: &mut Sink<'_>) -> Option<Self> {
        let Some(table) = item.get_ref().as_table() else {
            root.wrong_type("site", item, "a table", sink);
            return None;
        };
        let what = match table.get("name").and_then(|name| name.get_ref().as_str()) {
            Some(name) => format!("site `{name}`"),
            None => "[[site]]".to_owned(),
        };
        let fields = Fields::open(table, item.span(), what, KEYS, sink);
        fields.require(&["name", "zone", "supernodes"], sink);
        Some(Self {
            at: fields.at(),
            name: fields.parsed("name", "plan::bad-name", sink),
            zone: zone::read_name(&fields, "zone", sink),
            supernodes: read_count(&fields, sink),
            gateway: fields
                .parsed("gateway", "plan::bad-value", sink)
                .map_or(GatewayPlacement::Dedicated, Spanned::into_inner),
            node_config: read_node_config(&fields, sink),
            flower: fields.text("flower", sink).and_then(|text| {
                let release = read_release(&text, sink)?;
                Some(Spanned::new(text.span(), release))
            }),
            settings: Settings::read(&fields, Scope::Site, sink),
        })
    }
}

/// `supernodes = N` or `supernodes = { min = A, max = B }`.
pub(super) fn read_count(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<Count> {
    let value = fields.get("supernodes")?;
    let at = value.span();
    let count = match value.get_ref() {
        DeValue::Integer(_) => {
            let number = fields.number("supernodes", 0..=MOST, "plan::bad-count", sink)?;
            Count { min: number, max: number }
        }
        DeValue::Table(table) => {
            let what = format!("`supernodes` of {}", fields.what());
            let inner = Fields::open(table, at.clone(), what, &["min", "max"], sink);
            inner.require(&["min", "max"], sink);
            Count {
                min: inner.number("min", 0..=MOST, "plan::bad-count", sink)?,
                max: inner.number("max", 0..=MOST, "plan::bad-count", sink)?,
            }
        }
        _ => {
            fields.wrong_type("supernodes", value, "a number or a table with min and max", sink);
            return None;
        }
    };
    if count.min > count.max {
        let message = format!("{}: min ({}) is above max ({})", fields.what(), count.min, count.max);
        sink.error("plan::bad-count", at, message);
        return None;
    }
    if count.min == 0 {
        sink.error("plan::no-supernodes", at, format!("{} has no SuperNode", fields.what()))
            .hint("at least one is needed; what does not take part is left out of the plan");
        return None;
    }
    Some(count)
}

/// The table `node_config`; inner tables give dotted keys.
pub(super) fn read_node_config(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> NodeConfig {
    let mut config = NodeConfig::default();
    let Some(table) = fields.entries("node_config", sink) else { return config };
    add_entries(table, "", fields, &mut config, sink);
    portable("node_config", &config.to_string(), fields.key_span("node_config"), sink);
    config
}

fn add_entries(
    table: &DeTable<'_>,
    prefix: &str,
    fields: &Fields<'_, '_>,
    config: &mut NodeConfig,
    sink: &mut Sink<'_>,
) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if matches!(name.as_str(), "partition-id" | "num-partitions") {
            let message = format!("`{name}` in node_config of {} is set by onefed", fields.what());
            sink.error("plan::managed-variable", key.span(), message)
                .hint("partitions follow from `supernodes` of all sites");
            continue;
        }
        let scalar = match value.get_ref() {
            DeValue::Table(inner) => {
                add_entries(inner, &format!("{name}."), fields, config, sink);
                continue;
            }
            DeValue::String(text) => Some(NodeValue::Text(text.to_string())),
            DeValue::Integer(_) => integer(value.get_ref()).map(NodeValue::Int),
            DeValue::Float(float) => float.as_str().parse().ok().map(NodeValue::Float),
            DeValue::Boolean(flag) => Some(NodeValue::Bool(*flag)),
            DeValue::Array(_) | DeValue::Datetime(_) => None,
        };
        let Some(scalar) = scalar else {
            fields.wrong_type(&name, value, "a text, a number or a boolean for Flower to accept it", sink);
            continue;
        };
        if let Err(error) = config.push(&name, scalar) {
            sink.error("plan::bad-value", key.span(), format!("node_config of {}: {error}", fields.what()));
        }
    }
}
