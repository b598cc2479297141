//! The start script, run as contextualization runs it: in a machine of the test's own (namespaces and a layer over this
//! machine's files; no systemd), with the real binary, wheels that stand for Flower's, a server of files and a OneGate.
//!
//! Needs root, `unshare`, `ip` and overlay mounts; says so and passes where something is missing. With
//! `ONEFED_START_ROOT=DIR` the machine has the files of that directory, for instance one that debootstrap made, and the
//! network of this machine, so that apt reaches its mirror.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

#[path = "support/gate.rs"]
mod gate;
#[path = "start_script/machine.rs"]
mod machine;
#[path = "start_script/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gate::Gate;
use machine::Machine;
use server::Files;

/// What the VM's context asks for, as that of a site with another release than its federation's.
const RELEASE: &str = "1.41.0";
const OF_THE_PLAN: &str = "1.31.0";
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// There inside the namespaces.
const INSIDE: &str = "ONEFED_TEST_INSIDE";

/// Runs a test of this file again, in namespaces of its own; false inside of them, where the test goes on.
fn is_outside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if std::env::var_os("ONEFED_START_ROOT").is_none() {
        unshare.arg("--net");
    }
    let mut probe = Command::new("unshare");
    let possible =
        probe.args(["--mount", "--net", "--pid", "--fork", "ip", "link", "set", "lo", "up"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("{name}: skipped: needs root, unshare and ip");
        return true;
    }
    let me = std::env::current_exe().unwrap();
    // Each makes Python environments, which takes a core.
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let status = unshare.arg(me).args([name, "--exact", "--nocapture"]).env(INSIDE, "yes").status().unwrap();
    assert!(status.success(), "{name} in its namespaces: {status}");
    true
}

/// The machine with everything around it.
struct Stage {
    machine: Machine,
    files: Files,
    gate: Gate,
    onefed: Vec<u8>,
    /// A tar of wheels, and the wheels themselves by name.
    wheels: Vec<u8>,
    index: BTreeMap<String, Vec<u8>>,
    context: String,
}

/// None where this machine lacks something; it has been said what.
fn stage(name: &str, net: u8) -> Option<Stage> {
    let _ = machine::run("ip", &["link", "set", "lo", "up"]);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("start-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("room")).unwrap();
    let machine = match Machine::new(&dir.join("room")) {
        Ok(machine) => machine,
        Err(why) => {
            eprintln!("{name}: skipped: {why}");
            return None;
        }
    };
    if std::env::var_os("ONEFED_START_ROOT").is_none() && !machine.has_python() {
        eprintln!("{name}: skipped: no python3 with venv and ensurepip");
        return None;
    }
    let files = Files::at(&format!("127.{net}.1.1:8000"));
    let gate = Gate::at(&format!("127.{net}.1.1:5030"));
    let onefed = std::fs::read(env!("CARGO_BIN_EXE_onefed")).unwrap();
    let (wheels, index) = wheels(&dir, RELEASE);
    files.put("onefed", &onefed);
    files.put("flower.tar", &wheels);
    let context = [
        ("EVIL", r#"it'\''s $(touch /evil) `touch /evil` ${HOME} \"#.to_owned()),
        ("ETH0_IP", format!("127.{net}.2.1")),
        ("FLOWER_VERSION", RELEASE.to_owned()),
        ("FL_FEDERATION", "lab".to_owned()),
        ("FL_ROLE", "superlink".to_owned()),
        ("ONEGATE_ENDPOINT", gate.endpoint()),
        ("TOKEN", "YES".to_owned()),
        ("VMID", gate::VM.to_string()),
    ];
    let context: String = context.iter().map(|(key, value)| format!("{key}='{value}'\n")).collect();
    machine.disk(&BTreeMap::from([
        ("context.sh", context.clone().into_bytes()),
        ("token.txt", format!("{}\n", gate::TOKEN).into_bytes()),
    ]));
    Some(Stage { machine, files, gate, onefed, wheels, index, context })
}

/// A tar with a wheel that looks like Flower's and one that it needs. Its programs say a word and stay.
fn wheels(dir: &Path, release: &str) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    const MAKE: &str = r##"
import io, sys, tarfile, zipfile
release = sys.argv[1]
def wheel(name, version, requires, programs):
    data, info = io.BytesIO(), f"{name}-{version}.dist-info"
    with zipfile.ZipFile(data, "w") as out:
        needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        for program in programs:
            entry = zipfile.ZipInfo(f"{name}-{version}.data/scripts/{program}")
            entry.external_attr = 0o755 << 16
            out.writestr(entry, "#!/bin/sh\necho no real Flower here\nsleep 600 &\nwait\n")
        out.writestr(f"{info}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl", data.getvalue()
with tarfile.open(sys.argv[2], "w:gz") as tar:
    for name, content in (wheel("flwr", release, ["needed_by_flwr"], ["flower-superlink", "flower-supernode", "flwr"]),
                          wheel("needed_by_flwr", "1.0", [], [])):
        entry = tarfile.TarInfo(f"wheelhouse/{name}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        open(f"{sys.argv[3]}/{name}", "wb").write(content)
"##;
    let tar = dir.join("wheels.tar");
    let mut python = Command::new("python3");
    let folder = dir.join("wheels");
    std::fs::create_dir(&folder).unwrap();
    let status =
        python.args(["-c", MAKE, release]).args([&tar, &folder]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    let each = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let each = each.map(|it| (it.file_name().into_string().unwrap(), std::fs::read(it.path()).unwrap()));
    (std::fs::read(tar).unwrap(), each.collect())
}

/// The SHA-256 as `sha256sum` has it.
fn sum(content: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let out = Command::new("sha256sum").arg(file.path()).output().unwrap();
    String::from_utf8(out.stdout).unwrap()[..64].to_owned()
}

impl Stage {
    /// The script of a plan whose [install] says this.
    fn script(&self, install: &str) -> String {
        let text = format!(
            "name = 'lab'\nflower = '{OF_THE_PLAN}'\n[coordinator]\nzone = 'z'\nsupernodes = 1\n[zone.z]\nnetwork = 1\nimage = 'Debian 12'\n\
             [install]\n{install}"
        );
        let federation = onefed_federation::parse(&text).unwrap_or_else(|why| panic!("{text}\n{why:?}"));
        onefed_federation::start_script(&federation).unwrap()
    }

    /// Everything by download, with these checksums.
    fn downloads(&self, onefed: &str, wheels: &str) -> String {
        self.script(&format!(
            "onefed = {{ url = '{}', sha256 = '{onefed}' }}\nflower = {{ url = '{}', sha256 = '{wheels}' }}",
            self.files.url("onefed"),
            self.files.url("flower.tar")
        ))
    }

    fn right(&self) -> String {
        self.downloads(&sum(&self.onefed), &sum(&self.wheels))
    }

    /// The failure that was published.
    fn published(&self) -> String {
        let of = |name| self.gate.attribute(name).unwrap_or_default();
        assert_eq!((of("FL_STATE").as_str(), of("FL_ERROR").as_str()), ("failed", "install_failed"));
        String::from_utf8(STANDARD.decode(of("FL_ERROR_TEXT")).unwrap()).unwrap()
    }

    /// That nothing of onefed is there.
    #[track_caller]
    fn nothing_installed(&self) {
        for path in
            ["usr/local/bin/onefed", "opt/onefed/flower", "etc/sysusers.d/onefed.conf", "etc/systemd/system"]
        {
            assert!(!self.machine.path(path).exists(), "{path}");
        }
        assert_eq!(self.machine.read("var/log/systemctl"), "");
    }

    /// That everything is there, and that the boot has begun with it.
    #[track_caller]
    fn complete(&self) {
        let machine = &self.machine;
        assert_eq!(machine.ended(), 0, "{}", machine.words());
        assert_eq!(std::fs::read(machine.path("usr/local/bin/onefed")).unwrap(), self.onefed);
        let passwd = machine.read("etc/passwd");
        assert!(passwd.contains("\nflower:x:49999:") && passwd.contains("\nonefed:x:"), "{passwd}");
        assert_eq!(
            machine.read("etc/systemd/system/onefed-boot.service"),
            include_str!("../../../images/systemd/onefed-boot.service")
        );
        for (path, mode) in [("run/onefed/context/token.txt", 0o600), ("run/onefed/context", 0o700)] {
            assert_eq!(machine.path(path).metadata().unwrap().mode() & 0o777, mode, "{path}");
        }
        // The boot has come past the step that looks for Flower, and says so through OneGate too.
        let found = format!("ok: Flower {RELEASE} in /opt/onefed/flower");
        machine.until("the boot", || machine.read("var/log/boot").contains(&found));
        machine.until("its word", || self.gate.attribute("FL_VERSION").as_deref() == Some(RELEASE));
        let log = machine.read("var/log/onefed-start.log");
        assert!(!log.contains(gate::TOKEN), "{log}");
        assert!(
            machine.read("dev/console").contains("onefed boots this VM"),
            "{}",
            machine.read("dev/console")
        );
        assert!(!machine.path("evil").exists(), "a value of the context was run");
        assert!(
            std::fs::read_dir(machine.path("var/lib/onefed-start")).unwrap().next().is_none(),
            "left behind"
        );
    }

    /// What must not change any more.
    fn state(&self) -> Vec<(PathBuf, i64, u64)> {
        let paths = [
            "usr/local/bin/onefed",
            "opt/onefed/flower",
            "opt/onefed/flower/onefed-start",
            "etc/passwd",
            "etc/sysusers.d/onefed.conf",
            "etc/systemd/system/onefed-boot.service",
            "etc/systemd/system/onefed-boot.service.d/50-start.conf",
        ];
        let of = |path: &str| {
            let meta = std::fs::symlink_metadata(self.machine.path(path)).unwrap();
            (path.into(), meta.mtime_nsec() ^ meta.mtime(), meta.ino())
        };
        paths.into_iter().map(of).collect()
    }
}

#[test]
fn it_is_a_posix_script_in_which_shellcheck_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    let text = include_str!("../../../examples/one-zone.toml");
    let script = onefed_federation::start_script(&onefed_federation::parse(text).unwrap()).unwrap();
    std::fs::write(&path, script).unwrap();
    for (program, args) in
        [("dash", &["-n"][..]), ("bash", &["--posix", "-n"]), ("shellcheck", &["-s", "sh"])]
    {
        match Command::new(program).args(args).arg(&path).stdin(Stdio::null()).output() {
            Ok(out) => assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stdout)),
            Err(why) => eprintln!("not asked: {program}: {why}"),
        }
    }
}

#[test]
fn what_has_another_checksum_is_never_used() {
    if is_outside("what_has_another_checksum_is_never_used") {
        return;
    }
    let Some(mut stage) = stage("checksum", 220) else { return };
    let (onefed, wheels) = (sum(&stage.onefed), sum(&stage.wheels));
    for (script, what, sum) in [
        (stage.downloads(&wheels, &wheels), "onefed", &onefed),
        // Also where what comes before it is right.
        (stage.downloads(&onefed, &onefed), "Flower's wheels", &wheels),
    ] {
        stage.gate.set("READY", "YES");
        stage.machine.on(&script);
        assert_eq!(stage.machine.ended(), 1, "{}", stage.machine.words());
        let text = stage.published();
        assert!(text.contains(what) && text.contains(sum.as_str()) && text.contains("hint:"), "{text}");
        assert_eq!(stage.gate.attribute("READY"), None, "what an earlier boot has said");
        stage.nothing_installed();
        assert!(stage.machine.read("var/log/onefed-start.log").contains("failed: "));
    }
    // What was right was not kept back: the next run needs the rest only.
    stage.files.asked();
    let right = stage.right();
    stage.machine.on(&right);
    stage.complete();
    assert_eq!(stage.files.asked(), ["flower.tar"]);
}

#[test]
fn a_plain_machine_boots_onefed_and_stays_as_it_is() {
    if is_outside("a_plain_machine_boots_onefed_and_stays_as_it_is") {
        return;
    }
    let Some(mut stage) = stage("plain", 221) else { return };
    let script = stage.right();
    stage.machine.on(&script);
    stage.complete();
    let calls = ["daemon-reload", "enable onefed-boot.service", "restart --no-block onefed-boot.service"];
    let told = |stage: &Stage| -> Vec<String> {
        stage.machine.read("var/log/systemctl").lines().map(str::to_owned).collect()
    };
    assert_eq!(told(&stage), calls);
    assert_eq!(stage.files.asked(), ["onefed", "flower.tar"]);
    let before = stage.state();

    // A reboot, in which the context is read anew, and a run without any change.
    for reboot in [true, false] {
        std::fs::remove_file(stage.machine.path("var/log/systemctl")).unwrap();
        if reboot {
            stage.machine.on(&script)
        } else {
            stage.machine.again(&script)
        }
        stage.complete();
        let verb = if reboot { "reload-or-restart" } else { "start" };
        assert_eq!(told(&stage), [format!("{verb} --no-block onefed-boot.service")]);
        assert_eq!(stage.state(), before);
        assert_eq!(stage.files.asked(), Vec::<String>::new());
    }
}

#[test]
fn a_machine_whose_power_went_in_the_middle_becomes_whole() {
    if is_outside("a_machine_whose_power_went_in_the_middle_becomes_whole") {
        return;
    }
    let Some(mut stage) = stage("power", 222) else { return };
    let script = stage.right();
    let log = |stage: &Stage, words: &str| stage.machine.read("var/log/onefed-start.log").contains(words);
    // While a download stands still.
    stage.files.stick(Some("onefed"));
    stage.machine.on(&script);
    let part = stage.machine.path("var/lib/onefed-start/onefed.part");
    stage.machine.until("half a binary", || part.metadata().is_ok_and(|part| part.len() > 1000));
    stage.machine.off();
    stage.nothing_installed();
    // While the environment is being made.
    stage.files.stick(None);
    stage.machine.on(&script);
    stage.machine.until("the environment", || log(&stage, "installing Flower"));
    stage.machine.off();
    assert!(stage.machine.path("usr/local/bin/onefed").exists());
    assert!(!stage.machine.path("opt/onefed/flower").exists());
    // While the unit is being written, as far as one can say when that is.
    stage.machine.on(&script);
    stage.machine.until("the environment", || log(&stage, "is in /opt/onefed/flower"));
    stage.machine.off();
    stage.machine.on(&script);
    stage.complete();
    let left = std::fs::read_dir(stage.machine.path("opt/onefed")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!((left.len(), left[0].as_str()), (2, "flower"), "{left:?}");
}

#[test]
fn files_come_with_the_context_or_by_whatever_program_is_there() {
    if is_outside("files_come_with_the_context_or_by_whatever_program_is_there") {
        return;
    }
    let Some(mut stage) = stage("ways", 221) else { return };
    // An address where nothing is: said at once, by each program that can.
    let nowhere = stage.files.url("nowhere");
    let script =
        stage.script(&format!("onefed = {{ url = '{nowhere}', sha256 = '{}' }}", sum(&stage.onefed)));
    for gone in ["", "curl", "wget"] {
        for dir in ["usr/bin", "usr/local/bin", "bin"] {
            let _ = std::fs::remove_file(stage.machine.path(dir).join(gone));
        }
        stage.gate.set("FL_STATE", "");
        stage.machine.on(&script);
        assert_eq!(stage.machine.ended(), 1, "without {gone}: {}", stage.machine.words());
        let text = stage.published();
        assert!(text.contains(&nowhere) && text.contains("404"), "without {gone}: {text}");
        stage.nothing_installed();
    }
    let evil = stage.context.replace(&format!("='{RELEASE}'"), "='1.41.0 x'").into_bytes();
    stage.machine.disk(&BTreeMap::from([("context.sh", evil)]));
    stage.machine.on(&script);
    assert_eq!(stage.machine.ended(), 1);
    assert!(stage.published().contains("FLOWER_VERSION is '1.41.0 x'"), "{}", stage.published());
    stage.machine.disk(&BTreeMap::from([("context.sh", stage.context.clone().into_bytes())]));
    // Without any of them, the images of a FILES datastore. A gateway takes the binary only.
    let script = stage.script(&format!(
        "onefed = {{ file = 'onefed-9', sha256 = '{}' }}\nflower = {{ file = 'flower.tar', sha256 = '{}' }}",
        sum(&stage.onefed),
        sum(&stage.wheels)
    ));
    stage.machine.on(&script);
    assert_eq!(stage.machine.ended(), 1);
    assert!(stage.published().contains("no file onefed-9"), "{}", stage.published());
    let (onefed, wheels) = (stage.onefed.clone(), stage.wheels.clone());
    stage.files.asked();
    let gateway = stage.context.replace("'superlink'", "'gateway'").into_bytes();
    stage.machine.disk(&BTreeMap::from([("onefed-9", onefed), ("context.sh", gateway)]));
    stage.machine.on(&script);
    assert_eq!(stage.machine.ended(), 0, "{}", stage.machine.words());
    assert!(
        stage.machine.path("usr/local/bin/onefed").exists() && !stage.machine.path("opt/onefed").exists()
    );
    let superlink = stage.context.clone().into_bytes();
    stage.machine.disk(&BTreeMap::from([("flower.tar", wheels), ("context.sh", superlink)]));
    stage.machine.on(&script);
    stage.complete();
    assert_eq!(stage.files.asked(), Vec::<String>::new());
}

#[test]
fn flower_comes_from_an_index_with_a_hash_for_every_package() {
    if is_outside("flower_comes_from_an_index_with_a_hash_for_every_package") {
        return;
    }
    let Some(mut stage) = stage("index", 220) else { return };
    let mut requirements = String::new();
    for (name, wheel) in &stage.index {
        let (package, version) =
            name.split_once('-').map(|(a, b)| (a, b.split('-').next().unwrap())).unwrap();
        let page = format!("<a href=\"/wheels/{name}\">{name}</a>");
        stage.files.put(&format!("simple/{}/", package.replace('_', "-")), page.as_bytes());
        stage.files.put(&format!("wheels/{name}"), wheel);
        requirements.push_str(&format!("{package}=={version} --hash=sha256:{}\n", sum(wheel)));
    }
    let wanting = |stage: &Stage, requirements: &str| {
        stage.files.put("requirements.txt", requirements.as_bytes());
        let of = |name: &str, content: &[u8]| {
            format!("{{ url = '{}', sha256 = '{}' }}", stage.files.url(name), sum(content))
        };
        let index = stage.files.url("simple");
        let (onefed, list) = (of("onefed", &stage.onefed), of("requirements.txt", requirements.as_bytes()));
        stage.script(&format!("onefed = {onefed}\nindex = '{index}'\nrequirements = {list}"))
    };
    // A list that does not have Flower at the plan's release makes no environment that counts.
    let other: String = requirements.lines().filter(|line| !line.starts_with("flwr")).collect();
    let script = wanting(&stage, &other);
    stage.machine.on(&script);
    assert_eq!(stage.machine.ended(), 1, "{}", stage.machine.words());
    assert!(stage.published().contains("must pin flwr==1.41.0"), "{}", stage.published());
    assert!(!stage.machine.path("opt/onefed/flower").exists());
    let wrong = requirements.replace(&sum(stage.index.first_key_value().unwrap().1), &sum(b"other"));
    let script = wanting(&stage, &wrong);
    stage.machine.on(&script);
    assert_eq!(stage.machine.ended(), 1, "{}", stage.machine.words());
    assert!(stage.published().contains("pip could not install"), "{}", stage.published());
    let script = wanting(&stage, &requirements);
    stage.machine.on(&script);
    stage.complete();
    let asked = stage.files.asked();
    assert!(asked.iter().any(|name| name.starts_with("simple/flwr")), "{asked:?}");
    // Another list is another environment, and the next boot has it.
    let before = std::fs::read_link(stage.machine.path("opt/onefed/flower")).unwrap();
    let script = wanting(&stage, &format!("# pinned again\n{requirements}"));
    stage.machine.on(&script);
    stage.complete();
    assert_ne!(std::fs::read_link(stage.machine.path("opt/onefed/flower")).unwrap(), before);
}
