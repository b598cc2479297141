//! What the world does not ask: a loss that is only suspected must cost nobody a reply.

use std::time::SystemTime;

use bytes::Bytes;

use super::*;
use crate::engine::Fixed;

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
