//! What hub and spoke decide, without any input or output of their own.
//!
//! An engine is handed the time and one event after the other, and says what is to be done: an ordered list of actions.
//! Around it, `shell` has the sockets and the disk; the simulated world of the tests has models of both. The contract:
//!
//! - **Actions are carried out in their order.** A `Record` is in the journal, safe from `kill -9`, before any later
//!   action is begun. So what is said after it may be relied on, and nothing has to wait for a disk's answer.
//! - **A crash** is the loss of the engine and of the actions not yet carried out. A new engine is made from the journal's
//!   records; callers see their connections end and call again.
//! - **Objects** are on a [`Shelf`]: they get there verified, outside of the engine, which is told by an event. They move
//!   over the bulk connections one by one, when the shell has room for the next (`next_object`), so that no engine
//!   ever holds a model. Who wants an object may name a *base* that it holds; what comes is then the difference to that, or
//!   to another that was named with it and resembles the object more, if the sender has it, too, and finds it worth while. An object that cannot be had in this way is `Lost`, and wanted
//!   again without a base.

mod auth;
pub mod frame;
pub mod hub;
mod models;
pub mod record;
pub mod spoke;
#[cfg(test)]
mod testing;
mod wants;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use onefed_flower::fleet::FleetCall;
use onefed_flower::messages::signing_key;
use onefed_flower::objects::ObjectId;
use onefed_flower::signature::signed_at;

pub use frame::{HubFrame, Offer, Reply, SpokeFrame, Wanted};

/// A SuperNode that has lost what it was at asks for work, again and again, every 3 s. A single call of one that is at work may
/// be an older one that came late, and come more than once: only who signs another so much later has lost it.
const GOES_ON: Duration = Duration::from_millis(1500);
/// Two calls that are further apart have nothing to do with each other.
const APART: Duration = Duration::from_secs(12);

/// When a SuperNode that should be at work signed its first and its last call for some.
#[derive(Default)]
struct Asked(Option<(SystemTime, SystemTime)>);

impl Asked {
    /// It asks again. Whether it has for a while.
    fn goes_on(&mut self, poll: &FleetCall) -> bool {
        let Some(at) = signed_at(&poll.headers) else { return false };
        let (first, last) = match self.0 {
            Some((first, last)) if auth::late_by(at, last).is_some() => (first, last),
            Some((first, last)) if at.duration_since(last).is_ok_and(|since| since <= APART) => (first, at),
            _ => (at, at),
        };
        self.0 = Some((first, last));
        last.duration_since(first).is_ok_and(|since| since >= GOES_ON)
    }
}

/// The time, as an engine is told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the shell began, never set back. All deadlines are on this clock.
    pub mono: Duration,
    /// The clock on the wall, for the age of signatures only.
    pub wall: SystemTime,
}

/// A call of a SuperNode that waits for its answer. Given by the shell, never used twice.
pub type Ticket = u64;
/// A connection by which calls of SuperNodes come. Given by the shell, never used twice.
pub type Connection = u64;

/// Something that the hub's engine asked for, whose outcome it is told. Given by the engine, never used twice.
pub type Job = u64;

/// The content-addressed store, as far as engines know it.
pub trait Shelf {
    /// Whether the object is there.
    fn has(&self, id: ObjectId) -> bool;
    /// Keeps the object from being evicted, also if it comes later.
    fn keep(&self, id: ObjectId);
    /// Allows it to be evicted.
    fn release(&self, id: ObjectId);
    /// Of these, the one that resembles an object most, by a look at a few places of each. `None` if none does, or if
    /// that is not known.
    fn likest(&self, id: ObjectId, among: &BTreeSet<ObjectId>) -> Option<ObjectId>;
}

/// For tests: a shelf that says the same of all objects.
#[cfg(test)]
struct Fixed(bool);

#[cfg(test)]
impl Shelf for Fixed {
    fn has(&self, _: ObjectId) -> bool {
        self.0
    }

    fn keep(&self, _: ObjectId) {}

    fn release(&self, _: ObjectId) {}

    fn likest(&self, _: ObjectId, _: &BTreeSet<ObjectId>) -> Option<ObjectId> {
        None
    }
}

/// Which objects are needed how often; the shelf is told of the first and of the last.
#[derive(Default)]
struct Pins(HashMap<ObjectId, u32>);

impl Pins {
    fn keep(&mut self, shelf: &dyn Shelf, id: ObjectId) {
        let count = self.0.entry(id).or_default();
        *count += 1;
        if *count == 1 {
            shelf.keep(id);
        }
    }

    fn release(&mut self, shelf: &dyn Shelf, id: ObjectId) {
        let Some(count) = self.0.get_mut(&id) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&id);
            shelf.release(id);
        }
    }

    fn kept(&self) -> usize {
        self.0.len()
    }
}

/// What makes a call the same call as another: who makes it, what is asked, and the body. Not the signature's time.
fn fingerprint(call: &FleetCall) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(call.operation.name().as_bytes());
    context.update(&[0]);
    context.update(signing_key(&call.headers).unwrap_or_default().as_bytes());
    context.update(&[0]);
    context.update(&call.body);
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    print
}
