//! `onefed status`: the federation on one screen. From the zones' APIs and the hub's admin endpoint only; what cannot
//! be reached is unknown, with the cause.

mod hub;
mod links;
mod look;
mod model;
mod render;
mod verdict;
mod watch;
mod zone;

use std::time::Duration;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure};
use crate::output::{Format, Output};
use crate::plan_file;
use crate::state::State;
use crate::zones;

pub(crate) use look::look;
use model::Known;
pub(crate) use model::Status;

/// Shows the state, once or every so many seconds. Exit code 0 only if all is well.
pub(crate) async fn run(place: &Place, watch: Option<u64>, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let look = async || {
        let (zones, unreachable) = zones::reachable(&federation).await;
        look(&federation, &zones, &unreachable, &state).await
    };
    if let Some(seconds) = watch {
        return watch::run(look, Duration::from_secs(seconds), output).await;
    }
    let status = look().await;
    if output.format == Format::Metrics {
        output.metrics(status.metrics()?);
        return Ok(Exit::Ok);
    }
    output.text(status.render());
    output.json(&status);
    Ok(status.exit())
}

impl Status {
    /// What the hub says, for Prometheus. Of a hub that does not answer there is nothing to be said.
    fn metrics(&self) -> Result<String, Failure> {
        match &self.hub {
            Known::Known(hub) => Ok(onefed_link::metrics::render(hub)),
            Known::Unknown(why) => Err(Failure::new(Exit::Unreachable, "status::hub", format!("hub: {why}"))),
        }
    }

    /// The exit code of a look.
    fn exit(&self) -> Exit {
        if self.healthy { Exit::Ok } else { Exit::Failed }
    }
}
