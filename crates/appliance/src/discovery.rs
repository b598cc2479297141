//! What a SuperNode's VM learns from its own OneFlow service: where the gateway is, and which partition is its own.
//!
//! Both are hints. The gateway has to show a certificate of the pinned CA for the address that it names.

use std::time::{Duration, Instant};

use onefed_context::{
    Endpoint, HubSource, NodeConfig, NodeValue, PartitionShare, SiteTrust, SuperNodeContext,
};
use onefed_opennebula::onegate::{Client, GateService};

use crate::files::{Readers, read_if_there, write};
use crate::publication::{attribute, decode};
use crate::{Machine, StepError};

/// How long to wait for others, and how often to look.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// In all.
    whole: Duration,
    /// For OneFlow to have written down who belongs to the service.
    settling: Duration,
    /// Between two looks.
    look: Duration,
}

/// Site services start all their VMs together, so the gateway may be behind: it waits for its certificate, which comes
/// while `apply` runs. A VM may boot before OneFlow has
/// written down that it belongs to the service; OneGate refuses its question then.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(24 * 3600),
    settling: Duration::from_secs(60),
    look: Duration::from_millis(500),
};
/// The roles of a site's service, as the plan names them.
const GATEWAY_ROLE: &str = "gateway";
const SUPERNODE_ROLE: &str = "supernode";
/// The role of the SuperLink where it is in the same service as its SuperNodes.
const SUPERLINK_ROLE: &str = "superlink";

/// The hub, as far as this VM has heard of it.
pub(crate) struct FoundHub {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// The CA that OneGate names for it. A hint.
    pub(crate) ca: Option<String>,
}

/// The hub that the context names; else, within the SuperLink's own service, the one that OneGate names. An address in
/// the context beats OneGate, which is asked then only where the trust in the CA has to come from it.
pub(crate) async fn hub(
    gate: Option<&Client>,
    own: &SuperNodeContext,
    tls: bool,
) -> Result<FoundHub, StepError> {
    if let (Some(HubSource::Static(endpoint)), SiteTrust::Off | SiteTrust::Given(_)) = (&own.hub, &own.trust)
    {
        return Ok(FoundHub { endpoint: endpoint.clone(), ca: None });
    }
    let Some(gate) = gate else {
        return Err(StepError::superlink("FL_SUPERLINK_ADDRESS is empty, and there is no OneGate to ask"));
    };
    let found = superlink(gate, PATIENCE).await?;
    if found.tls != tls {
        let word = |on| if on { "YES" } else { "NO" };
        return Err(StepError::context(
            format!(
                "FL_TLS_ENABLED is {} here, and the SuperLink of this service says {}",
                word(tls),
                word(found.tls)
            ),
            "set FL_TLS_ENABLED for the whole service",
        ));
    }
    let endpoint = match &own.hub {
        Some(HubSource::Static(endpoint)) => endpoint.clone(),
        Some(HubSource::OneGate) | None => found.endpoint,
    };
    Ok(FoundHub { endpoint, ca: found.ca })
}

/// What one look at the service came to.
enum Look<T> {
    Found(T),
    /// Not there yet, and what is there instead.
    NotYet(String),
}

/// Looks at this VM's service until it holds what is looked for. `look` is told whether the service had the time to
/// settle. Each new answer is said once, so that a long wait is never a silent one.
async fn wait_for<T>(
    gate: &Client,
    patience: Patience,
    what: &str,
    failed: impl Fn(String) -> StepError,
    mut look: impl FnMut(GateService, bool) -> Result<Look<T>, StepError>,
) -> Result<T, StepError> {
    let started = Instant::now();
    let mut last = String::new();
    while started.elapsed() < patience.whole {
        let answer = gate.service().await;
        let settled = started.elapsed() > patience.settling;
        let why = match answer {
            Err(why) if !why.is_transient() && settled => return Err(StepError::onegate(&why)),
            Err(why) => why.to_string(),
            Ok(service) => match look(service, settled)? {
                Look::Found(found) => return Ok(found),
                Look::NotYet(why) => why,
            },
        };
        if why != last {
            tracing::info!("not yet: {why}");
            last = why;
        }
        tokio::time::sleep(patience.look).await;
    }
    Err(failed(format!("no {what} within {} minutes: {last}", patience.whole.as_secs() / 60)))
}

struct Published {
    endpoint: Endpoint,
    tls: bool,
    ca: Option<String>,
}

/// Waits for the SuperLink of this service to say where it is.
async fn superlink(gate: &Client, patience: Patience) -> Result<Published, StepError> {
    let look = |service: GateService, settled: bool| {
        let Some(role) = service.roles.into_iter().find(|role| role.name == SUPERLINK_ROLE) else {
            let why = format!("service {} has no role {SUPERLINK_ROLE}", service.id);
            return if settled { Err(StepError::superlink(why)) } else { Ok(Look::NotYet(why)) };
        };
        let Some(vm) = role.nodes.into_iter().find_map(|node| node.vm) else {
            let why = format!("service {} has no VM in role {SUPERLINK_ROLE} yet", service.id);
            return Ok(Look::NotYet(why));
        };
        let said = |name| vm.user_template.get(name).map(String::as_str);
        let Some(text) = said(attribute::ENDPOINT).and_then(decode) else {
            let state = said(attribute::STATE).unwrap_or("not up yet");
            return Ok(Look::NotYet(format!("SuperLink VM {} is {state}", vm.id)));
        };
        let endpoint = text
            .parse()
            .map_err(|why| StepError::superlink(format!("SuperLink VM {} names `{text}`: {why}", vm.id)))?;
        let tls = said(attribute::TLS) == Some("YES");
        Ok(Look::Found(Published { endpoint, tls, ca: said(attribute::CA).and_then(decode) }))
    };
    wait_for(gate, patience, "SuperLink", StepError::superlink, look).await
}

/// Waits for the gateway of this service to name its endpoint.
pub(crate) async fn gateway(gate: &Client) -> Result<Endpoint, StepError> {
    let look = |service: GateService, _| {
        let role = service.roles.into_iter().find(|role| role.name == GATEWAY_ROLE);
        let Some(vm) = role.and_then(|role| role.nodes.into_iter().find_map(|node| node.vm)) else {
            let why = format!("service {} has no VM in role {GATEWAY_ROLE} yet", service.id);
            return Ok(Look::NotYet(why));
        };
        let said = |name| vm.user_template.get(name).map(String::as_str);
        let Some(text) = said(attribute::ENDPOINT).and_then(decode) else {
            let state = said(attribute::STATE).unwrap_or("not up yet");
            return Ok(Look::NotYet(format!("gateway VM {} is {state}", vm.id)));
        };
        let endpoint = text
            .parse()
            .map_err(|why| StepError::gateway(format!("gateway VM {} names `{text}`: {why}", vm.id)))?;
        Ok(Look::Found(endpoint))
    };
    wait_for(gate, PATIENCE, "gateway", StepError::gateway, look).await
}

/// The node configuration of this SuperNode: the operator's, the site, and its partition. A `partition-id` of the
/// operator's own switches the automatic one off.
pub(crate) async fn node_config(
    machine: &Machine,
    gate: Option<&Client>,
    site: &str,
    given: &NodeConfig,
    share: Option<PartitionShare>,
) -> Result<NodeConfig, StepError> {
    let mut config = given.clone();
    let mut add = |key: &str, value| match config.get(key) {
        Some(_) => Ok(()),
        None => config.push(key, value).map_err(StepError::partition),
    };
    add("site", NodeValue::Text(site.to_owned()))?;
    if let Some(share) = share.filter(|_| given.get("partition-id").is_none()) {
        let id = share.base + index(machine, gate).await?;
        if id >= share.total {
            return Err(StepError::partition(format!(
                "this SuperNode would get partition {id}, but the federation has only {}",
                share.total
            )));
        }
        add("partition-id", NodeValue::Int(id.into()))?;
        add("num-partitions", NodeValue::Int(share.total.into()))?;
    }
    Ok(config)
}

/// This VM's place among the SuperNodes of its site. Found once and kept on the disk: scaling must not move a node to
/// other data.
async fn index(machine: &Machine, gate: Option<&Client>) -> Result<u32, StepError> {
    let path = machine.disk.join("partition-index");
    let kept = read_if_there(&path).map_err(|why| StepError::file(&path, &why))?;
    if let Some(index) = kept.and_then(|text| text.trim().parse().ok()) {
        return Ok(index);
    }
    let Some(gate) = gate else {
        return Err(StepError::partition(
            "without OneGate a SuperNode cannot know its place among the others",
        ));
    };
    let look = |service: GateService, _| {
        let Some(role) = service.roles.iter().find(|role| role.name == SUPERNODE_ROLE) else {
            let why = format!("service {} has no role {SUPERNODE_ROLE}", service.id);
            return Err(StepError::partition(why));
        };
        let mut ids: Vec<u32> = role.nodes.iter().filter_map(|node| node.deploy_id).collect();
        ids.sort_unstable();
        let place = ids.iter().position(|id| *id == gate.vm_id());
        // Ids only grow, so a VM's place is settled once it and everybody before it are listed.
        Ok(match (place, ids.len() >= role.cardinality as usize) {
            (Some(place), true) => Look::Found(u32::try_from(place).unwrap_or(u32::MAX)),
            _ => Look::NotYet(format!("{} of {} SuperNodes are listed", ids.len(), role.cardinality)),
        })
    };
    let index = wait_for(gate, PATIENCE, "place", StepError::partition, look).await?;
    write(&path, index.to_string().as_bytes(), Readers::Owner).map_err(|why| StepError::file(&path, &why))?;
    Ok(index)
}

#[cfg(test)]
mod tests;
