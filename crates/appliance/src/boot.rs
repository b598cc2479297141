//! The boot as a list of named steps, each logged with its outcome, and what follows: watch until told to stop, or to
//! look again at the context.

use std::time::Duration;

use onefed_context::{Problem, RawContext, RoleContext, Severity, VmContext, read_context_sh};
use onefed_opennebula::Secret;
use onefed_opennebula::onegate::Client;
use url::Url;

use crate::files::{Readers, private_dir, read_if_there, sweep, write};
use crate::manager::Manager;
use crate::publication::{Publisher, attribute, encode};
use crate::record::{Record, State};
use crate::steps::{Reload, StepLog, Steps};
use crate::supervisor::stop_signal;
use crate::{Machine, StepError, claim, roles};

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

/// Boots this VM and looks after it until it is told to stop (SIGTERM, SIGINT, or in a sandbox the end of its host).
/// SIGHUP makes it read its context again and apply the differences.
///
/// While another boot works with the same disk, this one fails and changes nothing: neither what that one runs, nor
/// what it has written down or published.
pub async fn boot(machine: &Machine) -> Outcome {
    let _alone = match claim::claim(&machine.disk).await {
        Ok(claim) => claim,
        Err(why) => return Outcome::Failed(why),
    };
    let mut publisher = Publisher::new(None);
    let mut manager = Manager::of(machine);
    let reload = Reload::listen();
    let failure = tokio::select! {
        why = live(machine, &mut publisher, &mut manager, &reload) => Some(why),
        () = told_to_stop(machine) => None,
    };
    if let Some(why) = &failure {
        // A OneGate that hangs must not hold up who is told to stop meanwhile.
        tokio::select! {
            () = publisher.failed(why) => {}
            () = stop_signal() => {}
        }
        note(machine, State::Failed { code: why.code.to_owned(), text: why.text.clone() });
    }
    tracing::info!("stopping");
    manager.leave().await;
    failure.map_or(Outcome::Stopped, Outcome::Failed)
}

/// Boots, watches, and boots again when the context has changed. Returns only when the first boot fails: a later one
/// that fails leaves running what runs.
async fn live(
    machine: &Machine,
    publisher: &mut Publisher,
    manager: &mut Manager,
    reload: &Reload,
) -> StepError {
    let mut been_ready = false;
    loop {
        let done = boot_steps(machine, publisher, manager, reload).await;
        let trouble = match done {
            Ok(()) => {
                been_ready = true;
                note(machine, State::Ready);
                None
            }
            Err(why) if why.is_superseded() => None,
            Err(why) if been_ready => Some(why),
            Err(why) => return why,
        };
        tokio::select! {
            () = watch(machine, publisher, async || manager.check().await, trouble.as_ref(), WATCH) => {}
            () = reload.0.notified() => tracing::info!("the context may have changed: booting again"),
        }
    }
}

async fn boot_steps(
    machine: &Machine,
    publisher: &mut Publisher,
    manager: &mut Manager,
    reload: &Reload,
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
        manager,
        log: StepLog,
        reload,
        node_since: None,
    };
    steps.record(State::Starting, None)?;
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
            Severity::Info => tracing::info!("{}", in_a_line(problem)),
            _ => tracing::warn!("{}", in_a_line(problem)),
        }
    }
    match validated.context {
        Some(context) => {
            let words = format!(
                "{} of federation {}, VM {}",
                context.role(),
                context.federation,
                context.name_in_zone()
            );
            Ok((context, words))
        }
        None => {
            let errors: Vec<String> =
                validated.problems.iter().filter(|p| p.is_error()).map(in_a_line).collect();
            let hint = format!("correct the context variables ({} problems) and boot again", errors.len());
            Err(StepError::context(errors.join("; "), hint))
        }
    }
}

fn in_a_line(problem: &Problem) -> String {
    crate::error::in_a_line(problem.code, &problem.message, problem.hint.as_deref())
}

/// Makes the directories and counts this boot.
fn prepare_disk(machine: &Machine) -> Result<(u64, String), StepError> {
    for dir in [machine.disk.clone(), machine.log_dir()] {
        private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    }
    for dir in [machine.disk.clone(), machine.tls_dir(), machine.node_dir()] {
        sweep(&dir).map_err(|why| StepError::file(&dir, &why))?;
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
    let (Some(endpoint), Some(vm_id)) = (&context.onegate, context.vm_id) else {
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
    let client = Client::new(url, Secret::new(token.trim()), vm_id);
    let publisher = Publisher::new(Some(client.map_err(|why| StepError::onegate(&why))?));
    publisher.begin(&context.role().to_string(), context.flower.as_str(), generation).await;
    Ok((publisher, endpoint.clone()))
}

/// Says so when a process keeps ending after the boot, and when all are well again. Never returns.
///
/// `trouble`: why the last boot failed. It stays until there is another one, whatever becomes of the processes. `check`
/// is asked `every` so often.
async fn watch(
    machine: &Machine,
    publisher: &Publisher,
    check: impl AsyncFn() -> Result<(), StepError>,
    trouble: Option<&StepError>,
    every: Duration,
) {
    let mut said = None;
    if let Some(why) = trouble
        && degraded(machine, publisher, why).await
    {
        said = Some(Said::Boot);
    }
    // What the disk says, whether or not OneGate could be told.
    let mut noted = trouble.is_some();
    loop {
        tokio::time::sleep(every).await;
        let unwell = check().await.err();
        let now = match (&unwell, trouble) {
            (Some(_), _) => Some(Said::Process),
            (None, Some(_)) => Some(Said::Boot),
            (None, None) => None,
        };
        if now.is_none() && noted {
            tracing::info!("all processes are well again");
            note(machine, State::Ready);
            noted = false;
        }
        if now == said {
            continue;
        }
        // What could not be said is said at the next look.
        if let Some(why) = unwell.as_ref().or(trouble) {
            tracing::error!(code = why.code, "{} (hint: {})", why.text, why.hint);
            noted = true;
            if degraded(machine, publisher, why).await {
                said = now;
            }
            continue;
        }
        match publisher.recovered().await {
            Ok(()) => said = None,
            Err(why) => tracing::warn!(%why, "the state could not be published"),
        }
    }
}

/// Which trouble was published last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// The last boot failed.
    Boot,
    /// A process keeps ending.
    Process,
}

/// Publishes and writes down that the VM does not do its work as it should.
async fn degraded(machine: &Machine, publisher: &Publisher, why: &StepError) -> bool {
    note(machine, State::Degraded { code: why.code.to_owned(), text: why.text.clone() });
    let text = encode(&format!("{} (hint: {})", why.text, why.hint));
    let attributes =
        [(attribute::STATE, "degraded"), (attribute::ERROR, why.code), (attribute::ERROR_TEXT, &text)];
    let told = publisher.say(&attributes).await;
    if let Err(why) = &told {
        tracing::warn!(%why, "the state could not be published");
    }
    told.is_ok()
}

/// Writes a new state into the boot's record, best effort: the state itself is in the log.
fn note(machine: &Machine, state: State) {
    // A boot with a wrong context fails before it makes directories, and has to be found failed all the same.
    let made = private_dir(&machine.disk).map_err(|why| StepError::file(&machine.disk, &why));
    let written = made.and_then(|()| Record::read(&machine.disk)).and_then(|record| match record {
        Some(record) => Record { state, ..record }.write(&machine.disk),
        None => Record { generation: 0, pid: std::process::id(), state, health: None }.write(&machine.disk),
    });
    if let Err(why) = written {
        tracing::warn!(%why, "the state of the boot could not be written down");
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

#[cfg(test)]
mod tests;
