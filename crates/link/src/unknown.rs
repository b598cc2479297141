//! Fleet operations that this release does not know: refused, counted and named, so that an operator sees that a newer
//! Flower asks for something that does not get through.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use onefed_flower::fleet::{FleetAnswer, Refusal};
use onefed_flower::{Operation, Transport};
use serde::{Deserialize, Serialize};

use crate::listen::{Body, boxed, text};

/// So many are remembered, the last ones: whoever reaches the listener can bring new names.
const MAX: usize = 32;
/// Longer names are cut. Flower's longest is `ConfirmMessageReceived`.
const MAX_NAME: usize = 64;

/// The unknown operations that were asked for at a listener.
#[derive(Debug, Default)]
pub struct UnknownOperations(Mutex<BTreeMap<String, Asked>>);

#[derive(Clone, Copy, Debug)]
struct Asked {
    count: u64,
    last: Instant,
}

/// One of them, for a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownOperation {
    /// What was asked for, as its transport names it: `PullSecrets` or `pull-secrets`. Letters, digits, `-` and `_` only;
    /// anything else in it is shown as `?`.
    pub name: String,
    /// How often, since the process started.
    pub count: u64,
    /// Seconds since it was last asked for.
    pub seen_seconds: u64,
}

impl UnknownOperations {
    /// Refuses a request that is no Fleet operation, in the words of the transport that it looks like. One that would be
    /// an operation by its path is noted.
    pub fn refuse(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let words = format!("{path} is not one of the twelve Fleet operations");
        let transport = match Operation::unknown_name(path) {
            Some((name, transport)) => {
                self.note(name);
                Some(transport)
            }
            None => kind.filter(|kind| kind.starts_with("application/grpc")).map(|_| Transport::Grpc),
        };
        match transport {
            Some(transport) => {
                boxed(FleetAnswer::refusal(transport, Refusal::NotFleet, &words).into_response())
            }
            None => text(http::StatusCode::NOT_FOUND, words),
        }
    }

    fn note(&self, name: &str) {
        let shown = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '?' };
        let name: String = name.chars().take(MAX_NAME).map(shown).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = all.entry(name.clone()).or_insert(Asked { count: 0, last: Instant::now() });
        asked.count += 1;
        asked.last = Instant::now();
        if asked.count == 1 {
            tracing::warn!(operation = name, "refused: a Fleet operation that this release does not know");
        }
        while all.len() > MAX {
            let oldest = all.iter().min_by_key(|(_, asked)| asked.last).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            all.remove(&oldest);
        }
    }

    /// All that are remembered, the most frequent first.
    pub fn list(&self) -> Vec<UnknownOperation> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, asked): (&String, &Asked)| UnknownOperation {
            name: name.clone(),
            count: asked.count,
            seen_seconds: asked.last.elapsed().as_secs(),
        };
        let mut list: Vec<_> = all.iter().map(status).collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(kind))])
    }

    fn names(unknown: &UnknownOperations) -> Vec<(String, u64)> {
        unknown.list().into_iter().map(|one| (one.name, one.count)).collect()
    }

    #[test]
    fn an_operation_of_tomorrow_is_refused_in_its_transport_counted_and_named() {
        let unknown = UnknownOperations::default();
        for _ in 0..2 {
            let answer = unknown.refuse("/v1/fleet/pull-secrets", &headers("application/protobuf"));
            assert_eq!(answer.status(), 404);
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        }
        let answer = unknown.refuse("/flwr.proto.Fleet/PullSecrets", &headers("application/grpc+proto"));
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["grpc-status"]),
            (200, &"12".parse().unwrap())
        );
        assert_eq!(names(&unknown), [("pull-secrets".to_owned(), 2), ("PullSecrets".to_owned(), 1)]);
    }

    #[test]
    fn what_is_no_fleet_operation_at_all_is_refused_and_not_named() {
        let unknown = UnknownOperations::default();
        assert_eq!(unknown.refuse("/v1/control/start-run", &HeaderMap::new()).status(), 404);
        let grpc = unknown.refuse("/flwr.proto.Control/StartRun", &headers("application/grpc"));
        assert_eq!(grpc.headers()["grpc-status"], "12");
        assert_eq!(unknown.list(), []);
    }

    #[test]
    fn a_flood_of_names_is_cut_and_cleaned() {
        let unknown = UnknownOperations::default();
        for number in 0..1000 {
            unknown.refuse(&format!("/v1/fleet/n{number}"), &HeaderMap::new());
        }
        let list = unknown.list();
        assert_eq!(list.len(), MAX);
        assert!(list.iter().any(|one| one.name == "n999"));
        let long = format!("/v1/fleet/\u{1b}[31m{}", "x".repeat(500));
        unknown.refuse(&long, &HeaderMap::new());
        let shown = unknown.list().into_iter().map(|one| one.name).find(|name| name.contains('?')).unwrap();
        assert_eq!(shown, format!("??31m{}", "x".repeat(MAX_NAME - 5)));
    }
}
