//! A disk without room, and one whose files cannot be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onefed_flower::{Operation, Transport, fleet::FleetCall, objects};
use onefed_link::KeepAlive;
use onefed_link::connect::AdminClient;
use onefed_link::hub::Hub;
use onefed_link::probe;
use onefed_link::status::HubStatus;
use onefed_testbed::synthetic::Model;
use onefed_testbed::wan::Way;
use onefed_trust::ClientRole;

use crate::child::Process;
use crate::support::{Trust, admin, call_at, hub_config};
use crate::{LONG, line, node, spoke, superlink, until, waits};

const PLENTY: u64 = 1 << 30;
/// Less than one message needs.
const LITTLE: u64 = 6 << 20;
const LARGE: usize = 20 << 20;
const SMALL: usize = 8 << 20;

/// What `status` says of the disks: at the hub, and at the spoke of a site.
fn rooms(status: &HubStatus, site: &str) -> (bool, Option<bool>) {
    let spoke = status.spokes.iter().find(|line| line.site == site);
    (status.link.as_ref().unwrap().room, spoke.and_then(|line| Some(line.said.as_ref()?.stats.room)))
}

async fn status(operator: &AdminClient) -> HubStatus {
    operator.status().await.unwrap()
}

/// One node's message is more than the disk takes, and stays there for as long as a line stalls. What comes meanwhile for
/// another node passes through call by call; when the first is done, all is as before.
async fn full(at_hub: bool) {
    let (trust, dir, superlink) = (Trust::new(), tempfile::tempdir().unwrap(), superlink());
    let mut config = hub_config(
        &trust,
        "1.41.0",
        superlink.address(),
        KeepAlive::default(),
        "127.0.0.1:0",
        None,
        &dir.path().join("hub"),
    );
    config.disk.bytes = if at_hub { LITTLE } else { PLENTY };
    let hub = Hub::open(config).await.unwrap();
    let (fleet, operators) = (hub.fleet_address().unwrap(), hub.admin_address().unwrap().unwrap());
    tokio::spawn(hub.serve());
    let operator = admin(&trust, operators, ClientRole::Operator);
    // The line that stalls is behind the end whose disk is full.
    let keepalive = KeepAlive::default();
    let stalls;
    if at_hub {
        stalls = line(fleet, 16);
        let first = spoke(&trust, dir.path(), stalls.address(), "first", keepalive, PLENTY).await;
        let second = spoke(&trust, dir.path(), fleet, "second", keepalive, PLENTY).await;
        node(&superlink, first.listen, 1, 1 << 20).await;
        node(&superlink, second.listen, 2, SMALL).await;
    } else {
        let first = spoke(&trust, dir.path(), fleet, "first", keepalive, LITTLE).await;
        stalls = line(first.listen, 16);
        node(&superlink, stalls.address(), 1, 1 << 20).await;
        node(&superlink, first.listen, 2, SMALL).await;
    }
    let site = "first";
    superlink.give(0, &Arc::new(Model::new(10, LARGE)));
    assert!(waits(|| stalls.wait_for(Way::Down, 1 << 20, LONG)), "nothing came");
    stalls.black_hole();
    let what = if at_hub { (false, Some(true)) } else { (true, Some(false)) };
    until("a warning", LONG, async || {
        let seen = rooms(&status(&operator).await, site);
        seen == what || at_hub && seen.0 == what.0
    })
    .await;

    let journalled = status(&operator).await.link.unwrap().messages;
    let model = Arc::new(Model::new(11, SMALL));
    superlink.give(1, &model);
    assert!(waits(|| superlink.wait_for_replies(1, LONG)), "nothing passes through");
    assert_eq!(superlink.moved().1, 4, "the reply's objects, each once: two chunks, the record, the message");
    if at_hub {
        assert_eq!(status(&operator).await.link.unwrap().messages, journalled, "taken in without room");
    }

    stalls.heal();
    assert!(waits(|| superlink.wait_for_replies(2, LONG)), "what was begun is lost");
    until("room", LONG, async || {
        let seen = rooms(&status(&operator).await, site);
        seen == (true, Some(true))
    })
    .await;
    let before = status(&operator).await.link.unwrap().messages;
    superlink.give(1, &Arc::new(Model::new(12, 1 << 20)));
    assert!(waits(|| superlink.wait_for_replies(3, LONG)), "no reply where there is room again");
    // What is shown is a moment old.
    let taken = async || status(&operator).await.link.unwrap().messages == before + 1;
    until("a message that was taken in", LONG, taken).await;
    assert_eq!(superlink.moved().1, 4 + 3 + 4, "something came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_without_room_passes_calls_through_and_recovers() {
    full(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_without_room_passes_calls_through_and_recovers() {
    full(false).await;
}

/// What an end says of its own trouble.
async fn shown(trust: &Trust, process: &Process, at_hub: bool) -> Option<String> {
    match at_hub {
        true => status(&admin(trust, process.operators(), ClientRole::Operator)).await.trouble,
        false => probe::spoke("127.0.0.1", process.fleet.port(), None).await.unwrap().why,
    }
}

/// From one moment on nothing more can be written. What was acknowledged before is there when that is over, nothing is
/// done twice, whoever asks meanwhile hears in time that it is not the moment, and the log says what is wrong.
async fn refused(at_hub: bool) {
    let (trust, dir, superlink) = (Trust::new(), tempfile::tempdir().unwrap(), superlink());
    let keepalive = KeepAlive::default();
    let own = dir.path().join("own");
    let (mut process, site, line_up);
    if at_hub {
        process = Process::hub(&trust, &own, superlink.address(), keepalive);
        line_up = line(process.fleet, 16);
        site = spoke(&trust, dir.path(), line_up.address(), "site", keepalive, PLENTY).await.listen;
    } else {
        let hub = dir.path().join("hub");
        let hub = hub_config(&trust, "1.41.0", superlink.address(), keepalive, "127.0.0.1:0", None, &hub);
        let hub = Hub::open(hub).await.unwrap();
        line_up = line(hub.fleet_address().unwrap(), 16);
        tokio::spawn(hub.serve());
        process = Process::spoke(&trust, &own, line_up.address(), keepalive);
        site = process.fleet;
    }
    let small = 1 << 20;
    node(&superlink, site, 1, 4 << 20).await;
    superlink.give(0, &Arc::new(Model::new(10, small)));
    assert!(waits(|| line_up.wait_for(Way::Up, 1 << 20, LONG)), "no reply is on its way");
    let journal = own.join("state").join(if at_hub { "hub" } else { "spoke" });
    process.limit_files(Some(std::fs::metadata(&journal).unwrap().len()));
    superlink.give(0, &Arc::new(Model::new(11, small)));
    until("words in the log", LONG, async || process.said().contains("the disk failed")).await;

    // Whoever asks is not kept waiting.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        let body = objects::heartbeat_request(1000, 30.0);
        let headers = http::HeaderMap::new();
        let call =
            FleetCall { operation: Operation::SendNodeHeartbeat, transport: Transport::Http, headers, body };
        let answer = call_at(site, Transport::Http, &call).await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}: {}", asked.elapsed(), answer.words());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let said = process.said();
    let name = journal.display().to_string();
    let failures: Vec<_> = said.lines().filter(|line| line.contains("the disk failed")).collect();
    assert!(failures.len() == 1, "said {} times: {said}", failures.len());
    assert!(failures[0].contains(&name) && failures[0].contains("lift the limit"), "{said}");
    let why = shown(&trust, &process, at_hub).await.unwrap_or_default();
    assert!(why.contains(&name) && why.contains("lift the limit"), "{why}");
    assert!(process.lives() && !said.contains("panicked"), "{said}");

    process.limit_files(None);
    until("words that it is well", LONG, async || process.said().contains("well again")).await;
    until("nothing that is wrong", LONG, async || shown(&trust, &process, at_hub).await.is_none()).await;
    assert!(waits(|| superlink.wait_for_replies(2, LONG)), "something is lost");
    assert!(waits(|| !superlink.wait_for_replies(3, Duration::from_secs(1))), "a reply came twice");
    assert_eq!(superlink.moved().1, 2 * 3, "an object was taken twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_files_cannot_be_written_loses_nothing_and_recovers() {
    refused(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_whose_files_cannot_be_written_loses_nothing_and_recovers() {
    refused(false).await;
}
