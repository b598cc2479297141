//! What a VM knows about itself once its context is valid.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::fingerprint::CaFingerprint;
use crate::keepalive::KeepAlive;
use crate::name::{FederationName, SiteName};
use crate::node_config::NodeConfig;
use crate::pem::CaBundle;
use crate::role::{GatewayPlacement, LogLevel, Role, SiteEnrolment};
use crate::runtime::Runtime;
use crate::san::San;
use crate::trust::{GatewayTls, SiteTrust, SuperLinkTls};

/// A release number `X.Y.Z`, well formed. Whether onefed knows the release is for the crate that knows Flower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowerVersion(String);

/// A text that is not `X.Y.Z`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form X.Y.Z")]
pub struct FlowerVersionError(String);

/// A valid context of one VM.
#[derive(Clone, Debug, PartialEq)]
pub struct VmContext {
    /// `VMID`; it is unique in its zone only. Always there with OneGate.
    pub vm_id: Option<u32>,
    /// `FL_FEDERATION`.
    pub federation: FederationName,
    /// `FLOWER_VERSION`.
    pub flower: FlowerVersion,
    /// `FL_LOG_LEVEL`.
    pub log_level: LogLevel,
    /// `FL_GRPC_KEEPALIVE_TIME` and `…_TIMEOUT`.
    pub keepalive: KeepAlive,
    /// `FL_LINK_HOLD` and `FL_LINK_DISK`.
    pub link: LinkLimits,
    /// `ONEGATE_ENDPOINT`, where `TOKEN` is `YES`.
    pub onegate: Option<String>,
    /// The addresses of this VM, the primary one first; at least one.
    pub addresses: Vec<IpAddr>,
    /// `FL_CA_FINGERPRINT`: what the CA certificate's fingerprint must be, wherever the CA comes from.
    pub ca_fingerprint: Option<CaFingerprint>,
    /// What only this role is told.
    pub role: RoleContext,
}

/// What the hub or the spoke of a VM may use, and for how long it stands in for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkLimits {
    /// For how long a cut of the line is hidden from Flower; zero where it is not.
    pub hold: Duration,
    /// How many bytes of the disk objects may take.
    pub disk_bytes: u64,
}

/// The part of a context that depends on the role.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleContext {
    /// The SuperLink's VM, with the hub.
    SuperLink(SuperLinkContext),
    /// A site's gateway VM, with the spoke.
    Gateway(GatewayContext),
    /// A SuperNode's VM.
    SuperNode(SuperNodeContext),
}

/// What the SuperLink's VM is told.
#[derive(Clone, Debug, PartialEq)]
pub struct SuperLinkContext {
    /// `FL_FLEET_API_ADDRESS`: where the hub listens for sites.
    pub fleet_api: Endpoint,
    /// `FL_ADMIN_API_ADDRESS`: where the hub listens for the operator.
    pub admin_api: Endpoint,
    /// `FL_DATABASE`: a relative path without `..`.
    pub database: String,
    /// `FL_CERT_EXTRA_SAN`, without repetitions.
    pub extra_san: Vec<San>,
    /// `FL_TLS_ENABLED`, and where the certificate comes from.
    pub tls: SuperLinkTls,
    /// `FL_NODE_AUTH`: Flower takes only SuperNodes whose key is registered. Only with TLS.
    pub node_auth: bool,
    /// `FL_SITE_ENROLMENT`.
    pub site_enrolment: SiteEnrolment,
    /// `FL_RUNTIME` and `FL_CONTAINER_IMAGE`.
    pub runtime: Runtime,
}

/// What a gateway's VM is told.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayContext {
    /// `FL_SITE`.
    pub site: SiteName,
    /// `FL_SUPERLINK_ADDRESS`: the hub.
    pub hub: Endpoint,
    /// `FL_TLS_ENABLED`, and where the certificate comes from.
    pub tls: GatewayTls,
}

/// What a SuperNode's VM is told.
#[derive(Clone, Debug, PartialEq)]
pub struct SuperNodeContext {
    /// `FL_SITE`; [`SiteName::local`] where that is blank, at a single site.
    pub site: SiteName,
    /// `FL_GATEWAY`; always embedded at a single site.
    pub gateway: GatewayPlacement,
    /// Where the hub is; always there with an embedded gateway, never with a dedicated one.
    pub hub: Option<HubSource>,
    /// `FL_TLS_ENABLED`, and whom to trust.
    pub trust: SiteTrust,
    /// `FL_NODE_AUTH`: the SuperNode signs with a key of this VM, which somebody registers. Only with TLS.
    pub node_auth: bool,
    /// `FL_RUNTIME` and `FL_CONTAINER_IMAGE`.
    pub runtime: Runtime,
    /// `FL_NODE_CONFIG`.
    pub node_config: NodeConfig,
    /// `FL_PARTITION_BASE` and `FL_NUM_PARTITIONS`.
    pub partition: Option<PartitionShare>,
    /// `FL_MAX_RETRIES`; none for no limit. Flower's flag is left out then: given as 0, Flower stops after one try.
    pub max_retries: Option<u32>,
    /// `FL_MAX_WAIT_TIME` in seconds; none for no limit, and then Flower's flag is left out.
    pub max_wait: Option<u32>,
}

/// Where a spoke learns the address of its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubSource {
    /// `FL_SUPERLINK_ADDRESS` says it.
    Static(Endpoint),
    /// The SuperLink of the VM's own OneFlow service names it through OneGate; only where `FL_SITE` is blank.
    OneGate,
}

/// The partitions of the training data that belong to one site: ids from `base` on, of `total` over all sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartitionShare {
    /// The id of the site's first SuperNode; below `total`.
    pub base: u32,
    /// The number of partitions over all sites.
    pub total: u32,
}

impl VmContext {
    /// The role of this VM.
    pub fn role(&self) -> Role {
        match self.role {
            RoleContext::SuperLink(_) => Role::SuperLink,
            RoleContext::Gateway(_) => Role::Gateway,
            RoleContext::SuperNode(_) => Role::SuperNode,
        }
    }

    /// What tells this VM from the others of its site: its id in the zone, else its primary address.
    pub fn name_in_zone(&self) -> String {
        match (self.vm_id, self.addresses.first()) {
            (Some(id), _) => id.to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        }
    }

    /// `FL_TLS_ENABLED`.
    pub fn tls(&self) -> bool {
        match &self.role {
            RoleContext::SuperLink(own) => own.tls != SuperLinkTls::Off,
            RoleContext::Gateway(own) => own.tls != GatewayTls::Off,
            RoleContext::SuperNode(own) => own.trust != SiteTrust::Off,
        }
    }

    /// The CA certificates that the context itself holds, whatever the role.
    pub fn ca(&self) -> Option<&CaBundle> {
        match &self.role {
            RoleContext::SuperLink(own) => own.tls.ca(),
            RoleContext::Gateway(own) => own.tls.ca(),
            RoleContext::SuperNode(own) => own.trust.ca(),
        }
    }

    /// How Flower is run; none on a gateway, which runs none.
    pub fn runtime(&self) -> Option<&Runtime> {
        match &self.role {
            RoleContext::SuperLink(own) => Some(&own.runtime),
            RoleContext::Gateway(_) => None,
            RoleContext::SuperNode(own) => Some(&own.runtime),
        }
    }

    /// The site, for a gateway or a SuperNode.
    pub fn site(&self) -> Option<&SiteName> {
        match &self.role {
            RoleContext::SuperLink(_) => None,
            RoleContext::Gateway(own) => Some(&own.site),
            RoleContext::SuperNode(own) => Some(&own.site),
        }
    }
}

impl FlowerVersion {
    /// The release number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FlowerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for FlowerVersion {
    type Err = FlowerVersionError;

    fn from_str(text: &str) -> Result<Self, FlowerVersionError> {
        let number = |part: &str| part.len() <= 5 && crate::rule::count(part).is_some();
        let good = text.split('.').count() == 3 && text.split('.').all(number);
        if good { Ok(Self(text.to_owned())) } else { Err(FlowerVersionError(text.to_owned())) }
    }
}
