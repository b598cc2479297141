//! systemd as the owner of a VM's processes: units are written, and `systemctl` makes of them what is wanted.
//!
//! A boot may be killed at any point and run again. Therefore a unit that has changed is stopped *before* its file is
//! replaced: whatever runs was started with the file that is there, and what does not run is started by the next boot.

mod access;
mod control;
mod error;
mod quote;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use self::access::Access;
pub(crate) use self::access::give_to_containers;
use self::control::Control;
pub(crate) use self::control::UnitState;
pub(crate) use self::error::SystemdError;
use crate::StepError;
use crate::files::{Readers, read_if_there, write};
use crate::service::{Change, Service};

/// So many restarts without a long life between them are a crash loop.
const CRASH_LOOP: u32 = 4;
/// A main process that has run so long, in microseconds, has recovered.
const STABLE_US: u64 = 60_000_000;

/// The units of this VM's services.
pub(crate) struct Systemd {
    /// Where unit files are: `/etc/systemd/system`.
    units: PathBuf,
    access: Access,
    control: Control,
    /// Services of the last [`apply`](Self::apply).
    known: Vec<String>,
    /// Restarts that each unit had behind it when it was last seen to be stable.
    forgiven: Mutex<HashMap<String, u32>>,
}

impl Systemd {
    /// Units in `units`; owners and modes are changed below `data` only, the VM's data directory.
    pub(crate) fn new(units: &Path, data: &Path) -> Self {
        Self {
            units: units.to_owned(),
            access: Access::new(data),
            control: Control::system(),
            known: Vec::new(),
            forgiven: Mutex::default(),
        }
    }

    /// Names a file or directory that no service may ever be given: the key of a CA.
    pub(crate) fn never_give(mut self, path: &Path) -> Self {
        self.access.never.push(path.to_owned());
        self
    }

    /// Makes the wanted services run, in this order: starts what is not there, starts again what has changed, stops
    /// what is not wanted any more and removes its unit, leaves the rest alone. Files get the owners that they need.
    ///
    /// # Errors
    /// A step error of code `process_failed` or `file_failed`. What could be done has been done then, and running it
    /// again does the rest.
    pub(crate) async fn apply(&mut self, wanted: &[Service]) -> Result<Vec<(String, Change)>, StepError> {
        self.known = wanted.iter().map(|service| service.name.to_owned()).collect();
        Ok(self.make(wanted).await?)
    }

    /// Whether the unit of a service is active now.
    pub(crate) async fn runs(&self, name: &str) -> bool {
        self.state(name).await.is_ok_and(|state| state.active == "active")
    }

    /// What a service has said in its present life; nothing where that cannot be known.
    pub(crate) async fn said(&self, name: &str) -> String {
        let Ok(state) = self.state(name).await else { return String::new() };
        if state.invocation.is_empty() {
            return String::new();
        }
        self.control.said(&unit::file_name(name), &state.invocation).await.unwrap_or_default()
    }

    /// What systemd knows of the unit of a service; one that is not there is `inactive` and `not-found`.
    ///
    /// # Errors
    /// systemd does not answer.
    pub(crate) async fn state(&self, name: &str) -> Result<UnitState, SystemdError> {
        let unit = unit::file_name(name);
        let mut states = self.control.show(std::slice::from_ref(&unit)).await?;
        Ok(states.remove(&unit).unwrap_or_default())
    }

    /// Fails where a service of the last [`apply`](Self::apply) is in a crash loop or is not running, with its last words.
    ///
    /// # Errors
    /// A step error of code `process_failed`.
    pub(crate) async fn check(&self) -> Result<(), StepError> {
        let units: Vec<String> = self.known.iter().map(|name| unit::file_name(name)).collect();
        let states = self.control.show(&units).await?;
        let mut problems = Vec::new();
        for unit in units {
            let Some(state) = states.get(&unit) else { continue };
            if self.crash_loop(&unit, state, monotonic_us()) {
                let (restarts, why) = (state.restarts, state.end());
                let last_words = self.control.last_words(&unit).await;
                problems.push(SystemdError::CrashLoop { unit, restarts, why, last_words });
            } else if !state.is_on() {
                let why = format!("{}, {}", state.active, state.end());
                let last_words = self.control.last_words(&unit).await;
                problems.push(SystemdError::NotStarted { unit, why, last_words });
            }
        }
        Ok(SystemdError::all(problems)?)
    }

    /// Whether a unit ends again and again. Restarts before its last long life do not count.
    fn crash_loop(&self, unit: &str, state: &UnitState, now_us: u64) -> bool {
        let mut forgiven = self.forgiven.lock().unwrap_or_else(PoisonError::into_inner);
        let stable = state.active == "active"
            && state.started_us.is_some_and(|started| now_us.saturating_sub(started) >= STABLE_US);
        if stable {
            forgiven.insert(unit.to_owned(), state.restarts);
            return false;
        }
        // The count begins anew when somebody starts the unit.
        let before = forgiven.get(unit).copied().filter(|before| *before <= state.restarts).unwrap_or(0);
        state.restarts - before >= CRASH_LOOP
    }

    async fn make(&self, wanted: &[Service]) -> Result<Vec<(String, Change)>, SystemdError> {
        let texts = self.render(wanted)?;
        let leftover = self.leftover(wanted)?;
        let units: Vec<String> = wanted
            .iter()
            .map(|service| unit::file_name(service.name))
            .chain(leftover.iter().cloned())
            .collect();
        let states = self.control.show(&units).await?;
        let state = |unit: &str| states.get(unit).cloned().unwrap_or_default();
        let masked = |unit: &&String| state(unit).load == "masked" || self.units.join(unit).is_symlink();
        if let Some(unit) = units.iter().find(masked) {
            return Err(SystemdError::Masked { unit: unit.clone() });
        }
        let mut done = Vec::new();

        for unit in &leftover {
            // A file of nobody is a unit of nobody: it goes last, so that a killed boot finds it again.
            self.control.act(&["stop", "--", unit]).await?;
            let path = self.units.join(unit);
            std::fs::remove_file(&path).map_err(|why| SystemdError::File { path, why })?;
            let name = unit.trim_start_matches("onefed-").trim_end_matches(".service");
            done.push((name.to_owned(), Change::Stopped));
        }
        let mut reload = !leftover.is_empty();
        let mut ran = HashSet::new();
        // In the other direction than they are started.
        for (service, text) in wanted.iter().zip(&texts).rev() {
            let unit = unit::file_name(service.name);
            let path = self.units.join(&unit);
            let there = read_if_there(&path).map_err(|why| SystemdError::File { path: path.clone(), why })?;
            if there.as_deref() == Some(text) {
                // A boot that was killed may have written it and told nobody.
                reload |= state(&unit).stale;
                continue;
            }
            if !matches!(state(&unit).active.as_str(), "inactive" | "failed") {
                self.control.act(&["stop", "--", &unit]).await?;
                ran.insert(service.name);
            }
            write(&path, text.as_bytes(), Readers::All).map_err(|why| SystemdError::File { path, why })?;
            reload = true;
        }
        self.access.settle(wanted)?;
        if reload {
            self.control.act(&["daemon-reload"]).await?;
        }
        let mut problems = Vec::new();
        for service in wanted {
            let unit = unit::file_name(service.name);
            let change = match (ran.contains(service.name), state(&unit).is_on()) {
                (true, _) => Change::Restarted,
                (false, true) => Change::Kept,
                (false, false) => Change::Started,
            };
            if change != Change::Kept {
                problems.extend(self.start(&unit).await.err());
            }
            done.push((service.name.to_owned(), change));
        }
        SystemdError::all(problems)?;
        Ok(done)
    }

    async fn start(&self, unit: &str) -> Result<(), SystemdError> {
        let Err(refused) = self.control.act(&["start", "--", unit]).await else { return Ok(()) };
        if !matches!(refused, SystemdError::Refused { .. }) {
            return Err(refused);
        }
        let units = [unit.to_owned()];
        let why = match self.control.show(&units).await.ok().and_then(|mut states| states.remove(unit)) {
            Some(state) if state.result != "success" => state.end(),
            _ => refused.to_string(),
        };
        let last_words = self.control.last_words(unit).await;
        Err(SystemdError::NotStarted { unit: unit.to_owned(), why, last_words })
    }

    /// The text of every unit, or every reason against.
    fn render(&self, wanted: &[Service]) -> Result<Vec<String>, SystemdError> {
        let mut texts = Vec::new();
        let mut problems = Vec::new();
        for service in wanted {
            let digest = service.digest().map_err(|(path, why)| SystemdError::File { path, why });
            match digest.and_then(|digest| unit::render(service, &digest)) {
                Ok(text) => texts.push(text),
                Err(why) => problems.push(why),
            }
        }
        problems.extend(self.access.check(wanted).err());
        SystemdError::all(problems)?;
        Ok(texts)
    }

    /// Unit files that onefed wrote for services that are not wanted any more, by name.
    fn leftover(&self, wanted: &[Service]) -> Result<Vec<String>, SystemdError> {
        let failed = |why| SystemdError::File { path: self.units.clone(), why };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.units).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let ours = name.starts_with("onefed-") && name.ends_with(".service");
            if !ours || wanted.iter().any(|service| unit::file_name(service.name) == name) {
                continue;
            }
            let path = entry.path();
            // Also `onefed-boot.service` has such a name; only what has our mark is ours.
            if entry.file_type().is_ok_and(|kind| kind.is_file())
                && std::fs::read(&path)
                    .map_err(|why| SystemdError::File { path, why })?
                    .starts_with(unit::MARK.as_bytes())
            {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The clock that systemd's monotonic times are of, in microseconds.
fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000_000 + nanos / 1_000
}
