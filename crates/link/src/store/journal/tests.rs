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
