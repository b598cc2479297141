//! The fuzzer's corpus through the fuzzer's own functions, with the stable compiler: each file as it is, and some changes
//! of each. `ONEFED_CASES` says how many.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[allow(unreachable_pub, reason = "it is a crate of its own, too")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

/// Changes of each file, where `ONEFED_CASES` does not say how many.
const CASES: u64 = 100;
/// More would not be small any more.
const LARGEST: u64 = 16 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").canonicalize().unwrap()
}

/// The names in a directory, without their endings.
fn names(dir: &Path) -> BTreeSet<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
    };
    std::fs::read_dir(dir).unwrap().map(name).collect()
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> =
        std::fs::read_dir(fuzz().join("corpus").join(target)).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let file = |file: std::fs::DirEntry| {
        assert!(file.metadata().unwrap().len() <= LARGEST, "{file:?} is too large for a corpus");
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
    };
    files.into_iter().map(file).collect()
}

#[test]
fn every_target_has_an_entry_point_and_a_corpus() {
    let all: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), all);
    assert_eq!(names(&fuzz().join("corpus")), all);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in &all {
        assert!(manifest.contains(&format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"")));
        let entry = std::fs::read_to_string(fuzz().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(entry.contains(&format!("onefed_fuzz::{target}(data)")));
        assert!(corpus(target).len() >= 20, "the corpus of {target} is thin");
    }
}

#[test]
fn the_corpus_and_changes_of_it_are_read_without_harm() {
    let cases = std::env::var("ONEFED_CASES").ok().map_or(CASES, |cases| cases.parse().unwrap());
    for (name, target) in TARGETS {
        let files = corpus(name);
        for (at, (file, bytes)) in files.iter().enumerate() {
            check(name, target, file, bytes);
            for case in 0..cases {
                let (_, other) = &files[(at + case as usize) % files.len()];
                let mut dice = Dice(case ^ (at as u64) << 32);
                check(name, target, &format!("{file}, change {case}"), &dice.change(bytes, other));
            }
        }
    }
}

fn check(name: &str, target: fn(&[u8]), what: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(|| target(bytes)) {
        let words =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        panic!("{name}: {what}: {}\n{:?}", words.unwrap_or_default(), bytes.escape_ascii().to_string());
    }
}

/// Numbers that look random, the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
    }

    /// The bytes with one to four changes; some take a piece of another file.
    fn change(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(6) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.roll(5)],
                3 => bytes.insert(at.min(bytes.len()), self.roll(256) as u8),
                4 if !bytes.is_empty() => drop(bytes.drain(at..(at + 1 + self.roll(8)).min(bytes.len()))),
                _ => {
                    let from = self.roll(other.len());
                    let piece = &other[from..(from + self.roll(64)).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}
