//! What the world does not ask: a loss that is only suspected must cost nobody a reply, and nobody may speak for others.

use std::time::SystemTime;

use bytes::Bytes;
use onefed_flower::fleet::Refusal;
use onefed_flower::objects;

use super::calls::for_now;
use super::*;
use crate::engine::Fixed;
use crate::engine::auth::tests::Node as Signer;
use crate::engine::frame::{Offer, Reply};
use crate::engine::testing::message_body;

/// Everything is there.
const FULL: Fixed = Fixed(true);

const NODE: u64 = 7;

fn at(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
}

fn paris() -> SpokeName {
    ("paris".into(), "1".into())
}

/// A hub that was killed while a poll of the node was on its way to SuperLink.
fn after_a_kill() -> Hub {
    let settings = Settings { hold: Duration::from_secs(600) };
    let mut hub = Hub::new(settings, [HubRecord::PollOpen(NODE)], at(0), &FULL);
    hub.handle(at(0), Event::Up(paris()), &FULL, &mut Vec::new());
    hub
}

/// A poll of the node that brings nothing; whether the node is taken offline then.
fn empty_poll(hub: &mut Hub, seconds: u64) -> bool {
    let call = FleetCall {
        operation: Operation::PullMessages,
        transport: Transport::Http,
        headers: HeaderMap::new(),
        // node { node_id: 7 }
        body: Bytes::from_static(&[0x0a, 2, 0x08, NODE as u8]),
    };
    let mut actions = Vec::new();
    let poll = SpokeFrame::Call { seq: seconds, acked: 0, call };
    hub.handle(at(seconds), Event::Frame(paris(), poll), &FULL, &mut actions);
    let job = actions.iter().find_map(|action| match action {
        Action::Fleet(job, call) if call.operation == Operation::PullMessages => Some(*job),
        _ => None,
    });
    let nothing = FleetAnswer::ok(Transport::Http, Bytes::new());
    actions.clear();
    hub.handle(at(seconds), Event::Answered(job.unwrap(), Some(nothing)), &FULL, &mut actions);
    actions.iter().any(|action| matches!(action, Action::Record(HubRecord::Away(NODE))))
}

#[test]
fn after_a_kill_in_the_middle_of_a_poll_the_serverapp_hears_of_it_in_seconds() {
    let mut hub = after_a_kill();
    for seconds in (3..18).step_by(3) {
        assert!(!empty_poll(&mut hub, seconds), "at {seconds} s its last reply may not have been fetched");
    }
    assert!(empty_poll(&mut hub, 18));
    assert_eq!(hub.counters.suspected, 1);
}

#[test]
fn a_reply_that_superlink_has_just_got_is_fetched_first() {
    let mut hub = after_a_kill();
    assert!(!empty_poll(&mut hub, 3));
    let mut actions = Vec::new();
    let key = MessageKey { node: NODE, id: ObjectId([1; 32]) };
    hub.reply_done(key, &mut At { now: at(17), shelf: &FULL, actions: &mut actions });
    for seconds in [18, 24, 30] {
        assert!(!empty_poll(&mut hub, seconds), "at {seconds} s");
    }
    assert!(empty_poll(&mut hub, 33));
}

/// A reply of the node: a message of these children.
fn reply(id: u8, children: &[u8]) -> Reply {
    Reply { node: NODE, body: message_body(id, children, Some(id + 100)) }
}

#[test]
fn replies_go_to_superlink_in_the_order_in_which_the_serverapp_fetches_them() {
    let mut hub = after_a_kill();
    let signed = [("flwr-timestamp", "1970-01-01T00:00:03+00:00")];
    let signed = signed.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    hub.note_headers(&paris(), NODE, Transport::Http, HeaderMap::from_iter(signed), at(3));
    let mut tell = |event| {
        let mut actions = Vec::new();
        hub.handle(at(3), event, &FULL, &mut actions);
        let mut jobs: Vec<(Job, Option<u8>)> = Vec::new();
        for action in actions {
            match action {
                Action::Fleet(job, call) if call.operation == Operation::PushMessages => {
                    jobs.push((job, None))
                }
                Action::PushStored { job, id, .. } => jobs.push((job, Some(id.0[0]))),
                _ => {}
            }
        }
        jobs
    };
    let mut under_way = Vec::new();
    for (id, children) in [(50, [9, 3, 7, 1, 8, 2]), (60, [19, 13, 17, 11, 18, 12])] {
        let [(job, None)] = tell(Event::Frame(paris(), SpokeFrame::Reply(reply(id, &children))))[..] else {
            panic!("PushMessages, and nothing before it")
        };
        let all = children.iter().chain([&id]).map(|id| ObjectId([*id; 32]));
        let body = objects::push_accepted(ObjectId([id; 32]), &all.collect::<Vec<_>>(), "session");
        under_way.extend(tell(Event::Answered(job, Some(FleetAnswer::ok(Transport::Http, body)))));
    }
    let order = |jobs: &[(Job, Option<u8>)]| jobs.iter().filter_map(|(_, id)| *id).collect::<Vec<_>>();
    assert_eq!(order(&under_way), [1, 2, 3, 7, 11], "four of the first, one of the second");
    let mut stored = Vec::new();
    while !under_way.is_empty() {
        let (job, id) = under_way.remove(0);
        stored.extend(id);
        let body = objects::push_object_answer(true);
        under_way.extend(tell(Event::Answered(job, Some(FleetAnswer::ok(Transport::Http, body)))));
    }
    let of = |reply: [u8; 7]| stored.iter().copied().filter(|id| reply.contains(id)).collect::<Vec<_>>();
    assert_eq!(of([1, 2, 3, 7, 8, 9, 50]), [1, 2, 3, 7, 8, 9, 50]);
    assert_eq!(of([11, 12, 13, 17, 18, 19, 60]), [11, 12, 13, 17, 18, 19, 60]);
    let place = |id| stored.iter().position(|other| *other == id);
    assert!(place(50) < place(17), "the first is whole long before the second: {stored:?}");
}

/// A message for the node: one that it confirmed, or a reply to it is on its way.
fn message(id: u8) -> MessageKey {
    MessageKey { node: NODE, id: ObjectId([id; 32]) }
}

fn lyon() -> SpokeName {
    ("lyon".into(), "1".into())
}

/// A hub that knows the node's key, with these records behind it.
fn knowing(signer: &Signer, records: impl IntoIterator<Item = HubRecord>) -> Hub {
    let mut hub = Hub::new(Settings { hold: Duration::from_secs(600) }, records, at(0), &FULL);
    for spoke in [paris(), lyon()] {
        hub.handle(at(0), Event::Up(spoke), &FULL, &mut Vec::new());
    }
    let auth = SpokeFrame::Auth { node: NODE, transport: Transport::Http, headers: signer.headers(at(0)) };
    hub.handle(at(0), Event::Frame(paris(), auth), &FULL, &mut Vec::new());
    assert_eq!(hub.nodes[&NODE].key.as_ref(), Some(&signer.1));
    hub
}

/// What comes of a poll of the node through this spoke.
fn poll(hub: &mut Hub, spoke: SpokeName, headers: HeaderMap, seq: u64) -> Vec<Action> {
    poll_at(1, hub, spoke, headers, seq)
}

fn poll_at(seconds: u64, hub: &mut Hub, spoke: SpokeName, headers: HeaderMap, seq: u64) -> Vec<Action> {
    let body = objects::pull_messages_request(NODE);
    let call = FleetCall { operation: Operation::PullMessages, transport: Transport::Http, headers, body };
    let mut actions = Vec::new();
    let call = SpokeFrame::Call { seq, acked: 0, call };
    hub.handle(at(seconds), Event::Frame(spoke, call), &FULL, &mut actions);
    actions
}

/// Whether the node is taken offline by asking for work twice, as a SuperNode does.
fn is_lost(hub: &mut Hub, signer: &Signer, seq: u64) -> bool {
    let first = goes_offline(&poll(hub, paris(), signer.headers(at(1)), seq));
    assert!(!first, "a single call may be an older one");
    hub.node(NODE).polling = false;
    goes_offline(&poll_at(4, hub, paris(), signer.headers(at(4)), seq + 1))
}

fn results(actions: &[Action]) -> Vec<bool> {
    let result = |action: &Action| match action {
        Action::Send(_, HubFrame::Result { answer, .. }) => Some(answer.is_ok()),
        _ => None,
    };
    actions.iter().filter_map(result).collect()
}

fn offers(actions: &[Action]) -> Vec<&SpokeName> {
    let offer = |action| match action {
        &Action::Send(ref to, HubFrame::Offer(_)) => Some(to),
        _ => None,
    };
    actions.iter().filter_map(offer).collect()
}

fn goes_offline(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Record(HubRecord::Away(NODE))))
}

fn asks_superlink(actions: &[Action]) -> usize {
    let polls = |action: &&Action| matches!(action, Action::Fleet(_, call) if call.operation == Operation::PullMessages);
    actions.iter().filter(polls).count()
}

/// Whoever reaches a spoke's listener can say any node's number.
#[test]
fn who_polls_for_a_node_without_its_signature_changes_nothing_and_learns_nothing() {
    let (signer, owed) = (Signer::new(), [HubRecord::ConfirmDone(message(1))]);
    let mut hub = knowing(&signer, owed.clone());
    for (seq, headers) in
        [HeaderMap::new(), Signer::new().headers(at(1)), signer.forged(at(1))].into_iter().enumerate()
    {
        let actions = poll(&mut hub, lyon(), headers, seq as u64);
        assert!(!goes_offline(&actions), "the node trains");
        match seq {
            0 => assert_eq!((asks_superlink(&actions), results(&actions)), (1, vec![]), "SuperLink judges"),
            _ => assert_eq!((asks_superlink(&actions), results(&actions)), (0, vec![false]), "one at a time"),
        }
    }
    let mut hub = knowing(&signer, owed);
    assert!(is_lost(&mut hub, &signer, 9), "it has lost its work");
    let actions = poll(&mut hub, lyon(), Signer::new().headers(at(1)), 11);
    assert_eq!((asks_superlink(&actions), results(&actions)), (0, vec![false]), "while it is away");
}

/// SuperLink refuses who is online already. Signed after all else, it is a SuperNode that has started again; signed before,
/// a copy of its first call that was long on the way.
#[test]
fn an_activation_that_comes_late_takes_nobody_offline() {
    let signer = Signer::new();
    for (signed, lost) in [(3, false), (9, false), (11, true)] {
        let mut hub = knowing(&signer, [HubRecord::ConfirmDone(message(1))]);
        hub.note_headers(&paris(), NODE, Transport::Http, signer.headers(at(10)), at(10));
        let body = objects::activate_request(&signer.1, 30.0);
        let (operation, headers) = (Operation::ActivateNode, signer.headers(at(signed)));
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        let (call, now) = (SpokeFrame::Call { seq: 1, acked: 0, call }, at(12));
        let mut actions = Vec::new();
        hub.handle(now, Event::Frame(paris(), call), &FULL, &mut actions);
        let [Action::Fleet(job, _)] = actions[..] else { panic!("{actions:?}") };
        actions.clear();
        let refused = FleetAnswer::refusal(Transport::Http, Refusal::Malformed, "online already");
        hub.handle(now, Event::Answered(job, Some(refused)), &FULL, &mut actions);
        assert_eq!((goes_offline(&actions), results(&actions)), (lost, vec![!lost]), "signed at {signed} s");
    }
}

/// What SuperLink makes of it would last: nobody tells the node that it has left.
#[test]
fn a_goodbye_that_comes_after_the_next_start_is_not_made() {
    let signer = Signer::new();
    let mut hub = knowing(&signer, []);
    let mut call = |seq, operation, body: &Bytes, signed| {
        let headers = signer.headers(at(signed));
        let call = FleetCall { operation, transport: Transport::Http, headers, body: body.clone() };
        let mut actions = Vec::new();
        let call = Event::Frame(paris(), SpokeFrame::Call { seq, acked: 0, call });
        hub.handle(at(20), call, &FULL, &mut actions);
        let job = actions.iter().find_map(|action| match action {
            Action::Fleet(job, _) => Some(*job),
            _ => None,
        });
        if let Some(job) = job {
            let answer = Some(FleetAnswer::ok(Transport::Http, objects::node_answer(NODE)));
            hub.handle(at(20), Event::Answered(job, answer), &FULL, &mut actions);
        }
        (job.is_some(), results(&actions))
    };
    let (goodbye, start) = (objects::deactivate_request(NODE), objects::activate_request(&signer.1, 30.0));
    assert_eq!(call(1, Operation::DeactivateNode, &goodbye, 10), (true, vec![true]));
    assert_eq!(call(2, Operation::DeactivateNode, &goodbye, 11), (false, vec![true]), "it is done");
    assert_eq!(call(3, Operation::ActivateNode, &start, 15), (true, vec![true]));
    assert_eq!(call(4, Operation::DeactivateNode, &goodbye, 10), (false, vec![true]), "a copy");
    assert_eq!(call(5, Operation::DeactivateNode, &goodbye, 17), (true, vec![true]), "it leaves again");
}

/// SuperLink would begin a second session for it, and refuse what comes in the first.
#[test]
fn a_copy_of_a_call_that_announces_a_reply_is_answered_here() {
    let signer = Signer::new();
    let mut hub = knowing(&signer, []);
    let mut push = |seq, headers| {
        let operation = Operation::PushMessages;
        // node { node_id: 7 }
        let body = Bytes::from([&[0x0a, 2, 0x08, NODE as u8], &reply(60, &[1, 2]).body[..]].concat());
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        let mut actions = Vec::new();
        let call = Event::Frame(paris(), SpokeFrame::Call { seq, acked: 0, call });
        hub.handle(at(2), call, &FULL, &mut actions);
        let job = actions.iter().find_map(|action| match action {
            Action::Fleet(job, call) if call.operation == operation => Some(*job),
            _ => None,
        });
        let body =
            objects::push_accepted(ObjectId([60; 32]), &[ObjectId([1; 32])], &format!("session {seq}"));
        if let Some(job) = job {
            let answer = Some(FleetAnswer::ok(Transport::Http, body));
            hub.handle(at(2), Event::Answered(job, answer), &FULL, &mut actions);
        }
        let session = actions.iter().find_map(|action| match action {
            Action::Send(_, HubFrame::Result { answer, .. }) => objects::push_session(&answer.body),
            _ => None,
        });
        (job.is_some(), session.map(|session| session.session).unwrap_or_default())
    };
    assert_eq!(push(1, signer.headers(at(1))), (true, "session 1".into()));
    assert_eq!(push(2, signer.headers(at(1))), (false, "session 1".into()), "a copy");
    let (asked, _) = push(3, signer.forged(at(1)));
    assert!(asked, "SuperLink judges");
    assert_eq!(push(4, signer.headers(at(2))), (true, "session 4".into()), "it is called again");
    assert_eq!(push(5, signer.headers(at(1))), (false, "session 4".into()), "a copy of the first");
}

/// A SuperLink before 1.40 lets its ServerApp wait without end for what is missing of a reply whose head it has.
#[test]
fn a_reply_that_was_begun_when_the_hub_was_killed_is_kept_for_a_node_that_comes_back() {
    let signer = Signer::new();
    let back_after = |seconds: u64| {
        let settings = Settings { hold: Duration::from_secs(600) };
        let mut hub = Hub::new(settings, [HubRecord::Replied(reply(50, &[1]))], at(0), &FULL);
        hub.handle(at(0), Event::Up(paris()), &FULL, &mut Vec::new());
        for second in (0..seconds).step_by(30) {
            let mut actions = Vec::new();
            hub.handle(at(second), Event::Tick, &FULL, &mut actions);
            assert!(!actions.iter().any(|action| matches!(action, Action::Fleet(..))), "it has no signature");
        }
        let headers = signer.headers(at(seconds));
        let auth = SpokeFrame::Auth { node: NODE, transport: Transport::Http, headers };
        let mut actions = Vec::new();
        for event in [Event::Frame(paris(), auth), Event::Tick] {
            hub.handle(at(seconds + 10), event, &FULL, &mut actions);
        }
        let pushes = |action: &Action| matches!(action, Action::Fleet(_, call) if call.operation == Operation::PushMessages);
        (actions.iter().any(pushes), hub.counters.given_up)
    };
    assert_eq!(back_after(3600), (true, 0));
    assert_eq!(back_after(25 * 3600), (false, 1), "not for ever");
}

/// A hub's engine may be made anew long after its clock began.
#[test]
fn a_node_stays_offline_while_its_reply_may_be_fetched_also_after_a_later_start() {
    let (signer, now) = (Signer::new(), at(10_000));
    for (records, stays) in [
        (vec![HubRecord::Replied(reply(50, &[1])), HubRecord::Absent(NODE, 0)], true),
        (vec![HubRecord::Absent(NODE, 0)], false),
    ] {
        let mut hub = Hub::new(Settings { hold: Duration::from_secs(600) }, records, now, &FULL);
        let headers = signer.headers(now);
        let auth = SpokeFrame::Auth { node: NODE, transport: Transport::Http, headers: headers.clone() };
        hub.handle(now, Event::Frame(paris(), auth), &FULL, &mut Vec::new());
        let (operation, body) = (Operation::ActivateNode, objects::activate_request(&signer.1, 30.0));
        let call = FleetCall { operation, transport: Transport::Http, headers, body };
        assert_eq!(hub.has_to_stay_offline(&call, now), stays);
    }
}

fn offer(id: u8) -> Offer {
    let reply = reply(id, &[id + 1]);
    Offer { node: NODE, body: reply.body, run: None, fab: None }
}

#[test]
fn an_unconfirmed_message_is_offered_again_where_its_node_asks_and_nowhere_else() {
    let signer = Signer::new();
    let records = [
        HubRecord::Offered("paris".into(), "1".into(), offer(50)),
        HubRecord::OfferTaken(message(50)),
        HubRecord::Whole(message(50)),
    ];
    let mut hub = knowing(&signer, records);
    let actions = poll(&mut hub, lyon(), Signer::new().headers(at(1)), 1);
    assert!(offers(&actions).is_empty() && results(&actions).is_empty(), "{actions:?}");
    hub.node(NODE).polling = false;
    // Its spoke says that it is there, and then asks for work: it has lost it.
    for seq in [2, 3] {
        let actions = poll(&mut hub, paris(), signer.headers(at(1)), seq);
        assert_eq!((offers(&actions), results(&actions)), (vec![&paris()], vec![true]));
    }
    // Then the node comes through another spoke, and comes back.
    for (seq, to) in [(4, lyon()), (5, paris())] {
        let actions = poll(&mut hub, to.clone(), signer.headers(at(1)), seq);
        assert_eq!((offers(&actions), results(&actions)), (vec![&to], vec![true]));
        assert!(actions.iter().any(|action| matches!(action, Action::Send(_, HubFrame::Gone(_)))));
    }
}

#[test]
fn a_spoke_that_has_forgotten_that_a_message_was_confirmed_hears_it() {
    let mut hub = knowing(&Signer::new(), [HubRecord::ConfirmDone(message(1))]);
    for (id, confirmed) in [(1, true), (2, false)] {
        let mut actions = Vec::new();
        let taken = SpokeFrame::OfferTaken(message(id));
        hub.handle(at(1), Event::Frame(paris(), taken), &FULL, &mut actions);
        let said = |action: &Action| match action {
            Action::Send(_, HubFrame::ConfirmTaken(_)) => Some(true),
            Action::Send(_, HubFrame::Gone(_)) => Some(false),
            _ => None,
        };
        assert_eq!(actions.iter().find_map(said), Some(confirmed), "{actions:?}");
    }
}

#[test]
fn a_reply_that_found_no_room_is_not_missed() {
    let signer = Signer::new();
    let answer = Reply { node: NODE, body: message_body(60, &[], Some(1)) };
    let head = objects::message_head(&answer.body).unwrap();
    assert_eq!((head.id, head.reply_to), (ObjectId([60; 32]), Some(ObjectId([1; 32]))));
    let mut hub = knowing(&signer, [HubRecord::ConfirmDone(message(1))]);
    let tell = |hub: &mut Hub, event| hub.handle(at(1), event, &FULL, &mut Vec::new());
    tell(&mut hub, Event::Storage(false));
    tell(&mut hub, Event::Frame(paris(), SpokeFrame::Reply(answer)));
    tell(&mut hub, Event::Storage(true));
    assert!(!is_lost(&mut hub, &signer, 1));
    hub.node(NODE).polling = false;
    // The spoke comes again, and does not have it any more.
    tell(&mut hub, Event::Up(paris()));
    assert!(is_lost(&mut hub, &signer, 3));
}

#[test]
fn no_job_number_is_used_by_two_engines_of_a_process() {
    let settings = || Settings { hold: Duration::from_secs(600) };
    let numbers = |started| {
        let mut hub = Hub::new(settings(), [], at(started), &FULL);
        let polls = (0..50).map(|seq| {
            let actions = poll(&mut hub, paris(), HeaderMap::new(), seq);
            let job = |action: &Action| match action {
                Action::Fleet(job, _) => Some(*job),
                _ => None,
            };
            hub.node(NODE).polling = false;
            actions.iter().find_map(job).unwrap()
        });
        polls.collect::<BTreeSet<_>>()
    };
    assert!(numbers(0).is_disjoint(&numbers(1)));
}

#[test]
fn a_busy_superlink_does_not_multiply_the_heartbeats_of_a_node_that_is_held() {
    let mut hub = knowing(&Signer::new(), []);
    hub.handle(at(1), Event::Down(paris()), &FULL, &mut Vec::new());
    let mut made = 0;
    for seconds in 26..276 {
        let mut events = vec![Event::Tick];
        while let Some(event) = events.pop() {
            let mut actions = Vec::new();
            hub.handle(at(seconds), event, &FULL, &mut actions);
            for action in actions {
                let Action::Fleet(job, call) = action else { continue };
                assert_eq!(call.operation, Operation::SendNodeHeartbeat);
                made += 1;
                events.push(Event::Answered(job, Some(for_now(Transport::Http, "busy"))));
            }
        }
        let planned = hub.later.iter().filter(|(_, what)| *what == Again::Hold(NODE)).count();
        assert!(planned <= 2, "{planned} at {seconds} s");
    }
    assert!((100..150).contains(&made), "{made}");
}

/// A spoke that loses power loses the end of its journal, and with it that it ever had a message.
#[test]
fn a_message_that_its_node_confirms_or_answers_past_the_spoke_is_not_offered_again() {
    let signer = Signer::new();
    for answers in [false, true] {
        let offered = HubRecord::Offered("paris".into(), "1".into(), offer(50));
        let mut hub = knowing(&signer, [offered, HubRecord::OfferTaken(message(50))]);
        let mut actions = Vec::new();
        if answers {
            let reply = Reply { node: NODE, body: message_body(60, &[], Some(50)) };
            hub.handle(at(1), Event::Frame(paris(), SpokeFrame::Reply(reply)), &FULL, &mut actions);
        } else {
            let (operation, body) =
                (Operation::ConfirmMessageReceived, objects::object_request(NODE, 0, ObjectId([50; 32])));
            let headers = signer.headers(at(1));
            let call = FleetCall { operation, transport: Transport::Http, headers, body };
            let call = SpokeFrame::Call { seq: 1, acked: 0, call };
            hub.handle(at(1), Event::Frame(paris(), call), &FULL, &mut actions);
            let [Action::Fleet(job, _)] = actions[..] else { panic!("{actions:?}") };
            let done = FleetAnswer::ok(Transport::Http, Bytes::new());
            hub.handle(at(1), Event::Answered(job, Some(done)), &FULL, &mut actions);
        }
        assert!(
            actions
                .iter()
                .any(|a| matches!(a, Action::Record(HubRecord::Confirmed(key, _)) if *key == message(50)))
        );
        assert!(
            actions
                .iter()
                .any(|a| matches!(a, Action::Send(_, HubFrame::ConfirmTaken(key)) if *key == message(50)))
        );
        assert!(hub.messages.is_empty());
    }
}

#[test]
fn a_spoke_that_comes_back_with_a_message_that_is_elsewhere_by_now_hears_it() {
    let mut hub = knowing(&Signer::new(), [HubRecord::Offered("lyon".into(), "1".into(), offer(50))]);
    let mut actions = Vec::new();
    hub.handle(at(1), Event::Frame(paris(), SpokeFrame::Whole(message(50))), &FULL, &mut actions);
    assert!(matches!(&actions[..], [Action::Send(to, HubFrame::Gone(_))] if *to == paris()), "{actions:?}");
    assert!(!hub.messages[&message(50)].whole);
}
