//! Whether VMs can be placed, whether the zone takes changes, and whether OneGate is where the plan says.

use std::time::Duration;

use onefed_opennebula::xmlrpc::HostAccess;

use super::Look;

/// How long OneGate may take to be reached.
const PATIENCE: Duration = Duration::from_secs(3);

impl Look<'_> {
    /// Hosts and their rights: a new zone gives ordinary users none, and their VMs stay PENDING for ever.
    pub(super) async fn hosts(&mut self) {
        let number = self.extra.number;
        if let (Ok(pool), Some(number)) = (&self.extra.pool, number)
            && pool.iter().any(|zone| zone.id == number && !zone.enabled)
        {
            let message = "it is disabled, so that it refuses every change".to_owned();
            self.error(
                "zone::disabled",
                "endpoint",
                message,
                format!("`onezone enable {number}` at this zone"),
            );
        }
        let user = self.user().to_owned();
        let group = self.extra.user.as_ref().map(|user| user.group_name.clone()).unwrap_or_default();
        let fix = format!(
            "its administrator can give them to group {group}: `onevdc addgroup 0 {group}` and `onevdc addcluster 0 {} ALL`",
            number.unwrap_or_default()
        );
        let why = match self.extra.access {
            Some(Ok(HostAccess::No)) => Some(""),
            // Placing a VM takes a system datastore as well as a host, and virtual data centres give both together. Whoever
            // has VMs here proves the opposite.
            Some(Ok(HostAccess::Unlikely)) if !self.has_vms() => Some(" (it sees no datastore either)"),
            _ => None,
        };
        if let Some(why) = why {
            let message = format!("{user} may use no host{why}, so that no VM would run");
            self.error("zone::no-hosts", "auth", message, fix);
        }
        if let Ok(hosts) = &self.extra.hosts
            && (!hosts.is_empty() || self.is_admin())
            && !hosts.iter().any(onefed_opennebula::xmlrpc::Host::is_usable)
        {
            let states: Vec<String> =
                hosts.iter().map(|host| format!("{} is {}", host.name, host.state)).collect();
            let message = match states.is_empty() {
                true => "it has no host, so that no VM would run".to_owned(),
                false => format!("none of its hosts takes VMs: {}", states.join(", ")),
            };
            let hint = "`onehost list` shows them; `onehost enable` takes one back into use";
            self.error("zone::hosts-down", "endpoint", message, hint);
        }
    }

    fn has_vms(&self) -> bool {
        self.seen.alive.values().flat_map(|roles| roles.values()).any(|count| *count > 0)
    }

    /// OneGate is asked for a connection and nothing more: only VMs have a login there. The operator's seat may not be
    /// where VMs are, so silence is a warning.
    pub(super) async fn onegate(&mut self) {
        let Some(url) = self.zone.onegate.clone() else { return };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let why = match tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => return,
            Ok(Err(why)) => why.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        let shown = url.as_str().trim_end_matches('/');
        let message = format!("OneGate at {shown} cannot be reached from here: {why}");
        let hint = "VMs need it to report what they are; from their network it may be reachable all the same";
        self.warning("zone::onegate", "onegate", message, hint);
    }
}
