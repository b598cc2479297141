//! What a store promises.

mod histories;

use std::path::Path;

use super::super::support::small_disk;
use super::keeper::{UNUSED_HOURS, sha256};
use super::*;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    objects: 1000,
    reserve_free_bytes: 0,
    memory: 1 << 16,
    handover: 0,
    encrypt: false,
};
const SEALED: Limits = Limits { encrypt: true, ..LIMITS };

fn object(seed: u64, length: usize) -> (ObjectId, Bytes) {
    let content: Bytes =
        (0..length as u64).map(|n| (n.wrapping_mul(seed + 7) >> 3) as u8 ^ seed as u8).collect();
    (sha256(&content), content)
}

async fn open(dir: &Path, limits: Limits) -> ObjectStore {
    ObjectStore::open(dir, limits).await.unwrap()
}

/// The files of a store whose name begins so.
fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    files.sort();
    files
}

#[tokio::test]
async fn objects_survive_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    for limits in [LIMITS, SEALED] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("objects");
        let all: Vec<_> = (0..5).map(|seed| object(seed, 1 << (4 * seed))).collect();
        let store = open(&dir, limits).await;
        for (id, content) in &all {
            assert!(!store.has(*id));
            store.put(*id, content.clone()).await.unwrap();
            assert!(store.has(*id));
        }
        store.sync().await.unwrap();
        let before = store.usage();
        assert_eq!((before.objects, before.bytes), (5, 0x11111));
        drop(store);
        std::fs::write(dir.join("77.part"), "half of something").unwrap();
        let store = open(&dir, limits).await;
        assert!(!dir.join("77.part").exists());
        assert_eq!(Usage { memory_bytes: before.memory_bytes, ..store.usage() }, before);
        for (id, content) in &all {
            assert_eq!(store.get(*id).await.as_ref(), Some(content));
        }
        for file in files(&dir, "") {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        store.remove(all[0].0).await;
        assert_eq!(store.get(all[0].0).await, None);
        assert!(store.0.flights.is_empty());
        let busy = ObjectStore::open(&dir, limits).await.err().unwrap();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
    }
}

#[tokio::test]
async fn a_wrong_hash_is_never_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    for length in [100, LARGE] {
        let ((id, right), (_, wrong)) = (object(1, length), object(2, length));
        assert!(matches!(store.put(id, wrong.clone()).await, Err(PutError::WrongHash)));
        assert!(!store.has(id));
        store.put(id, right.clone()).await.unwrap();
        assert!(matches!(store.put(id, wrong.slice(1..)).await, Err(PutError::WrongHash)));
        assert_eq!(store.get(id).await, Some(right));
    }
}

#[tokio::test]
async fn what_was_just_stored_is_read_once_without_the_disk_and_then_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Limits { handover: 3 * LARGE as u64, ..SEALED }).await;
    let all: Vec<_> = (0..4).map(|seed| object(seed, LARGE)).collect();
    let began = std::time::Instant::now();
    for (id, content) in &all {
        store.put(*id, content.clone()).await.unwrap();
    }
    let held = store.usage().memory_bytes;
    for (id, content) in &all {
        assert_eq!(store.get(*id).await.as_ref(), Some(content));
    }
    assert_eq!(store.usage().memory_bytes, 0);
    if began.elapsed() < SOON {
        // There was no room for the last one.
        assert_eq!(held, 3 * LARGE as u64);
    }
    for (id, content) in &all {
        assert_eq!(store.get(*id).await.as_ref(), Some(content));
        std::fs::remove_file(&files(dir.path(), &id.to_string())[0]).unwrap();
        assert_eq!(store.get(*id).await, None);
        store.put(*id, content.clone()).await.unwrap();
    }
    store.remove(all[0].0).await;
    assert_eq!(store.get(all[0].0).await, None);
    assert!(store.usage().memory_bytes <= 2 * LARGE as u64);
    let waited = tokio::time::Instant::now();
    while store.usage().memory_bytes > 0 {
        assert!(waited.elapsed() < 10 * SOON, "what nobody reads stays");
        tokio::time::sleep(SOON / 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_meet_share_one_write_and_one_read() {
    let dir = tempfile::tempdir().unwrap();
    let (id, content) = object(1, 2 << 20);
    let wrong = object(2, content.len()).1;
    let limits = Limits { bytes: 8 << 20, ..LIMITS };
    let store = open(dir.path(), limits).await;
    // One of them lies; the others must not suffer from it.
    let puts = (0..20).map(|n| (store.clone(), if n == 0 { wrong.clone() } else { content.clone() }));
    let puts: Vec<_> =
        puts.map(|(store, content)| tokio::spawn(async move { store.put(id, content).await })).collect();
    for (n, put) in puts.into_iter().enumerate() {
        assert!(put.await.unwrap().is_ok() || n == 0);
    }
    assert_eq!(files(dir.path(), &id.to_string()).len(), 1);
    let seat = store.0.flights.enter(id).await;
    let gets: Vec<_> = (0..20)
        .map(|_| store.clone())
        .map(|store| tokio::spawn(async move { store.get(id).await }))
        .collect();
    while store.0.flights.waiting(id) < 20 {
        tokio::task::yield_now().await;
    }
    drop(seat);
    let mut found = Vec::new();
    for get in gets {
        found.push(get.await.unwrap().unwrap());
    }
    assert!(found.iter().all(|got| got.as_ptr() == found[0].as_ptr() && *got == content));
    assert!(store.0.flights.is_empty());
}

#[tokio::test]
async fn small_objects_share_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Limits { memory: 0, ..LIMITS }).await;
    let all: Vec<_> = (0..500).map(|seed| object(seed, 1000)).collect();
    let puts: Vec<_> = all
        .iter()
        .cloned()
        .map(|(id, content)| (store.clone(), id, content))
        .map(|(store, id, content)| tokio::spawn(async move { store.put(id, content).await }))
        .collect();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    assert_eq!(files(dir.path(), "segment-").len(), 1);
    assert_eq!(files(dir.path(), "").len(), 2, "and the lock");
    for (id, content) in &all {
        assert_eq!(store.get(*id).await.as_ref(), Some(content));
    }
}

#[tokio::test]
async fn segments_that_are_mostly_unused_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 4 << 20, ..LIMITS };
    let store = open(dir.path(), limits).await;
    let (kept, content) = object(1, 500);
    store.keep(kept);
    store.put(kept, content.clone()).await.unwrap();
    for seed in 2..800 {
        let (id, content) = object(seed, 60_000);
        store.put(id, content).await.unwrap();
        let on_disk: u64 =
            files(dir.path(), "segment-").iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        let usage = store.usage();
        assert!(usage.bytes <= limits.bytes);
        assert!(on_disk <= 2 * limits.bytes + (9 << 20), "{on_disk}");
        assert!(usage.unused_bytes < on_disk);
    }
    assert!(store.usage().evictions > 700);
    drop(store);
    let store = open(dir.path(), limits).await;
    assert_eq!(store.get(kept).await, Some(content));
}

#[tokio::test]
async fn what_is_encrypted_is_read_without_the_setting_and_not_without_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let all = [object(1, 300), object(2, 300_000), object(3, 300), object(4, 300_000)];
    for (limits, some) in [(SEALED, &all[..2]), (LIMITS, &all[2..])] {
        let store = open(dir.path(), limits).await;
        for (id, content) in some {
            store.put(*id, content.clone()).await.unwrap();
        }
    }
    let disk: Vec<u8> = files(dir.path(), "").iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let shows = |content: &Bytes| disk.windows(100).any(|window| window == &content[100..200]);
    assert_eq!([0, 1, 2, 3].map(|n: usize| shows(&all[n].1)), [false, false, true, true]);
    let store = open(dir.path(), LIMITS).await;
    for (id, content) in &all {
        assert_eq!(store.get(*id).await.as_ref(), Some(content));
    }
    drop(store);
    std::fs::remove_file(dir.path().join("key")).unwrap();
    for limits in [SEALED, LIMITS] {
        let store = open(dir.path(), limits).await;
        let mut found = Vec::new();
        for (id, _) in &all {
            found.push(store.get(*id).await.is_some());
        }
        assert_eq!(found, [false, false, true, true]);
    }
}

#[tokio::test]
async fn a_full_disk_evicts_and_then_says_so() {
    let name = "store::objects::tests::a_full_disk_evicts_and_then_says_so";
    let Some(dir) = small_disk(name, "16m") else { return };
    let limits = Limits { bytes: 1 << 30, reserve_free_bytes: 2 << 20, ..LIMITS };
    let store = open(&dir.join("objects"), limits).await;
    let all: Vec<_> = (0..24).map(|seed| object(seed, 1 << 20)).collect();
    for (id, content) in &all {
        store.put(*id, content.clone()).await.unwrap();
    }
    assert_eq!(store.usage().evictions, 24 - 14, "the reserve is not ours");
    assert!(store.room(), "all of it may be evicted");
    for (id, _) in &all {
        store.keep(*id);
    }
    assert!(!store.room());
    for (number, length) in [(100, 1 << 20), (101, 60_000)] {
        let (id, content) = object(number, length);
        store.keep(id);
        assert!(matches!(store.put(id, content).await, Err(PutError::NoRoom)));
    }
    // Somebody else takes the reserve, and more than statvfs would have us believe is not there.
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap();
    store.release(all[23].0);
    let (id, content) = object(102, 1 << 19);
    assert!(matches!(store.put(id, content.clone()).await, Err(PutError::NoRoom)));
    std::fs::remove_file(filler).unwrap();
    store.put(id, content.clone()).await.unwrap();
    assert!(!store.has(all[23].0) && store.has(all[22].0));
    store.sync().await.unwrap();
    assert_eq!(store.get(id).await, Some(content));
    assert!(files(&dir.join("objects"), "").iter().all(|file| !file.to_str().unwrap().ends_with(".part")));
}

#[tokio::test]
async fn what_was_not_used_for_a_while_is_not_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMITS).await;
    let (id, content) = object(1, 1000);
    store.put(id, content.clone()).await.unwrap();
    assert_eq!(store.usage().memory_bytes, 1000);
    // What is at hand is found without the disk.
    let segment = files(dir.path(), "segment-").remove(0);
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, "").unwrap();
    assert_eq!(store.get(id).await, Some(content.clone()));
    assert!(store.0.keeper.memory().sweep());
    assert!(!store.0.keeper.memory().sweep());
    assert_eq!(store.usage().memory_bytes, 0);
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(store.get(id).await, Some(content));
    std::fs::write(&segment, "").unwrap();
    store.0.keeper.memory().remove(id);
    assert_eq!(store.get(id).await, None);
    assert_eq!((store.usage().damaged, store.has(id)), (1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_a_time_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Limits { bytes: 500_000, objects: 20, ..SEALED }).await;
    let lengths = [0, 1, 900, 3000, 60_000, LARGE - 1, LARGE, 90_000];
    let objects: Arc<[_]> = (0..32).map(|n| object(n, lengths[n as usize % 8])).collect();
    let worker = |seed: u64| {
        let (store, objects) = (store.clone(), Arc::clone(&objects));
        async move {
            let mut state = seed;
            let mut served = 0;
            for _ in 0..250 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (id, content) = &objects[(state >> 40) as usize % objects.len()];
                match (state >> 33) % 16 {
                    0..6 => match store.put(*id, content.clone()).await {
                        Ok(()) | Err(PutError::NoRoom) => {}
                        Err(error) => panic!("seed {seed}: {error}"),
                    },
                    6..12 => {
                        let found = store.get(*id).await;
                        served += usize::from(found.is_some());
                        assert!(found.is_none_or(|found| found == content), "seed {seed}");
                    }
                    12 => store.keep(*id),
                    13 => store.release(*id),
                    14 => store.remove(*id).await,
                    _ => store.sync().await.unwrap(),
                }
            }
            served
        }
    };
    let workers: Vec<_> = (0..8).map(|seed| tokio::spawn(worker(seed))).collect();
    let mut served = 0;
    for worker in workers {
        let done = tokio::time::timeout(Duration::from_secs(120), worker);
        served += done.await.expect("nobody waits for ever").unwrap();
    }
    assert!(served > 100);
    let usage = store.usage();
    // The empty ones are one object.
    let there = objects.iter().filter(|(id, _)| store.has(*id)).map(|(id, content)| (*id, content));
    let there: std::collections::BTreeMap<_, _> = there.collect();
    assert_eq!(usage.objects, there.len() as u64);
    assert_eq!(usage.bytes, there.values().map(|content| content.len() as u64).sum::<u64>());
    assert_eq!(usage.damaged, 0);
    assert_eq!(files(dir.path(), "").iter().filter(|file| file.extension().is_some()).count(), {
        there.values().filter(|content| content.len() >= LARGE).count()
    });
    assert!(store.0.flights.is_empty());
}

#[tokio::test]
async fn what_nobody_has_used_for_three_days_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), SEALED).await;
    // Small and large; of each one that is used, one that is kept, and one that is neither.
    let all: Vec<_> = (0..6u64).map(|seed| object(seed, if seed < 3 { 900 } else { 90_000 })).collect();
    for (id, content) in &all {
        store.put(*id, content.clone()).await.unwrap();
    }
    for at in [1, 4] {
        store.keep(all[at].0);
    }
    for hour in 0..=UNUSED_HOURS {
        assert!(all.iter().all(|(id, _)| store.has(*id)), "{hour}");
        if hour == UNUSED_HOURS / 2 {
            for at in [0, 3] {
                store.get(all[at].0).await.unwrap();
            }
        }
        store.0.keeper.hour();
    }
    let there: Vec<_> = all.iter().map(|(id, _)| store.has(*id)).collect();
    assert_eq!(there, [true, true, false, true, true, false]);
    assert_eq!(store.usage().evictions, 0, "there was room");
    let large = all[5].0.to_string();
    assert!(files(dir.path(), &large).is_empty());
    (0..UNUSED_HOURS).for_each(|_| store.0.keeper.hour());
    for at in [1, 4] {
        assert!(store.has(all[at].0));
        store.release(all[at].0);
    }
    store.0.keeper.hour();
    assert_eq!(store.usage().objects, 0);
}

#[tokio::test]
async fn a_sync_that_was_not_tried_is_made_up_for_and_one_that_failed_is_remembered_until_all_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (here, aside) = (dir.path().join("objects"), dir.path().join("aside"));
    let store = open(&here, LIMITS).await;
    let (id, content) = object(1, 1 << 20);
    store.put(id, content.clone()).await.unwrap();
    store.keep(id);
    std::fs::rename(&here, &aside).unwrap();
    assert!(store.sync().await.is_err());
    std::fs::rename(&aside, &here).unwrap();
    store.sync().await.unwrap();

    store.fail();
    assert!(store.sync().await.is_err() && !store.room());
    assert!(store.usage().kept_bytes > 0);
    assert!(store.check().is_err());
    store.begin_again();
    store.sync().await.unwrap();
    assert!(store.usage().kept_bytes > 0, "until the next engine is there");
    store.begun();
    assert!(store.room());
    assert_eq!((store.usage().kept_bytes, store.get(id).await), (0, Some(content)));
    store.begin_again();
    store.keep(id);
    store.begun();
    assert!(store.usage().kept_bytes > 0, "the next engine keeps it, too");
}
