//! What objects of several kinds have.

use crate::xml::Element;
use crate::{ClusterId, ZoneName};

/// Whose an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user.
    pub uname: String,
    /// Name of the group.
    pub gname: String,
}

/// Who may do what with an object, as `onetemplate chmod` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The owner.
    pub owner: Rights,
    /// The members of its group.
    pub group: Rights,
    /// Everybody.
    pub other: Rights,
}

/// The three rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// See it and use it.
    pub usage: bool,
    /// Change it.
    pub manage: bool,
    /// Give it away, change its permissions.
    pub admin: bool,
}

impl Permissions {
    /// Reads an octal number of three digits such as `640`: use is 4, manage 2, admin 1.
    pub fn from_octal(octal: u16) -> Self {
        let rights = |bits: u16| Rights { usage: bits & 4 != 0, manage: bits & 2 != 0, admin: bits & 1 != 0 };
        Self { owner: rights(octal >> 6), group: rights(octal >> 3), other: rights(octal) }
    }

    /// Three octal digits such as `640`, as OneFlow wants them.
    pub fn octal(&self) -> String {
        let digit = |r: Rights| 4 * u8::from(r.usage) + 2 * u8::from(r.manage) + u8::from(r.admin);
        format!("{}{}{}", digit(self.owner), digit(self.group), digit(self.other))
    }

    /// The nine bits in the order of oned's chmod calls: owner, group, other; use, manage, admin.
    pub fn bits(&self) -> [bool; 9] {
        let (u, g, o) = (self.owner, self.group, self.other);
        [u.usage, u.manage, u.admin, g.usage, g.manage, g.admin, o.usage, o.manage, o.admin]
    }
}

pub(super) fn owner(xml: &Element) -> Owner {
    let text = |name| xml.text_of(name).unwrap_or_default().to_owned();
    Owner {
        uid: xml.number_of("UID").unwrap_or_default(),
        gid: xml.number_of("GID").unwrap_or_default(),
        uname: text("UNAME"),
        gname: text("GNAME"),
    }
}

pub(super) fn permissions(xml: &Element) -> Permissions {
    let Some(xml) = xml.child("PERMISSIONS") else { return Permissions::default() };
    let rights = |who: &str| {
        let has = |what: &str| xml.number_of::<u8>(&format!("{who}_{what}")) == Some(1);
        Rights { usage: has("U"), manage: has("M"), admin: has("A") }
    };
    Permissions { owner: rights("OWNER"), group: rights("GROUP"), other: rights("OTHER") }
}

/// CLUSTERS: the clusters that an object belongs to.
pub(super) fn clusters(zone: &ZoneName, xml: &Element) -> Vec<ClusterId> {
    let ids = xml.child("CLUSTERS").into_iter().flat_map(|c| c.all("ID"));
    ids.filter_map(|id| id.text.trim().parse().ok()).map(|id| ClusterId::new(zone.clone(), id)).collect()
}
