//! One thing that is wrong, doubtful or worth knowing in a context.

use std::fmt;

use serde::Serialize;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The VM must not start with this context.
    Error,
    /// The VM starts, but somebody should look at it.
    Warning,
    /// Nothing to do.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One finding about a context. Its texts never hold the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The variable it is about; none for a line that cannot be read.
    pub variable: Option<String>,
    /// A stable code, `context::…`.
    pub code: &'static str,
    /// What is wrong. For a refused value this is the literal message of the variable reference.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// An error about a variable.
    pub(crate) fn error(code: &'static str, variable: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, variable, message)
    }

    /// A warning about a variable.
    pub(crate) fn warning(code: &'static str, variable: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, variable, message)
    }

    /// A remark about a variable.
    pub(crate) fn info(code: &'static str, variable: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, variable, message)
    }

    fn new(severity: Severity, code: &'static str, variable: &str, message: impl Into<String>) -> Self {
        Self { severity, variable: Some(variable.to_owned()), code, message: message.into(), hint: None }
    }

    /// The same finding with advice.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the VM must not start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The longest value that a message repeats, in characters.
const SHOWN: usize = 120;

/// A value as a message may show it: without control characters, and not without end.
pub(crate) fn shown(value: &str) -> String {
    let mut out = String::new();
    for (count, c) in value.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
