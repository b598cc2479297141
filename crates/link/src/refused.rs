//! The spokes that a hub told to go, for the operator: a refused spoke has no line that could be shown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::status::RefusedSpoke;

/// So many are remembered, the last ones: whoever reaches the listener can bring new names.
const MAX: usize = 64;

/// By site and spoke.
#[derive(Default)]
pub(crate) struct RefusedSpokes(Mutex<BTreeMap<(String, String), Refused>>);

struct Refused {
    peer: SocketAddr,
    why: String,
    seen: Instant,
}

impl RefusedSpokes {
    /// Notes that a spoke was refused.
    pub(crate) fn note(&self, spoke: (String, String), peer: SocketAddr, why: String) {
        let mut all = self.all();
        all.insert(spoke, Refused { peer, why, seen: Instant::now() });
        while all.len() > MAX {
            let oldest = all.iter().min_by_key(|(_, refused)| refused.seen);
            let Some(oldest) = oldest.map(|(spoke, _)| spoke.clone()) else { break };
            all.remove(&oldest);
        }
    }

    /// Forgets a spoke: it was taken in.
    pub(crate) fn forget(&self, spoke: &(String, String)) {
        self.all().remove(spoke);
    }

    /// All of them, for a status.
    pub(crate) fn list(&self) -> Vec<RefusedSpoke> {
        let status = |((site, spoke), refused): (&(String, String), &Refused)| RefusedSpoke {
            site: site.clone(),
            spoke: spoke.clone(),
            peer: refused.peer.to_string(),
            why: refused.why.clone(),
            seen_seconds: refused.seen.elapsed().as_secs(),
        };
        self.all().iter().map(status).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, String), Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
