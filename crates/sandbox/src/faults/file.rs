//! The file of faults: its lines, and which of them strikes.

use super::{Asked, Fault, Misbehaviour, Service};
use crate::SandboxError;
use crate::files::failed;
use onefed_opennebula::ZoneName;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

pub(super) const NAME: &str = "faults";
pub(super) const OLD_NAME: &str = "onegate-faults";

/// Faults are not left to the next sandbox.
pub(crate) fn lift(dir: &Path) -> Result<(), SandboxError> {
    remove(&dir.join(NAME))?;
    remove(&dir.join(OLD_NAME))
}

pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

/// The faults of one zone as last read, and how often each has struck.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Which file was read: inode, time of change and length.
    stamp: Option<(u64, SystemTime, u64)>,
    faults: Vec<(Fault, u32)>,
}

impl Faults {
    /// What is to happen to this request. `Err` says what is wrong with the file.
    pub(crate) fn strike(
        &mut self,
        dir: &Path,
        zone: &ZoneName,
        asked: &Asked<'_>,
    ) -> Result<Option<(Misbehaviour, Duration)>, String> {
        let Some((path, stamp)) = found(dir)? else {
            *self = Self::default();
            return Ok(None);
        };
        if self.stamp != Some(stamp) {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            self.faults = parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
            self.stamp = Some(stamp);
        }
        let age = stamp.1.elapsed().unwrap_or_default();
        let fits = |(fault, struck): &&mut (Fault, u32)| {
            fault.zone.as_ref().is_none_or(|z| z == zone)
                && asked.meets(fault)
                && fault.times.is_none_or(|times| *struck < times)
                && fault.lasts.is_none_or(|lasts| age < lasts)
        };
        Ok(self.faults.iter_mut().find(fits).map(|(fault, struck)| {
            *struck += 1;
            (fault.answer, fault.delay.unwrap_or_default())
        }))
    }
}

type Stamp = (u64, SystemTime, u64);

/// The file that is there, or the newer one of both, and which it is.
fn found(dir: &Path) -> Result<Option<(PathBuf, Stamp)>, String> {
    let mut newest: Option<(PathBuf, Stamp)> = None;
    for name in [NAME, OLD_NAME] {
        let path = dir.join(name);
        match fs::metadata(&path) {
            Ok(meta) => {
                let changed = meta.modified().map_err(|e| e.to_string())?;
                if newest.as_ref().is_none_or(|(_, stamp)| stamp.1 < changed) {
                    newest = Some((path, (meta.ino(), changed, meta.len())));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(newest)
}

const ANSWERS: [(&str, Misbehaviour); 13] = [
    ("401", Misbehaviour::Unauthorized),
    ("403", Misbehaviour::Forbidden),
    ("404", Misbehaviour::NotFound),
    ("500", Misbehaviour::Broken),
    ("503", Misbehaviour::Unavailable),
    ("garbage", Misbehaviour::Garbage),
    ("truncated", Misbehaviour::Truncated),
    ("lost", Misbehaviour::Lost),
    ("hang", Misbehaviour::Hang),
    ("close", Misbehaviour::Close),
    ("slow", Misbehaviour::Slow),
    ("prolog-failure", Misbehaviour::PrologFailure),
    ("boot-failure", Misbehaviour::BootFailure),
];

const SERVICES: [(&str, Service); 4] = [
    ("onegate", Service::OneGate),
    ("oneflow", Service::OneFlow),
    ("xmlrpc", Service::XmlRpc),
    ("all", Service::All),
];

pub(super) fn line_of(fault: &Fault) -> String {
    let word = ANSWERS.iter().find(|(_, answer)| *answer == fault.answer).map_or("", |(word, _)| word);
    let mut line = format!("answer={word}");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    let seconds = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64().to_string());
    let service = SERVICES.iter().find(|(_, s)| *s == fault.service && *s != Service::OneGate);
    add("service", service.map(|(word, _)| (*word).to_owned()));
    add("zone", fault.zone.as_ref().map(ToString::to_string));
    add("vm", fault.vm.map(|id| id.to_string()));
    add("role", fault.role.clone());
    add("method", fault.method.clone());
    add("path", fault.path.clone());
    add("times", fault.times.map(|n| n.to_string()));
    add("seconds", seconds(fault.lasts));
    add("delay", seconds(fault.delay));
    line
}

fn parse(text: &str) -> Result<Vec<(Fault, u32)>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| fault(line).map(|f| (f, 0)).map_err(|why| format!("line {}: {why}", at + 1)))
        .collect()
}

fn fault(line: &str) -> Result<Fault, String> {
    let mut answer = None;
    // Only what is read below stays of it.
    let mut fault = Fault::new(Misbehaviour::Broken);
    for word in line.split_whitespace() {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is not name=value"))?;
        let bad = |_| format!("'{value}' cannot be the {name} of a fault");
        let seconds = || {
            let seconds = value.parse().map_err(|_| bad(()))?;
            Duration::try_from_secs_f64(seconds).map_err(|_| bad(()))
        };
        match name {
            "answer" => answer = ANSWERS.iter().find(|(known, _)| *known == value).map(|(_, answer)| *answer),
            "service" => {
                let known = SERVICES.iter().find(|(known, _)| *known == value);
                fault.service = known.ok_or_else(|| bad(()))?.1;
            }
            "zone" => fault.zone = Some(value.parse().map_err(|_| bad(()))?),
            "vm" => fault.vm = Some(value.parse().map_err(|_| bad(()))?),
            "role" => fault.role = Some(value.to_owned()),
            "method" => fault.method = Some(value.to_owned()),
            "path" => fault.path = Some(value.to_owned()),
            "times" => fault.times = Some(value.parse().map_err(|_| bad(()))?),
            "seconds" => fault.lasts = Some(seconds()?),
            "delay" => fault.delay = Some(seconds()?),
            other => return Err(format!("a fault has no {other}")),
        }
    }
    let known = ANSWERS.map(|(word, _)| word).join(", ");
    fault.answer = answer.ok_or_else(|| format!("a fault needs an answer=, one of {known}"))?;
    if fault.answer == Misbehaviour::Slow && fault.delay.is_none() {
        return Err("answer=slow needs a delay=, in seconds".to_owned());
    }
    if fault.role.is_some() && !fault.answer.is_of_vms() {
        return Err("a role= is for answer=boot-failure and answer=prolog-failure".to_owned());
    }
    Ok(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::misbehave;

    fn gate<'a>(vm: Option<u32>, method: &'a str) -> Asked<'a> {
        Asked { service: Some(Service::OneGate), vm, role: None, method, path: "/vm" }
    }

    #[test]
    fn lines_round_trip_and_bad_ones_say_why() {
        let mut full = Fault::new(Misbehaviour::Close).of(&"paris/2".parse().unwrap());
        full.method = Some("PUT".to_owned());
        full.times = Some(3);
        full.lasts = Some(Duration::from_millis(2500));
        assert_eq!(line_of(&full), "answer=close zone=paris vm=2 method=PUT times=3 seconds=2.5");
        assert_eq!(fault(&line_of(&full)), Ok(full.clone()));
        let mut other = full.by(Service::OneFlow);
        other.path = Some("/service".to_owned());
        other.delay = Some(Duration::from_secs(1));
        assert_eq!(fault(&line_of(&other)), Ok(other));
        for (word, answer) in ANSWERS.into_iter().filter(|(word, _)| *word != "slow") {
            assert_eq!(fault(&format!("answer={word}")), Ok(Fault::new(answer)));
        }
        for bad in [
            "x",
            "answer=418",
            "vm=2",
            "answer=500 vm=x",
            "answer=500 seconds=-1",
            "answer=500 who=me",
            "answer=slow",
            "answer=500 role=gateway",
            "answer=500 service=sunstone",
        ] {
            assert!(parse(bad).unwrap_err().starts_with("line 1: "), "{bad}");
        }
    }

    #[test]
    fn the_first_that_fits_and_is_left_strikes() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, paris) = (dir.path(), "paris".parse().unwrap());
        let mut faults = Faults::default();
        let mut strike = |asked: Asked<'_>| faults.strike(dir, &paris, &asked).map(|o| o.map(|(a, _)| a));
        let mut ask = |vm, method| strike(gate(vm, method));
        assert_eq!(ask(Some(1), "GET"), Ok(None));
        let old = "answer=401 vm=1 times=2\nanswer=404 method=put\n\nanswer=500 zone=lisbon";
        fs::write(dir.join(OLD_NAME), old).unwrap();
        assert_eq!(ask(Some(1), "PUT"), Ok(Some(Misbehaviour::Unauthorized)));
        assert_eq!(ask(Some(1), "GET"), Ok(Some(Misbehaviour::Unauthorized)));
        assert_eq!(ask(Some(1), "PUT"), Ok(Some(Misbehaviour::NotFound)));
        assert_eq!((ask(Some(1), "GET"), ask(None, "GET")), (Ok(None), Ok(None)));
        let mut short = Fault::new(Misbehaviour::Hang);
        short.lasts = Some(Duration::from_millis(50));
        misbehave(dir, &[short]).unwrap();
        assert!(!dir.join(OLD_NAME).exists());
        assert_eq!(ask(None, "GET"), Ok(Some(Misbehaviour::Hang)));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(ask(None, "GET"), Ok(None));
        fs::write(dir.join(NAME), "nonsense").unwrap();
        assert!(ask(None, "GET").unwrap_err().contains("faults: line 1"));
        misbehave(dir, &[]).unwrap();
        assert_eq!(ask(None, "GET"), Ok(None));
        lift(dir).unwrap();
        lift(dir).unwrap();
    }

    #[test]
    fn services_paths_and_roles_narrow_it_down() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, paris) = (dir.path(), "paris".parse().unwrap());
        let lines = "answer=503 service=oneflow path=/service/\nanswer=lost service=xmlrpc method=one.vm.update\n\
                     answer=boot-failure role=gateway\nanswer=slow service=all delay=1 path=/all";
        fs::write(dir.join(NAME), lines).unwrap();
        let mut faults = Faults::default();
        let mut ask = |service, role, method, path| {
            faults
                .strike(dir, &paris, &Asked { service, vm: None, role, method, path })
                .unwrap()
                .map(|(a, _)| a)
        };
        let (flow, rpc) = (Some(Service::OneFlow), Some(Service::XmlRpc));
        assert_eq!(ask(flow, None, "GET", "/service/3"), Some(Misbehaviour::Unavailable));
        assert_eq!(ask(flow, None, "GET", "/service_template"), None);
        assert_eq!(ask(rpc, None, "one.vm.update", "/RPC2"), Some(Misbehaviour::Lost));
        assert_eq!(ask(rpc, None, "one.vm.info", "/RPC2"), None);
        assert_eq!(ask(None, Some("gateway"), "", ""), Some(Misbehaviour::BootFailure));
        assert_eq!(ask(None, Some("supernode"), "", ""), None);
        assert_eq!(ask(Some(Service::OneGate), None, "GET", "/all"), Some(Misbehaviour::Slow));
    }
}
