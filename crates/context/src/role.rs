//! The words of a context that come from a closed list: roles, gateway placements, enrolment, log levels.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A text that is not in a closed list of words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of: {options}")]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// What is known, separated by comma and blank.
    pub options: String,
}

/// Declares an enum whose values are spelled as fixed words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every word, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as it is written in a context or a plan.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { word: text.to_owned(), options: Self::WORDS.join(", ") }),
                }
            }
        }
    };
}

words! {
    /// What a VM is in its federation (`FL_ROLE`).
    Role {
        /// Flower's SuperLink and the hub in front of it.
        SuperLink => "superlink",
        /// Flower's SuperNode, with or without a spoke of its own.
        SuperNode => "supernode",
        /// The spoke of a site.
        Gateway => "gateway",
    }
}

words! {
    /// Where the spoke of a site runs (`FL_GATEWAY`).
    GatewayPlacement {
        /// On a gateway VM: one cache for the site.
        Dedicated => "dedicated",
        /// Inside every SuperNode's VM: no extra VM, but each one talks over the WAN.
        Embedded => "embedded",
    }
}

words! {
    /// Who may be a site of a federation (`FL_SITE_ENROLMENT`).
    SiteEnrolment {
        /// Whoever reaches the hub and knows its CA. The default until there are join tokens.
        Open => "open",
        /// Who shows a join token. Planned: validation refuses it.
        Token => "token",
    }
}

words! {
    /// How much the Flower process says (`FL_LOG_LEVEL`).
    LogLevel {
        /// Everything.
        Debug => "DEBUG",
        /// The default.
        Info => "INFO",
        /// Only what may be wrong.
        Warning => "WARNING",
        /// Only what is wrong.
        Error => "ERROR",
    }
}
