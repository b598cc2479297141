//! The plan file, with every optional key as a comment that shows its default.

use std::fmt::Write as _;

use onefed_context::variable;

use super::choose::{Choice, Reference, Site, Used};
use super::zone::{Object, Zone};
use crate::table::plain;

/// So many names of a kind are listed in a comment.
const LISTED: usize = 12;

/// The text of the plan file. The first site and the first zone show all settings, the others their own only.
pub(super) fn render(choice: &Choice) -> String {
    let mut out = Lines(HEAD.lines().map(str::to_owned).collect());
    out.set("name   =", &quoted(&choice.name), "");
    out.set("flower =", &quoted(&choice.flower), "the Flower release; a [[site]] may name another one");
    out.table("[network]", "");
    let modes = "\"routed\": the zones reach each other already, by a VPN or a network of their own; \"public\": by the internet";
    out.set("mode =", &quoted(&choice.mode), modes);
    out.set("# subnet =", "\"10.10.9.0/24\"", "tunnel addresses; no default (the tunnel is planned)");
    out.table("[coordinator]", "exactly one: SuperLink and hub");
    out.set("zone =", &quoted(&choice.coordinator), "");
    let about = "where sites reach the hub, an IP address or a DNS name";
    match &choice.address {
        Some(address) => out.set("address =", &quoted(address), about),
        None => {
            let without = format!("{about}; without it, the address of the SuperLink's VM");
            out.set("# address =", "\"203.0.113.10\"", &without);
        }
    }
    out.set("# fleet_port =", "9092", "the hub's port for sites");
    out.set("# admin_port =", "9443", "the hub's port for `onefed status` and the like");
    out.set("# variables =", "{}", "context variables of this VM alone");
    choice
        .sites
        .iter()
        .enumerate()
        .for_each(|(at, it)| site(&mut out, it, (at == 0).then_some(choice.flower.as_str())));
    choice.zones.iter().enumerate().for_each(|(at, it)| zone(&mut out, it, at == 0));
    rest(&mut out);
    out.aligned()
}

const HEAD: &str = "\
# A federation over OpenNebula zones, written by `onefed init`. Edit it, then
#
#   onefed plan     shows what would be made in which zone
#   onefed apply    makes it
#   onefed status   shows how it is
#
# A comment that begins with a key shows a setting that is optional, mostly with its default.

";

/// `flower`, at the first site: the federation's release, with all that a site may say.
fn site(out: &mut Lines, site: &Site, flower: Option<&str>) {
    out.table("[[site]]", "");
    out.set("name       =", &quoted(&site.name), "");
    out.set("zone       =", &quoted(&site.zone), "");
    out.set("supernodes =", &site.supernodes.to_string(), "or { min = 2, max = 10 }");
    if let Some(flower) = flower {
        let about = "one VM holds the site's end of the link; \"embedded\" puts it into every SuperNode";
        out.set("# gateway =", "\"dedicated\"", about);
        let about = "what the SuperNodes tell the ClientApp, for instance { department = \"radiology\" }";
        out.set("# flower =", &quoted(flower), "another release at this site; the link translates");
        out.set("# node_config =", "{}", about);
        out.set("# variables =", "{}", "context variables of this site's VMs alone");
    }
}

fn zone(out: &mut Lines, used: &Used, first: bool) {
    let Used { found, endpoint, oneflow, template, network } = used;
    out.table(&format!("[zone.{}]", found.zone), &about(found));
    out.set("endpoint =", &quoted(endpoint.as_str()), "XML-RPC");
    let answers = if found.oneflow_answers { "" } else { "it did not answer: is this right?" };
    out.set("oneflow  =", &quoted(oneflow.as_str().trim_end_matches('/')), answers);
    if first {
        let about = "as VMs reach it; no default, used to check that it answers";
        out.set("# onegate =", "\"http://one.example.org:5030\"", about);
    }
    match &found.ca {
        Some(file) => out.set("ca       =", &quoted(file), "the CA of https endpoints, in PEM"),
        None if first => {
            out.set(
                "# ca =",
                "\"ca.pem\"",
                "a file with the CA of https endpoints; without it, the system's CAs",
            );
        }
        None => {}
    }
    let about = "a file with user:password";
    match &found.auth {
        Some(file) => out.set("auth     =", &quoted(file), about),
        None if first => {
            let without = format!("{about}; without it, that of ONE_AUTH, else ~/.one/one_auth");
            out.set("# auth =", "\"one_auth\"", &without);
        }
        None => {}
    }
    out.set("template =", &reference(template), &listed(found.templates.as_deref()));
    if first {
        for role in ["superlink", "gateway", "supernode"] {
            let value = reference(template);
            out.set(&format!("# {role}_template ="), &value, &format!("another one for the {role}'s VM"));
        }
        let about = "instead of `template`: onefed makes VM templates from this image, see [install]";
        out.set("# image =", &image(found), about);
        out.set("# cpu =", "2", "of the templates that onefed makes");
        out.set("# memory =", "4096", "MiB, or \"4 GiB\"");
        out.set("# disk =", "10240", "MiB; without it, as large as the image");
    }
    if let Some(images) = &found.images {
        let images = listed(Some(images));
        out.note(&if images.is_empty() {
            "no images to boot from".to_owned()
        } else {
            images.replacen("there are", "images", 1)
        });
    }
    out.set("network  =", &reference(network), &listed(found.networks.as_deref()));
    if first {
        let about = "the network's range; no default, used to check that a tunnel does not overlap";
        out.set("# lan =", "\"10.0.0.0/24\"", about);
    }
}

/// The first image of a zone, as an example that it has.
fn image(zone: &Zone) -> String {
    let images = zone.images.iter().flatten();
    let first = images.map(|image| &image.name).find(|name| !name.trim().is_empty());
    quoted(first.map_or("Ubuntu 24.04", String::as_str))
}

/// What is known of a zone beside its table's name.
fn about(zone: &Zone) -> String {
    let name = match zone.opennebula_name == zone.zone {
        true => String::new(),
        false => format!("\"{}\" in OpenNebula", plain(&zone.opennebula_name)),
    };
    let version = match &zone.version {
        Some(version) => format!("OpenNebula {}", plain(version)),
        None => "it did not answer".to_owned(),
    };
    let parts: Vec<String> = [name, version].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Names and ids for a comment; empty where there are none.
fn listed(objects: Option<&[Object]>) -> String {
    let Some(objects) = objects.filter(|objects| !objects.is_empty()) else { return String::new() };
    let names = objects.iter().take(LISTED).map(|object| format!("{} #{}", plain(&object.name), object.id));
    let more = if objects.len() > LISTED { ", …" } else { "" };
    format!("there are: {}{more}", names.collect::<Vec<_>>().join(", "))
}

/// What is for the whole federation.
fn rest(out: &mut Lines) {
    out.table(
        "# [install]",
        "how a plain image becomes what is needed; without it, images have onefed in them",
    );
    let source = "{ url = \"https://…\", sha256 = \"…\" }";
    out.set("# onefed =", source, "the onefed binary; or { file = \"NAME\", … } in a FILES datastore");
    out.set("# flower =", source, "an archive of wheels; without it, Flower comes from an index");
    out.set("# index =", "\"https://pypi.org/simple\"", "that index");
    out.set("# requirements =", source, "with a hash for every package");
    out.table("[variables]", "context variables of every VM (`onefed vars` lists them), for instance these");
    for name in VARIABLES {
        let Some(row) = variable(name) else { continue };
        // A federation registers keys of itself; an appliance alone has nobody who does.
        let default = if name == "FL_NODE_AUTH" { Some("YES") } else { row.default };
        out.set(&format!("# {name} ="), &quoted(default.unwrap_or_default()), row.description);
    }
}

/// Shown with their defaults.
const VARIABLES: [&str; 6] = [
    "FL_GRPC_KEEPALIVE_TIME",
    "FL_GRPC_KEEPALIVE_TIMEOUT",
    "FL_LINK_HOLD",
    "FL_NODE_AUTH",
    "FL_SITE_ENROLMENT",
    "FL_TLS_ENABLED",
];

/// The lines of the file. A tab stands before a comment: nothing else has one.
struct Lines(Vec<String>);

impl Lines {
    fn table(&mut self, head: &str, comment: &str) {
        self.0.push(String::new());
        self.set(head, "", comment);
    }

    fn set(&mut self, key: &str, value: &str, comment: &str) {
        let gap = if value.is_empty() { "" } else { " " };
        let comment = if comment.is_empty() { String::new() } else { format!("\t# {comment}") };
        self.0.push(format!("{key}{gap}{value}{comment}"));
    }

    fn note(&mut self, comment: &str) {
        self.0.push(format!("#   {comment}"));
    }

    /// The comments of a table begin in the same column, unless a line is too long for that.
    fn aligned(self) -> String {
        const FARTHEST: usize = 52;
        let width = |line: &String| line.split_once('\t').map_or(0, |(setting, _)| setting.chars().count());
        let mut out = String::new();
        for table in self.0.split(|line| line.is_empty()) {
            let widths = table.iter().map(width).filter(|width| *width <= FARTHEST);
            let column = widths.max().unwrap_or_default();
            for line in table {
                // Writing to a String cannot fail.
                let _ = match line.split_once('\t') {
                    Some((setting, comment)) => writeln!(out, "{setting:column$}    {comment}"),
                    None => writeln!(out, "{line}"),
                };
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }
}

fn reference(reference: &Reference) -> String {
    match reference {
        Reference::Id(id) => id.to_string(),
        Reference::Name(name) => quoted(name),
    }
}

/// A text as a basic string of TOML, on one line whatever is in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests;
