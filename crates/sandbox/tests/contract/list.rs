//! Every case in order, and what became of it.

use crate::stage::{Stage, Told};
use crate::target::Target;
use crate::{clean, stories, table};
use futures_util::future::join_all;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::{LocalSet, spawn_local};

/// A story while it is told.
type Telling = Pin<Box<dyn Future<Output = Told>>>;

/// A case of several calls.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) tell: fn(Arc<Stage>) -> Telling,
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

    /// What could not be removed.
    fn left(&mut self, name: &str, left: Vec<String>) {
        left.iter().for_each(|what| self.failed(name, &format!("could not be removed: {what}")));
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
    let target = Arc::new(target);
    let stage = Stage::new(target.clone(), 0);
    let mut report = Report::default();
    println!("XML-RPC {}, OneFlow {}, names begin with {}", target.xmlrpc, target.oneflow, target.prefix);
    for name in clean::of_others(&stage).await {
        println!("note     {name} was left by another run, or that one is not over");
    }
    for row in table::rows() {
        match row.check(&stage).await {
            Ok(()) => report.passed(row.name),
            Err(why) => report.failed(row.name, &why),
        }
    }
    report.left("the table", clean::after_a_story(&stage).await);

    let stories = stories::ALL.iter().enumerate();
    let stories: Vec<_> =
        stories.map(|(at, story)| (story, Arc::new(Stage::new(target.clone(), at + 1)))).collect();
    // Side by side in the sandbox, whose waits would add up; one after the other in a real zone, which others use too.
    let mut told = Vec::new();
    if target.is_sandbox {
        let all = stories.iter().map(|(story, stage)| tell(story, stage.clone()));
        told.extend(LocalSet::new().run_until(join_all(all)).await);
    }
    for (at, (story, stage)) in stories.into_iter().enumerate() {
        let end = match told.get_mut(at) {
            Some(end) => std::mem::replace(end, End::Passed),
            None => LocalSet::new().run_until(tell(story, stage.clone())).await,
        };
        match end {
            End::Passed => report.passed(story.name),
            End::Skipped(why) => report.skipped(story.name, why),
            End::Failed(why) => report.failed(story.name, &why),
        }
        report.left(story.name, clean::after_a_story(&stage).await);
    }
    report.left("the end", clean::at_the_end(&stage).await);
    report
}

enum End {
    Passed,
    Skipped(&'static str),
    Failed(String),
}

async fn tell(story: &Story, stage: Arc<Stage>) -> End {
    match story.needs {
        Needs::Gate if stage.target.onegate.is_none() => return End::Skipped("no ONEGATE_ENDPOINT"),
        Needs::Sandbox(why) if !stage.target.is_sandbox => return End::Skipped(why),
        _ => {}
    }
    // A task of its own: what a panic leaves is removed as well.
    match spawn_local((story.tell)(stage)).await {
        Ok(Ok(())) => End::Passed,
        Ok(Err(why)) => End::Failed(why),
        Err(why) => End::Failed(format!("panicked: {why}")),
    }
}
