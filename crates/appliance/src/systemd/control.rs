//! Calls of `systemctl` and `journalctl`, each with a deadline and with errors that say which of them it was.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::SystemdError;

/// What is asked about a unit.
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainCode,ExecMainStatus,\
MainPID,NeedDaemonReload,ExecMainStartTimestampMonotonic,InvocationID";
/// `ExecMainCode` of a process that ended by itself; others were killed by a signal (`CLD_EXITED`).
const EXITED: &str = "1";
/// How much of a journal makes an error text.
const LAST_WORDS: usize = 300;

/// systemd's tools, and how long they may take.
#[derive(Clone, Debug)]
pub(super) struct Control {
    /// Program and first arguments.
    pub(super) systemctl: Vec<OsString>,
    pub(super) journalctl: Vec<OsString>,
    /// For a question.
    pub(super) quick: Duration,
    /// For a start or a stop, which has deadlines of its own in the unit (60 and 40 s).
    pub(super) slow: Duration,
}

/// What systemd knows of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitState {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub(crate) load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, …
    pub(crate) active: String,
    /// More exactly: `running`, `auto-restart`, `dead`, …
    pub(crate) sub: String,
    /// How it ended the last time, in systemd's words: `success`, `exit-code`, `oom-kill`, …
    pub(crate) result: String,
    /// The id of its present or last life, as the journal has it.
    pub(crate) invocation: String,
    /// How often systemd has restarted it since somebody last started it.
    pub(crate) restarts: u32,
    /// Whether `status` is a signal's number.
    pub(crate) killed: bool,
    /// The exit status of the main process that ended last, or the signal that killed it.
    pub(crate) status: i32,
    /// The main process.
    pub(crate) pid: Option<u32>,
    /// Whether its file has changed since systemd read it.
    pub(crate) stale: bool,
    /// When the main process was started, in microseconds of the monotonic clock.
    pub(crate) started_us: Option<u64>,
}

impl UnitState {
    /// Whether systemd runs it, or is about to.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Its last end in words.
    pub(crate) fn end(&self) -> String {
        match (self.killed, self.status) {
            (true, signal) => format!("{}, signal {signal}", self.result),
            // systemd's own, before the program: systemd.exec(5), "Process exit codes".
            (_, 203) => format!("{}, the program cannot be executed", self.result),
            (_, 217) => format!("{}, its user is not there", self.result),
            (_, 226) => format!("{}, a path that it needs is not there", self.result),
            (_, status) => format!("{}, status {status}", self.result),
        }
    }
}

impl Control {
    pub(super) fn system() -> Self {
        Self {
            systemctl: vec!["systemctl".into(), "--no-pager".into(), "--no-ask-password".into()],
            journalctl: vec!["journalctl".into(), "--no-pager".into()],
            quick: Duration::from_secs(10),
            slow: Duration::from_secs(120),
        }
    }

    /// What systemd knows of each unit, in one call.
    pub(super) async fn show(&self, units: &[String]) -> Result<HashMap<String, UnitState>, SystemdError> {
        if units.is_empty() {
            return Ok(HashMap::new());
        }
        let mut args = vec!["show", PROPERTIES, "--"];
        args.extend(units.iter().map(String::as_str));
        let output = run(&self.systemctl, &args, self.quick).await?;
        let text = String::from_utf8_lossy(&succeeded(&self.systemctl, &args, &output)?.stdout).into_owned();
        let states = parse_show(&text);
        match units.iter().find(|unit| !states.contains_key(*unit)) {
            None => Ok(states),
            Some(unit) => {
                let said = format!("nothing about {unit} in `{}`", shortened(&text));
                Err(SystemdError::Garbled { what: said_as(&self.systemctl, &args), said })
            }
        }
    }

    /// `start`, `stop`, `daemon-reload`.
    pub(super) async fn act(&self, args: &[&str]) -> Result<(), SystemdError> {
        let output = run(&self.systemctl, args, self.slow).await?;
        succeeded(&self.systemctl, args, &output).map(|_| ())
    }

    /// The last line of a unit's journal. What goes wrong here must not hide what it was wanted for.
    pub(super) async fn last_words(&self, unit: &str) -> String {
        match self.journal(unit, "--lines=20").await {
            Err(why) => format!("(its journal cannot be read: {why})"),
            Ok(text) => {
                // systemd's own lines about the unit only repeat what is known.
                let own = |line: &str| line.starts_with(unit) || line.contains(&format!(" {unit}"));
                let last = text.lines().map(str::trim).rev().find(|line| !line.is_empty() && !own(line));
                last.map_or_else(|| "it said nothing".to_owned(), shortened)
            }
        }
    }

    /// What a unit said in its present life, as far as the journal has it.
    pub(super) async fn said(&self, unit: &str, invocation: &str) -> Result<String, SystemdError> {
        self.journal(unit, &format!("_SYSTEMD_INVOCATION_ID={invocation}")).await
    }

    async fn journal(&self, unit: &str, which: &str) -> Result<String, SystemdError> {
        let args = ["--quiet", "--output=cat", "--unit", unit, which];
        let output = run(&self.journalctl, &args, self.quick).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

async fn run(tool: &[OsString], args: &[&str], deadline: Duration) -> Result<Output, SystemdError> {
    let Some((program, first)) = tool.split_first() else {
        return Err(SystemdError::NotInstalled { tool: "systemctl".to_owned() });
    };
    let mut command = Command::new(program);
    command.args(first).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.env_clear().envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8")]);
    command.envs([("SYSTEMD_COLORS", "0"), ("SYSTEMD_URLIFY", "0")]);
    let what = || said_as(tool, args);
    match tokio::time::timeout(deadline, command.output()).await {
        Err(_) => Err(SystemdError::Hung { what: what(), seconds: deadline.as_secs() }),
        Ok(Err(why)) if why.kind() == std::io::ErrorKind::NotFound => {
            Err(SystemdError::NotInstalled { tool: program.to_string_lossy().into_owned() })
        }
        Ok(Err(why)) => Err(SystemdError::Refused { what: what(), said: why.to_string() }),
        Ok(Ok(output)) => Ok(output),
    }
}

fn succeeded<'a>(tool: &[OsString], args: &[&str], output: &'a Output) -> Result<&'a Output, SystemdError> {
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(|| output.status.to_string(), shortened);
    let no_bus =
        ["Failed to connect to bus", "Failed to get D-Bus connection", "not been booted with systemd"];
    if no_bus.iter().any(|words| text.contains(words)) {
        return Err(SystemdError::NoBus { said });
    }
    Err(SystemdError::Refused { what: said_as(tool, args), said })
}

/// Reads the answer of `systemctl show`: blocks of `Key=value` lines with an empty line between them.
fn parse_show(text: &str) -> HashMap<String, UnitState> {
    let mut states = HashMap::new();
    for block in text.split("\n\n") {
        let values: HashMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| values.get(key).copied().unwrap_or_default();
        if value("Id").is_empty() || value("ActiveState").is_empty() {
            continue;
        }
        let state = UnitState {
            load: value("LoadState").to_owned(),
            active: value("ActiveState").to_owned(),
            sub: value("SubState").to_owned(),
            result: value("Result").to_owned(),
            invocation: value("InvocationID").to_owned(),
            restarts: value("NRestarts").parse().unwrap_or(0),
            killed: !matches!(value("ExecMainCode"), EXITED | "0" | ""),
            status: value("ExecMainStatus").parse().unwrap_or(0),
            pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
            stale: value("NeedDaemonReload") == "yes",
            started_us: value("ExecMainStartTimestampMonotonic").parse().ok().filter(|at| *at != 0),
        };
        states.insert(value("Id").to_owned(), state);
    }
    states
}

fn said_as(tool: &[OsString], args: &[&str]) -> String {
    let program = tool.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let args: Vec<&str> = args.iter().copied().filter(|arg| !arg.starts_with("--")).collect();
    format!("{program} {}", args.join(" "))
}

fn shortened(line: &str) -> String {
    line.chars().take(LAST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_any_shape_are_read_or_left_out() {
        let text = "Id=onefed-hub.service\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=7\n\
            ExecMainCode=1\nExecMainStatus=203\nMainPID=0\nNeedDaemonReload=no\nLoadState=loaded\n\n\
            Id=b.service\nActiveState=active\nMainPID=12\nExecMainCode=2\nExecMainStatus=9\nNeedDaemonReload=yes\n\
            ExecMainStartTimestampMonotonic=123\nFuture=a=b\n\nActiveState=active\n\nnoise";
        let states = parse_show(text);
        assert_eq!(states.len(), 2);
        let hub = &states["onefed-hub.service"];
        assert!(hub.is_on() && !hub.stale && hub.pid.is_none() && hub.restarts == 7);
        assert_eq!(hub.end(), "exit-code, the program cannot be executed");
        let other = &states["b.service"];
        assert!(other.stale && other.killed);
        assert_eq!((other.pid, other.started_us), (Some(12), Some(123)));
    }
}
