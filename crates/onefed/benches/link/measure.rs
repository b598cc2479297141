//! One run of one federation, and series of them in turns.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onefed_testbed::federation::{Failed, Federation, Load, Setup};
use onefed_testbed::wan::{Profile, Wan};
use serde_json::{Value, json};

use crate::table::{Table, median};

/// The second octet of all addresses.
pub(crate) const NET: u8 = 25;
/// How long a round may take. A SuperLink that is locked out of its own database leaves a run waiting for ever.
const PATIENCE: Duration = Duration::from_secs(420);
/// How often the line is looked at for when its bytes flow.
const LOOK: Duration = Duration::from_millis(50);

/// What the caller may choose.
pub(crate) struct Options {
    /// Alternating pairs; `None` leaves it to the case.
    pub(crate) pairs: Option<usize>,
    /// Rounds per run; `None` leaves it to the case.
    pub(crate) rounds: Option<u32>,
    /// The size of the synthetic model in 10^6 bytes.
    pub(crate) bulk: usize,
    /// The releases.
    pub(crate) flower: Vec<String>,
    /// Only spoke and hub are measured, nothing beside them: for work on them.
    pub(crate) ours_only: bool,
}

impl Options {
    pub(crate) fn read() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str| {
            read(name).map(|text| text.parse::<u32>().unwrap_or_else(|why| panic!("{name}: {why}")))
        };
        let flower = read("ONEFED_BENCH_FLOWER").unwrap_or_else(|| "1.31.0,1.41.0".to_owned());
        Self {
            pairs: number("ONEFED_BENCH_PAIRS").map(|pairs| pairs as usize),
            rounds: number("ONEFED_BENCH_ROUNDS"),
            bulk: number("ONEFED_BENCH_BULK_MB").unwrap_or(500) as usize,
            flower: flower.split(',').map(str::to_owned).collect(),
            ours_only: read("ONEFED_BENCH_OURS").is_some(),
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Plain Flower, nothing between SuperNodes and SuperLink.
    Near,
    /// Plain Flower over the line.
    Stock,
    /// Spoke, line, hub.
    Ours,
    /// Spoke and hub without a line.
    OursNear,
}

/// The shape of a case.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) sites: usize,
    pub(crate) nodes: usize,
    pub(crate) arrays: u32,
    pub(crate) megabytes: f64,
    pub(crate) line: Profile,
}

impl Shape {
    /// Over a line of 1 Gbit/s.
    pub(crate) fn new(sites: usize, nodes: usize, arrays: u32, megabytes: f64, rtt_ms: u64) -> Self {
        Self { sites, nodes, arrays, megabytes, line: Profile::new(Duration::from_millis(rtt_ms), 1000) }
    }

    pub(crate) fn setup(&self, who: Who, flower: &str) -> Setup {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-link");
        let setup = Setup::new(flower, NET, &dir, self.sites, self.nodes);
        let setup = if matches!(who, Who::Stock | Who::Ours) { setup.over(self.line) } else { setup };
        if matches!(who, Who::Ours | Who::OursNear) { setup.ours(&onefed()) } else { setup }
    }

    pub(crate) fn load(&self, rounds: u32) -> Load {
        Load::new(self.arrays, self.megabytes, rounds)
    }
}

/// The program that is measured.
fn onefed() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_onefed"))
}

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds of each round.
    pub(crate) rounds: Vec<f64>,
    /// Bytes on all lines, for the whole run.
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// Distinct object bytes that go down in a round.
    pub(crate) object_bytes: u64,
    /// CPU seconds of hub and all spokes.
    pub(crate) link_cpu: f64,
    /// CPU seconds of SuperLink.
    pub(crate) superlink_cpu: f64,
    /// The most memory of hub and of the largest spoke, resident.
    pub(crate) peak: u64,
    /// Seconds for which most bytes flowed, down and up.
    pub(crate) flowing: (f64, f64),
    /// Pulls from SuperLink, where they were counted.
    pub(crate) pulls: usize,
    /// Distinct objects among them.
    pub(crate) pulled: usize,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "bytes_up": self.up,
            "bytes_down": self.down,
            "object_bytes": self.object_bytes,
            "link_cpu_seconds": self.link_cpu,
            "superlink_cpu_seconds": self.superlink_cpu,
            "link_peak_bytes": self.peak,
            "line_seconds": [self.flowing.0, self.flowing.1],
        })
    }
}

/// Starts a federation, runs the app on it, checks the outcome and ends it.
pub(crate) fn once(setup: Setup, load: &Load) -> Result<Outcome, Failed> {
    let counted = setup.log_level == "DEBUG";
    let nodes = setup.sites * setup.nodes;
    let federation = Federation::start(setup)?;
    let before = federation.carried();
    let run = federation.submit(load)?;
    let lines: Vec<_> = federation.sites.iter().filter_map(|site| site.wan.as_ref()).collect();
    let (report, looks) = looked_at(&lines, || {
        (1..=load.rounds).try_for_each(|round| run.round_ends(round, PATIENCE))?;
        run.wait(PATIENCE)
    });
    let report = report?;
    if let Err(why) = report.check(nodes, load.rounds) {
        federation.keep();
        return Err(Failed(format!("{why}; logs are in {}", federation.dir().display())));
    }
    let after = federation.carried();
    let spokes = || federation.sites.iter().filter_map(|site| site.spoke.as_ref());
    let link = || spokes().chain(&federation.hub).map(|process| process.usage());
    let (pulls, pulled) = if counted { federation.pulls() } else { (0, 0) };
    Ok(Outcome {
        rounds: report.seconds(),
        up: after.0 - before.0,
        down: after.1 - before.1,
        object_bytes: report.object_bytes,
        link_cpu: link().map(|usage| usage.cpu_seconds).sum(),
        superlink_cpu: federation.superlink.usage().cpu_seconds,
        peak: link().map(|usage| usage.rss_peak).max().unwrap_or(0),
        flowing: (flowing(looks.iter().map(|look| look.0)), flowing(looks.iter().map(|look| look.1))),
        pulls,
        pulled,
    })
}

/// Does something, and looks at what lines have carried meanwhile: bytes down and up, once every [`LOOK`].
pub(crate) fn looked_at<T>(lines: &[&Wan], what: impl FnOnce() -> T) -> (T, Vec<(u64, u64)>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let counts = lines.iter().map(|line| line.counts());
                looks.push(counts.fold((0, 0), |sum, counts| (sum.0 + counts.down, sum.1 + counts.up)));
                std::thread::sleep(LOOK);
            }
            looks
        });
        let done = what();
        stop.store(true, Ordering::Relaxed);
        (done, watch.join().unwrap())
    })
}

/// Seconds from when the first hundredth of the bytes has passed until all but the last has.
pub(crate) fn flowing(looks: impl DoubleEndedIterator<Item = u64> + Clone) -> f64 {
    let first = looks.clone().next().unwrap_or(0);
    let all = looks.clone().next_back().unwrap_or(0) - first;
    let between = looks.filter(|bytes| (bytes - first) * 100 > all && (bytes - first) * 100 < all * 99);
    between.count() as f64 * LOOK.as_secs_f64()
}

/// All outcomes of one of those who are measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    outcomes: Vec<Outcome>,
    /// Why runs failed.
    failed: Vec<String>,
}

/// Who fails so often is not run again: a run that fails takes minutes.
const FAILS: usize = 2;

impl Series {
    /// The median round.
    pub(crate) fn round(&self) -> Option<f64> {
        median(self.outcomes.iter().flat_map(|outcome| outcome.rounds.iter().copied()))
    }

    /// The median of something over the runs.
    pub(crate) fn median(&self, of: impl Fn(&Outcome) -> f64) -> Option<f64> {
        median(self.outcomes.iter().map(of))
    }

    pub(crate) fn json(&self) -> Value {
        let failed = self.failed.iter().map(|why| json!({ "failed": why }));
        self.outcomes.iter().map(Outcome::json).chain(failed).collect()
    }
}

/// Runs everybody in turns, so often.
pub(crate) fn in_turns<const N: usize>(
    who: [Who; N],
    shape: &Shape,
    flower: &str,
    options: &Options,
    (pairs, rounds): (usize, u32),
    table: &mut Table,
) -> [Series; N] {
    let mut series = [(); N].map(|()| Series::default());
    for pair in 1..=pairs {
        for (who, series) in who.iter().zip(&mut series) {
            let skipped = options.ours_only && matches!(who, Who::Near | Who::Stock);
            if skipped || series.failed.len() >= FAILS {
                continue;
            }
            match once(shape.setup(*who, flower), &shape.load(rounds)) {
                Ok(outcome) => {
                    let seconds: Vec<String> =
                        outcome.rounds.iter().map(|seconds| format!("{seconds:.1}")).collect();
                    println!("  pair {pair}/{pairs} {who:8?} rounds of {} s", seconds.join(", "));
                    series.outcomes.push(outcome);
                }
                Err(why) => {
                    series.failed.push(why.to_string());
                    match who {
                        // That plain Flower fails is a result.
                        Who::Near | Who::Stock => println!("  pair {pair}/{pairs} {who:8?} failed: {why}"),
                        Who::Ours | Who::OursNear => table.failed(&format!("{who:?}: {why}")),
                    }
                }
            }
        }
    }
    series
}
