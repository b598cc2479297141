//! Asking on a terminal.

use std::io::{BufRead as _, IsTerminal as _};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Somebody who answers questions.
pub(super) trait Ask {
    /// The answer, or the default where it is empty. `None` where there is no default either.
    ///
    /// # Errors
    /// When nobody is there any more.
    fn ask(&mut self, question: &str, default: Option<&str>) -> Result<Option<String>, Failure>;

    /// Says what is wrong with an answer.
    fn say(&mut self, line: &str);
}

/// The person at the terminal.
pub(super) struct Terminal(Output);

impl Terminal {
    /// `None` where there is none: both what is typed and what is asked must be a person's.
    pub(super) fn of(output: Output) -> Option<Self> {
        (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()).then_some(Self(output))
    }
}

impl Ask for Terminal {
    fn ask(&mut self, question: &str, default: Option<&str>) -> Result<Option<String>, Failure> {
        let shown = default.map_or(String::new(), |default| format!(" [{default}]"));
        self.0.say(format!("{question}{shown}"));
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        match read.map_err(|why| Failure::new(Exit::Failed, "terminal", why))? {
            0 => Err(Failure::new(Exit::Failed, "terminal", "no answer: nothing was written")
                .hint("give the answers as options: `onefed help init`")),
            _ if line.trim().is_empty() => Ok(default.map(str::to_owned)),
            _ => Ok(Some(line.trim().to_owned())),
        }
    }

    fn say(&mut self, line: &str) {
        self.0.say(line);
    }
}
