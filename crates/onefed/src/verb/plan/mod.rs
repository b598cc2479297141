//! `onefed plan`: what would be created, changed or removed in each zone, and what stands in the way.

mod observe;
mod survey;

use onefed_federation::Plan;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Place;
use crate::failure::{Done, Exit, join};
use crate::output::Output;
use crate::{plan_file, zones};

pub(crate) use survey::{Survey, make, survey};

/// Shows the plan. Exit code 0 when there is nothing to do, 2 when there is, 78 or 77 when an `apply` would be refused,
/// 69 when a zone is down.
pub(crate) async fn run(place: &Place, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let zones = zones::clients(&federation).await?;
    let survey = survey(&federation, &zones).await;
    let failures: Vec<_> = survey.refusal().into_iter().chain(survey.down()).collect();
    let failure = join(failures);
    let error = failure.as_ref().map(|why| why.document()["error"].clone());
    output.text(survey.plan.render());
    output.json(&Document { schema_version: 1, plan: &survey.plan, error });
    match failure {
        None if survey.plan.is_empty() => Ok(Exit::Ok),
        None => Ok(Exit::ChangesPending),
        Some(why) => {
            output.say(why.to_string());
            Ok(why.exit)
        }
    }
}

/// A plan as a JSON document.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}
