//! `[zone.NAME]`.

use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;
use url::Url;

use super::fields::Fields;
use super::machine;
use crate::diagnostic::Sink;
use crate::model::{Machine, Reference, Templates, ZoneName};

const KEYS: &[&str] = &[
    "endpoint",
    "oneflow",
    "onegate",
    "ca",
    "auth",
    "image",
    "cpu",
    "memory",
    "disk",
    "template",
    "superlink_template",
    "gateway_template",
    "supernode_template",
    "network",
    "lan",
];

/// A zone as it was read.
pub(super) struct ZoneDraft {
    pub(super) name: Spanned<ZoneName>,
    pub(super) endpoint: Option<Spanned<Url>>,
    pub(super) oneflow: Option<Spanned<Url>>,
    pub(super) onegate: Option<Url>,
    pub(super) ca: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) templates: Templates,
    pub(super) machine: Option<Machine>,
    /// The place of `image`.
    pub(super) image: Option<Range<usize>>,
    pub(super) network: Option<Reference>,
    pub(super) lan: Option<Spanned<IpNet>>,
}

impl ZoneDraft {
    /// Reads the key `zone` of the plan, in the order of the file; its absence has been reported.
    pub(super) fn read_all(root: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Vec<Self> {
        let Some(table) = root.entries("zone", sink) else { return Vec::new() };
        if table.is_empty() {
            sink.error(
                "plan::missing-key",
                root.key_span("zone"),
                "a federation needs at least one [zone.NAME]",
            );
        }
        let mut zones = Vec::new();
        for (key, value) in table {
            let Some(name) = ZoneName::new(key.get_ref()) else {
                bad_name(key.get_ref(), key.span(), sink);
                continue;
            };
            let what = format!("[zone.{name}]");
            let Some(inner) = value.get_ref().as_table() else {
                let message = format!("{what} must be a table, not of type {}", value.get_ref().type_str());
                sink.error("plan::wrong-type", value.span(), message);
                continue;
            };
            let fields = Fields::open(inner, value.span(), what, KEYS, sink);
            zones.push(Self::read(Spanned::new(key.span(), name), &fields, sink));
        }
        zones.sort_by_key(|zone| zone.name.span().start);
        zones
    }

    fn read(name: Spanned<ZoneName>, fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Self {
        fields.require(&["network"], sink);
        let (templates, machine) = machine::read(fields, sink);
        let endpoint = read_url(fields, "endpoint", sink);
        let oneflow = read_url(fields, "oneflow", sink);
        Self {
            name,
            ca: read_ca(fields, &[&endpoint, &oneflow], sink),
            endpoint,
            oneflow,
            onegate: read_url(fields, "onegate", sink).map(Spanned::into_inner),
            auth: fields.text("auth", sink).map(|text| text.into_inner().to_owned()),
            templates,
            machine,
            image: fields.get("image").map(Spanned::span),
            network: fields.reference("network", sink),
            lan: fields.range("lan", sink),
        }
    }
}

/// The name of a zone as a value.
pub(super) fn read_name(
    fields: &Fields<'_, '_>,
    key: &str,
    sink: &mut Sink<'_>,
) -> Option<Spanned<ZoneName>> {
    let text = fields.text(key, sink)?;
    let name = ZoneName::new(text.get_ref());
    if name.is_none() {
        bad_name(text.get_ref(), text.span(), sink);
    }
    name.map(|name| Spanned::new(text.span(), name))
}

fn bad_name(name: &str, at: Range<usize>, sink: &mut Sink<'_>) {
    sink.error("plan::bad-name", at, format!("`{name}` is not a usable name of a zone"))
        .hint("a lower-case letter, then up to 30 lower-case letters, digits or hyphens");
}

/// `ca`: a file for https endpoints. Endpoints that are found out later may be https ones too.
fn read_ca(fields: &Fields<'_, '_>, given: &[&Option<Spanned<Url>>], sink: &mut Sink<'_>) -> Option<String> {
    let text = fields.text("ca", sink)?;
    if text.get_ref().trim().is_empty() {
        sink.error("plan::bad-value", text.span(), format!("`ca` in {} is empty", fields.what()))
            .hint("the path of a file with a certificate in PEM");
        return None;
    }
    if given.iter().all(|url| url.as_ref().is_some_and(|url| url.get_ref().scheme() == "http")) {
        let message = format!("`ca` in {} is for https, and its endpoints are http ones", fields.what());
        sink.warning("plan::unused-ca", text.span(), message);
    }
    Some(text.into_inner().to_owned())
}

fn read_url(fields: &Fields<'_, '_>, key: &str, sink: &mut Sink<'_>) -> Option<Spanned<Url>> {
    let text = fields.text(key, sink)?;
    let what = fields.what();
    let example = match key {
        "endpoint" => "http://one.example.org:2633/RPC2",
        "onegate" => "http://one.example.org:5030",
        _ => "http://one.example.org:2474",
    };
    let refuse = |why: &str, sink: &mut Sink<'_>| {
        sink.error("plan::bad-url", text.span(), format!("`{key}` in {what}: {why}"))
            .hint(format!("for instance \"{example}\""));
        None
    };
    let url = match Url::parse(text.get_ref()) {
        Ok(url) => url,
        Err(error) => return refuse(&format!("`{}` is not a URL: {error}", text.get_ref()), sink),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse(&format!("the scheme must be http or https, not {}", url.scheme()), sink);
    }
    if !url.username().is_empty() || url.password().is_some() {
        // A password in a plan would end up in a repository; the message must not repeat it.
        return refuse("a URL in a plan must not carry credentials; name a file with `auth`", sink);
    }
    if url.port() == Some(0) {
        return refuse("the port must be a number from 1 to 65535", sink);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("a query or a fragment has no meaning here", sink);
    }
    if key == "endpoint" && !url.path().ends_with("/RPC2") {
        return refuse("OpenNebula answers only at the path /RPC2", sink);
    }
    if url.scheme() == "http" && url.port().is_none() {
        let message = format!("`{key}` in {what} names no port, so that port 80 is meant");
        sink.warning("plan::no-port", text.span(), message).hint(format!("for instance \"{example}\""));
    }
    Some(Spanned::new(text.span(), url))
}
