//! An actor with an engine of numbers: what it has written and done when something fails.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use onefed_flower::objects::ObjectId;

use super::*;
use crate::shell::mailbox::{Mailbox, Place, mailbox};
use crate::store::Limits;

/// An engine that keeps numbers.
struct Sum {
    numbers: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Event {
    Keep(u8),
    Say,
    Panic,
    Quiet,
}

#[derive(Debug)]
enum Action {
    Record(u8),
    Say(String),
}

impl Engine for Sum {
    type Event = Event;
    type Action = Action;
    type Record = u8;
    type Settings = ();

    fn make((): &(), numbers: Vec<u8>, _now: Now, _shelf: &dyn Shelf) -> Self {
        Self { numbers }
    }

    fn handle(&mut self, _now: Now, event: Event, _shelf: &dyn Shelf, actions: &mut Vec<Action>) {
        match event {
            Event::Keep(number) => {
                self.numbers.push(number);
                actions.push(Action::Record(number));
                actions.push(Action::Say(format!("kept {number}")));
            }
            Event::Say => actions.push(Action::Say(format!("{:?}", self.numbers))),
            Event::Panic => {
                self.numbers.push(0);
                panic!("as the test wants it");
            }
            Event::Quiet => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        self.numbers.clone()
    }

    fn tick() -> Event {
        Event::Quiet
    }

    fn storage(_room: bool) -> Event {
        Event::Quiet
    }

    fn record(action: Action) -> Result<u8, Action> {
        match action {
            Action::Record(number) => Ok(number),
            other => Err(other),
        }
    }

    fn encode(record: &u8) -> Vec<u8> {
        vec![*record]
    }

    fn decode(bytes: Bytes) -> Option<u8> {
        bytes.first().copied().filter(|number| *number != 99)
    }

    fn is_promise(record: &u8) -> bool {
        Self::is_final(record)
    }

    fn is_final(record: &u8) -> bool {
        *record > 200
    }
}

type Trouble = Arc<Mutex<Option<String>>>;

enum Letter {
    Event(Event),
    Boundary,
}

/// What is done is told to the test. What was asked for before a boundary says so.
struct Told {
    to: Sender<String>,
    trouble: Trouble,
    after: usize,
    dir: PathBuf,
}

impl Hands<Sum> for Told {
    type Letter = Letter;

    fn is_boundary(letter: &Letter) -> bool {
        matches!(letter, Letter::Boundary)
    }

    fn open(&mut self, letter: Letter) -> Option<Event> {
        match letter {
            Letter::Event(event) => Some(event),
            Letter::Boundary => {
                self.after += 1;
                None
            }
        }
    }

    fn act(&mut self, action: Action) {
        let Action::Say(words) = action else { panic!("a record among the others") };
        // What is said after a record may be relied on: it is in the file.
        if let Some(number) = words.strip_prefix("kept ") {
            let journal = std::fs::read(self.dir.join("sum")).unwrap();
            assert_eq!(journal.last().copied().map(u64::from), number.parse().ok());
        }
        self.to.send(format!("{}: {words}", self.after)).unwrap();
    }

    fn room(&mut self, room: bool) {
        assert!(room, "this test needs half a GiB of disk");
    }

    fn feed(&mut self, _engine: &mut Sum, _shelf: &dyn Shelf) {}

    fn trouble(&mut self, what: Option<&str>) {
        *self.trouble.lock().unwrap() = what.map(str::to_owned);
    }

    fn reset(&mut self) {
        // Nobody may listen any more.
        let _ = self.to.send("reset".into());
    }
}

struct Running {
    engine: Mailbox<Letter>,
    trouble: Trouble,
    told: Receiver<String>,
    store: ObjectStore,
}

async fn running(dir: &std::path::Path) -> Running {
    let store = ObjectStore::open(dir.join("objects"), Limits::default()).await.unwrap();
    let (engine, letters) = mailbox();
    let (to, told) = channel();
    let trouble = Trouble::default();
    let actor: Actor<Sum, Told> = Actor {
        letters,
        unread: Default::default(),
        hands: Told { to, trouble: trouble.clone(), after: 0, dir: dir.to_owned() },
        store: store.clone(),
        flush: Flush::new(store.clone(), tokio::runtime::Handle::current()),
        dir: dir.to_owned(),
        name: "sum",
        settings: (),
        began: Instant::now(),
        unsynced: false,
    };
    start(actor, |_| ()).unwrap();
    Running { engine, trouble, told, store }
}

impl Running {
    fn tell(&self, event: Event) {
        self.engine.put(Letter::Event(event), Place::FEW);
    }

    fn hear(&self) -> String {
        self.told.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_survives_a_panic_and_a_restart_and_the_rest_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let sum = running(dir.path()).await;
    sum.tell(Event::Keep(7));
    assert_eq!(sum.hear(), "0: kept 7");
    sum.tell(Event::Panic);
    assert_eq!(sum.hear(), "reset");
    sum.tell(Event::Keep(8));
    sum.tell(Event::Say);
    assert_eq!([sum.hear(), sum.hear()], ["0: kept 8", "0: [7, 8]"]);

    // The thread ends with its mailbox, and the directory is free again.
    let Running { engine, told, store, .. } = sum;
    drop((engine, store));
    assert!(told.recv_timeout(Duration::from_secs(10)).is_err());
    let again = running(dir.path()).await;
    again.tell(Event::Say);
    assert_eq!(again.hear(), "0: [7, 8]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_asked_for_before_a_connection_goes_out_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let sum = running(dir.path()).await;
    for letter in [Letter::Event(Event::Say), Letter::Boundary, Letter::Event(Event::Say)] {
        sum.engine.put(letter, Place::FEW);
    }
    assert_eq!([sum.hear(), sum.hear()], ["0: []", "1: []"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_record_is_said_after_the_objects_are_safe_too() {
    let dir = tempfile::tempdir().unwrap();
    let sum = running(dir.path()).await;
    let content = Bytes::from_static(b"content");
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &content).as_ref());
    sum.store.put(id, content).await.unwrap();
    sum.tell(Event::Keep(201));
    assert_eq!(sum.hear(), "0: kept 201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_did_not_take_what_it_was_given_is_tried_again_with_another_engine_though_nobody_waits_for_it()
 {
    let dir = tempfile::tempdir().unwrap();
    let sum = running(dir.path()).await;
    sum.tell(Event::Keep(7));
    assert_eq!(sum.hear(), "0: kept 7");
    sum.store.fail();
    assert_eq!(sum.hear(), "reset");
    sum.tell(Event::Keep(201));
    sum.tell(Event::Say);
    assert_eq!([sum.hear(), sum.hear()], ["0: kept 201", "0: [7, 201]"]);
    assert_eq!(*sum.trouble.lock().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_nobody_knows_any_more_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "sum").unwrap();
    journal.append(&[vec![1], vec![99], vec![2]]).unwrap();
    drop(journal);
    let sum = running(dir.path()).await;
    sum.tell(Event::Say);
    assert_eq!(sum.hear(), "0: [1, 2]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_can_be_written_it_is_tried_less_and_less_often_and_everybody_hears_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let sum = running(dir.path()).await;
    sum.tell(Event::Keep(7));
    assert_eq!(sum.hear(), "0: kept 7");
    // A directory in the place of the journal's: nothing can be opened there, whoever asks.
    let (state, aside) = (dir.path().join("sum"), dir.path().join("aside"));
    std::fs::rename(&state, &aside).unwrap();
    std::fs::create_dir(&state).unwrap();
    sum.tell(Event::Panic);
    assert_eq!(sum.hear(), "reset");
    let failed = || {
        let words = sum.trouble.lock().unwrap().clone();
        words
            .filter(|words| words.contains("the disk failed") && words.contains(&state.display().to_string()))
    };
    let began = Instant::now();
    while failed().is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", sum.trouble.lock().unwrap());
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..15 {
        std::thread::sleep(Duration::from_millis(100));
        let asked = Instant::now();
        sum.tell(Event::Say);
        assert_eq!(sum.hear(), "reset");
        assert!(asked.elapsed() < PAUSE / 2, "{:?}", asked.elapsed());
    }

    std::fs::remove_dir(&state).unwrap();
    std::fs::rename(&aside, &state).unwrap();
    let began = Instant::now();
    while sum.trouble.lock().unwrap().is_some() {
        assert!(began.elapsed() < LONGEST_PAUSE * 2, "never well again");
        std::thread::sleep(Duration::from_millis(10));
    }
    while sum.told.try_recv().is_ok() {}
    sum.tell(Event::Say);
    assert_eq!(sum.hear(), "0: [7]");
}
