//! The boot as a list of named steps, each logged with its outcome, and what follows: supervise until told to stop.

use std::time::{Duration, Instant};

use onefed_context::{RawContext, RoleContext, Severity, VmContext, read_context_sh};
use onefed_opennebula::Secret;
use onefed_opennebula::onegate::Client;
use url::Url;

use crate::files::{Readers, private_dir, read_if_there, write};
use crate::publication::{Publisher, attribute};
use crate::supervisor::{Supervised, stop_signal};
use crate::{Machine, StepError, roles};

/// How often the state of the processes is looked at after the boot.
const WATCH: Duration = Duration::from_secs(5);
/// Environment variables that mark everything that belongs to a sandbox VM, so that nothing of it can be overlooked.
const MARKERS: [&str; 2] = ["ONEFED_SANDBOX", "ONEFED_VM"];
/// Settings of numeric libraries that belong to the machine, not to the VM.
const MACHINE_PREFIXES: [&str; 3] = ["OPENBLAS_", "OMP_", "MKL_"];

/// How a boot ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was told to stop, and everything has stopped.
    Stopped,
    /// A step failed; the failure has been published and everything has stopped.
    Failed(StepError),
}

/// The log of boot steps.
pub(crate) struct StepLog;

/// A boot under way.
pub(crate) struct Steps<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) context: &'a VmContext,
    pub(crate) publisher: Publisher,
    pub(crate) generation: u64,
    pub(crate) processes: &'a mut Vec<Supervised>,
    pub(crate) log: StepLog,
}

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

    /// The last step: everything that peers need, and readiness, in one publication.
    pub(crate) async fn ready(&self, attributes: &[(&str, &str)]) -> Result<(), StepError> {
        let mut all = attributes.to_vec();
        all.extend([(attribute::STATE, "ready"), (attribute::READY, "YES")]);
        self.log
            .run("publish", async || self.publisher.say(&all).await.map(|()| ((), "READY".to_owned())))
            .await
    }
}

/// Boots this VM and runs it until it is told to stop (SIGTERM, SIGINT, or in a sandbox the end of its host).
pub async fn boot(machine: &Machine) -> Outcome {
    let mut publisher = Publisher::new(None);
    let mut processes = Vec::new();
    let life = async {
        boot_steps(machine, &mut publisher, &mut processes).await?;
        watch(&publisher, &processes).await;
        Ok(())
    };
    let failure = tokio::select! {
        lived = life => lived.err(),
        () = told_to_stop(machine) => None,
    };
    if let Some(why) = &failure {
        publisher.failed(why).await;
    }
    tracing::info!("stopping");
    for process in processes.into_iter().rev() {
        process.stop().await;
    }
    failure.map_or(Outcome::Stopped, Outcome::Failed)
}

async fn boot_steps(
    machine: &Machine,
    publisher: &mut Publisher,
    processes: &mut Vec<Supervised>,
) -> Result<(), StepError> {
    // Before the context is checked, so that a fault in it can be told.
    *publisher = Publisher::new(unchecked_onegate(machine));
    let context = StepLog.run("context", async || read_context(machine)).await?;
    let generation = StepLog.run("disk", async || prepare_disk(machine)).await?;
    *publisher = StepLog.run("onegate", async || connect(machine, &context, generation).await).await?;
    let mut steps = Steps {
        machine,
        context: &context,
        publisher: publisher.clone(),
        generation,
        processes,
        log: StepLog,
    };
    match &context.role {
        RoleContext::SuperLink(own) => roles::superlink(&mut steps, own).await,
        RoleContext::Gateway(own) => roles::gateway(&mut steps, own).await,
        RoleContext::SuperNode(own) => roles::supernode(&mut steps, own).await,
    }
}

fn read_context(machine: &Machine) -> Result<(VmContext, String), StepError> {
    let path = machine.context.join("context.sh");
    let text = std::fs::read_to_string(&path).map_err(|why| {
        let hint = "onefed boot needs the VM's contextualization: see --context";
        StepError::context(format!("{}: {why}", path.display()), hint)
    })?;
    let validated = read_context_sh(&text);
    for problem in validated.problems.iter().filter(|problem| problem.severity != Severity::Error) {
        match problem.severity {
            Severity::Info => tracing::info!("{problem}"),
            _ => tracing::warn!("{problem}"),
        }
    }
    match validated.context {
        Some(context) => {
            let words =
                format!("{} of federation {}, VM {}", context.role(), context.federation, context.vm_id);
            Ok((context, words))
        }
        None => {
            let errors: Vec<String> = validated
                .problems
                .iter()
                .filter(|p| p.is_error())
                .map(|problem| problem.to_string())
                .collect();
            let hint = format!("correct the context variables ({} problems) and boot again", errors.len());
            Err(StepError::context(errors.join("; "), hint))
        }
    }
}

/// Makes the directories and counts this boot.
fn prepare_disk(machine: &Machine) -> Result<(u64, String), StepError> {
    for dir in [machine.disk.clone(), machine.log_dir()] {
        private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    }
    let path = machine.disk.join("boot-generation");
    let before = read_if_there(&path).map_err(|why| StepError::file(&path, &why))?;
    let generation = before.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0) + 1;
    write(&path, generation.to_string().as_bytes(), Readers::Owner)
        .map_err(|why| StepError::file(&path, &why))?;
    Ok((generation, format!("boot {generation} of this disk")))
}

/// OneGate by what the context says, checked or not; `None` where it says too little.
fn unchecked_onegate(machine: &Machine) -> Option<Client> {
    let (raw, _) = RawContext::parse(&std::fs::read_to_string(machine.context.join("context.sh")).ok()?);
    let token = std::fs::read_to_string(machine.context.join("token.txt")).ok()?;
    let (endpoint, vm_id) = (raw.get("ONEGATE_ENDPOINT")?.parse().ok()?, raw.get("VMID")?.parse().ok()?);
    Client::new(endpoint, Secret::new(token.trim()), vm_id).ok()
}

async fn connect(
    machine: &Machine,
    context: &VmContext,
    generation: u64,
) -> Result<(Publisher, String), StepError> {
    let Some(endpoint) = &context.onegate else {
        return Ok((Publisher::new(None), "none: TOKEN is not YES".to_owned()));
    };
    let url = Url::parse(endpoint).map_err(|why| {
        StepError::context(
            format!("ONEGATE_ENDPOINT `{endpoint}`: {why}"),
            "check the zone's OneGate endpoint",
        )
    })?;
    let path = machine.context.join("token.txt");
    let token = std::fs::read_to_string(&path).map_err(|why| StepError::file(&path, &why))?;
    let client = Client::new(url, Secret::new(token.trim()), context.vm_id);
    let publisher = Publisher::new(Some(client.map_err(|why| StepError::onegate(&why))?));
    publisher.begin(&context.role().to_string(), context.flower.as_str(), generation).await?;
    Ok((publisher, endpoint.clone()))
}

/// Says so when a process keeps ending after the boot, and when all are well again. Never returns.
async fn watch(publisher: &Publisher, processes: &[Supervised]) {
    let mut degraded = false;
    loop {
        tokio::time::sleep(WATCH).await;
        let trouble = processes.iter().find_map(|process| process.check().err());
        let said = match (&trouble, degraded) {
            (Some(why), false) => {
                tracing::error!(code = why.code, "{} (hint: {})", why.text, why.hint);
                publisher.say(&[(attribute::STATE, "degraded"), (attribute::ERROR, why.code)]).await
            }
            (None, true) => {
                tracing::info!("all processes are well again");
                publisher.recovered().await
            }
            _ => continue,
        };
        // What could not be said is said at the next look.
        match said {
            Ok(()) => degraded = trouble.is_some(),
            Err(why) => tracing::warn!(%why, "the state could not be published"),
        }
    }
}

async fn told_to_stop(machine: &Machine) {
    if machine.sandbox_loopback.is_none() {
        return stop_signal().await;
    }
    let (gone, host_gone) = tokio::sync::oneshot::channel();
    // A thread of its own: a read that blocks in the runtime would hold up its end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = gone.send(());
    });
    tokio::select! {
        () = stop_signal() => {}
        _ = host_gone => tracing::warn!("the sandbox is gone"),
    }
}

/// What children inherit of the environment: the marks of their VM, and how this machine computes.
pub(crate) fn marker() -> Vec<(String, String)> {
    let wanted =
        |key: &str| MARKERS.contains(&key) || MACHINE_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    std::env::vars().filter(|(key, _)| wanted(key)).collect()
}
