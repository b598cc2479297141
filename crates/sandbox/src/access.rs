//! Who calls, whose an object is, and what the one may do to the other.

use std::collections::BTreeSet;

/// A user whose login was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The primary group, which gets what the user makes.
    pub(crate) gid: u32,
    pub(crate) gname: String,
    /// All groups, the primary one included.
    pub(crate) groups: BTreeSet<u32>,
}

impl Caller {
    /// Members of the group oneadmin may do everything.
    pub(crate) fn is_admin(&self) -> bool {
        self.id == 0 || self.groups.contains(&0)
    }

    /// Mark of what this user makes: private, as oned's default umask has it.
    pub(crate) fn owned(&self) -> Owned {
        Owned {
            uid: self.id,
            gid: self.gid,
            uname: self.name.clone(),
            gname: self.gname.clone(),
            mode: Mode(0o600),
        }
    }

    /// oneadmin itself.
    pub(crate) fn oneadmin() -> Self {
        let name = || "oneadmin".to_owned();
        Self { id: 0, name: name(), gid: 0, gname: name(), groups: BTreeSet::from([0]) }
    }
}

/// What a call wants to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Use,
    Manage,
    Admin,
}

impl Right {
    /// As oned names it in a refusal.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Use => "USE",
            Self::Manage => "MANAGE",
            Self::Admin => "ADMIN",
        }
    }

    fn bit(self) -> u16 {
        match self {
            Self::Use => 4,
            Self::Manage => 2,
            Self::Admin => 1,
        }
    }
}

/// Permissions as an octal number: owner, group, other; 4 USE, 2 MANAGE, 1 ADMIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u16);

impl Mode {
    /// Three octal digits, such as `644`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u16::from_str_radix(text, 8).ok().filter(|_| text.len() == 3).map(Self)
    }

    /// After a chmod with nine values (0, 1, or anything else for "as it is").
    pub(crate) fn changed(self, bits: &[i64]) -> Self {
        bits.iter().zip((0..9).rev()).fold(self, |mode, (bit, at)| match bit {
            0 => Self(mode.0 & !(1 << at)),
            1 => Self(mode.0 | 1 << at),
            _ => mode,
        })
    }

    /// The nine elements with their values.
    pub(crate) fn bits(self) -> impl Iterator<Item = (String, u16)> {
        let names = ["OWNER", "GROUP", "OTHER"]
            .into_iter()
            .flat_map(|who| ["U", "M", "A"].map(|w| format!("{who}_{w}")));
        names.zip((0..9).rev()).map(move |(name, at)| (name, self.0 >> at & 1))
    }

    fn xml(self) -> String {
        let bits: String = self.bits().map(|(name, bit)| format!("<{name}>{bit}</{name}>")).collect();
        format!("<PERMISSIONS>{bits}</PERMISSIONS>")
    }
}

/// Owner, group and permissions of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) uname: String,
    pub(crate) gname: String,
    pub(crate) mode: Mode,
}

impl Owned {
    pub(crate) fn allows(&self, caller: &Caller, right: Right) -> bool {
        let bit = right.bit();
        caller.is_admin()
            || self.uid == caller.id && self.mode.0 >> 6 & bit != 0
            || caller.groups.contains(&self.gid) && self.mode.0 >> 3 & bit != 0
            || self.mode.0 & bit != 0
    }

    /// Whether a pool's filter lets it through: -4 the primary group's, -3 one's own, -2 all, -1 one's own and the groups', else
    /// the user of that number. What one may not use is never shown.
    pub(crate) fn passes(&self, caller: &Caller, filter: i64) -> bool {
        let shown = match filter {
            -4 => self.gid == caller.gid,
            -3 => self.uid == caller.id,
            -2 => true,
            -1 => self.uid == caller.id || caller.groups.contains(&self.gid),
            uid => i64::from(self.uid) == uid,
        };
        shown && self.allows(caller, Right::Use)
    }

    /// UID, GID, UNAME, GNAME.
    pub(crate) fn ids_xml(&self) -> String {
        let Self { uid, gid, uname, gname, .. } = self;
        format!("<UID>{uid}</UID><GID>{gid}</GID><UNAME>{uname}</UNAME><GNAME>{gname}</GNAME>")
    }

    pub(crate) fn permissions_xml(&self) -> String {
        self.mode.xml()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32, groups: &[u32]) -> Caller {
        Caller { id, gid: groups[0], groups: groups.iter().copied().collect(), ..Caller::oneadmin() }
    }

    #[test]
    fn rights_follow_the_mode() {
        let (owner, mate, other) = (user(2, &[1]), user(3, &[100, 1]), user(4, &[100]));
        let mut thing = owner.owned();
        for (mode, wanted) in
            [(0o600, [true, false, false]), (0o640, [true, true, false]), (0o404, [true, true, true])]
        {
            thing.mode = Mode(mode);
            assert_eq!([&owner, &mate, &other].map(|c| thing.allows(c, Right::Use)), wanted, "{mode:o}");
        }
        assert!(!thing.allows(&owner, Right::Manage) && thing.allows(&Caller::oneadmin(), Right::Admin));
        assert!(thing.allows(&user(9, &[0]), Right::Admin));
        thing.mode = Mode(0o644);
        let seen = |caller: &Caller| [-4, -3, -2, -1, 2].map(|filter| thing.passes(caller, filter));
        assert_eq!(seen(&owner), [true; 5]);
        assert_eq!(seen(&mate), [false, false, true, true, true]);
        assert_eq!(seen(&other), [false, false, true, false, true]);
    }

    #[test]
    fn modes_change_bit_by_bit() {
        let mode = Mode::parse("600").unwrap().changed(&[-1, 0, -1, 1, -1, -1, 1, -1, 1]);
        assert_eq!(mode, Mode(0o445));
        assert!(mode.xml().starts_with("<PERMISSIONS><OWNER_U>1</OWNER_U><OWNER_M>0</OWNER_M>"));
        for bad in ["", "6", "6000", "688", "abc"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
