//! Which SuperNodes are there, learned from the Fleet calls that pass by.
//!
//! The truth is SuperLink's; this is what its answers said. It needs no state of its own: after a restart the next
//! heartbeat (at most 22.5 s later) fills it again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onefed_flower::Operation;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::{messages, objects};
use onefed_trust::NodePublicKey;

use crate::status::{NodeStatus, RefusedNode};

/// Flower takes a node for offline when its heartbeat of 30 s was missed twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest heartbeat interval that SuperLink takes, in seconds. Each counts twice.
const LONGEST: f64 = 1800.0;

/// With more nodes than this, those that were not seen for a while are forgotten.
const MAX_NODES: usize = 10_000;
const FORGET: Duration = Duration::from_secs(3600);
/// So many refused keys are remembered, the last ones; everybody who reaches the listener can bring new ones.
const MAX_REFUSED: usize = 256;

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    nodes: BTreeMap<u64, Entry>,
    /// By the fingerprint of the key.
    refused: BTreeMap<String, Refused>,
    /// The last round seen per run.
    rounds: BTreeMap<u64, u64>,
}

struct Entry {
    site: String,
    seen: Instant,
    /// For so long it counts as online after that: in a cut the hub names a longer interval for it.
    patience: Duration,
    gone: bool,
    key: Option<String>,
}

impl Entry {
    fn online(&self) -> bool {
        !self.gone && self.seen.elapsed() < self.patience
    }
}

struct Refused {
    site: String,
    why: String,
    seen: Instant,
}

impl Ledger {
    /// Notes what a call and SuperLink's own answer to it say about a node.
    pub(crate) fn note(&self, site: &str, call: &FleetCall, answer: &FleetAnswer) {
        if !answer.is_ok() {
            return self.note_refusal(site, call, answer);
        }
        let mut books = self.books();
        if books.nodes.len() > MAX_NODES {
            books.nodes.retain(|_, entry| entry.seen.elapsed() < FORGET);
            books.rounds.clear();
        }
        let mut alive = |id, key: Option<String>| {
            if let Some(key) = &key {
                books.refused.remove(key);
            }
            let named = named_interval(call);
            let patience = named.map_or(PATIENCE, |interval| Duration::from_secs_f64(2.0 * interval));
            let (site, seen) = (site.to_owned(), Instant::now());
            books.nodes.insert(id, Entry { site, seen, patience, gone: false, key });
        };
        match call.operation {
            // Not the key that the call is signed with: the answer is about the key in its body.
            Operation::ActivateNode => {
                if let Some(id) = messages::granted_node(&answer.body) {
                    alive(id, messages::activated_key(&call.body).and_then(|pem| fingerprint(&pem)));
                }
            }
            // SuperLink has checked that this node is the one with the key that the call is signed with.
            Operation::SendNodeHeartbeat if messages::heartbeat_accepted(&answer.body) => {
                if let Some(id) = messages::requesting_node(call.operation, &call.body) {
                    alive(id, messages::signing_key(&call.headers).and_then(|pem| fingerprint(&pem)));
                }
            }
            Operation::DeactivateNode => {
                if let Some(entry) = messages::requesting_node(call.operation, &call.body)
                    .and_then(|id| books.nodes.get_mut(&id))
                {
                    entry.gone = true;
                }
            }
            Operation::UnregisterNode => {
                if let Some(id) = messages::requesting_node(call.operation, &call.body) {
                    books.nodes.remove(&id);
                }
            }
            Operation::PullObject => {
                if let Some((run, round)) = messages::pulled_round(&call.body, &answer.body) {
                    let last = books.rounds.entry(run).or_default();
                    *last = round.max(*last);
                }
            }
            _ => {}
        }
    }

    /// Notes a SuperNode that may not come online. That nobody answered is no refusal.
    fn note_refusal(&self, site: &str, call: &FleetCall, answer: &FleetAnswer) {
        if call.operation != Operation::ActivateNode || answer.is_unavailable() {
            return;
        }
        // Who signs with another key may not speak for this one.
        let key = messages::activated_key(&call.body);
        if key != messages::signing_key(&call.headers) {
            return;
        }
        let Some(key) = key.and_then(|pem| fingerprint(&pem)) else { return };
        let mut books = self.books();
        // An identity that SuperLink did not accept proves nothing against a node that is there.
        let online = |entry: &Entry| entry.key.as_ref() == Some(&key) && entry.online();
        if answer.is_unauthenticated() && books.nodes.values().any(online) {
            return;
        }
        let refused = Refused { site: site.to_owned(), why: answer.words(), seen: Instant::now() };
        books.refused.insert(key, refused);
        while books.refused.len() > MAX_REFUSED {
            let oldest = books.refused.iter().min_by_key(|(_, refused)| refused.seen);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            books.refused.remove(&oldest);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The SuperNodes that may not come online.
    pub(crate) fn refused(&self) -> Vec<RefusedNode> {
        let books = self.books();
        let status = |(key, refused): (&String, &Refused)| RefusedNode {
            key: key.clone(),
            site: refused.site.clone(),
            why: refused.why.clone(),
            seen_seconds: refused.seen.elapsed().as_secs(),
        };
        books.refused.iter().map(status).collect()
    }

    /// All nodes by id.
    pub(crate) fn nodes(&self) -> Vec<NodeStatus> {
        let books = self.books();
        let status = |(id, entry): (&u64, &Entry)| NodeStatus {
            node_id: *id,
            site: entry.site.clone(),
            online: entry.online(),
            seen_seconds: entry.seen.elapsed().as_secs(),
            key: entry.key.clone(),
        };
        books.nodes.iter().map(status).collect()
    }

    /// Whether any node is online.
    pub(crate) fn any_online(&self) -> bool {
        self.nodes().iter().any(|node| node.online)
    }

    /// The last round of a run whose messages went out.
    pub(crate) fn round(&self, run_id: u64) -> Option<u64> {
        self.books().rounds.get(&run_id).copied()
    }
}

/// The interval of a heartbeat's own words, in seconds, as far as SuperLink takes it.
fn named_interval(call: &FleetCall) -> Option<f64> {
    let heartbeat = call.operation == Operation::SendNodeHeartbeat;
    heartbeat.then(|| objects::heartbeat_interval(&call.body)).flatten().map(|named| named.min(LONGEST))
}

/// How a key is told to people: by the fingerprint that `ssh-keygen -l` shows.
fn fingerprint(pem: &str) -> Option<String> {
    NodePublicKey::from_pem(pem).ok().map(|key| key.fingerprint())
}

#[cfg(test)]
mod tests;
