//! Hub and spokes in trouble: a line that stalls beside one that is well, a disk without room, files that cannot be
//! written, a long hole. Real sockets and disks, on emulated lines; SuperLink and SuperNodes only move bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may fail by a panic, and says what it has measured"
)]

mod child;
mod disk;
#[path = "../support/log.rs"]
mod log;
mod stalled;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onefed_flower::Transport;
use onefed_link::KeepAlive;
use onefed_link::spoke::Spoke;
use onefed_testbed::synthetic::{Model, SuperLink, SuperNode, Timing};
use onefed_testbed::wan::{Profile, Wan};
use support::{RunningSpoke, Trust, run_spoke, spoke_config};

/// How long anything may take on a machine with much else to do.
const LONG: Duration = Duration::from_secs(90);
const TIMING: Timing = Timing { poll: Duration::from_millis(200), heartbeat: Duration::from_secs(2) };

/// Where anything listens: the addresses that are in the certificates.
fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn superlink() -> SuperLink {
    SuperLink::start(anywhere(), Transport::Http).unwrap()
}

fn line(to: SocketAddr, mbit: u64) -> Wan {
    Wan::open(anywhere(), to, Profile::new(Duration::from_millis(20), mbit)).unwrap()
}

/// A spoke of a site of this name.
async fn spoke(
    trust: &Trust,
    dir: &Path,
    hub: SocketAddr,
    site: &str,
    keepalive: KeepAlive,
    bytes: u64,
) -> RunningSpoke {
    let mut config = spoke_config(trust, hub, keepalive, "test", "127.0.0.1:0", &dir.join(site));
    config.line.hello.site = site.to_owned();
    config.disk.bytes = bytes;
    run_spoke(Spoke::open(config).await.unwrap(), None)
}

/// A SuperNode that answers with so many bytes; back when SuperLink knows it.
async fn node(superlink: &SuperLink, spoke: SocketAddr, seed: u64, bytes: usize) {
    let (before, reply) = (superlink.nodes(), Arc::new(Model::new(seed, bytes)));
    tokio::spawn(SuperNode::new(spoke, Transport::Http, TIMING, Some(reply)).unwrap().run());
    assert!(waits(|| superlink.wait_for_nodes(before + 1, LONG)), "no node");
}

/// Waits without holding anybody up.
fn waits<T>(wait: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(wait)
}

async fn until(what: &str, patience: Duration, mut is: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

/// Not a test: what the tests start as a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_its_own() {
    child::run().await;
}
