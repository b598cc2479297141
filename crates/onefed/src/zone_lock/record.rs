//! What a lock says: who holds it, since when, and a counter by which others see that the holder is alive.

use std::time::{SystemTime, UNIX_EPOCH};

use onefed_opennebula::xmlrpc::VmTemplate;
use onefed_opennebula::{Error, template};

/// Marks the VM template as onefed's lock; its value is the federation. What a zone has of a federation is found by
/// another mark, so that the lock is never taken for a part of it.
pub(super) const MARK: &str = "ONEFED_LOCK";

/// One process on one boot of one machine. Ids of processes are counted anew in each namespace, and used again: the
/// namespace and the time of the start belong to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Random number of the kernel's boot.
    pub(super) boot: String,
    /// The namespace that the process id is counted in.
    pub(super) namespace: String,
    pub(super) pid: u32,
    /// When the process was started, in ticks since the boot.
    pub(super) started: u64,
}

/// A lock, as its VM template says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) federation: String,
    /// The verb that holds it.
    pub(super) verb: String,
    /// `user@host`, for people.
    pub(super) owner: String,
    pub(super) identity: Identity,
    /// Seconds since 1970 of the holder's clock. Shown, never compared: clocks of two machines differ.
    pub(super) since: u64,
    /// 0 for one that only wants the lock; 1 and more for one that holds it.
    pub(super) beat: u64,
}

/// How long a lock that is not renewed counts.
pub(super) const LIFE: u64 = 45;

impl Identity {
    /// This process.
    pub(super) fn own() -> Self {
        let pid = std::process::id();
        Self { boot: boot(), namespace: namespace(), pid, started: started(pid).unwrap_or_default() }
    }

    /// Whether the process lives; `None` for one of another machine, another boot or another namespace, which cannot be
    /// told from here.
    pub(super) fn lives(&self) -> Option<bool> {
        let here = !self.boot.is_empty() && self.boot == boot() && self.namespace == namespace();
        here.then(|| started(self.pid) == Some(self.started))
    }
}

fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid");
    link.map(|path| path.display().to_string()).unwrap_or_default()
}

/// When a process was started. `None` when there is none of this id.
fn started(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in brackets and may hold anything. Behind it, the state is the first field of 3..; one that is
    // dead and only waits to be collected does no work any more.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) { None } else { fields.get(19)?.parse().ok() }
}

impl Record {
    /// A lock that this process wants, now.
    pub(super) fn new(federation: &str, verb: &str) -> Self {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.filter(|user| !user.is_empty());
        let user = user.unwrap_or_else(|| format!("user {}", rustix::process::geteuid().as_raw()));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            federation: federation.to_owned(),
            verb: verb.to_owned(),
            owner: format!("{user}@{host}"),
            identity: Identity::own(),
            since: now(),
            beat: 0,
        }
    }

    /// The template that makes it, as text for oned.
    pub(super) fn template(&self, name: &str) -> Result<String, Error> {
        let (pid, since) = (self.identity.pid.to_string(), self.since.to_string());
        let started = self.identity.started.to_string();
        let text = template::attributes(&[
            ("NAME", name),
            ("DESCRIPTION", "Lock of onefed: it says who changes this federation now. Goes by itself."),
            (MARK, &self.federation),
            ("ONEFED_VERB", &self.verb),
            ("ONEFED_OWNER", &self.owner),
            ("ONEFED_BOOT", &self.identity.boot),
            ("ONEFED_NAMESPACE", &self.identity.namespace),
            ("ONEFED_PID", &pid),
            ("ONEFED_STARTED", &started),
            ("ONEFED_SINCE", &since),
        ])?;
        Ok(text + &Self::beat_text(self.beat)?)
    }

    /// What changes with every beat. The expiry is for people; whoever watches counts beats.
    pub(super) fn beat_text(beat: u64) -> Result<String, Error> {
        let (beat, expires) = (beat.to_string(), (now() + LIFE).to_string());
        template::attributes(&[("ONEFED_BEAT", &beat), ("ONEFED_EXPIRES", &expires)])
    }

    /// Reads a template; `None` for one that is not a lock of this federation.
    pub(super) fn read(template: &VmTemplate, federation: &str) -> Option<Self> {
        let text = |name: &str| template.attributes.text(name);
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        if text(MARK)? != federation {
            return None;
        }
        Some(Self {
            federation: federation.to_owned(),
            verb: text("ONEFED_VERB")?.to_owned(),
            owner: text("ONEFED_OWNER")?.to_owned(),
            identity: Identity {
                boot: text("ONEFED_BOOT")?.to_owned(),
                namespace: text("ONEFED_NAMESPACE")?.to_owned(),
                pid: number("ONEFED_PID")?.try_into().ok()?,
                started: number("ONEFED_STARTED")?,
            },
            since: number("ONEFED_SINCE")?,
            beat: number("ONEFED_BEAT")?,
        })
    }

    /// Who holds it since when, for people.
    pub(super) fn words(&self) -> String {
        format!(
            "{} (process {}, `onefed {}`) since {}",
            self.owner,
            self.identity.pid,
            self.verb,
            clock(self.since)
        )
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since 1970 as people write them.
fn clock(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    at.map_or_else(
        || "a time that is none".to_owned(),
        |at| {
            let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
            format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", at.hour(), at.minute(), at.second())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        let own = Identity::own();
        assert!(!own.boot.is_empty() && !own.namespace.is_empty() && own.started > 0);
        assert_eq!(own.lives(), Some(true));
        // The same id, used again by a later process.
        assert_eq!(Identity { started: own.started - 1, ..own.clone() }.lives(), Some(false));
        assert_eq!(Identity { boot: "another".into(), ..own.clone() }.lives(), None);
        assert_eq!(Identity { namespace: "pid:[1]".into(), ..own.clone() }.lives(), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let dead = Identity { pid, started: started(pid).unwrap_or(1), ..own };
        child.wait().unwrap();
        assert_eq!(dead.lives(), Some(false));
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(clock(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(clock(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(clock(u64::MAX), "a time that is none");
    }
}
