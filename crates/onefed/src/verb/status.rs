//! `onefed status`: the federation on one screen. From the zones' APIs and the hub's admin endpoint only; what cannot
//! be reached is unknown, with the cause.

use std::time::SystemTime;

use onefed_appliance::attribute;
use onefed_context::GatewayPlacement;
use onefed_federation::{Federation, Part};
use onefed_link::status::{HubStatus, SuperLinkStatus};
use onefed_opennebula::VmId;
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::Vm;
use onefed_trust::CertificateInfo;
use serde::Serialize;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;
use crate::state::State;
use crate::table::{bytes, render, span};
use crate::zones::{self, ZoneClients, Zones};
use crate::{plan_file, verb};

/// A certificate with fewer days left is a reason to act.
const FEW_DAYS: i64 = 14;

/// The state of a federation.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    schema_version: u32,
    federation: String,
    flower: String,
    services: Vec<ServiceLine>,
    sites: Vec<SiteLine>,
    /// The hub's own words, or why they are unknown.
    hub: Known<HubStatus>,
    /// Days until the root CA ends.
    root_days: Option<i64>,
    /// What the operator has left open by name.
    open: Vec<String>,
    /// Something is missing, broken or unknown.
    healthy: bool,
}

/// A value that could be asked for, or the cause why it could not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Known<T> {
    Known(T),
    Unknown(String),
}

/// A service of the federation and its VMs.
#[derive(Debug, Serialize)]
struct ServiceLine {
    zone: String,
    name: String,
    /// OneFlow's state, `absent`, or `unknown`.
    state: String,
    /// Why it is unknown.
    why: Option<String>,
    vms: Vec<VmLine>,
}

/// One VM.
#[derive(Debug, Serialize)]
struct VmLine {
    id: u32,
    role: String,
    /// What OpenNebula says of it.
    state: String,
    /// What it says of itself.
    says: String,
    address: Option<String>,
    node_id: Option<String>,
}

/// A site's link and SuperNodes.
#[derive(Debug, Serialize)]
struct SiteLine {
    site: String,
    expected: u32,
    /// `None` where the hub does not say.
    online: Option<u32>,
    spokes_expected: u32,
    spokes_connected: Option<u32>,
}

/// Shows the state. Exit code 0 only if all is well.
pub(crate) async fn run(place: &Place, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let zones = zones::clients(&federation).await?;
    let status = look(&federation, &zones, &state).await;
    output.text(status.render());
    output.json(&status);
    Ok(if status.healthy { Exit::Ok } else { Exit::Failed })
}

/// Asks everybody. Never fails: what does not answer is unknown.
pub(crate) async fn look(federation: &Federation, zones: &Zones, state: &State) -> Status {
    let hub = async {
        let client = verb::connect::admin_client(state)?;
        client.status().await.map_err(Failure::from)
    };
    let lines =
        futures_util::future::join_all(federation.parts().map(|part| service_line(federation, zones, part)));
    let (hub, services) = tokio::join!(hub, lines);
    let root = state.ca_pem().ok().and_then(|pem| CertificateInfo::from_pem(&pem).ok());
    let hub = match hub {
        Ok(hub) => Known::Known(hub),
        Err(why) => Known::Unknown(why.message),
    };
    let sites: Vec<SiteLine> = federation
        .sites
        .iter()
        .map(|site| {
            let count = |online: &dyn Fn(&HubStatus) -> usize| match &hub {
                Known::Known(hub) => u32::try_from(online(hub)).ok(),
                Known::Unknown(_) => None,
            };
            let name = site.name.as_str();
            SiteLine {
                site: name.to_owned(),
                expected: site.supernodes.min,
                online: count(&|hub| {
                    hub.nodes.iter().filter(|node| node.site == name && node.online).count()
                }),
                spokes_expected: match site.gateway {
                    GatewayPlacement::Dedicated => 1,
                    GatewayPlacement::Embedded => site.supernodes.min,
                },
                spokes_connected: count(&|hub| {
                    hub.spokes.iter().filter(|spoke| spoke.site == name && spoke.connected).count()
                }),
            }
        })
        .collect();
    let healthy = services.iter().all(|service| service.state == "RUNNING")
        && sites.iter().all(|site| {
            site.online >= Some(site.expected) && site.spokes_connected >= Some(site.spokes_expected)
        })
        && matches!(&hub, Known::Known(hub) if hub.superlink == SuperLinkStatus::Up && hub.certificate_days >= FEW_DAYS)
        && services.iter().flat_map(|service| &service.vms).all(|vm| vm.says == "ready");
    Status {
        schema_version: 1,
        federation: federation.name.to_string(),
        flower: federation.flower.version().to_string(),
        services,
        sites,
        hub,
        root_days: root.map(|root| root.days_left(SystemTime::now())),
        open: open(federation),
        healthy,
    }
}

/// What the operator has left open by name. Every status shows it.
fn open(federation: &Federation) -> Vec<String> {
    if !federation.tls {
        return vec!["FL_TLS_ENABLED is NO: models and credentials travel as PLAINTEXT".to_owned()];
    }
    if !federation.node_auth() {
        return vec!["FL_NODE_AUTH is NO: whoever reaches the hub may join as a SuperNode".to_owned()];
    }
    Vec::new()
}

async fn service_line(federation: &Federation, zones: &Zones, part: Part<'_>) -> ServiceLine {
    let zone = match part {
        Part::Coordinator => Some(&federation.coordinator.zone),
        Part::Site(name) => federation.site(name).map(|site| &site.zone),
    };
    let zone = zone.map(ToString::to_string).unwrap_or_default();
    let name = federation.object_name(part);
    let line =
        |state: String, why, vms| ServiceLine { zone: zone.clone(), name: name.clone(), state, why, vms };
    let Some(clients) = zones.get(&zone) else {
        return line("unknown".into(), Some("no such zone".into()), Vec::new());
    };
    match service(federation, clients, &name).await {
        Ok(None) => line("absent".into(), None, Vec::new()),
        Ok(Some((service, vms))) => line(service.state.to_string(), None, vms),
        Err(why) => line("unknown".into(), Some(why.to_string()), Vec::new()),
    }
}

async fn service(
    federation: &Federation,
    zone: &ZoneClients,
    name: &str,
) -> Result<Option<(Service, Vec<VmLine>)>, onefed_opennebula::Error> {
    let ours = |service: &Service| {
        let label = service.body.get("onefed").and_then(|label| label.get("federation"));
        service.name == name && label.and_then(|label| label.as_str()) == Some(federation.name.as_str())
    };
    let Some(service) = zone.oneflow.services().await?.into_iter().find(ours) else { return Ok(None) };
    let ids: Vec<VmId> = service.roles.iter().flat_map(|role| role.nodes.iter().flatten().cloned()).collect();
    let vms = futures_util::future::join_all(ids.iter().map(|id| zone.xmlrpc.vm(id))).await;
    let lines = ids.iter().zip(vms).map(|(id, vm)| match vm {
        Ok(vm) => vm_line(&vm),
        Err(why) => VmLine {
            id: id.id,
            role: "?".into(),
            state: "unknown".into(),
            says: why.to_string(),
            address: None,
            node_id: None,
        },
    });
    Ok(Some((service, lines.collect())))
}

fn vm_line(vm: &Vm) -> VmLine {
    let of = |name: &str| vm.user_template.get(name).cloned();
    VmLine {
        id: vm.id.id,
        role: vm.role_name.clone().unwrap_or_else(|| "?".into()),
        state: vm.state.to_string(),
        says: of(attribute::STATE).unwrap_or_else(|| "nothing yet".into()),
        address: vm.nics.iter().find_map(|nic| nic.ip).map(|ip| ip.to_string()),
        node_id: of(attribute::NODE_ID),
    }
}

impl Status {
    /// The screen.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("federation {}   Flower {}\n\n", self.federation, self.flower);
        let dash = || "–".to_owned();
        let mut rows = Vec::new();
        for service in &self.services {
            rows.push(vec![service.zone.clone(), service.name.clone(), service.state.clone()]);
            for vm in &service.vms {
                let node = vm.node_id.as_ref().map_or(String::new(), |id| format!(", node {id}"));
                let address = vm.address.clone().unwrap_or_else(dash);
                rows.push(vec![
                    String::new(),
                    format!("  VM {} {}", vm.id, vm.role),
                    format!("{}, {}{node}", vm.state, vm.says),
                    address,
                ]);
            }
        }
        out.push_str(&render(&["zone", "service", "state", "address"], &rows));
        out.push_str("\n\n");
        // Not in the table: a long sentence would push its columns apart.
        self.open.iter().for_each(|what| out.push_str(&format!("  OPEN       {what}\n")));
        let reasons: Vec<&String> = self.services.iter().filter_map(|service| service.why.as_ref()).collect();
        reasons.iter().for_each(|why| out.push_str(&format!("  unknown    {why}\n")));
        match &self.hub {
            Known::Unknown(why) => out.push_str(&format!("  hub        unknown: {why}\n")),
            Known::Known(hub) => out.push_str(&self.render_hub(hub)),
        }
        let count = |count: Option<u32>| count.map_or("unknown".to_owned(), |count| count.to_string());
        for site in &self.sites {
            out.push_str(&format!(
                "  SuperNodes {}: {} of {} online\n",
                site.site,
                count(site.online),
                site.expected
            ));
        }
        out.push_str(if self.healthy {
            "\nall is well"
        } else if self.services.iter().all(|service| service.state == "absent") {
            "\nnothing is deployed: `onefed apply` does that"
        } else {
            "\nNOT all is well: see above"
        });
        out
    }

    fn render_hub(&self, hub: &HubStatus) -> String {
        let superlink = match &hub.superlink {
            SuperLinkStatus::Up => "up".to_owned(),
            SuperLinkStatus::Down(why) => format!("DOWN: {why}"),
        };
        let root = self.root_days.map_or("unknown".to_owned(), |days| format!("{days} days"));
        let mut out = format!(
            "  hub        up {}, SuperLink {} {superlink}, {} requests refused\n  certificates  hub {} days, root CA {root}\n\n",
            span(hub.uptime_seconds),
            hub.flower,
            hub.refused,
            hub.certificate_days,
        );
        let rows: Vec<Vec<String>> = hub
            .spokes
            .iter()
            .map(|spoke| {
                let since = span(spoke.since_seconds);
                let ping =
                    spoke.ping_age_seconds.map_or("none yet".to_owned(), |age| format!("{} ago", span(age)));
                let rtt = spoke.rtt_ms.map_or(String::new(), |rtt| format!(", {rtt:.1} ms"));
                vec![
                    spoke.site.clone(),
                    if spoke.connected { format!("up {since}") } else { format!("DOWN {since}") },
                    spoke.peer.clone(),
                    ping + &rtt,
                    bytes(spoke.bytes_down),
                    bytes(spoke.bytes_up),
                    spoke.calls.to_string(),
                ]
            })
            .collect();
        out.push_str(&render(&["link", "state", "peer", "PINGs answered", "down", "up", "calls"], &rows));
        out.push_str("\n\n");
        for spoke in &hub.refused_spokes {
            out.push_str(&format!("  refused    spoke {} of {}: {}\n", spoke.spoke, spoke.site, spoke.why));
        }
        for node in &hub.refused_nodes {
            let (key, site, why) = (&node.key, &node.site, &node.why);
            out.push_str(&format!("  refused    SuperNode {key} of {site}: {why}\n"));
        }
        match hub.runs.first() {
            None => out.push_str("  run        none yet\n"),
            Some(run) => {
                let round = run.round.map_or(String::new(), |round| format!(", round {round}"));
                out.push_str(&format!("  run        {} {} {}{round}\n", run.run_id, run.app, run.status));
            }
        }
        out
    }
}
