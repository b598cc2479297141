//! systemd's own opinion of the units, by `systemd-analyze`. It reads files and runs nothing of them; as root it is run
//! as nobody all the same.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::super::quote::words;
use super::super::unit::{file_name, render};
use super::*;

const NOBODY: u32 = 65534;

/// Standard output and error of `systemd-analyze`, and whether it was content; `None` where there is none.
fn analyze(args: &[&str], file: &Path) -> Option<(bool, String)> {
    let mut command = Command::new("systemd-analyze");
    command.args(["--no-pager", "--system"]).args(args).arg(file).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(why) => {
            eprintln!("systemd-analyze: {why}: not tested");
            None
        }
    }
}

fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn executable(path: &Path) {
    std::fs::write(path, "").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = open_dir();
    let program = dir.path().join("program of 100% $HOME");
    executable(&program);
    let mut services =
        vec![hub(), supernode(true), supernode(false), container(Engine::Docker), container(Engine::Podman)];
    for service in &mut services {
        service.command.program = program.clone();
        if let Some(container) = &mut service.container {
            container.stop.program = program.clone();
            container.before.iter_mut().for_each(|command| command.program = program.clone());
        }
        let path = dir.path().join(file_name(service.name));
        std::fs::write(&path, render(service, "00").unwrap()).unwrap();
        let Some((content, said)) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &path) else {
            return;
        };
        // Of other units on this machine it may say what it likes.
        let own: Vec<&str> = said.lines().filter(|line| line.contains("onefed-")).collect();
        assert!(content && own.is_empty(), "{}: {said}", service.name);
    }
}

#[test]
fn systemd_reads_hard_names_as_they_were_meant() {
    let dir = open_dir();
    let names = [
        "a b",
        "a%n",
        "100%",
        "%%",
        "$HOME",
        "${HOME}",
        "$$",
        "ü🌼",
        ";",
        "#x",
        "-x",
        "@x",
        ":x",
        "+x",
        "!x",
        "[Service]",
        "a\u{2028}b",
        " lead",
        "=",
        "a,b",
        "*",
        "~",
    ];
    let unit = dir.path().join("onefed-names.service");
    for name in names {
        let path = dir.path().join(name);
        let line = words([path.to_str().unwrap(), name]);
        std::fs::write(&unit, format!("[Service]\nType=oneshot\nExecStart=:{line}\n")).unwrap();
        // It misses a program of the very name that was meant, and nothing once that is there.
        let Some((_, said)) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit) else {
            return;
        };
        assert!(said.contains(&format!("Command {} is not executable", path.display())), "{name:?}: {said}");
        executable(&path);
        let (content, said) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit).unwrap();
        assert!(content && !said.contains("onefed-names"), "{name:?}: {said}");
    }
}

#[test]
fn systemd_refuses_the_program_names_that_onefed_refuses() {
    let dir = open_dir();
    for name in ["a\"b", "a'b", "a\\b", "\\x41", "\\", "a\nb", "a\tb", "a\rb", "a\u{1}b", "a\u{7f}"] {
        let path = dir.path().join(name);
        executable(&path);
        let own = render(&service("hub", path.to_str().unwrap(), &[]), "00").unwrap_err();
        assert!(own.to_string().contains("runs no program"), "{own}");
        let unit = dir.path().join("onefed-names.service");
        let line = words([path.to_str().unwrap()]);
        std::fs::write(&unit, format!("[Service]\nType=oneshot\nExecStart=:{line}\n")).unwrap();
        let Some((_, said)) = analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit) else {
            return;
        };
        // Where it can be shown, it shows the very name: quotes and escapes were undone.
        assert!(said.contains("special characters"), "{name:?}: {said}");
        assert!(
            name.contains(char::is_control) || said.contains(&format!("{}\n", path.display())),
            "{name:?}: {said}"
        );
    }
}

#[test]
fn systemd_finds_the_units_well_confined() {
    // Its exposure level times ten, 0 to 100; below 50 is what it calls OK.
    for (service, limit) in
        [(hub(), 20), (supernode(false), 25), (supernode(true), 30), (container(Engine::Docker), 40)]
    {
        let dir = open_dir();
        let path = dir.path().join(file_name(service.name));
        std::fs::write(&path, render(&service, "00").unwrap()).unwrap();
        let threshold = format!("--threshold={limit}");
        let Some((content, said)) = analyze(&["security", "--offline=true", &threshold], &path) else {
            return;
        };
        let verdict = said.lines().rev().find(|line| line.contains("exposure")).unwrap_or(&said).to_owned();
        eprintln!("{}: {verdict}", service.name);
        assert!(content, "{}: {said}", service.name);
    }
}

const BOOT: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../images/systemd/onefed-boot.service"));

/// The units of an image, with contextualization after `multi-user.target`: does a boot of it have an order?
fn order(boot: &str) -> Option<String> {
    let dir = open_dir();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let program = dir.path().join("true");
    executable(&program);
    file("onefed-boot.service", &boot.replace("/usr/bin/onefed", program.to_str().unwrap()));
    let one_shot = format!("[Service]\nType=oneshot\nExecStart={}\n", program.display());
    file("one-context.service", &format!("[Unit]\nAfter=multi-user.target\n{one_shot}"));
    for target in ["multi-user", "network-online", "sysinit", "basic", "shutdown", "local-fs", "tmp"] {
        file(&format!("{target}.target"), "[Unit]\nDescription=a target\n");
    }
    let wants = dir.path().join("multi-user.target.wants");
    std::fs::create_dir(&wants).unwrap();
    for unit in ["one-context.service", "onefed-boot.service"] {
        std::os::unix::fs::symlink(dir.path().join(unit), wants.join(unit)).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["--no-pager", "--system", "verify", "--man=no"]).arg(dir.path().join("multi-user.target"));
    command.env("SYSTEMD_UNIT_PATH", dir.path()).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().map_err(|why| eprintln!("systemd-analyze: {why}: not tested")).ok()?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_boot_comes_after_the_context_and_nothing_waits_in_a_circle() {
    let Some(said) = order(BOOT) else { return };
    assert!(!said.contains("onefed-boot"), "{said}");
    // It is the second name that does it.
    let said = order(&BOOT.replace("one-context.service multi-user.target", "one-context.service")).unwrap();
    assert!(said.contains("ordering cycle"), "{said}");
}
