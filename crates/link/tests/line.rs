//! Hub and spoke over real sockets and real TLS, with a SuperLink stand-in behind the hub that counts HTTP/2 frames.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::{Operation, Transport};
use onefed_link::{KeepAlive, connect, probe};
use onefed_trust::{ClientIdentity, ClientRole, tls};
use support::{Trust, UP, admin, call_at, hub, post, request, short, spoke, superlink};

fn call(transport: Transport, body: &'static [u8]) -> FleetCall {
    let mut headers = HeaderMap::new();
    headers.insert("flwr-timestamp", "now".parse().unwrap());
    FleetCall { operation: Operation::PullObject, transport, headers, body: Bytes::from_static(body) }
}

#[tokio::test]
async fn an_idle_line_carries_pings_from_both_ends_and_none_reaches_the_superlink() {
    let (address, seen, superlink_tap) = superlink(Transport::Grpc).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.31.0", address, short(), "127.0.0.1:0").await;
    let (listen, line) = spoke(&trust, hub.fleet, short(), "test").await;
    line.wait_up(UP).await.unwrap();
    // One call, so that the hub's connection to SuperLink exists; then silence for more than three intervals.
    assert!(call_at(listen, Transport::Grpc, &call(Transport::Grpc, b"x")).await.is_ok());
    tokio::time::sleep(short().time * 6).await;

    let from_spoke = line.sight().pings;
    assert!(from_spoke.sent >= 3, "{from_spoke:?}");
    assert!(from_spoke.acked >= 3 && from_spoke.rtt.is_some(), "{from_spoke:?}");
    assert!(from_spoke.received >= 3, "PINGs of the hub: {from_spoke:?}");
    let admin = admin(&trust, hub.admin, ClientRole::Operator);
    let status = admin.status().await.unwrap();
    assert!(status.spokes[0].pings_sent >= 3 && status.spokes[0].pings_acked >= 3, "{:?}", status.spokes);
    assert_eq!(line.why_down(), None, "the line stayed up");

    assert_eq!(seen.calls.load(Ordering::Relaxed), 1);
    let at_superlink = superlink_tap.log();
    assert_eq!((at_superlink.received, at_superlink.sent), (0, 0), "a PING reached the SuperLink");
}

#[tokio::test]
async fn calls_pass_in_both_transports_large_ones_too_and_refusals_keep_their_words() {
    static LARGE: [u8; 6 << 20] = [7; 6 << 20];
    for (transport, release) in [(Transport::Grpc, "1.31.0"), (Transport::Http, "1.41.0")] {
        let (address, seen, _) = superlink(transport).await;
        let trust = Trust::new();
        let hub = hub(&trust, release, address, KeepAlive::default(), "127.0.0.1:0").await;
        let (listen, line) = spoke(&trust, hub.fleet, KeepAlive::default(), "test").await;
        line.wait_up(UP).await.unwrap();
        for body in [&b""[..], b"small", &LARGE] {
            let answer = call_at(listen, transport, &call(transport, body)).await;
            assert!(answer.is_ok(), "{transport}: {:?}", answer.status);
            assert_eq!(answer.body, Bytes::from_static(body), "{transport}");
        }
        // Through the whole chain: the unsigned heartbeat comes back as SuperLink's own refusal.
        probe::fleet(&listen.ip().to_string(), listen.port(), None, None, transport).await.unwrap();
        assert_eq!(seen.calls.load(Ordering::Relaxed), 4, "{transport}");
        // A SuperNode of the other band is translated for, refusals included.
        let other = if transport == Transport::Grpc { Transport::Http } else { Transport::Grpc };
        for body in [&b""[..], &LARGE] {
            let answer = call_at(listen, other, &call(other, body)).await;
            assert_eq!(answer, FleetAnswer::ok(other, Bytes::from_static(body)), "{other}");
        }
        probe::fleet(&listen.ip().to_string(), listen.port(), None, None, other).await.unwrap();
        assert_eq!(seen.calls.load(Ordering::Relaxed), 7, "{transport}");
    }
}

#[tokio::test]
async fn the_hub_answers_fleet_operations_only_and_the_admin_endpoint_people_with_certificates_only() {
    let (address, seen, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", address, KeepAlive::default(), "127.0.0.1:0").await;
    let fleet_tls = tls::client(trust.root.cert_pem(), None, &[b"http/1.1"]).unwrap();
    probe::fleet("127.0.0.1", hub.fleet.port(), None, Some(fleet_tls.clone()), Transport::Http)
        .await
        .unwrap();

    for path in [
        "/v1/control/list-runs",
        "/v1/runtime/acquire-task",
        "/flwr.proto.Control/StartRun",
        "/v1/fleet/../control/start-run",
        "/onefed/v1/status",
        "/",
    ] {
        let status = post(hub.fleet, fleet_tls.clone(), path).await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(seen.other.load(Ordering::Relaxed), 0, "something else was passed on");

    // Without a certificate the admin endpoint does not even speak.
    assert!(post(hub.admin, fleet_tls, "/v1/control/list-runs").await.is_err());
    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    assert_eq!(operator.status().await.unwrap().refused, 6);
    let user = admin(&trust, hub.admin, ClientRole::User).status().await.unwrap_err();
    assert!(user.to_string().contains("the state of the hub is for operators"), "{user}");
    let with = |role| {
        let identity = trust.client(role);
        tls::client(trust.root.cert_pem(), Some(&identity), &[b"http/1.1"]).unwrap()
    };
    for path in ["/v1/runtime/acquire-task", "/v1/fleet/pull-messages", "/v1/control/a/b"] {
        assert_eq!(
            post(hub.admin, with(ClientRole::Operator), path).await.unwrap(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let before = seen.other.load(Ordering::Relaxed);
    assert_eq!(
        post(hub.admin, with(ClientRole::User), "/v1/control/start-run").await.unwrap(),
        StatusCode::OK
    );
    assert_eq!(seen.other.load(Ordering::Relaxed), before + 1);
    // A certificate of another CA, and one of a server, are nobody's.
    let stranger = Trust::new().client(ClientRole::Operator);
    let stranger = tls::client(trust.root.cert_pem(), Some(&stranger), &[b"http/1.1"]).unwrap();
    assert!(post(hub.admin, stranger, "/v1/control/list-runs").await.is_err());
    let server = ClientIdentity { cert_pem: trust.chain.clone(), key_pem: trust.key.clone() };
    let server = tls::client(trust.root.cert_pem(), Some(&server), &[b"http/1.1"]).unwrap();
    assert!(post(hub.admin, server, "/v1/control/list-runs").await.is_err());
}

#[tokio::test]
async fn a_spoke_comes_back_after_its_hub_and_answers_truthfully_meanwhile() {
    let (address, _, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let first = hub(&trust, "1.41.0", address, short(), "127.0.0.1:0").await;
    let (listen, line) = spoke(&trust, first.fleet, short(), "test").await;
    line.wait_up(UP).await.unwrap();
    first.task.abort();
    while line.why_down().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let down =
        probe::fleet(&listen.ip().to_string(), listen.port(), None, None, Transport::Http).await.unwrap_err();
    assert!(down.to_string().contains("503"), "{down}");
    let again = hub(&trust, "1.41.0", address, short(), &first.fleet.to_string()).await;
    line.wait_up(UP).await.unwrap();
    assert!(call_at(listen, Transport::Http, &call(Transport::Http, b"x")).await.is_ok());
    drop(again);
}

#[tokio::test]
async fn a_spoke_of_another_federation_or_with_another_ca_is_refused_with_the_reason() {
    let (address, _, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", address, short(), "127.0.0.1:0").await;
    let (_, stranger) = spoke(&trust, hub.fleet, short(), "other").await;
    let (_, untrusting) = spoke(&Trust::new(), hub.fleet, short(), "test").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let why = stranger.why_down().unwrap();
    assert!(why.contains("serves federation `test`, not `other`"), "{why}");
    let why = untrusting.why_down().unwrap();
    assert!(why.contains("TLS") && why.contains("install key, certificate and CA of the same set"), "{why}");
}

#[tokio::test]
async fn the_control_port_passes_control_operations_and_nothing_else() {
    let (address, seen, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", address, KeepAlive::default(), "127.0.0.1:0").await;
    let client = admin(&trust, hub.admin, ClientRole::User);
    let port = connect::ControlPort::open("127.0.0.1:0".parse().unwrap(), client).await.unwrap();
    let local = port.address().unwrap();
    tokio::spawn(port.serve());
    let status = |path: &'static str| async move {
        let tcp = tokio::net::TcpStream::connect(local).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        let mut request = request(path);
        request.headers_mut().insert("host", local.to_string().parse().unwrap());
        sender.send_request(request).await.unwrap().status()
    };
    assert_eq!(status("/v1/control/list-runs").await, StatusCode::OK);
    assert_eq!(status("/v1/runtime/acquire-task").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/v1/fleet/pull-messages").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/onefed/v1/status").await, StatusCode::NOT_FOUND);
    assert_eq!(seen.other.load(Ordering::Relaxed), 1);
}

/// A SuperNode since 1.40 takes a FIN there for an error of TLS, and ends. After a reset it tries again.
#[tokio::test]
async fn a_handshake_that_is_not_finished_ends_by_a_reset() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (address, _, _) = superlink(Transport::Http).await;
    let hub = hub(&Trust::new(), "1.41.0", address, short(), "127.0.0.1:0").await;
    let mut tcp = tokio::net::TcpStream::connect(hub.fleet).await.unwrap();
    // The head of a ClientHello of 512 bytes, and no more; then the process ends.
    tcp.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    hub.task.abort();
    let end = tcp.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
