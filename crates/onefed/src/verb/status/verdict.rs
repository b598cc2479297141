//! Whether all is well, with every reason why not. What is unknown is never well.

use onefed_link::status::{HubStatus, SpokeLine, SuperLinkStatus};

use super::model::{Known, Problem, ProblemKind, ServiceLine, Status, VmLine};
use crate::table::span;

/// A certificate with fewer days left is a reason to act.
const FEW_DAYS: i64 = 14;
/// A refused operation that was asked for within so many seconds is a reason to act.
const LATELY: u64 = 600;
/// A spoke that is refused asks again well within so many seconds.
const STILL: u64 = 60;
const DISK_FULL: &str = "no room on the disk for messages and replies: calls are passed through one by one, and cuts of \
                         the line are no longer hidden; raise FL_LINK_DISK, or give the VM a larger disk";

/// All reasons. None for a federation of which everything is known and as the plan file says.
pub(super) fn problems(status: &Status) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    for zone in &status.zones {
        if let Some(why) = &zone.why {
            found.unknown(why.clone());
        } else if !zone.supported {
            let version = zone.version.as_deref().unwrap_or_default();
            found.broken(format!("zone {}: OpenNebula {version} is not supported yet", zone.zone));
        }
        if let Some(why) = &zone.oneflow_why {
            found.unknown(why.clone());
        }
    }
    status.services.iter().for_each(|service| found.service(service));
    found.hub(status);
    for site in &status.sites {
        let name = &site.site;
        // Only the hub knows, and its silence is among the reasons already.
        if let Some(online) = site.online.filter(|online| *online < site.expected) {
            found.broken(format!("site {name}: {online} of {} SuperNodes online", site.expected));
        }
        let (up, expected) = (site.spokes_connected, site.spokes_expected);
        if let (Some(up), Known::Known(hub)) = (up.filter(|up| *up < expected), &status.hub) {
            found.broken(format!("site {name}: {up} of {expected} links up{}", cut(hub, name)));
        }
    }
    for certificate in &status.certificates {
        let of = &certificate.of;
        match certificate.days {
            Some(days) if days < 0 => found.broken(format!("certificate {of}: it has expired")),
            Some(days) if days < FEW_DAYS => {
                found.broken(format!("certificate {of}: only {days} days left"));
            }
            Some(_) => {}
            None => found.unknown(format!("certificate {of}: it cannot be read")),
        }
    }
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn broken(&mut self, what: String) {
        self.note(ProblemKind::Broken, what);
    }

    fn unknown(&mut self, what: String) {
        self.note(ProblemKind::Unknown, what);
    }

    fn note(&mut self, kind: ProblemKind, what: String) {
        let problem = Problem { kind, what };
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    fn service(&mut self, service: &ServiceLine) {
        let (zone, name) = (&service.zone, &service.name);
        match service.state.as_str() {
            "RUNNING" => {}
            // That its zone's OneFlow does not answer is among the reasons already.
            "unknown" => return,
            "absent" => return self.broken(format!("zone {zone}: there is no service {name}")),
            state => self.broken(format!("zone {zone}: service {name} is {state}")),
        }
        if service.as_planned == Some(false) {
            self.broken(format!("zone {zone}: service {name} is not as the plan file says"));
        }
        for double in &service.doubles {
            self.broken(format!("zone {zone}: another service is called {name} (#{double})"));
        }
        for role in &service.roles {
            let (is, expected, role) = (role.vms.unwrap_or_default(), role.expected, &role.role);
            if is < expected {
                self.broken(format!("zone {zone}: service {name} has {is} of {expected} VMs in role {role}"));
            }
        }
        service.vms.iter().for_each(|vm| self.vm(service, vm));
    }

    fn vm(&mut self, service: &ServiceLine, vm: &VmLine) {
        let who = format!("zone {}: {} VM {} of {}", service.zone, vm.role, vm.number(), service.name);
        if vm.state == "unknown" {
            return self.unknown(format!("{who}: {}", vm.says));
        }
        let running = vm.state == "ACTIVE" && vm.lcm.as_deref() == Some("RUNNING");
        if !running {
            let state = vm.lcm.as_ref().unwrap_or(&vm.state);
            self.broken(format!("{who} is {state}"));
        }
        if vm.says != "ready" {
            self.broken(match &vm.error {
                Some(error) => format!("{who} says {}: {error}", vm.says),
                None => format!("{who} says {}", vm.says),
            });
        }
    }

    fn hub(&mut self, status: &Status) {
        let hub = match &status.hub {
            Known::Known(hub) => hub,
            Known::Unknown(why) => return self.unknown(format!("hub: {why}")),
        };
        if let SuperLinkStatus::Down(why) = &hub.superlink {
            self.broken(format!("SuperLink is down: {why}"));
        }
        if hub.federation != status.federation {
            self.broken(format!("the hub is that of federation {}", hub.federation));
        }
        if hub.flower != status.flower {
            let (is, wanted) = (&hub.flower, &status.flower);
            self.broken(format!("SuperLink runs Flower {is}, the plan file says {wanted}"));
        }
        if let Some(trouble) = &hub.trouble {
            self.broken(format!("the hub: {trouble}"));
        }
        if hub.link.is_some_and(|link| !link.room) {
            self.broken(format!("the hub: {DISK_FULL}"));
        }
        hub.spokes.iter().for_each(|spoke| self.spoke(spoke));
    }

    /// What a spoke that is there says of itself.
    fn spoke(&mut self, spoke: &SpokeLine) {
        let Some(said) = spoke.said.as_ref().filter(|_| spoke.connected) else { return };
        let site = &spoke.site;
        if !said.stats.room {
            self.broken(format!("site {site}: {DISK_FULL}"));
        }
        for one in &said.stats.unknown {
            if one.seen_seconds + said.age_seconds < LATELY {
                self.broken(format!(
                    "site {site}: a SuperNode asks for the Fleet operation {}, which this onefed refuses: its Flower is newer; \
                     run the release of the plan file there, or a newer onefed",
                    one.name
                ));
            }
        }
    }
}

/// Since when a line of a site is down, why, and until when its SuperNodes are kept online. Where several are down, of
/// the one that was last up. What the hub refuses a spoke for says more: that one tries, and will not get in.
fn cut(hub: &HubStatus, site: &str) -> String {
    let refused = hub.refused_spokes.iter().filter(|spoke| spoke.site == site && spoke.seen_seconds < STILL);
    if let Some(spoke) = refused.min_by_key(|spoke| spoke.seen_seconds) {
        return format!(": the hub refuses spoke {}: {}", spoke.spoke, spoke.why);
    }
    let down = hub.spokes.iter().filter(|spoke| spoke.site == site && !spoke.connected);
    let Some(spoke) = down.min_by_key(|spoke| spoke.since_seconds) else {
        return ": no spoke has come to the hub yet".to_owned();
    };
    let why = if spoke.why.is_empty() { String::new() } else { format!(" ({})", spoke.why) };
    let held = match spoke.held_seconds_left {
        Some(left) => {
            format!(
                "; {} SuperNodes are kept online for another {}: a round waits for them",
                spoke.held,
                span(left)
            )
        }
        None => String::new(),
    };
    format!(": down for {}{why}{held}", span(spoke.since_seconds))
}

#[cfg(test)]
mod tests;
