//! The spoke's engine.

use bytes::Bytes;
use onefed_flower::Transport;
use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::ObjectId;

use super::frame::{HubFrame, SpokeFrame};
use super::record::SpokeRecord;
use super::{Now, Shelf, Ticket};

/// What happens to a spoke.
#[derive(Clone, Debug)]
pub enum Event {
    /// Both connections to the hub are there.
    Up,
    /// They are gone.
    Down,
    /// The hub says something.
    Frame(HubFrame),
    /// A SuperNode calls.
    Call(Ticket, FleetCall),
    /// Nobody waits for that answer any more.
    Abandoned(Ticket),
    /// An object came over the bulk connection, was verified, and is on the shelf; its length in bytes.
    Stored(ObjectId, u64),
    /// What became of [`Action::StorePushed`]: the object is on the shelf, or why not.
    Pushed(Ticket, Result<(), NotStored>),
    /// An object that should be on the shelf is not, or is damaged.
    Lost(ObjectId),
    /// Whether the disk can take more.
    Storage(bool),
    /// Time has passed.
    Tick,
}

/// Why an object is not on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Its content has another SHA-256.
    WrongHash,
    /// The disk would not take it.
    NoRoom,
}

/// What a spoke wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send to the hub.
    Send(SpokeFrame),
    /// Answer a SuperNode.
    Answer(Ticket, FleetAnswer),
    /// Answer a SuperNode from the shelf: the object as a PullObject answer, or with `whole` as the body itself. If it is
    /// not there after all, answer "unavailable" and tell by [`Event::Lost`].
    Serve {
        /// Who waits.
        ticket: Ticket,
        /// How they speak.
        transport: Transport,
        /// What they get.
        id: ObjectId,
        /// Whether the object is the whole body.
        whole: bool,
    },
    /// Verify an object and put it on the shelf; tell by [`Event::Pushed`].
    StorePushed(Ticket, ObjectId, Bytes),
    /// Write into the journal.
    Record(SpokeRecord),
}

/// The spoke's engine.
pub struct Spoke {}

impl Spoke {
    /// Makes an engine from a journal.
    pub fn new(_records: impl IntoIterator<Item = SpokeRecord>, _now: Now, _shelf: &dyn Shelf) -> Self {
        Self {}
    }

    /// Takes an event in. What is to be done is appended to `actions`.
    pub fn handle(&mut self, _now: Now, _event: Event, _shelf: &dyn Shelf, _actions: &mut Vec<Action>) {}

    /// When [`Event::Tick`] is due at the latest, if nothing else happens before.
    pub fn deadline(&self) -> Option<std::time::Duration> {
        None
    }

    /// The next object to send on a bulk connection to the hub, if one is wanted and there.
    pub fn next_object(&mut self, _shelf: &dyn Shelf) -> Option<ObjectId> {
        None
    }

    /// The records that make an engine like this one, for a journal that has grown.
    pub fn snapshot(&self) -> Vec<SpokeRecord> {
        Vec::new()
    }
}
