//! What hub and spokes take of the memory, looked at all the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use onefed_testbed::federation::{Federation, Process, Usage};
use rustix::process::Pid;

const OFTEN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Followed {
    pid: Option<Pid>,
    most: u64,
    now: u64,
}

/// Anonymous memory of some processes, also over their restarts. Ends with this.
#[derive(Debug)]
pub(crate) struct Memory {
    of: Arc<Mutex<BTreeMap<String, Followed>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// In bytes, by the process's name: the most of it since the last look, and what it is now.
#[derive(Clone, Debug)]
pub(crate) struct Look(pub(crate) BTreeMap<String, (u64, u64)>);

impl Memory {
    /// Follows hub and spokes.
    pub(crate) fn of(federation: &Federation) -> Self {
        let of = Arc::<Mutex<BTreeMap<String, Followed>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (seen, end) = (of.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                seen.lock().unwrap().values_mut().for_each(Followed::look);
                std::thread::sleep(OFTEN);
            }
        });
        let memory = Self { of, stop, thread: Some(thread) };
        let spokes = federation.sites.iter().filter_map(|site| site.spoke.as_ref());
        federation.hub.iter().chain(spokes).for_each(|process| memory.follow(process));
        memory
    }

    /// A process was started, or started again.
    pub(crate) fn follow(&self, process: &Process) {
        let mut of = self.of.lock().unwrap();
        let none = Followed { pid: None, most: 0, now: 0 };
        of.entry(process.name().to_owned()).or_insert(none).pid = process.pid();
    }

    /// What it was and is. The most begins anew.
    pub(crate) fn look(&self) -> Look {
        let mut of = self.of.lock().unwrap();
        let looks = of.iter_mut().map(|(name, followed)| {
            followed.look();
            let most = std::mem::replace(&mut followed.most, followed.now);
            (name.clone(), (most, followed.now))
        });
        Look(looks.collect())
    }
}

impl Followed {
    fn look(&mut self) {
        self.now = self.pid.map_or(0, |pid| Usage::of(pid).rss_anon);
        self.most = self.most.max(self.now);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let one = |(name, (most, now)): (&String, &(u64, u64))| {
            format!("{name} {:.1} (most {:.1})", mib(*now), mib(*most))
        };
        write!(f, "{}", self.0.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}
