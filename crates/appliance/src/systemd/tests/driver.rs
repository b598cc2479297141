use std::time::Duration;

use super::super::{Systemd, SystemdError, UnitState, unit};
use super::*;
use crate::service::Change::{self, Kept, Restarted, Started, Stopped};

const FAKE: &str = include_str!("fake_systemctl.sh");

/// A VM with a stand-in for systemd.
struct Vm {
    dir: tempfile::TempDir,
    systemd: Systemd,
}

impl Vm {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["units", "loaded", "running", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (uid, gid) = if own.0 == 0 { (54321, 54321) } else { own };
        std::fs::write(dir.path().join("passwd"), format!("onefed:x:{uid}:{gid}::/:/bin/false\n")).unwrap();
        std::fs::write(dir.path().join("systemctl"), FAKE).unwrap();
        std::fs::write(
            dir.path().join("journalctl"),
            "echo 'cannot bind'; echo 'onefed-hub.service: Failed.'",
        )
        .unwrap();
        std::fs::write(dir.path().join("data/hub.json"), "1").unwrap();
        let systemd = Self::boot(dir.path());
        Self { dir, systemd }
    }

    /// As another boot of the same VM would have it.
    fn boot(dir: &std::path::Path) -> Systemd {
        let mut systemd = Systemd::new(&dir.join("units"), &dir.join("data"));
        systemd.access.users = dir.join("passwd");
        systemd.control.systemctl = vec!["/bin/sh".into(), dir.join("systemctl").into(), "--no-pager".into()];
        systemd.control.journalctl = vec!["/bin/sh".into(), dir.join("journalctl").into()];
        systemd
    }

    fn set(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    fn unset(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    /// What was asked since the last look.
    fn calls(&self) -> Vec<String> {
        let path = self.dir.path().join("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        let short = |line: &str| line.replace(".service", "").replace("onefed-", "").replace("-- ", "");
        text.lines().map(|line| if line.starts_with("show") { "show".into() } else { short(line) }).collect()
    }

    fn wanted(&self, port: &str) -> Vec<Service> {
        let file = self.dir.path().join("data/hub.json");
        let hub = Service { inputs: vec![file], ..service("hub", "/bin/sh", &["hub"]) };
        vec![service("flower-superlink", "/bin/sh", &["--port", port]), hub]
    }

    async fn apply(&mut self, wanted: &[Service]) -> Vec<(String, Change)> {
        let done = self.systemd.apply(wanted).await.unwrap();
        self.all_as_wanted(wanted);
        done
    }

    /// Every unit on the disk is wanted, is what systemd has read, and is what its process was started with.
    fn all_as_wanted(&self, wanted: &[Service]) {
        let texts = self.systemd.render(wanted).unwrap();
        for dir in ["units", "loaded", "running"] {
            let mut names: Vec<String> = std::fs::read_dir(self.dir.path().join(dir))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let mut expected: Vec<String> =
                wanted.iter().map(|service| unit::file_name(service.name)).collect();
            expected.sort();
            assert_eq!(names, expected, "{dir}");
            for (service, text) in wanted.iter().zip(&texts) {
                let path = self.dir.path().join(dir).join(unit::file_name(service.name));
                assert_eq!(&std::fs::read_to_string(&path).unwrap(), text, "{}", path.display());
            }
        }
    }
}

fn done(list: &[(&str, Change)]) -> Vec<(String, Change)> {
    list.iter().map(|(name, change)| ((*name).to_owned(), *change)).collect()
}

#[tokio::test]
async fn only_what_differs_is_touched() {
    let mut vm = Vm::new();
    let wanted = vm.wanted("1");
    assert_eq!(vm.apply(&wanted).await, done(&[("flower-superlink", Started), ("hub", Started)]));
    assert_eq!(vm.calls(), ["show", "daemon-reload", "start flower-superlink", "start hub"]);

    let mut again = Vm::boot(vm.dir.path());
    assert_eq!(again.apply(&wanted).await.unwrap(), done(&[("flower-superlink", Kept), ("hub", Kept)]));
    assert_eq!(vm.calls(), ["show"], "a second boot asks one question");

    vm.set("data/hub.json", "2");
    assert_eq!(vm.apply(&wanted).await, done(&[("flower-superlink", Kept), ("hub", Restarted)]));
    assert_eq!(vm.calls(), ["show", "stop hub", "daemon-reload", "start hub"]);

    let changed = vm.wanted("2");
    assert_eq!(vm.apply(&changed).await, done(&[("flower-superlink", Restarted), ("hub", Kept)]));
    vm.unset("running/onefed-hub.service");
    assert_eq!(vm.apply(&changed).await, done(&[("flower-superlink", Kept), ("hub", Started)]));
}

#[tokio::test]
async fn another_role_takes_the_units_of_the_last_one_away_and_nobody_elses() {
    let mut vm = Vm::new();
    vm.apply(&vm.wanted("1")).await;
    let spoke = [service("spoke", "/bin/sh", &["spoke"])];
    let all = done(&[("flower-superlink", Stopped), ("hub", Stopped), ("spoke", Started)]);
    assert_eq!(vm.apply(&spoke).await, all);
    vm.set("units/onefed-boot.service", "[Service]\nExecStart=/usr/bin/onefed boot\n");
    vm.set("units/onefed-mine.service", "[Service]\nExecStart=/usr/bin/true\n");
    assert_eq!(vm.systemd.apply(&spoke).await.unwrap(), done(&[("spoke", Kept)]));
    assert!(vm.dir.path().join("units/onefed-mine.service").exists());
}

/// Whatever call is the last one of a killed boot, the next boot comes to the same end.
#[tokio::test]
async fn a_boot_that_died_anywhere_is_completed_by_the_next() {
    for last in 1.. {
        let mut vm = Vm::new();
        let mut first = vm.wanted("1");
        first.push(service("spoke", "/bin/sh", &["spoke"]));
        vm.apply(&first).await;
        vm.set("data/hub.json", "2");
        let second = vm.wanted("2");
        vm.calls();
        vm.set("fail-at", &last.to_string());
        let outcome = vm.systemd.apply(&second).await;
        vm.unset("fail-at");
        let mut next = Vm::boot(vm.dir.path());
        next.apply(&second).await.unwrap();
        vm.all_as_wanted(&second);
        let Err(why) = outcome else {
            assert!(last > 6, "only {last} calls");
            return;
        };
        assert!(why.text.starts_with("systemd does not answer: Failed to connect to bus"), "{}", why.text);
    }
}

#[tokio::test]
async fn a_unit_that_does_not_start_is_named_with_its_reason_and_last_words() {
    let mut vm = Vm::new();
    vm.set("refuse-onefed-hub.service", "");
    let why = vm.systemd.apply(&vm.wanted("1")).await.unwrap_err();
    assert_eq!(why.code, "process_failed");
    assert_eq!(
        why.text,
        "onefed-hub.service does not start (exit-code, the program cannot be executed): cannot bind"
    );
    assert!(why.hint.contains("journalctl -u onefed-hub.service"));
    assert!(vm.systemd.runs("flower-superlink").await, "the other one has been started");
    assert!(!vm.systemd.runs("hub").await);
}

#[tokio::test]
async fn a_systemd_that_is_not_there_hangs_or_refuses_has_its_own_error() {
    let vm = Vm::new();
    let mut systemd = Vm::boot(vm.dir.path());
    systemd.control.systemctl = vec![vm.dir.path().join("none").into()];
    let why = systemd.state("hub").await.unwrap_err();
    assert!(matches!(why, SystemdError::NotInstalled { .. }), "{why}");
    vm.set("hang", "");
    let mut systemd = Vm::boot(vm.dir.path());
    systemd.control.quick = Duration::from_millis(300);
    let why = systemd.apply(&vm.wanted("1")).await.unwrap_err();
    assert!(why.text.contains("did not end within"), "{}", why.text);
    vm.unset("hang");
    std::os::unix::fs::symlink("/dev/null", vm.dir.path().join("units/onefed-hub.service")).unwrap();
    let why = Vm::boot(vm.dir.path()).apply(&vm.wanted("1")).await.unwrap_err();
    assert!(why.text.contains("onefed-hub.service is masked"), "{}", why.text);
    assert!(!vm.dir.path().join("running/onefed-flower-superlink.service").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_crash_loop_is_told_from_a_bad_year() {
    let mut vm = Vm::new();
    vm.apply(&vm.wanted("1")).await;
    vm.systemd.check().await.unwrap();
    vm.set("loops-onefed-hub.service", "3");
    vm.systemd.check().await.unwrap();
    vm.set("loops-onefed-hub.service", "4");
    let why = vm.systemd.check().await.unwrap_err();
    assert_eq!(
        why.text,
        "onefed-hub.service keeps ending: 4 restarts, the last end exit-code, status 1: cannot bind"
    );
    let at = |restarts, active: &str, started| UnitState {
        restarts,
        active: active.into(),
        started_us: Some(started),
        ..UnitState::default()
    };
    let minute = 60_000_000;
    let systemd = Vm::boot(vm.dir.path());
    let looping =
        |restarts, active, started, now| systemd.crash_loop("u", &at(restarts, active, started), now);
    // Short lives, then a long one: what was before it is forgiven.
    assert!(looping(4, "active", 10, minute));
    assert!(!looping(4, "active", 10, 10 + minute));
    assert!(!looping(7, "activating", 10, 2 * minute));
    assert!(looping(8, "activating", 10, 2 * minute));
    // Somebody started it, and systemd counts from the beginning.
    assert!(!looping(1, "activating", 10, 3 * minute));
    assert!(!looping(3, "activating", 10, 3 * minute));
}

#[tokio::test]
async fn a_unit_that_somebody_stopped_is_reported() {
    let mut vm = Vm::new();
    vm.apply(&vm.wanted("1")).await;
    vm.unset("running/onefed-hub.service");
    let why = vm.systemd.check().await.unwrap_err();
    assert!(why.text.starts_with("onefed-hub.service does not start (inactive"), "{}", why.text);
}
