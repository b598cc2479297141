//! The few fields of Flower's messages that onefed reads. Everything else stays opaque and is never re-encoded.
//!
//! Tags were read from the descriptors of 1.31.0 and 1.41.0; they are the same in both.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;

use crate::Operation;

/// Where a SuperNode names its public key: `-bin` in gRPC, where the transport does the base64, perhaps unpadded.
const KEY_HEADERS: [&str; 2] = ["flwr-public-key-bin", "flwr-public-key"];
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
struct OfKey {
    #[prost(bytes = "bytes", tag = "1")]
    public_key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeartbeatAnswer {
    #[prost(bool, tag = "1")]
    success: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullObjectRequest {
    #[prost(uint64, tag = "2")]
    run_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullObjectAnswer {
    #[prost(bytes = "bytes", tag = "3")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConfigRecord {
    #[prost(message, repeated, tag = "1")]
    items: Vec<ConfigItem>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConfigItem {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ConfigValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConfigValue {
    #[prost(sint64, tag = "2")]
    integer: i64,
}

/// The head of an object with a configuration: this, its length in decimal, and a zero byte.
const CONFIG_RECORD: &[u8] = b"ConfigRecord ";
/// Where Flower's strategies write the server round.
const ROUND_KEY: &str = "server-round";
/// A configuration is small; nothing larger is looked into.
const MAX_CONFIG: usize = 64 << 10;

/// The run and the server round that an object belongs to, if it is a configuration in which Flower's strategies name
/// the round. An app with a loop of its own may name none.
pub fn pulled_round(request: &Bytes, answer: &Bytes) -> Option<(u64, u64)> {
    if answer.len() > MAX_CONFIG {
        return None;
    }
    let content = PullObjectAnswer::decode(answer.clone()).ok()?.content;
    let body = content.strip_prefix(CONFIG_RECORD)?;
    let body = &body[body.iter().position(|byte| *byte == 0)? + 1..];
    let item = ConfigRecord::decode(body).ok()?.items.into_iter().find(|item| item.key == ROUND_KEY)?;
    let round = u64::try_from(item.value?.integer).ok()?;
    Some((PullObjectRequest::decode(request.clone()).ok()?.run_id, round))
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

/// The public key (PEM text) that a call is signed with, as its headers say. SuperLink has checked it only where it
/// answered with success, and then that it is the key of the node that the body names; but not for ActivateNode, which
/// is about the key in its body ([`activated_key`]).
pub fn signing_key(headers: &HeaderMap) -> Option<String> {
    let value = KEY_HEADERS.iter().find_map(|name| headers.get(*name))?;
    String::from_utf8(BASE64.decode(value.as_bytes()).ok()?).ok()
}

/// The public key (PEM text) in the body of ActivateNode or RegisterNode.
pub fn activated_key(body: &Bytes) -> Option<String> {
    let key = OfKey::decode(body.clone()).ok()?.public_key;
    String::from_utf8(key.into()).ok().filter(|key| !key.is_empty())
}

/// Whether the answer to SendNodeHeartbeat says that SuperLink knows the node.
pub fn heartbeat_accepted(body: &Bytes) -> bool {
    HeartbeatAnswer::decode(body.clone()).is_ok_and(|answer| answer.success)
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
    fn the_key_is_found_in_both_transports_and_in_the_body() {
        for (name, value) in [
            ("flwr-public-key-bin", "LS0tLQ"),
            ("flwr-public-key-bin", "LS0tLQ=="),
            ("flwr-public-key", "LS0tLQ=="),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(signing_key(&headers).as_deref(), Some("----"), "{name}: {value}");
        }
        for bad in ["%", "//8="] {
            let headers = HeaderMap::from_iter([("flwr-public-key".parse().unwrap(), bad.parse().unwrap())]);
            assert_eq!(signing_key(&headers), None, "{bad}");
        }
        assert_eq!(signing_key(&HeaderMap::new()), None);
        let body = Bytes::from_static(b"\x0a\x04----\x11\0\0\0\0\0\0\x3e\x40");
        assert_eq!(activated_key(&body).as_deref(), Some("----"));
        assert_eq!(activated_key(&Bytes::new()), None);
    }

    #[test]
    fn the_round_is_read_from_a_configuration_and_from_nothing_else() {
        // As Flower 1.41.0 deflates ConfigRecord({"server-round": 3, "lr": 0.1}).
        let record = b"ConfigRecord  37\x00\n\x12\n\x0cserver-round\x12\x02\x10\x06\n\x0f\n\x02lr\x12\t\t\x9a\x99\x99\x99\x99\x99\xb9?";
        let request = Bytes::from(PullObjectRequest { run_id: 5 }.encode_to_vec());
        let answer = |content: &'static [u8]| {
            Bytes::from(PullObjectAnswer { content: Bytes::from_static(content) }.encode_to_vec())
        };
        assert_eq!(pulled_round(&request, &answer(record)), Some((5, 3)));
        assert_eq!(pulled_round(&request, &answer(b"ArrayChunk  4\x00abcd")), None);
        assert_eq!(pulled_round(&request, &answer(b"ConfigRecord  no end")), None);
        assert_eq!(pulled_round(&request, &Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let body = Bytes::from(body);
            for op in Operation::ALL {
                let _ = requesting_node(op, &body);
            }
            let _ = (granted_node(&body), heartbeat_accepted(&body), pulled_round(&body, &body));
            let _ = activated_key(&body);
        }
    }
}
