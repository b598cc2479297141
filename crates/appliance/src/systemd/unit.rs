//! A service as the text of a systemd unit. A pure function: the same service and digest make the same text, and the
//! text differs where anything differs that a running process of it depends on.
//!
//! The environment is in `Environment=` lines and not in a file of its own: the unit is then the one statement of what
//! runs, and there is no second file to keep in step with it. Everybody on the VM can read both; no secret belongs into
//! an environment.
//!
//! There is no `[Install]` section. At a reboot systemd starts `onefed-boot.service` only, and that starts these after
//! it has configured them again: enabled for themselves, they would start with the files of the boot before.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use onefed_flower::command::CommandLine;
use onefed_flower::container::Engine;

use super::SystemdError;
use super::quote::{word, words};
use crate::service::{InContainer, Service, User};

/// The first line of every unit that onefed writes; files without it are somebody else's.
pub(super) const MARK: &str =
    "# Written by `onefed boot`, and written again by the next one: change it by a drop-in.";
/// Seconds between the end of a process and its next start.
const RESTART_SECONDS: u32 = 5;
/// The longest argument that Linux takes, with its end (`MAX_ARG_STRLEN`).
const LONGEST_WORD: usize = 128 * 1024 - 1;
/// systemd reads no longer lines.
const LONGEST_LINE: usize = 1024 * 1024 - 1;
/// Ports below this one need a capability.
const FIRST_FREE_PORT: u16 = 1024;

/// The unit's file name.
pub(super) fn file_name(service: &str) -> String {
    format!("onefed-{service}.service")
}

/// The name of the user in the VM's list of users.
pub(super) fn user_name(user: User) -> &'static str {
    match user {
        User::Onefed => "onefed",
        User::Flower => "flower",
    }
}

/// The unit's text. `digest` stands for the content of everything outside of the unit that the process reads at its
/// start.
///
/// # Errors
/// [`SystemdError::Unwritable`] where a path, an argument or a variable cannot be said in a unit.
pub(super) fn render(service: &Service, digest: &str) -> Result<String, SystemdError> {
    check(service)?;
    let mut text = Text(format!("{MARK}\n# inputs: sha256:{digest}\n"));
    text.section("Unit");
    text.set("Description", &format!("onefed: {}", service.name));
    text.set("After", "network-online.target");
    if service.container.as_ref().is_some_and(|container| container.engine == Engine::Docker) {
        // Not `Requires=`: a restart of the engine must not leave this stopped.
        text.set("Wants", "docker.service");
        text.set("After", "docker.service");
    }
    text.note("A site that is down for a week must come back by itself: systemd never gives up on it.");
    text.set("StartLimitIntervalSec", "0");
    text.section("Service");
    text.set("Type", "exec");
    for (key, value) in &service.command.env {
        text.set("Environment", &word(&format!("{key}={value}")));
    }
    if let Some(container) = &service.container {
        for command in &container.before {
            text.set("ExecStartPre", &format!("-{}", command_line(command)?));
        }
    }
    text.set("ExecStart", &command_line(&service.command)?);
    if let Some(container) = &service.container {
        text.set("ExecStop", &command_line(&container.stop)?);
    }
    life(&mut text, service);
    match &service.container {
        None => confinement(&mut text, service),
        Some(container) => client_confinement(&mut text, container),
    }
    let longest = text.0.lines().map(str::len).max().unwrap_or(0);
    if longest > LONGEST_LINE {
        return Err(unwritable(service, "its command line", "it is longer than 1 MiB"));
    }
    Ok(text.0)
}

/// Start, end and limits.
fn life(text: &mut Text, service: &Service) {
    text.set("Restart", "always");
    text.set("RestartSec", &RESTART_SECONDS.to_string());
    text.set("TimeoutStartSec", "60");
    text.set("TimeoutStopSec", "40");
    text.note("Only the main process is asked to end; what it leaves behind is killed.");
    text.set("KillMode", "mixed");
    text.set("SyslogIdentifier", &file_name(service.name).replace(".service", ""));
    text.set("UMask", "0077");
    text.set("LimitNOFILE", "65536");
    text.note("A dump of its memory would be a file with keys and data.");
    text.set("LimitCORE", "0");
    match service.user {
        User::Onefed => {
            text.set("TasksMax", "512");
            text.note("Without the link the site is gone; an app's appetite must not cost it.");
            text.set("OOMScoreAdjust", "-500");
        }
        User::Flower => {
            text.set("TasksMax", "8192");
            text.set("OOMScoreAdjust", "200");
            text.note("An app that takes too much memory ends; SuperLink and SuperNode stay and report it.");
            text.set("OOMPolicy", "continue");
        }
    }
}

/// What a process of onefed or Flower may do on the VM: little.
fn confinement(text: &mut Text, service: &Service) {
    let user = user_name(service.user);
    text.set("User", user);
    text.set("Group", user);
    let low_port = service.listens.iter().any(|socket| socket.port() < FIRST_FREE_PORT);
    let capabilities = if low_port { "CAP_NET_BIND_SERVICE" } else { "" };
    text.set("CapabilityBoundingSet", capabilities);
    text.set("AmbientCapabilities", capabilities);
    let paths = || service.paths();
    let home = |path: &Path| ["/home", "/root", "/run/user"].iter().any(|dir| path.starts_with(dir));
    let temporary = |path: &Path| ["/tmp", "/var/tmp"].iter().any(|dir| path.starts_with(dir));
    text.set("ProtectSystem", "strict");
    // What the operator has put there must stay visible; the rest of it is guarded by file modes then.
    text.set("ProtectHome", if paths().any(home) { "read-only" } else { "yes" });
    text.set("PrivateTmp", if paths().any(temporary) { "no" } else { "yes" });
    for path in &service.writes {
        text.set("ReadWritePaths", &word(&path.to_string_lossy()));
    }
    if service.gpu {
        text.note("GPUs, and nothing else that is a device.");
        text.set("DevicePolicy", "closed");
        for device in ["char-nvidia*", "char-kfd", "char-drm"] {
            text.set("DeviceAllow", &format!("{device} rw"));
        }
    } else {
        text.set("PrivateDevices", "yes");
    }
    text.set("RemoveIPC", "yes");
    text.set("ProtectProc", "invisible");
    text.set("KeyringMode", "private");
    nothing_of_the_machine(text);
    match service.user {
        User::Onefed => {
            text.set("SystemCallFilter", "~@privileged");
            text.set("MemoryDenyWriteExecute", "yes");
            text.set("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX");
        }
        // Libraries for learning compile code as they run, and unpack archives with owners.
        User::Flower => text.set("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
    }
}

/// What neither a process of ours nor an engine's client has any business with.
fn nothing_of_the_machine(text: &mut Text) {
    for name in [
        "NoNewPrivileges",
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "ProtectClock",
        "ProtectHostname",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
    ] {
        text.set(name, "yes");
    }
    text.set("SystemCallArchitectures", "native");
    text.set("SystemCallFilter", "@system-service");
    text.set("SystemCallErrorNumber", "EPERM");
}

/// An engine's client runs as root, because who may talk to the engine is root. Docker's does no more than talk.
fn client_confinement(text: &mut Text, container: &InContainer) {
    match container.engine {
        Engine::Docker => {
            text.set("CapabilityBoundingSet", "");
            text.set("ProtectSystem", "strict");
            text.set("ProtectHome", "read-only");
            text.set("RestrictAddressFamilies", "AF_UNIX");
            for name in ["PrivateTmp", "PrivateDevices", "PrivateNetwork"] {
                text.set(name, "yes");
            }
            nothing_of_the_machine(text);
        }
        Engine::Podman => {
            text.note(
                "Podman makes the container itself, below this unit: it confines, and cannot be confined.",
            );
            text.set("Delegate", "yes");
        }
    }
}

impl Service {
    /// Every path that the process has to see.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let lists = [&self.inputs, &self.reads, &self.writes];
        lists.into_iter().flatten().map(PathBuf::as_path).chain([self.command.program.as_path()])
    }
}

/// A unit's text as it grows.
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        let _ = writeln!(self.0, "\n[{name}]");
    }

    fn set(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name}={value}");
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.0, "# {text}");
    }
}

/// A command line as systemd runs it: nothing in it is expanded.
fn command_line(command: &CommandLine) -> Result<String, SystemdError> {
    let program = command.program.to_str().unwrap_or_default();
    Ok(format!(":{}", words([program].into_iter().chain(command.args.iter().map(String::as_str)))))
}

/// Refuses what a unit cannot say, all at once.
fn check(service: &Service) -> Result<(), SystemdError> {
    let mut problems = Vec::new();
    let container = service.container.iter().flat_map(|c| c.before.iter().chain([&c.stop]));
    for command in [&service.command].into_iter().chain(container) {
        match command.program.to_str() {
            Some(_) if !command.program.is_absolute() => {
                let what = format!("the program {}", command.program.display());
                problems.push(unwritable(service, &what, "it is not an absolute path"));
            }
            // systemd's own rule (`string_is_safe`), however well they are quoted.
            Some(path) if path.contains(|c: char| c.is_ascii_control() || "\"'\\".contains(c)) => {
                let why =
                    "systemd runs no program with quotes, backslashes or control characters in its path";
                problems.push(unwritable(service, &format!("the program {path:?}"), why));
            }
            Some(_) => {}
            None => problems.push(unwritable(service, "the program's path", "it is not UTF-8")),
        }
        for (index, arg) in command.args.iter().enumerate() {
            if let Some(why) = unspeakable(arg) {
                problems.push(unwritable(service, &format!("argument {}", index + 1), why));
            }
        }
    }
    for (key, value) in &service.command.env {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) || !key.chars().all(letter) {
            problems.push(unwritable(
                service,
                &format!("the variable `{}`", key.escape_debug()),
                "not a name",
            ));
        }
        if let Some(why) = unspeakable(value) {
            problems.push(unwritable(service, &format!("the variable {key}"), why));
        }
    }
    for path in service.writes.iter() {
        if !path.is_absolute() || path.to_str().is_none_or(|text| text.contains('\0')) {
            problems.push(unwritable(service, &path.display().to_string(), "not an absolute path in UTF-8"));
        }
    }
    SystemdError::all(problems)
}

fn unspeakable(text: &str) -> Option<&'static str> {
    match text {
        _ if text.contains('\0') => Some("it has a NUL"),
        _ if text.len() > LONGEST_WORD => Some("it is longer than 128 KiB, which no program can be given"),
        _ => None,
    }
}

fn unwritable(service: &Service, what: &str, why: &'static str) -> SystemdError {
    SystemdError::Unwritable { unit: file_name(service.name), what: what.to_owned(), why }
}
