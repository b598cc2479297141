//! The hub's engine.

use onefed_flower::fleet::{FleetAnswer, FleetCall};
use onefed_flower::objects::ObjectId;

use super::frame::{HubFrame, SpokeFrame};
use super::record::HubRecord;
use super::{Job, Now, Shelf};

/// A spoke, by the name of its site and its own.
pub type SpokeName = (String, String);

/// What happens to a hub.
#[derive(Clone, Debug)]
pub enum Event {
    /// Both connections of a spoke are there; older ones of the same spoke are gone.
    Up(SpokeName),
    /// They are gone.
    Down(SpokeName),
    /// A spoke says something.
    Frame(SpokeName, SpokeFrame),
    /// SuperLink's answer to [`Action::Fleet`] or [`Action::PushStored`]; `None` if there is none, and nobody knows
    /// whether the call was carried out.
    Answered(Job, Option<FleetAnswer>),
    /// What became of [`Action::Store`]: whether the object is on the shelf.
    StoreDone(Job, bool),
    /// An object came over a bulk connection, was verified, and is on the shelf; its length in bytes.
    Stored(ObjectId, u64),
    /// An object that should be on the shelf is not, or is damaged.
    Lost(ObjectId),
    /// Whether the disk can take more.
    Storage(bool),
    /// Time has passed.
    Tick,
}

/// What a hub wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send to a spoke, if it is there.
    Send(SpokeName, HubFrame),
    /// Make a call to SuperLink.
    Fleet(Job, FleetCall),
    /// Make a PushObject call to SuperLink with an object from the shelf: the body of `call` is to be made by
    /// `push_object_request` with these. If the object is not there, tell by [`Event::Lost`] and answer `None`.
    PushStored {
        /// The job.
        job: Job,
        /// The call, without its body.
        call: FleetCall,
        /// The node.
        node: u64,
        /// The run.
        run: u64,
        /// SuperLink's session.
        session: String,
        /// The object.
        id: ObjectId,
    },
    /// Verify an object that SuperLink gave and put it on the shelf.
    Store(Job, ObjectId, bytes::Bytes),
    /// Write into the journal.
    Record(HubRecord),
}

/// The hub's engine.
pub struct Hub {}

impl Hub {
    /// Makes an engine from a journal.
    pub fn new(_records: impl IntoIterator<Item = HubRecord>, _now: Now, _shelf: &dyn Shelf) -> Self {
        Self {}
    }

    /// Takes an event in. What is to be done is appended to `actions`.
    pub fn handle(&mut self, _now: Now, _event: Event, _shelf: &dyn Shelf, _actions: &mut Vec<Action>) {}

    /// When [`Event::Tick`] is due at the latest, if nothing else happens before.
    pub fn deadline(&self) -> Option<std::time::Duration> {
        None
    }

    /// The next object to send on a bulk connection to a spoke, if one is wanted and there.
    pub fn next_object(&mut self, _spoke: &SpokeName, _shelf: &dyn Shelf) -> Option<ObjectId> {
        None
    }

    /// The records that make an engine like this one, for a journal that has grown.
    pub fn snapshot(&self) -> Vec<HubRecord> {
        Vec::new()
    }
}
