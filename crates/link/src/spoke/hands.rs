//! What a spoke's engine asks for, done: frames to the hub, answers to SuperNodes, objects to and from the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::fleet::FleetCall;
use onefed_flower::uncopied;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::calls::{Answer, Waiting, unavailable};
use super::seen::Seen;
use crate::engine::frame::{HubFrame, SpokeFrame};
use crate::engine::record::SpokeRecord;
use crate::engine::spoke::{Action, Event, NotStored, Settings, Spoke};
use crate::engine::{Now, Shelf, Wanted};
use crate::ledger::Ledger;
use crate::pair::{End, Held, Pair, Parcel};
use crate::shell::actor::{Engine, Hands};
use crate::shell::budget::Budget;
use crate::shell::flush::Flush;
use crate::shell::mailbox::{Mailbox, Place, WeakMailbox};
use crate::shell::packer::{NotTaken, Packer};
use crate::store::{ObjectStore, PutError};
use crate::wire::Welcome;

/// How long an answer may wait for room in memory before it is read from the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many activations are remembered until the hub answers them.
const MAX_ACTIVATIONS: usize = 1024;

/// An object that could not be stored is asked for again after this.
const AGAIN: Duration = Duration::from_secs(4);

/// What arrives in a spoke's mailbox.
pub(crate) enum Letter {
    /// From the shell.
    Event(Event),
    /// The pair of connections is there.
    Up(Pair<SpokeFrame>),
    /// It is gone.
    Down,
    /// The hub says something.
    Frame(HubFrame),
    /// The bulk connection has room for an object.
    Room(oneshot::Sender<Wanted>),
}

/// The spoke's end of the pair.
pub(super) struct SpokeEnd {
    pub(super) engine: Mailbox<Letter>,
    pub(super) packer: Arc<Packer>,
    pub(super) flush: Flush,
    pub(super) seen: Arc<Seen>,
}

impl End for SpokeEnd {
    type In = HubFrame;
    type Out = SpokeFrame;

    fn welcome(&self, welcome: &Welcome) {
        let hold = Duration::from_millis(welcome.hold_ms);
        self.seen.hold_of_hub(hold);
        self.engine.put(Letter::Event(Event::Hold(hold)), Place::FEW);
    }

    fn up(&self, pair: Pair<SpokeFrame>) {
        self.seen.up();
        self.engine.put(Letter::Up(pair), Place::FEW);
    }

    fn frame(&self, frame: HubFrame, held: Held) {
        self.engine.put(Letter::Frame(frame), held);
    }

    async fn object(&self, parcel: Parcel) -> Result<(), String> {
        let id = parcel.id;
        match self.packer.take(parcel).await {
            Ok(bytes) => {
                self.flush.soon();
                self.seen.received(bytes);
                self.engine.send(Letter::Event(Event::Stored(id))).await;
            }
            Err(NotTaken::Broken(why)) => return Err(why),
            // The engine wants it again; should it have been the disk, it hears of that meanwhile.
            Err(why) => {
                tracing::warn!(object = %id, %why, "an object of the hub's was not stored");
                if matches!(why, NotTaken::Disk(_)) {
                    tokio::time::sleep(AGAIN).await;
                }
                self.engine.send(Letter::Event(Event::Lost(id))).await;
            }
        }
        Ok(())
    }

    async fn next_object(&self) -> Parcel {
        loop {
            let (room, next) = oneshot::channel();
            self.engine.send(Letter::Room(room)).await;
            let Ok(wanted) = next.await else {
                // The engine starts over, and ends this pair.
                std::future::pending::<()>().await;
                continue;
            };
            match self.packer.pack(wanted).await {
                Some(parcel) => {
                    self.seen.sent(parcel.length);
                    return parcel;
                }
                None => self.engine.send(Letter::Event(Event::Lost(wanted.id))).await,
            }
        }
    }

    fn sent(&self, bytes: usize, took: Duration) {
        self.packer.sent(bytes, took);
    }

    fn down(&self, why: &str) {
        self.seen.down(why);
        self.engine.put(Letter::Down, Place::FEW);
    }
}

/// The hands of a spoke's engine.
pub(super) struct SpokeHands {
    pub(super) site: String,
    pub(super) calls: Waiting,
    pub(super) engine: WeakMailbox<Letter>,
    pub(super) store: ObjectStore,
    pub(super) flush: Flush,
    /// For objects on their way from the disk to SuperNodes.
    pub(super) budget: Budget,
    pub(super) runtime: Handle,
    pub(super) pair: Option<Pair<SpokeFrame>>,
    pub(super) room: Option<oneshot::Sender<Wanted>>,
    pub(super) packer: Arc<Packer>,
    pub(super) seen: Arc<Seen>,
    pub(super) ledger: Arc<Ledger>,
    /// Activations that the hub has not answered, by the number of the call.
    pub(super) activations: BTreeMap<u64, FleetCall>,
}

impl SpokeHands {
    /// Notes why SuperLink does not let a node come online: its SuperNode hears only that it should try again.
    fn note_sent(&mut self, frame: &SpokeFrame) {
        if let SpokeFrame::Call { seq, call, .. } = frame
            && call.operation == Operation::ActivateNode
        {
            self.activations.insert(*seq, call.clone());
            while self.activations.len() > MAX_ACTIVATIONS {
                self.activations.pop_first();
            }
        }
    }

    fn note_heard(&mut self, frame: &HubFrame) {
        if let HubFrame::Result { seq, answer } = frame
            && let Some(call) = self.activations.remove(seq)
        {
            self.ledger.note(&self.site, &call, answer);
        }
    }
}

impl Hands<Spoke> for SpokeHands {
    type Letter = Letter;

    fn is_boundary(letter: &Letter) -> bool {
        matches!(letter, Letter::Up(_) | Letter::Down)
    }

    fn open(&mut self, letter: Letter) -> Option<Event> {
        match letter {
            Letter::Event(event) => Some(event),
            Letter::Up(pair) => {
                self.packer.forget();
                self.pair = Some(pair);
                Some(Event::Up)
            }
            Letter::Down => {
                self.room = None;
                self.pair.take().map(|_| Event::Down)
            }
            Letter::Frame(frame) => {
                self.note_heard(&frame);
                self.pair.is_some().then_some(Event::Frame(frame))
            }
            Letter::Room(room) => {
                self.room = Some(room).filter(|_| self.pair.is_some());
                None
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(frame) => {
                self.note_sent(&frame);
                if let Some(pair) = &self.pair {
                    if let SpokeFrame::Want(wanted) = &frame {
                        self.packer.name(wanted);
                    }
                    pair.send(&frame);
                }
            }
            Action::Answer(ticket, answer) => self.calls.answer(ticket, Answer::Said(answer)),
            Action::Serve { ticket, transport, id, whole } => {
                let Some(engine) = self.engine.get() else { return };
                let (calls, store) = (self.calls.clone(), self.store.clone());
                let (site, budget) = (self.site.clone(), self.budget.clone());
                let seen = self.seen.clone();
                self.runtime.spawn(async move {
                    let not_now = |why: &str| Answer::Said(unavailable(transport, &site, why));
                    let Ok(room) = tokio::time::timeout(PATIENCE, budget.object_room()).await else {
                        return calls.answer(ticket, not_now("too many objects are asked for at once"));
                    };
                    let content = store.get(id).await;
                    let room = room.fit(content.as_ref().map_or(0, Bytes::len));
                    seen.served(content.as_ref().map_or(0, Bytes::len));
                    let answer = match content {
                        Some(content) if whole => {
                            Answer::Made(uncopied::whole_answer(transport, room.hold(content)))
                        }
                        Some(content) => Answer::Made(uncopied::object_answer(transport, room.hold(content))),
                        None => {
                            engine.send(Letter::Event(Event::Lost(id))).await;
                            not_now("the object is being fetched again")
                        }
                    };
                    calls.answer(ticket, answer);
                });
            }
            Action::StorePushed(ticket, id, content) => {
                let Some(engine) = self.engine.get() else { return };
                let (store, flush) = (self.store.clone(), self.flush.clone());
                self.seen.pushed(content.len());
                self.runtime.spawn(async move {
                    let stored = store.put(id, content).await.map_err(|why| match why {
                        PutError::WrongHash => NotStored::WrongHash,
                        PutError::NoRoom => NotStored::NoRoom,
                        PutError::Io(why) => {
                            tracing::error!(object = %id, %why, "an object cannot be written");
                            NotStored::NoRoom
                        }
                    });
                    flush.soon();
                    engine.send(Letter::Event(Event::Pushed(ticket, stored))).await;
                });
            }
            // The journal's, not ours.
            Action::Record(_) => {}
        }
    }

    fn room(&mut self, room: bool) {
        self.seen.room(room);
    }

    fn feed(&mut self, engine: &mut Spoke, shelf: &dyn Shelf) {
        self.seen.look(engine, self.pair.as_ref());
        if engine.has_object()
            && self.room.as_ref().is_some_and(|room| !room.is_closed())
            && let Some(wanted) = engine.next_object(shelf)
        {
            // Should the pair end in this moment, wants end with it.
            let _ = self.room.take().map(|room| room.send(wanted));
        }
    }

    fn trouble(&mut self, what: Option<&str>) {
        self.seen.trouble(what);
    }

    fn reset(&mut self) {
        self.calls.end();
        self.room = None;
        if let Some(pair) = self.pair.take() {
            pair.close("the spoke starts over");
        }
    }
}

impl Engine for Spoke {
    type Event = Event;
    type Action = Action;
    type Record = SpokeRecord;
    type Settings = Settings;

    fn make(settings: &Settings, records: Vec<SpokeRecord>, now: Now, shelf: &dyn Shelf) -> Self {
        Self::new(settings.clone(), records, now, shelf)
    }

    fn handle(&mut self, now: Now, event: Event, shelf: &dyn Shelf, actions: &mut Vec<Action>) {
        Self::handle(self, now, event, shelf, actions);
    }

    fn deadline(&self) -> Option<Duration> {
        Self::deadline(self)
    }

    fn snapshot(&self) -> Vec<SpokeRecord> {
        Self::snapshot(self)
    }

    fn tick() -> Event {
        Event::Tick
    }

    fn storage(room: bool) -> Event {
        Event::Storage(room)
    }

    fn record(action: Action) -> Result<SpokeRecord, Action> {
        match action {
            Action::Record(record) => Ok(record),
            other => Err(other),
        }
    }

    fn encode(record: &SpokeRecord) -> Vec<u8> {
        record.encode()
    }

    fn decode(bytes: Bytes) -> Option<SpokeRecord> {
        SpokeRecord::decode(bytes).ok()
    }

    fn is_final(record: &SpokeRecord) -> bool {
        record.is_final()
    }

    fn is_promise(record: &SpokeRecord) -> bool {
        record.is_promise()
    }
}
