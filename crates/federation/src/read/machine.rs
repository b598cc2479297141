//! `image`, `cpu`, `memory` and `disk` of `[zone.NAME]`: what onefed makes VM templates from; and the templates that
//! the zone has.

use toml::de::DeValue;

use super::fields::{Fields, integer};
use crate::diagnostic::Sink;
use crate::model::{Machine, Reference, Templates, VmTemplate};

/// 4 GiB.
const MEMORY: u32 = 4096;
const CPUS: u32 = 2;
const KEYS: [&str; 3] = ["cpu", "memory", "disk"];

/// The templates of a zone, and what the made ones are made from.
pub(super) fn read(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> (Templates, Option<Machine>) {
    let image = fields.reference("image", sink);
    let has_image = fields.get("image").is_some();
    let common = fields.reference("template", sink);
    if has_image && fields.get("template").is_some() {
        let message = format!("{} has both `image` and `template`", fields.what());
        sink.error("plan::two-ways", fields.key_span("template"), message)
            .hint("with `image`, onefed makes the VM templates; `superlink_template` and its like replace one of them");
    }
    for key in KEYS.into_iter().filter(|key| !has_image && fields.get(key).is_some()) {
        let message = format!("`{key}` in {} means nothing without `image`", fields.what());
        sink.error("plan::without-image", fields.key_span(key), message)
            .hint("a VM template that the zone has says it itself");
    }
    let rest = match common {
        _ if has_image => VmTemplate::Made,
        Some(reference) => VmTemplate::Given(reference),
        None => VmTemplate::Given(Reference::Name("onefed".to_owned())),
    };
    let mut role = |key| fields.reference(key, sink).map_or_else(|| rest.clone(), VmTemplate::Given);
    let templates = Templates {
        superlink: role("superlink_template"),
        gateway: role("gateway_template"),
        supernode: role("supernode_template"),
    };
    let machine = Machine {
        image: image.clone().unwrap_or(Reference::Id(0)),
        cpu: fields.number("cpu", 1..=1024, "plan::bad-value", sink).unwrap_or(CPUS),
        memory: read_size(fields, "memory", 512, sink).unwrap_or(MEMORY),
        disk: read_size(fields, "disk", 1024, sink),
    };
    (templates, image.map(|image| Machine { image, ..machine }))
}

/// MiB: a number of them, or a text such as "4 GiB".
fn read_size(fields: &Fields<'_, '_>, key: &str, least: u32, sink: &mut Sink<'_>) -> Option<u32> {
    const MOST: u32 = 64 * 1024 * 1024;
    let value = fields.get(key)?;
    let size = match value.get_ref() {
        DeValue::Integer(_) => integer(value.get_ref()),
        DeValue::String(text) => parse_size(text),
        _ => {
            fields.wrong_type(key, value, "a number of MiB or a text such as \"4 GiB\"", sink);
            return None;
        }
    };
    let good = size.and_then(|size| u32::try_from(size).ok()).filter(|size| (least..=MOST).contains(size));
    if good.is_none() {
        let message = match size {
            Some(size) => {
                format!("`{key}` in {} is {size} MiB; it must be from {least} to {MOST}", fields.what())
            }
            None => format!("`{key}` in {}: `{}` is no size", fields.what(), sink.slice(&value.span())),
        };
        sink.error("plan::bad-value", value.span(), message).hint("for instance 4096 (MiB) or \"4 GiB\"");
    }
    good
}

/// Whole MiB or GiB. `M`, `MB`, `G` and `GB` mean the same, as they do to OpenNebula.
fn parse_size(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim_start() {
        "MiB" | "MB" | "M" => 1,
        "GiB" | "GB" | "G" => 1024,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("4 GiB", Some(4096)),
            ("4GB", Some(4096)),
            (" 512 M ", Some(512)),
            ("4096", None),
            ("4 gib", None),
            ("GiB", None),
            ("1.5 GiB", None),
            ("99999999999999999999 G", None),
            ("9223372036854775807 G", None),
            ("", None),
        ] {
            assert_eq!(parse_size(text), size, "{text}");
        }
    }
}
