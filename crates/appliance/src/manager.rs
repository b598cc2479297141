//! Who keeps a VM's processes running: systemd, or where there is none this very process. Exactly one of them restarts
//! a process, and both apply only differences.

use crate::foreground::Foreground;
use crate::service::{Change, Service};
use crate::systemd::Systemd;
use crate::{Machine, StepError};

/// The one owner of a VM's processes.
pub(crate) enum Manager {
    /// Children of this process. They end with it.
    Foreground(Foreground),
    /// Units. They stay when this process ends, and are found again by the next boot.
    Systemd(Systemd),
}

impl Manager {
    pub(crate) fn of(machine: &Machine) -> Self {
        match &machine.units {
            None => Self::Foreground(Foreground::new(machine)),
            Some(dir) => {
                let systemd = Systemd::new(dir, &machine.disk);
                Self::Systemd(machine.ca_dirs().iter().fold(systemd, |own, dir| own.never_give(dir)))
            }
        }
    }

    /// Makes the wanted services run, in this order: starts what is not there, starts again what has changed, stops
    /// what is not wanted, leaves the rest alone.
    pub(crate) async fn apply(&mut self, wanted: Vec<Service>) -> Result<Vec<(String, Change)>, StepError> {
        match self {
            Self::Foreground(own) => own.apply(wanted).await,
            Self::Systemd(own) => own.apply(&wanted).await,
        }
    }

    /// Whether a service of this name runs now.
    pub(crate) async fn runs(&self, name: &str) -> bool {
        match self {
            Self::Foreground(own) => own.runs(name),
            Self::Systemd(own) => own.runs(name).await,
        }
    }

    /// Fails where a service ends again and again, with its last words.
    pub(crate) async fn check(&self) -> Result<(), StepError> {
        match self {
            Self::Foreground(own) => own.check(),
            Self::Systemd(own) => own.check().await,
        }
    }

    /// The node id that a service's output has announced.
    pub(crate) async fn announced(&self, name: &str) -> Option<u64> {
        match self {
            Self::Foreground(own) => own.announced(name),
            Self::Systemd(own) => {
                let said = own.said(name).await;
                said.lines().rev().find_map(onefed_flower::command::announced_node_id)
            }
        }
    }

    /// The end of the boot's own process: its children are stopped; units stay.
    pub(crate) async fn leave(self) {
        match self {
            Self::Foreground(own) => own.stop().await,
            Self::Systemd(_) => {}
        }
    }
}
