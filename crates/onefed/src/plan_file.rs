//! The plan file as verbs take it: read, validated, every problem shown with its place.

use std::io::ErrorKind;
use std::path::Path;

use onefed_federation::{Diagnostic, Federation};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Reads and validates a plan file. Problems are shown with their lines; all of them, not the first.
pub(crate) fn load(path: &Path, output: Output) -> Result<Federation, Failure> {
    let text = std::fs::read_to_string(path).map_err(|why| unreadable(path, &why))?;
    let checked = onefed_federation::check(&text);
    let mut found: Vec<&Diagnostic> = checked.errors.iter().chain(&checked.warnings).collect();
    found.sort_by_key(|problem| problem.place);
    for problem in found {
        output.say(show(path, &text, problem));
    }
    checked.federation.ok_or_else(|| {
        let errors = checked.errors.len();
        let s = if errors == 1 { "" } else { "s" };
        let message = format!("{}: {errors} error{s}, nothing was done", path.display());
        let mut failure = Failure::new(Exit::BadInput, "plan-invalid", message);
        failure.problems = checked.errors;
        failure.problems.extend(checked.warnings);
        failure
    })
}

fn unreadable(path: &Path, why: &std::io::Error) -> Failure {
    let failure = Failure::new(Exit::BadInput, "plan-file", format!("{}: {why}", path.display()));
    match why.kind() {
        ErrorKind::InvalidData => failure.hint("a plan file is TOML, which is UTF-8 text"),
        _ => failure.hint("name the plan file with -f, or let `onefed init` write one"),
    }
}

/// A problem with the line it is in.
pub(crate) fn show(path: &Path, text: &str, problem: &Diagnostic) -> String {
    let line = text.lines().nth(problem.place.line - 1).unwrap_or_default();
    let (number, column) = (problem.place.line.to_string(), problem.place.column);
    let gap = " ".repeat(number.len());
    let length = text
        .get(problem.place.start..problem.place.end)
        .map_or(1, |marked| marked.lines().next().unwrap_or_default().chars().count());
    let mark = format!("{}{}", " ".repeat(column - 1), "^".repeat(length.max(1)));
    let mut shown = format!(
        "{}[{}]: {}\n{gap} --> {}:{number}:{column}\n{gap} |\n{number} | {}\n{gap} | {mark}",
        problem.severity,
        problem.code,
        problem.message,
        path.display(),
        masked(line),
    );
    if let Some(hint) = &problem.hint {
        shown.push_str(&format!("\n{gap} = hint: {hint}"));
    }
    shown + "\n"
}

/// A line of the plan without the secrets that do not belong there: what is shown ends up in logs. The columns stay
/// where they are.
fn masked(line: &str) -> String {
    let stars = |text: &str| "*".repeat(text.chars().count());
    // The value of a secret variable, wherever in the line it is.
    for row in onefed_context::TABLE.iter().filter(|row| row.secret) {
        let value = line.find(row.name).and_then(|at| Some(at + line[at..].find('=')? + 1));
        if let Some((before, value)) = value.and_then(|at| line.split_at_checked(at)) {
            return before.to_owned() + &stars(value);
        }
    }
    // user:password@ of a URL. A password may hold a slash, so everything up to the last @ counts.
    let Some((before, after)) = line.split_once("://") else { return line.to_owned() };
    let end = after.find(['"', '\'', ' ']).unwrap_or(after.len());
    match after[..end].rfind('@') {
        Some(at) => format!("{before}://{}{}", stars(&after[..at]), &after[at..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_line_are_not_shown() {
        for (line, shown) in [
            ("url = \"http://me:p/w@rd@one:2633\" # x@y", "url = \"http://*********@one:2633\" # x@y"),
            ("oneflow = 'https://one.example.org' # a@b", "oneflow = 'https://one.example.org' # a@b"),
            ("\"FL_ENROL_KEY\" = \"abc\"", "\"FL_ENROL_KEY\" =******"),
            ("variables = { ONEAPP_FL_ENROL_KEY='k' }", "variables = { ONEAPP_FL_ENROL_KEY=*****"),
            ("name = \"lab\"", "name = \"lab\""),
            ("endpoint = \"http://ü:ö", "endpoint = \"http://ü:ö"),
        ] {
            assert_eq!(masked(line), shown);
            assert_eq!(line.chars().count(), shown.chars().count());
        }
    }
}
