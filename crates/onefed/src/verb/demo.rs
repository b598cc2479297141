//! `onefed demo`: the whole story in one command. Every step is the same code that the verbs run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use onefed_federation::Federation;
use onefed_flower::Release;

use crate::cli::{DemoArgs, Place, SandboxArgs};
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;
use crate::state::State;
use crate::{plan_file, verb, zones};

use super::{apply, destroy, sandbox, status, train};

/// The plan of the demo. The repository's example is the same file.
const PLAN: &str = include_str!("../../../../examples/three-zones.toml");
/// What of it depends on this demo's arguments.
const EXAMPLE_NET: &str = "127.71.";
const EXAMPLE_AUTH: &str = ".onefed-sandbox/one_auth";
/// The app that is trained, from the repository.
const APP: &str = "apps/digits";

/// Marks a directory as a demo's own, to be removed with all that is in it.
const MARK: &str = ".onefed-demo";

/// Seconds of each act.
#[derive(Default)]
struct Times(Vec<(&'static str, f64)>);

/// Runs the demo.
pub(crate) async fn run(args: &DemoArgs, output: Output) -> Done {
    let mut times = Times::default();
    let place = Place { file: args.dir.join("federation.toml"), state: args.dir.join("state") };
    let sandbox = SandboxArgs {
        dir: args.dir.join("sandbox"),
        net: args.net,
        zones: ["madrid", "paris", "lisbon"].map(str::to_owned).to_vec(),
        flower: args.flower.clone(),
        flower_dir: None,
        world: None,
    };

    output.heading(format!("1  Set-up: Flower {} for this machine", args.flower));
    let started = Instant::now();
    // Everything that can be wrong with the arguments first: an earlier demo is cleared only for a new one.
    app_dir()?;
    sandbox::prepare(&sandbox, output)?;
    clear(args, &sandbox, output)?;
    let federation = write_plan(args, &place, output)?;
    let release = federation.flower;
    times.add("set-up", started);

    output.heading("2  Three sandbox zones");
    let started = Instant::now();
    // The child's standard input is the lease: however this process ends, the sandbox takes itself down.
    let mut child = sandbox::spawn(&sandbox, !args.keep)?;
    let running = sandbox::wait_until_up(&sandbox, &mut child)?;
    for zone in &running.zones {
        output.text(format!("  zone {:<8} XML-RPC {}   OneFlow {}", zone.zone, zone.endpoint, zone.oneflow));
    }
    times.add("zones", started);

    let story = tokio::select! {
        told = tell(args, &place, federation, &mut times, output) => told,
        () = interrupted() => Err(Failure::new(Exit::Failed, "interrupted", "interrupted: taking everything down")),
    };
    if args.keep && story.is_ok() {
        farewell(release, &place, &sandbox, output);
        return Ok(Exit::Ok);
    }
    if story.is_err() && story_is_worth_a_look(&story) {
        keep_logs(&sandbox.dir, &args.dir.join("logs"), output);
    }
    sandbox::stop(&mut child);
    sandbox::down(&sandbox.dir, output)?;
    if !story_is_worth_a_look(&story) {
        std::fs::remove_dir_all(&args.dir).map_err(|why| Failure::file(&args.dir, why))?;
    }
    story?;
    output.text(format!("\ndemo done: {}", times.line()));
    Ok(Exit::Ok)
}

/// Whether something failed that logs can explain; an interrupt needs no explanation.
fn story_is_worth_a_look(story: &Result<(), Failure>) -> bool {
    story.as_ref().is_err_and(|why| why.code != "interrupted")
}

/// Saves what the VMs said before their directories go with the sandbox.
fn keep_logs(sandbox: &Path, to: &Path, output: Output) {
    let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    for zone in entries(sandbox.join("zones")) {
        for vm in entries(zone.path().join("vms")) {
            let here = to.join(zone.file_name()).join(vm.file_name());
            let logs = entries(vm.path().join("disk/log")).map(|log| log.path());
            for log in logs.chain([vm.path().join("console.log")]) {
                let _ = std::fs::create_dir_all(&here);
                if let Some(name) = log.file_name() {
                    let _ = std::fs::copy(&log, here.join(name));
                }
            }
        }
    }
    output.say(format!("  the logs of the VMs are kept in {}", to.display()));
}

async fn tell(
    args: &DemoArgs,
    place: &Place,
    federation: Federation,
    times: &mut Times,
    output: Output,
) -> Result<(), Failure> {
    let zones = zones::clients(&federation).await?;
    output.heading("3  onefed plan");
    let plan = verb::plan::make(&federation, &zones).await?;
    output.text(plan.render());

    output.heading("4  onefed apply");
    let started = Instant::now();
    apply::apply(
        plan_file::load(&place.file, output)?,
        State::open_for(&place.state, federation.name.as_str())?,
        &apply::Wish { yes: true, saved: None },
        output,
    )
    .await?
    .whole()?;
    times.add("apply", started);

    output.heading(format!("5  onefed train {APP}"));
    let started = Instant::now();
    let state = State::open(&place.state)?;
    let nodes: u32 = federation.sites.iter().map(|site| site.supernodes.min).sum();
    let app = train::App {
        dir: app_dir()?,
        run_config: vec![format!("num-server-rounds={} min-nodes={nodes}", args.rounds)],
        flower_dir: None,
    };
    let report = train::train(&state, federation.flower, &app, output).await?;
    times.add("training", started);
    for round in &report.rounds {
        times.0.push(("round", round.seconds));
    }

    output.heading("6  onefed status");
    output.text(status::look(&federation, &zones, &[], &state).await.render());
    if args.keep {
        return Ok(());
    }
    output.heading("7  onefed destroy");
    let started = Instant::now();
    destroy::destroy(&federation, &zones, &state, true, output).await?.whole()?;
    times.add("destroy", started);
    Ok(())
}

/// Removes what an earlier demo left, also after a crash.
fn clear(args: &DemoArgs, sandbox: &SandboxArgs, output: Output) -> Result<(), Failure> {
    if !args.dir.exists() {
        return Ok(());
    }
    if !args.dir.join(MARK).exists() {
        let text = format!("{} is there and is not a demo's directory", args.dir.display());
        return Err(Failure::new(Exit::BadInput, "not-a-demo", text).hint("name another one with --dir"));
    }
    output.say(format!("  clearing an earlier demo in {}", args.dir.display()));
    sandbox::down(&sandbox.dir, output)?;
    std::fs::remove_dir_all(&args.dir).map_err(|why| Failure::file(&args.dir, why))
}

/// Writes the example plan for this demo's addresses and release.
fn write_plan(args: &DemoArgs, place: &Place, output: Output) -> Result<Federation, Failure> {
    let auth = args.dir.join("sandbox/one_auth").display().to_string();
    let flower = format!("\"{}\"", onefed_flower::DEFAULT_RELEASE);
    let text = PLAN
        .replace(EXAMPLE_NET, &format!("127.{}.", args.net))
        .replace(EXAMPLE_AUTH, &auth)
        .replace(&flower, &format!("\"{}\"", args.flower));
    onefed_appliance::files::private_dir(&args.dir).map_err(|why| Failure::file(&args.dir, why))?;
    let mark = args.dir.join(MARK);
    std::fs::write(&mark, "").map_err(|why| Failure::file(&mark, why))?;
    std::fs::write(&place.file, text).map_err(|why| Failure::file(&place.file, why))?;
    plan_file::load(&place.file, output)
}

/// The app beside the working directory, or beside the binary's repository.
fn app_dir() -> Result<PathBuf, Failure> {
    let here = Path::new(APP);
    if here.join("pyproject.toml").is_file() {
        return Ok(here.to_owned());
    }
    let text = format!("{APP} is not below the working directory");
    Err(Failure::new(Exit::BadInput, "app", text)
        .hint("run the demo from a clone of the repository: `make demo`"))
}

fn farewell(release: Release, place: &Place, sandbox: &SandboxArgs, output: Output) {
    let options = format!("-f {} --state {}", place.file.display(), place.state.display());
    let flwr = crate::flower_env::default_dir(release).join("bin/flwr");
    output.heading("everything is still running; what to try next");
    // As this program was called, since it need not be in the path.
    let me = std::env::args().next().unwrap_or_else(|| "onefed".to_owned());
    for line in [
        format!("{me} status {options}"),
        format!("{me} train {APP} {options}"),
        format!("{me} connect {options}      # then, in another terminal:"),
        format!("    {} ls hospitals", flwr.display()),
        format!("    {} run {APP} hospitals --stream", flwr.display()),
        format!("{me} destroy {options}"),
        format!("{me} sandbox down --dir {}", sandbox.dir.display()),
    ] {
        output.text(format!("  {line}"));
    }
}

async fn interrupted() {
    super::sandbox::stop_signal().await;
}

impl Times {
    fn add(&mut self, act: &'static str, started: Instant) {
        self.0.push((act, started.elapsed().as_secs_f64()));
    }

    fn line(&self) -> String {
        self.0.iter().map(|(act, seconds)| format!("{act} {seconds:.1} s")).collect::<Vec<_>>().join(", ")
    }
}
