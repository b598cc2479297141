//! How a verb fails: a stable code, what and where, a hint, and an exit code by meaning.

use std::fmt;

use onefed_federation::Diagnostic;
use serde_json::{Value, json};

/// Exit codes by meaning; the numbers from 64 on are those of sysexits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    ChangesPending = 2,
    Usage = 64,
    BadInput = 65,
    Unreachable = 69,
    TryAgain = 75,
    Permission = 77,
    Configuration = 78,
}

/// One thing that went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// What is wrong in the plan file, where that is the failure.
    pub(crate) problems: Vec<Diagnostic>,
}

/// A result of a verb: how to exit, or why it failed.
pub(crate) type Done = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl ToString) -> Self {
        Self { exit, code, message: message.to_string(), hint: None, problems: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether a zone failed in a way that may pass without anybody doing anything.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.code, "zone-unreachable" | "zone-busy")
    }

    /// The failure as a JSON document.
    pub(crate) fn document(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "hint": self.hint });
        if !self.problems.is_empty() {
            error["problems"] = json!(self.problems);
        }
        json!({ "schema_version": 1, "error": error })
    }

    /// A file that could not be read or written.
    pub(crate) fn file(path: &std::path::Path, why: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, "file", format!("{}: {why}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Several failures as one: the first one's code, everybody's words.
pub(crate) fn join(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures = failures.into_iter();
    let mut first = failures.next()?;
    for other in failures {
        first.message.push_str("\n  and: ");
        first.message.push_str(&other.message);
        first.hint = match (first.hint, other.hint) {
            (Some(one), Some(other)) if !one.contains(&other) => Some(format!("{one}; {other}")),
            (one, other) => one.or(other),
        };
    }
    Some(first)
}

impl From<onefed_trust::Error> for Failure {
    fn from(why: onefed_trust::Error) -> Self {
        Self::new(Exit::Failed, "trust", why)
    }
}

impl From<onefed_link::Error> for Failure {
    fn from(why: onefed_link::Error) -> Self {
        use onefed_link::Error as E;
        let (exit, code, hint) = match &why {
            E::Listen { .. } => (
                Exit::Configuration,
                "address-in-use",
                Some("another program has the port: choose one with --port; 0 takes a free one"),
            ),
            E::Unreachable { .. } | E::Timeout { .. } => (
                Exit::Unreachable,
                "unreachable",
                Some("is the SuperLink's VM up, and its admin port open from here? see `onefed status`"),
            ),
            E::Tls { .. } => (
                Exit::Permission,
                "tls",
                Some("does --state name the directory from which this federation was applied?"),
            ),
            E::Answer { .. } | E::Refused { .. } | E::Disk { .. } | E::Trust(_) => {
                (Exit::Failed, "link", None)
            }
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(exit, code, why) }
    }
}

impl From<onefed_opennebula::Error> for Failure {
    fn from(why: onefed_opennebula::Error) -> Self {
        use onefed_opennebula::Error as E;
        let (exit, code, hint) = match &why {
            E::Unreachable { .. } | E::Timeout { .. } => (
                Exit::Unreachable,
                "zone-unreachable",
                Some("is the zone up, and is its endpoint right in the plan file?"),
            ),
            E::Unavailable { .. } | E::Conflict { .. } => {
                (Exit::TryAgain, "zone-busy", Some("try again in a moment"))
            }
            E::Unauthenticated { .. } => {
                (Exit::Permission, "zone-login", Some("check the zone's `auth` file: it holds user:password"))
            }
            E::Unauthorized { .. } => (Exit::Permission, "zone-rights", None),
            E::Tls { .. } => (Exit::Configuration, "zone-tls", None),
            E::BadInput { .. } => (Exit::BadInput, "zone-input", None),
            E::TooOld { .. } => (Exit::Configuration, "zone-too-old", None),
            E::Locked { .. } => {
                (Exit::Permission, "zone-locked", Some("somebody has locked it: see its LOCK"))
            }
            E::Garbage { .. } | E::Fault { .. } => (
                Exit::Configuration,
                "zone-answer",
                Some(
                    "check the zone's `endpoint` and `oneflow` in the plan file: something else answers there",
                ),
            ),
            _ => (Exit::Failed, "zone-refused", None),
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(exit, code, why) }
    }
}
