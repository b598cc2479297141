//! Spokes that never say that answers arrived, and spokes that ask again.

use std::time::{Duration, SystemTime};

use super::super::{Action, Event, Settings};
use super::*;
use crate::engine::frame::SpokeFrame;
use crate::engine::{Fixed, Job};

/// Nothing is there.
const EMPTY: Fixed = Fixed(false);
const HOLD: Duration = Duration::from_secs(600);

/// A hub and its clock.
struct World {
    hub: Hub,
    seconds: u64,
}

impl World {
    fn new() -> Self {
        let hub = Hub::new(Settings { hold: HOLD }, [], now(0), &EMPTY);
        Self { hub, seconds: 0 }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.hub.handle(now(self.seconds), event, &EMPTY, &mut actions);
        actions
    }

    /// A spoke's call. Gives the job, if it is made, and the answer, if there is one at once.
    fn call(&mut self, spoke: &SpokeName, seq: u64, acked: u64, operation: Operation) -> Made {
        let call = FleetCall {
            operation,
            transport: Transport::Http,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
        };
        let actions = self.tell(Event::Frame(spoke.clone(), SpokeFrame::Call { seq, acked, call }));
        let mut made = Made::default();
        for action in actions {
            match action {
                Action::Fleet(job, _) => made.job = Some(job),
                Action::Send(_, HubFrame::Result { seq: of, answer }) if of == seq => {
                    made.answer = Some(answer);
                }
                _ => {}
            }
        }
        made
    }

    fn answered(&mut self, job: Job, body: &'static [u8]) {
        let answer = FleetAnswer::ok(Transport::Http, Bytes::from_static(body));
        self.tell(Event::Answered(job, Some(answer)));
    }
}

#[derive(Default)]
struct Made {
    job: Option<Job>,
    answer: Option<FleetAnswer>,
}

fn now(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
}

fn spoke(number: usize) -> SpokeName {
    (format!("site{number}"), "7".to_owned())
}

static LARGE: [u8; 1 << 20] = [7; 1 << 20];

/// Lets a spoke call until it is put off. How many calls were made.
fn flood(world: &mut World, name: &SpokeName, first: u64, body: &'static [u8]) -> u64 {
    for seq in first.. {
        let made = world.call(name, seq, 0, Operation::PushMessages);
        let Some(job) = made.job else {
            let answer = made.answer.unwrap();
            assert!(answer.is_unavailable(), "{}", answer.words());
            return seq - first;
        };
        assert!(seq - first < 20_000, "never put off");
        world.answered(job, body);
    }
    0
}

#[test]
fn answers_that_a_spoke_never_acknowledges_are_bounded_in_bytes_and_none_is_dropped() {
    let (mut world, name) = (World::new(), spoke(0));
    world.tell(Event::Up(name.clone()));
    let made = flood(&mut world, &name, 1, &LARGE);
    assert!((3..=5).contains(&made), "{made} calls of 1 MiB");
    // Small ones are bounded, too, and go on being put off.
    assert_eq!(flood(&mut world, &name, 100, b"x"), 0);
    assert_eq!((world.hub.counters().calls, world.hub.counters().held_back), (made, 2));

    // After a reconnect it asks again for all: it hears the same, and nothing is done a second time.
    world.tell(Event::Down(name.clone()));
    world.tell(Event::Up(name.clone()));
    for seq in 1..=made {
        let again = world.call(&name, seq, 0, Operation::PushMessages);
        assert!(again.job.is_none(), "call {seq} is made again");
        assert_eq!(again.answer.unwrap().body, &LARGE[..]);
    }
    // What was put off was never made, so it is made now that there is room.
    let later = world.call(&name, 100, made, Operation::PushMessages);
    assert!(later.job.is_some() && later.answer.is_none());
    let depth = world.hub.depth();
    assert_eq!((depth.calls, depth.call_bytes), (1, CALL_COST));
}

#[test]
fn small_answers_are_bounded_in_number() {
    let (mut world, name) = (World::new(), spoke(0));
    world.tell(Event::Up(name.clone()));
    let made = flood(&mut world, &name, 1, b"");
    assert_eq!(made as usize, KEPT_OF_ONE / CALL_COST);
}

#[test]
fn spokes_that_keep_much_do_not_stop_the_others_and_those_that_are_gone_for_long_are_forgotten() {
    let mut world = World::new();
    for number in 0..6 {
        let name = spoke(number);
        world.tell(Event::Up(name.clone()));
        flood(&mut world, &name, 1, &LARGE);
        world.tell(Event::Down(name));
    }
    let all = world.hub.depth().call_bytes;
    assert!(all <= KEPT_MOST + KEPT_OF_ONE, "{all} bytes");
    // One that keeps little is served all the same.
    let name = spoke(9);
    world.tell(Event::Up(name.clone()));
    assert!(flood(&mut world, &name, 1, &[7; 1000]) >= 30);
    world.seconds = HOLD.as_secs() + SILENT.as_secs() + 1;
    assert!(flood(&mut world, &name, 1000, &[7; 1000]) > 1000);
    assert!(world.hub.depth().call_bytes <= KEPT_OF_ONE + CALL_COST + 1000);
}

#[test]
fn what_changes_nothing_is_not_kept_and_made_again() {
    let (mut world, name) = (World::new(), spoke(0));
    world.tell(Event::Up(name.clone()));
    let job = world.call(&name, 1, 0, Operation::PullObject).job.unwrap();
    assert!(world.call(&name, 1, 0, Operation::PullObject).job.is_none(), "it is under way");
    world.answered(job, &LARGE);
    assert_eq!(world.hub.depth().call_bytes, 0);
    assert!(world.call(&name, 1, 0, Operation::PullObject).job.is_some());
}

#[test]
fn an_object_that_was_brought_to_superlink_once_is_stored_for_whoever_asks_again() {
    let (mut world, name) = (World::new(), spoke(0));
    world.tell(Event::Up(name.clone()));
    let stored = |actions| objects::object_stored(&said(actions).body);
    let mut answer = |seq, stored: Option<bool>| {
        let job = world.call(&name, seq, seq - 1, Operation::PushObject).job.unwrap();
        let answer =
            stored.map(|stored| FleetAnswer::ok(Transport::Http, objects::push_object_answer(stored)));
        world.tell(Event::Answered(job, answer))
    };
    assert!(!stored(answer(1, Some(false))), "nobody has brought it");
    answer(2, None);
    // SuperLink has it from the call whose answer got lost.
    assert!(stored(answer(3, Some(false))));
}

#[test]
fn what_superlink_wanted_of_a_reply_once_is_wanted_whoever_asks_again() {
    let (mut world, name) = (World::new(), spoke(0));
    world.tell(Event::Up(name.clone()));
    let wants = |ids: &[u8]| {
        let ids: Vec<_> = ids.iter().map(|id| objects::ObjectId([*id; 32])).collect();
        FleetAnswer::ok(Transport::Http, objects::push_accepted(objects::ObjectId([9; 32]), &ids, "session"))
    };
    let mut wanted = |seq, answer: FleetAnswer| {
        let job = world.call(&name, seq, seq - 1, Operation::PushMessages).job.unwrap();
        said(world.tell(Event::Answered(job, Some(answer))))
    };
    assert_eq!(wanted(1, wants(&[])), wants(&[]), "it has all of it");
    assert_eq!(wanted(2, wants(&[1, 2])), wants(&[1, 2]));
    // The ServerApp has fetched the head since.
    assert_eq!(wanted(3, wants(&[])), wants(&[1, 2]));
    assert_eq!(wanted(4, wants(&[2])), wants(&[2]), "what it says itself is newer");
    assert_eq!(wanted(5, wants(&[])), wants(&[2]));
    let refused = for_now(Transport::Http, "SuperLink did not answer");
    assert_eq!(wanted(6, refused.clone()), refused);
}

/// The answer to a spoke's call.
fn said(actions: Vec<Action>) -> FleetAnswer {
    let said = actions.into_iter().find_map(|action| match action {
        Action::Send(_, HubFrame::Result { answer, .. }) => Some(answer),
        _ => None,
    });
    said.unwrap()
}
