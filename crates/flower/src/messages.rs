//! The few fields of Flower's messages that onefed reads. Everything else stays opaque and is never re-encoded.
//!
//! Tags were read from the descriptors of 1.31.0 and 1.41.0; they are the same in both.

use bytes::Bytes;
use prost::Message as _;

use crate::Operation;

/// A protobuf message that names its node in field 1 as `Node{1 node_id}`.
#[derive(Clone, PartialEq, prost::Message)]
struct OfNode {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
}

/// `Node`, and every message whose field 1 is the node id itself.
#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeartbeatAnswer {
    #[prost(bool, tag = "1")]
    success: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullMessagesAnswer {
    #[prost(message, repeated, tag = "2")]
    messages: Vec<Envelope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "6")]
    group_id: String,
    #[prost(string, tag = "8")]
    message_type: String,
}

/// What one message is about, from its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageInfo {
    /// The run that the message belongs to.
    pub run_id: u64,
    /// The server round, where the app's strategy names it (Flower's strategies put it into the group id).
    pub round: Option<u64>,
    /// The kind of work: `train`, `evaluate`, `query` or the app's own.
    pub kind: String,
}

/// The node that a request is from, as its body says. `None` where the operation does not say, or on bad bytes.
pub fn requesting_node(operation: Operation, body: &Bytes) -> Option<u64> {
    let id = match operation {
        Operation::RegisterNode | Operation::ActivateNode => return None,
        Operation::DeactivateNode | Operation::UnregisterNode => Node::decode(body.clone()).ok()?.node_id,
        _ => OfNode::decode(body.clone()).ok()?.node?.node_id,
    };
    (id != 0).then_some(id)
}

/// The node id in the answer to RegisterNode or ActivateNode.
pub fn granted_node(body: &Bytes) -> Option<u64> {
    Node::decode(body.clone()).ok().map(|node| node.node_id).filter(|id| *id != 0)
}

/// Whether the answer to SendNodeHeartbeat says that SuperLink knows the node.
pub fn heartbeat_accepted(body: &Bytes) -> bool {
    HeartbeatAnswer::decode(body.clone()).is_ok_and(|answer| answer.success)
}

/// What the messages in an answer to PullMessages are about.
pub fn pulled_messages(body: &Bytes) -> Vec<MessageInfo> {
    let answer = PullMessagesAnswer::decode(body.clone()).unwrap_or_default();
    let infos = answer.messages.into_iter().filter_map(|message| message.metadata);
    infos
        .map(|meta| MessageInfo {
            run_id: meta.run_id,
            round: meta.group_id.parse().ok(),
            kind: meta.message_type.split('.').next().unwrap_or_default().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_beside_unknown_ones() {
        // Node{1: 7}, then an unknown field 9 as a varint.
        let request = Bytes::from_static(&[0x0a, 0x02, 0x08, 0x07, 0x48, 0x01]);
        assert_eq!(requesting_node(Operation::PullMessages, &request), Some(7));
        assert_eq!(requesting_node(Operation::ActivateNode, &request), None);
        assert_eq!(granted_node(&Bytes::from_static(&[0x08, 0x2a])), Some(42));
        assert!(heartbeat_accepted(&Bytes::from_static(&[0x08, 0x01])));
        assert!(!heartbeat_accepted(&Bytes::new()));
    }

    #[test]
    fn a_pulled_message_tells_run_and_round() {
        let answer = PullMessagesAnswer {
            messages: vec![Envelope {
                metadata: Some(Metadata {
                    run_id: 5,
                    group_id: "3".into(),
                    message_type: "train.default".into(),
                }),
            }],
        };
        let info = MessageInfo { run_id: 5, round: Some(3), kind: "train".into() };
        assert_eq!(pulled_messages(&Bytes::from(answer.encode_to_vec())), [info]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let body = Bytes::from(body);
            for op in Operation::ALL {
                let _ = requesting_node(op, &body);
            }
            let _ = (granted_node(&body), heartbeat_accepted(&body), pulled_messages(&body));
        }
    }
}
