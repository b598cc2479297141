//! `[coordinator]`.

use std::ops::Range;

use onefed_context::{Endpoint, Host, NodeConfig};
use toml::Spanned;
use toml::de::DeValue;

use super::fields::Fields;
use super::settings::{Scope, Settings};
use super::{site, syntax, zone};
use crate::diagnostic::Sink;
use crate::model::{Count, ZoneName};

const KEYS: &[&str] =
    &["zone", "address", "fleet_port", "admin_port", "supernodes", "node_config", "variables"];

/// The coordinator as it was read.
pub(super) struct CoordinatorDraft {
    pub(super) at: Range<usize>,
    pub(super) zone: Option<Spanned<ZoneName>>,
    pub(super) address: Option<Host>,
    pub(super) fleet_port: u16,
    pub(super) admin_port: u16,
    /// The SuperNodes of its own.
    pub(super) nodes: Option<NodesDraft>,
    pub(super) settings: Settings,
}

/// `supernodes` and `node_config` as they were read.
pub(super) struct NodesDraft {
    pub(super) at: Range<usize>,
    /// Absent where it is wrong, which has been reported.
    pub(super) supernodes: Option<Count>,
    pub(super) node_config: NodeConfig,
}

impl CoordinatorDraft {
    /// Reads the key `coordinator` of the plan; its absence has been reported.
    pub(super) fn read(root: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<Self> {
        let value = root.get("coordinator")?;
        let (table, at) = match value.get_ref() {
            DeValue::Table(table) => (table, value.span()),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                let mut tables =
                    items.iter().filter_map(|item| Some((item.get_ref().as_table()?, item.span())));
                let first = tables.next()?;
                let others: Vec<_> = tables.collect();
                if others.is_empty() {
                    let message =
                        "a federation has exactly one coordinator: write [coordinator], not [[coordinator]]";
                    sink.error("plan::wrong-type", first.1.clone(), message);
                }
                others.into_iter().for_each(|(_, span)| syntax::second(span, sink));
                first
            }
            _ => {
                root.wrong_type("coordinator", value, "a table", sink);
                return None;
            }
        };
        let fields = Fields::open(table, at, "[coordinator]", KEYS, sink);
        fields.require(&["zone"], sink);
        let fleet_port = read_port(&fields, "fleet_port", 9092, sink);
        let admin_port = read_port(&fields, "admin_port", 9443, sink);
        if fleet_port == admin_port {
            let key = if fields.get("admin_port").is_some() { "admin_port" } else { "fleet_port" };
            let message = format!("`fleet_port` and `admin_port` are both {fleet_port}");
            sink.error("plan::bad-port", fields.key_span(key), message).hint("the hub listens on two ports");
        }
        let nodes = read_nodes(&fields, sink);
        let scope = if nodes.is_some() { Scope::Single } else { Scope::Coordinator };
        Some(Self {
            at: fields.at(),
            zone: zone::read_name(&fields, "zone", sink),
            address: read_address(&fields, sink),
            fleet_port,
            admin_port,
            settings: Settings::read(&fields, scope, sink),
            nodes,
        })
    }
}

fn read_nodes(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<NodesDraft> {
    if fields.get("supernodes").is_none() {
        if fields.get("node_config").is_some() {
            let message = "`node_config` in [coordinator] is for SuperNodes, and there is no `supernodes`";
            sink.error("plan::without-supernodes", fields.key_span("node_config"), message);
        }
        return None;
    }
    let supernodes = site::read_count(fields, sink);
    let node_config = site::read_node_config(fields, sink);
    Some(NodesDraft { at: fields.key_span("supernodes"), supernodes, node_config })
}

fn read_port(fields: &Fields<'_, '_>, key: &str, default: u16, sink: &mut Sink<'_>) -> u16 {
    let number = fields.number(key, 1..=65535, "plan::bad-port", sink);
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(default)
}

fn read_address(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<Host> {
    let text = fields.text("address", sink)?;
    let address = *text.get_ref();
    match address.parse::<Host>() {
        Ok(Host::Ip(ip)) if ip.is_unspecified() || ip.is_multicast() => {
            let message = format!("`address` in [coordinator]: sites cannot dial {ip}");
            sink.error("plan::bad-address", text.span(), message)
                .hint("leave it out to use the address that OpenNebula gives the SuperLink's VM");
            None
        }
        Ok(host) => Some(host),
        Err(_) if address.parse::<Endpoint>().is_ok() => {
            let message = format!("`address` in [coordinator]: `{address}` has a port");
            sink.error("plan::bad-address", text.span(), message).hint("the port is `fleet_port`");
            None
        }
        Err(_) => {
            let message =
                format!("`address` in [coordinator]: `{address}` is neither an IP address nor a DNS name");
            sink.error("plan::bad-address", text.span(), message);
            None
        }
    }
}
