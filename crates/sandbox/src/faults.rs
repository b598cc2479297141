//! OneGate misbehaving on purpose, for tests of those who talk to it.
//!
//! Faults are lines in the file `onegate-faults` of the sandbox's directory, which only the sandbox's owner can reach: no
//! service answers for it, so no VM's token opens it. OneGate looks at the file at every request. Each line is one
//! fault, of words in any order:
//!
//! ```text
//! answer=503 zone=paris vm=2 method=PUT times=3 seconds=10
//! ```
//!
//! `answer` is needed: 401, 403, 404, 500, 503, garbage, hang or close. The others narrow it down: a zone by name, a VM by its
//! number (in each zone, without `zone`), an HTTP method, a number of requests (in each zone), seconds since the file
//! was written. The first line that fits and is not used up answers; without one, OneGate behaves. A file that was
//! replaced counts anew. [`misbehave`] writes the file.

mod answer;
mod line;

use crate::SandboxError;
use crate::files::{failed, private_file};
use onefed_opennebula::ZoneName;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

pub(crate) use answer::misbehaves;
pub(crate) use line::{Cut, CutListener};

/// What OneGate does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// 401 `Not authorized`.
    Unauthorized,
    /// 403, as where the administrator has taken the permission away.
    Forbidden,
    /// 404, as when oned does not know the VM or OneFlow the service.
    NotFound,
    /// 500 `Internal server error`.
    Broken,
    /// 503 with a page of the proxy in front of it.
    Unavailable,
    /// 200 with something that is not OneGate's.
    Garbage,
    /// No answer, ever; the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

/// A fault of OneGate. What is `None` does not narrow it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happens.
    pub answer: Misbehaviour,
    /// Only in this zone.
    pub zone: Option<ZoneName>,
    /// Only to the VM of this number.
    pub vm: Option<u32>,
    /// Only to requests of this method, such as `PUT`.
    pub method: Option<String>,
    /// So many requests, counted for each zone.
    pub times: Option<u32>,
    /// So long from when it was set.
    pub lasts: Option<Duration>,
}

impl Fault {
    /// A fault of all zones, for all VMs and requests, until it is lifted.
    pub fn new(answer: Misbehaviour) -> Self {
        Self { answer, zone: None, vm: None, method: None, times: None, lasts: None }
    }

    /// The same, for one VM of one zone.
    #[must_use]
    pub fn of(mut self, vm: &onefed_opennebula::VmId) -> Self {
        (self.zone, self.vm) = (Some(vm.zone.clone()), Some(vm.id));
        self
    }
}

/// Makes OneGate of the sandbox in `dir` misbehave from the next request on; replaces what was set before, so that no
/// faults at all make it behave again.
///
/// # Errors
/// [`SandboxError::File`] when the file in `dir` cannot be written.
pub fn misbehave(dir: &Path, faults: &[Fault]) -> Result<(), SandboxError> {
    let lines: String = faults.iter().map(|fault| format!("{}\n", line_of(fault))).collect();
    private_file(&file(dir), &lines)
}

/// Where the faults of the sandbox in `dir` are.
pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("onegate-faults")
}

/// Faults are not left to the next sandbox.
pub(crate) fn lift(dir: &Path) -> Result<(), SandboxError> {
    let path = file(dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", &path)(error)),
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
        vm: Option<u32>,
        method: &str,
    ) -> Result<Option<Misbehaviour>, String> {
        let path = file(dir);
        let stamp = match fs::metadata(&path) {
            Ok(meta) => meta.modified().map(|at| (meta.ino(), at, meta.len())).map_err(|e| e.to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(None);
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        if self.stamp != Some(stamp) {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            self.faults = parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
            self.stamp = Some(stamp);
        }
        let age = stamp.1.elapsed().unwrap_or_default();
        let fits = |(fault, struck): &&mut (Fault, u32)| {
            fault.zone.as_ref().is_none_or(|z| z == zone)
                && fault.vm.is_none_or(|id| vm == Some(id))
                && fault.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method))
                && fault.times.is_none_or(|times| *struck < times)
                && fault.lasts.is_none_or(|lasts| age < lasts)
        };
        Ok(self.faults.iter_mut().find(fits).map(|(fault, struck)| {
            *struck += 1;
            fault.answer
        }))
    }
}

const WORDS: [(&str, Misbehaviour); 8] = [
    ("401", Misbehaviour::Unauthorized),
    ("403", Misbehaviour::Forbidden),
    ("404", Misbehaviour::NotFound),
    ("500", Misbehaviour::Broken),
    ("503", Misbehaviour::Unavailable),
    ("garbage", Misbehaviour::Garbage),
    ("hang", Misbehaviour::Hang),
    ("close", Misbehaviour::Close),
];

fn line_of(fault: &Fault) -> String {
    let word = WORDS.iter().find(|(_, answer)| *answer == fault.answer).map_or("", |(word, _)| word);
    let mut line = format!("answer={word}");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    add("zone", fault.zone.as_ref().map(ToString::to_string));
    add("vm", fault.vm.map(|id| id.to_string()));
    add("method", fault.method.clone());
    add("times", fault.times.map(|n| n.to_string()));
    add("seconds", fault.lasts.map(|d| d.as_secs_f64().to_string()));
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
        match name {
            "answer" => answer = WORDS.iter().find(|(known, _)| *known == value).map(|(_, answer)| *answer),
            "zone" => fault.zone = Some(value.parse().map_err(|_| bad(()))?),
            "vm" => fault.vm = Some(value.parse().map_err(|_| bad(()))?),
            "method" => fault.method = Some(value.to_owned()),
            "times" => fault.times = Some(value.parse().map_err(|_| bad(()))?),
            "seconds" => {
                let seconds = value.parse().map_err(|_| bad(()))?;
                fault.lasts = Some(Duration::try_from_secs_f64(seconds).map_err(|_| bad(()))?);
            }
            other => return Err(format!("a fault has no {other}")),
        }
    }
    let known = WORDS.map(|(word, _)| word).join(", ");
    fault.answer = answer.ok_or_else(|| format!("a fault needs an answer=, one of {known}"))?;
    Ok(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_and_bad_ones_say_why() {
        let mut full = Fault::new(Misbehaviour::Close).of(&"paris/2".parse().unwrap());
        full.method = Some("PUT".to_owned());
        full.times = Some(3);
        full.lasts = Some(Duration::from_millis(2500));
        assert_eq!(line_of(&full), "answer=close zone=paris vm=2 method=PUT times=3 seconds=2.5");
        assert_eq!(fault(&line_of(&full)), Ok(full));
        for (word, answer) in WORDS {
            assert_eq!(fault(&format!("answer={word}")), Ok(Fault::new(answer)));
        }
        for bad in
            ["x", "answer=418", "vm=2", "answer=500 vm=x", "answer=500 seconds=-1", "answer=500 who=me"]
        {
            assert!(parse(bad).unwrap_err().starts_with("line 1: "), "{bad}");
        }
    }

    #[test]
    fn the_first_that_fits_and_is_left_strikes() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, paris) = (dir.path(), "paris".parse().unwrap());
        let mut faults = Faults::default();
        let mut ask = |vm, method| faults.strike(dir, &paris, vm, method);
        assert_eq!(ask(Some(1), "GET"), Ok(None));
        fs::write(file(dir), "answer=401 vm=1 times=2\nanswer=404 method=put\n\nanswer=500 zone=lisbon")
            .unwrap();
        assert_eq!(ask(Some(1), "PUT"), Ok(Some(Misbehaviour::Unauthorized)));
        assert_eq!(ask(Some(1), "GET"), Ok(Some(Misbehaviour::Unauthorized)));
        assert_eq!(ask(Some(1), "PUT"), Ok(Some(Misbehaviour::NotFound)));
        assert_eq!((ask(Some(1), "GET"), ask(None, "GET")), (Ok(None), Ok(None)));
        let mut short = Fault::new(Misbehaviour::Hang);
        short.lasts = Some(Duration::from_millis(50));
        misbehave(dir, &[short]).unwrap();
        assert_eq!(ask(None, "GET"), Ok(Some(Misbehaviour::Hang)));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(ask(None, "GET"), Ok(None));
        fs::write(file(dir), "nonsense").unwrap();
        assert!(ask(None, "GET").unwrap_err().contains("onegate-faults: line 1"));
        misbehave(dir, &[]).unwrap();
        assert_eq!(ask(None, "GET"), Ok(None));
        lift(dir).unwrap();
        lift(dir).unwrap();
    }
}
