//! Which SuperNodes may come online: the operator's requests, put to SuperLink's Control API.
//!
//! SuperLink itself is not idempotent here: it refuses a key that it has seen before, whether its node is there or was
//! withdrawn. So it is asked for its list first.

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use onefed_flower::control::nodes::{self, NodeInfo, NodeOperation};
use onefed_flower::fleet::{FleetAnswer, FleetStatus};
use onefed_trust::NodePublicKey;
use serde::de::DeserializeOwned;

use crate::listen::{Body, json, text};
use crate::superlink::SuperLink;
use crate::wire::{AdmitNode, NodeAdmitted, NodeWithdrawn, WithdrawNode};

/// A request is a few hundred bytes.
const MAX_REQUEST: usize = 16 << 10;

/// Why a request was not fulfilled: the status says whether trying again can help.
type Refused = (StatusCode, String);

/// Answers a request to admit a node.
pub(crate) async fn register(superlink: &SuperLink, request: Request<Incoming>, by: &str) -> Response<Body> {
    let done = async {
        let asked: AdmitNode = read(request).await?;
        let key: NodePublicKey =
            asked.public_key.parse().map_err(|why: onefed_trust::Error| bad(why.to_string()))?;
        let admitted = admit(superlink, &key).await?;
        let (node_id, new) = (admitted.node_id, admitted.new);
        tracing::info!(key = key.fingerprint(), node_id, new, by, "SuperNode admitted");
        Ok(admitted)
    };
    done.await.map_or_else(|(status, why): Refused| text(status, why), |admitted| json(&admitted))
}

/// Answers a request to withdraw a node.
pub(crate) async fn unregister(
    superlink: &SuperLink,
    request: Request<Incoming>,
    by: &str,
) -> Response<Body> {
    let done = async {
        let WithdrawNode { node_id } = read(request).await?;
        let answer = ask(superlink, NodeOperation::Unregister, nodes::unregister_request(node_id)).await?;
        let was_there = match answer.status {
            FleetStatus::Grpc(5, _) | FleetStatus::Http(StatusCode::NOT_FOUND) => false,
            _ if answer.is_ok() => true,
            _ => return Err(refused(&format!("unregister node {node_id}"), &answer)),
        };
        tracing::info!(node_id, was_there, by, "SuperNode withdrawn");
        Ok(NodeWithdrawn { was_there })
    };
    done.await.map_or_else(|(status, why): Refused| text(status, why), |withdrawn| json(&withdrawn))
}

async fn admit(superlink: &SuperLink, key: &NodePublicKey) -> Result<NodeAdmitted, Refused> {
    if let Some(node) = known(superlink, key).await? {
        return present(&node, key);
    }
    let request = nodes::register_request(&key.to_pem());
    let answer = ask(superlink, NodeOperation::Register, request).await?;
    if answer.is_ok() {
        let node_id = nodes::register_answer(answer.body).map_err(|why| strange("RegisterNode", &why))?;
        return Ok(NodeAdmitted { node_id, new: true });
    }
    // Somebody else may have been faster.
    match known(superlink, key).await? {
        Some(node) => present(&node, key),
        None => Err(refused(&format!("register the key {}", key.fingerprint()), &answer)),
    }
}

/// The node with this key, withdrawn or not.
async fn known(superlink: &SuperLink, key: &NodePublicKey) -> Result<Option<NodeInfo>, Refused> {
    let answer = ask(superlink, NodeOperation::List, nodes::list_request()).await?;
    if !answer.is_ok() {
        return Err(refused("list its nodes", &answer));
    }
    let list = nodes::list_answer(answer.body).map_err(|why| strange("ListNodes", &why))?;
    let pem = key.to_pem();
    Ok(list.into_iter().find(|node| node.public_key == pem))
}

fn present(node: &NodeInfo, key: &NodePublicKey) -> Result<NodeAdmitted, Refused> {
    if node.is_unregistered() {
        let why = format!(
            "the key {} was node {} and was unregistered; SuperLink never takes a key a second time: \
             let that SuperNode make a new one",
            key.fingerprint(),
            node.node_id
        );
        return Err((StatusCode::CONFLICT, why));
    }
    Ok(NodeAdmitted { node_id: node.node_id, new: false })
}

async fn ask(
    superlink: &SuperLink,
    operation: NodeOperation,
    message: bytes::Bytes,
) -> Result<FleetAnswer, Refused> {
    let answer = superlink.ask(operation.path(superlink.release()), message).await;
    let late = |why: String| {
        (StatusCode::SERVICE_UNAVAILABLE, format!("SuperLink did not answer {}: {why}", operation.name()))
    };
    match answer {
        Ok(answer) if answer.is_unavailable() => Err(late(answer.words())),
        other => other.map_err(late),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect().await;
    let body = body.map_err(|why| bad(why.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|why| bad(format!("not a request of this kind: {why}")))
}

fn bad(why: String) -> Refused {
    (StatusCode::BAD_REQUEST, why)
}

fn refused(what: &str, answer: &FleetAnswer) -> Refused {
    (StatusCode::CONFLICT, format!("SuperLink refused to {what}: {}", answer.words()))
}

fn strange(call: &str, why: &str) -> Refused {
    (StatusCode::BAD_GATEWAY, format!("SuperLink answered {call} with something else: {why}"))
}
