//! Zones for one test.

use std::process::Command;
use std::time::Duration;

use super::{Desk, FlowerDir, SANDBOX_DIR, run, run_within};

/// `down` itself waits up to 75 s for VMs that train.
const PATIENCE: Duration = Duration::from_secs(90);

/// The three zones of the example plan on a desk's network. Taken down when dropped.
pub(crate) struct Sandbox<'d> {
    desk: &'d Desk,
    dir: &'static str,
}

impl<'d> Sandbox<'d> {
    /// Starts it.
    #[track_caller]
    pub(crate) fn up(desk: &'d Desk, flower: &FlowerDir) -> Self {
        // First the guard, so that a start that fails half-way is cleaned up as well.
        let sandbox = Self::guard(desk);
        run(&mut Self::command(desk, flower)).expect(0);
        sandbox
    }

    /// Watches over a sandbox that the test starts, stops or kills by itself.
    pub(crate) fn guard(desk: &'d Desk) -> Self {
        Self::guard_in(desk, SANDBOX_DIR)
    }

    /// The same for a sandbox in another directory of the desk.
    pub(crate) fn guard_in(desk: &'d Desk, dir: &'static str) -> Self {
        Self { desk, dir }
    }

    /// The command that starts it.
    pub(crate) fn command(desk: &Desk, flower: &FlowerDir) -> Command {
        let mut command = desk.onefed("sandbox up");
        command.args(["--dir", SANDBOX_DIR, "--net", &desk.net().to_string()]);
        command.arg("--flower-dir").arg(&flower.0);
        command
    }

    /// The process id of the sandbox's own process.
    pub(crate) fn pid(&self) -> i32 {
        let note = std::fs::read_to_string(self.desk.path(self.dir).join("sandbox.json")).unwrap();
        let note: serde_json::Value = serde_json::from_str(&note).unwrap();
        i32::try_from(note["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        let mut down = self.desk.onefed(&format!("sandbox down --dir {}", self.dir));
        let down = run_within(&mut down, PATIENCE);
        // A second panic would hide the first one.
        if !std::thread::panicking() {
            down.expect(0);
            assert_eq!(self.desk.processes(), Vec::<String>::new(), "left running");
        }
    }
}
