//! The screen.

use std::collections::BTreeMap;

use onefed_link::status::{HubStatus, SuperLinkStatus};

use super::model::{Known, ProblemKind, ServiceLine, Status, VmLine, ZoneLine};
use crate::table::{bytes, plain, render, span};

impl Status {
    /// The federation on one screen. The reasons why not all is well come last, where they stay in sight.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("federation {}   Flower {}\n\n", self.federation, self.flower);
        out.push_str(&self.services());
        out.push_str("\n\n");
        // Not in the table: a long sentence would push its columns apart.
        self.open.iter().for_each(|what| out.push_str(&format!("  OPEN       {what}\n")));
        match &self.hub {
            Known::Unknown(_) => out.push_str("  hub        unknown\n"),
            Known::Known(hub) => out.push_str(&self.hub_line(hub)),
        }
        if !self.certificates.is_empty() {
            let days = |days: Option<i64>| days.map_or("unknown".to_owned(), |days| format!("{days} days"));
            let each = self.certificates.iter().map(|it| format!("{} {}", it.of, days(it.days)));
            out.push_str(&format!("  certificates  {}\n", each.collect::<Vec<_>>().join(", ")));
        }
        if let Known::Known(hub) = &self.hub {
            out.push_str(&links(hub));
        }
        let count = |count: Option<u32>| count.map_or("unknown".to_owned(), |count| count.to_string());
        for site in &self.sites {
            let (online, expected) = (count(site.online), site.expected);
            out.push_str(&format!("  SuperNodes {}: {online} of {expected} online\n", site.site));
        }
        for (site, online) in self.foreign() {
            let site = plain(site);
            out.push_str(&format!("  SuperNodes {site}: {online} online, a site that is not in the plan\n"));
        }
        out.push('\n');
        for problem in &self.problems {
            let word = match problem.kind {
                ProblemKind::Broken => "broken ",
                ProblemKind::Unknown => "unknown",
            };
            out.push_str(&format!("  {word}  {}\n", plain(&problem.what)));
        }
        out.push_str(if self.healthy {
            "all is well"
        } else if self.services.iter().all(|service| service.state == "absent") {
            "nothing is deployed: `onefed apply` does that"
        } else {
            "NOT all is well"
        });
        out
    }

    /// Zones, services and VMs in one table.
    fn services(&self) -> String {
        let mut rows = Vec::new();
        for zone in &self.zones {
            let version = version(zone);
            let here: Vec<&ServiceLine> =
                self.services.iter().filter(|service| service.zone == zone.zone).collect();
            if here.is_empty() {
                rows.push(vec![zone.zone.clone(), version.clone(), "–".to_owned()]);
            }
            for (at, service) in here.into_iter().enumerate() {
                let of_zone = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
                let state = match service.as_planned {
                    Some(false) => format!("{}, not as planned", service.state),
                    _ => service.state.clone(),
                };
                rows.push(vec![of_zone(&zone.zone), of_zone(&version), service.name.clone(), state]);
                rows.extend(service.vms.iter().map(vm_row));
            }
        }
        render(&["zone", "OpenNebula", "service", "state", "address"], &rows)
    }

    /// Sites that the hub knows and the plan does not, for instance because they were made by hand, with the number of
    /// their SuperNodes that are online. A SuperNode that came without a spoke has no site.
    fn foreign(&self) -> BTreeMap<&str, usize> {
        let mut foreign = BTreeMap::new();
        let Known::Known(hub) = &self.hub else { return foreign };
        for node in &hub.nodes {
            if !node.site.is_empty() && !self.sites.iter().any(|site| site.site == node.site) {
                *foreign.entry(node.site.as_str()).or_default() += usize::from(node.online);
            }
        }
        foreign
    }

    fn hub_line(&self, hub: &HubStatus) -> String {
        let superlink = match &hub.superlink {
            SuperLinkStatus::Up => "up".to_owned(),
            SuperLinkStatus::Down(why) => format!("DOWN: {}", plain(why)),
        };
        let at = self.hub_address.as_ref().map_or(String::new(), |at| format!("{} ", at.host));
        let (up, flower, refused) = (span(hub.uptime_seconds), &hub.flower, hub.refused);
        format!("  hub        {at}up {up}, SuperLink {flower} {superlink}, {refused} requests refused\n")
    }
}

fn version(zone: &ZoneLine) -> String {
    match (&zone.version, zone.supported) {
        (Some(version), true) => version.clone(),
        (Some(version), false) => format!("{version}, too old"),
        (None, _) => "unknown".to_owned(),
    }
}

fn vm_row(vm: &VmLine) -> Vec<String> {
    let state = match vm.lcm.as_deref() {
        None | Some("RUNNING") => &vm.state,
        Some(_) => vm.lcm.as_ref().unwrap_or(&vm.state),
    };
    let node = vm.node_id.as_ref().map_or(String::new(), |id| format!(", node {id}"));
    // Why it is unknown is among the problems.
    let says = if vm.state == "unknown" { String::new() } else { format!(", {}{node}", vm.says) };
    let address = vm.address.clone().unwrap_or_else(|| "–".to_owned());
    let name = format!("  VM {} {}", vm.number(), vm.role);
    vec![String::new(), String::new(), name, format!("{state}{says}"), address]
}

/// The lines to the sites, who was sent away, and the last run.
fn links(hub: &HubStatus) -> String {
    let row = |spoke: &onefed_link::status::SpokeLine| {
        let since = span(spoke.since_seconds);
        let ping = spoke.ping_age_seconds.map_or("none yet".to_owned(), |age| format!("{} ago", span(age)));
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
    };
    let rows: Vec<Vec<String>> = hub.spokes.iter().map(row).collect();
    let header = ["link", "state", "peer", "PINGs answered", "down", "up", "calls"];
    let mut out = format!("\n{}\n\n", render(&header, &rows));
    for spoke in &hub.refused_spokes {
        let (site, why) = (plain(&spoke.site), plain(&spoke.why));
        out.push_str(&format!("  refused    spoke {} of {site}: {why}\n", plain(&spoke.spoke)));
    }
    for node in &hub.refused_nodes {
        let (key, site, why) = (&node.key, plain(&node.site), plain(&node.why));
        out.push_str(&format!("  refused    SuperNode {key} of {site}: {why}\n"));
    }
    match hub.runs.first() {
        None => out.push_str("  run        none yet\n"),
        Some(run) => {
            let round = run.round.map_or(String::new(), |round| format!(", round {round}"));
            let app = plain(&run.app);
            out.push_str(&format!("  run        {} {app} {}{round}\n", run.run_id, run.status));
        }
    }
    out
}
