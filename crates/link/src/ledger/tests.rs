use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use onefed_flower::Transport;
use onefed_flower::fleet::{FleetStatus, Refusal};
use onefed_trust::NodeKey;

use super::*;
use crate::status::{NodeByKey, SCHEMA_VERSION, SpokeStatus};

fn call(operation: Operation, key: &NodeKey, body: Vec<u8>) -> FleetCall {
    let mut headers = HeaderMap::new();
    headers.insert("flwr-public-key", STANDARD.encode(key.public().to_pem()).parse().unwrap());
    FleetCall { operation, transport: Transport::Http, headers, body: Bytes::from(body) }
}

fn answer(status: StatusCode, body: &'static [u8]) -> FleetAnswer {
    FleetAnswer { status: FleetStatus::Http(status), body: Bytes::from_static(body), content_type: None }
}

/// ActivateNode as Flower encodes it: the PEM text in field 1, which is longer than 127 bytes.
fn activate(key: &NodeKey) -> Vec<u8> {
    let pem = key.public().to_pem();
    let length = u8::try_from(pem.len() - 128).unwrap() | 0x80;
    [&[0x0a, length, 0x01], pem.as_bytes()].concat()
}

fn asked(ledger: &Ledger, key: &NodeKey) -> NodeByKey {
    let (nodes, refused) = (ledger.nodes(), ledger.refused());
    let (site, why) = (String::new(), None);
    let status = SpokeStatus {
        schema_version: SCHEMA_VERSION,
        site,
        connected: true,
        why,
        nodes,
        refused,
        link: None,
    };
    let sent = serde_json::to_vec(&status).unwrap();
    let read: SpokeStatus = serde_json::from_slice(&sent).unwrap();
    assert_eq!(read, status);
    read.node_by_key(&key.public().fingerprint())
}

const REFUSED: &[u8] = br#"{"code": 2004, "detail": "Failed to activate SuperNode."}"#;
/// `Node{1: 7}` as an answer, and `{1: Node{1: 7}}` as a request.
const NODE: &[u8] = &[0x08, 0x07];
const OF_NODE: &[u8] = &[0x0a, 0x02, 0x08, 0x07];

#[test]
fn a_node_is_found_by_its_key_from_refusal_to_heartbeat_and_goodbye() {
    let (ledger, key) = (Ledger::default(), NodeKey::generate().unwrap());
    assert_eq!(asked(&ledger, &key), NodeByKey::Unknown);
    let coming = call(Operation::ActivateNode, &key, activate(&key));

    // That SuperLink is away says nothing about the key.
    let away = FleetAnswer::refusal(Transport::Http, Refusal::Unavailable, "away");
    ledger.note("paris", &coming, &away);
    assert_eq!(asked(&ledger, &key), NodeByKey::Unknown);
    ledger.note("paris", &coming, &answer(StatusCode::PRECONDITION_FAILED, REFUSED));
    let NodeByKey::Refused(why) = asked(&ledger, &key) else { panic!("not refused") };
    assert_eq!(why, "Failed to activate SuperNode. (HTTP 412 Precondition Failed)");

    ledger.note("paris", &coming, &answer(StatusCode::OK, NODE));
    assert_eq!(asked(&ledger, &key), NodeByKey::Online { node_id: 7, seen_seconds: 0 });
    assert!(ledger.refused().is_empty());
    let bye = call(Operation::DeactivateNode, &key, NODE.to_vec());
    ledger.note("paris", &bye, &answer(StatusCode::OK, b""));
    assert_eq!(asked(&ledger, &key), NodeByKey::Offline { node_id: 7 });
    ledger.note("paris", &coming, &answer(StatusCode::PRECONDITION_FAILED, REFUSED));
    assert!(matches!(asked(&ledger, &key), NodeByKey::Refused(_)));
    let beat = call(Operation::SendNodeHeartbeat, &key, OF_NODE.to_vec());
    ledger.note("paris", &beat, &answer(StatusCode::OK, &[0x08, 0x01]));
    assert_eq!(asked(&ledger, &key), NodeByKey::Online { node_id: 7, seen_seconds: 0 });
}

#[test]
fn a_key_is_taken_from_where_superlink_has_checked_it() {
    let (ledger, own, other) =
        (Ledger::default(), NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    // Signed with one key, about another: the answer is about the one in the body.
    let foreign = call(Operation::ActivateNode, &other, activate(&own));
    ledger.note("", &foreign, &answer(StatusCode::OK, NODE));
    assert_eq!(asked(&ledger, &own), NodeByKey::Online { node_id: 7, seen_seconds: 0 });
    assert_eq!(asked(&ledger, &other), NodeByKey::Unknown);
    // A heartbeat that SuperLink does not accept says nothing.
    let beat = call(Operation::SendNodeHeartbeat, &other, OF_NODE.to_vec());
    ledger.note("", &beat, &answer(StatusCode::UNAUTHORIZED, b""));
    ledger.note("", &beat, &answer(StatusCode::OK, b""));
    assert_eq!(asked(&ledger, &other), NodeByKey::Unknown);

    // A refusal counts against a key only where its holder asked: not where it was signed with another one, nor where
    // SuperLink did not accept the signature while the node is there.
    ledger.note("", &foreign, &answer(StatusCode::PRECONDITION_FAILED, REFUSED));
    let coming = call(Operation::ActivateNode, &own, activate(&own));
    ledger.note("", &coming, &answer(StatusCode::UNAUTHORIZED, b""));
    assert_eq!(asked(&ledger, &own), NodeByKey::Online { node_id: 7, seen_seconds: 0 });
    // A node that was killed, and its successor that SuperLink does not let in yet.
    ledger.note("", &coming, &answer(StatusCode::PRECONDITION_FAILED, REFUSED));
    assert!(matches!(asked(&ledger, &own), NodeByKey::Refused(_)));
    // A clock that is wrong from the start is told.
    let stranger = call(Operation::ActivateNode, &other, activate(&other));
    ledger.note("", &stranger, &answer(StatusCode::UNAUTHORIZED, b""));
    let NodeByKey::Refused(why) = asked(&ledger, &other) else { panic!("not refused") };
    assert_eq!(why, "HTTP 401 Unauthorized");
}

#[test]
fn strangers_do_not_fill_the_memory() {
    let ledger = Ledger::default();
    let first = NodeKey::generate().unwrap();
    for number in 0..=MAX_REFUSED {
        let key = if number == 0 { first.clone() } else { NodeKey::generate().unwrap() };
        let coming = call(Operation::ActivateNode, &key, activate(&key));
        ledger.note("", &coming, &answer(StatusCode::PRECONDITION_FAILED, REFUSED));
    }
    assert_eq!(ledger.refused().len(), MAX_REFUSED);
    assert_eq!(asked(&ledger, &first), NodeByKey::Unknown, "the oldest makes room");
}
