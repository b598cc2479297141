//! Which SuperNodes are there, learned from the Fleet calls that pass by.
//!
//! The truth is SuperLink's; this is what its answers said. It needs no state of its own: after a restart the next
//! heartbeat (at most 22.5 s later) fills it again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use onefed_flower::Operation;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::messages;

use crate::status::NodeStatus;

/// Flower takes a node for offline when its heartbeat of 30 s was missed twice.
const PATIENCE: Duration = Duration::from_secs(60);

/// With more nodes than this, those that were not seen for a while are forgotten.
const MAX_NODES: usize = 10_000;
const FORGET: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    nodes: BTreeMap<u64, Entry>,
    /// The last round seen per run.
    rounds: BTreeMap<u64, u64>,
}

struct Entry {
    site: String,
    seen: Instant,
    gone: bool,
}

impl Ledger {
    /// Notes what a call and its answer say about a node.
    pub(crate) fn note(&self, site: &str, call: &FleetCall, answer: &FleetAnswer) {
        if !answer.is_ok() {
            return;
        }
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if books.nodes.len() > MAX_NODES {
            books.nodes.retain(|_, entry| entry.seen.elapsed() < FORGET);
            books.rounds.clear();
        }
        let mut alive = |id| {
            books.nodes.insert(id, Entry { site: site.to_owned(), seen: Instant::now(), gone: false });
        };
        match call.operation {
            Operation::ActivateNode => {
                if let Some(id) = messages::granted_node(&answer.body) {
                    alive(id);
                }
            }
            Operation::SendNodeHeartbeat if messages::heartbeat_accepted(&answer.body) => {
                if let Some(id) = messages::requesting_node(call.operation, &call.body) {
                    alive(id);
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

    /// All nodes by id.
    pub(crate) fn nodes(&self) -> Vec<NodeStatus> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(id, entry): (&u64, &Entry)| NodeStatus {
            node_id: *id,
            site: entry.site.clone(),
            online: !entry.gone && entry.seen.elapsed() < PATIENCE,
            seen_seconds: entry.seen.elapsed().as_secs(),
        };
        books.nodes.iter().map(status).collect()
    }

    /// Whether any node is online.
    pub(crate) fn any_online(&self) -> bool {
        self.nodes().iter().any(|node| node.online)
    }

    /// The last round of a run whose messages went out.
    pub(crate) fn round(&self, run_id: u64) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rounds.get(&run_id).copied()
    }
}
