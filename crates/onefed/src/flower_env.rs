//! The Python environment with Flower on this machine: found, or made with the system's Python and pip.

use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onefed_context::{RawContext, Role};
use onefed_flower::{Environment, Release};
use onefed_sandbox::FlowerDirs;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What the bundled apps need beside Flower.
const APP_PACKAGES: [&str; 1] = ["scikit-learn>=1.3,<2"];
/// The oldest Python that Flower's releases of the version table take.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// How long to wait for another process that makes the same environment: pip may have a slow line.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Where the environment of a release is kept, below the working directory.
pub(crate) fn default_dir(release: Release) -> PathBuf {
    Path::new(".flower").join(release.version().to_string())
}

/// Finds the environment of a release, or makes it, with progress.
pub(crate) fn ensure(release: Release, dir: &Path, output: Output) -> Result<Environment, Failure> {
    ensure_with(python, PATIENCE, release, dir, output)
}

/// An environment cannot be made elsewhere and then be moved, since its programs name it by its path: so it is made where
/// it stays, by one process at a time, and counts from the moment on in which `onefed-ready` is in it.
fn ensure_with(
    python: impl FnOnce() -> Result<PathBuf, Failure>,
    patience: Duration,
    release: Release,
    dir: &Path,
    output: Output,
) -> Result<Environment, Failure> {
    if let Some(found) = ready(release, dir) {
        return Ok(found);
    }
    let python = python()?;
    let _one_at_a_time = lock(dir, patience, output)?;
    // Another one may have made it meanwhile.
    if let Some(found) = ready(release, dir) {
        return Ok(found);
    }
    output.say(format!(
        "  making a Python environment with Flower {} in {}",
        release.version(),
        dir.display()
    ));
    let fail = |why: String| {
        Failure::new(Exit::Failed, "flower-environment", format!("{}: {why}", dir.display())).hint(
            "check that python3 has the venv module (Debian: python3-venv) and that pip reaches its index",
        )
    };
    run(Command::new(&python).args(["-m", "venv", "--clear"]).arg(dir), output).map_err(fail)?;
    let flower = format!("flwr=={}", release.version());
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
    run(pip.arg(&flower).args(APP_PACKAGES), output).map_err(fail)?;
    std::fs::write(dir.join("onefed-ready"), &flower).map_err(|why| Failure::file(dir, why))?;
    Environment::find(dir, release.version()).map_err(|why| fail(why.to_string()))
}

/// For the VMs of a sandbox: the environment of the release that each asks for, made where it is not there. Of another
/// release, or none, the VM itself finds out that `usual` does not do.
pub(crate) fn each(usual: Release) -> FlowerDirs {
    FlowerDirs::Each(Arc::new(move |context| {
        let context = RawContext::from_pairs(context.clone());
        let release =
            context.get("FLOWER_VERSION").and_then(|text| Release::parse(text).ok()).unwrap_or(usual);
        let dir = default_dir(release);
        if runs_flower(&context)
            && let Err(why) = ensure(release, &dir, Output::new(crate::output::Format::Text))
        {
            tracing::error!(why = %why.message, "no Python environment for a VM");
        }
        dir
    }))
}

/// A gateway's VM moves bytes only: it does not wait until pip has made what it never looks at.
fn runs_flower(context: &RawContext) -> bool {
    context.get("FL_ROLE") != Some(Role::Gateway.as_str())
}

fn ready(release: Release, dir: &Path) -> Option<Environment> {
    dir.join("onefed-ready").exists().then(|| Environment::find(dir, release.version()).ok()).flatten()
}

/// Waits until nobody else, in this process or another, makes this environment. The lock ends with its process.
fn lock(dir: &Path, patience: Duration, output: Output) -> Result<File, Failure> {
    const STEP: Duration = Duration::from_millis(100);
    let mut path = dir.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |why: std::io::Error| Failure::file(&path, why);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let (began, mut said) = (Instant::now(), false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(why)) => return Err(failed(why)),
            Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                if !std::mem::replace(&mut said, true) {
                    output.say(format!("  waiting for another onefed that makes {}", dir.display()));
                }
                std::thread::sleep(STEP);
            }
            Err(TryLockError::WouldBlock) => {
                let text =
                    format!("another onefed has been making {} for {} s", dir.display(), patience.as_secs());
                return Err(Failure::new(Exit::Failed, "flower-environment", text)
                    .hint("see whether its pip still gets on; it holds the lock file beside the directory"));
            }
        }
    }
}

/// The system's Python, new enough.
fn python() -> Result<PathBuf, Failure> {
    let missing = |text: String| {
        Failure::new(Exit::Configuration, "python-missing", text).hint(format!(
            "install Python {}.{} or newer with its venv module",
            OLDEST_PYTHON.0, OLDEST_PYTHON.1
        ))
    };
    let name = std::env::var_os("PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])";
    let answer = Command::new(&name).args(["-c", probe]).output();
    let answer = answer.map_err(|why| missing(format!("cannot run {}: {why}", name.display())))?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST_PYTHON => Ok(name),
        (Some(major), Some(minor)) => Err(missing(format!("{} is Python {major}.{minor}", name.display()))),
        _ => {
            let why = String::from_utf8_lossy(&answer.stderr).lines().last().unwrap_or_default().to_owned();
            Err(missing(format!("{} cannot make environments: {why}", name.display())))
        }
    }
}

/// Runs a command and shows what it collects and installs, one line each.
fn run(command: &mut Command, output: Output) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|why| format!("{name}: {why}"))?;
    let errors = child.stderr.take().map(|err| {
        std::thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).collect::<Vec<_>>())
    });
    for line in
        child.stdout.take().map(BufReader::new).into_iter().flat_map(|out| out.lines().map_while(Result::ok))
    {
        if line.starts_with("Collecting ") || line.starts_with("Installing ") {
            output.say(format!(
                "    {}",
                line.split(" from ").next().unwrap_or(&line).chars().take(90).collect::<String>()
            ));
        }
    }
    let status = child.wait().map_err(|why| format!("{name}: {why}"))?;
    if status.success() {
        return Ok(());
    }
    let errors = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Err(format!(
        "{name} {status}: {}",
        errors.iter().rev().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::output::Format;

    /// A Python that makes environments slowly, and breaks if two of it work at one.
    const SLOW: &str = r#"#!/bin/sh
set -e
case "$*" in
  "-m venv --clear "*)
    rm -rf "$4"; mkdir -p "$4/bin" "$4/lib/python3.11/site-packages"
    sleep 0.3
    cp "$0" "$4/bin/python"; echo made >> "$4.log" ;;
  *)
    here=$(dirname "$(dirname "$0")"); sleep 0.3
    mkdir "$here/lib/python3.11/site-packages/flwr-1.41.0.dist-info"; touch "$here/bin/flower-supernode" ;;
esac
"#;

    #[test]
    fn two_that_need_the_same_environment_at_the_same_time_make_it_once() {
        let desk = tempfile::tempdir().unwrap();
        let python = desk.path().join("python3");
        std::fs::write(&python, SLOW).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let release = Release::parse("1.41.0").unwrap();
        let dir = desk.path().join(".flower/1.41.0");
        let (python, dir) = (&python, &dir);
        let make = |patience| {
            ensure_with(|| Ok(python.clone()), patience, release, dir, Output::new(Format::Json))
                .map_err(|why| why.message)
        };
        let made = std::thread::scope(|scope| {
            let all = [0; 3].map(|_| scope.spawn(|| make(PATIENCE)));
            all.map(|one| one.join().unwrap())
        });
        for one in made {
            assert_eq!(one.unwrap().bin(), dir.join("bin"));
        }
        assert_eq!(std::fs::read_to_string(desk.path().join(".flower/1.41.0.log")).unwrap(), "made\n");

        // One that was interrupted is made anew; who holds the lock for too long is named.
        std::fs::remove_file(dir.join("onefed-ready")).unwrap();
        let held = lock(dir, PATIENCE, Output::new(Format::Json)).unwrap();
        let why = make(Duration::ZERO).unwrap_err();
        assert!(why.contains("another onefed") && why.contains(".flower/1.41.0"), "{why}");
        drop(held);
        assert!(make(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_gateway_waits_for_no_environment() {
        let context = |role: &[(&str, &str)]| RawContext::from_pairs(role.iter().copied());
        assert!(!runs_flower(&context(&[("FL_ROLE", "gateway")])));
        assert!(!runs_flower(&context(&[("ONEAPP_FL_ROLE", "gateway"), ("FL_ROLE", "")])));
        for other in [&[("FL_ROLE", "supernode")][..], &[("FL_ROLE", "superlink")], &[]] {
            assert!(runs_flower(&context(other)), "{other:?}");
        }
    }
}
