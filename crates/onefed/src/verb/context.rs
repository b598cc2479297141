//! `onefed context check`: what a VM would say about its context, without a VM.

use std::path::Path;

use onefed_context::{Problem, RawContext, Role, Severity, validate};
use serde_json::json;

use crate::failure::{Done, Exit, Failure};
use crate::output::Output;

/// Set by OpenNebula for each VM, so that a file which is to become a context cannot have them.
const SET_BY_OPENNEBULA: [(&str, &str); 3] =
    [("VMID", "0"), ("ETH0_IP", "192.0.2.1"), ("ONEGATE_ENDPOINT", "http://192.0.2.2:5030")];

/// Validates a file for a role. What OpenNebula sets may be missing.
pub(crate) fn check(file: &Path, role: Option<Role>, output: Output) -> Done {
    let text = std::fs::read_to_string(file).map_err(|why| {
        let message = format!("{}: {why}", file.display());
        Failure::new(Exit::BadInput, "file", message).hint("give a context.sh, or a file of KEY=value lines")
    })?;
    let (given, mut problems) = RawContext::parse(&text);
    let mut pairs: Vec<(String, String)> =
        given.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if let Some(role) = role {
        pairs.retain(|(name, _)| name != "FL_ROLE" && name != "ONEAPP_FL_ROLE");
        pairs.push(("FL_ROLE".to_owned(), role.to_string()));
    }
    let asks_onegate = given.get("TOKEN").is_some();
    for (name, stand_in) in SET_BY_OPENNEBULA {
        let wanted = match name {
            "ETH0_IP" => given.get("ETH0_IP6").is_none(),
            "ONEGATE_ENDPOINT" => asks_onegate,
            _ => true,
        };
        if wanted && given.get(name).is_none() {
            pairs.push((name.to_owned(), stand_in.to_owned()));
        }
    }
    problems.extend(validate(&RawContext::from_pairs(pairs)).problems);
    report(file, &problems, output);
    Ok(if problems.iter().any(Problem::is_error) { Exit::Configuration } else { Exit::Ok })
}

fn report(file: &Path, problems: &[Problem], output: Output) {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let verdict = if errors == 0 { "ok" } else { "refused" };
    lines.push(format!("{}: {verdict}; errors: {errors}, warnings: {warnings}", file.display()));
    output.text(lines.join("\n"));
    output.json(&json!({
        "schema_version": 1,
        "file": file.display().to_string(),
        "ok": errors == 0,
        "errors": errors,
        "warnings": warnings,
        "problems": problems,
    }));
}
