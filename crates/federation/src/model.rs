//! A federation as its plan file describes it, checked.

mod software;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use onefed_context::{
    Endpoint, FederationName, GatewayPlacement, Host, NodeConfig, PartitionShare, Role, SiteEnrolment,
    SiteName, variable,
};
use onefed_flower::Release;
use serde::Serialize;
use url::Url;

use crate::diagnostic::Diagnostic;
use crate::source::PlanText;

pub use software::{FlowerFrom, Install, Location, Machine, Source, VmTemplate};

/// The variable that says who may be a site.
pub(crate) const SITE_ENROLMENT: &str = "FL_SITE_ENROLMENT";

/// A checked federation. Made by [`crate::parse`] only; every name in it refers to something that is there.
#[derive(Clone, Debug)]
pub struct Federation {
    /// `name`.
    pub name: FederationName,
    /// `flower`: SuperLink's release, and that of every site which names none of its own.
    pub flower: Release,
    /// `[network]`.
    pub network: Network,
    /// `[coordinator]`.
    pub coordinator: Coordinator,
    /// `[[site]]`, in the order of the file; at least one, unless the coordinator has SuperNodes.
    pub sites: Vec<Site>,
    /// `[zone.…]`, in the order of the file.
    pub zones: Vec<Zone>,
    /// `[install]`; there is one where a zone has an `image`.
    pub install: Option<Install>,
    /// Whether the Fleet link is encrypted; the same for all.
    pub tls: bool,
    /// `[variables]`: for every VM whose role uses them.
    pub variables: BTreeMap<String, String>,
    /// What is allowed but doubtful, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The text that all of this is from.
    pub text: PlanText,
}

/// How sites reach the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `mode`.
    pub mode: NetworkMode,
    /// `subnet`: the range of tunnel addresses.
    pub subnet: Option<IpNet>,
}

/// What carries the traffic between zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network that exists already, for instance the VPN of the organisations.
    Routed,
    /// The public internet.
    Public,
}

/// The coordinating side: one VM with SuperLink and hub, and SuperNodes beside it where the plan says so.
#[derive(Clone, Debug)]
pub struct Coordinator {
    /// Its zone.
    pub zone: ZoneName,
    /// Where sites reach the hub, if not at the address that OpenNebula gives the VM.
    pub address: Option<Host>,
    /// The hub's port for sites.
    pub fleet_port: u16,
    /// The hub's port for the operator.
    pub admin_port: u16,
    /// `supernodes`: a federation that trains where it is coordinated. They are in the SuperLink's own service.
    pub local: Option<LocalNodes>,
    /// `variables` of this table.
    pub variables: BTreeMap<String, String>,
}

/// The SuperNodes in the coordinator's own service, each with its spoke in its VM. They find the hub through OneGate.
#[derive(Clone, Debug)]
pub struct LocalNodes {
    /// How many.
    pub supernodes: Count,
    /// What they tell the ClientApp.
    pub node_config: NodeConfig,
    /// Their part of the training data, the first one.
    pub partition: PartitionShare,
}

/// A training site.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name, unique in the federation.
    pub name: SiteName,
    /// Its zone.
    pub zone: ZoneName,
    /// `flower`: the release of its VMs; the federation's where it names none. The link translates between releases.
    pub flower: Release,
    /// How many SuperNodes.
    pub supernodes: Count,
    /// Where its spoke runs.
    pub gateway: GatewayPlacement,
    /// What its SuperNodes tell the ClientApp.
    pub node_config: NodeConfig,
    /// Its part of the training data: `max` ids from `base` on.
    pub partition: PartitionShare,
    /// `variables` of this table.
    pub variables: BTreeMap<String, String>,
}

/// A number of VMs, from `min` to `max`; `min` is at least 1, and they start with `min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The fewest, and the number at the start.
    pub min: u32,
    /// The most.
    pub max: u32,
}

/// An OpenNebula zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name in the plan.
    pub name: ZoneName,
    /// Its XML-RPC endpoint; to be found out where the plan does not say it.
    pub endpoint: Option<Url>,
    /// Its OneFlow endpoint; to be found out where the plan does not say it.
    pub oneflow: Option<Url>,
    /// Its OneGate endpoint, as VMs reach it; used to check that it answers, and for nothing else.
    pub onegate: Option<Url>,
    /// The path of a file with the CA of its https endpoints in PEM, as written.
    pub ca: Option<String>,
    /// The path of a `one_auth` file, as written.
    pub auth: Option<String>,
    /// The VM templates of the three roles.
    pub templates: Templates,
    /// What onefed makes VM templates from; there is one where a role's template is [`VmTemplate::Made`].
    pub machine: Option<Machine>,
    /// The network that VMs get their NIC in.
    pub network: Reference,
    /// The range of that network, if given.
    pub lan: Option<IpNet>,
}

/// The VM templates of a zone, one for each role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    /// For the SuperLink.
    pub superlink: VmTemplate,
    /// For gateways.
    pub gateway: VmTemplate,
    /// For SuperNodes.
    pub supernode: VmTemplate,
}

/// An object of a zone, by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Reference {
    /// By its id, which means something in its zone only.
    Id(u32),
    /// By its name.
    Name(String),
}

/// The name of a zone in the plan; spelled as names of sites are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ZoneName(String);

/// A part of a federation that is one OneFlow service: the coordinator, or one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part<'a> {
    /// The coordinator.
    Coordinator,
    /// A site, by its name.
    Site(&'a SiteName),
}

impl Federation {
    /// A zone by its name.
    pub fn zone(&self, name: &ZoneName) -> Option<&Zone> {
        self.zones.iter().find(|zone| &zone.name == name)
    }

    /// A site by its name.
    pub fn site(&self, name: &SiteName) -> Option<&Site> {
        self.sites.iter().find(|site| &site.name == name)
    }

    /// The roles that VMs of a zone have: SuperLink, gateway, SuperNode.
    pub fn roles_in(&self, zone: &ZoneName) -> Vec<Role> {
        let sites = || self.sites.iter().filter(|site| &site.zone == zone);
        let used = |role: &Role| match role {
            Role::SuperLink => &self.coordinator.zone == zone,
            Role::Gateway => sites().any(|site| site.gateway == GatewayPlacement::Dedicated),
            Role::SuperNode => {
                let local = &self.coordinator.zone == zone && self.coordinator.local.is_some();
                local || sites().next().is_some()
            }
        };
        [Role::SuperLink, Role::Gateway, Role::SuperNode].into_iter().filter(used).collect()
    }

    /// The roles whose VM templates onefed makes in a zone.
    pub fn made_roles(&self, zone: &ZoneName) -> Vec<Role> {
        let made =
            |role: &Role| self.zone(zone).is_some_and(|zone| *zone.templates.of(*role) == VmTemplate::Made);
        self.roles_in(zone).into_iter().filter(made).collect()
    }

    /// The name of a VM template that onefed makes: `<federation>-<role>`.
    pub fn vm_template_name(&self, role: Role) -> String {
        format!("{}-{role}", self.name)
    }

    /// The role of a VM template that onefed makes, by the template's name.
    pub fn vm_template_role(&self, name: &str) -> Option<Role> {
        name.strip_prefix(self.name.as_str())?.strip_prefix('-')?.parse().ok()
    }

    /// The coordinator, then the sites in the order of the file.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        std::iter::once(Part::Coordinator).chain(self.sites.iter().map(|site| Part::Site(&site.name)))
    }

    /// Whether SuperNodes are known by registered keys: with TLS, unless the plan says otherwise, or opens the
    /// federation to sites made by hand, whose keys nobody registers. An appliance alone, where nobody registers keys
    /// at all, has another default.
    pub fn node_auth(&self) -> bool {
        let given = self.of_coordinator("FL_NODE_AUTH");
        self.tls && given.map_or(!self.opened_by_name(), |value| value.eq_ignore_ascii_case("YES"))
    }

    /// Who may be a site: what the plan says, else the table's default.
    pub fn site_enrolment(&self) -> &str {
        let default = || variable(SITE_ENROLMENT).and_then(|row| row.default).unwrap_or_default();
        self.of_coordinator(SITE_ENROLMENT).unwrap_or_else(default)
    }

    fn opened_by_name(&self) -> bool {
        self.of_coordinator(SITE_ENROLMENT) == Some(SiteEnrolment::Open.as_str())
    }

    /// A variable of the coordinator, where the plan sets it.
    fn of_coordinator(&self, name: &str) -> Option<&str> {
        self.coordinator.variables.get(name).or_else(|| self.variables.get(name)).map(String::as_str)
    }

    /// What sites dial, where the plan says it.
    pub fn hub(&self) -> Option<Endpoint> {
        Endpoint::new(self.coordinator.address.clone()?, self.coordinator.fleet_port)
    }

    /// The name of a part's OneFlow template and service: `<federation>-coordinator` or `<federation>-<site>`.
    pub fn object_name(&self, part: Part<'_>) -> String {
        match part {
            Part::Coordinator => format!("{}-coordinator", self.name),
            Part::Site(site) => format!("{}-{site}", self.name),
        }
    }
}

impl LocalNodes {
    /// The name of the site that they are to the hub.
    pub const SITE: &str = "local";
}

impl Templates {
    /// The template of a role.
    pub fn of(&self, role: Role) -> &VmTemplate {
        match role {
            Role::SuperLink => &self.superlink,
            Role::Gateway => &self.gateway,
            Role::SuperNode => &self.supernode,
        }
    }
}

impl Count {
    /// Exactly so many.
    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_fixed() { write!(f, "{}", self.min) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "#{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl ZoneName {
    /// A zone's name; `None` for a text that is not spelled as names are.
    pub fn new(text: &str) -> Option<Self> {
        onefed_context::is_plain_name(text).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
