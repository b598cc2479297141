//! An `apply` or a `destroy` that is killed at any line of its journal, and at any file that it writes, is completed by
//! the next one. Second octet: 239.
//!
//! The kernel kills it: a process that writes more into a file than it may (RLIMIT_FSIZE) gets a signal that ends it at
//! once, exactly where it was about to write its next line. Where it may write one byte more than the line before took,
//! it dies between the two. A walk over all lengths of the journal, in steps that are shorter than any line, visits them all.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use support::{Desk, DryZones, replaced, run};

/// Shorter than any line of a journal.
const STEP: u64 = 85;
/// SIGXFSZ.
const FILE_TOO_LONG: i32 = 25;

fn size(desk: &Desk, path: &str) -> u64 {
    std::fs::metadata(desk.path(path)).map_or(0, |file| file.len())
}

/// Runs the binary with a limit on the length of files; whether it was killed by it.
fn killed(desk: &Desk, args: &str, limit: u64) -> bool {
    let onefed = desk.onefed(args);
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={limit}")).arg("--core=0").arg(onefed.get_program()).args(onefed.get_args());
    command.current_dir(desk.dir()).env_clear().env("HOME", desk.dir());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.signal() {
        Some(FILE_TOO_LONG) => true,
        None if output.status.success() => false,
        _ => panic!("{args} with {limit} bytes: {:?}\n{text}", output.status),
    }
}

#[test]
fn whatever_is_killed_anywhere_is_completed_by_the_next() {
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        // Nothing can be killed at a given byte without it.
        return;
    }
    let desk = Desk::new("apply-killed", 239);
    let zones = DryZones::up(&desk);
    let (mut kills, mut lines) = (0, 0);
    for case in 0.. {
        let name = format!("lab-{case:03}");
        let plan = replaced(&desk.example(), "name   = \"hospitals\"", &format!("name   = \"{name}\""));
        desk.write(&format!("{name}.toml"), &(plan + "\nFL_NODE_AUTH = \"NO\"\n"));
        let verb = |verb: &str| format!("{verb} -f {name}.toml --state {name}");
        let journal = format!("{name}/journal.jsonl");

        let was_killed = killed(&desk, &verb("apply"), case * STEP);
        run(&mut desk.onefed(&verb("apply"))).expect(0);
        let objects = zones.objects(&format!("{name}-"));
        assert_eq!(objects.len(), 6, "after a kill at {}: {objects:#?}", case * STEP);
        assert_eq!(zones.locks(), Vec::<String>::new());
        run(&mut desk.onefed(&verb("plan"))).expect(0);

        // The same for the way back, from where the journal is now.
        let limit = size(&desk, &journal) + case * STEP;
        let removal_was_killed = killed(&desk, &verb("destroy --yes"), limit);
        run(&mut desk.onefed(&verb("destroy --yes"))).expect(0);
        let left = zones.objects(&format!("{name}-"));
        assert_eq!(left, Vec::<String>::new(), "after a kill at {limit}");
        assert_eq!(zones.locks(), Vec::<String>::new());
        kills += u32::from(was_killed) + u32::from(removal_was_killed);
        if !was_killed && !removal_was_killed {
            let text = std::fs::read_to_string(desk.path(&journal)).unwrap();
            lines = text.lines().count();
            break;
        }
    }
    assert!(kills as usize > lines, "only {kills} kills over {lines} lines");
}

#[test]
fn a_step_is_shorter_than_any_line() {
    let line = "{\"at\":1795329673.6,\"phase\":\"begin\",\"step\":\"lock\",\"zone\":\"paris\",\"detail\":\"lab-000-paris\"}\n";
    assert!(line.len() as u64 > STEP, "{}", line.len());
}
