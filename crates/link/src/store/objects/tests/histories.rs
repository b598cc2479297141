//! Random histories of a store, with restarts and damage, against what must be there.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::super::super::support::cases;
use super::*;

/// Lengths of the objects: some small, some in files of their own.
const LENGTHS: [usize; 8] = [0, 1, 900, 3000, 60_000, LARGE - 1, LARGE, 90_000];
const OBJECTS: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    /// Several at the same time.
    PutAll(Vec<u64>),
    PutWrong(u64),
    Get(u64),
    Keep(u64),
    Release(u64),
    Remove(u64),
    Sync,
    Reopen,
    /// The last write to a segment has lost so many bytes, at the next start.
    Tear(u64),
    /// Something else is behind the end of a segment.
    Garbage(Vec<u8>),
    /// In one of the files, at a place as a share of its length, a bit is the other one.
    Flip(usize, f64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..OBJECTS;
    prop_oneof![
        8 => id.clone().prop_map(Step::Put),
        3 => prop::collection::vec(id.clone(), 1..12).prop_map(Step::PutAll),
        1 => id.clone().prop_map(Step::PutWrong),
        6 => id.clone().prop_map(Step::Get),
        3 => id.clone().prop_map(Step::Keep),
        2 => id.clone().prop_map(Step::Release),
        1 => id.prop_map(Step::Remove),
        1 => Just(Step::Sync),
        2 => Just(Step::Reopen),
        1 => (1..5000u64).prop_map(Step::Tear),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Step::Garbage),
        2 => (any::<usize>(), 0.0..1.0, 0..8u8).prop_map(|(file, place, bit)| Step::Flip(file, place, bit)),
    ]
}

struct World {
    dir: tempfile::TempDir,
    limits: Limits,
    store: Option<ObjectStore>,
    objects: Vec<(ObjectId, Bytes)>,
    kept: HashSet<ObjectId>,
    /// What was put while it was kept, or kept while it was there, and has not been damaged or removed.
    must: HashSet<ObjectId>,
}

impl World {
    fn store(&self) -> &ObjectStore {
        self.store.as_ref().unwrap()
    }

    async fn reopen(&mut self) {
        self.store = None;
        let store = open(self.dir.path(), self.limits).await;
        for id in &self.kept {
            store.keep(*id);
        }
        self.store = Some(store);
    }

    /// What may be gone by damage is not a must any more.
    fn excuse(&mut self, excused: impl Fn(usize) -> bool) {
        let lengths: HashMap<_, _> = self.objects.iter().map(|(id, content)| (*id, content.len())).collect();
        self.must.retain(|id| !excused(lengths[id]));
    }

    async fn put(&mut self, n: u64) {
        let (id, content) = self.objects[n as usize].clone();
        let done = self.store().put(id, content).await;
        self.note_put(id, done);
    }

    fn note_put(&mut self, id: ObjectId, done: Result<(), PutError>) {
        match done {
            Ok(()) => {
                assert!(self.store().has(id) || !self.kept.contains(&id));
                if self.kept.contains(&id) {
                    self.must.insert(id);
                }
            }
            Err(PutError::NoRoom) => {
                assert!(!self.kept.contains(&id), "what is kept may go beyond the limit");
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put(n) => {
                let (id, _) = self.objects[n as usize];
                let there = self.store().has(id);
                self.put(n).await;
                let usage = self.store().usage();
                // What was kept and is no longer stays until room is needed for something new.
                if !there && self.store().has(id) {
                    assert!(usage.bytes <= self.limits.bytes.max(usage.kept_bytes), "{usage:?}");
                }
            }
            Step::PutAll(all) => {
                let puts = all.into_iter().map(|n| (self.store().clone(), self.objects[n as usize].clone()));
                let puts: Vec<_> = puts
                    .map(|(store, (id, content))| {
                        tokio::spawn(async move { (id, store.put(id, content).await) })
                    })
                    .collect();
                for put in puts {
                    let (id, done) = put.await.unwrap();
                    self.note_put(id, done);
                }
            }
            Step::PutWrong(n) => {
                let ((id, content), there) =
                    (self.objects[n as usize].clone(), self.store().has(self.objects[n as usize].0));
                let wrong = [&content[..], b"!"].concat();
                let done = self.store().put(id, wrong.into()).await;
                assert!(matches!(done, Err(PutError::WrongHash)));
                assert_eq!(self.store().has(id), there);
            }
            Step::Get(n) => {
                let (id, content) = self.objects[n as usize].clone();
                let there = self.store().has(id);
                let found = self.store().get(id).await;
                assert!(there || found.is_none());
                assert!(found.is_none_or(|found| found == content));
            }
            Step::Keep(n) => {
                let id = self.objects[n as usize].0;
                self.store().keep(id);
                self.kept.insert(id);
                // Only what can be read is sure to be there.
                if self.store().get(id).await.is_some() {
                    self.must.insert(id);
                }
            }
            Step::Release(n) => {
                let id = self.objects[n as usize].0;
                self.store().release(id);
                self.kept.remove(&id);
                self.must.remove(&id);
            }
            Step::Remove(n) => {
                let id = self.objects[n as usize].0;
                self.store().remove(id).await;
                self.must.remove(&id);
                assert!(!self.store().has(id));
            }
            Step::Sync => self.store().sync().await.unwrap(),
            Step::Reopen => self.reopen().await,
            Step::Tear(bytes) => {
                self.store = None;
                if let Some(last) = files(self.dir.path(), "segment-").last() {
                    let file = std::fs::OpenOptions::new().write(true).open(last).unwrap();
                    file.set_len(file.metadata().unwrap().len().saturating_sub(bytes)).unwrap();
                    self.excuse(|length| length < LARGE);
                }
                self.reopen().await;
            }
            Step::Garbage(bytes) => {
                self.store = None;
                for file in files(self.dir.path(), "segment-") {
                    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
                    file.write_all_at(&bytes, file.metadata().unwrap().len()).unwrap();
                }
                self.reopen().await;
            }
            Step::Flip(number, place, bit) => {
                let mut all = files(self.dir.path(), "");
                all.retain(|file| std::fs::metadata(file).unwrap().len() > 0);
                if all.is_empty() {
                    return;
                }
                let path = &all[number % all.len()];
                let name = path.file_name().unwrap().to_str().unwrap();
                let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
                let at = (file.metadata().unwrap().len() as f64 * place) as u64;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                match name.split_once('.').and_then(|(id, _)| id.parse::<ObjectId>().ok()) {
                    // A store that runs relies on what it has verified, until it reads it.
                    Some(id) => {
                        self.must.remove(&id);
                        assert_eq!(self.store().get(id).await, None);
                        assert!(!self.store().has(id));
                    }
                    None if name == "key" => {
                        self.must.clear();
                        self.reopen().await;
                    }
                    None => {
                        self.excuse(|length| length < LARGE);
                        self.reopen().await;
                    }
                }
            }
        }
        for id in &self.must {
            assert!(self.store().has(*id));
        }
    }

    async fn check(&self) {
        let store = self.store();
        let usage = store.usage();
        let there: Vec<_> = self.objects.iter().filter(|(id, _)| store.has(*id)).collect();
        assert_eq!(usage.objects, there.len() as u64);
        assert_eq!(usage.bytes, there.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
        let large = there.iter().filter(|(_, content)| content.len() >= LARGE).count();
        let in_files = files(self.dir.path(), "").into_iter().filter(|file| {
            file.file_name().unwrap().to_str().unwrap().split_once('.').is_some_and(|(id, _)| id.len() == 64)
        });
        assert_eq!(in_files.count(), large, "no file is left behind");
        assert!(store.0.flights.is_empty());
        for (id, content) in &self.objects {
            let found = store.get(*id).await;
            assert!(found.is_some() || !self.must.contains(id));
            assert!(found.is_none_or(|found| found == content));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(25), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_wrong_is_served_and_nothing_kept_is_lost(
        steps in prop::collection::vec(step(), 1..60),
        encrypt: bool,
        memory in prop_oneof![Just(0), Just(100_000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let limits = Limits { bytes: 400_000, objects: 20, memory, encrypt, ..LIMITS };
            let objects = (0..OBJECTS).map(|n| object(n, LENGTHS[n as usize % 8] + n as usize / 8 * 11)).collect();
            let store = Some(open(dir.path(), limits).await);
            let (kept, must) = (HashSet::new(), HashSet::new());
            let mut world = World { dir, limits, store, objects, kept, must };
            for step in steps {
                world.step(step).await;
            }
            world.check().await;
            world.reopen().await;
            world.check().await;
        });
    }
}
