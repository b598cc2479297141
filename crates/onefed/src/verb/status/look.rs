//! Asking everybody: all zones at once, and the hub as soon as its zone has said where it is. Nothing here fails: what
//! does not answer is unknown, with the cause.

use std::time::SystemTime;

use futures_util::future::join_all;
use onefed_context::{GatewayPlacement, SiteEnrolment};
use onefed_federation::{Federation, LocalNodes, Part};
use onefed_flower::Release;
use onefed_link::status::HubStatus;
use onefed_trust::CertificateInfo;

use super::model::{CertificateLine, Known, ServiceLine, SiteLine, Status, ZoneLine};
use super::{hub, verdict, zone};
use crate::failure::Failure;
use crate::state::State;
use crate::zones::Zones;

/// Asks everybody. `unreachable` says of zones without clients why they have none.
pub(crate) async fn look(
    federation: &Federation,
    zones: &Zones,
    unreachable: &[(String, Failure)],
    state: &State,
) -> Status {
    let ask = |name: &str| {
        let why = unreachable.iter().find(|(zone, _)| zone == name).map(|(_, why)| why.message.as_str());
        zone::look(federation, zones.get(name).ok_or(why), name.to_owned())
    };
    let home = federation.coordinator.zone.as_str();
    let with_hub = async {
        let look = ask(home).await;
        let hub = hub::ask(federation, state, &look).await;
        (look, hub)
    };
    let others = federation.zones.iter().filter(|zone| zone.name.as_str() != home);
    let others = join_all(others.map(|zone| ask(zone.name.as_str())));
    let ((first, (hub_address, hub)), others) = tokio::join!(with_hub, others);

    let (mut zone_lines, services): (Vec<ZoneLine>, Vec<Vec<ServiceLine>>) =
        std::iter::once(first).chain(others).unzip();
    let rank = |name: &str| federation.zones.iter().position(|zone| zone.name.as_str() == name);
    zone_lines.sort_by_key(|zone| rank(&zone.zone));
    // The coordinator first, then the sites in the order of the plan file.
    let place = |name: &str| federation.parts().position(|part| federation.object_name(part) == name);
    let mut services: Vec<ServiceLine> = services.into_iter().flatten().collect();
    services.sort_by_key(|service| place(&service.name));

    let mut status = Status {
        schema_version: 1,
        federation: federation.name.to_string(),
        flower: federation.flower.version().to_string(),
        sites: wanted_sites(federation).iter().map(|site| site_line(site, &services, &hub)).collect(),
        certificates: certificates(state, &hub, &services),
        zones: zone_lines,
        services,
        open: open(federation, &hub),
        hub_address,
        hub,
        problems: Vec::new(),
        healthy: false,
    };
    status.problems = verdict::problems(&status);
    status.healthy = status.problems.is_empty();
    status
}

/// A site as the plan has it.
struct WantedSite<'a> {
    name: &'a str,
    flower: Release,
    service: String,
    fewest: u32,
    gateway: GatewayPlacement,
}

/// The sites of the plan, after the one that the coordinator's own SuperNodes are.
fn wanted_sites(federation: &Federation) -> Vec<WantedSite<'_>> {
    let local = federation.coordinator.local.as_ref().map(|local| WantedSite {
        name: LocalNodes::SITE,
        flower: federation.flower,
        service: federation.object_name(Part::Coordinator),
        fewest: local.supernodes.min,
        gateway: GatewayPlacement::Embedded,
    });
    let sites = federation.sites.iter().map(|site| WantedSite {
        name: site.name.as_str(),
        flower: site.flower,
        service: federation.object_name(Part::Site(&site.name)),
        fewest: site.supernodes.min,
        gateway: site.gateway,
    });
    local.into_iter().chain(sites).collect()
}

/// What a site should have, and what of it the hub sees.
fn site_line(site: &WantedSite<'_>, services: &[ServiceLine], hub: &Known<HubStatus>) -> SiteLine {
    let name = site.name;
    let roles = services.iter().filter(|line| line.name == site.service).flat_map(|line| &line.roles);
    // A site that was scaled up since has more than the plan's fewest.
    let scaled = roles.filter(|role| role.role == "supernode").map(|role| role.expected).max();
    let expected = scaled.unwrap_or_default().max(site.fewest);
    let count = |of: &dyn Fn(&HubStatus) -> usize| match hub {
        Known::Known(hub) => u32::try_from(of(hub)).ok(),
        Known::Unknown(_) => None,
    };
    SiteLine {
        site: name.to_owned(),
        flower: site.flower.version().to_string(),
        expected,
        online: count(&|hub| hub.nodes.iter().filter(|node| node.site == name && node.online).count()),
        spokes_expected: match site.gateway {
            GatewayPlacement::Dedicated => 1,
            GatewayPlacement::Embedded => expected,
        },
        spokes_connected: count(&|hub| {
            hub.spokes.iter().filter(|spoke| spoke.site == name && spoke.connected).count()
        }),
    }
}

/// The operator's own certificates, the hub's as it says itself, and those that `apply` has signed for gateways.
fn certificates(state: &State, hub: &Known<HubStatus>, services: &[ServiceLine]) -> Vec<CertificateLine> {
    let days = |pem: &str| {
        CertificateInfo::from_pem(pem).ok().map(|certificate| certificate.days_left(SystemTime::now()))
    };
    let mut lines = Vec::new();
    if let Ok(root) = state.ca_pem() {
        lines.push(CertificateLine { of: "root CA".to_owned(), days: days(&root) });
    }
    if let Ok(Some(own)) = state.identity() {
        lines.push(CertificateLine { of: "operator".to_owned(), days: days(&own.cert_pem) });
    }
    if let Known::Known(hub) = hub {
        lines.push(CertificateLine { of: "hub".to_owned(), days: Some(hub.certificate_days) });
    }
    for service in services {
        for vm in service.vms.iter().filter(|vm| vm.role == "gateway") {
            if let Some(pem) = &vm.certificate {
                let of = format!("gateway {}/{}", service.zone, vm.number());
                lines.push(CertificateLine { of, days: days(pem) });
            }
        }
    }
    lines
}

/// What is open, by the operator's word or because the lock for it is planned. Every status shows it. Of who may be a
/// site the hub speaks first: it is what runs.
fn open(federation: &Federation, hub: &Known<HubStatus>) -> Vec<String> {
    let mut open = Vec::new();
    if !federation.tls {
        open.push("FL_TLS_ENABLED is NO: models and credentials travel as PLAINTEXT".to_owned());
    } else if !federation.node_auth() {
        open.push("FL_NODE_AUTH is NO: whoever reaches the hub may join as a SuperNode".to_owned());
    }
    let enrolment = match hub {
        Known::Known(hub) if !hub.site_enrolment.is_empty() => hub.site_enrolment.as_str(),
        _ => federation.site_enrolment(),
    };
    if enrolment == SiteEnrolment::Open.as_str() {
        let text =
            "FL_SITE_ENROLMENT is open: whoever reaches the hub may be a site (join tokens are planned)";
        open.push(text.to_owned());
    }
    open
}
