//! The `onefed` binary: verbs, output, exit codes.

mod cli;
mod failure;
mod flower_env;
mod output;
mod plan_file;
mod state;
mod table;
mod verb;
mod zone_lock;
mod zones;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    // Exactly one crypto provider in the process, for clients that do not choose their own. A second call would fail,
    // and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            let _ = why.print();
            // Help and version are no errors.
            if !why.use_stderr() {
                return ExitCode::from(Exit::Ok as u8);
            }
            Output::new(cli::format_wanted(std::env::args())).json(&usage(&why).document());
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let output = Output::new(cli.format);
    match verb::run(cli, output) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(why) => {
            output.say(why.to_string());
            output.json(&why.document());
            ExitCode::from(why.exit as u8)
        }
    }
}

/// Wrong usage, in the first line of what was printed about it.
fn usage(why: &clap::Error) -> Failure {
    let text = why.to_string();
    let first = match why.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no verb given",
        _ => text.lines().next().unwrap_or_default(),
    };
    let failure = Failure::new(Exit::Usage, "usage", first.strip_prefix("error: ").unwrap_or(first));
    failure.hint("`onefed help` lists the verbs, `onefed help VERB` their options")
}
