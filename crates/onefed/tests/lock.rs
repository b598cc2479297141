//! The lock that operators on different machines see. Second octets: 233 to 238.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use onefed_opennebula::template;
use rustix::process::{Pid, Signal, kill_process};
use support::{Desk, DryZones, replaced, run, until};

/// Keys without a hub: whom the played VMs would register with.
fn plan(desk: &Desk) {
    desk.plan(|plan| plan + "\nFL_NODE_AUTH = \"NO\"\n");
}

fn start(desk: &Desk, args: &str) -> Child {
    let mut command = desk.onefed(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn one_of_two_wins_and_the_other_is_told_who_holds_it() {
    let desk = Desk::new("lock-two", 233);
    let zones = DryZones::up(&desk);
    plan(&desk);
    let mut first = start(&desk, "apply");
    until("the first holds the lock", || (!zones.locks().is_empty()).then_some(()));
    // So that it is at work while the other looks.
    signal(&first, Signal::STOP);
    let second = run(&mut desk.onefed("apply --state elsewhere")).expect(75);
    assert!(
        second.stderr.contains("error[locked]: federation hospitals is being changed by "),
        "{}",
        second.stderr
    );
    let holder = format!("(process {}, `onefed apply`) since 20", first.id());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);
    assert!(!desk.path("elsewhere/ca.key").exists(), "keys of one that was sent away");
    let json = run(&mut desk.onefed("destroy --yes --state elsewhere --format json"));
    // Nothing may be there yet to be removed; if there is, it is locked.
    assert!(matches!(json.exit, Some(0 | 75)), "{json:?}");
    signal(&first, Signal::CONT);
    assert!(first.wait().unwrap().success());
    assert_eq!(zones.locks(), Vec::<String>::new());
    run(&mut desk.onefed("plan")).expect(0);
}

#[test]
fn of_many_at_once_each_wins_or_is_sent_away_and_all_is_made_once() {
    let desk = Desk::new("lock-many", 234);
    let zones = DryZones::up(&desk);
    plan(&desk);
    // All have the same root CA, as operators of one federation do.
    run(&mut desk.onefed("apply")).expect(0);
    run(&mut desk.onefed("destroy --yes")).expect(0);
    let names = ["a", "b", "c", "d"];
    for name in names {
        std::fs::create_dir(desk.path(name)).unwrap();
        for file in ["ca.pem", "ca.key"] {
            std::fs::copy(desk.path(".onefed").join(file), desk.path(name).join(file)).unwrap();
        }
    }
    let many: Vec<Child> = names.iter().map(|name| start(&desk, &format!("apply --state {name}"))).collect();
    let outcomes: Vec<i32> = many
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let code = output.status.code().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(code == 0 || (code == 75 && text.contains("is being changed by")), "{code}: {text}");
            code
        })
        .collect();
    assert!(outcomes.contains(&0), "nobody won: {outcomes:?}");
    let objects = zones.objects("hospitals-");
    let mut once = objects.clone();
    once.dedup();
    assert_eq!(objects, once);
    assert_eq!(objects.len(), 6, "{objects:#?}");
    assert_eq!(zones.locks(), Vec::<String>::new());
}

#[test]
fn a_holder_that_was_killed_is_replaced_at_once_on_its_machine() {
    let desk = Desk::new("lock-killed", 235);
    let zones = DryZones::up(&desk);
    plan(&desk);
    let mut first = start(&desk, "apply");
    until("the first holds the lock", || (!zones.locks().is_empty()).then_some(()));
    signal(&first, Signal::KILL);
    first.wait().unwrap();
    assert_eq!(zones.locks().len(), 1, "the lock of a killed process went by itself");
    let started = Instant::now();
    let second = run(&mut desk.onefed("apply")).expect(0);
    assert!(second.stderr.contains("taking over the lock of"), "{}", second.stderr);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(zones.locks(), Vec::<String>::new());
}

/// A lock as another machine would have made it.
fn foreign(zones: &DryZones, beat: u32) -> onefed_opennebula::VmTemplateId {
    let text = template::attributes(&[
        ("NAME", "onefed-lock-hospitals"),
        ("ONEFED_LOCK", "hospitals"),
        ("ONEFED_VERB", "apply"),
        ("ONEFED_OWNER", "alice@elsewhere"),
        ("ONEFED_BOOT", "another-boot"),
        ("ONEFED_NAMESPACE", "pid:[1]"),
        ("ONEFED_PID", "4711"),
        ("ONEFED_STARTED", "1"),
        ("ONEFED_SINCE", "1700000000"),
        ("ONEFED_BEAT", &beat.to_string()),
    ]);
    zones.block_on(zones.xmlrpc("madrid").template_allocate(&text.unwrap())).unwrap()
}

#[test]
fn the_holder_on_another_machine_is_watched_by_its_beat() {
    let desk = Desk::new("lock-elsewhere", 236);
    let zones = DryZones::up(&desk);
    plan(&desk);
    // One that lives: it counts on.
    let id = foreign(&zones, 3);
    let second = start(&desk, "apply");
    std::thread::sleep(Duration::from_secs(2));
    let beat = template::attributes(&[("ONEFED_BEAT", "4")]).unwrap();
    zones.block_on(zones.xmlrpc("madrid").template_update(&id, &beat, true)).unwrap();
    let output = second.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(
        text.contains("alice@elsewhere (process 4711, `onefed apply`) since 2023-11-14 22:13:20 UTC"),
        "{text}"
    );
    assert_eq!(zones.locks().len(), 1, "the lock of one that lives was taken");
    // One that does not: after 45 s of standing still.
    let started = Instant::now();
    let third = support::run_within(&mut desk.onefed("apply"), Duration::from_secs(90)).expect(0);
    assert!(started.elapsed() > Duration::from_secs(44), "taken over after {:?}", started.elapsed());
    assert!(third.stderr.contains("if it does not renew it for 45 s"), "{}", third.stderr);
    assert_eq!(zones.locks(), Vec::<String>::new());
}

#[test]
fn one_whose_lock_was_taken_away_stops_before_the_next_change() {
    let desk = Desk::new("lock-lost", 237);
    let zones = DryZones::up(&desk);
    plan(&desk);
    // It comes as far as waiting for what the VMs ask for.
    zones.pause(true);
    let first = start(&desk, "apply");
    until("all is made", || (zones.objects("hospitals-").len() == 6).then_some(()));
    let lock = zones.templates("madrid").into_iter().find(|it| it.name.starts_with("onefed-lock-")).unwrap();
    // Longer than a look at the lock counts.
    std::thread::sleep(Duration::from_millis(2500));
    zones.block_on(zones.xmlrpc("madrid").template_delete(&lock.id, false)).unwrap();
    zones.pause(false);
    let output = first.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("error[lock-lost]"), "{text}");
    assert!(!text.contains("signed"), "a change without the lock: {text}");
    run(&mut desk.onefed("apply")).expect(0);
}

#[test]
fn what_only_has_the_locks_name_is_not_touched() {
    let desk = Desk::new("lock-name", 238);
    let zones = DryZones::up(&desk);
    desk.plan(|plan| replaced(&plan, "name   = \"hospitals\"", "name   = \"clinics\""));
    let text = template::attributes(&[("NAME", "onefed-lock-clinics"), ("CPU", "1")]).unwrap();
    zones.block_on(zones.xmlrpc("madrid").template_allocate(&text)).unwrap();
    let refused = run(&mut desk.onefed("apply")).expect(78);
    assert!(refused.stderr.contains("error[lock-name]"), "{}", refused.stderr);
    assert_eq!(zones.locks().len(), 1);
    assert_eq!(zones.objects("clinics-"), Vec::<String>::new());
}
