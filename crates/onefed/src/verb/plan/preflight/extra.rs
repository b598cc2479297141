//! What is asked of a zone for the preflight alone. A question without an answer is a warning, and nothing more.

use onefed_federation::Zone as PlanZone;
use onefed_opennebula::Error;
use onefed_opennebula::xmlrpc::{Configuration, Group, Host, HostAccess, Image, User, Zone};

use super::Look;
use crate::failure::Failure;
use crate::zones::ZoneClients;

/// The answers.
pub(super) struct Extra {
    /// The user of the login, with its quotas.
    pub(super) user: Result<User, Failure>,
    /// The user's primary group, whose quotas its VMs count in.
    pub(super) group: Option<Result<Group, Failure>>,
    /// The zones of the OpenNebula federation that this zone is in.
    pub(super) pool: Result<Vec<Zone>, Failure>,
    /// The number of this zone in it, if it is known.
    pub(super) number: Option<u32>,
    /// The hosts that the login may see.
    pub(super) hosts: Result<Vec<Host>, Failure>,
    /// Whether VMs of the login can be placed; only where the zone's number is known.
    pub(super) access: Option<Result<HostAccess, Failure>>,
    /// Why images are not known.
    pub(super) images: Option<String>,
}

impl Extra {
    /// Asks everything.
    pub(super) async fn ask(
        zone: &PlanZone,
        clients: &ZoneClients,
        images: &Result<Vec<Image>, Error>,
    ) -> Self {
        let rpc = &clients.xmlrpc;
        let (user, pool, configuration, hosts) =
            tokio::join!(rpc.user(), rpc.zone_pool(), rpc.system_config(), rpc.hosts());
        let configuration = configuration.unwrap_or_default();
        let number = pool.as_ref().ok().and_then(|pool| number(zone, pool, &configuration));
        let (mut group, mut access) = (None, None);
        if let Ok(user) = user.as_ref().map(|user| user.clone())
            && !user.is_admin()
        {
            group = Some(rpc.group(&user.group).await.map_err(Failure::from));
            if let Some(number) = number {
                access = Some(rpc.host_access(&user, number).await.map_err(Failure::from));
            }
        }
        Self {
            user: user.map_err(Failure::from),
            group,
            pool: pool.map_err(Failure::from),
            number,
            hosts: hosts.map_err(Failure::from),
            access,
            images: images.as_ref().err().map(ToString::to_string),
        }
    }
}

/// Which of its federation's zones this is: as the server says, else by its endpoint, else the only one.
fn number(zone: &PlanZone, pool: &[Zone], configuration: &Configuration) -> Option<u32> {
    let by_endpoint = || {
        let same = |listed: &&Zone| zone.endpoint.is_some() && listed.endpoint_url() == zone.endpoint;
        pool.iter().find(same).map(|listed| listed.id)
    };
    let only = || if let [only] = pool { Some(only.id) } else { None };
    configuration.zone_id.or_else(by_endpoint).or_else(only)
}

impl Look<'_> {
    /// What could not be asked. No reason to refuse, since an `apply` does not ask it, but nobody has checked it either.
    pub(super) fn unasked(&mut self) {
        let why = |answer: Option<&Failure>| answer.map(|why| why.message.clone());
        let extra = &self.extra;
        let found = [
            ("rights and quotas", why(extra.user.as_ref().err())),
            ("the quotas of the group", why(extra.group.as_ref().and_then(|group| group.as_ref().err()))),
            ("whether the zone takes changes", why(extra.pool.as_ref().err())),
            ("the rights to hosts", why(extra.access.as_ref().and_then(|access| access.as_ref().err()))),
            ("images", extra.images.clone()),
        ];
        for (what, why) in found {
            let Some(why) = why else { continue };
            let prefix = format!("zone {}: ", self.zone.name);
            let why = why.strip_prefix(&prefix).unwrap_or(&why);
            let message = format!("{what} could not be checked: {why}");
            self.warning("zone::not-checked", "endpoint", message, "an `apply` will find out");
        }
    }
}
