//! Which Flower releases onefed knows, and what differs between them.
//!
//! One table answers every question about a release: its Fleet transport, its ports and its flags. Nothing
//! outside this crate compares Flower versions.

use std::fmt;
use std::str::FromStr;

/// The release that onefed uses where nobody names one: the newest in the table.
pub const DEFAULT_RELEASE: Version = Version { major: 1, minor: 41, patch: 0 };

/// The table: minor releases of major 1, the transport of their Fleet and Control APIs, and whether they install an
/// app's dependencies at run time unless told not to. Read from the wheels; 1.33 to 1.39 moved one API after the
/// other to HTTP with flags of their own in each release, and are left out.
const TABLE: &[(u16, Transport, bool)] = &[
    (31, Transport::Grpc, false),
    (32, Transport::Grpc, true),
    (40, Transport::Http, true),
    (41, Transport::Http, true),
];

/// The port of SuperLink's API for ServerApps in the gRPC releases, on the VM's loopback.
pub(crate) const SERVER_APP_PORT: u16 = 29091;

/// A Flower release number, `X.Y.Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major number; Flower has been at 1 since 2022.
    pub major: u16,
    /// Minor number; every second week or so a new one.
    pub minor: u16,
    /// Patch number.
    pub patch: u16,
}

/// Why a text is not a usable Flower release.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// Not three dot-separated decimal numbers without leading zeros.
    #[error("`{0}` is not a Flower release number of the form X.Y.Z")]
    Malformed(String),
    /// A well-formed number that the version table does not cover.
    #[error("Flower {0} is not in the version table, which covers {covered}", covered = covered())]
    Unknown(Version),
}

impl VersionError {
    /// What the operator can do about it.
    pub fn hint(&self) -> String {
        format!("use {DEFAULT_RELEASE}, or another release of {}", covered())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = |part: &str| -> Option<u16> {
            let plain = part == "0" || !part.starts_with('0');
            (plain && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
        };
        let mut parts = text.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(VersionError::Malformed(text.to_owned())),
        }
    }
}

/// How a release moves its Fleet, Control and Runtime calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// gRPC, one port per API (up to 1.39).
    Grpc,
    /// Protobuf bodies over HTTP/1.1 POST, all APIs on one port (from 1.40).
    Http,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "gRPC",
            Self::Http => "HTTP",
        })
    }
}

/// A Flower release that the version table covers. Made by [`Release::of`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    version: Version,
    transport: Transport,
    installs_dependencies: bool,
}

impl Release {
    /// Looks a release up.
    ///
    /// # Errors
    /// [`VersionError::Unknown`] where the table does not cover it.
    pub fn of(version: Version) -> Result<Self, VersionError> {
        let row = TABLE.iter().find(|(minor, ..)| version.major == 1 && *minor == version.minor);
        let (_, transport, installs_dependencies) = *row.ok_or(VersionError::Unknown(version))?;
        Ok(Self { version, transport, installs_dependencies })
    }

    /// Parses and looks up in one step.
    ///
    /// # Errors
    /// [`VersionError`], malformed or unknown.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        Self::of(text.parse()?)
    }

    /// The release number.
    pub fn version(self) -> Version {
        self.version
    }

    /// The transport of the Fleet and Control APIs.
    pub fn transport(self) -> Transport {
        self.transport
    }

    /// The port that SuperLink's Fleet API listens on (on the VM's loopback). Not Flower's own 9092 or 8000: a hub
    /// that listens on all addresses at 9092 would be in its way.
    pub fn fleet_port(self) -> u16 {
        match self.transport {
            Transport::Grpc => 29092,
            Transport::Http => 28000,
        }
    }

    /// The port that SuperLink's Control API listens on (on the VM's loopback).
    pub fn control_port(self) -> u16 {
        match self.transport {
            Transport::Grpc => 29093,
            Transport::Http => 28000,
        }
    }

    /// Every port that SuperLink takes on the VM's loopback, each once.
    pub fn superlink_ports(self) -> Vec<u16> {
        match self.transport {
            Transport::Grpc => vec![SERVER_APP_PORT, self.fleet_port(), self.control_port()],
            Transport::Http => vec![self.fleet_port()],
        }
    }

    /// Whether this release's SuperLink runs an installer for the app's dependencies unless a flag forbids it.
    pub(crate) fn installs_dependencies(self) -> bool {
        self.installs_dependencies
    }
}

/// The covered releases in words.
fn covered() -> String {
    let list: Vec<String> = TABLE.iter().map(|(minor, ..)| format!("1.{minor}")).collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transports_and_ports_follow_the_release() {
        let old = Release::parse("1.31.0").unwrap();
        assert_eq!((old.transport(), old.fleet_port(), old.control_port()), (Transport::Grpc, 29092, 29093));
        let new = Release::of(DEFAULT_RELEASE).unwrap();
        assert_eq!((new.transport(), new.fleet_port(), new.control_port()), (Transport::Http, 28000, 28000));
    }

    #[test]
    fn unknown_and_malformed_are_told_apart() {
        for unknown in ["1.42.0", "1.30.9", "1.36.0", "2.31.0"] {
            assert!(matches!(Release::parse(unknown), Err(VersionError::Unknown(_))), "{unknown}");
        }
        for bad in ["", "1", "1.41", "1.41.0.0", "1.041.0", "v1.41.0", "1.41.x", "1.41.99999", "1.41.+1"] {
            assert!(matches!(Release::parse(bad), Err(VersionError::Malformed(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_number_round_trips(major: u16, minor: u16, patch: u16) {
            let version = Version { major, minor, patch };
            prop_assert_eq!(version.to_string().parse::<Version>(), Ok(version));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Release::parse(&text);
        }
    }
}
