//! The screen.

use std::collections::BTreeMap;

use onefed_link::status::{HubStatus, SuperLinkStatus};

use super::links::links;
use super::model::{Known, ProblemKind, ServiceLine, Status, VmLine, ZoneLine};
use crate::table::{plain, render, span};

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
            out.push_str(&run(hub));
        }
        let count = |count: Option<u32>| count.map_or("unknown".to_owned(), |count| count.to_string());
        for site in &self.sites {
            let (online, expected) = (count(site.online), site.expected);
            let release = match site.flower == self.flower {
                true => String::new(),
                false => format!(" (Flower {})", site.flower),
            };
            out.push_str(&format!("  SuperNodes {}{release}: {online} of {expected} online\n", site.site));
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

/// The last run.
fn run(hub: &HubStatus) -> String {
    let Some(run) = hub.runs.first() else { return "  run        none yet\n".to_owned() };
    let round = run.round.map_or(String::new(), |round| format!(", round {round}"));
    let app = plain(&run.app);
    format!("  run        {} {app} {}{round}\n", run.run_id, run.status)
}
