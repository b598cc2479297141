//! What it costs to store objects and to read them: `cargo bench -p onefed-link --bench store`.
//!
//! Per case: time of put, sync and get, and the CPU seconds per GB of it all; beside it what SHA-256 alone costs, which
//! each object needs once when it is put, and once more per get unless it is encrypted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and may fail by a panic"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use onefed_link::store::{Limits, ObjectStore};
use ring::digest;

type Objects = Vec<(ObjectId, Bytes)>;

fn sha256(content: &[u8]) -> ObjectId {
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    id
}

/// Contents that no disk can compress, other ones for each seed.
fn objects(seed: u64, count: usize, length: usize) -> Objects {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let one = |_| -> (ObjectId, Bytes) {
        let content: Bytes = (0..length).map(|_| next()).collect();
        (sha256(&content), content)
    };
    (0..count).map(one).collect()
}

/// CPU time of this process, user and system, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn anonymous_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.trim_start_matches("RssAnon:").trim().to_owned()
}

/// Puts and gets so many at a time.
const AT_ONCE: usize = 64;

async fn put_all(store: &ObjectStore, all: &Objects) {
    for some in all.chunks(AT_ONCE) {
        let puts: Vec<_> = some
            .iter()
            .cloned()
            .map(|(id, content)| (store.clone(), id, content))
            .map(|(store, id, content)| tokio::spawn(async move { store.put(id, content).await }))
            .collect();
        for put in puts {
            put.await.unwrap().unwrap();
        }
    }
}

#[derive(Default)]
struct Cost {
    put: (Duration, Duration),
    sync: (Duration, Duration),
    get: (Duration, Duration),
    sha: (Duration, Duration),
}

fn spent(into: &mut (Duration, Duration), wall: Instant, cpu_before: Duration) {
    into.0 += wall.elapsed();
    into.1 += cpu() - cpu_before;
}

async fn case(name: &str, rounds: u64, count: usize, length: usize, encrypt: bool) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let limits =
        Limits { bytes: 8 << 30, objects: 100_000, reserve_free_bytes: 0, memory: 0, handover: 0, encrypt };
    let store = ObjectStore::open(dir.path(), limits).await.unwrap();
    store.sync().await.unwrap();
    let mut cost = Cost::default();
    for round in 0..rounds {
        let all = objects(round, count, length);
        let (wall, before) = (Instant::now(), cpu());
        put_all(&store, &all).await;
        spent(&mut cost.put, wall, before);
        let (wall, before) = (Instant::now(), cpu());
        store.sync().await.unwrap();
        spent(&mut cost.sync, wall, before);
        let (wall, before) = (Instant::now(), cpu());
        for (id, _) in &all {
            assert_eq!(store.get(*id).await.unwrap().len(), length);
        }
        spent(&mut cost.get, wall, before);
        let (wall, before) = (Instant::now(), cpu());
        assert!(all.iter().all(|(id, content)| sha256(content) == *id));
        spent(&mut cost.sha, wall, before);
    }
    let bytes = rounds as f64 * count as f64 * length as f64;
    let line = |what: &str, (wall, cpu): (Duration, Duration)| {
        println!(
            "{name:<28} {what:<8} {:>8.1} MB/s {:>10.0} objects/s {:>8.2} CPU-s/GB",
            bytes / 1e6 / wall.as_secs_f64(),
            rounds as f64 * count as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() / (bytes / 1e9),
        );
    };
    line("put", cost.put);
    line("sync", cost.sync);
    line("get", cost.get);
    line("(sha256)", cost.sha);
    println!("{name:<28} memory   {}", anonymous_memory());
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for encrypt in [false, true] {
        let how = if encrypt { "encrypted" } else { "plain" };
        runtime.block_on(case(&format!("100 MB of 5 MiB, {how}"), 5, 20, 5 << 20, encrypt));
        runtime.block_on(case(&format!("1000 x 1 kB, {how}"), 20, 1000, 1000, encrypt));
    }
}
