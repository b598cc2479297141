//! `onefed apply`: makes the zones as the plan file wants them. The coordinator first, then the sites in parallel.

mod part;
mod register;
mod sign;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_context::{Endpoint, Host, Secret};
use onefed_federation::{Action, Federation, Inputs, Part, Plan, ZoneIds};
use onefed_trust::RootCa;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::state::{HubAddress, Inventory, State};
use crate::zones::{self, Zones};
use crate::{plan_file, verb};

use self::part::Deployed;
pub(crate) use self::part::leave;

/// What an `apply` works with.
pub(crate) struct Work {
    pub(crate) federation: Federation,
    pub(crate) zones: Zones,
    pub(crate) state: State,
    pub(crate) root: RootCa,
    pub(crate) plan: Plan,
    /// What the plan file calls by name, by zone.
    pub(crate) ids: BTreeMap<String, ZoneIds>,
    pub(crate) output: Output,
}

/// Reads the plan file and applies it.
pub(crate) async fn run(place: &Place, yes: bool, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    apply(federation, state, yes, output).await?;
    Ok(Exit::Ok)
}

/// Applies a plan. What is there already and fits stays as it is.
pub(crate) async fn apply(
    federation: Federation,
    state: State,
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let _lock = state.lock()?;
    let zones = zones::clients(&federation).await?;
    let survey = verb::plan::survey(&federation, &zones).await;
    if let Some(failure) = join(survey.refusal().into_iter().chain(survey.down()).collect()) {
        return Err(failure);
    }
    let (plan, ids) = (survey.plan, survey.ids);
    let made = |change: &onefed_federation::Change| {
        change.kind == onefed_federation::ObjectKind::VmTemplate
            && change.action != onefed_federation::Action::Keep
    };
    if plan.changes().any(made) {
        return Err(part::no_vm_templates());
    }
    let root = state.root(federation.name.as_str())?;
    state.operator(&root)?;
    let started = Instant::now();
    output.say(plan.summary());
    agreed(&plan, yes, output)?;
    let work = Arc::new(Work { federation, zones, state, root, plan, ids, output });

    // Nothing of the sites can come up before the hub has its certificate and its address.
    let coordinator = part::deploy(&work, Part::Coordinator, None, None).await?;
    let hub = hub_address(&work, &coordinator)?;
    let moved = work.state.inventory()?.filter(|before| before.hub != hub).map(|before| {
        format!("the hub was at {}:{}, which its VMs still dial", before.hub.host, before.hub.fleet_port)
    });
    output.say(format!("  the hub is at {}:{}", hub.host, hub.fleet_port));
    if moved.is_none() {
        // With sites that dial another address, only once those are replaced.
        work.state.save_inventory(&Inventory::new(work.federation.name.as_str(), hub.clone()))?;
    }

    let sites = work
        .federation
        .sites
        .iter()
        .map(|site| part::deploy(&work, Part::Site(&site.name), Some(&hub), moved.as_deref()));
    let results = futures_util::future::join_all(sites).await;
    let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
    failures.extend(part::remove_unwanted(&work).await.err());
    if let Some(failure) = join(failures) {
        return Err(failure);
    }
    work.state.save_inventory(&Inventory::new(work.federation.name.as_str(), hub.clone()))?;
    output.say(format!("applied in {:.1} s", started.elapsed().as_secs_f64()));
    output.json(&serde_json::json!({
        "schema_version": 1,
        "federation": work.federation.name.as_str(),
        "seconds": started.elapsed().as_secs_f64(),
        "created": work.plan.count(Action::Create),
        "hub": { "host": hub.host, "fleet_port": hub.fleet_port, "admin_port": hub.admin_port },
    }));
    Ok(())
}

/// Asks before anything is replaced or removed: VMs go with what is on their disks, and runs with them.
fn agreed(plan: &Plan, yes: bool, output: Output) -> Result<(), Failure> {
    let losing = plan.count(Action::Replace) + plan.count(Action::Remove);
    if losing == 0 || yes {
        return Ok(());
    }
    output.say(plan.render());
    let question =
        format!("type the federation's name ({}) to replace or remove {losing} objects:", plan.federation);
    if verb::confirm::by_name(&question, plan.federation.as_str(), output)? {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "not-confirmed", "nothing was done")
        .hint("add --yes to replace without asking"))
}

/// Where sites and operators reach the hub: as the plan says, else at the SuperLink VM's own address.
fn hub_address(work: &Work, coordinator: &Deployed) -> Result<HubAddress, Failure> {
    let plan = &work.federation.coordinator;
    let host = match &plan.address {
        Some(Host::Ip(ip)) => ip.to_string(),
        Some(Host::Name(name)) => name.clone(),
        None => coordinator.address.map(|ip| ip.to_string()).ok_or_else(|| {
            let text = format!("zone {}: the SuperLink's VM has no address", plan.zone);
            Failure::new(Exit::Failed, "no-address", text).hint("name it as `address` in [coordinator]")
        })?,
    };
    Ok(HubAddress { host, fleet_port: plan.fleet_port, admin_port: plan.admin_port })
}

impl Work {
    /// What a part's VMs are told beside the plan: the CA, its pin, the enrolment keys and where the hub is.
    fn inputs(&self, part: Part<'_>, hub: Option<&HubAddress>) -> Result<Inputs, Failure> {
        let name = self.federation.object_name(part);
        let key = self.state.enrol_key(&name)?;
        let hub = hub.and_then(|hub| Endpoint::new(host(&hub.host), hub.fleet_port));
        Ok(Inputs {
            ca_pem_base64: STANDARD.encode(self.root.cert_pem()),
            ca_fingerprint: self.root.fingerprint()?.to_string(),
            hub,
            enrol_keys: BTreeMap::from([(name, Secret::new(key.expose()))]),
        })
    }
}

fn host(text: &str) -> Host {
    text.parse().map_or_else(|_| Host::Name(text.to_owned()), Host::Ip)
}
