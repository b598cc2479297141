//! What journal and store said `Ok` for is there after a `kill -9` at any moment.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the helpers of a test may panic, and print, too"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use onefed_link::engine::Shelf as _;
use onefed_link::store::{Journal, Limits, ObjectStore};

const DIR: &str = "ONEFED_TEST_KILLED_DIR";
const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    objects: 100_000,
    reserve_free_bytes: 0,
    memory: 0,
    handover: 0,
    encrypt: true,
};

fn object(number: u64) -> (ObjectId, Bytes) {
    let length = [10, 700, 3000, 50_000, 100_000, 300_000][number as usize % 6];
    let content: Bytes = (0..length).map(|n: u64| (n * (number + 3)) as u8 ^ number as u8).collect();
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &content).as_ref());
    (id, content)
}

/// What the process that is killed does: it stores objects and writes records, and says so when it was told `Ok`.
async fn work(dir: &Path) {
    let (mut journal, records) = Journal::open(dir, "journal").unwrap();
    let store = ObjectStore::open(dir.join("objects"), LIMITS).await.unwrap();
    let start = records.len() as u64 * 8;
    for first in (start..).step_by(8) {
        let puts: Vec<_> = (first..first + 8)
            .map(|number| (store.clone(), number))
            .map(|(store, number)| {
                tokio::spawn(async move {
                    let (id, content) = object(number);
                    store.put(id, content).await.unwrap();
                    println!("put {number}");
                })
            })
            .collect();
        for put in puts {
            put.await.unwrap();
        }
        journal.append(&[first.to_le_bytes().to_vec()]).unwrap();
        println!("record {first}");
        if journal.bytes() > 400 {
            // Compaction: the same records once more, under new names in the file.
            let all: Vec<_> = (0..=first / 8).map(|n| (n * 8).to_le_bytes().to_vec()).collect();
            journal.rewrite(&all).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_survives_a_kill() {
    if let Some(dir) = std::env::var_os(DIR) {
        return work(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut puts, mut records) = (Vec::new(), 0);
    for lines in [3, 17, 40, 61, 25] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_promised_survives_a_kill", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said = said.filter_map(|line| {
            // The first line may begin with the test's name.
            let mut words = line.rsplit(' ');
            let number: u64 = words.next()?.parse().ok()?;
            let kind = words.next()?.to_owned();
            (kind == "put" || kind == "record").then_some((kind, number))
        });
        let mut note = |(kind, number): (String, u64)| {
            if kind == "put" {
                puts.push(number);
            } else {
                records = number / 8 + 1;
            }
        };
        said.by_ref().take(lines).for_each(&mut note);
        child.kill().unwrap();
        // What it said before it died counts, too.
        said.for_each(&mut note);
        child.wait().unwrap();
        let (_, found) = Journal::open(dir.path(), "journal").unwrap();
        // One more may have been written, and not said.
        assert!(
            found.len() as u64 == records || found.len() as u64 == records + 1,
            "{} {records}",
            found.len()
        );
        for (n, record) in found.iter().enumerate() {
            assert_eq!(record[..], (n as u64 * 8).to_le_bytes());
        }
        let store = ObjectStore::open(dir.path().join("objects"), LIMITS).await.unwrap();
        for number in &puts {
            let (id, content) = object(*number);
            assert!(store.has(id));
            assert_eq!(store.get(id).await, Some(content));
        }
        assert_eq!(store.usage().damaged, 0);
    }
    assert!(puts.len() > 100);
}
