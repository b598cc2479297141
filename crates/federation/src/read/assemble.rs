//! A draft without errors put together. Sites get their partitions here.

use onefed_context::PartitionShare;
use toml::Spanned;

use super::Draft;
use super::site::SiteDraft;
use super::zone::ZoneDraft;
use crate::diagnostic::Diagnostic;
use crate::model::{Coordinator, Federation, Site, Zone};

/// `None` only if a part is missing that nobody has reported.
pub(super) fn federation(draft: Draft, warnings: &[Diagnostic]) -> Option<Federation> {
    let coordinator = draft.coordinator?;
    let total: u32 = draft
        .sites
        .iter()
        .filter_map(|site| site.supernodes)
        .fold(0, |sum, count| sum.saturating_add(count.max));
    let mut base = 0;
    let mut sites = Vec::new();
    for draft in draft.sites {
        let site = site(draft, PartitionShare { base, total })?;
        base = base.saturating_add(site.supernodes.max);
        sites.push(site);
    }
    let coordinator = Coordinator {
        zone: coordinator.zone?.into_inner(),
        address: coordinator.address,
        fleet_port: coordinator.fleet_port,
        admin_port: coordinator.admin_port,
        variables: coordinator.settings.into_values(),
    };
    let variables = draft.settings.into_values();
    let tls = coordinator.variables.get("FL_TLS_ENABLED").or_else(|| variables.get("FL_TLS_ENABLED"));
    Some(Federation {
        name: draft.name?,
        flower: draft.flower?,
        network: draft.network,
        tls: tls.is_none_or(|value| value.eq_ignore_ascii_case("YES")),
        coordinator,
        sites,
        zones: draft.zones.into_iter().map(zone).collect::<Option<_>>()?,
        install: draft.install.and_then(|draft| draft.install),
        variables,
        warnings: warnings.to_vec(),
    })
}

fn site(draft: SiteDraft, partition: PartitionShare) -> Option<Site> {
    Some(Site {
        name: draft.name?.into_inner(),
        zone: draft.zone?.into_inner(),
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
