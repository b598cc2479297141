//! `onefed plan`: what would be created, changed or removed in each zone, and what stands in the way.

mod observe;
mod preflight;
mod saved;
mod survey;

use std::path::Path;

use onefed_context::Severity;
use onefed_federation::Plan;
use serde::Serialize;
use serde_json::Value;

use self::preflight::Problem;
use crate::cli::Place;
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;
use crate::{plan_file, zones};

pub(crate) use saved::SavedPlan;
pub(crate) use survey::{Survey, make, survey};

/// Shows the plan, and writes it to a file where that is asked for. Exit code 0 when there is nothing to do, 2 when there
/// is, 78 or 77 when an `apply` would be refused, 69 when a zone is down.
pub(crate) async fn run(place: &Place, out: Option<&Path>, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let (zones, lacking) = zones::reachable(&federation).await;
    let survey = survey::survey_all(&federation, &zones, lacking).await;
    for problem in survey.problems() {
        output.say(plan_file::show(&place.file, federation.text.as_str(), &problem.diagnostic));
    }
    let failure = join(refused(&survey).into_iter().chain(survey.down()).collect());
    let error = failure.as_ref().map(|why| why.document()["error"].clone());
    output.text(survey.plan.render());
    output.json(&Document { schema_version: 1, plan: &survey.plan, problems: survey.problems(), error });
    if let Some(out) = out {
        // A plan that cannot be carried out is nothing to keep; one for the zones that are up is.
        if survey.refusal().is_some() {
            output.say(format!("{} was not written: the plan cannot be carried out", out.display()));
        } else {
            SavedPlan::of(&federation, &survey).write(out)?;
            output
                .say(format!("written to {0}; `onefed apply {0}` does this and nothing else", out.display()));
        }
    }
    match failure {
        None if survey.plan.is_empty() => Ok(Exit::Ok),
        None => Ok(Exit::ChangesPending),
        Some(why) => {
            output.say(why.to_string());
            Ok(why.exit)
        }
    }
}

/// What refuses an `apply`. Problems that were shown with their lines are counted here and not repeated.
fn refused(survey: &Survey) -> Option<Failure> {
    let errors: Vec<&Problem> =
        survey.problems().iter().filter(|problem| problem.diagnostic.severity == Severity::Error).collect();
    let mut zones: Vec<&str> = errors.iter().map(|problem| problem.zone.as_str()).collect();
    zones.dedup();
    let shown = (!errors.is_empty()).then(|| {
        let (s, z) = (if errors.len() == 1 { "" } else { "s" }, if zones.len() == 1 { "" } else { "s" });
        let text = format!(
            "{} problem{s} in zone{z} {}: an `apply` would be refused",
            errors.len(),
            zones.join(", ")
        );
        Failure::new(Exit::Configuration, "preflight", text)
    });
    join(shown.into_iter().chain(survey.barred()).collect())
}

/// A plan as a JSON document.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    #[serde(flatten)]
    plan: &'a Plan,
    problems: &'a [Problem],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}
