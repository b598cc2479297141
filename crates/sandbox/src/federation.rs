//! What all zones of a sandbox share: users, groups, login tokens, and the list of zones.

use crate::SandboxError;
use crate::access::Caller;
use crate::files::random_hex;
use crate::world::UserWorld;
use crate::zone::now;
use onefed_opennebula::{Credentials, Secret};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Federation {
    pub(crate) users: BTreeMap<u32, User>,
    pub(crate) groups: BTreeMap<u32, String>,
    pub(crate) zones: Vec<ZoneEntry>,
}

/// A zone as the pool shows it.
#[derive(Clone, Debug)]
pub(crate) struct ZoneEntry {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) oneflow: Option<String>,
    pub(crate) enabled: bool,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    password: Secret,
    /// The first is the primary one.
    pub(crate) groups: Vec<u32>,
    pub(crate) tokens: Vec<Token>,
    /// TEMPLATE/TOKEN_PASSWORD.
    pub(crate) token_password: Secret,
}

/// A login token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: Secret,
    /// Seconds since 1970; `None` is for ever.
    pub(crate) expires: Option<u64>,
    /// The group that it is confined to.
    pub(crate) group: Option<u32>,
}

impl Token {
    fn holds(&self) -> bool {
        self.expires.is_none_or(|at| now() < at)
    }
}

impl Federation {
    /// oneadmin and the users of a world. Numbers are as in OpenNebula: 1 is its own serveradmin, groups of one's own
    /// count from 100.
    pub(crate) fn new(oneadmin: &Credentials, users: &[UserWorld]) -> Result<Self, SandboxError> {
        let mut groups = BTreeMap::from([(0, "oneadmin".to_owned()), (1, "users".to_owned())]);
        let mut all = BTreeMap::new();
        all.insert(0, User::new("oneadmin", oneadmin.password.clone(), vec![0])?);
        for (id, user) in (2..).zip(users) {
            let mut of = Vec::new();
            for name in &user.groups {
                let known = groups.iter().find(|(_, n)| *n == name).map(|(id, _)| *id);
                let number =
                    known.unwrap_or_else(|| groups.keys().max().map_or(100, |max| (max + 1).max(100)));
                groups.insert(number, name.clone());
                of.push(number);
            }
            all.insert(id, User::new(&user.name, user.password.clone(), of)?);
        }
        Ok(Self { users: all, groups, zones: Vec::new() })
    }

    /// Whose `user:password` or `user:token` that is.
    pub(crate) fn login(&self, login: &str) -> Option<Caller> {
        let given = Credentials::parse(login).ok()?;
        let (id, user) = self.users.iter().find(|(_, user)| user.name == given.user)?;
        if user.password == given.password {
            return self.caller(*id);
        }
        let token = user.tokens.iter().find(|token| token.text == given.password && token.holds())?;
        let mut caller = self.caller(*id)?;
        if let Some(group) = token.group {
            caller.gid = group;
            caller.gname = self.groups.get(&group).cloned().unwrap_or_default();
            caller.groups = BTreeSet::from([group]);
        }
        Some(caller)
    }

    /// The user of that number as a caller.
    pub(crate) fn caller(&self, id: u32) -> Option<Caller> {
        let user = self.users.get(&id)?;
        let gid = user.groups.first().copied().unwrap_or_default();
        Some(Caller {
            id,
            name: user.name.clone(),
            gid,
            gname: self.groups.get(&gid).cloned().unwrap_or_default(),
            groups: user.groups.iter().copied().collect(),
        })
    }

    pub(crate) fn user_id(&self, name: &str) -> Option<u32> {
        self.users.iter().find(|(_, user)| user.name == name).map(|(id, _)| *id)
    }

    pub(crate) fn group_id(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// The user of that name as a caller; oneadmin when there is none.
    pub(crate) fn named(&self, name: &str) -> Caller {
        self.user_id(name).and_then(|id| self.caller(id)).unwrap_or_else(Caller::oneadmin)
    }
}

impl User {
    fn new(name: &str, password: Secret, groups: Vec<u32>) -> Result<Self, SandboxError> {
        let token_password = Secret::new(random_hex(32)?);
        Ok(Self { name: name.to_owned(), password, groups, tokens: Vec::new(), token_password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_open_until_they_expire() {
        let user = |name: &str, groups: &[&str]| UserWorld {
            name: name.to_owned(),
            password: Secret::new("p:w"),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        };
        let users = [user("alice", &["users", "lab"]), user("bob", &["lab"])];
        let mut all = Federation::new(&Credentials::parse("oneadmin:x").unwrap(), &users).unwrap();
        let alice = all.login("alice:p:w").unwrap();
        assert_eq!((alice.id, alice.gid, alice.gname.as_str(), alice.groups.len()), (2, 1, "users", 2));
        assert_eq!(all.login("bob:p:w").unwrap().gid, 100);
        assert!(
            all.login("alice:x").is_none() && all.login("carol:p:w").is_none() && all.login("").is_none()
        );
        assert!(all.login("oneadmin:x").unwrap().is_admin());
        let token = |text: &str, expires| Token { text: Secret::new(text), expires, group: Some(100) };
        all.users.get_mut(&2).unwrap().tokens =
            vec![token("old", Some(now())), token("new", Some(now() + 60)), token("ever", None)];
        assert!(all.login("alice:old").is_none());
        assert_eq!(all.login("alice:new").unwrap().gname, "lab");
        assert!(all.login("alice:ever").is_some() && all.login("bob:ever").is_none());
    }
}
