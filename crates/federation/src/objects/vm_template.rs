//! VM templates for zones whose plan names an image of the system alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use onefed_context::Role;

use super::body::ObjectError;
use super::{Object, ObjectKind, digest};
use crate::model::{Federation, FlowerFrom, Install, Machine, Zone, ZoneName};
use crate::start;

/// The value of `KIND` in a label.
const KIND: &str = "vm-template";

/// The ids, in one zone, of the images that a VM template names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageIds {
    /// The zone's `image`, see [`Machine::image`].
    pub system: u32,
    /// Images of a FILES datastore by name, see [`Install::files`].
    pub files: BTreeMap<String, u32>,
}

/// The label of a VM template that onefed has made, and so of every VM from it: the attribute `ONEFED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTemplateLabel {
    /// The federation's name.
    pub federation: String,
    /// The role, `superlink`, `gateway` or `supernode`.
    pub role: String,
    /// The digest of [`Object::digest`].
    pub digest: String,
    /// The version of the onefed that wrote it.
    pub version: String,
}

impl VmTemplateLabel {
    /// The name of the attribute.
    pub const ATTRIBUTE: &'static str = "ONEFED";

    /// Reads a label from the inner attributes of `ONEFED`, which `get` looks up by name. `None` for a template without
    /// such a label, or with one of another kind.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let text = |name| get(name).unwrap_or_default().to_owned();
        let ours = get("KIND")? == KIND;
        let (federation, role) = (get("FEDERATION")?.to_owned(), get("ROLE")?.to_owned());
        ours.then(|| Self { federation, role, digest: text("DIGEST"), version: text("VERSION") })
    }
}

/// The text of the VM template of a role in a zone, for `one.template.allocate` and, as a whole, `one.template.update`.
///
/// It has no NIC: the service gives one. A machine made from it installs its software by the start script, and then
/// boots as an image with onefed in it would.
///
/// # Errors
/// [`ObjectError::NoTemplate`] where the plan has no image or no `[install]` for it, or an id is missing.
pub fn vm_template(
    federation: &Federation,
    zone: &Zone,
    role: Role,
    images: &ImageIds,
) -> Result<String, ObjectError> {
    let name = federation.vm_template_name(role);
    let missing = |why: String| ObjectError::NoTemplate { name: name.clone(), why };
    let machine =
        zone.machine.as_ref().ok_or_else(|| missing(format!("[zone.{}] has no `image`", zone.name)))?;
    let install =
        federation.install.as_ref().ok_or_else(|| missing("the plan has no [install]".to_owned()))?;
    let mut disk = vec![("IMAGE_ID", images.system.to_string())];
    disk.extend(machine.disk.map(|size| ("SIZE", size.to_string())));
    let mut context = vec![
        ("NETWORK", "YES".to_owned()),
        ("REPORT_READY", "NO".to_owned()),
        ("SSH_PUBLIC_KEY", "$USER[SSH_PUBLIC_KEY]".to_owned()),
        ("START_SCRIPT_BASE64", start::script_base64(federation, install)),
        ("TOKEN", "YES".to_owned()),
    ];
    let mut files = Vec::new();
    for file in install.files() {
        let id = images.files.get(file);
        let id = id.ok_or_else(|| missing(format!("the id of the image `{file}` is not known")))?;
        files.push(format!("$FILE[IMAGE_ID={id}]"));
    }
    if !files.is_empty() {
        context.push(("FILES_DS", files.join(" ")));
    }
    let label = [
        ("FEDERATION", federation.name.to_string()),
        ("KIND", KIND.to_owned()),
        ("ROLE", role.to_string()),
        ("DIGEST", digest_of(federation, zone, role)),
        ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let mut out = String::new();
    for (key, value) in [
        ("NAME", name.as_str()),
        ("DESCRIPTION", &format!("Flower federation {}: {role}", federation.name)),
        ("CPU", &machine.cpu.to_string()),
        ("VCPU", &machine.cpu.to_string()),
        ("MEMORY", &machine.memory.to_string()),
    ] {
        let _ = writeln!(out, "{key} = {}", quote(value));
    }
    vector(&mut out, "DISK", &disk);
    // The hypervisor's own default lacks what numerical packages are built for (x86-64-v2).
    vector(&mut out, "CPU_MODEL", &[("MODEL", "host-passthrough".to_owned())]);
    // As OpenNebula's own forms have it: its web console comes from another host.
    vector(&mut out, "GRAPHICS", &[("LISTEN", "0.0.0.0".to_owned()), ("TYPE", "VNC".to_owned())]);
    vector(&mut out, "CONTEXT", &context);
    vector(&mut out, VmTemplateLabel::ATTRIBUTE, &label);
    Ok(out)
}

/// The VM templates that a zone should have.
pub(super) fn wanted(federation: &Federation, zone: &ZoneName) -> Vec<Object> {
    let Some(zone) = federation.zone(zone) else { return Vec::new() };
    let object = |role: Role| Object {
        kind: ObjectKind::VmTemplate,
        name: federation.vm_template_name(role),
        digest: digest_of(federation, zone, role),
        detail: zone.machine.as_ref().map(Machine::to_string).unwrap_or_default(),
    };
    federation.made_roles(&zone.name).into_iter().map(object).collect()
}

/// Everything that the text depends on but ids.
fn digest_of(federation: &Federation, zone: &Zone, role: Role) -> String {
    let script = federation.install.as_ref().map(|install| start::script(federation, install));
    digest::short(&format!("{}\n{}", facts(federation, zone, role), script.unwrap_or_default()))
}

/// What the plan says about the machines of a role. Another wording of the start script in a later onefed is not in it:
/// it changes the template, for machines to come, and replaces none that runs.
pub(super) fn facts(federation: &Federation, zone: &Zone, role: Role) -> String {
    let machine = zone.machine.as_ref();
    let image = machine.map(|machine| serde_json::json!(machine.image).to_string()).unwrap_or_default();
    let size = machine.map(|machine| (machine.cpu, machine.memory, machine.disk));
    let install = federation.install.as_ref().map(install_facts).unwrap_or_default();
    format!("{role} {image} {size:?}\n{install}")
}

fn install_facts(install: &Install) -> String {
    // What a file is counts, and not where it comes from: a mirror replaces nothing.
    let mut out: String =
        install.sources().map(|(key, source)| format!("{key} {}\n", source.sha256)).collect();
    if let FlowerFrom::Index(index) = &install.flower {
        let _ = writeln!(out, "index {}", index.as_ref().map(ToString::to_string).unwrap_or_default());
    }
    out
}

fn vector(out: &mut String, name: &str, pairs: &[(&str, String)]) {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("  {key} = {}", quote(value))).collect();
    let _ = writeln!(out, "{name} = [\n{}\n]", pairs.join(",\n"));
}

/// In a quoted value OpenNebula reads `\"` as a quote and `\\` as a backslash; everything else stands for itself.
fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
