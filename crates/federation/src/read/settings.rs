//! Tables of context variables: `[variables]`, and the ones inside `[coordinator]` and `[[site]]`.

use std::collections::BTreeMap;
use std::ops::Range;

use onefed_context::{Placement, Role, TABLE, Variable, variable};
use toml::Spanned;
use toml::de::DeValue;

use super::fields::{Fields, integer};
use crate::diagnostic::Sink;

/// Whose variables a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every VM whose role uses them.
    All,
    /// The coordinator's VM.
    Coordinator,
    /// The coordinator's VM and SuperNodes beside it.
    Single,
    /// The VMs of a site.
    Site,
}

/// Checked variables with their places. An empty value is unset and is not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, Spanned<String>>,
}

impl Settings {
    /// Reads the key `variables` of a table.
    pub(super) fn read(fields: &Fields<'_, '_>, scope: Scope, sink: &mut Sink<'_>) -> Self {
        let mut settings = Self::default();
        let Some(table) = fields.entries("variables", sink) else { return settings };
        for (key, value) in table {
            let Some(row) = known(key.get_ref(), key.span(), scope, sink) else { continue };
            let Some(text) = text(row, value, sink) else { continue };
            if accept(row, &text, value.span(), sink) && !text.is_empty() {
                settings.values.insert(row.name, Spanned::new(value.span(), text));
            }
        }
        settings
    }

    pub(super) fn get(&self, name: &str) -> Option<&Spanned<String>> {
        self.values.get(name)
    }

    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.values.into_iter().map(|(name, value)| (name.to_owned(), value.into_inner())).collect()
    }
}

/// What sets a variable that a plan must not set itself.
fn managed(row: &Variable) -> Option<&'static str> {
    match row.name {
        "FLOWER_VERSION" => {
            Some("write `flower = \"…\"` at the top of the plan, or in a [[site]] that runs another release")
        }
        "FL_SUPERLINK_ADDRESS" => Some("write `address = \"…\"` in [coordinator]"),
        "FL_FLEET_API_ADDRESS" => Some("write `fleet_port = …` in [coordinator]"),
        "FL_ADMIN_API_ADDRESS" => Some("write `admin_port = …` in [coordinator]"),
        "FL_SSL_CA_CERTFILE" => {
            Some("the federation has a CA of its own, whose certificate onefed hands out")
        }
        "FL_SSL_CERTFILE" | "FL_SSL_KEYFILE" => {
            Some("leave it out: the hub makes its own key and gets its certificate from the federation's CA")
        }
        "FL_CA_TRUST" => {
            Some("leave it out: onefed hands the certificate of the federation's CA to every site")
        }
        "FL_NODE_CONFIG" => Some("write a table `node_config` in the [[site]]"),
        "FL_PARTITION_BASE" | "FL_NUM_PARTITIONS" => Some("partitions follow from `supernodes` of all sites"),
        _ if row.placement == Placement::Infrastructure => Some("leave it out"),
        _ => None,
    }
}

/// The row of a variable that this table may set.
fn known(name: &str, at: Range<usize>, scope: Scope, sink: &mut Sink<'_>) -> Option<&'static Variable> {
    let Some(row) = variable(name) else {
        let names = TABLE.iter().filter(|row| managed(row).is_none()).map(|row| row.name);
        let bare = name.strip_prefix("ONEAPP_").unwrap_or(name);
        sink.error("plan::unknown-variable", at, format!("`{name}` is not a known context variable"))
            .suggest(bare, names, || None);
        return None;
    };
    if let Some(hint) = managed(row) {
        sink.error("plan::managed-variable", at, format!("`{name}` is set by onefed")).hint(hint);
        return None;
    }
    let (place, roles): (_, &[Role]) = match scope {
        Scope::All => return Some(row),
        Scope::Coordinator => ("the coordinator", &[Role::SuperLink]),
        Scope::Single => ("the coordinator", &[Role::SuperLink, Role::SuperNode]),
        Scope::Site => ("a site", &[Role::Gateway, Role::SuperNode]),
    };
    if !row.roles.iter().any(|role| roles.contains(role)) {
        let users: Vec<_> = row.roles.iter().map(|role| role.as_str()).collect();
        let message = format!("`{name}` is used by {} VMs only, and {place} has none", users.join(" and "));
        sink.error("plan::wrong-role", at, message);
        return None;
    }
    Some(row)
}

/// The text that a VM would be given.
fn text(row: &Variable, value: &Spanned<DeValue<'_>>, sink: &mut Sink<'_>) -> Option<String> {
    let text = match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(_) => integer(value.get_ref()).map(|number| number.to_string()),
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(if *flag { "YES" } else { "NO" }.to_owned()),
        _ => None,
    };
    if text.is_none() {
        let given = value.get_ref().type_str();
        let message = format!("`{}` must be a text, a number or a boolean, not of type {given}", row.name);
        sink.error("plan::wrong-type", value.span(), message);
    }
    text
}

/// Checks a value as the VM will, and for what OneFlow cannot carry.
fn accept(row: &Variable, text: &str, at: Range<usize>, sink: &mut Sink<'_>) -> bool {
    if let Err(problem) = row.check(text) {
        let noted = sink.error(problem.code, at, problem.message);
        if let Some(hint) = problem.hint {
            noted.hint(hint);
        }
        return false;
    }
    portable(row.name, text, at, sink)
}

/// Whether a value survives OneFlow.
pub(super) fn portable(name: &str, text: &str, at: Range<usize>, sink: &mut Sink<'_>) -> bool {
    let Some(culprit) = culprit(text) else { return true };
    sink.error(
        "plan::unsafe-value",
        at,
        format!("OneFlow cannot carry the value of `{name}`: it contains {culprit}"),
    );
    false
}

/// What of a text does not survive OneFlow: it removes `${…}`, and `]]>` or a final backslash make it fail.
pub(crate) fn culprit(text: &str) -> Option<&'static str> {
    if text.contains("${") {
        Some("`${`, which it replaces")
    } else if text.contains("]]>") {
        Some("`]]>`, at which it fails")
    } else if text.ends_with('\\') {
        Some("a backslash at the end, at which it fails")
    } else {
        None
    }
}
