//! Asking before something is lost.

use std::io::{BufRead as _, IsTerminal as _};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Asks for a name on the terminal; true only if it is the right one. Without a terminal there is nobody to ask.
pub(crate) fn by_name(question: &str, name: &str, output: Output) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "this asks before anything is replaced or removed, and there is no terminal to ask on";
        return Err(Failure::new(Exit::Usage, "not-confirmed", text).hint("add --yes"));
    }
    output.say(question);
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|why| Failure::new(Exit::Failed, "terminal", why))?;
    Ok(line.trim() == name)
}
