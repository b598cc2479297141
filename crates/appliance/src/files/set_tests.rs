//! Tests of sets of files; and the crashes that other tests let happen.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

thread_local! {
    static POINTS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

pub(crate) fn crash_point() {
    POINTS_LEFT.with(|left| match left.get() {
        Some(0) => {
            left.set(None);
            std::panic::resume_unwind(Box::new("crash"));
        }
        Some(number) => left.set(Some(number - 1)),
        None => {}
    });
}

/// Runs something that dies at the given point. `Ok` if it came to its end before.
pub(crate) fn crashing_at<T>(point: u32, work: impl FnOnce() -> T) -> Result<T, ()> {
    POINTS_LEFT.with(|left| left.set(Some(point)));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    POINTS_LEFT.with(|left| left.set(None));
    outcome.map_err(|_| ())
}

fn members(content: &'static str) -> [Member<'static>; 2] {
    [
        Member { name: "server.key", content: content.as_bytes(), readers: Readers::Owner },
        Member { name: "server.pem", content: content.as_bytes(), readers: Readers::All },
    ]
}

#[test]
fn a_set_is_replaced_whole_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let set = FileSet::at(dir.path().join("tls"));
    assert_eq!(set.read(["server.key"]).unwrap(), [None]);
    let meta = std::fs::metadata(dir.path()).unwrap();
    let owner = Owner { uid: meta.uid(), gid: meta.gid() };
    for content in ["one", "two", "three"] {
        set.replace(&members(content), Some(owner)).unwrap();
        let want = [Some(content.to_owned()), Some(content.to_owned()), None];
        assert_eq!(set.read(["server.key", "server.pem", "other"]).unwrap(), want);
        assert_eq!(std::fs::read_to_string(set.path("server.pem")).unwrap(), content);
    }
    let mode = |name| std::fs::metadata(set.path(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("server.key"), mode("server.pem")), (0o600, 0o644));
    let mut left: Vec<_> = std::fs::read_dir(dir.path().join("tls"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["3", "current", "lock"]);
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_set() {
    let mut points = 0;
    let (mut old_seen, mut new_seen) = (0, 0);
    loop {
        let dir = tempfile::tempdir().unwrap();
        let set = FileSet::at(dir.path());
        set.replace(&members("old"), None).unwrap();
        // What an earlier crash left is in the way as well.
        std::fs::create_dir(dir.path().join("2")).unwrap();
        std::fs::write(dir.path().join("2/server.key"), "half").unwrap();
        std::os::unix::fs::symlink("2", dir.path().join(NEXT)).unwrap();
        let outcome = crashing_at(points, || set.replace(&members("new"), None));
        let [key, cert] = set.read(["server.key", "server.pem"]).unwrap();
        assert_eq!(key, cert, "a mix after point {points}");
        match key.as_deref() {
            Some("old") => old_seen += 1,
            Some("new") => new_seen += 1,
            other => panic!("{other:?} after point {points}"),
        }
        set.replace(&members("next"), None).unwrap();
        assert_eq!(set.read(["server.key"]).unwrap(), [Some("next".to_owned())]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "left over after point {points}");
        if outcome.is_ok() {
            break;
        }
        points += 1;
    }
    assert!(points >= 7 && old_seen >= 5 && new_seen >= 2, "{points} {old_seen} {new_seen}");
}

#[test]
fn what_was_given_to_a_service_stays_its_own() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("owners can be set by root only: not tested");
    }
    let dir = tempfile::tempdir().unwrap();
    let set = FileSet::at(dir.path());
    set.replace(&members("old"), None).unwrap();
    std::os::unix::fs::chown(set.path("server.key"), Some(1234), Some(1235)).unwrap();
    set.replace(&members("new"), None).unwrap();
    let rights = |name| {
        let meta = std::fs::metadata(set.path(name)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    };
    assert_eq!((rights("server.key"), rights("server.pem")), ((1234, 1235, 0o600), (0, 0, 0o644)));
}

#[test]
fn what_cannot_be_written_leaves_the_old_set() {
    let dir = tempfile::tempdir().unwrap();
    let set = FileSet::at(dir.path());
    set.replace(&members("old"), None).unwrap();
    let twice = [members("new")[0], members("new")[0]];
    assert!(set.replace(&twice, None).is_err());
    assert_eq!(set.read(["server.pem"]).unwrap(), [Some("old".to_owned())]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}
