//! One thing that was noticed about an import.

use std::fmt;

use serde::Serialize;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set must not be used.
    Error,
    /// The set works, but somebody should look at it.
    Warning,
    /// What was repaired or left out.
    Note,
}

/// One finding. Its texts never hold any part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code, `import::…`.
    pub code: &'static str,
    /// The name of the input that it is about, as the caller gave it.
    pub input: String,
    /// What is wrong; it names the input.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn error(
        &mut self,
        code: &'static str,
        input: &str,
        message: String,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, code, input, message, Some(hint.into()));
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        input: &str,
        message: String,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, input, message, Some(hint.into()));
    }

    pub(super) fn note(&mut self, code: &'static str, input: &str, message: String) {
        self.add(Severity::Note, code, input, message, None);
    }

    /// The same is said once, also where two ways lead to it.
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        input: &str,
        message: String,
        hint: Option<String>,
    ) {
        let finding = Finding { severity, code, input: input.to_owned(), message, hint };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}
