//! The least PING interval that a hub accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::time::Duration;

use onefed_flower::Transport;
use onefed_link::{KeepAlive, probe};
use onefed_trust::ClientRole;
use support::{Trust, UP, admin, hub, spoke, superlink};

fn every(seconds: u64) -> KeepAlive {
    KeepAlive { time: Duration::from_secs(seconds), timeout: Duration::from_secs(5) }
}

#[tokio::test]
async fn a_spoke_that_would_ping_too_often_is_refused_and_says_so_itself() {
    let (address, _, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", address, every(60), "127.80.1.1:0").await;
    let (listen, line) = spoke(&trust, hub.fleet, every(10), "test").await;
    let text = "this hub accepts PINGs every 30 s at most often, site paris asks for 10 s: \
                set FL_GRPC_KEEPALIVE_TIME to 30 or more there";
    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    let started = std::time::Instant::now();
    let refused = loop {
        let status = operator.status().await.unwrap();
        if let Some(refused) = status.refused_spokes.first() {
            break refused.clone();
        }
        assert!(started.elapsed() < UP, "not refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((refused.site.as_str(), refused.spoke.as_str(), refused.why.as_str()), ("paris", "7", text));
    while !line.why_down().unwrap().contains("accepts PINGs") {
        assert!(started.elapsed() < UP, "{:?}", line.why_down());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = probe::spoke(&listen.ip().to_string(), listen.port(), None).await.unwrap();
    assert!(!status.connected);
    assert!(status.why.unwrap().contains(text));
    assert!(operator.status().await.unwrap().spokes.is_empty(), "it was never taken in");

    // The same spoke with a setting that fits, and one that is exactly at the limit.
    for fits in [60, 30] {
        let (_, line) = spoke(&trust, hub.fleet, every(fits), "test").await;
        line.wait_up(UP).await.unwrap();
    }
    let status = operator.status().await.unwrap();
    assert!(status.spokes.iter().any(|spoke| spoke.connected), "{:?}", status.spokes);
}
