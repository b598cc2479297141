//! What an operator does at the hub of a federation of the test bed.

// Every test binary uses a part of this.
#![allow(dead_code)]

use onefed_link::connect::AdminClient;
use onefed_link::status::HubStatus;
use onefed_testbed::federation::Federation;

/// An operator, with a runtime of their own.
pub(crate) struct Operator {
    runtime: tokio::runtime::Runtime,
    client: AdminClient,
}

impl Operator {
    /// The operator of a federation that has a hub.
    pub(crate) fn of(federation: &Federation) -> Self {
        let (address, identity, ca) = federation.admin().unwrap();
        let client = AdminClient::new(&address.ip().to_string(), address.port(), ca, identity).unwrap();
        Self { runtime: tokio::runtime::Runtime::new().unwrap(), client }
    }

    pub(crate) fn status(&self) -> HubStatus {
        self.runtime.block_on(self.client.status()).unwrap()
    }

    /// Registers the keys of all SuperNodes, as `onefed apply` does it; their node ids, in the order of the keys.
    pub(crate) fn register(&self, federation: &Federation) -> Vec<u64> {
        let one = |key| self.runtime.block_on(self.client.register_node(key)).unwrap().node_id;
        federation.node_keys().iter().map(one).collect()
    }
}
