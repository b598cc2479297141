//! Names of federations and sites.
//!
//! They become parts of object names, certificate names and file names, so one narrow spelling serves for all:
//! a lower-case letter, then up to 30 lower-case letters, digits or hyphens.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A text that is no usable name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a usable name: it must start with a lower-case letter, then up to 30 letters, digits or hyphens"
)]
pub struct NameError(pub String);

/// Whether a text is spelled as names of federations, sites and zones are: `[a-z][a-z0-9-]{0,30}`.
pub fn is_plain_name(text: &str) -> bool {
    text.len() <= 31
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_plain_name(text) { Ok(Self(text.to_owned())) } else { Err(NameError(text.to_owned())) }
            }
        }
    };
}

name! {
    /// The name of a federation (`FL_FEDERATION`).
    FederationName
}

name! {
    /// The name of a training site (`FL_SITE`).
    SiteName
}

impl SiteName {
    /// The name of a single site, where `FL_SITE` is blank: `local`.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}
