//! `onefed train`: submits a Flower app with Flower's own `flwr run`, and shows each round as it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use onefed_flower::command::settings;
use onefed_flower::run_log::{RunEvent, RunLog, alone, usual};
use onefed_flower::{Environment, Release};
use onefed_link::connect::AdminClient;
use onefed_link::status::HubStatus;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure};
use crate::output::{Format, Output};
use crate::state::State;
use crate::table::bytes;
use crate::{flower_env, plan_file};

use super::connect::{add_connection, admin_client, open};

/// Flower sets a run's final status a moment after its log ends; after that, the log has broken off and not the run.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);
/// How long the hub may be away while a run is waited for.
const HUB_PATIENCE: Duration = Duration::from_secs(120);

/// What to train.
pub(crate) struct App {
    pub(crate) dir: PathBuf,
    pub(crate) run_config: Vec<String>,
    pub(crate) flower_dir: Option<PathBuf>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RunReport {
    pub(crate) schema_version: u32,
    /// Flower's run id. As text: it exceeds what JSON numbers hold everywhere.
    pub(crate) run_id: String,
    /// Flower's final status.
    pub(crate) status: String,
    pub(crate) seconds: f64,
    pub(crate) rounds: Vec<RoundReport>,
    /// What each site reaches without the others, where the app measures it.
    pub(crate) alone: BTreeMap<String, f64>,
}

/// What one round came to. Unknown is `null`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) round: u64,
    pub(crate) loss: Option<f64>,
    pub(crate) accuracy: Option<f64>,
    pub(crate) failures: u64,
    pub(crate) seconds: f64,
    /// Bytes over the WAN in this round, by site: down (to the site), up.
    pub(crate) wan: BTreeMap<String, (u64, u64)>,
}

/// Submits the app and follows it to its end.
pub(crate) async fn run(place: &Place, app: &App, output: Output) -> Done {
    let federation = plan_file::load(&place.file, output)?;
    let state = State::open_for(&place.state, federation.name.as_str())?;
    let report = train(&state, federation.flower, app, output).await?;
    output.json(&report);
    Ok(Exit::Ok)
}

/// Submits the app and follows it to its end.
pub(crate) async fn train(
    state: &State,
    release: Release,
    app: &App,
    output: Output,
) -> Result<RunReport, Failure> {
    if !app.dir.join("pyproject.toml").is_file() {
        let text = format!("{} is no Flower app: it has no pyproject.toml", app.dir.display());
        return Err(Failure::new(Exit::BadInput, "app", text)
            .hint("name the directory of an app, for instance apps/digits"));
    }
    // First the hub: an environment for a federation that is not there would be made for nothing.
    let admin = admin_client(state)?;
    let before = admin.status().await?;
    let environment = environment(release, app.flower_dir.as_deref(), output)?;
    let name = state.deployed()?.federation;
    let control = open(state, 0).await?;
    let scratch = state.scratch()?;
    add_connection(scratch.path(), &name, control.address()?)?;
    let serving = tokio::spawn(control.serve());
    let outcome = tokio::select! {
        outcome = follow(&environment, &name, scratch.path(), app, &admin, before, output) => outcome,
        () = super::sandbox::stop_signal() => {
            let hint = format!("a run that was submitted goes on; stop it with `flwr stop RUN {name}` through `onefed connect`");
            Err(Failure::new(Exit::Failed, "interrupted", "no longer following").hint(hint))
        }
    };
    serving.abort();
    outcome
}

fn environment(release: Release, dir: Option<&Path>, output: Output) -> Result<Environment, Failure> {
    match dir {
        Some(dir) => Environment::find(dir, release.version())
            .map_err(|why| Failure::new(Exit::Configuration, "flower-missing", &why).hint(why.hint())),
        None => flower_env::ensure(release, &flower_env::default_dir(release), output),
    }
}

/// A run being watched.
struct Follower<'a> {
    admin: &'a AdminClient,
    output: Output,
    sites: Vec<String>,
    report: RunReport,
    current: Option<RoundReport>,
    round_started: Instant,
    wan_before: BTreeMap<String, (u64, u64)>,
    of: Option<u64>,
    seen_rounds: bool,
}

async fn follow(
    environment: &Environment,
    connection: &str,
    home: &Path,
    app: &App,
    admin: &AdminClient,
    before: HubStatus,
    output: Output,
) -> Result<RunReport, Failure> {
    let mut command = Command::new(environment.program("flwr"));
    command.arg("run").arg(&app.dir).arg(connection).arg("--stream");
    for pairs in &app.run_config {
        command.args(["--run-config", pairs]);
    }
    for name in
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "grpc_proxy"]
    {
        command.env_remove(name);
    }
    command.envs(settings()).env("FLWR_HOME", home).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let started = Instant::now();
    let fail = |why: String| Failure::new(Exit::Failed, "flwr", why);
    let mut child =
        command.spawn().map_err(|why| fail(format!("{}: {why}", environment.program("flwr").display())))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(fail("no output from flwr".to_owned()));
    };
    let mut sites: Vec<String> = before.spokes.iter().map(|spoke| spoke.site.clone()).collect();
    sites.dedup();
    let wan_before = wan(&before);
    let mut follower = Follower {
        admin,
        output,
        sites,
        report: RunReport { schema_version: 1, ..RunReport::default() },
        current: None,
        round_started: started,
        wan_before,
        of: None,
        seen_rounds: false,
    };
    let mut log = RunLog::default();
    let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
    let mut last_words = Vec::new();
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            line = out.next_line(), if out_open => match line {
                Ok(Some(line)) => {
                    last_words.push(line.clone());
                    if let Some(event) = log.line(&line) {
                        follower.take(event).await;
                    }
                }
                _ => out_open = false,
            },
            line = err.next_line(), if err_open => match line {
                Ok(Some(line)) => last_words.push(line),
                _ => err_open = false,
            },
        }
        let surplus = last_words.len().saturating_sub(20);
        last_words.drain(..surplus);
    }
    let status = child.wait().await.map_err(|why| fail(why.to_string()))?;
    let words = || last_words.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n    ");
    let Some(run_id) = Some(follower.report.run_id.clone()).filter(|id| !id.is_empty()) else {
        return Err(fail(format!("`flwr run` submitted nothing ({status}):\n    {}", words())));
    };
    follower.end_round().await;
    let mut report = follower.report;
    report.seconds = started.elapsed().as_secs_f64();
    let (status, details) = final_status(admin, &run_id, output).await?;
    report.status = status;
    if report.status != "finished:completed" {
        let text = format!("run {run_id} ended as {}: {details}\n    {}", report.status, words());
        return Err(Failure::new(Exit::Failed, "run-failed", text)
            .hint("the log above names the cause; `flwr log` has all of it"));
    }
    conclude(&report, output);
    Ok(report)
}

impl Follower<'_> {
    async fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Submitted { run_id } => {
                self.report.run_id = run_id.to_string();
                self.output.say(format!("run {run_id} submitted"));
            }
            RunEvent::RoundStarted { round, of } => {
                self.end_round().await;
                if !self.seen_rounds {
                    self.header();
                }
                self.of = of;
                self.seen_rounds = true;
                self.current = Some(RoundReport { round, ..RoundReport::default() });
                self.round_started = Instant::now();
            }
            RunEvent::Replies { failures, .. } => {
                if let Some(current) = &mut self.current {
                    current.failures += failures;
                }
            }
            RunEvent::Metrics { evaluation, values } => {
                if let Some(current) = &mut self.current {
                    // What an evaluation says counts more than what training says.
                    for (slot, quantity) in [(&mut current.loss, "loss"), (&mut current.accuracy, "accuracy")]
                    {
                        let found = usual(&values, quantity);
                        *slot = if evaluation { found.or(*slot) } else { slot.or(found) };
                    }
                    self.report.alone.extend(alone(&values, "accuracy"));
                }
            }
            RunEvent::Finished => self.end_round().await,
        }
    }

    /// Closes the present round: its time, its bytes, its line.
    async fn end_round(&mut self) {
        let Some(mut round) = self.current.take() else { return };
        round.seconds = self.round_started.elapsed().as_secs_f64();
        // Without an answer the bytes of this round are unknown, and count in the next one.
        if let Ok(status) = self.admin.status().await {
            let now = wan(&status);
            for (site, (down, up)) in &now {
                let (d, u) = self.wan_before.get(site).copied().unwrap_or_default();
                round.wan.insert(site.clone(), (down.saturating_sub(d), up.saturating_sub(u)));
            }
            self.wan_before = now;
        }
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
        let mut cells = vec![
            format!("{:>7}", self.of.map_or(round.round.to_string(), |of| format!("{}/{of}", round.round))),
            format!("{:>9}", number(round.loss)),
            format!("{:>9}", number(round.accuracy)),
        ];
        cells.extend(self.sites.iter().map(|site| {
            let wan = round.wan.get(site).map(|(down, up)| format!("{} / {}", bytes(*down), bytes(*up)));
            format!("{:>21}", wan.unwrap_or_else(|| "–".to_owned()))
        }));
        cells.push(format!("{:>8.1}", round.seconds));
        if round.failures > 0 {
            cells.push(format!("  {} failed replies", round.failures));
        }
        self.line(&cells.concat());
        self.report.rounds.push(round);
    }

    fn header(&self) {
        let mut cells = vec![format!("{:>7}{:>9}{:>9}", "round", "loss", "accuracy")];
        cells.extend(self.sites.iter().map(|site| format!("{:>21}", format!("{site} down / up"))));
        cells.push(format!("{:>8}", "seconds"));
        self.line(&cells.concat());
    }

    /// Rounds are data; in JSON mode they are talk, and the document comes at the end.
    fn line(&self, line: &str) {
        match self.output.format {
            Format::Text => self.output.text(line),
            Format::Json | Format::One | Format::Metrics => self.output.say(line),
        }
    }
}

/// Bytes on the wire per site since its spokes first came: down (to the site), up.
fn wan(status: &HubStatus) -> BTreeMap<String, (u64, u64)> {
    let mut sum: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for spoke in &status.spokes {
        let entry = sum.entry(spoke.site.clone()).or_default();
        *entry = (entry.0 + spoke.bytes_down, entry.1 + spoke.bytes_up);
    }
    sum
}

/// Flower's own word on how the run ended; `flwr run` exits 0 either way. A run goes on without us: where the log
/// broke off, the end is waited for.
async fn final_status(
    admin: &AdminClient,
    run_id: &str,
    output: Output,
) -> Result<(String, String), Failure> {
    let (started, mut heard, mut told) = (Instant::now(), Instant::now(), false);
    loop {
        match admin.status().await {
            Err(why) if heard.elapsed() > HUB_PATIENCE => return Err(why.into()),
            Err(_) => {}
            Ok(status) => {
                heard = Instant::now();
                let run = status.runs.into_iter().find(|run| run.run_id.to_string() == run_id);
                if let Some(run) = run.filter(|run| run.status.starts_with("finished")) {
                    return Ok((run.status, run.details));
                }
            }
        }
        if started.elapsed() > STATUS_PATIENCE && !told {
            output.say("the log of the run broke off; the run goes on, waiting for its end");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The last lines: the federation beside what each site reaches alone.
fn conclude(report: &RunReport, output: Output) {
    output.text(format!("run {} {} in {:.1} s", report.run_id, report.status, report.seconds));
    let Some(accuracy) = report.rounds.iter().rev().find_map(|round| round.accuracy) else { return };
    if report.alone.is_empty() {
        output.text(format!("accuracy {accuracy:.4}"));
        return;
    }
    let alone: Vec<String> =
        report.alone.iter().map(|(site, value)| format!("{site} alone {value:.4}")).collect();
    output.text(format!("accuracy together {accuracy:.4}   {}", alone.join("   ")));
}
