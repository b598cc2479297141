//! How a run is written down, and what of it differs from run to run.

use super::{Desk, Run};

/// What is replaced, in this order. All of it is here, so that two snapshots never hide different things.
const FILTERS: &[(&str, &str)] = &[
    // Times and dates.
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[TIME]"),
    (r"\b\d+\.\d+ s\b", "[N] s"),
    (r#"\bseconds="\d+\.\d+""#, "seconds=[N]"),
    (r#""(seconds|at)": \d+(\.\d+)?"#, r#""$1": "[N]""#),
    (r"\b\d+ days\b", "[N] days"),
    (r#""(days|certificate_days)": \d+"#, r#""$1": "[N]""#),
    (r#""(start|end)": \d+"#, r#""$1": "[BYTE]""#),
    // Processes, ports that the system chose, Flower's ids.
    (r"\bprocess \d+", "process [PID]"),
    (r#""pid": \d+"#, r#""pid": "[PID]""#),
    (r"\b127\.0\.0\.1:[1-9]\d{4}\b", "127.0.0.1:[PORT]"),
    (r"\b\d{15,20}\b", "[ID]"),
    // Where a VM is on its way when it happens to be looked at.
    (r"(?m)^  \S+: \S+ VM \d+: (init|pending|hold|active|starting|asks for its certificate)\n", ""),
    // A digest moves with every new context variable.
    (r#""digest": "[^"]+""#, r#""digest": "[DIGEST]""#),
];

/// Exit code, standard output, standard error.
fn render(run: &Run) -> String {
    let exit = run.exit.map_or("by a signal".to_owned(), |code| code.to_string());
    format!("exit: {exit}\n--- stdout\n{}--- stderr\n{}", whole_lines(&run.stdout), whole_lines(&run.stderr))
}

/// Makes a missing end of line visible.
fn whole_lines(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}(no end of line)\n")
    }
}

/// Compares a run with `tests/snapshots/<name>.snap`.
#[track_caller]
pub(super) fn assert(desk: &Desk, name: &str, run: &Run) {
    let here = |text: String| {
        text.replace(&desk.dir().display().to_string(), "[DIR]")
            .replace(&format!("127.{}.", desk.net()), "127.NET.")
            .replace(&format!("--net {}", desk.net()), "--net NET")
    };
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(here(run.line.clone()));
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, *replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, here(render(run))));
}
