//! What the parts of a federation tell each other while they are made: where the hub is, and whether it is coming.

use onefed_context::{Endpoint, Host};
use onefed_federation::Federation;
use tokio::sync::watch;

use crate::state::HubAddress;

/// The coordinator, as far as the sites need to know.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// Where sites and operators reach the hub, once that is known.
    pub(super) hub: Option<HubAddress>,
    pub(super) coordinator: Coordinator,
}

/// Whether the hub is coming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Coordinator {
    /// It is being made, or boots.
    Coming,
    /// It does its work.
    Ready,
    /// It will not be there in this run.
    Missing,
}

/// Told by the coordinator's part, heard by all others.
pub(super) struct Hub {
    news: watch::Sender<News>,
}

impl Hub {
    /// `known`: where it is, as far as that is known before anything is made.
    pub(super) fn new(known: Option<HubAddress>) -> Self {
        Self { news: watch::Sender::new(News { hub: known, coordinator: Coordinator::Coming }) }
    }

    /// What is known now.
    pub(super) fn news(&self) -> News {
        self.news.borrow().clone()
    }

    /// Where the hub is; does nothing where that was known.
    pub(super) fn is_at(&self, hub: HubAddress) {
        self.news.send_if_modified(|news| {
            let new = news.hub.as_ref() != Some(&hub);
            news.hub = Some(hub);
            new
        });
    }

    pub(super) fn coordinator(&self, is: Coordinator) {
        self.news.send_modify(|news| news.coordinator = is);
    }

    /// Waits until it is known where the hub is, or that nobody will say it in this run.
    pub(super) async fn address(&self) -> Option<HubAddress> {
        let mut heard = self.news.subscribe();
        let told = |news: &News| news.hub.is_some() || news.coordinator == Coordinator::Missing;
        // The sender lives as long as this.
        heard.wait_for(told).await.ok()?.hub.clone()
    }
}

/// Where the plan says that the hub is.
pub(super) fn planned(federation: &Federation) -> Option<HubAddress> {
    let host = match federation.coordinator.address.as_ref()? {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.clone(),
    };
    Some(at(federation, host))
}

/// The hub at a host, with the plan's ports.
pub(super) fn at(federation: &Federation, host: String) -> HubAddress {
    let plan = &federation.coordinator;
    HubAddress { host, fleet_port: plan.fleet_port, admin_port: plan.admin_port }
}

/// What sites dial.
pub(super) fn endpoint(hub: &HubAddress) -> Option<Endpoint> {
    let host = hub.host.parse().map_or_else(|_| Host::Name(hub.host.clone()), Host::Ip);
    Endpoint::new(host, hub.fleet_port)
}
