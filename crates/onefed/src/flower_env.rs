//! The Python environment with Flower on this machine: found, or made with the system's Python and pip.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use onefed_flower::{Environment, Release};
use onefed_sandbox::FlowerDirs;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What the bundled apps need beside Flower.
const APP_PACKAGES: [&str; 1] = ["scikit-learn>=1.3,<2"];
/// The oldest Python that Flower's releases of the version table take.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// Where the environment of a release is kept, below the working directory.
pub(crate) fn default_dir(release: Release) -> PathBuf {
    Path::new(".flower").join(release.version().to_string())
}

/// Finds the environment of a release, or makes it, with progress.
pub(crate) fn ensure(release: Release, dir: &Path, output: Output) -> Result<Environment, Failure> {
    if let Ok(found) = Environment::find(dir, release.version())
        && dir.join("onefed-ready").exists()
    {
        return Ok(found);
    }
    let python = python()?;
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
    let making = Mutex::new(());
    FlowerDirs::Each(Arc::new(move |wanted| {
        let release = wanted.and_then(|text| Release::parse(text).ok()).unwrap_or(usual);
        let dir = default_dir(release);
        if !is_ready(release, &dir) {
            // VMs of one release start at the same time.
            let _one_at_a_time = making.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(why) = ensure(release, &dir, Output::new(crate::output::Format::Text)) {
                tracing::error!(why = %why.message, "no Python environment for a VM");
            }
        }
        dir
    }))
}

fn is_ready(release: Release, dir: &Path) -> bool {
    dir.join("onefed-ready").exists() && Environment::find(dir, release.version()).is_ok()
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
