//! Which site a node's calls come from: the engine's calls to SuperLink do not say.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use onefed_flower::fleet::FleetCall;
use onefed_flower::messages;

/// With more than this all is forgotten; the next calls say it again.
const MAX: usize = 20_000;

#[derive(Default)]
pub(super) struct Origins(Mutex<Sites>);

#[derive(Default)]
struct Sites {
    of_node: HashMap<u64, String>,
    /// By the public key (PEM), for calls that do not know their node yet.
    of_key: HashMap<String, String>,
}

impl Origins {
    /// A site's spoke has passed on a call.
    pub(super) fn note(&self, site: &str, call: &FleetCall) {
        let mut sites = self.sites();
        if let Some(node) = messages::requesting_node(call.operation, &call.body) {
            insert(&mut sites.of_node, node, site);
        } else if let Some(key) = messages::activated_key(&call.body) {
            insert(&mut sites.of_key, key, site);
        }
    }

    /// A site's spoke speaks for a node.
    pub(super) fn note_node(&self, site: &str, node: u64) {
        insert(&mut self.sites().of_node, node, site);
    }

    /// Where a call comes from.
    pub(super) fn of(&self, call: &FleetCall) -> Option<String> {
        let sites = self.sites();
        match messages::requesting_node(call.operation, &call.body) {
            Some(node) => sites.of_node.get(&node).cloned(),
            None => sites.of_key.get(&messages::activated_key(&call.body)?).cloned(),
        }
    }

    fn sites(&self) -> MutexGuard<'_, Sites> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert<K: std::hash::Hash + Eq>(sites: &mut HashMap<K, String>, key: K, site: &str) {
    if sites.get(&key).is_some_and(|known| known == site) {
        return;
    }
    if sites.len() >= MAX {
        sites.clear();
    }
    sites.insert(key, site.to_owned());
}
