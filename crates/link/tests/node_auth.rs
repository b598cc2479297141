//! Node authentication: TLS to the SuperLink behind the hub, SuperNodes admitted by an operator and known by their
//! keys at the spoke.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use onefed_flower::fleet::{FleetCall, FleetStatus};
use onefed_flower::{Operation, Transport};
use onefed_link::status::{NodeByKey, SuperLinkStatus};
use onefed_link::{Error, KeepAlive, probe};
use onefed_trust::{ClientRole, NodeKey, tls};
use support::{
    Trust, UP, admin, field, hub, hub_with, post, release, short, spoke, superlink, superlink_with,
};

const BOTH: [Transport; 2] = [Transport::Grpc, Transport::Http];

fn activation(transport: Transport, key: &NodeKey) -> FleetCall {
    let body = Bytes::from(field(1, key.public().to_pem().as_bytes()));
    let name = if transport == Transport::Grpc { "flwr-public-key-bin" } else { "flwr-public-key" };
    let value = STANDARD.encode(key.public().to_pem()).parse().unwrap();
    let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
    FleetCall { operation: Operation::ActivateNode, transport, headers, body }
}

#[tokio::test]
async fn fleet_and_control_reach_a_superlink_with_tls_and_still_no_ping_does() {
    for transport in BOTH {
        let (trust, inner) = (Trust::new(), Trust::new());
        let (address, seen, tap) = superlink_with(transport, Some(&inner)).await;
        let ca = Some(inner.root.cert_pem().to_owned());
        let hub = hub_with(&trust, release(transport), address, short(), "127.80.1.1:0", ca).await;
        let (listen, line) = spoke(&trust, hub.fleet, short(), "test").await;
        line.wait_up(UP).await.unwrap();
        probe::fleet(&listen.ip().to_string(), listen.port(), None, None, transport).await.unwrap();
        assert_eq!(seen.calls.load(Ordering::Relaxed), 1, "{transport}");
        // Our own question, and one that is passed through.
        let operator = admin(&trust, hub.admin, ClientRole::Operator);
        let _ = operator.status().await.unwrap();
        let before = seen.other.load(Ordering::Relaxed);
        let identity = trust.client(ClientRole::User);
        let user = tls::client(trust.root.cert_pem(), Some(&identity), &[b"http/1.1"]).unwrap();
        let path = if transport == Transport::Http {
            "/v1/control/start-run"
        } else {
            "/flwr.proto.Control/StartRun"
        };
        assert_eq!(post(hub.admin, user, path).await.unwrap(), StatusCode::OK, "{transport}");
        assert_eq!(seen.other.load(Ordering::Relaxed), before + 1, "{transport}");
        tokio::time::sleep(short().time * 4).await;
        assert_eq!((tap.log().received, tap.log().sent), (0, 0), "a PING reached the SuperLink");
    }
}

#[tokio::test]
async fn a_superlink_that_is_not_the_trusted_one_is_not_spoken_to() {
    for transport in BOTH {
        let (trust, inner) = (Trust::new(), Trust::new());
        for (served, trusted, said) in [
            (Some(&inner), Some(Trust::new().root.cert_pem().to_owned()), "invalid peer certificate"),
            (None, Some(inner.root.cert_pem().to_owned()), ""),
            (Some(&inner), None, ""),
        ] {
            let (address, seen, _) = superlink_with(transport, served).await;
            let hub =
                hub_with(&trust, release(transport), address, short(), "127.80.1.1:0", trusted.clone()).await;
            let status = admin(&trust, hub.admin, ClientRole::Operator).status().await.unwrap();
            let SuperLinkStatus::Down(why) = status.superlink else { panic!("{transport}: it is up") };
            assert!(why.contains(said), "{transport}: {why}");
            let (listen, line) = spoke(&trust, hub.fleet, short(), "test").await;
            line.wait_up(UP).await.unwrap();
            let refused = probe::fleet(&listen.ip().to_string(), listen.port(), None, None, transport)
                .await
                .unwrap_err();
            assert!(matches!(refused, Error::Answer { .. }), "{transport}: {refused}");
            assert!(!refused.to_string().contains("handshake failed"), "{refused}");
            assert_eq!(seen.calls.load(Ordering::Relaxed), 0, "{transport}");
        }
    }
}

#[tokio::test]
async fn an_operator_admits_and_withdraws_a_node_as_often_as_they_like() {
    for transport in BOTH {
        let (address, seen, _) = superlink(transport).await;
        let trust = Trust::new();
        let hub = hub(&trust, release(transport), address, KeepAlive::default(), "127.80.1.1:0").await;
        let operator = admin(&trust, hub.admin, ClientRole::Operator);
        let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let first = operator.register_node(key.public()).await.unwrap();
        assert!(first.new && first.node_id > u64::MAX / 2, "{first:?}");
        let again = operator.register_node(key.public()).await.unwrap();
        assert_eq!((again.node_id, again.new), (first.node_id, false));
        assert_ne!(operator.register_node(other.public()).await.unwrap().node_id, first.node_id);
        assert_eq!(seen.nodes.lock().unwrap().len(), 2);

        assert!(operator.unregister_node(first.node_id).await.unwrap().was_there);
        assert!(!operator.unregister_node(first.node_id).await.unwrap().was_there);
        let spent = operator.register_node(key.public()).await.unwrap_err();
        assert!(matches!(spent, Error::Refused { .. }), "{spent}");
        let spent = spent.to_string();
        assert!(spent.contains("was unregistered; SuperLink never takes a key a second time"), "{spent}");
        assert!(spent.contains(&key.public().fingerprint()), "{spent}");
    }
}

#[tokio::test]
async fn admitting_nodes_is_for_operators_on_every_way() {
    for transport in BOTH {
        let (address, seen, _) = superlink(transport).await;
        let trust = Trust::new();
        let hub = hub(&trust, release(transport), address, KeepAlive::default(), "127.80.1.1:0").await;
        let user = admin(&trust, hub.admin, ClientRole::User);
        let key = NodeKey::generate().unwrap();
        for refused in
            [user.register_node(key.public()).await.unwrap_err(), user.unregister_node(1).await.unwrap_err()]
        {
            assert!(
                refused.to_string().ends_with("refused: admitting SuperNodes is for operators"),
                "{refused}"
            );
        }
        let with = |role| {
            let identity = trust.client(role);
            tls::client(trust.root.cert_pem(), Some(&identity), &[b"http/1.1"]).unwrap()
        };
        for path in [
            "/v1/control/register-node",
            "/v1/control/unregister-node",
            "/flwr.proto.Control/RegisterNode",
            "/flwr.proto.Control/UnregisterNode",
        ] {
            let status = post(hub.admin, with(ClientRole::User), path).await.unwrap();
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        }
        assert!(seen.nodes.lock().unwrap().is_empty());
        let list = if transport == Transport::Http {
            "/v1/control/list-nodes"
        } else {
            "/flwr.proto.Control/ListNodes"
        };
        assert_eq!(post(hub.admin, with(ClientRole::User), list).await.unwrap(), StatusCode::OK);
        // Nothing of it at the Fleet listener.
        let fleet = tls::client(trust.root.cert_pem(), None, &[b"http/1.1"]).unwrap();
        let status = post(hub.fleet, fleet, "/onefed/v1/nodes/register").await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_superlink_that_is_away_is_told_from_one_that_refuses() {
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", "127.80.1.1:1".parse().unwrap(), short(), "127.80.1.1:0").await;
    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    let away = operator.register_node(NodeKey::generate().unwrap().public()).await.unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }), "{away}");
    assert!(away.to_string().contains("the SuperLink behind the hub"), "{away}");
}

#[tokio::test]
async fn a_node_that_is_not_admitted_yet_waits_and_its_spoke_says_why() {
    for transport in BOTH {
        let (address, _, _) = superlink(transport).await;
        let trust = Trust::new();
        let hub = hub(&trust, release(transport), address, short(), "127.80.1.1:0").await;
        let (listen, line) = spoke(&trust, hub.fleet, short(), "test").await;
        line.wait_up(UP).await.unwrap();
        let key = NodeKey::generate().unwrap();
        let print = key.public().fingerprint();
        let host = listen.ip().to_string();
        let asked = async || probe::spoke(&host, listen.port(), None).await.unwrap().node_by_key(&print);
        assert_eq!(asked().await, NodeByKey::Unknown);

        // The SuperNode hears that it should try again; SuperLink's own answer would end it.
        let heard = support::call_at(listen, transport, &activation(transport, &key)).await;
        assert!(heard.is_unavailable(), "{transport}: {:?}", heard.status);
        assert!(heard.words().contains("No SuperNode found"), "{}", heard.words());
        let NodeByKey::Refused(why) = asked().await else { panic!("{transport}: not refused") };
        assert!(why.starts_with("No SuperNode found"), "{why}");
        let operator = admin(&trust, hub.admin, ClientRole::Operator);
        let waiting = operator.status().await.unwrap().refused_nodes;
        assert_eq!((waiting[0].key.as_str(), waiting[0].site.as_str()), (print.as_str(), "paris"));

        let admitted = operator.register_node(key.public()).await.unwrap();
        let heard = support::call_at(listen, transport, &activation(transport, &key)).await;
        assert!(matches!(heard.status, FleetStatus::Grpc(0, _) | FleetStatus::Http(StatusCode::OK)));
        let NodeByKey::Online { node_id, .. } = asked().await else { panic!("{transport}: not online") };
        assert_eq!(node_id, admitted.node_id);
        let status = operator.status().await.unwrap();
        assert!(status.refused_nodes.is_empty(), "{:?}", status.refused_nodes);
        assert_eq!(status.nodes[0].key.as_deref(), Some(print.as_str()));
        // A SuperNode that comes to the hub without a spoke hears the same.
        let fleet = tls::client(trust.root.cert_pem(), None, support::alpn(transport)).unwrap();
        let stranger = activation(transport, &NodeKey::generate().unwrap());
        let heard = support::call_with_tls(hub.fleet, transport, &stranger, fleet).await;
        assert!(heard.is_unavailable(), "{transport}: {:?}", heard.status);
    }
}
