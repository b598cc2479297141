//! The only place that prints. Data goes to standard output, talk to standard error.

use std::io::{IsTerminal as _, Write as _};

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document with a `schema_version`.
    Json,
    /// Text that Prometheus reads. Only `status` has anything to say in it.
    #[value(hide = true)]
    Metrics,
    /// OpenNebula's own template syntax. Only `templates` has anything to say in it.
    #[value(hide = true)]
    One,
}

/// Where a verb's words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    colour: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour: colour && std::io::stderr().is_terminal() }
    }

    /// Says how things are going.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        // A closed standard error is no reason to stop working.
        let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
    }

    /// A heading in the talk of a longer story.
    pub(crate) fn heading(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if self.colour {
            self.say(format!("\n\u{1b}[1m{line}\u{1b}[0m"))
        } else {
            self.say(format!("\n{line}"))
        }
    }

    /// Writes data as text; nothing in JSON mode.
    pub(crate) fn text(&self, text: impl AsRef<str>) {
        if self.format == Format::Text {
            let text = text.as_ref();
            let end = if text.ends_with('\n') { "" } else { "\n" };
            let _ = write!(std::io::stdout(), "{text}{end}");
            let _ = std::io::stdout().flush();
        }
    }

    /// Writes data in OpenNebula's syntax; nothing in the other modes.
    pub(crate) fn one(mut self, text: impl AsRef<str>) {
        if self.format == Format::One {
            self.format = Format::Text;
            self.text(text);
        }
    }

    /// Writes metrics; nothing in the other modes.
    pub(crate) fn metrics(mut self, text: impl AsRef<str>) {
        if self.format == Format::Metrics {
            self.format = Format::Text;
            self.text(text);
        }
    }

    /// Whether text can be drawn over what was drawn before.
    pub(crate) fn redraws(&self) -> bool {
        self.format == Format::Text && std::io::stdout().is_terminal()
    }

    /// Draws text on an empty screen. False when nobody reads it any more.
    pub(crate) fn redraw(&self, text: impl AsRef<str>) -> bool {
        // To the upper left corner, and everything from there on away.
        self.block(format!("\u{1b}[H\u{1b}[J{}", text.as_ref()))
    }

    /// Writes one of many blocks of text. False when nobody reads it any more.
    pub(crate) fn block(&self, text: impl AsRef<str>) -> bool {
        let mut out = std::io::stdout();
        writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).is_ok()
    }

    /// Writes one of many JSON documents, each on a line of its own. False when nobody reads it any more.
    pub(crate) fn json_line(&self, document: &impl serde::Serialize) -> bool {
        self.block(serde_json::to_string(document).unwrap_or_else(|why| format!("{{\"error\":\"{why}\"}}")))
    }

    /// Writes data as a JSON document; nothing in text mode.
    pub(crate) fn json(&self, document: &impl serde::Serialize) {
        if self.format == Format::Json {
            let json = serde_json::to_string_pretty(document)
                .unwrap_or_else(|why| format!("{{\"error\":\"{why}\"}}"));
            let _ = writeln!(std::io::stdout(), "{json}");
        }
    }
}
