//! What a run says while it trains, read from the log lines that `flwr run --stream` prints.
//!
//! Flower's strategies log each round with its results; that holds for any app that uses them. An app that logs
//! nothing gives no events, and its numbers stay unknown.

use std::collections::BTreeMap;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// The run was accepted.
    Submitted {
        /// Flower's run id.
        run_id: u64,
    },
    /// A round began.
    RoundStarted {
        /// The round, from 1.
        round: u64,
        /// How many there will be, where the app's strategy says so.
        of: Option<u64>,
    },
    /// Nodes answered a step of the round.
    Replies {
        /// Whether it was the evaluation, or else the training.
        evaluation: bool,
        /// Results that came back.
        results: u64,
        /// Results that did not.
        failures: u64,
    },
    /// The metrics of a step, aggregated over its nodes, or evaluated at the server.
    Metrics {
        /// Whether they are from an evaluation, or else from training.
        evaluation: bool,
        /// By name, as the app calls them.
        values: BTreeMap<String, f64>,
    },
    /// The strategy is done with its rounds.
    Finished,
}

/// Reads a run's log line by line.
#[derive(Debug, Default)]
pub struct RunLog {
    evaluation: bool,
}

impl RunLog {
    /// The event of a line, if it tells one.
    pub fn line(&mut self, raw: &str) -> Option<RunEvent> {
        let plain = plain(raw);
        let text = message(&plain);
        // Some releases decorate the line.
        if let Some((_, id)) = text.split_once("Successfully started run ") {
            return id.trim().parse().ok().map(|run_id| RunEvent::Submitted { run_id });
        }
        if let Some(rounds) = text.strip_prefix("[ROUND ").and_then(|rest| rest.strip_suffix(']')) {
            // The older strategies do not say how many there will be.
            let (round, of) = rounds.split_once('/').map_or((rounds, None), |(round, of)| (round, Some(of)));
            let of = of.and_then(|of| of.trim().parse().ok());
            return Some(RunEvent::RoundStarted { round: round.trim().parse().ok()?, of });
        }
        for (prefix, evaluation) in [
            ("aggregate_train: Received ", false),
            ("aggregate_evaluate: Received ", true),
            ("aggregate_fit: received ", false),
            ("aggregate_evaluate: received ", true),
        ] {
            if let Some(rest) = text.strip_prefix(prefix) {
                self.evaluation = evaluation;
                let mut numbers = rest.split(' ').filter_map(|word| word.parse().ok());
                let (results, failures) = (numbers.next()?, numbers.next()?);
                return Some(RunEvent::Replies { evaluation, results, failures });
            }
        }
        if text.starts_with("Global evaluation") {
            self.evaluation = true;
        }
        if let Some((_, record)) = text.split_once("MetricRecord: ") {
            let evaluation = self.evaluation;
            return metric_record(record).map(|values| RunEvent::Metrics { evaluation, values });
        }
        // `fit progress: (1, 0.5, {'accuracy': 0.9}, 12.3)`: round, loss, metrics, seconds, of the older strategies.
        if let Some(rest) = text.strip_prefix("fit progress: (") {
            let mut values = rest
                .split_once('{')
                .and_then(|(_, rest)| metric_record(&format!("{{{}}}", rest.split_once('}')?.0)))?;
            let loss = rest.split(", ").nth(1).and_then(|loss| loss.parse().ok());
            values.extend(loss.map(|loss| ("loss".to_owned(), loss)));
            return Some(RunEvent::Metrics { evaluation: true, values });
        }
        text.starts_with("Strategy execution finished").then_some(RunEvent::Finished)
    }
}

/// The value that a record calls by one of the usual names of a quantity, `accuracy` or `loss`: the name itself first,
/// then the first that ends in it after a dash or underscore. Names with a slash are parts, not the whole.
pub fn usual(values: &BTreeMap<String, f64>, quantity: &str) -> Option<f64> {
    let ends = |name: &str| {
        let lower = name.to_ascii_lowercase();
        !name.contains('/') && lower.strip_suffix(quantity).is_some_and(|rest| rest.ends_with(['-', '_']))
    };
    let exact =
        values.get(quantity).or_else(|| (quantity == "accuracy").then(|| values.get("acc")).flatten());
    exact.or_else(|| values.iter().find(|(name, _)| ends(name)).map(|(_, value)| value)).copied()
}

/// What each site reaches alone, from metrics named `alone/<site>/<quantity>` (the convention of onefed's apps).
pub fn alone(values: &BTreeMap<String, f64>, quantity: &str) -> BTreeMap<String, f64> {
    let site = |(name, value): (&String, &f64)| {
        let site = name.strip_prefix("alone/")?.strip_suffix(quantity)?.strip_suffix('/')?;
        Some((site.to_owned(), *value))
    };
    values.iter().filter_map(site).collect()
}

/// The line without terminal colours.
fn plain(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest =
            match after.strip_prefix('[').and_then(|code| code.split_once(|c: char| c.is_ascii_alphabetic()))
            {
                Some((_, tail)) => tail,
                None => after,
            };
    }
    out.push_str(rest);
    out
}

/// The message of a log line: what follows the level, without the tree that Flower draws.
fn message(plain: &str) -> &str {
    let text = ["INFO", "WARNING", "ERROR", "DEBUG"]
        .iter()
        .find_map(|level| plain.trim_start().strip_prefix(level)?.trim_start().strip_prefix(':'))
        .unwrap_or(plain);
    text.trim().trim_start_matches(['└', '├', '─', '│', '>', ' ', '\t'])
}

/// Reads the way Python prints a flat dictionary of numbers. Entries that are no plain numbers are left out.
fn metric_record(text: &str) -> Option<BTreeMap<String, f64>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut values = BTreeMap::new();
    for entry in inner.split(", ") {
        if let Some((key, value)) = entry.split_once(": ")
            && let (key, Ok(value)) = (key.trim().trim_matches(['\'', '"']), value.trim().parse::<f64>())
        {
            values.insert(key.to_owned(), value);
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(log: &str) -> Vec<RunEvent> {
        let mut reader = RunLog::default();
        log.lines().filter_map(|line| reader.line(line)).collect()
    }

    #[test]
    fn the_logs_of_both_bands_tell_the_same_story() {
        for (version, log) in [
            ("1.31.0", include_str!("fixtures/run-1.31.0.log")),
            ("1.41.0", include_str!("fixtures/run-1.41.0.log")),
        ] {
            let events = events(log);
            assert!(matches!(events[0], RunEvent::Submitted { .. }), "{version}: {:?}", events[0]);
            let rounds: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    RunEvent::RoundStarted { round, of } => Some((*round, of.unwrap_or(0))),
                    _ => None,
                })
                .collect();
            assert_eq!(rounds, [(1, 3), (2, 3), (3, 3)], "{version}");
            let evaluations: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    RunEvent::Metrics { evaluation: true, values } => Some(values),
                    _ => None,
                })
                .collect();
            assert_eq!(evaluations.len(), 3, "{version}");
            let last = evaluations[2];
            assert!(usual(last, "accuracy").unwrap() > 0.85, "{version}");
            assert!(usual(last, "loss").unwrap() < 1.0, "{version}");
            assert_eq!(alone(last, "accuracy").keys().collect::<Vec<_>>(), ["lisbon", "paris"], "{version}");
            assert_eq!(events.last(), Some(&RunEvent::Finished), "{version}");
        }
    }

    #[test]
    fn the_older_strategies_are_understood_as_far_as_they_speak() {
        let log = "INFO :      [ROUND 2]\nINFO :      aggregate_fit: received 3 results and 1 failures\nINFO :      fit progress: (2, 0.25, {'accuracy': 0.9}, 12.5)\n";
        let values = BTreeMap::from([("accuracy".to_owned(), 0.9), ("loss".to_owned(), 0.25)]);
        assert_eq!(
            events(log),
            [
                RunEvent::RoundStarted { round: 2, of: None },
                RunEvent::Replies { evaluation: false, results: 3, failures: 1 },
                RunEvent::Metrics { evaluation: true, values },
            ]
        );
    }

    #[test]
    fn names_of_other_apps_are_understood_or_left_alone() {
        let record = |text| metric_record(text).unwrap();
        assert_eq!(usual(&record("{'eval_acc': 0.5, 'eval_loss': 2.5}"), "loss"), Some(2.5));
        assert_eq!(usual(&record("{'test-accuracy': 0.5, 'alone/x/accuracy': 0.1}"), "accuracy"), Some(0.5));
        assert_eq!(usual(&record("{'acc': 0.25}"), "accuracy"), Some(0.25));
        assert_eq!(usual(&record("{'glossary': 1.0, 'per-class': [1, 2]}"), "loss"), None);
        assert_eq!(record("{}"), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _ = RunLog::default().line(&line);
        }
    }
}
