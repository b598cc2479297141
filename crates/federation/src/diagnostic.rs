//! A problem of a plan file, with its place.

use std::fmt;
use std::ops::Range;

use onefed_context::Severity;
use serde::Serialize;

/// Where in the file something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// First byte, from 0.
    pub start: usize,
    /// The byte after the last one; equal to `start` where something is missing.
    pub end: usize,
}

/// One problem of a plan file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable code, `plan::…`; for a context variable's value `context::…`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, with the object's name.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}]: {}", self.place, self.severity, self.code, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Collects the problems of one text.
pub(crate) struct Sink<'t> {
    text: &'t str,
    /// The first byte of every line.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
}

impl<'t> Sink<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(breaks).collect(), found: Vec::new() }
    }

    /// Notes an error; the result takes a hint.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Noted<'_> {
        self.note(Severity::Error, code, span, message.into())
    }

    /// Notes a warning; the result takes a hint.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Noted<'_> {
        self.note(Severity::Warning, code, span, message.into())
    }

    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: String,
    ) -> Noted<'_> {
        let place = self.place(&span);
        self.found.push(Diagnostic { code, severity, message, place, hint: None });
        Noted { diagnostic: self.found.last_mut() }
    }

    /// The text that a span covers.
    pub(crate) fn slice(&self, span: &Range<usize>) -> &'t str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The rest of the text from a byte on.
    pub(crate) fn after(&self, start: usize) -> &'t str {
        self.text.get(start..).unwrap_or_default()
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, start: usize) -> usize {
        self.lines.partition_point(|first| *first <= start).max(1)
    }

    /// Errors and warnings, each in the order of their places.
    pub(crate) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut found = self.found;
        found.sort_by(|a, b| (a.place.start, a.code, &a.message).cmp(&(b.place.start, b.code, &b.message)));
        found.dedup();
        found.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.line(span.start);
        let first = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(first..span.start).unwrap_or_default();
        Place { line, column: before.chars().count() + 1, start: span.start, end: span.end.max(span.start) }
    }
}

/// A problem just noted.
pub(crate) struct Noted<'a> {
    diagnostic: Option<&'a mut Diagnostic>,
}

impl Noted<'_> {
    /// Adds advice.
    pub(crate) fn hint(self, hint: impl Into<String>) {
        if let Some(diagnostic) = self.diagnostic {
            diagnostic.hint = Some(hint.into());
        }
    }

    /// Adds "did you mean …?" where a candidate is near, else the given advice.
    pub(crate) fn suggest<'c>(
        self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
        otherwise: impl FnOnce() -> Option<String>,
    ) {
        let near = onefed_context::nearest(word, candidates).map(|near| format!("did you mean `{near}`?"));
        if let (Some(diagnostic), Some(hint)) = (self.diagnostic, near.or_else(otherwise)) {
            diagnostic.hint = Some(hint);
        }
    }
}
