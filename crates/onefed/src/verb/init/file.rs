//! The plan file, with every optional key as a comment that shows its default.

use std::fmt::Write as _;

use onefed_context::variable;

use super::choose::{Choice, Reference, Site, Used};
use super::zone::{Object, Zone};
use crate::table::plain;

/// So many names of a kind are listed in a comment.
const LISTED: usize = 12;

/// The text of the plan file.
pub(super) fn render(choice: &Choice) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        r#"# A federation over OpenNebula zones, written by `onefed init`. Edit it, then
#
#   onefed plan     shows what would be made in which zone
#   onefed apply    makes it
#   onefed status   shows how it is
#
# A comment that begins with a key shows a setting that is optional, mostly with its default.

name   = {name}
flower = {flower}    # the Flower release; every zone runs the same one

[network]
mode = {mode}      # "routed": the zones reach each other already, by a VPN or a network of their own; "public": they do so
                     # over the open internet
# subnet = "10.10.9.0/24"    # tunnel addresses; no default (the tunnel is planned)

[coordinator]        # exactly one: SuperLink and hub
zone = {zone}
"#,
        name = quoted(&choice.name),
        flower = quoted(&choice.flower),
        mode = quoted(&choice.mode),
        zone = quoted(&choice.coordinator),
    );
    let about = "where sites reach the hub, an IP address or a DNS name";
    let _ = match &choice.address {
        Some(address) => writeln!(out, "address = {}    # {about}", quoted(address)),
        None => writeln!(
            out,
            "# address = \"203.0.113.10\"    # {about};\n                               # without it, the address that OpenNebula gives the SuperLink's VM"
        ),
    };
    out.push_str(
        "# fleet_port = 9092           # the hub's port for sites\n\
         # admin_port = 9443           # the hub's port for `onefed status` and the like\n\
         # variables = {}              # context variables of this VM alone\n",
    );
    choice.sites.iter().for_each(|it| site(&mut out, it));
    choice.zones.iter().for_each(|it| zone(&mut out, it));
    variables(&mut out);
    out
}

fn site(out: &mut String, site: &Site) {
    let _ = write!(
        out,
        r#"
[[site]]
name       = {}
zone       = {}
supernodes = {}                # or {{ min = 2, max = 10 }}
# gateway = "dedicated"       # one VM holds the site's end of the link; "embedded" puts it into every SuperNode
# node_config = {{}}            # what the SuperNodes tell the ClientApp, for instance {{ department = "radiology" }}
# variables = {{}}              # context variables of this site's VMs alone
"#,
        quoted(&site.name),
        quoted(&site.zone),
        site.supernodes,
    );
}

fn zone(out: &mut String, used: &Used) {
    let Used { found, endpoint, oneflow, template, network } = used;
    let _ = writeln!(out, "\n[zone.{}]{}", found.zone, about(found));
    let _ = writeln!(out, "endpoint = {}    # XML-RPC", quoted(endpoint.as_str()));
    let answers = if found.oneflow_answers { "" } else { "    # it did not answer: is this right?" };
    let _ = writeln!(out, "oneflow  = {}{answers}", quoted(oneflow.as_str().trim_end_matches('/')));
    out.push_str("# onegate = \"http://one.example.org:5030\"    # as VMs reach it; no default, used to check that it answers\n");
    let _ = match &found.ca {
        Some(file) => writeln!(out, "ca       = {}    # the CA of https endpoints, in PEM", quoted(file)),
        None => writeln!(
            out,
            "# ca = \"ca.pem\"    # a file with the CA of https endpoints; without it, the system's CAs"
        ),
    };
    let _ = match &found.auth {
        Some(file) => writeln!(out, "auth     = {}    # a file with user:password", quoted(file)),
        None => writeln!(
            out,
            "# auth = \"one_auth\"    # a file with user:password; without it, that of ONE_AUTH, else ~/.one/one_auth"
        ),
    };
    let _ = writeln!(
        out,
        "template = {}{}",
        reference(template),
        listed("there are", found.templates.as_deref())
    );
    for role in ["superlink", "gateway", "supernode"] {
        let _ = writeln!(out, "# {role}_template = {}    # another one for this role", reference(template));
    }
    out.push_str(
        "# image = \"Ubuntu 24.04\"    # instead of `template`: onefed makes VM templates from this image, see [install]",
    );
    out.push_str(&listed("there are", found.images.as_deref()));
    out.push_str(
        "\n# cpu = 2         # of the templates that onefed makes\n\
         # memory = 4096   # MiB, or \"4 GiB\"\n\
         # disk = 10240    # MiB; without it, as large as the image\n",
    );
    let _ =
        writeln!(out, "network  = {}{}", reference(network), listed("there are", found.networks.as_deref()));
    out.push_str("# lan = \"10.0.0.0/24\"    # the network's range; no default, used to check that a tunnel does not overlap\n");
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
    format!("    # {}", parts.join(", "))
}

fn listed(words: &str, objects: Option<&[Object]>) -> String {
    let Some(objects) = objects.filter(|objects| !objects.is_empty()) else { return String::new() };
    let names = objects.iter().take(LISTED).map(|object| format!("{} #{}", plain(&object.name), object.id));
    let more = if objects.len() > LISTED { ", …" } else { "" };
    format!("    # {words}: {}{more}", names.collect::<Vec<_>>().join(", "))
}

fn variables(out: &mut String) {
    let _ = write!(
        out,
        r#"
# [install]         # how a plain image becomes what is needed; without it, images have onefed in them
# onefed = {{ url = "https://…", sha256 = "…" }}          # the onefed binary; or {{ file = "NAME", … }} in a FILES datastore
# flower = {{ url = "https://…", sha256 = "…" }}          # an archive of wheels; without it, Flower comes from an index
# index = "https://pypi.org/simple"                     # that index
# requirements = {{ url = "https://…", sha256 = "…" }}    # with a hash for every package

[variables]    # context variables of every VM (`onefed vars` lists them), for instance these with their defaults
"#
    );
    for name in [
        "FL_GRPC_KEEPALIVE_TIME",
        "FL_GRPC_KEEPALIVE_TIMEOUT",
        "FL_NODE_AUTH",
        "FL_SITE_ENROLMENT",
        "FL_TLS_ENABLED",
    ] {
        let Some(row) = variable(name) else { continue };
        // A federation has other defaults than a VM alone where its operator registers keys and signs.
        let default =
            if matches!(name, "FL_NODE_AUTH" | "FL_TLS_ENABLED") { Some("YES") } else { row.default };
        let _ = writeln!(out, "# {name} = {}    # {}", quoted(default.unwrap_or_default()), row.description);
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
