//! The little that onefed itself asks of Flower's Control API: the list of runs, and which nodes are admitted
//! ([`nodes`]). Everything else of that API is passed through untouched, and only recognised by its path.

pub mod nodes;

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;

use crate::{Release, Transport};

const GRPC_PREFIX: &str = "/flwr.proto.Control/";
const HTTP_PREFIX: &str = "/v1/control/";

/// Whether a request path names one operation of the Control API, in either transport. Nothing of Fleet, Runtime
/// or any other service passes, nor a path with further segments.
pub fn is_control_path(path: &str) -> bool {
    let plain = |name: &str, ok: fn(u8) -> bool| !name.is_empty() && name.bytes().all(ok);
    path.strip_prefix(GRPC_PREFIX).is_some_and(|name| plain(name, |b| b.is_ascii_alphanumeric()))
        || path
            .strip_prefix(HTTP_PREFIX)
            .is_some_and(|name| plain(name, |b| b.is_ascii_lowercase() || b == b'-'))
}

/// The path of ListRuns in a release.
pub fn list_runs_path(release: Release) -> &'static str {
    match release.transport() {
        Transport::Grpc => "/flwr.proto.Control/ListRuns",
        Transport::Http => "/v1/control/list-runs",
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListRunsRequest {
    #[prost(uint64, optional, tag = "2")]
    limit: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListRunsAnswer {
    #[prost(map = "uint64, message", tag = "1")]
    runs: HashMap<u64, Run>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Run {
    #[prost(string, tag = "2")]
    fab_id: String,
    #[prost(string, tag = "3")]
    fab_version: String,
    #[prost(string, tag = "6")]
    pending_at: String,
    #[prost(message, optional, tag = "10")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "1")]
    status: String,
    #[prost(string, tag = "2")]
    sub_status: String,
    #[prost(string, tag = "3")]
    details: String,
}

/// One run, as SuperLink lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// Flower's run id.
    pub run_id: u64,
    /// The app, `publisher/name==version`.
    pub app: String,
    /// `pending`, `starting`, `running`, or `finished:` and how.
    pub status: String,
    /// Flower's details on the status, often empty.
    pub details: String,
    /// When it was submitted (ISO 8601), which orders runs.
    pub submitted_at: String,
}

/// The body that asks for the newest `limit` runs.
pub fn list_runs_request(limit: u64) -> Bytes {
    Bytes::from(ListRunsRequest { limit: Some(limit) }.encode_to_vec())
}

/// Reads the answer to ListRuns; newest first.
///
/// # Errors
/// The decoder's text for bytes that are not such an answer.
pub fn list_runs_answer(body: Bytes) -> Result<Vec<RunInfo>, String> {
    let answer = ListRunsAnswer::decode(body).map_err(|why| why.to_string())?;
    let mut runs: Vec<RunInfo> = answer.runs.into_iter().map(|(run_id, run)| run.info(run_id)).collect();
    runs.sort_by(|a, b| (&b.submitted_at, b.run_id).cmp(&(&a.submitted_at, a.run_id)));
    Ok(runs)
}

impl Run {
    fn info(self, run_id: u64) -> RunInfo {
        let status = self.status.unwrap_or_default();
        let joined = match status.sub_status.as_str() {
            "" => status.status,
            sub => format!("{}:{sub}", status.status),
        };
        RunInfo {
            run_id,
            app: format!("{}=={}", self.fab_id, self.fab_version),
            status: joined,
            details: status.details,
            submitted_at: self.pending_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_paths_and_nothing_else() {
        for path in ["/v1/control/start-run", "/flwr.proto.Control/StreamLogs"] {
            assert!(is_control_path(path), "{path}");
        }
        for path in [
            "/v1/control/",
            "/v1/control/../runtime/acquire-task",
            "/v1/control/start-run/x",
            "/v1/control/%2e%2e",
            "/v1/runtime/acquire-task",
            "/v1/fleet/pull-messages",
            "/flwr.proto.Control/",
            "/flwr.proto.ControlX/StartRun",
            "/flwr.proto.ServerAppIo/PullMessages",
        ] {
            assert!(!is_control_path(path), "{path}");
        }
    }

    #[test]
    fn runs_come_newest_first_with_their_sub_status() {
        let run = |at: &str, status: &str, sub: &str| Run {
            fab_id: "onefed/digits".into(),
            fab_version: "1.0.0".into(),
            pending_at: at.into(),
            status: Some(Status { status: status.into(), sub_status: sub.into(), details: String::new() }),
        };
        let answer = ListRunsAnswer {
            runs: HashMap::from([
                (1, run("2026-01-01", "finished", "completed")),
                (2, run("2026-01-02", "running", "")),
            ]),
        };
        let runs = list_runs_answer(Bytes::from(answer.encode_to_vec())).unwrap();
        assert_eq!(
            runs.iter().map(|run| (run.run_id, run.status.as_str())).collect::<Vec<_>>(),
            [(2, "running"), (1, "finished:completed")]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = list_runs_answer(Bytes::from(body));
        }
    }
}
