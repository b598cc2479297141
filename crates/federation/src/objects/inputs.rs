//! Which inputs a part's service declares, at which level, with which values.
//!
//! OneFlow refuses an instantiation that leaves out the value of any declared input, optional ones too. Template and
//! values are therefore made from this one list.

use onefed_context::{
    Endpoint, GatewayPlacement, Host, InputFlag, NodeConfig, PartitionShare, Placement, Role, San, TABLE,
    Variable, parse_san_list,
};
use onefed_flower::Release;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{Count, Federation, LocalNodes, Part, Site};

/// One declared input.
pub(super) struct Input {
    pub(super) row: &'static Variable,
    pub(super) value: Value,
}

/// The value of an input.
pub(super) enum Value {
    /// What the plan says.
    Known(String),
    /// Where sites reach the hub, where the plan does not say it.
    Hub,
    /// The CA certificate.
    Ca,
}

/// One role of a part's service.
pub(super) struct RoleInputs {
    pub(super) role: Role,
    pub(super) count: Count,
    pub(super) inputs: Vec<Input>,
}

/// A part of a federation with what its inputs depend on.
pub(super) struct Seat<'a> {
    federation: &'a Federation,
    site: Option<&'a Site>,
}

impl<'a> Seat<'a> {
    /// `None` for a site that the federation does not have.
    pub(super) fn new(federation: &'a Federation, part: Part<'_>) -> Option<Self> {
        match part {
            Part::Coordinator => Some(Self { federation, site: None }),
            Part::Site(name) => Some(Self { federation, site: Some(federation.site(name)?) }),
        }
    }

    /// The site, unless this is the coordinator.
    pub(super) fn site(&self) -> Option<&'a Site> {
        self.site
    }

    /// The SuperNodes beside the SuperLink, unless this is a site.
    pub(super) fn local(&self) -> Option<&'a LocalNodes> {
        self.federation.coordinator.local.as_ref().filter(|_| self.site.is_none())
    }

    /// The inputs of the service as a whole.
    pub(super) fn service(&self) -> Vec<Input> {
        let roles = self.roles();
        let used = |row: &Variable| roles.iter().any(|(role, _)| row.used_by(*role, self.has_spoke(*role)));
        self.inputs(Placement::Service, used)
    }

    /// The inputs of each role, in the order in which the roles start.
    pub(super) fn role_inputs(&self) -> Vec<RoleInputs> {
        let inputs = |role| self.inputs(Placement::Role, |row| row.used_by(role, self.has_spoke(role)));
        self.roles()
            .into_iter()
            .map(|(role, count)| RoleInputs { role, count, inputs: inputs(role) })
            .collect()
    }

    /// Whether forms insist on a value. Only what a site cannot be without: where the hub is, and whom to trust.
    pub(super) fn flag(&self, row: &Variable) -> InputFlag {
        if self.site.is_some() { site_flag(row, self.federation.tls) } else { InputFlag::Optional }
    }

    fn roles(&self) -> Vec<(Role, Count)> {
        let one = Count { min: 1, max: 1 };
        match self.site {
            None => {
                let local = self.local().map(|local| (Role::SuperNode, local.supernodes));
                std::iter::once((Role::SuperLink, one)).chain(local).collect()
            }
            Some(site) => match site.gateway {
                GatewayPlacement::Dedicated => vec![(Role::Gateway, one), (Role::SuperNode, site.supernodes)],
                GatewayPlacement::Embedded => vec![(Role::SuperNode, site.supernodes)],
            },
        }
    }

    fn flower(&self) -> Release {
        self.site.map_or(self.federation.flower, |site| site.flower)
    }

    fn node_config(&self) -> Option<&'a NodeConfig> {
        let local = || Some(&self.local()?.node_config);
        self.site.map(|site| &site.node_config).or_else(local)
    }

    fn partition(&self) -> Option<PartitionShare> {
        let local = || Some(self.local()?.partition);
        self.site.map(|site| site.partition).or_else(local)
    }

    fn has_spoke(&self, role: Role) -> bool {
        match role {
            Role::Gateway => true,
            Role::SuperLink => false,
            Role::SuperNode => self.site.is_none_or(|site| site.gateway == GatewayPlacement::Embedded),
        }
    }

    fn inputs(&self, placement: Placement, used: impl Fn(&Variable) -> bool) -> Vec<Input> {
        let rows = rows(placement, used).filter(|row| !is_other_way(row));
        rows.map(|row| Input { row, value: self.value(row) }).collect()
    }

    fn value(&self, row: &'static Variable) -> Value {
        let federation = self.federation;
        let text = match row.name {
            "FLOWER_VERSION" => self.flower().version().to_string(),
            "FL_TLS_ENABLED" => if federation.tls { "YES" } else { "NO" }.to_owned(),
            "FL_FLEET_API_ADDRESS" => self.listen(federation.coordinator.fleet_port),
            "FL_ADMIN_API_ADDRESS" => self.listen(federation.coordinator.admin_port),
            "FL_NODE_AUTH" => if federation.node_auth() { "YES" } else { "NO" }.to_owned(),
            "FL_CERT_EXTRA_SAN" => self.extra_san(self.setting(row)),
            "FL_NODE_CONFIG" => self.node_config().map(ToString::to_string).unwrap_or_default(),
            "FL_PARTITION_BASE" => self.partition().map(|share| share.base.to_string()).unwrap_or_default(),
            "FL_NUM_PARTITIONS" => self.partition().map(|share| share.total.to_string()).unwrap_or_default(),
            "FL_SSL_CA_CERTFILE" if federation.tls => return Value::Ca,
            // SuperNodes beside their SuperLink ask OneGate, whatever address others dial.
            "FL_SUPERLINK_ADDRESS" if self.site.is_none() => String::new(),
            "FL_SUPERLINK_ADDRESS" => match federation.hub() {
                Some(hub) => hub.to_string(),
                None => return Value::Hub,
            },
            _ => self.setting(row).to_owned(),
        };
        Value::Known(text)
    }

    /// The part's own setting, else the one for all, else the table's default, else nothing.
    fn setting(&self, row: &'static Variable) -> &'a str {
        self.given(row).or(row.default).unwrap_or_default()
    }

    fn given(&self, row: &'static Variable) -> Option<&'a str> {
        let own = match self.site {
            Some(site) => &site.variables,
            None => &self.federation.coordinator.variables,
        };
        own.get(row.name).or_else(|| self.federation.variables.get(row.name)).map(String::as_str)
    }

    /// All interfaces, in the family of the address that sites dial.
    fn listen(&self, port: u16) -> String {
        let any = match self.federation.coordinator.address {
            Some(Host::Ip(IpAddr::V6(_))) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        Endpoint::new(Host::Ip(any), port).map(|endpoint| endpoint.to_string()).unwrap_or_default()
    }

    /// The names that the plan asks for and the one that sites dial: a certificate without it helps nobody.
    fn extra_san(&self, given: &str) -> String {
        let mut list = parse_san_list(given).unwrap_or_default();
        if self.federation.tls
            && let Some(address) = self.federation.coordinator.address.clone().map(San::from)
            && !list.contains(&address)
        {
            list.push(address);
        }
        list.iter().map(San::to_string).collect::<Vec<_>>().join(",")
    }
}

/// The inputs of one level, in the order of the table. Every service template is made from this list, with a plan or
/// without.
pub(crate) fn rows(
    placement: Placement,
    used: impl Fn(&Variable) -> bool,
) -> impl Iterator<Item = &'static Variable> {
    TABLE.iter().filter(move |row| row.placement == placement && used(row))
}

/// Whether the form of a training site insists on a value.
pub(crate) fn site_flag(row: &Variable, tls: bool) -> InputFlag {
    match row.name {
        "FL_SUPERLINK_ADDRESS" => InputFlag::Mandatory,
        "FL_SSL_CA_CERTFILE" if tls => InputFlag::Mandatory,
        _ => InputFlag::Optional,
    }
}

/// Ways to TLS that are not the plan's: its sites are told the CA, and its hub gets a certificate from it. A form that
/// asked for them would offer what every VM refuses next to FL_ENROL_KEY or the CA.
fn is_other_way(row: &Variable) -> bool {
    matches!(row.name, "FL_SSL_CERTFILE" | "FL_SSL_KEYFILE" | "FL_CA_TRUST")
}
