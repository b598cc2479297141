//! The `onefed` binary: verbs, output, exit codes.

mod cli;
mod failure;
mod flower_env;
mod output;
mod plan_file;
mod state;
mod table;
mod verb;
mod zones;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    // Exactly one crypto provider in the process, for clients that do not choose their own. A second call would fail,
    // and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            let _ = why.print();
            // Help and version are no errors; anything else is wrong usage (EX_USAGE).
            return ExitCode::from(if why.use_stderr() { 64 } else { 0 });
        }
    };
    let output = Output::new(cli.format);
    match verb::run(cli, output) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(why) => {
            output.say(why.to_string());
            output.json(&serde_json::json!({
                "schema_version": 1,
                "error": { "code": why.code, "message": why.message, "hint": why.hint },
            }));
            ExitCode::from(why.exit as u8)
        }
    }
}
