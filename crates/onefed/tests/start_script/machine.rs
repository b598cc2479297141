//! A machine for a start script: this machine's files under a layer that takes every change, a context disk, and a
//! `systemctl` that writes down what it is told and starts what it should. Its processes end when its power does.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A boot in a debug build with a Python environment to make, on two noisy cores.
const PATIENCE: Duration = Duration::from_secs(300);

/// What stands for systemd: notes the call, and runs what the unit of the boot says where it is to be started.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>/var/log/systemctl
case "$*" in
*start*onefed-boot.service*)
    command=$(sed -n 's/^ExecStart=\(.\)/\1/p' /etc/systemd/system/onefed-boot.service.d/*.conf | tail -n 1)
    pidfile=/run/boot.pid
    [ ! -f "$pidfile" ] || kill "$(cat "$pidfile")" 2>/dev/null
    # shellcheck disable=SC2086
    $command >>/var/log/boot 2>&1 </dev/null &
    echo $! >"$pidfile"
    ;;
esac
"#;

/// The machine. Its files stay when its power goes.
pub(crate) struct Machine {
    /// Where all of it is.
    room: PathBuf,
    /// Its root.
    root: PathBuf,
    power: Option<Child>,
}

impl Machine {
    /// A machine with the files of this one, or of the directory in `ONEFED_START_ROOT`; an error where mounting is not
    /// allowed.
    pub(crate) fn new(room: &Path) -> Result<Self, String> {
        let lower = std::env::var("ONEFED_START_ROOT").unwrap_or_else(|_| "/".to_owned());
        run("mount", &["-t", "tmpfs", "room", text(room)])?;
        let root = room.join("root");
        for dir in ["upper", "work", "root", "disk"] {
            std::fs::create_dir(room.join(dir)).unwrap();
        }
        let layers = format!(
            "lowerdir={lower},upperdir={},workdir={}",
            text(&room.join("upper")),
            text(&room.join("work"))
        );
        run("mount", &["-t", "overlay", "machine", "-o", &layers, text(&root)])?;
        for dir in ["dev", "tmp"] {
            run("mount", &["-t", "tmpfs", "empty", text(&root.join(dir))])?;
        }
        for device in ["null", "zero", "random", "urandom"] {
            std::fs::write(root.join("dev").join(device), "").unwrap();
            run("mount", &["--bind", &format!("/dev/{device}"), text(&root.join("dev").join(device))])?;
        }
        std::fs::write(root.join("dev/console"), "").unwrap();
        let machine = Self { room: room.to_owned(), root, power: None };
        machine.program("usr/local/sbin/systemctl", SYSTEMCTL);
        // Of an onefed that this machine itself may have, nothing counts.
        let _ = std::fs::remove_file(machine.path("usr/local/bin/onefed"));
        for dir in ["etc/systemd/system", "opt/onefed", "var/lib/onefed", "var/lib/onefed-start"] {
            let _ = std::fs::remove_dir_all(machine.path(dir));
        }
        Ok(machine)
    }

    /// A path in the machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// What is in a file; nothing where there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a file that can be run.
    pub(crate) fn program(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A Python that can make environments, as the machine finds it: its own, or this machine's.
    pub(crate) fn has_python(&self) -> bool {
        let works = || {
            let mut python = Command::new("chroot");
            python.arg(&self.root).args(["python3", "-c", "import venv, ensurepip"]);
            python.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            python.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        if works() {
            return true;
        }
        let mut where_ = Command::new("python3");
        let here = where_.args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"]).output();
        let here = here.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
        let _ = symlink(here, self.path("usr/local/bin/python3"));
        works()
    }

    /// Puts files on the context disk.
    pub(crate) fn disk(&self, files: &BTreeMap<&str, Vec<u8>>) {
        for (name, content) in files {
            std::fs::write(self.room.join("disk").join(name), content).unwrap();
        }
    }

    /// Switches it on: the contextualization has mounted the disk and read the context, and runs the script. Returns at
    /// once.
    pub(crate) fn on(&mut self, script: &str) {
        self.off();
        run("mount", &["-t", "tmpfs", "run", text(&self.path("run"))]).unwrap();
        let mount = self.path("run/one-context/mount.x");
        std::fs::create_dir_all(&mount).unwrap();
        run("mount", &["--bind", text(&self.room.join("disk")), text(&mount)]).unwrap();
        let life = "mount -t proc proc /proc; cd /run/one-context/mount.x
            while :; do
                if [ -f /run/go ]; then
                    rm /run/go
                    /run/script >/var/log/said 2>&1
                    echo $? >/run/ended
                fi
                sleep 0.1
            done";
        let mut power = Command::new("unshare");
        power.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "chroot",
            text(&self.root),
            "/bin/sh",
            "-c",
            life,
        ]);
        power.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // As the agent leaves it: the context's variables too, and one that has a name of the script's.
        power.env("MOUNT_DIR", "/run/one-context/mount.x").env("INDEX", "http://nowhere.invalid/");
        power.env("CONTEXT_FILE", "/run/one-context/context.sh.network");
        power.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.power = Some(power.spawn().unwrap());
        self.again(script);
    }

    /// Runs the script in a machine that is on, as the agent does when the context has changed. Returns at once.
    pub(crate) fn again(&self, script: &str) {
        let _ = std::fs::remove_file(self.path("run/ended"));
        self.program("run/script", script);
        std::fs::write(self.path("run/go"), "").unwrap();
    }

    /// The exit code of the script, once it has ended.
    pub(crate) fn ended(&self) -> i32 {
        self.until("the end of the script", || self.read("run/ended").ends_with('\n'));
        self.read("run/ended").trim().parse().unwrap()
    }

    /// Switches it off, without a word to anybody.
    pub(crate) fn off(&mut self) {
        let Some(mut power) = self.power.take() else { return };
        power.kill().unwrap();
        power.wait().unwrap();
        for mount in ["run/one-context/mount.x", "run"] {
            run("umount", &["-l", text(&self.path(mount))]).unwrap();
        }
    }

    /// Waits until this holds; shows what was said where it does not come.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "{what} did not come\n{}", self.words());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that was said.
    pub(crate) fn words(&self) -> String {
        let logs = ["var/log/said", "var/log/onefed-start.log", "var/log/systemctl", "var/log/boot"];
        logs.map(|log| format!("== {log}\n{}", self.read(log))).concat()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.off();
    }
}

/// Runs a program; its complaint is the error.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output();
    let out = out.map_err(|why| format!("{program}: {why}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
