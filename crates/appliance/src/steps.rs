//! The steps of one boot: each is named, logged with its outcome and time, and may be ended by a new context.

use std::sync::Arc;
use std::time::Instant;

use onefed_context::VmContext;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::health::{self, Well};
use crate::manager::Manager;
use crate::publication::{Publisher, attribute};
use crate::record::{HealthCheck, Record, State};
use crate::service::{Change, SUPERNODE, Service, in_words};
use crate::{Machine, StepError};

/// The log of boot steps.
pub(crate) struct StepLog;

/// A boot under way.
pub(crate) struct Steps<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) context: &'a VmContext,
    pub(crate) publisher: Publisher,
    pub(crate) generation: u64,
    pub(crate) manager: &'a mut Manager,
    pub(crate) log: StepLog,
    pub(crate) reload: &'a Reload,
    /// When this boot started the SuperNode, if it did: a sign of life from before is its predecessor's.
    pub(crate) node_since: Option<Instant>,
}

/// Tells a boot that the context has changed: contextualization sends SIGHUP.
pub(crate) struct Reload(pub(crate) Notify);

impl StepLog {
    /// Runs one step. It returns its result and a few words about it.
    pub(crate) async fn run<T>(
        &self,
        name: &str,
        step: impl AsyncFnOnce() -> Result<(T, String), StepError>,
    ) -> Result<T, StepError> {
        let started = Instant::now();
        let outcome = step().await;
        let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
        match outcome {
            Ok((value, words)) => {
                tracing::info!(step = name, seconds, "ok: {words}");
                Ok(value)
            }
            Err(why) if why.is_superseded() => {
                tracing::info!(step = name, seconds, "left: {}", why.text);
                Err(why)
            }
            Err(why) => {
                tracing::error!(
                    step = name,
                    seconds,
                    code = why.code,
                    "failed: {} (hint: {})",
                    why.text,
                    why.hint
                );
                Err(why)
            }
        }
    }
}

impl Steps<'_> {
    pub(crate) async fn run<T>(
        &self,
        name: &str,
        step: impl AsyncFnOnce() -> Result<(T, String), StepError>,
    ) -> Result<T, StepError> {
        self.log.run(name, step).await
    }

    /// A step that may wait long for others. A new context ends the wait: what it waits for may not be right any more.
    pub(crate) async fn wait<T>(
        &self,
        name: &str,
        step: impl AsyncFnOnce() -> Result<(T, String), StepError>,
    ) -> Result<T, StepError> {
        let or_reload = async || {
            tokio::select! {
                done = step() => done,
                () = self.reload.0.notified() => {
                    // It is for the loop around the steps.
                    self.reload.0.notify_one();
                    Err(StepError::superseded())
                }
            }
        };
        self.log.run(name, or_reload).await
    }

    /// Makes the services run, applying only differences.
    pub(crate) async fn processes(&mut self, services: Vec<Service>) -> Result<(), StepError> {
        let manager = &mut *self.manager;
        let began = Instant::now();
        let apply = async || {
            let done = manager.apply(services).await?;
            let words = in_words(&done);
            Ok((done, words))
        };
        let done = self.log.run("processes", apply).await?;
        let new = done.iter().any(|(name, change)| name == SUPERNODE && *change != Change::Kept);
        self.node_since = new.then_some(began);
        Ok(())
    }

    /// The node id that SuperLink gave a SuperNode without a key of its own, as its log announces it.
    pub(crate) async fn announced(&self) -> Result<u64, StepError> {
        let listen = async || {
            let id = health::announced(self.manager).await?;
            Ok((id, format!("node {id}")))
        };
        self.wait("announcement", listen).await
    }

    /// Writes down how the VM's health is asked for, then asks until it is well.
    pub(crate) async fn healthy(&mut self, check: HealthCheck) -> Result<Well, StepError> {
        self.record(State::Starting, Some(&check))?;
        let asked = async || {
            let well = health::until_well(&check, self.manager, self.node_since, &self.publisher).await?;
            let words = well.words.clone();
            Ok((well, words))
        };
        self.wait("health", asked).await
    }

    pub(crate) fn record(&self, state: State, health: Option<&HealthCheck>) -> Result<(), StepError> {
        let record =
            Record { generation: self.generation, pid: std::process::id(), state, health: health.cloned() };
        record.write(&self.machine.disk)
    }

    /// The last step: everything that peers need, and readiness, in one publication.
    pub(crate) async fn ready(&self, attributes: &[(&str, &str)]) -> Result<(), StepError> {
        let mut all = attributes.to_vec();
        all.extend([(attribute::STATE, "ready"), (attribute::READY, "YES")]);
        self.wait("publish", async || self.publisher.say(&all).await.map(|()| ((), "READY".to_owned()))).await
    }
}

impl Reload {
    /// Listens for SIGHUP from now on.
    pub(crate) fn listen() -> Arc<Self> {
        let reload = Arc::new(Self(Notify::new()));
        if let Ok(mut signal) = signal(SignalKind::hangup()) {
            let told = reload.clone();
            tokio::spawn(async move {
                while signal.recv().await.is_some() {
                    told.0.notify_one();
                }
            });
        }
        reload
    }
}
