//! What operators see of a line: in the hub's status and in its metrics, also of what only the spoke knows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use onefed_flower::Transport;
use onefed_link::status::SpokeLine;
use onefed_trust::{ClientRole, tls};
use support::{Trust, UP, admin, ask, hub, request, short, spoke, superlink};

/// Asks the hub until its only line is as wanted.
async fn line_that(
    client: &onefed_link::connect::AdminClient,
    wanted: impl Fn(&SpokeLine) -> bool,
) -> SpokeLine {
    let began = Instant::now();
    loop {
        let mut lines = client.status().await.unwrap().spokes;
        match lines.pop() {
            Some(line) if wanted(&line) => return line,
            other => assert!(began.elapsed() < UP, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_spokes_own_counts_reach_the_hub_and_its_metrics_also_after_a_cut() {
    let (address, _, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let first = hub(&trust, "1.41.0", address, short(), "127.0.0.1:0").await;
    let (listen, line) = spoke(&trust, first.fleet, short(), "test").await;
    line.wait_up(UP).await.unwrap();
    let operator = admin(&trust, first.admin, ClientRole::Operator);
    let said = line_that(&operator, |line| line.said.is_some()).await.said.unwrap();
    assert!(said.stats.room && said.stats.unknown.is_empty() && said.stats.disk_limit_bytes > 0, "{said:?}");

    // A SuperNode asks for what nobody knows. The line is cut, and comes back to another hub.
    let unknown = http::Request::post(format!("http://{listen}/v1/fleet/pull-secrets"));
    let unknown = unknown.header("host", "spoke").body(onefed_flower::fleet::ready(bytes::Bytes::new()));
    let tcp = tokio::net::TcpStream::connect(listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(unknown.unwrap()).await.unwrap().status(), StatusCode::NOT_FOUND);
    first.task.abort();
    while line.why_down().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = hub(&trust, "1.41.0", address, short(), &first.fleet.to_string()).await;
    line.wait_up(UP).await.unwrap();
    let operator = admin(&trust, again.admin, ClientRole::Operator);
    let seen = line_that(&operator, |line| line.said.is_some()).await;
    let named = &seen.said.as_ref().unwrap().stats.unknown;
    assert_eq!(
        named.iter().map(|one| (one.name.as_str(), one.count)).collect::<Vec<_>>(),
        [("pull-secrets", 1)]
    );
    // This hub has seen it come once, and never go.
    assert!(seen.connected && seen.cuts == 0 && seen.why.is_empty(), "{seen:?}");

    let metrics = async |role| {
        let identity = trust.client(role);
        let config = tls::client(trust.root.cert_pem(), Some(&identity), &[b"http/1.1"]).unwrap();
        let mut request = request("/metrics");
        *request.method_mut() = Method::GET;
        ask(again.admin, config, request).await.unwrap()
    };
    let (status, text) = metrics(ClientRole::Operator).await;
    assert_eq!(status, StatusCode::OK);
    let wanted = format!(
        "onefed_link_unknown_operations_total{{site=\"{}\",spoke=\"{}\",operation=\"pull-secrets\"}} 1",
        seen.site, seen.spoke
    );
    assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
    assert!(text.contains("onefed_link_up{") && text.ends_with("# EOF\n"), "{text}");
    let (status, text) = metrics(ClientRole::User).await;
    assert_eq!((status, text.trim_end()), (StatusCode::FORBIDDEN, "the state of the hub is for operators"));
}
