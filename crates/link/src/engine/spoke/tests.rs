//! What the world does not ask: SuperNodes whose signatures cannot be checked here, a journal that has lost its end, and
//! room that runs out between a message and its app bundle.

use std::time::SystemTime;

use onefed_flower::fleet::{FleetCall, FleetStatus};

use super::*;
use crate::engine::Fixed;
use crate::engine::auth::tests::Node as Signer;
use crate::engine::frame::{HubFrame, Offer};
use crate::engine::testing::message_body;

const FULL: Fixed = Fixed(true);
const EMPTY: Fixed = Fixed(false);
const NODE: u64 = 7;
const BUNDLE: &str = "the hash of the bundle";

fn at(seconds: u64) -> Now {
    let since = Duration::from_secs(1_800_000_000 + seconds);
    Now { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH + since }
}

fn id(id: u8) -> ObjectId {
    ObjectId([id; 32])
}

fn key(message: u8) -> MessageKey {
    MessageKey { node: NODE, id: id(message) }
}

fn offer(message: u8) -> Offer {
    let fab = Some((BUNDLE.to_owned(), id(200)));
    Offer { node: NODE, body: message_body(message, &[message + 1], None), run: Some(Bytes::new()), fab }
}

/// A spoke whose line is up, and its SuperNode.
struct World {
    spoke: Spoke,
    signer: Signer,
    /// The SuperNode's clock is so many seconds ahead.
    ahead: u64,
    ticket: Ticket,
}

impl World {
    /// A node that SuperLink has accepted, and what the journal says besides.
    fn known(records: impl IntoIterator<Item = SpokeRecord>, shelf: &Fixed) -> Self {
        let signer = Signer::new();
        let node = SpokeRecord::Node(NODE, signer.1.clone());
        Self::new(signer, [node].into_iter().chain(records), shelf)
    }

    fn new(signer: Signer, records: impl IntoIterator<Item = SpokeRecord>, shelf: &Fixed) -> Self {
        let settings = Settings { site: "paris".into(), hold: Duration::from_secs(600) };
        let spoke = Spoke::new(settings, records, at(0), shelf);
        let mut world = Self { spoke, signer, ahead: 0, ticket: 0 };
        world.tell(Event::Up, shelf);
        world
    }

    fn tell(&mut self, event: Event, shelf: &Fixed) -> Vec<Action> {
        let mut actions = Vec::new();
        self.spoke.handle(at(1), event, shelf, &mut actions);
        actions
    }

    /// The SuperNode calls. Gives what is to be done, and the number under which the hub was asked.
    fn call(&mut self, operation: Operation, body: Bytes, shelf: &Fixed) -> (Vec<Action>, Option<u64>) {
        self.ticket += 1;
        let headers = self.signer.headers(at(1 + self.ahead));
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        let actions = self.tell(Event::Call(self.ticket, 1, call), shelf);
        let asked = |action: &Action| match action {
            Action::Send(SpokeFrame::Call { seq, .. }) => Some(*seq),
            _ => None,
        };
        let seq = actions.iter().find_map(asked);
        (actions, seq)
    }

    fn poll(&mut self, shelf: &Fixed) -> (Vec<Action>, Option<u64>) {
        self.call(Operation::PullMessages, objects::pull_messages_request(NODE), shelf)
    }

    fn result(&mut self, seq: u64, answer: FleetAnswer, shelf: &Fixed) -> Vec<Action> {
        self.tell(Event::Frame(HubFrame::Result { seq, answer }), shelf)
    }
}

fn empty() -> FleetAnswer {
    FleetAnswer::ok(Transport::Http, Bytes::new())
}

/// The messages in answers to SuperNodes; nothing for an answer without one.
fn answers(actions: &[Action]) -> Vec<(Ticket, Option<ObjectId>)> {
    let answer = |action: &Action| match action {
        Action::Answer(ticket, answer) => {
            assert!(answer.is_ok(), "{}", answer.words());
            Some((*ticket, objects::message_head(&answer.body).map(|head| head.id)))
        }
        _ => None,
    };
    actions.iter().filter_map(answer).collect()
}

fn confirms(actions: &[Action]) -> Vec<MessageKey> {
    let confirm = |action: &Action| match action {
        Action::Send(SpokeFrame::Confirm(key, _)) => Some(*key),
        _ => None,
    };
    actions.iter().filter_map(confirm).collect()
}

/// Its clock, or the spoke's, is wrong by more than is allowed here. SuperLink has the last word.
#[test]
fn a_supernode_whose_signature_cannot_be_checked_here_gets_its_messages_all_the_same() {
    let mut world = World::new(Signer::new(), [], &FULL);
    world.ahead = 20;
    let (actions, seq) = world.poll(&FULL);
    assert!(answers(&actions).is_empty());
    assert!(answers(&world.tell(Event::Frame(HubFrame::Offer(offer(50))), &FULL)).is_empty());
    assert_eq!(answers(&world.result(seq.unwrap(), empty(), &FULL)), [(1, Some(id(50)))]);

    // What it fetches and confirms is passed on, and the message is not given out again.
    let (_, seq) =
        world.call(Operation::ConfirmMessageReceived, objects::object_request(NODE, 0, id(50)), &FULL);
    world.tell(Event::Frame(HubFrame::ConfirmTaken(key(50))), &FULL);
    assert_eq!(answers(&world.result(seq.unwrap(), empty(), &FULL)), [(2, None)]);
    let (_, seq) = world.poll(&FULL);
    assert_eq!(answers(&world.result(seq.unwrap(), empty(), &FULL)), [(3, None)]);
}

#[test]
fn a_poll_that_superlink_refuses_is_refused_whoever_made_it() {
    let mut world = World::new(Signer::new(), [], &FULL);
    let (_, seq) = world.poll(&FULL);
    let refused = FleetAnswer::refusal(Transport::Http, Refusal::Unavailable, "not now");
    let actions = world.result(seq.unwrap(), refused, &FULL);
    assert!(matches!(&actions[..], [Action::Answer(1, answer)] if answer.is_unavailable()), "{actions:?}");
    assert!(world.spoke.nodes.is_empty() && world.spoke.polls.is_empty());
}

/// A VM that loses power loses the end of its journal.
#[test]
fn a_message_that_was_confirmed_before_a_power_cut_is_not_given_out_again() {
    // Its SuperNode answers it …
    let mut world = World::known([SpokeRecord::Offered(offer(50))], &FULL);
    let node = objects::pull_messages_request(NODE);
    let reply = [node, message_body(60, &[61], Some(50))].concat();
    let (actions, _) = world.call(Operation::PushMessages, reply.into(), &FULL);
    assert_eq!(confirms(&actions), [key(50)]);
    assert!(world.poll(&FULL).1.is_some(), "there is no message");
    // … or the hub knows it.
    let mut world = World::known([SpokeRecord::Offered(offer(50))], &FULL);
    world.tell(Event::Frame(HubFrame::ConfirmTaken(key(50))), &FULL);
    assert!(world.poll(&FULL).1.is_some(), "there is no message");
    // Nor when it is offered again, or after the next start.
    let again = world.tell(Event::Frame(HubFrame::Offer(offer(50))), &FULL);
    assert_eq!(confirms(&again), [key(50)], "the hub has lost it");
    assert!(world.spoke.messages.is_empty() && world.spoke.has_confirmed(key(50)));
    let snapshot = world.spoke.snapshot();
    assert!(!snapshot.iter().any(|record| matches!(record, SpokeRecord::Offered(_))), "{snapshot:?}");
}

#[test]
fn a_message_that_was_void_here_is_taken_when_it_is_offered_again() {
    let mut world = World::known([SpokeRecord::Offered(offer(50))], &FULL);
    world.tell(Event::Frame(HubFrame::Gone(key(50))), &FULL);
    assert!(world.spoke.messages.is_empty());
    let (_, seq) = world.poll(&FULL);
    world.tell(Event::Frame(HubFrame::Offer(offer(50))), &FULL);
    assert!(world.result(seq.unwrap(), empty(), &FULL).is_empty(), "the offer has answered it");
    assert!(world.spoke.messages.contains_key(&key(50)));
}

#[test]
fn on_a_full_disk_the_bundle_comes_from_superlink() {
    for full in [false, true] {
        let mut world = World::known([], &EMPTY);
        world.tell(Event::Storage(!full), &EMPTY);
        world.tell(Event::Frame(HubFrame::Offer(offer(50))), &EMPTY);
        let (_, seq) = world.call(Operation::GetFab, objects::fab_request(NODE, 0, BUNDLE), &EMPTY);
        assert_eq!(seq.is_some(), full);
    }
}

#[test]
fn of_two_polls_of_an_unknown_node_the_last_one_brings_the_message() {
    let mut world = World::new(Signer::new(), [], &FULL);
    let (_, seq) = world.poll(&FULL);
    assert!(world.poll(&FULL).1.is_none(), "the first is under way");
    world.tell(Event::Frame(HubFrame::Offer(offer(50))), &FULL);
    let actions = world.result(seq.unwrap(), empty(), &FULL);
    assert_eq!(answers(&actions), [(1, None), (2, Some(id(50)))]);
}

#[test]
fn a_cut_leaves_no_poll_of_an_unknown_node_without_an_answer() {
    let mut world = World::new(Signer::new(), [], &FULL);
    world.poll(&FULL);
    let actions = world.tell(Event::Down, &FULL);
    assert!(matches!(&actions[..], [Action::Answer(1, answer)] if answer.is_unavailable()), "{actions:?}");
}

/// Somebody else who says the node's number learns nothing from its calls.
#[test]
fn who_only_says_whose_call_it_is_does_not_hear_the_answer() {
    let mut world = World::known([], &FULL);
    let ask = |world: &mut World, headers| {
        world.ticket += 1;
        let (operation, body) = (Operation::GetRun, objects::run_request(NODE, 5));
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        let actions = world.tell(Event::Call(world.ticket, world.ticket, call), &FULL);
        actions.iter().find_map(|action| match action {
            Action::Send(SpokeFrame::Call { seq, .. }) => Some(*seq),
            _ => None,
        })
    };
    let (own, later, forged) =
        (world.signer.headers(at(1)), world.signer.headers(at(2)), world.signer.forged(at(1)));
    let first = ask(&mut world, own).unwrap();
    let other = ask(&mut world, forged).expect("SuperLink is asked about it");
    assert_eq!(ask(&mut world, later), None, "the node's own second try waits for the first");
    let told =
        |actions: &[Action]| -> Vec<Ticket> { answers(actions).iter().map(|(ticket, _)| *ticket).collect() };
    assert_eq!(told(&world.result(first, empty(), &FULL)), [1, 3]);
    let refused = FleetAnswer { status: FleetStatus::Http(http::StatusCode::UNAUTHORIZED), ..empty() };
    assert_eq!(world.result(other, refused, &FULL).len(), 1);
    assert!(world.spoke.nodes[&NODE].active, "somebody else's bad signature");
}

/// SuperLink ends what a node does by a 401, so what somebody else sends in its name must not get in front of it.
#[test]
fn what_somebody_sent_first_in_a_nodes_name_does_not_spoil_its_own_call() {
    for (operation, body) in [
        (Operation::PullMessages, objects::pull_messages_request(NODE)),
        (Operation::SendNodeHeartbeat, objects::heartbeat_request(NODE, 30.0)),
    ] {
        let mut world = World::known([], &FULL);
        let headers = world.signer.forged(at(1));
        let forged = FleetCall { operation, transport: Transport::Http, headers, body: body.clone() };
        let actions = world.tell(Event::Call(100, 2, forged), &FULL);
        let [Action::Send(SpokeFrame::Call { seq: first, .. })] = actions[..] else { panic!("{actions:?}") };
        let (_, own) = world.call(operation, body, &FULL);
        let own = own.expect("it does not wait for the other");
        let refused = FleetAnswer { status: FleetStatus::Http(http::StatusCode::UNAUTHORIZED), ..empty() };
        let actions = world.result(first, refused, &FULL);
        assert!(
            matches!(&actions[..], [Action::Answer(100, answer)] if answer.is_unauthenticated()),
            "{actions:?}"
        );
        assert!(world.spoke.nodes[&NODE].active);
        assert_eq!(answers(&world.result(own, empty(), &FULL)), [(1, None)]);
    }
}

/// A 401 that it did not deserve voids its messages here; for the hub they are not void.
#[test]
fn a_void_message_that_is_confirmed_after_all_is_told_to_the_hub() {
    let mut world = World::known([SpokeRecord::Offered(offer(50))], &FULL);
    world.tell(Event::Frame(HubFrame::Gone(key(50))), &FULL);
    let confirm = objects::object_request(NODE, 0, id(50));
    let (actions, _) = world.call(Operation::ConfirmMessageReceived, confirm, &FULL);
    assert_eq!((confirms(&actions), answers(&actions)), (vec![key(50)], vec![(1, None)]));
}

#[test]
fn a_poll_that_comes_late_gets_nothing_and_the_nodes_own_gets_the_message() {
    let mut world = World::known([SpokeRecord::Offered(offer(50))], &FULL);
    let mut call = |ticket, operation, signed, now| {
        let body = match operation {
            Operation::PullMessages => objects::pull_messages_request(NODE),
            _ => objects::heartbeat_request(NODE, 30.0),
        };
        let headers = world.signer.headers(at(signed));
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        let mut actions = Vec::new();
        world.spoke.handle(at(now), Event::Call(ticket, 1, call), &FULL, &mut actions);
        answers(&actions)
    };
    // The second one is not checked again on its connection, and counts all the same; what is ahead counts as now.
    call(1, Operation::SendNodeHeartbeat, 2, 2);
    call(2, Operation::SendNodeHeartbeat, 5, 5);
    call(3, Operation::SendNodeHeartbeat, 9, 6);
    assert_eq!(call(4, Operation::PullMessages, 4, 6), [(4, None)]);
    assert_eq!(call(5, Operation::PullMessages, 5, 6), [(5, Some(id(50)))]);
}

/// Flower waits for 5 s. The spoke may have been started anew, or the SuperNode may have left since.
#[test]
fn the_heartbeat_of_a_node_that_is_not_known_here_has_its_answer_in_time() {
    let mut world = World::new(Signer::new(), [], &FULL);
    let (_, seq) = world.call(Operation::SendNodeHeartbeat, objects::heartbeat_request(NODE, 30.0), &FULL);
    assert!(seq.is_some(), "the hub is asked");
    let mut answered = |seconds| {
        let mut actions = Vec::new();
        world.spoke.handle(at(seconds), Event::Tick, &FULL, &mut actions);
        actions.iter().any(|action| matches!(action, Action::Answer(1, answer) if answer.is_unavailable()))
    };
    assert!(!answered(4));
    assert!(answered(5));
}
