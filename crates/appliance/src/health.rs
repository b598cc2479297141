//! What "ready" means for each role: not that a process exists, but that it does its work.
//!
//! SuperLink: TLS with the published CA at the published address, then a heartbeat without a signature, which the
//! SuperLink must refuse as unauthenticated: hub, SuperLink and certificate all work, and nothing was changed.
//! Gateway: the spoke answers with its certificate, and its line to the hub is up. SuperNode: its spoke has seen the
//! SuperLink accept its heartbeat, by the key that it signs with.

use std::path::Path;
use std::time::{Duration, Instant};

use onefed_context::Role;
use onefed_flower::Transport;
use onefed_link::probe;
use onefed_link::status::{NodeByKey, NodeStatus, SpokeStatus};
use onefed_trust::tls;

use crate::manager::Manager;
use crate::publication::Publisher;
use crate::record::{HealthCheck, Node, Record, State};
use crate::service::SUPERNODE;
use crate::{StepError, files};

/// Python on a small VM under load takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is elsewhere may be away for long without anything being wrong here: the hub's VM boots at the same time as those
/// of the sites, its whole zone may be down, and SuperNodes are registered while `apply` runs.
const OTHERS: Duration = Duration::from_secs(24 * 3600);
const LOOK: Duration = Duration::from_millis(250);
/// A wait of so long is one that others should know of; and its reason is told again this much later at the soonest.
const LONG: Duration = Duration::from_secs(20);

/// Asks once whether the VM in which this runs does its work, and says in a line what was found.
///
/// # Errors
/// `health_timeout` with what was found instead, or what the boot has reported; `context_invalid` where no boot of this role has come so far that there is something to ask.
pub async fn health(disk: &Path, role: Option<Role>) -> Result<String, StepError> {
    let nothing = |text: String| StepError::context(text, "boot this VM first: `onefed boot`");
    let Some(record) = Record::read(disk)? else {
        return Err(nothing(format!("no boot has written down its state in {}", disk.display())));
    };
    if let State::Failed { code, text } | State::Degraded { code, text } = &record.state {
        return Err(StepError::unwell(format!("{code}: {text}")));
    }
    let Some(check) = &record.health else {
        return Err(StepError::unwell("the boot has not started its processes yet"));
    };
    if let Some(role) = role.filter(|role| role.to_string() != check.role) {
        return Err(nothing(format!("this VM is a {}, not a {role}", check.role)));
    }
    ask(check, None).await.map(|well| well.words).map_err(StepError::unwell)
}

/// A VM that does its work.
#[derive(Clone, Debug)]
pub(crate) struct Well {
    /// What was found.
    pub(crate) words: String,
    /// The id of its SuperNode, where it has one.
    pub(crate) node: Option<u64>,
}

/// Asks until the answer is good, a process keeps ending, or time is up.
///
/// `node_since`: when the SuperNode was started; what the spoke heard before is no sign of its life. A wait that gets long is
/// published with its reason: what is wrong may be elsewhere, where nobody reads this VM's log.
pub(crate) async fn until_well(
    check: &HealthCheck,
    manager: &Manager,
    node_since: Option<Instant>,
    publisher: &Publisher,
) -> Result<Well, StepError> {
    let patience = if check.role == Role::SuperLink.to_string() { PATIENCE } else { OTHERS };
    let started = Instant::now();
    let mut last = String::new();
    let mut told: Option<(String, Instant)> = None;
    while started.elapsed() < patience {
        manager.check().await?;
        match ask(check, node_since).await {
            Ok(well) => {
                if told.is_some() {
                    publisher.waits(None).await;
                }
                return Ok(well);
            }
            Err(why) => {
                if why != last {
                    tracing::info!("not yet: {why}");
                }
                last = why;
            }
        }
        let new = told.as_ref().is_none_or(|(words, when)| *words != last && when.elapsed() > LONG);
        if new && started.elapsed() > LONG {
            publisher.waits(Some(&last)).await;
            told = Some((last.clone(), Instant::now()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(StepError::health(
        format!("the {} did not come up within {} s: {last}", check.role, patience.as_secs()),
        "look at the logs of its processes: in the log directory of the VM's disk, or under systemd in the journal",
    ))
}

/// Waits for a SuperNode to announce the node id that it was given.
pub(crate) async fn announced(manager: &Manager) -> Result<u64, StepError> {
    let started = Instant::now();
    while started.elapsed() < OTHERS {
        manager.check().await?;
        if let Some(id) = manager.announced(SUPERNODE).await {
            return Ok(id);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(StepError::health(
        format!("the SuperNode was given no node id within {} s", OTHERS.as_secs()),
        "look at its log: it says where it tries to connect",
    ))
}

/// One question, and what the answer means.
async fn ask(check: &HealthCheck, node_since: Option<Instant>) -> Result<Well, String> {
    let well = |words: String| Well { words, node: None };
    let (host, port) = (check.host.as_str(), check.port);
    if check.role == Role::SuperLink.to_string() {
        let transport = check.transport();
        let config = client_tls(check, transport)?;
        probe::fleet(host, port, check.name.as_deref(), config, transport)
            .await
            .map_err(|why| why.to_string())?;
        return Ok(well(format!("the SuperLink behind the hub at {host}:{port} answers")));
    }
    let config = client_tls(check, Transport::Http)?;
    let status = probe::spoke(host, port, config).await.map_err(|why| why.to_string())?;
    match &check.node {
        Some(node) => {
            let id = online(&status, node, node_since.map(|since| since.elapsed().as_secs()))?;
            Ok(Well { words: format!("registered as node {id}"), node: Some(id) })
        }
        None => status.why.map_or_else(|| Ok(well("the line to the hub is up".to_owned())), Err),
    }
}

/// The node id, if the spoke has seen the node accepted; else what it knows. `age`: so many seconds ago the SuperNode was
/// started, and only a later sign of life is its own.
fn online(status: &SpokeStatus, node: &Node, age: Option<u64>) -> Result<u64, String> {
    let line =
        status.why.as_ref().map_or(String::new(), |why| format!("; the line to the hub is down: {why}"));
    let silent = format!("no heartbeat of the SuperNode has been accepted for a minute{line}");
    let unknown = format!("the spoke has not seen the SuperNode registered{line}");
    // Both are whole seconds, rounded down: equal ones may be either way.
    let own = |seen_seconds| age.is_none_or(|age| seen_seconds < age);
    let wanted = match node {
        Node::Key(fingerprint) => {
            return match status.node_by_key(fingerprint) {
                NodeByKey::Online { node_id, seen_seconds } if own(seen_seconds) => Ok(node_id),
                NodeByKey::Online { .. } => Err(unknown),
                NodeByKey::Offline { .. } => Err(silent),
                NodeByKey::Refused(why) => Err(format!("SuperLink does not take {fingerprint}: {why}")),
                NodeByKey::Unknown => Err(unknown),
            };
        }
        Node::Id(id) => Some(*id),
        Node::Only => None,
    };
    let is_it = |seen: &&NodeStatus| wanted.is_none_or(|id| seen.node_id == id);
    // A killed one without a key counts as online for a minute, beside the one that was started in its place.
    match status.nodes.iter().filter(is_it).min_by_key(|seen| (!seen.online, seen.seen_seconds)) {
        Some(seen) if seen.online && own(seen.seen_seconds) => Ok(seen.node_id),
        Some(seen) if seen.online => Err(unknown),
        Some(_) => Err(silent),
        None => Err(unknown),
    }
}

type ClientTls = Option<std::sync::Arc<tls::ClientConfig>>;

/// A TLS client for probes, with the ALPN of the transport.
fn client_tls(check: &HealthCheck, transport: Transport) -> Result<ClientTls, String> {
    let Some(path) = &check.ca else { return Ok(None) };
    let pem = files::read_if_there(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let pem = pem.ok_or_else(|| format!("{} is not there", path.display()))?;
    let alpn: &[u8] = match transport {
        Transport::Grpc => b"h2",
        Transport::Http => b"http/1.1",
    };
    tls::client(&pem, None, &[alpn]).map(Some).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(nodes: &[(u64, bool, u64)]) -> SpokeStatus {
        let node = |&(node_id, online, seen_seconds)| NodeStatus {
            node_id,
            site: "paris".into(),
            online,
            seen_seconds,
            key: Some("SHA256:a".into()),
        };
        SpokeStatus {
            schema_version: 1,
            site: "paris".into(),
            connected: true,
            why: None,
            nodes: nodes.iter().map(node).collect(),
            refused: Vec::new(),
            link: None,
        }
    }

    #[test]
    fn a_predecessors_sign_of_life_is_not_the_nodes_own() {
        let killed = status(&[(9, true, 20)]);
        for node in [Node::Key("SHA256:a".into()), Node::Id(9), Node::Only] {
            assert_eq!(online(&killed, &node, None), Ok(9), "{node:?}");
            assert_eq!(online(&killed, &node, Some(21)), Ok(9), "{node:?}");
            for age in [0, 10, 20] {
                assert!(online(&killed, &node, Some(age)).unwrap_err().contains("has not seen"), "{node:?}");
            }
        }
    }

    #[test]
    fn of_two_nodes_at_an_embedded_spoke_the_younger_one_is_it() {
        let both = status(&[(9, true, 20), (4, true, 1), (5, false, 0)]);
        assert_eq!(online(&both, &Node::Only, Some(5)), Ok(4));
        assert_eq!(online(&both, &Node::Id(9), None), Ok(9));
        assert!(online(&both, &Node::Id(5), None).unwrap_err().contains("no heartbeat"));
        assert!(online(&both, &Node::Id(1), None).unwrap_err().contains("has not seen"));
    }
}
