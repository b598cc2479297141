//! Whether a user may run VMs on any host of a zone.
//!
//! A new zone gives ordinary users none: oned keeps such a VM PENDING for ever, and says why only in the VM. The rights to
//! hosts are in the ACL, which only administrators may read. What an ordinary user sees are datastores: a virtual data
//! centre gives a group hosts and datastores of a cluster together.

use super::{Client, User};
use crate::Error;
use crate::xml::Element;

/// Whether VMs of a user can be placed on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAccess {
    /// There is a right to at least one host.
    Yes,
    /// The ACL has no right to any host.
    No,
    /// The ACL may not be read, but the user sees datastores that are not its own: its group has resources here.
    Likely,
    /// The ACL may not be read, and the user sees no datastore at all: its group seems to have nothing here.
    Unlikely,
}

impl HostAccess {
    /// Nothing speaks against it.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Yes | Self::Likely)
    }
}

impl Client {
    /// Whether the VMs of `user`, the user of this login, can be placed on a host of the zone with the number `zone_id`
    /// (of [`zone_pool`](Self::zone_pool)). Asks `one.acl.info`, and where that is refused `one.datastorepool.info`.
    ///
    /// # Errors
    /// As any call.
    pub async fn host_access(&self, user: &User, zone_id: u32) -> Result<HostAccess, Error> {
        if user.is_admin() {
            return Ok(HostAccess::Yes);
        }
        match self
            .pool("one.acl.info", &[], ("ACL", "USER, RESOURCE, RIGHTS or ZONE"), |_, xml| rule(xml))
            .await
        {
            Ok(rules) if rules.iter().any(|rule| rule.gives_hosts(user, zone_id)) => Ok(HostAccess::Yes),
            Ok(_) => Ok(HostAccess::No),
            Err(why) if why.is_unauthorized() => {
                let seen = self.datastores().await?.iter().any(|it| it.owner.uid != user.id.id);
                Ok(if seen { HostAccess::Likely } else { HostAccess::Unlikely })
            }
            Err(why) => Err(why),
        }
    }
}

/// A rule: four numbers whose upper half says what kind of thing the lower half names.
struct Rule {
    user: u64,
    resource: u64,
    rights: u64,
    zone: u64,
}

const INDIVIDUAL: u64 = 1 << 32;
const GROUP: u64 = 1 << 33;
const ALL: u64 = 1 << 34;
const HOST: u64 = 1 << 37;
/// What placing a VM needs.
const MANAGE: u64 = 2;

impl Rule {
    fn gives_hosts(&self, user: &User, zone_id: u32) -> bool {
        let of = |kind: u64, id: u32| kind | u64::from(id);
        let whose = self.user == ALL
            || self.user == of(INDIVIDUAL, user.id.id)
            || user.groups.iter().any(|group| self.user == of(GROUP, group.id));
        let here = self.zone == ALL || self.zone == of(INDIVIDUAL, zone_id);
        whose && here && self.resource & HOST != 0 && self.rights & MANAGE != 0
    }
}

fn rule(xml: &Element) -> Option<Rule> {
    let hex = |name| u64::from_str_radix(xml.text_of(name)?.trim(), 16).ok();
    Some(Rule { user: hex("USER")?, resource: hex("RESOURCE")?, rights: hex("RIGHTS")?, zone: hex("ZONE")? })
}
