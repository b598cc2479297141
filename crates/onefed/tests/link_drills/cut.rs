//! What can happen to a link, and how it is made to happen.

use std::time::Duration;

use onefed_testbed::federation::{Federation, Process};
use onefed_testbed::wan::{End, Wan, Way};

use super::memory::Memory;

/// How long a unit of systemd waits before it starts a process again.
const RESTART: Duration = Duration::from_secs(1);

/// A failure. All of them are at site 1; the hub is everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// `kill -9` of the spoke. Without one: its connections are reset, and new ones for a second.
    KillSpoke,
    /// `kill -9` of the hub. Without one: as for the spoke.
    KillHub,
    /// Nothing arrives for so long, and nobody is told.
    Hole(Duration),
    /// The site's ends of all connections are reset, the hub's hear nothing any more.
    SiteReset,
    /// The other way round.
    HubReset,
}

/// When it happens: in the middle of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) round: u32,
    pub(crate) way: Way,
    pub(crate) cut: Cut,
}

impl Cut {
    /// A short name, also to choose it by.
    pub(crate) fn name(self) -> String {
        match self {
            Self::KillSpoke => "kill-spoke".into(),
            Self::KillHub => "kill-hub".into(),
            Self::Hole(time) => format!("hole-{}s", time.as_secs()),
            Self::SiteReset => "site-reset".into(),
            Self::HubReset => "hub-reset".into(),
        }
    }

    /// From its begin until it is taken back by whoever does so.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::KillSpoke | Self::KillHub => RESTART,
            Self::Hole(time) => time,
            Self::SiteReset | Self::HubReset => Duration::ZERO,
        }
    }

    /// Makes it happen.
    pub(crate) fn begin(self, federation: &Federation) {
        let site = &federation.sites[0];
        let wan = site.wan.as_ref().unwrap();
        match (self, &site.spoke, &federation.hub) {
            (Self::KillSpoke, Some(process), _) | (Self::KillHub, _, Some(process)) => process.kill(),
            (Self::KillSpoke | Self::KillHub, ..) => {
                wan.refuse(true);
                wan.cut();
            }
            (Self::Hole(_), ..) => wan.black_hole(),
            (Self::SiteReset, ..) => wan.half_open(End::Client),
            (Self::HubReset, ..) => wan.half_open(End::Server),
        }
    }

    /// Takes it back.
    pub(crate) fn heal(self, federation: &Federation, memory: &Memory) {
        let site = &federation.sites[0];
        let wan = site.wan.as_ref().unwrap();
        match (self, &site.spoke, &federation.hub) {
            (Self::KillSpoke, Some(process), _) | (Self::KillHub, _, Some(process)) => {
                process.restart().unwrap();
                memory.follow(process);
            }
            (Self::KillSpoke | Self::KillHub, ..) => wan.refuse(false),
            (Self::Hole(_), ..) => wan.heal(),
            (Self::SiteReset | Self::HubReset, ..) => {}
        }
    }

    /// Whose log says that it was noticed, and by which words. For a hole it is the spoke, which has to dial again.
    pub(crate) fn witness(self, federation: &Federation) -> (&Process, &'static str) {
        match self {
            Self::KillSpoke => (federation.hub.as_ref().unwrap(), "line to a spoke cut"),
            _ => (federation.sites[0].spoke.as_ref().unwrap(), "line cut"),
        }
    }
}

/// What the line has carried in a direction.
pub(crate) fn carried(wan: &Wan, way: Way) -> u64 {
    match way {
        Way::Up => wan.counts().up,
        Way::Down => wan.counts().down,
    }
}
