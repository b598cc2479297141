//! The journal: every step before it is done and after, for people.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::SystemTime;

use serde::Serialize;

use super::State;
use crate::failure::Failure;

/// A step, before it is done or after.
#[derive(Serialize)]
struct Entry<'a> {
    at: f64,
    phase: &'a str,
    step: &'a str,
    zone: &'a str,
    detail: &'a str,
}

impl State {
    /// Notes a step before it is done (`begin`) and after (`done`, `failed`). On the disk when this returns.
    pub(crate) fn journal(&self, phase: &str, zone: &str, step: &str, detail: &str) -> Result<(), Failure> {
        let path = self.dir.join("journal.jsonl");
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut line = serde_json::to_string(&Entry { at, phase, step, zone, detail })
            .map_err(|why| Failure::file(&path, why))?;
        line.push('\n');
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let written =
            file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()));
        written.map_err(|why| Failure::file(&path, why))
    }
}
