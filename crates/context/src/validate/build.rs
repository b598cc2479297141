//! Valid values put into types. Runs only when no problem is an error.

use std::net::IpAddr;
use std::time::Duration;

use super::{Values, checks, trust};
use crate::keepalive::KeepAlive;
use crate::name::SiteName;
use crate::role::Role;
use crate::rule::id;
use crate::runtime::Runtime;
use crate::san::parse_san_list;
use crate::vm::{
    GatewayContext, HubSource, LinkLimits, PartitionShare, RoleContext, SuperLinkContext, SuperNodeContext,
    VmContext,
};

/// `None` only if a check is missing.
pub(super) fn context(values: &Values<'_>) -> Option<VmContext> {
    let role = match values.role()? {
        Role::SuperLink => RoleContext::SuperLink(superlink(values)?),
        Role::Gateway => RoleContext::Gateway(gateway(values)?),
        Role::SuperNode => RoleContext::SuperNode(supernode(values)?),
    };
    let onegate =
        if values.yes("TOKEN")? { Some(values.given("ONEGATE_ENDPOINT")?.to_owned()) } else { None };
    Some(VmContext {
        vm_id: match values.given("VMID") {
            Some(text) => Some(id(text)?),
            None => None,
        },
        federation: values.parse("FL_FEDERATION")?,
        flower: values.parse("FLOWER_VERSION")?,
        log_level: values.parse("FL_LOG_LEVEL")?,
        keepalive: KeepAlive::from_secs(
            values.count("FL_GRPC_KEEPALIVE_TIME")?,
            values.count("FL_GRPC_KEEPALIVE_TIMEOUT")?,
        )
        .ok()?,
        link: LinkLimits {
            hold: Duration::from_secs(values.count("FL_LINK_HOLD")?.into()),
            disk_bytes: u64::from(values.count("FL_LINK_DISK")?) << 20,
        },
        onegate,
        addresses: addresses(values),
        ca_fingerprint: values.parse("FL_CA_FINGERPRINT"),
        role,
    })
}

fn superlink(values: &Values<'_>) -> Option<SuperLinkContext> {
    Some(SuperLinkContext {
        fleet_api: values.parse("FL_FLEET_API_ADDRESS")?,
        admin_api: values.parse("FL_ADMIN_API_ADDRESS")?,
        database: values.text("FL_DATABASE")?.to_owned(),
        extra_san: match values.text("FL_CERT_EXTRA_SAN") {
            Some(list) => parse_san_list(list).ok()?,
            None => Vec::new(),
        },
        tls: trust::superlink(values)?,
        node_auth: values.yes("FL_NODE_AUTH")?,
        site_enrolment: values.parse("FL_SITE_ENROLMENT")?,
        runtime: runtime(values)?,
    })
}

fn gateway(values: &Values<'_>) -> Option<GatewayContext> {
    Some(GatewayContext { site: site(values)?, hub: values.hub()?, tls: trust::gateway(values)? })
}

fn supernode(values: &Values<'_>) -> Option<SuperNodeContext> {
    let limit = |name| values.count(name).map(|number| Some(number).filter(|number| *number > 0));
    let partition = match (values.count("FL_PARTITION_BASE"), values.count("FL_NUM_PARTITIONS")) {
        (Some(base), Some(total)) => Some(PartitionShare { base, total }),
        _ => None,
    };
    Some(SuperNodeContext {
        site: site(values)?,
        gateway: values.gateway()?,
        hub: match (values.has_spoke(), values.given("FL_SUPERLINK_ADDRESS")) {
            (false, _) => None,
            (true, Some(_)) => Some(HubSource::Static(values.hub()?)),
            (true, None) => Some(HubSource::OneGate),
        },
        trust: trust::site(values)?,
        node_auth: values.yes("FL_NODE_AUTH")?,
        runtime: runtime(values)?,
        node_config: match values.text("FL_NODE_CONFIG") {
            Some(text) => text.parse().ok()?,
            None => crate::node_config::NodeConfig::default(),
        },
        partition,
        max_retries: limit("FL_MAX_RETRIES")?,
        max_wait: limit("FL_MAX_WAIT_TIME")?,
    })
}

/// Only a SuperNode gets here without a name.
fn site(values: &Values<'_>) -> Option<SiteName> {
    match values.given("FL_SITE") {
        Some(name) => name.parse().ok(),
        None => Some(SiteName::local()),
    }
}

fn runtime(values: &Values<'_>) -> Option<Runtime> {
    if values.text("FL_RUNTIME")? != "container" {
        return Some(Runtime::Venv);
    }
    match values.given("FL_CONTAINER_IMAGE") {
        Some(image) => image.parse().ok().map(|image| Runtime::Container(Some(image))),
        None => Some(Runtime::Container(None)),
    }
}

/// All addresses in the order of the interfaces, each once.
fn addresses(values: &Values<'_>) -> Vec<IpAddr> {
    let mut found: Vec<_> = values
        .raw
        .iter()
        .filter_map(|(name, value)| Some((checks::interface(name)?, value.parse::<IpAddr>().ok()?)))
        .collect();
    found.sort_by_key(|(order, _)| *order);
    let mut addresses = Vec::new();
    for (_, address) in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
