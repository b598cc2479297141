//! What "ready" means for each role: not that a process exists, but that it does its work.

use std::path::Path;
use std::time::{Duration, Instant};

use onefed_flower::Transport;
use onefed_link::probe;
use onefed_trust::tls;

use crate::supervisor::Supervised;
use crate::{StepError, files};

/// Python on a small VM under load takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(250);

/// A SuperLink is ready when a heartbeat without a signature, sent to the published address over TLS with the
/// published CA, comes back refused as unauthenticated: hub, SuperLink and certificate all work.
pub(crate) async fn superlink(
    address: std::net::SocketAddr,
    ca: Option<&Path>,
    transport: Transport,
    processes: &[Supervised],
) -> Result<(), StepError> {
    let config = client_tls(ca, transport)?;
    let host = address.ip().to_string();
    until("the SuperLink behind the hub", processes, async || {
        probe::fleet(&host, address.port(), config.clone(), transport).await.map_err(|why| why.to_string())
    })
    .await
}

/// A gateway is ready when its spoke answers at the published address, and its line to the hub is up.
pub(crate) async fn gateway(
    address: std::net::SocketAddr,
    ca: Option<&Path>,
    processes: &[Supervised],
) -> Result<(), StepError> {
    let config = client_tls(ca, Transport::Http)?;
    let host = address.ip().to_string();
    until("the spoke and its line to the hub", processes, async || {
        let status =
            probe::spoke(&host, address.port(), config.clone()).await.map_err(|why| why.to_string())?;
        status.why.map_or(Ok(()), Err)
    })
    .await
}

/// A SuperNode is ready when its spoke has seen SuperLink accept it, by the node id that its log names.
pub(crate) async fn supernode(
    spoke: (&str, u16),
    ca: Option<&Path>,
    node: &Supervised,
    processes: &[Supervised],
) -> Result<u64, StepError> {
    let config = client_tls(ca, Transport::Http)?;
    until("the SuperNode's registration", processes, async || {
        node.check().map_err(|why| why.text)?;
        let Some(id) = node.state().node_id else {
            return Err("the SuperNode has no node id yet".to_owned());
        };
        let status = probe::spoke(spoke.0, spoke.1, config.clone()).await.map_err(|why| why.to_string())?;
        let online = status.nodes.iter().any(|node| node.node_id == id && node.online);
        if online { Ok(id) } else { Err(format!("the spoke has not seen node {id} accepted")) }
    })
    .await
}

type ClientTls = Option<std::sync::Arc<tls::ClientConfig>>;

/// A TLS client for probes, with the ALPN of the transport.
fn client_tls(ca: Option<&Path>, transport: Transport) -> Result<ClientTls, StepError> {
    let Some(path) = ca else { return Ok(None) };
    let pem = files::read_if_there(path).map_err(|why| StepError::file(path, &why))?.unwrap_or_default();
    let alpn: &[u8] = match transport {
        Transport::Grpc => b"h2",
        Transport::Http => b"http/1.1",
    };
    Ok(Some(tls::client(&pem, None, &[alpn])?))
}

/// Asks until the answer is good, a process keeps dying, or time is up.
async fn until<T>(
    what: &str,
    processes: &[Supervised],
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, StepError> {
    let started = Instant::now();
    let mut last = String::new();
    while started.elapsed() < PATIENCE {
        for process in processes {
            process.check()?;
        }
        match ask().await {
            Ok(good) => return Ok(good),
            Err(why) => last = why,
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(StepError::health(
        format!("{what} did not come up within {} s: {last}", PATIENCE.as_secs()),
        "look at the logs in the log directory of the VM's disk",
    ))
}
