//! What the world does not ask: a loss that is only suspected must cost nobody a reply.

use std::time::SystemTime;

use bytes::Bytes;
use onefed_flower::objects;

use super::*;
use crate::engine::Fixed;
use crate::engine::frame::Reply;

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

/// A field of a protobuf message that is a text or a message itself.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let (low, high) = (content.len() % 128, content.len() / 128);
    assert!(high < 128, "two bytes are enough for the length");
    [&[tag << 3 | 2, low as u8 | 0x80, high as u8], content].concat()
}

/// A reply of the node: a message of these children.
fn reply(id: u8, children: &[u8]) -> Reply {
    let text = |id: u8| ObjectId([id; 32]).to_string().into_bytes();
    let child = |child: &u8| field(2, &field(1, &text(*child)));
    let tree = [field(1, &text(id)), children.iter().flat_map(child).collect()].concat();
    let message = field(1, &[field(2, &text(id)), field(5, &text(id + 100))].concat());
    Reply { node: NODE, body: [field(2, &message), field(3, &tree)].concat().into() }
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
