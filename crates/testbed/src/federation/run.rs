//! Runs of the app, and what they report.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use onefed_flower::command::settings;
use serde::Deserialize;

use super::process::{MARK, tail};
use super::start::{control_address, repository};
use super::{Failed, Federation, Result};

/// The connection's name in Flower's configuration.
const CONNECTION: &str = "testbed";
/// How long one call of `flwr` may take.
const FLWR: Duration = Duration::from_secs(90);

/// What a run moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Arrays of fp32.
    pub arrays: u32,
    /// Their size in all, in 10^6 bytes.
    pub megabytes: f64,
    /// How many rounds.
    pub rounds: u32,
    /// How long each node "trains" in each round, in seconds.
    pub train_seconds: f64,
    /// When the ServerApp stops to wait for answers, in seconds.
    pub round_timeout: f64,
}

impl Load {
    /// So many arrays, megabytes and rounds.
    #[must_use]
    pub fn new(arrays: u32, megabytes: f64, rounds: u32) -> Self {
        Self { arrays, megabytes, rounds, train_seconds: 0.0, round_timeout: 3600.0 }
    }
}

/// One line of the app's report.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// When, in seconds of Unix time.
    pub at: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened in the ServerApp.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// It runs.
    Start,
    /// All nodes are online.
    Nodes {
        /// How many.
        nodes: usize,
    },
    /// What a round sends to the nodes.
    Model {
        /// Bytes of all different objects: the model, and a few hundred bytes for each node.
        bytes: u64,
        /// How many they are.
        objects: u64,
    },
    /// A round begins.
    Round {
        /// Its number, from 1.
        round: u32,
    },
    /// A round has ended.
    RoundEnd(Round),
    /// All rounds have ended.
    End,
    /// The ServerApp has failed.
    Failed {
        /// Its words.
        why: String,
    },
}

/// One round.
#[derive(Clone, Debug, Deserialize)]
pub struct Round {
    /// Its number, from 1.
    #[serde(rename = "round")]
    pub number: u32,
    /// From the first byte of the model to the last of the answers, as the ServerApp sees it.
    pub seconds: f64,
    /// Nodes whose answers are there.
    pub results: usize,
    /// Errors in the place of answers.
    pub errors: Vec<String>,
    /// Answers whose model is not bit for bit what was sent, one way or the other.
    pub different: usize,
    /// For each answer, the seconds from the begin of the round until the node's app had the model.
    pub down: Vec<f64>,
    /// For each answer, the seconds from when the node's app had its answer until the end of the round.
    pub up: Vec<f64>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Flower's own word, `finished:completed` and the like.
    pub status: String,
    /// The rounds that ended.
    pub rounds: Vec<Round>,
    /// Bytes of the different objects that go to the nodes in a round; all rounds are alike.
    pub object_bytes: u64,
    /// How many they are.
    pub objects: u64,
}

impl Report {
    /// Whether the run completed and every round has the answers of so many nodes, whole.
    ///
    /// # Errors
    /// What is not as it should be, all of it.
    pub fn check(&self, nodes: usize, rounds: u32) -> Result<()> {
        let mut wrong = Vec::new();
        if self.status != "finished:completed" {
            wrong.push(format!("the run is {}", self.status));
        }
        if self.rounds.len() != rounds as usize {
            wrong.push(format!("{} of {rounds} rounds", self.rounds.len()));
        }
        for round in &self.rounds {
            if round.results != nodes || round.different != 0 || !round.errors.is_empty() {
                let (results, different) = (round.results, round.different);
                wrong.push(format!(
                    "round {}: {results} of {nodes} results, {different} of them altered, errors {:?}",
                    round.number, round.errors
                ));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Failed(wrong.join("; "))) }
    }

    /// The seconds of all rounds, in order.
    #[must_use]
    pub fn seconds(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.seconds).collect()
    }
}

/// A run that was submitted.
#[derive(Debug)]
pub struct Run<'a> {
    federation: &'a Federation,
    id: String,
    report: PathBuf,
}

impl Federation {
    /// Submits the app and waits for its end.
    ///
    /// # Errors
    /// As [`Federation::submit`] and [`Run::wait`].
    pub fn run(&self, load: &Load, patience: Duration) -> Result<Report> {
        self.submit(load)?.wait(patience)
    }

    /// Submits the app; returns when SuperLink has taken it.
    ///
    /// # Errors
    /// If `flwr run` fails, with its words.
    pub fn submit(&self, load: &Load) -> Result<Run<'_>> {
        self.fail(self.submit_to(load))
    }

    fn submit_to(&self, load: &Load) -> Result<Run<'_>> {
        self.runs.set(self.runs.get() + 1);
        let report = self.setup.dir.join(format!("report-{}.jsonl", self.runs.get()));
        let nodes = self.setup.sites * self.setup.nodes;
        let config = format!(
            "report=\"{}\" rounds={} min-nodes={nodes} arrays={} megabytes={:?} train-seconds={:?} round-timeout={:?}",
            report.display(),
            load.rounds,
            load.arrays,
            load.megabytes,
            load.train_seconds,
            load.round_timeout
        );
        let app = repository().join("crates/testbed/app");
        let app = app.canonicalize().map_err(|why| Failed(format!("{}: {why}", app.display())))?;
        let app = app.display().to_string();
        let output = self.flwr(&["run", &app, CONNECTION, "--format", "json", "--run-config", &config])?;
        let answer: serde_json::Value = json_of(&output)?;
        let id = answer["run-id"].as_str().map(str::to_owned);
        let id = id.ok_or_else(|| Failed(format!("`flwr run` says no run id: {answer}")))?;
        Ok(Run { federation: self, id, report })
    }

    /// Calls Flower's `flwr` with a configuration of its own.
    fn flwr(&self, args: &[&str]) -> Result<Output> {
        let home = self.setup.dir.join("home/flwr-cli");
        let control = control_address(self.setup.net, self.release);
        let trust = match &self.superlink_ca {
            None => "insecure = true".to_owned(),
            Some(ca) => format!("root-certificates = \"{}\"", ca.display()),
        };
        let text = format!(
            "[superlink]\ndefault = \"{CONNECTION}\"\n\n[superlink.{CONNECTION}]\naddress = \"{control}\"\n{trust}\n"
        );
        let written =
            std::fs::create_dir_all(&home).and_then(|()| std::fs::write(home.join("config.toml"), text));
        written.map_err(|why| Failed(format!("{}: {why}", home.display())))?;
        let program = self.environment.program("flwr");
        let fail = |why: String| Failed(format!("{} {}: {why}", program.display(), args.join(" ")));
        let mut command = Command::new(&program);
        command
            .args(args)
            .env_clear()
            .envs(settings())
            .current_dir(&self.setup.dir)
            .env(MARK, &self.setup.dir);
        command.env("FLWR_HOME", &home).env("HOME", &home).env("LANG", "C.UTF-8");
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.environment.bin().display()));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|why| fail(why.to_string()))?;
        let began = Instant::now();
        while child.try_wait().map_err(|why| fail(why.to_string()))?.is_none() {
            if began.elapsed() > FLWR {
                let _ = child.kill();
                let mut errors = String::new();
                let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut errors));
                let _ = child.wait();
                return Err(fail(format!("no end within {FLWR:?}\n{}", tail(&errors))));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        child.wait_with_output().map_err(|why| fail(why.to_string()))
    }

    /// The ends of all logs, for a failure.
    fn logs(&self) -> String {
        let sites = self.sites.iter().flat_map(|site| site.spoke.iter().chain(&site.supernodes));
        let all = std::iter::once(&self.superlink).chain(&self.hub).chain(sites);
        all.map(|process| format!("  {}\n{}", process.name(), tail(&process.log()))).collect()
    }
}

impl Run<'_> {
    /// What it has reported so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(&self.report).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until something was reported: the first event for which `found` answers something.
    ///
    /// # Errors
    /// If the ServerApp fails or that is not reported in time, with the ends of all logs.
    pub fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut found: impl FnMut(&What) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let events = self.events();
            if let Some(answer) = events.iter().find_map(|event| found(&event.what)) {
                return Ok(answer);
            }
            let failed = events.iter().find_map(|event| match &event.what {
                What::Failed { why } => Some(why.clone()),
                _ => None,
            });
            let late = began.elapsed() > patience;
            if let Some(why) = failed.or_else(|| late.then(|| format!("not within {patience:?}"))) {
                let (last, logs) = (events.last().map(|event| &event.what), self.federation.logs());
                let failure = Failed(format!("{what}: {why}; last reported was {last:?}\n{logs}"));
                return self.federation.fail(Err(failure));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a round begins.
    ///
    /// # Errors
    /// As [`Run::until`].
    pub fn round_begins(&self, number: u32, patience: Duration) -> Result<()> {
        let what = format!("the begin of round {number}");
        self.until(&what, patience, |what| {
            matches!(what, What::Round { round } if *round == number).then_some(())
        })
    }

    /// Waits until a round is over.
    ///
    /// # Errors
    /// As [`Run::until`].
    pub fn round_ends(&self, number: u32, patience: Duration) -> Result<()> {
        let what = format!("the end of round {number}");
        self.until(&what, patience, |what| {
            matches!(what, What::RoundEnd(round) if round.number == number).then_some(())
        })
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    /// As [`Run::until`], and if `flwr ls` fails. A run that Flower calls failed is no error of this.
    pub fn wait(&self, patience: Duration) -> Result<Report> {
        let ended = |what: &What| matches!(what, What::End | What::Failed { .. }).then_some(());
        self.until("the end of the run", patience, ended)?;
        let (mut rounds, mut object_bytes, mut objects) = (Vec::new(), 0, 0);
        for event in self.events() {
            match event.what {
                What::RoundEnd(round) => rounds.push(round),
                What::Model { bytes, objects: many } => (object_bytes, objects) = (bytes, many),
                _ => {}
            }
        }
        let status = self.federation.fail(self.status())?;
        Ok(Report { status, rounds, object_bytes, objects })
    }

    /// Flower's status, when it is a final one.
    fn status(&self) -> Result<String> {
        let began = Instant::now();
        loop {
            let output =
                self.federation.flwr(&["ls", CONNECTION, "--run-id", &self.id, "--format", "json"])?;
            let listed = json_of(&output)?;
            let status = listed["runs"][0]["status"].as_str().unwrap_or_default();
            if status.starts_with("finished") || began.elapsed() > FLWR {
                return Ok(status.to_owned());
            }
        }
    }
}

/// What `flwr … --format json` says.
fn json_of(output: &Output) -> Result<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|why| {
        let errors = String::from_utf8_lossy(&output.stderr);
        Failed(format!("flwr ({}): {why} in {text}\n{errors}", output.status))
    })
}
