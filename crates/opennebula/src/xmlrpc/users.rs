//! Users and groups, with their quotas. Password hashes and tokens, which oned also shows, are not kept.

use super::{Client, Quotas, int, quotas, wire::Param};
use crate::xml::Element;
use crate::{Error, GroupId, Secret, UserId, ZoneName};
use std::time::Duration;

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: String,
    /// Its primary group.
    pub group: GroupId,
    /// The primary group's name.
    pub group_name: String,
    /// All its groups, the primary one included.
    pub groups: Vec<GroupId>,
    /// May log in.
    pub enabled: bool,
    /// What it may have in this zone, and has. Its groups have quotas of their own.
    pub quotas: Quotas,
}

impl User {
    /// In oneadmin's group: every right, no quota.
    pub fn is_admin(&self) -> bool {
        self.id.id == 0 || self.groups.iter().any(|group| group.id == 0)
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// What all its members together may have in this zone, and have.
    pub quotas: Quotas,
}

impl Client {
    /// The user of this client's login (`one.user.info` of -1).
    ///
    /// # Errors
    /// As any call.
    pub async fn user(&self) -> Result<User, Error> {
        let params = [Param::Int(-1), Param::Bool(false)];
        self.object("one.user.info", "self", &params, ("USER", "ID, NAME or GID"), user).await
    }

    /// A group (`one.group.info`); a user may ask for its own ones.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn group(&self, id: &GroupId) -> Result<Group, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false)];
        self.object("one.group.info", &number.to_string(), &params, ("GROUP", "ID or NAME"), group).await
    }

    /// Makes a login token for this client's user (`one.user.login`), good for `lifetime` (whole seconds; the server may
    /// cut it short). It works wherever the password does, OneFlow included, until it expires or is
    /// [taken back](Self::logout).
    ///
    /// # Errors
    /// [`Error::Unauthorized`]; [`Error::Refused`] where tokens are switched off or too many; [`Error::BadInput`] for a
    /// lifetime below a second or above 68 years; or as any call.
    pub async fn login(&self, lifetime: Duration) -> Result<Secret, Error> {
        let seconds = i32::try_from(lifetime.as_secs()).ok().filter(|seconds| *seconds > 0);
        let bad = || Error::BadInput {
            what: format!("a token's lifetime of {lifetime:?}"),
            why: "it has to be 1 to 2147483647 seconds".to_owned(),
        };
        self.user_login("", seconds.ok_or_else(bad)?).await
    }

    /// Takes a token back, so that it is no login any more.
    ///
    /// # Errors
    /// [`Error::Refused`] for a token that this user does not have, or as any call.
    pub async fn logout(&self, token: &Secret) -> Result<(), Error> {
        self.user_login(token.expose(), 0).await.map(drop)
    }

    async fn user_login(&self, token: &str, seconds: i32) -> Result<Secret, Error> {
        let user = &self.credentials.user;
        let text = |text: &str| Param::Text(text.to_owned());
        // The last -1: a token with all groups of the user.
        let params = [text(user), text(token), Param::Int(seconds), Param::Int(-1)];
        let reply = self.call("one.user.login", user, &params, super::Repeat::Never).await?;
        match reply.value.text() {
            "" if seconds > 0 => Err(reply.garbage("no token")),
            made => Ok(Secret::new(made)),
        }
    }
}

fn user(zone: &ZoneName, xml: &Element) -> Option<User> {
    let group = |id| GroupId::new(zone.clone(), id);
    let groups = xml.child("GROUPS").into_iter().flat_map(|g| g.all("ID"));
    Some(User {
        id: UserId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        group: group(xml.number_of("GID")?),
        group_name: xml.text_of("GNAME").unwrap_or_default().to_owned(),
        groups: groups.filter_map(|id| id.text.trim().parse().ok()).map(group).collect(),
        enabled: xml.number_of::<u8>("ENABLED") != Some(0),
        quotas: quotas::read(zone, xml, "DEFAULT_USER_QUOTAS"),
    })
}

fn group(zone: &ZoneName, xml: &Element) -> Option<Group> {
    Some(Group {
        id: GroupId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        quotas: quotas::read(zone, xml, "DEFAULT_GROUP_QUOTAS"),
    })
}
