//! Ids that never travel without their zone.
//!
//! Every zone counts from 0 by itself, so VM 3 exists in each of them; an id alone says nothing.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A text that is not a zone name or not `zone/number`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Not a zone name.
    #[error("'{0}' is not a zone name: 1 to 64 letters, digits, '_', '.', '-', the first a letter or digit")]
    Zone(String),
    /// Not `zone/number`.
    #[error("'{0}' is not an id of the form zone/number, such as paris/12")]
    Id(String),
}

/// The name of an OpenNebula zone: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`. Safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if first && rest && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId::Zone(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ZoneName {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! zoned_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name {
            /// The zone whose counter made the number.
            pub zone: ZoneName,
            /// The number, unique only within the zone.
            pub id: u32,
        }

        impl $name {
            /// Puts zone and number together.
            pub fn new(zone: ZoneName, id: u32) -> Self {
                Self { zone, id }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.zone, self.id)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId::Id(text.to_owned());
                let (zone, id) = text.split_once('/').ok_or_else(bad)?;
                Ok(Self { zone: zone.parse()?, id: id.parse().map_err(|_| bad())? })
            }
        }
    )*};
}

zoned_id! {
    /// A virtual machine.
    VmId;
    /// A VM template.
    VmTemplateId;
    /// A virtual network.
    VnetId;
    /// An image.
    ImageId;
    /// A datastore.
    DatastoreId;
    /// A host.
    HostId;
    /// A cluster of hosts, networks and datastores.
    ClusterId;
    /// A user. The zones of one federation share their users, so there the number means the same in each.
    UserId;
    /// A group. Shared as users are.
    GroupId;
    /// A OneFlow service. Services and service templates of a zone share one counter.
    ServiceId;
    /// A OneFlow service template.
    ServiceTemplateId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_names() {
        for good in ["paris", "Zone_0.a-b", "0", &"x".repeat(64)] {
            assert_eq!(good.parse::<ZoneName>().unwrap().as_str(), good);
        }
        for bad in ["", "-x", ".", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<ZoneName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_show_and_parse_with_their_zone() {
        let id = VmId::new("paris".parse().unwrap(), 12);
        assert_eq!(id.to_string(), "paris/12");
        assert_eq!("paris/12".parse::<VmId>().unwrap(), id);
        assert!("12".parse::<VmId>().is_err());
        assert!("paris/-1".parse::<VmId>().is_err());
        assert_eq!(serde_json::to_string(&id).unwrap(), r#"{"zone":"paris","id":12}"#);
        assert!(serde_json::from_str::<VmId>(r#"{"zone":"../x","id":12}"#).is_err());
    }
}
