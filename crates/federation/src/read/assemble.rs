//! A draft without errors put together. SuperNodes get their partitions here.

use onefed_context::PartitionShare;
use onefed_flower::Release;
use toml::Spanned;

use super::Draft;
use super::site::SiteDraft;
use super::zone::ZoneDraft;
use crate::diagnostic::Diagnostic;
use crate::model::{Coordinator, Federation, LocalNodes, Site, Zone};
use crate::source::PlanText;

/// `None` only if a part is missing that nobody has reported.
pub(super) fn federation(draft: Draft, text: &str, warnings: &[Diagnostic]) -> Option<Federation> {
    let coordinator = draft.coordinator?;
    let local = match coordinator.nodes {
        Some(nodes) => Some((nodes.supernodes?, nodes.node_config)),
        None => None,
    };
    let counts = draft.sites.iter().filter_map(|site| site.supernodes);
    let counts = counts.chain(local.as_ref().map(|(count, _)| *count));
    let total: u32 = counts.fold(0, |sum, count| sum.saturating_add(count.max));
    let mut base = local.as_ref().map_or(0, |(count, _)| count.max);
    let local = local.map(|(supernodes, node_config)| LocalNodes {
        supernodes,
        node_config,
        partition: PartitionShare { base: 0, total },
    });
    let flower = draft.flower?;
    let mut sites = Vec::new();
    for draft in draft.sites {
        let site = site(draft, flower, PartitionShare { base, total })?;
        base = base.saturating_add(site.supernodes.max);
        sites.push(site);
    }
    let coordinator = Coordinator {
        zone: coordinator.zone?.into_inner(),
        address: coordinator.address,
        fleet_port: coordinator.fleet_port,
        admin_port: coordinator.admin_port,
        local,
        variables: coordinator.settings.into_values(),
    };
    let variables = draft.settings.into_values();
    let tls = coordinator.variables.get("FL_TLS_ENABLED").or_else(|| variables.get("FL_TLS_ENABLED"));
    Some(Federation {
        name: draft.name?,
        flower,
        network: draft.network,
        tls: tls.is_none_or(|value| value.eq_ignore_ascii_case("YES")),
        coordinator,
        sites,
        zones: draft.zones.into_iter().map(zone).collect::<Option<_>>()?,
        install: draft.install.and_then(|draft| draft.install),
        variables,
        warnings: warnings.to_vec(),
        text: PlanText::new(text),
    })
}

fn site(draft: SiteDraft, flower: Release, partition: PartitionShare) -> Option<Site> {
    Some(Site {
        name: draft.name?.into_inner(),
        zone: draft.zone?.into_inner(),
        flower: draft.flower.map_or(flower, Spanned::into_inner),
        supernodes: draft.supernodes?,
        gateway: draft.gateway,
        node_config: draft.node_config,
        partition,
        variables: draft.settings.into_values(),
    })
}

fn zone(draft: ZoneDraft) -> Option<Zone> {
    Some(Zone {
        name: draft.name.into_inner(),
        endpoint: draft.endpoint.map(Spanned::into_inner),
        oneflow: draft.oneflow.map(Spanned::into_inner),
        onegate: draft.onegate,
        ca: draft.ca,
        auth: draft.auth,
        templates: draft.templates,
        machine: draft.machine,
        network: draft.network?,
        lan: draft.lan.map(Spanned::into_inner),
    })
}
