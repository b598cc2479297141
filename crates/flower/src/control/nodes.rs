//! The part of the Control API that admits SuperNodes: register, unregister, list.
//!
//! Tags were read from the descriptors of 1.31.0 and 1.41.0. A public key travels as the bytes of its PEM text, and
//! SuperLink compares exactly those when a SuperNode comes online. A key is unique among all nodes that a SuperLink
//! has ever known: once unregistered, it can never be registered again.

use bytes::Bytes;
use prost::Message as _;

use crate::{Release, Transport};

/// One operation of the Control API on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOperation {
    /// Makes a public key known; answered with the node id.
    Register,
    /// Withdraws a node for good.
    Unregister,
    /// Lists all nodes, unregistered ones too.
    List,
}

impl NodeOperation {
    const ALL: [Self; 3] = [Self::Register, Self::Unregister, Self::List];

    fn paths(self) -> [&'static str; 2] {
        match self {
            Self::Register => ["/flwr.proto.Control/RegisterNode", "/v1/control/register-node"],
            Self::Unregister => ["/flwr.proto.Control/UnregisterNode", "/v1/control/unregister-node"],
            Self::List => ["/flwr.proto.Control/ListNodes", "/v1/control/list-nodes"],
        }
    }

    /// The name in Flower's service definition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "RegisterNode",
            Self::Unregister => "UnregisterNode",
            Self::List => "ListNodes",
        }
    }

    /// The request path in a release.
    pub fn path(self, release: Release) -> &'static str {
        let [grpc, http] = self.paths();
        match release.transport() {
            Transport::Grpc => grpc,
            Transport::Http => http,
        }
    }
}

/// Whether a request path of the Control API decides which nodes are admitted. In either transport.
pub fn is_admission_path(path: &str) -> bool {
    NodeOperation::ALL.iter().any(|op| *op != NodeOperation::List && op.paths().contains(&path))
}

#[derive(Clone, PartialEq, prost::Message)]
struct RegisterRequest {
    #[prost(bytes = "bytes", tag = "1")]
    public_key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeId {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListAnswer {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Listed>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(uint64, tag = "1")]
    node_id: u64,
    #[prost(string, tag = "4")]
    status: String,
    #[prost(bytes = "bytes", tag = "11")]
    public_key: Bytes,
}

/// One node, as SuperLink lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Flower's node id.
    pub node_id: u64,
    /// Flower's word: `registered` (never seen yet), `online`, `offline` or `unregistered`.
    pub status: String,
    /// The PEM text of its public key; empty where it is not text.
    pub public_key: String,
}

impl NodeInfo {
    /// Whether the node was withdrawn. Its key stays taken.
    pub fn is_unregistered(&self) -> bool {
        self.status == "unregistered"
    }
}

/// The body that registers a key, given as its PEM text.
pub fn register_request(public_key: &str) -> Bytes {
    let public_key = Bytes::copy_from_slice(public_key.as_bytes());
    Bytes::from(RegisterRequest { public_key }.encode_to_vec())
}

/// Reads the answer to [`NodeOperation::Register`]: the node id.
///
/// # Errors
/// The decoder's text, or that there is no id in it: SuperLink could not store the node.
pub fn register_answer(body: Bytes) -> Result<u64, String> {
    let id = NodeId::decode(body).map_err(|why| why.to_string())?.node_id;
    (id != 0).then_some(id).ok_or_else(|| "an answer without a node id".to_owned())
}

/// The body that unregisters a node.
pub fn unregister_request(node_id: u64) -> Bytes {
    Bytes::from(NodeId { node_id }.encode_to_vec())
}

/// The body that asks for all nodes.
pub fn list_request() -> Bytes {
    Bytes::new()
}

/// Reads the answer to [`NodeOperation::List`], by node id.
///
/// # Errors
/// The decoder's text for bytes that are not such an answer.
pub fn list_answer(body: Bytes) -> Result<Vec<NodeInfo>, String> {
    let answer = ListAnswer::decode(body).map_err(|why| why.to_string())?;
    let info = |node: Listed| NodeInfo {
        node_id: node.node_id,
        status: node.status,
        public_key: String::from_utf8(node.public_key.into()).unwrap_or_default(),
    };
    let mut nodes: Vec<NodeInfo> = answer.nodes.into_iter().map(info).collect();
    nodes.sort_by_key(|node| node.node_id);
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_those_of_flowers_own_command_line() {
        // As RegisterNodeRequest(public_key=b"-----") and UnregisterNodeRequest(node_id=2**63 + 5) serialise in both.
        assert_eq!(register_request("-----"), Bytes::from_static(b"\x0a\x05-----"));
        assert_eq!(
            unregister_request((1 << 63) + 5),
            Bytes::from_static(b"\x08\x85\x80\x80\x80\x80\x80\x80\x80\x80\x01")
        );
        assert_eq!(register_answer(Bytes::from_static(b"\x08\x2a")), Ok(42));
        assert!(register_answer(Bytes::new()).unwrap_err().contains("without a node id"));
        // NodeInfo{1: 7, 4: "online", 11: "PEM", 12: a location}, then `now`.
        let list = b"\x0a\x12\x08\x07\x22\x06online\x5a\x03PEM\x62\x01x\x12\x03now";
        let [node] = &list_answer(Bytes::from_static(list)).unwrap()[..] else { panic!("one node") };
        assert_eq!((node.node_id, node.status.as_str(), node.public_key.as_str()), (7, "online", "PEM"));
        assert!(!node.is_unregistered());
    }

    #[test]
    fn admission_is_told_from_looking() {
        for path in ["/v1/control/register-node", "/flwr.proto.Control/UnregisterNode"] {
            assert!(is_admission_path(path), "{path}");
        }
        for path in ["/v1/control/list-nodes", "/flwr.proto.Control/ListNodes", "/v1/fleet/register-node"] {
            assert!(!is_admission_path(path), "{path}");
        }
        let path = |version| NodeOperation::List.path(Release::parse(version).unwrap());
        assert_eq!(path("1.31.0"), "/flwr.proto.Control/ListNodes");
        assert_eq!(path("1.41.0"), "/v1/control/list-nodes");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = (register_answer(Bytes::from(body.clone())), list_answer(Bytes::from(body)));
        }
    }
}
