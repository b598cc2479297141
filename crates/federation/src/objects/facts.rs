//! What an object says of itself, fact by fact, so that a plan can say what of it has changed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use onefed_context::{Placement, variable};
use serde::Serialize;
use serde_json::Value;

use super::inputs::Seat;
use super::{ObjectKind, body, digest};
use crate::model::{Federation, Part, Reference, VmTemplate, ZoneName};
use crate::start;

/// Longer values are cut off where they are shown.
const SHOWN: usize = 60;

/// The facts of one object. Secrets and certificates are no facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The version of the onefed that made it; empty where it is not known.
    pub made_by: String,
    /// By role and name; the role is empty for what holds for all of it.
    known: BTreeMap<(String, String), Fact>,
}

/// One fact: texts that mean the same. The first one is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    texts: Vec<String>,
    /// Whether the text tells a reader anything.
    shown: bool,
}

/// What a zone calls the things that documents call by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// VM templates.
    pub templates: BTreeMap<u32, String>,
    /// Networks.
    pub networks: BTreeMap<u32, String>,
    /// Images.
    pub images: BTreeMap<u32, String>,
}

/// One fact that is not as the plan wants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What: a variable, or for instance "supernode VMs".
    pub what: String,
    /// How it is; `None` where there is no such thing, or it is not for reading.
    pub from: Option<String>,
    /// How it is wanted; as `from`.
    pub to: Option<String>,
}

impl Facts {
    /// The facts of a service template or a service, from its body as OneFlow keeps it.
    pub fn of_document(body: &Value, names: &Names) -> Self {
        let label = body.get("onefed").and_then(|label| label.get("version"));
        let made_by = label.and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut facts = Self { made_by, ..Self::default() };
        for key in ["deployment", "ready_status_gate", "shutdown_action"] {
            facts.note("", key, body.get(key).map(text));
        }
        facts.inputs("", body);
        for role in body.get("roles").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = role.get("name").and_then(Value::as_str) else { continue };
            let count = |key| role.get(key).and_then(Value::as_u64);
            if let (Some(min), Some(max)) = (count("min_vms"), count("max_vms")) {
                let vms = if min == max { min.to_string() } else { format!("{min} to {max}") };
                facts.note(name, "VMs", Some(vms));
            }
            facts.named(name, "VM template", role.get("template_id"), &names.templates);
            let contents = role.get("template_contents");
            let nic = contents.and_then(|contents| contents.get("NIC")).and_then(|nic| nic.get(0));
            facts.named(name, "network", nic.and_then(|nic| nic.get("NETWORK_ID")), &names.networks);
            facts.variables(name, contents.and_then(|contents| contents.get("CONTEXT")));
            facts.inputs(name, role);
        }
        facts
    }

    /// The facts of a VM template that onefed has made. `get` looks up an attribute, `("DISK", "SIZE")`, or
    /// `("", "CPU")` for a plain one.
    pub fn of_vm_template<'a>(get: impl Fn(&str, &str) -> Option<&'a str>, names: &Names) -> Self {
        let made_by = get("ONEFED", "VERSION").unwrap_or_default().to_owned();
        let mut facts = Self { made_by, ..Self::default() };
        facts.note("", "CPUs", get("", "VCPU").map(str::to_owned));
        facts.note("", "memory", get("", "MEMORY").map(mib));
        facts.note("", "disk", get("DISK", "SIZE").map(mib));
        let image = get("DISK", "IMAGE_ID").map(|id| Value::String(id.to_owned()));
        facts.named("", "image", image.as_ref(), &names.images);
        facts.note("", "start script", get("CONTEXT", "START_SCRIPT_BASE64").map(digest::short));
        facts.hide("start script");
        facts
    }

    /// The facts of an object that the federation wants in a zone; empty for one that it does not want.
    pub(crate) fn wanted(federation: &Federation, zone: &ZoneName, kind: ObjectKind, name: &str) -> Self {
        if kind == ObjectKind::VmTemplate {
            return Self::wanted_vm_template(federation, zone).unwrap_or_default();
        }
        let part = federation.parts().find(|part| federation.object_name(*part) == name);
        part.and_then(|part| Self::wanted_document(federation, zone, part)).unwrap_or_default()
    }

    fn wanted_document(federation: &Federation, zone: &ZoneName, part: Part<'_>) -> Option<Self> {
        let seat = Seat::new(federation, part)?;
        let zone = federation.zone(zone)?;
        let mut facts = Self::of_document(&body::template(federation, part, &seat, None), &Names::default());
        env!("CARGO_PKG_VERSION").clone_into(&mut facts.made_by);
        for role in seat.role_inputs() {
            let template = match zone.templates.of(role.role) {
                VmTemplate::Given(reference) => reference.to_string(),
                VmTemplate::Made => federation.vm_template_name(role.role),
            };
            facts.note(role.role.as_str(), "VM template", Some(template));
            facts.note(role.role.as_str(), "network", Some(zone.network.to_string()));
        }
        Some(facts)
    }

    fn wanted_vm_template(federation: &Federation, zone: &ZoneName) -> Option<Self> {
        let machine = federation.zone(zone)?.machine.as_ref()?;
        let mut facts = Self { made_by: env!("CARGO_PKG_VERSION").to_owned(), ..Self::default() };
        facts.note("", "CPUs", Some(machine.cpu.to_string()));
        facts.note("", "memory", Some(mib(&machine.memory.to_string())));
        facts.note("", "disk", machine.disk.map(|size| mib(&size.to_string())));
        facts.note("", "image", Some(machine.image.to_string()));
        let script = federation.install.as_ref().map(|install| start::script_base64(federation, install));
        facts.note("", "start script", script.as_deref().map(digest::short));
        facts.hide("start script");
        Some(facts)
    }

    /// What is not as `wanted` has it, in order. What is wanted and not known yet, such as the address of a hub that is
    /// still to be made, is no difference, and neither is a variable at its default that was not there before.
    pub(crate) fn differences(&self, wanted: &Self) -> Vec<Difference> {
        // Nobody knows what was there: no reason to call all of it new.
        if self.known.is_empty() {
            return Vec::new();
        }
        let mut found: BTreeMap<(String, Difference), Vec<String>> = BTreeMap::new();
        let keys = self.known.keys().chain(wanted.known.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let (role, what) = key;
            // Of a role that comes or goes, that it does is enough.
            if what != "VMs" && self.has_role(role) != wanted.has_role(role) {
                continue;
            }
            let (have, want) = (self.known.get(key), wanted.known.get(key));
            let same = match (have, want) {
                (Some(have), Some(want)) => have.texts.iter().any(|text| want.texts.contains(text)),
                (None, Some(want)) => want.texts.iter().all(|text| is_default(what, text)),
                (Some(have), None) => have.texts.iter().all(|text| is_default(what, text)),
                (None, None) => true,
            };
            let unknown_yet = what == "FL_SUPERLINK_ADDRESS" && want.is_none_or(|want| want.is_empty());
            if same || unknown_yet {
                continue;
            }
            let show = |fact: Option<&Fact>| fact.filter(|fact| fact.shown).map(Fact::show);
            let difference = Difference { what: what.clone(), from: show(have), to: show(want) };
            found.entry((what.clone(), difference)).or_default().push(role.clone());
        }
        let mut all = Vec::new();
        for ((what, difference), roles) in found {
            let both = |role: &&&str| self.has_role(role) && wanted.has_role(role);
            let (have, want) = (self.roles_with(&what), wanted.roles_with(&what));
            let everywhere = have.union(&want).filter(both).count() == roles.len();
            if roles.iter().all(String::is_empty) || everywhere && what != "VMs" {
                all.push(difference);
            } else {
                let named = |role| Difference { what: format!("{role} {what}"), ..difference.clone() };
                all.extend(roles.iter().map(named));
            }
        }
        all.sort();
        all
    }

    fn has_role(&self, role: &str) -> bool {
        role.is_empty() || self.known.keys().any(|(known, _)| known == role)
    }

    fn roles_with(&self, what: &str) -> std::collections::BTreeSet<&str> {
        self.known.keys().filter(|(_, name)| name == what).map(|(role, _)| role.as_str()).collect()
    }

    fn note(&mut self, role: &str, what: &str, text: Option<String>) {
        if let Some(text) = text {
            self.set(role, what, vec![text]);
        }
    }

    fn set(&mut self, role: &str, what: &str, texts: Vec<String>) {
        self.known.insert((role.to_owned(), what.to_owned()), Fact { texts, shown: true });
    }

    fn hide(&mut self, what: &str) {
        self.known.iter_mut().filter(|((_, name), _)| name == what).for_each(|(_, fact)| fact.shown = false);
    }

    /// A thing that is known by its id, and by its name too where the zone has it.
    fn named(&mut self, role: &str, what: &str, id: Option<&Value>, names: &BTreeMap<u32, String>) {
        let Some(id) = id.map(text) else { return };
        let name = id.parse().ok().and_then(|id: u32| names.get(&id)).cloned();
        let by_id = id.parse().map_or_else(|_| id.clone(), |id| Reference::Id(id).to_string());
        self.set(role, what, name.into_iter().chain([by_id]).collect());
    }

    /// The inputs of a level: what it was given, else what its form offers.
    fn inputs(&mut self, role: &str, level: &Value) {
        for (name, form) in level.get("user_inputs").and_then(Value::as_object).into_iter().flatten() {
            let default = text(form).splitn(5, '|').nth(4).map(str::to_owned);
            if is_open(name) {
                self.note(role, name, default);
            }
        }
        self.variables(role, level.get("user_inputs_values"));
    }

    fn variables(&mut self, role: &str, map: Option<&Value>) {
        for (name, value) in map.and_then(Value::as_object).into_iter().flatten() {
            if is_open(name) {
                self.note(role, name, Some(text(value)));
            }
        }
    }
}

impl fmt::Display for Difference {
    /// `FL_NUM_PARTITIONS: 2 -> 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = "(none)";
        match (&self.from, &self.to) {
            (None, None) => write!(f, "{}: another one", self.what),
            (from, to) => {
                let (from, to) = (from.as_deref().unwrap_or(none), to.as_deref().unwrap_or(none));
                write!(f, "{}: {from} -> {to}", self.what)
            }
        }
    }
}

impl Fact {
    fn is_empty(&self) -> bool {
        self.texts.iter().all(String::is_empty)
    }

    fn show(&self) -> String {
        let text = self.texts.first().map(String::as_str).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        match line.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None if line.len() < text.len() => format!("{line}…"),
            None if text.is_empty() => "(empty)".to_owned(),
            None => text.to_owned(),
        }
    }
}

/// Whether a variable is one of the table whose value may be shown: no secret, and nothing of the trust between VMs,
/// which says nothing to a reader and is not the plan's.
fn is_open(name: &str) -> bool {
    const TRUST: [&str; 2] = ["FL_SSL_CA_CERTFILE", "FL_CA_FINGERPRINT"];
    variable(name).is_some_and(|row| {
        let input = row.placement != Placement::Infrastructure;
        !row.secret && !TRUST.contains(&row.name) && (input || matches!(row.name, "FL_GATEWAY" | "FL_SITE"))
    })
}

fn is_default(what: &str, text: &str) -> bool {
    text.is_empty() || variable(what).is_some_and(|row| row.default == Some(text))
}

/// A scalar as text, without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn mib(text: &str) -> String {
    format!("{text} MiB")
}
