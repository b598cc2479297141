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
async fn a_spoke_that_would_ping_too_often_takes_the_hubs_least_interval_and_is_taken_in() {
    let (address, _, _) = superlink(Transport::Http).await;
    let trust = Trust::new();
    let hub = hub(&trust, "1.41.0", address, every(60), "127.80.1.1:0").await;
    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    for (asked, used) in [(10, 30), (30, 30), (60, 60)] {
        let (listen, line) = spoke(&trust, hub.fleet, every(asked), "test").await;
        line.wait_up(UP).await.unwrap();
        let sight = line.sight();
        assert_eq!(sight.keepalive, every(used), "{asked}");
        assert_eq!(sight.adjusted_from, (asked < used).then(|| every(asked).time), "{asked}");
        let status = probe::spoke(&listen.ip().to_string(), listen.port(), None).await.unwrap();
        assert!(status.connected, "{:?}", status.why);
        let status = operator.status().await.unwrap();
        assert!(status.refused_spokes.is_empty(), "{:?}", status.refused_spokes);
        assert!(status.spokes.iter().any(|spoke| spoke.connected), "{:?}", status.spokes);
    }
}
