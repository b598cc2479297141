//! Messages down and replies up through hub and spoke as they are: real sockets, real disks, and both ends started anew in
//! between. SuperLink is the model of the simulated world.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(dead_code, unreachable_pub, reason = "a part of what other tests have")]

#[path = "../world/bodies.rs"]
mod bodies;
mod keys;
#[path = "../support/log.rs"]
mod log;
#[path = "../world/rng.rs"]
mod rng;
mod server;
#[path = "../world/superlink.rs"]
mod superlink;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bodies::{Maker, Msg, Tree, id_of};
use bytes::Bytes;
use keys::Key;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::{self, ObjectAnswer, ObjectId};
use onefed_flower::{Operation, Transport, messages};
use onefed_link::hub::Hub;
use onefed_link::status::SpokeLine;
use onefed_testbed::wan::{Profile, Wan};
use onefed_trust::ClientRole;
use rng::T;
use server::Model;
use superlink::Outcome;
use support::{Trust, UP, admin, call_at, hub_config, hub_in, release, run_hub, short, spoke_in};

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The model's time. It began a while ago.
pub fn now() -> T {
    1_000_000_000 + BEGAN.elapsed().as_micros() as T
}

const RUN: u64 = 7;

struct SuperNode {
    key: Key,
    transport: Transport,
    spoke: SocketAddr,
    id: u64,
}

impl SuperNode {
    async fn call(&self, operation: Operation, body: Bytes) -> FleetAnswer {
        let headers = self.key.headers(self.transport);
        let call = FleetCall { operation, transport: self.transport, headers, body };
        call_at(self.spoke, self.transport, &call).await
    }

    /// As long as it takes, as Flower does.
    async fn insist(&self, operation: Operation, body: Bytes) -> Bytes {
        let began = Instant::now();
        loop {
            let answer = self.call(operation, body.clone()).await;
            if answer.is_ok() {
                return answer.body;
            }
            assert!(answer.is_unavailable(), "{}: {}", operation.name(), answer.words());
            assert!(began.elapsed() < 3 * UP, "{}: {}", operation.name(), answer.words());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes the next message in as a SuperNode does, all of it.
    async fn receive(&self) -> (objects::MessageHead, BTreeMap<ObjectId, Bytes>) {
        let began = Instant::now();
        let head = loop {
            let body = self.insist(Operation::PullMessages, objects::pull_messages_request(self.id)).await;
            if let Some(head) = objects::message_head(&body) {
                break head;
            }
            assert!(began.elapsed() < 3 * UP, "no message");
        };
        let run = self.insist(Operation::GetRun, objects::run_request(self.id, head.run)).await;
        let hash = objects::fab_of_run(&run).unwrap();
        let fab = self.insist(Operation::GetFab, objects::fab_request(self.id, head.run, &hash)).await;
        assert_eq!(bodies::fab_of(&fab).unwrap().1, Bytes::from_static(b"the app"));
        let mut contents = BTreeMap::new();
        for id in &head.objects {
            let asked = objects::object_request(self.id, head.run, *id);
            let answer = self.insist(Operation::PullObject, asked).await;
            let Some(ObjectAnswer::Content(content)) = objects::object_answer(&answer) else {
                panic!("{id}: not there")
            };
            assert_eq!(id_of(&content), *id);
            contents.insert(*id, content);
        }
        let confirmed = objects::object_request(self.id, head.run, head.id);
        self.insist(Operation::ConfirmMessageReceived, confirmed).await;
        (head, contents)
    }

    /// Hands a reply over as a SuperNode does; gives its id.
    async fn reply(&self, to: ObjectId) -> ObjectId {
        let mut maker = Maker::default();
        let large = leaf(&mut maker, vec![9; 3 << 20]);
        let small = maker.leaf(format!("of node {}", self.id));
        let root = maker.node(format!("reply of {}", self.id), vec![large, small]);
        let (node, id) = (self.id, root.id);
        let msg = Msg { id, run: RUN, src: node, dst: 1, reply_to: Some(to), tree: root };
        let accepted = self.insist(Operation::PushMessages, bodies::push_request(&msg)).await;
        let session = objects::push_session(&accepted).unwrap();
        for wanted in &session.wanted {
            let content = &maker.0[wanted];
            let body = objects::push_object_request(node, RUN, &session.session, *wanted, content);
            assert!(objects::object_stored(&self.insist(Operation::PushObject, body).await), "{wanted}");
        }
        id
    }
}

fn leaf(maker: &mut Maker, content: Vec<u8>) -> Rc<Tree> {
    let id = id_of(&content);
    maker.0.insert(id, content.into());
    Rc::new(Tree { id, children: Vec::new() })
}

/// The ServerApp sends each node a message with the same model. Gives the messages' ids.
async fn send(model: &Model, nodes: Vec<u64>) -> Vec<ObjectId> {
    let push = move |superlink: &mut superlink::SuperLink, now| {
        let mut maker = Maker::default();
        let arrays = (0..4u8).map(|n| leaf(&mut maker, vec![n; 2 << 20])).collect();
        let weights = maker.node("model".into(), arrays);
        let (mut ids, mut missing) = (Vec::new(), BTreeSet::new());
        let session = superlink.app_session(now, RUN);
        for node in nodes {
            let own = maker.leaf(format!("for {node}"));
            let tree = maker.node(format!("message for {node}"), vec![weights.clone(), own]);
            let id = tree.id;
            let msg = Rc::new(Msg { id, run: RUN, src: 1, dst: node, reply_to: None, tree });
            missing.extend(superlink.app_push(&session, &msg));
            ids.push(id);
        }
        for id in missing {
            superlink.app_put(now, RUN, &session, id, maker.0[&id].clone());
        }
        ids
    };
    model.with(push).await
}

async fn node(model: &Model, transport: Transport, spoke: SocketAddr) -> SuperNode {
    let key = Key::new();
    let pem = key.pem.clone();
    let id = model.with(move |superlink, _| superlink.register(&pem).unwrap()).await;
    let node = SuperNode { key, transport, spoke, id };
    let activation = objects::activate_request(&node.key.pem, 30.0);
    let granted = node.insist(Operation::ActivateNode, activation).await;
    assert_eq!(messages::granted_node(&granted), Some(id));
    node
}

async fn round(transport: Transport) {
    let (model, address) = Model::start(transport).await;
    model.with(|superlink, _| superlink.start_run(RUN, Bytes::from_static(b"the app"))).await;
    let (trust, disks) = (Trust::new(), tempfile::tempdir().unwrap());
    let (hub_dir, spoke_dir) = (disks.path().join("hub"), disks.path().join("spoke"));
    let hub = hub_in(&trust, release(transport), address, short(), "127.0.0.1:0", &hub_dir).await;
    let spoke = spoke_in(&trust, hub.fleet, short(), "127.0.0.1:0", &spoke_dir).await;
    let nodes = [node(&model, transport, spoke.listen).await, node(&model, transport, spoke.listen).await];
    let sent = send(&model, nodes.iter().map(|node| node.id).collect()).await;
    let (first, second) = tokio::join!(nodes[0].receive(), nodes[1].receive());
    for (head, contents) in [&first, &second] {
        assert!(sent.contains(&head.id));
        assert_eq!(contents.len(), 4 + 1 + 1 + 1, "{transport}: arrays, model, own, root");
    }
    // Once for all nodes, whoever was faster.
    let pulled = model.with(|superlink, _| superlink.pulled.clone()).await;
    assert!(pulled.values().all(|times| *times == 1), "{transport}: {pulled:?}");

    // Without the hub everything is taken in; then the spoke is ended, too, as kill -9 would.
    hub.task.abort();
    while spoke.line.why_down().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (node, (head, _)) in nodes.iter().zip([&first, &second]) {
        node.reply(head.id).await;
    }
    let beat = nodes[0].call(Operation::SendNodeHeartbeat, objects::heartbeat_request(nodes[0].id, 30.0));
    assert!(messages::heartbeat_accepted(&beat.await.body), "{transport}");
    spoke.task.abort();
    drop(spoke.line);
    let _spoke = spoke_in(&trust, hub.fleet, short(), &spoke.listen.to_string(), &spoke_dir).await;
    let _hub = hub_in(&trust, release(transport), address, short(), &hub.fleet.to_string(), &hub_dir).await;
    let began = Instant::now();
    let (mut open, mut objects_open) = (sent, Vec::<ObjectId>::new());
    while !(open.is_empty() && objects_open.is_empty()) {
        assert!(began.elapsed() < 3 * UP, "{transport}: no reply to {open:?}, or not {objects_open:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        // A reply goes on under headers of its node, which no end keeps on its disk; a SuperNode calls every few seconds.
        for node in &nodes {
            node.call(Operation::SendNodeHeartbeat, objects::heartbeat_request(node.id, 30.0)).await;
        }
        let (asked, mut coming) = (open.clone(), std::mem::take(&mut objects_open));
        let there = move |superlink: &mut superlink::SuperLink, now| {
            let mut answered = Vec::new();
            for (message, outcome) in superlink.app_poll(now, &asked) {
                let Outcome::Reply(reply) = outcome else { panic!("{message}: no reply will come") };
                coming.extend(reply.tree.ids());
                answered.push(message);
            }
            // A reply may be there before its objects are.
            coming.retain(|id| match superlink.app_pull(now, RUN, *id).expect("a reply's object is known") {
                None => true,
                Some(content) => {
                    assert_eq!(id_of(&content), *id);
                    false
                }
            });
            (answered, coming)
        };
        let (answered, coming) = model.with(there).await;
        open.retain(|id| !answered.contains(id));
        objects_open = coming;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_passes_although_both_ends_are_started_anew_in_it_over_grpc() {
    round(Transport::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_passes_although_both_ends_are_started_anew_in_it_over_http() {
    round(Transport::Http).await;
}

/// Beyond the shorter time one end would hide what the other does not hide any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_times_that_a_cut_is_hidden_the_shorter_rules() {
    let (transport, hold) = (Transport::Http, Duration::from_secs(3));
    let (model, address) = Model::start(transport).await;
    let (trust, disks) = (Trust::new(), tempfile::tempdir().unwrap());
    let (hub_dir, spoke_dir) = (disks.path().join("hub"), disks.path().join("spoke"));
    let mut config = hub_config(&trust, release(transport), address, short(), "127.0.0.1:0", None, &hub_dir);
    config.hold = hold;
    let hub = run_hub(Hub::open(config).await.unwrap(), None);
    let spoke = spoke_in(&trust, hub.fleet, short(), "127.0.0.1:0", &spoke_dir).await;
    let node = node(&model, transport, spoke.listen).await;
    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    let began = Instant::now();
    loop {
        let status = operator.status().await.unwrap();
        if let Some(said) = status.spokes.first().and_then(|line| line.said.as_ref()) {
            assert_eq!(said.stats.hold_seconds, hold.as_secs());
            break;
        }
        assert!(began.elapsed() < UP, "{:?}", status.spokes);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hub.task.abort();
    while spoke.line.why_down().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cut = Instant::now();
    let beat = || node.call(Operation::SendNodeHeartbeat, objects::heartbeat_request(node.id, 30.0));
    let first = beat().await;
    assert!(messages::heartbeat_accepted(&first.body) || cut.elapsed() > hold, "{}", first.words());
    tokio::time::sleep(hold + Duration::from_millis(500)).await;
    let later = beat().await;
    assert!(later.is_unavailable(), "{}", later.words());
}

/// What operators read about a cut afterwards: counts at the hub, of which the spoke knows most, and a line in both logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_in_a_round_is_counted_and_both_ends_say_how_long_it_was() {
    log::keep();
    let transport = Transport::Http;
    let (model, address) = Model::start(transport).await;
    model.with(|superlink, _| superlink.start_run(RUN, Bytes::from_static(b"the app"))).await;
    let (trust, disks) = (Trust::new(), tempfile::tempdir().unwrap());
    let (hub_dir, spoke_dir) = (disks.path().join("hub"), disks.path().join("spoke"));
    let hub = hub_in(&trust, release(transport), address, short(), "127.0.0.1:0", &hub_dir).await;
    let wan = Wan::open("127.0.0.1:0".parse().unwrap(), hub.fleet, Profile::default()).unwrap();
    let spoke = spoke_in(&trust, wan.address(), short(), "127.0.0.1:0", &spoke_dir).await;
    let nodes = [node(&model, transport, spoke.listen).await, node(&model, transport, spoke.listen).await];
    let sent = send(&model, nodes.iter().map(|node| node.id).collect()).await;
    let (first, second) = tokio::join!(nodes[0].receive(), nodes[1].receive());

    let cut = Instant::now();
    wan.refuse(true);
    wan.cut();
    while spoke.line.why_down().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (node, (head, _)) in nodes.iter().zip([&first, &second]) {
        node.reply(head.id).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    wan.refuse(false);
    spoke.line.wait_up(UP).await.unwrap();
    let lasted = cut.elapsed().as_secs_f64();

    let operator = admin(&trust, hub.admin, ClientRole::Operator);
    let began = Instant::now();
    let line = loop {
        for node in &nodes {
            node.call(Operation::SendNodeHeartbeat, objects::heartbeat_request(node.id, 30.0)).await;
        }
        let status = operator.status().await.unwrap();
        let replies = status.link.map_or(0, |link| link.replies);
        let mut lines = status.spokes;
        // The spoke says so every ten seconds.
        let over = |line: &SpokeLine| line.said.as_ref().is_some_and(|said| said.stats.objects_up > 0);
        match lines.pop().filter(|line| over(line) && replies == sent.len() as u64) {
            Some(line) => break line,
            None => assert!(began.elapsed() < 3 * UP, "{replies} replies, {lines:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let stats = line.said.unwrap().stats;
    assert_eq!((line.cuts, stats.cuts_hidden), (1, 1));
    // Two messages share a model of four arrays of 2 MiB; two replies share an array of 3 MiB.
    assert_eq!((stats.objects_served, line.down.objects), (16, 10), "with the bundle of the app");
    assert!(line.down.saved_by_cache > 8 << 20, "{:?}", line.down);
    assert!(line.down.saved_by_codec > 6 << 20, "{:?}", line.down);
    assert_eq!(stats.objects_up, 5);
    assert!(line.up.saved_by_codec > 2 << 20, "{:?}", line.up);
    assert!(stats.calls > stats.answered_here && stats.answered_here > 0, "{stats:?}");

    for words in ["line back: the cut is over", "line to a spoke back: the cut is over"] {
        let said = log::lines(words);
        let of_this = said.iter().filter(|(_, line)| line.contains("hidden true"));
        let seconds = of_this.filter_map(|(_, line)| {
            let number = line.split("seconds ").nth(1)?.split(' ').next()?;
            number.parse::<f64>().ok()
        });
        // Other tests of this process say such lines, too.
        let mut near = seconds.filter(|seconds| (1.0..lasted + 2.0).contains(seconds));
        assert!(near.next().is_some(), "{lasted} s: {said:?}");
    }
}
