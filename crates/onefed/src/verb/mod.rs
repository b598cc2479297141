//! The verbs, one file each.

mod apply;
mod confirm;
mod connect;
mod context;
mod demo;
mod destroy;
mod init;
mod pki;
mod plan;
mod sandbox;
mod schema;
mod status;
mod step;
mod support;
mod templates;
mod train;
mod user;
mod vars;
mod vm;

use std::future::Future;

use crate::cli::{Cli, ContextVerb, Verb};
use crate::failure::{Done, Exit, Failure};
use crate::output::{Format, Output};

pub(crate) use init::InitArgs;
pub(crate) use pki::PkiVerb;
pub(crate) use templates::TemplatesArgs;

/// Runs the verb of a command line.
pub(crate) fn run(cli: Cli, output: Output) -> Done {
    let misplaced = match (output.format, &cli.verb) {
        (Format::One, Verb::Templates(_)) | (Format::Metrics, Verb::Status { watch: None, .. }) => None,
        (Format::One, _) => Some("`--format one` is for `onefed templates`"),
        (Format::Metrics, Verb::Status { .. }) => {
            Some("`--format metrics` shows one moment: leave --watch out")
        }
        (Format::Metrics, _) => Some("`--format metrics` is for `onefed status`"),
        (Format::Text | Format::Json, _) => None,
    };
    if let Some(why) = misplaced {
        let failure = Failure::new(Exit::Usage, "usage", why);
        return Err(failure.hint("this verb writes `text` or `json`"));
    }
    match cli.verb {
        Verb::Init(args) => block_on(init::run(&args, output)),
        Verb::Plan { place, out } => block_on(plan::run(&place, out.as_deref(), output)),
        Verb::Apply { place, plan, yes } => block_on(apply::run(&place, plan.as_deref(), yes, output)),
        Verb::Status { place, watch } => block_on(status::run(&place, watch, output)),
        Verb::Support { place, out } => block_on(support::run(&place, out.as_deref(), output)),
        Verb::Train { place, app, run_config, flower_dir } => {
            let app = train::App { dir: app, run_config, flower_dir };
            block_on(train::run(&place, &app, output))
        }
        Verb::Connect { place, port } => block_on(connect::run(&place, port, output)),
        Verb::User { state, name, out } => user::run(&state, &name, &out, output),
        Verb::Destroy { place, yes } => block_on(destroy::run(&place, yes, output)),
        Verb::Sandbox { verb } => sandbox::run(verb, output),
        Verb::Demo(args) => block_on(demo::run(&args, output)),
        Verb::Vars { markdown, template } => vars::run(markdown, template, output),
        Verb::Templates(args) => templates::run(&args, output),
        Verb::Schema { of } => schema::run(of, output),
        Verb::Context { verb: ContextVerb::Check { file, role } } => context::check(&file, role, output),
        Verb::Pki { verb } => pki::run(&verb, output),
        Verb::Boot(args) => vm::boot(&args),
        Verb::Health(args) => block_on(vm::health(&args, output)),
        Verb::Hub { config } => vm::hub(&config),
        Verb::Spoke { config } => vm::spoke(&config),
        Verb::ExecChild { parent, command } => vm::exec_child(parent, &command),
    }
}

/// Runs a verb that talks to others.
fn block_on<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|why| Failure::new(Exit::Failed, "runtime", why))?.block_on(verb)
}
