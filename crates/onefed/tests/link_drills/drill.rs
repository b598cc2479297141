//! One federation, one run of the app, and what happens to it in the middle of its transfers.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use onefed_testbed::federation::{Federation, Load, Process, Report, Run, Setup, Site, What};
use onefed_testbed::wan::{Profile, Way};

use super::cut::{Cut, Moment, carried};
use super::environment::environment;
use super::memory::{Look, Memory};
use super::operator::Operator;

const RTT: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(20);
/// "The middle" is when so much of what a transfer moves has arrived; a codec may move less than the model.
const MIDDLE: f64 = 0.4;
/// After a run, before its memory is looked at.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long plain Flower is watched after a cut.
pub(crate) const STOCK_WATCHED: Duration = Duration::from_secs(120);

/// What is run, and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Drill {
    pub(crate) flower: &'static str,
    pub(crate) net: u8,
    pub(crate) nodes: usize,
    /// Flower's node authentication; not for plain Flower.
    pub(crate) node_auth: bool,
    pub(crate) load: Load,
    pub(crate) mbit: u64,
    pub(crate) keepalive: (Duration, Duration),
    pub(crate) moments: Vec<Moment>,
    /// A line that has healed is in use again within this.
    pub(crate) resumed: Duration,
    /// How long the whole run may take.
    pub(crate) patience: Duration,
}

/// What a moment came to. Times from the begin of the cut, or from where it was healed.
#[derive(Debug)]
struct Outcome {
    moment: Moment,
    /// From the begin; `None` where the end that would have noticed did not say so.
    noticed: Option<Duration>,
    /// From the heal until the line is up; where nobody was told, from when it was noticed.
    up: Option<Duration>,
    /// From the same until the transfer goes on.
    resumed: Option<Duration>,
}

/// Both sites are alike.
const SITES: usize = 2;

impl Drill {
    /// SuperLink's database has a directory of its own, in memory where that can be: with a disk that is busy, and a model
    /// of 100 MB for each of four nodes makes it so, SuperLink fails runs by itself.
    fn setup(&self, name: &str, database: &Path) -> Setup {
        let dir =
            std::env::temp_dir().join(format!("onefed-drill-{}-{name}-{}", self.flower, std::process::id()));
        let mut setup = Setup::new(self.flower, self.net, &dir, SITES, self.nodes);
        setup.keepalive = self.keepalive;
        setup.environment = allocator();
        setup.database = Some(database.join("state.db"));
        setup.over(Profile::new(RTT, self.mbit))
    }

    fn name(&self) -> String {
        let moments = self.moments.iter().map(|moment| format!("{}-{:?}", moment.cut.name(), moment.way));
        moments.collect::<Vec<_>>().join("-").to_lowercase()
    }

    /// Runs it with the link; a failure leaves the directory with all logs.
    pub(crate) fn ours(&self) -> Result<(), String> {
        environment(self.flower, self.net);
        let database = memory_dir();
        let mut setup =
            self.setup(&self.name(), database.path()).ours(Path::new(env!("CARGO_BIN_EXE_onefed")));
        setup.node_auth = self.node_auth;
        let federation = Federation::start(setup).map_err(|why| why.to_string())?;
        if self.node_auth {
            Operator::of(&federation).register(&federation);
        }
        let done = self.ours_in(&federation);
        done.map_err(|why| {
            federation.keep();
            without_objects(federation.dir());
            let (place, locked) = (federation.dir().display(), locked(&federation));
            format!("{} {}: {why}\nlogs are in {place}, {locked}", self.flower, self.name())
        })
    }

    fn ours_in(&self, federation: &Federation) -> Result<(), String> {
        let memory = Memory::of(federation);
        let words = |why: onefed_testbed::federation::Failed| why.to_string();
        let run = federation.submit(&self.load).map_err(words)?;
        let all = |what: &What| matches!(what, What::Nodes { .. }).then_some(());
        run.until("all nodes", Duration::from_secs(120), all).map_err(words)?;
        let idle = memory.look();
        let began = Instant::now();
        let mut outcomes = Vec::new();
        for moment in &self.moments {
            self.reach(&run, federation, *moment)?;
            let outcome = self.endure(federation, &memory, *moment)?;
            println!("{} {outcome}", self.flower);
            outcomes.push(outcome);
        }
        let report = run.wait(self.patience.saturating_sub(began.elapsed())).map_err(words)?;
        let busy = memory.look();
        std::thread::sleep(AFTERWARDS);
        println!("{} {}, {}", self.flower, rounds(&report), locked(federation));
        println!("{} RssAnon in MiB: idle {idle}; busy {busy}; after {}", self.flower, memory.look());
        report.check(SITES * self.nodes, self.load.rounds).map_err(words)?;
        let mut wrong = deaths(federation);
        wrong.extend(outcomes.iter().filter_map(|outcome| self.objection(outcome)));
        wrong.extend(objections(&idle, &busy));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Waits for the middle of a transfer.
    fn reach(&self, run: &Run<'_>, federation: &Federation, moment: Moment) -> Result<(), String> {
        let words = |why: onefed_testbed::federation::Failed| why.to_string();
        run.round_begins(moment.round, self.patience).map_err(words)?;
        let wan = federation.sites[0].wan.as_ref().unwrap();
        let copies = match moment.way {
            Way::Down => 1.0,
            // Each node has an answer of its own.
            Way::Up => self.nodes as f64,
        };
        let more = (self.load.megabytes * 1e6 * copies * MIDDLE) as u64;
        let (aim, began) = (carried(wan, moment.way) + more, Instant::now());
        while carried(wan, moment.way) < aim {
            let failed = run.events().into_iter().find_map(|event| match event.what {
                What::Failed { why } => Some(why),
                What::End => Some("the run has ended".into()),
                _ => None,
            });
            let late = (began.elapsed() > self.patience).then(|| "too late".into());
            if let Some(why) = failed.or(late) {
                return Err(format!(
                    "{moment:?}: {more} bytes more were to be carried: {:?}; {why}",
                    wan.counts()
                ));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Cuts, heals, and watches.
    fn endure(&self, federation: &Federation, memory: &Memory, moment: Moment) -> Result<Outcome, String> {
        let (cut, way) = (moment.cut, moment.way);
        let wan = federation.sites[0].wan.as_ref().unwrap();
        let spoke = federation.sites[0].spoke.as_ref().unwrap();
        let (witness, words) = cut.witness(federation);
        let (seen, lines) = (said(witness, words), said(spoke, "line up"));
        let began = Instant::now();
        cut.begin(federation);
        let mut outcome = Outcome { moment, noticed: None, up: None, resumed: None };
        let (mut healed, mut aim) = (None, None);
        let aim_by = (self.load.megabytes * 1e6 / 20.0) as u64;
        let patience = cut.length() + self.keepalive.0 + self.keepalive.1 + Duration::from_secs(60);
        while outcome.resumed.is_none() && began.elapsed() < patience {
            if healed.is_none() && began.elapsed() >= cut.length() {
                cut.heal(federation, memory);
                healed = Some(Instant::now());
            }
            if outcome.noticed.is_none() && said(witness, words) > seen {
                outcome.noticed = Some(began.elapsed());
                // A line that is dead at one end only is fine for whoever dials again.
                healed = healed.map(|_| Instant::now());
            }
            if let Some(healed) = healed
                && outcome.up.is_none()
                && said(spoke, "line up") > lines
            {
                outcome.up = Some(healed.elapsed());
                aim = Some(carried(wan, way) + aim_by);
            }
            if let (Some(healed), Some(aim)) = (healed, aim)
                && carried(wan, way) >= aim
            {
                outcome.resumed = Some(healed.elapsed());
            }
            std::thread::sleep(POLL);
        }
        Ok(outcome)
    }

    /// What is wrong with an outcome.
    fn objection(&self, outcome: &Outcome) -> Option<String> {
        let within = |time: Option<Duration>, most: Duration| time.is_some_and(|time| time <= most);
        // A killed process cannot say that it was cut; its end is told by the kernel.
        let most = self.keepalive.0 + self.keepalive.1 + Duration::from_secs(5);
        let good = within(outcome.noticed, most) && within(outcome.resumed, self.resumed);
        (!good).then(|| {
            format!("noticed is to be within {most:?}, resumed within {:?}: {outcome}", self.resumed)
        })
    }

    /// Plain Flower under the same cut, as far as it comes within [`STOCK_WATCHED`]. Only that the cut was made is sure.
    pub(crate) fn stock(&self) -> Result<(), String> {
        environment(self.flower, self.net);
        let database = memory_dir();
        let setup = self.setup(&format!("stock-{}", self.name()), database.path());
        let federation = Federation::start(setup).map_err(|why| why.to_string())?;
        let memory = Memory::of(&federation);
        let words = |why: onefed_testbed::federation::Failed| why.to_string();
        let run = federation.submit(&self.load).map_err(words)?;
        for moment in &self.moments {
            self.reach(&run, &federation, *moment)?;
            let began = Instant::now();
            moment.cut.begin(&federation);
            std::thread::sleep(moment.cut.length());
            moment.cut.heal(&federation, &memory);
            println!(
                "{} stock {}: {}",
                self.flower,
                self.name(),
                self.watch(&run, &federation, moment, began)
            );
        }
        Ok(())
    }

    /// What becomes of a run of plain Flower.
    fn watch(&self, run: &Run<'_>, federation: &Federation, moment: &Moment, began: Instant) -> String {
        let wan = federation.sites[0].wan.as_ref().unwrap();
        let (healed, before) = (Instant::now(), carried(wan, moment.way));
        let aim = before + (self.load.megabytes * 1e6 / 20.0) as u64;
        let mut resumed = None;
        let ended = loop {
            if resumed.is_none() && carried(wan, moment.way) >= aim {
                resumed = Some(healed.elapsed());
            }
            let events = run.events();
            let end = events.iter().find_map(|event| match &event.what {
                What::RoundEnd(round) if round.number == moment.round => {
                    let (results, errors) = (round.results, round.errors.len());
                    Some(format!("ended with {results} results and {errors} errors"))
                }
                What::Failed { why } => Some(format!("failed: {why}")),
                _ => None,
            });
            if let Some(end) = end {
                break format!("the round {end}, {:.1} s after the heal", healed.elapsed().as_secs_f64());
            }
            if began.elapsed() > STOCK_WATCHED.max(moment.cut.length() * 2) {
                break format!(
                    "the round has not ended, {:.0} s after the heal",
                    healed.elapsed().as_secs_f64()
                );
            }
            std::thread::sleep(POLL);
        };
        let resumed = seconds(resumed);
        format!("transfer goes on after {resumed}; {ended}; {:?}", deaths(federation))
    }
}

/// SuperNodes that have ended.
fn deaths(federation: &Federation) -> Vec<String> {
    let all = federation.sites.iter().flat_map(|site: &Site| &site.supernodes);
    let dead = all.filter_map(|node| Some(format!("{} died: {}", node.name(), node.ended()?)));
    dead.collect()
}

/// A database that is busy for more than five seconds ends runs at SuperLink. The hub asks for one thing after the other
/// so that it is not its doing.
fn locked(federation: &Federation) -> String {
    format!("database locked {} times", said(&federation.superlink, "database is locked"))
}

/// How often a process has said something.
fn said(process: &Process, words: &str) -> usize {
    process.log().matches(words).count()
}

/// Anonymous memory of an idle hub or spoke, in bytes, and what each active spoke may add to it.
const IDLE: u64 = 15 << 20;
const ACTIVE: u64 = 64 << 20;

/// What is wrong with the memory.
fn objections(idle: &Look, busy: &Look) -> Vec<String> {
    let wrong = |(name, (most, _)): (&String, &(u64, u64))| {
        let (_, before) = idle.0.get(name)?;
        let spokes = if name == "hub" { SITES as u64 } else { 1 };
        let bounded = *before <= IDLE && *most <= before + ACTIVE * spokes;
        (!bounded).then(|| format!("{name} takes {before} bytes when idle, then {most}"))
    };
    busy.0.iter().filter_map(wrong).collect()
}

fn rounds(report: &Report) -> String {
    let one = |round: &onefed_testbed::federation::Round| {
        format!("round {} {:.1} s, {} results", round.number, round.seconds, round.results)
    };
    format!("{}: {}", report.status, report.rounds.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "(not seen)".into(), |time| format!("{:.1} s", time.as_secs_f64()))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment { round, way, cut } = self.moment;
        let (noticed, up, resumed) = (seconds(self.noticed), seconds(self.up), seconds(self.resumed));
        write!(
            f,
            "{} in round {round} {way:?}: noticed after {noticed}, then up in {up}, going on in {resumed}",
            cut.name()
        )
    }
}

/// `MALLOC_…` of the test's own environment, for measurements.
fn allocator() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("MALLOC_")).collect()
}

/// A directory in memory, on a system that has such.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What a failure leaves is to be read; gigabytes of random weights are not.
fn without_objects(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.is_ok_and(|kind| kind.is_dir()) {
            without_objects(&path);
        } else if entry.metadata().is_ok_and(|data| data.len() > 4 << 20) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drill {
    /// The same with other moments.
    pub(crate) fn with(&self, moments: impl IntoIterator<Item = (u32, Way, Cut)>) -> Self {
        let moments = moments.into_iter().map(|(round, way, cut)| Moment { round, way, cut });
        Self { moments: moments.collect(), ..self.clone() }
    }
}
