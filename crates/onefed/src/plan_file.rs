//! The plan file as verbs take it: read, validated, every problem shown with its place.

use std::path::Path;

use onefed_context::Severity;
use onefed_federation::{Diagnostic, Federation};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Reads and validates a plan file. Problems are shown with their lines; all of them, not the first.
pub(crate) fn load(path: &Path, output: Output) -> Result<Federation, Failure> {
    let text = std::fs::read_to_string(path).map_err(|why| {
        let hint = "name the plan file with -f; examples/three-zones.toml is one to start from";
        Failure::new(Exit::BadInput, "plan-file", format!("{}: {why}", path.display())).hint(hint)
    })?;
    match onefed_federation::parse(&text) {
        Ok(federation) => {
            for warning in &federation.warnings {
                output.say(show(path, &text, warning));
            }
            Ok(federation)
        }
        Err(problems) => {
            for problem in &problems {
                output.say(show(path, &text, problem));
            }
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
            let s = if errors == 1 { "" } else { "s" };
            Err(Failure::new(Exit::BadInput, "plan-invalid", format!("{}: {errors} error{s}, nothing was done", path.display())))
        }
    }
}

/// A problem with the line it is in.
fn show(path: &Path, text: &str, problem: &Diagnostic) -> String {
    let line = text.lines().nth(problem.place.line - 1).unwrap_or_default();
    let (number, column) = (problem.place.line.to_string(), problem.place.column);
    let gap = " ".repeat(number.len());
    let length = text.get(problem.place.start..problem.place.end).map_or(1, |marked| marked.lines().next().unwrap_or_default().chars().count());
    let mark = format!("{}{}", " ".repeat(column - 1), "^".repeat(length.max(1)));
    let mut shown = format!(
        "{}[{}]: {}\n{gap} --> {}:{number}:{column}\n{gap} |\n{number} | {line}\n{gap} | {mark}",
        problem.severity,
        problem.code,
        problem.message,
        path.display(),
    );
    if let Some(hint) = &problem.hint {
        shown.push_str(&format!("\n{gap} = hint: {hint}"));
    }
    shown + "\n"
}
