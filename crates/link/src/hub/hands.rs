//! What the hub's engine asks for, done: frames to spokes, calls to SuperLink, objects to and from the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onefed_flower::Operation;
use onefed_flower::fleet::FleetCall;
use onefed_flower::objects::ObjectId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Shared;
use crate::engine::frame::{HubFrame, SpokeFrame};
use crate::engine::hub::{Action, Event, Hub, Settings, SpokeName};
use crate::engine::record::HubRecord;
use crate::engine::{Job, Now, Shelf, Wanted};
use crate::pair::{End, Held, Pair, Parcel};
use crate::shell::actor::{Engine, Hands};
use crate::shell::budget::Budget;
use crate::shell::flush::Flush;
use crate::shell::mailbox::{Mailbox, Place, WeakMailbox};
use crate::shell::packer::{NotTaken, Packer};
use crate::store::ObjectStore;

/// An object that could not be stored is asked for again after this.
const AGAIN: Duration = Duration::from_secs(4);

/// What was pulled before may lie in memory for so long, since its spoke does not take it: others do not wait any longer, and
/// are served from the disk.
const LINES: Duration = Duration::from_secs(2);

/// What arrives in the hub's mailbox.
pub(crate) enum Letter {
    /// From the shell.
    Event(Event),
    /// A spoke's pair of connections is there.
    Up(SpokeName, Pair<HubFrame>, Arc<Packer>),
    /// It is gone.
    Down(SpokeName),
    /// A spoke says something.
    Frame(SpokeName, SpokeFrame),
    /// A bulk connection has room for an object.
    Room(SpokeName, oneshot::Sender<Wanted>),
}

/// The hub's end of a pair.
pub(crate) struct HubEnd {
    pub(super) spoke: SpokeName,
    pub(super) shared: Arc<Shared>,
    pub(super) hub: Inner,
    pub(super) packer: Arc<Packer>,
}

/// What the ends and the tasks share.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) engine: Mailbox<Letter>,
    pub(super) store: ObjectStore,
    pub(super) flush: Flush,
}

impl Inner {
    async fn tell(&self, event: Event) {
        self.engine.send(Letter::Event(event)).await;
    }
}

impl End for HubEnd {
    type In = SpokeFrame;
    type Out = HubFrame;

    fn up(&self, pair: Pair<HubFrame>) {
        self.shared.seen.up(&self.spoke);
        self.hub.engine.put(Letter::Up(self.spoke.clone(), pair, self.packer.clone()), Place::FEW);
    }

    fn frame(&self, frame: SpokeFrame, held: Held) {
        self.shared.note_frame(&self.spoke, &frame);
        self.hub.engine.put(Letter::Frame(self.spoke.clone(), frame), held);
    }

    async fn object(&self, parcel: Parcel) -> Result<(), String> {
        let id = parcel.id;
        match self.packer.take(parcel).await {
            Ok(bytes) => {
                self.shared.seen.received(&self.spoke, bytes);
                self.hub.flush.soon();
                self.hub.tell(Event::Stored(id)).await;
            }
            Err(NotTaken::Broken(why)) => return Err(why),
            Err(why) => {
                let (site, spoke) = &self.spoke;
                tracing::warn!(object = %id, %why, site, spoke, "an object of a spoke's was not stored");
                if matches!(why, NotTaken::Disk(_)) {
                    tokio::time::sleep(AGAIN).await;
                }
                self.hub.tell(Event::Lost(id)).await;
            }
        }
        Ok(())
    }

    async fn next_object(&self) -> Parcel {
        loop {
            let (room, next) = oneshot::channel();
            self.hub.engine.send(Letter::Room(self.spoke.clone(), room)).await;
            let Ok(wanted) = next.await else {
                // The engine starts over, and ends this pair.
                std::future::pending::<()>().await;
                continue;
            };
            match self.packer.pack(wanted).await {
                Some(parcel) => {
                    self.shared.seen.sent(&self.spoke, parcel.length);
                    return parcel;
                }
                None => self.hub.tell(Event::Lost(wanted.id)).await,
            }
        }
    }

    fn sent(&self, bytes: usize, took: Duration) {
        self.packer.sent(bytes, took);
    }

    fn down(&self, why: &str) {
        self.shared.seen.down(&self.spoke, why);
        self.hub.engine.put(Letter::Down(self.spoke.clone()), Place::FEW);
    }
}

/// The hands of the hub's engine.
pub(super) struct HubHands {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: WeakMailbox<Letter>,
    pub(super) store: ObjectStore,
    pub(super) flush: Flush,
    /// For objects on their way from SuperLink to the disk and their first spoke.
    pub(super) pulls: Budget,
    /// For objects on their way from the disk to SuperLink.
    pub(super) pushes: Budget,
    pub(super) runtime: Handle,
    pub(super) spokes: BTreeMap<SpokeName, SpokeThere>,
}

/// A spoke whose pair is up.
pub(super) struct SpokeThere {
    pair: Pair<HubFrame>,
    room: Option<oneshot::Sender<Wanted>>,
    packer: Arc<Packer>,
}

impl HubHands {
    /// Begins a task; what it holds does not keep the engine alive beyond it.
    fn task<F>(&self, make: impl FnOnce(Inner) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(engine) = self.engine.get() {
            let inner = Inner { engine, store: self.store.clone(), flush: self.flush.clone() };
            self.runtime.spawn(make(inner));
        }
    }

    /// Makes a call to SuperLink.
    fn fleet(&self, job: Job, call: FleetCall) {
        let (shared, budget) = (self.shared.clone(), self.pulls.clone());
        self.task(async move |inner| {
            let large = matches!(call.operation, Operation::PullObject | Operation::GetFab);
            // Taken before it is asked for, and given back when the object is on the disk and, where a spoke wants it at
            // once, on the line: so a quick SuperLink does not run far ahead of it.
            let room = match large {
                true => tokio::time::timeout(LINES, budget.object_room()).await.ok(),
                false => None,
            };
            let mut answer = shared.superlink.carry(&call).await;
            if let Some(answer) = &mut answer {
                shared.note_answer(&call, answer);
                if let Some(room) = room {
                    answer.body = room.fit(answer.body.len()).hold(std::mem::take(&mut answer.body));
                }
            }
            inner.tell(Event::Answered(job, answer)).await;
        });
    }

    /// Pushes an object from the disk to SuperLink.
    fn push(&self, job: Job, call: FleetCall, of: (u64, u64, String), id: ObjectId) {
        let (shared, budget) = (self.shared.clone(), self.pushes.clone());
        self.task(async move |inner| {
            let room = budget.object_room().await;
            let answer = match inner.store.get(id).await {
                Some(content) => {
                    let (node, run, session) = &of;
                    let object = (id, room.hold(content));
                    shared.superlink.carry_object(&call, (*node, *run, session), object).await
                }
                None => {
                    inner.tell(Event::Lost(id)).await;
                    None
                }
            };
            inner.tell(Event::Answered(job, answer)).await;
        });
    }

    /// Stores an object that SuperLink gave.
    fn store(&self, job: Job, id: ObjectId, content: Bytes) {
        self.task(async move |inner| {
            let stored = inner.store.put(id, content).await;
            if let Err(why) = &stored {
                tracing::warn!(object = %id, %why, "an object of SuperLink's was not stored");
            }
            inner.flush.soon();
            inner.tell(Event::StoreDone(job, stored.is_ok())).await;
        });
    }
}

impl Hands<Hub> for HubHands {
    type Letter = Letter;

    fn is_boundary(letter: &Letter) -> bool {
        matches!(letter, Letter::Up(..) | Letter::Down(_))
    }

    fn open(&mut self, letter: Letter) -> Option<Event> {
        match letter {
            Letter::Event(event) => Some(event),
            Letter::Up(spoke, pair, packer) => {
                self.spokes.insert(spoke.clone(), SpokeThere { pair, room: None, packer });
                Some(Event::Up(spoke))
            }
            Letter::Down(spoke) => self.spokes.remove(&spoke).map(|_| Event::Down(spoke)),
            Letter::Frame(spoke, frame) => {
                self.spokes.contains_key(&spoke).then_some(Event::Frame(spoke, frame))
            }
            Letter::Room(spoke, room) => {
                if let Some(there) = self.spokes.get_mut(&spoke) {
                    there.room = Some(room);
                }
                None
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(spoke, frame) => {
                if let Some(there) = self.spokes.get(&spoke) {
                    if let HubFrame::Want(wanted) = &frame {
                        there.packer.name(wanted);
                    }
                    there.pair.send(&frame);
                }
            }
            Action::Fleet(job, call) => self.fleet(job, call),
            Action::PushStored { job, call, node, run, session, id } => {
                self.push(job, call, (node, run, session), id);
            }
            Action::Store(job, id, content) => self.store(job, id, content),
            // The journal's, not ours.
            Action::Record(_) => {}
        }
    }

    fn room(&mut self, room: bool) {
        self.shared.seen.room(room);
    }

    fn feed(&mut self, engine: &mut Hub, shelf: &dyn Shelf) {
        self.shared.seen.look(engine);
        for (spoke, there) in &mut self.spokes {
            if engine.has_object(spoke)
                && there.room.as_ref().is_some_and(|room| !room.is_closed())
                && let Some(wanted) = engine.next_object(spoke, shelf)
            {
                // Should the pair end in this moment, wants end with it.
                let _ = there.room.take().map(|room| room.send(wanted));
            }
        }
    }

    fn trouble(&mut self, what: Option<&str>) {
        self.shared.seen.trouble(what);
    }

    fn reset(&mut self) {
        for there in std::mem::take(&mut self.spokes).into_values() {
            there.pair.close("the hub starts over");
        }
    }
}

impl Engine for Hub {
    type Event = Event;
    type Action = Action;
    type Record = HubRecord;
    type Settings = Settings;

    fn make(settings: &Settings, records: Vec<HubRecord>, now: Now, shelf: &dyn Shelf) -> Self {
        Self::new(settings.clone(), records, now, shelf)
    }

    fn handle(&mut self, now: Now, event: Event, shelf: &dyn Shelf, actions: &mut Vec<Action>) {
        Self::handle(self, now, event, shelf, actions);
    }

    fn deadline(&self) -> Option<Duration> {
        Self::deadline(self)
    }

    fn snapshot(&self) -> Vec<HubRecord> {
        Self::snapshot(self)
    }

    fn tick() -> Event {
        Event::Tick
    }

    fn storage(room: bool) -> Event {
        Event::Storage(room)
    }

    fn record(action: Action) -> Result<HubRecord, Action> {
        match action {
            Action::Record(record) => Ok(record),
            other => Err(other),
        }
    }

    fn encode(record: &HubRecord) -> Vec<u8> {
        record.encode()
    }

    fn decode(bytes: Bytes) -> Option<HubRecord> {
        HubRecord::decode(bytes).ok()
    }

    fn is_final(record: &HubRecord) -> bool {
        record.is_final()
    }

    fn is_promise(record: &HubRecord) -> bool {
        record.is_promise()
    }
}
