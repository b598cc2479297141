//! Every case in order, and what became of it.

use crate::stage::{Stage, Told};
use crate::target::Target;
use crate::{clean, stories, table};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::{LocalSet, spawn_local};

/// A case of several calls.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) tell: fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = Told>>>,
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A zone.
    Zone,
    /// A zone and its OneGate.
    Gate,
    /// The sandbox: a real zone takes too long, or needs a guest that plays along. The reason is for the list.
    Sandbox(&'static str),
}

/// What became of all cases.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

impl Report {
    fn passed(&mut self, name: &str) {
        self.passed += 1;
        println!("ok       {name}");
    }

    fn skipped(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("skipped  {name}: {why}");
    }

    fn failed(&mut self, name: &str, why: &str) {
        println!("FAILED   {name}: {why}");
        self.failed.push(format!("{name}: {why}"));
    }

    /// Fails the test with everything that was wrong.
    pub(crate) fn conclude(self) {
        println!("{} passed, {} skipped, {} failed", self.passed, self.skipped, self.failed.len());
        assert!(self.failed.is_empty(), "{} cases failed:\n{}", self.failed.len(), self.failed.join("\n"));
        assert!(self.passed > 0, "no case was tried");
    }
}

/// Tries everything at `target`.
pub(crate) async fn run(target: Target) -> Report {
    let stage = Arc::new(Stage::new(target));
    let mut report = Report::default();
    println!(
        "XML-RPC {}, OneFlow {}, names begin with {}",
        stage.target.xmlrpc, stage.target.oneflow, stage.target.prefix
    );
    for name in clean::of_others(&stage).await {
        println!("note     {name} was left by another run, or that one is not over");
    }
    for row in table::rows() {
        match row.check(&stage).await {
            Ok(()) => report.passed(row.name),
            Err(why) => report.failed(row.name, &why),
        }
    }
    for left in clean::after_a_story(&stage).await {
        report.failed("the table", &format!("could not be removed: {left}"));
    }
    for story in stories::ALL {
        match story.needs {
            Needs::Gate if stage.target.onegate.is_none() => {
                report.skipped(story.name, "no ONEGATE_ENDPOINT");
                continue;
            }
            Needs::Sandbox(why) if !stage.target.is_sandbox => {
                report.skipped(story.name, why);
                continue;
            }
            _ => {}
        }
        // A task of its own: what a panic leaves is removed as well.
        let telling = async { spawn_local((story.tell)(stage.clone())).await };
        let outcome = match LocalSet::new().run_until(telling).await {
            Ok(told) => told,
            Err(why) => Err(format!("panicked: {why}")),
        };
        match outcome {
            Ok(()) => report.passed(story.name),
            Err(why) => report.failed(story.name, &why),
        }
        for left in clean::after_a_story(&stage).await {
            report.failed(story.name, &format!("could not be removed: {left}"));
        }
    }
    for left in clean::at_the_end(&stage).await {
        report.failed("the end", &format!("could not be removed: {left}"));
    }
    report
}
