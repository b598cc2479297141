//! What a journal promises.

use super::*;

fn reopen(dir: &Path) -> (Journal, Vec<Bytes>) {
    Journal::open(dir, "spoke").unwrap()
}

fn records(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn records_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, found) = reopen(dir.path());
    assert!(found.is_empty());
    journal.append(&records(&["one", "", "two"])).unwrap();
    journal.append(&records(&["three"])).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (journal, found) = reopen(dir.path());
    assert_eq!(found, ["one", "", "two", "three"]);
    assert_eq!(journal.bytes(), (4 * HEADER + 11) as u64);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _first = reopen(dir.path());
    let second = Journal::open(dir.path(), "spoke").err().unwrap();
    assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
    assert!(Journal::open(dir.path(), "hub").is_ok(), "another journal may be beside it");
}

#[test]
fn a_rewrite_replaces_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopen(dir.path());
    journal.append(&records(&["one", "two", "three"])).unwrap();
    journal.rewrite(&records(&["both"])).unwrap();
    assert_eq!(journal.bytes(), journal.bytes_after_rewrite());
    journal.append(&records(&["four"])).unwrap();
    assert!(journal.room());
    drop(journal);
    let (mut journal, found) = reopen(dir.path());
    assert_eq!(found, ["both", "four"]);
    journal.rewrite(&[]).unwrap();
    drop(journal);
    assert!(reopen(dir.path()).1.is_empty());
}

/// Fills the file system of a directory to the last byte; returns the file that does.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    for block in [1 << 16, 1 << 12, 1] {
        while std::io::Write::write_all(&mut file, &vec![1; block]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_does_not_stop_what_was_begun() {
    let name = "store::journal::tests::a_full_disk_does_not_stop_what_was_begun";
    let Some(dir) = super::super::support::small_disk(name, "16m") else { return };
    let (mut journal, _) = reopen(&dir);
    journal.append(&[vec![1; 3 << 20]]).unwrap();
    assert!(journal.room());
    let filler = fill(&dir);
    // Half of what is set aside is for this, and all of it is there.
    let record = vec![2; 1000];
    let mut written = 0;
    while written < (RESERVE / 2) as usize {
        journal.append(std::slice::from_ref(&record)).unwrap();
        written += record.len();
    }
    assert!(!journal.room(), "no new work is to be accepted any more");
    // A compaction goes on in the spare file.
    journal.rewrite(std::slice::from_ref(&record)).unwrap();
    assert!(journal.room(), "the old file has made room");
    let failed = loop {
        let before = journal.bytes();
        if let Err(error) = journal.append(&[vec![3; 100_000], record.clone()]) {
            assert_eq!(journal.bytes(), before);
            break error;
        }
    };
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    let bytes = journal.bytes();
    assert_eq!(std::fs::metadata(&journal.path).unwrap().len(), bytes, "no half record is left");
    std::fs::remove_file(filler).unwrap();
    journal.append(std::slice::from_ref(&record)).unwrap();
    assert!(journal.room());
    drop(journal);
    let (journal, found) = reopen(&dir);
    assert_eq!(found.first().unwrap(), &record);
    assert_eq!(found.last().unwrap(), &record);
    assert_eq!(journal.bytes(), bytes + (HEADER + record.len()) as u64);
}

#[test]
fn damage_in_the_middle_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..3 {
        let (mut journal, _) = reopen(dir.path());
        journal.rewrite(&records(&["one", "two", "three"])).unwrap();
        let at = (HEADER + 3 + HEADER + 1) as u64;
        journal.file.write_all_at(b"!", at).unwrap();
        drop(journal);
        let (journal, found) = reopen(dir.path());
        assert_eq!(found, ["one"]);
        assert_eq!(journal.bytes(), (HEADER + 3) as u64);
        let aside = std::fs::read(dir.path().join(format!("spoke.damaged-{number}"))).unwrap();
        assert_eq!(aside.len(), 2 * HEADER + 8);
        assert!(aside.ends_with(b"three"));
    }
}

mod any_history {
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;

    use super::super::super::support::cases;
    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<Vec<u8>>),
        Rewrite(Vec<Vec<u8>>),
        Sync,
        Reopen,
        /// So many bytes of the last write are missing.
        Tear(usize),
        /// Something else is behind the end.
        Garbage(Vec<u8>),
        /// A bit at this place, as a share of the length, is the other one.
        Flip(f64, u8),
    }

    fn some_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Records that contain the magic of a header are the mean ones.
        let record = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            Just(MAGIC.to_vec()),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|payload| encode(&[payload]).unwrap()),
        ];
        prop::collection::vec(record, 0..5)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => some_records().prop_map(Step::Append),
            1 => some_records().prop_map(Step::Rewrite),
            1 => Just(Step::Sync),
            2 => Just(Step::Reopen),
            1 => (1..80usize).prop_map(Step::Tear),
            1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Step::Garbage),
            1 => (0.0..1.0, 0..8u8).prop_map(|(place, bit)| Step::Flip(place, bit)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(40), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_was_written_is_read(steps in prop::collection::vec(step(), 1..30)) {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = reopen(dir.path()).0;
            let mut model: Vec<Vec<u8>> = Vec::new();
            for step in steps {
                let file = journal.file.try_clone().unwrap();
                let end = journal.end;
                match step {
                    Step::Append(more) => {
                        journal.append(&more).unwrap();
                        model.extend(more);
                        continue;
                    }
                    Step::Rewrite(all) => {
                        journal.rewrite(&all).unwrap();
                        model = all;
                        continue;
                    }
                    Step::Sync => {
                        journal.sync().unwrap();
                        continue;
                    }
                    Step::Reopen => {}
                    Step::Tear(bytes) => {
                        let left = end.saturating_sub(bytes as u64);
                        file.set_len(left).unwrap();
                        keep_up_to(&mut model, left);
                    }
                    Step::Garbage(bytes) => file.write_all_at(&bytes, end).unwrap(),
                    Step::Flip(_, _) if end == 0 => {}
                    Step::Flip(place, bit) => {
                        let at = (end as f64 * place) as u64;
                        let mut byte = [0];
                        file.read_exact_at(&mut byte, at).unwrap();
                        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                        keep_up_to(&mut model, at);
                    }
                }
                drop(file);
                drop(journal);
                let (again, found) = reopen(dir.path());
                journal = again;
                prop_assert_eq!(&found, &model);
                prop_assert_eq!(journal.bytes(), journal.file.metadata().unwrap().len());
            }
        }
    }

    /// Drops the records that do not end before this place.
    fn keep_up_to(model: &mut Vec<Vec<u8>>, bytes: u64) {
        let mut end = 0;
        let whole = model.iter().take_while(|record| {
            end += HEADER + record.len();
            end as u64 <= bytes
        });
        let whole = whole.count();
        model.truncate(whole);
    }
}
