//! What the TOML parser itself refuses.

use toml::de::Error;

use crate::diagnostic::Sink;

/// Reports the parser's errors. Returns whether the rest of the text can be trusted: a name given twice leaves the
/// table whole, anything else may have swallowed parts of it.
pub(super) fn note(problems: &[Error], sink: &mut Sink<'_>) -> bool {
    let mut whole = true;
    let mut seen_line = None;
    let mut second_coordinator = 0..0;
    let mut problems: Vec<_> =
        problems.iter().map(|problem| (problem.span().unwrap_or_default(), problem.message())).collect();
    problems.sort_by_key(|(span, _)| span.start);
    for (span, message) in problems {
        let word = sink.slice(&span);
        if message == "duplicate key" {
            if second_coordinator.contains(&span.start) {
                // The parser goes on into the first table, so that each key of the second one is a duplicate too.
                continue;
            }
            let header = span.start.checked_sub(1).is_some_and(|before| sink.after(before).starts_with('['));
            if word == "coordinator" && header {
                let rest = sink.after(span.end);
                second_coordinator = span.end..span.end + rest.find("\n[").unwrap_or(rest.len());
                second(span, sink);
            } else {
                sink.error("plan::duplicate-key", span, format!("`{word}` is given twice"));
            }
            continue;
        }
        whole = false;
        // One mistake makes the parser stumble on, often many times in a line; the first one is the one to mend.
        let line = sink.line(span.start);
        if seen_line != Some(line) {
            sink.error("plan::syntax", span, message);
        }
        seen_line = Some(line);
    }
    whole
}

/// Reports a coordinator beyond the first.
pub(super) fn second(span: std::ops::Range<usize>, sink: &mut Sink<'_>) {
    sink.error(
        "plan::two-coordinators",
        span,
        "a federation has exactly one coordinator, and this is another one",
    )
    .hint("make it a [[site]], or describe the other federation in a plan of its own");
}
