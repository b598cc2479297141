//! How Flower is run on this VM: from a virtual environment, or in a container. Either way the release is checked
//! before anything starts; another one is an error, or a pull that is announced, and never silent.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use onefed_context::{ContainerImage, Role, Runtime};
use onefed_flower::command::CommandLine;
use onefed_flower::container::{Container, ContainerError, Engine, Image, Pull};
use onefed_flower::{Environment, Release};

use crate::service::{InContainer, Service};
use crate::steps::Steps;
use crate::{Machine, StepError};

/// Where the clients of container engines are, in the order in which they are taken.
const ENGINES: [(Engine, &str); 3] = [
    (Engine::Docker, "/usr/bin/docker"),
    (Engine::Docker, "/usr/local/bin/docker"),
    (Engine::Podman, "/usr/bin/podman"),
];
/// The most processes and threads of a container: numeric libraries start one per core and app.
const PROCESSES: u32 = 4096;
/// An image of a gigabyte over a slow line.
const PULL_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The limits of a container that only says its version.
const ASK_PATIENCE: Duration = Duration::from_secs(60);

/// Flower, found on this VM.
pub(crate) enum Flower {
    /// In a virtual environment.
    Venv(Environment),
    /// In an image of a container engine.
    Container { engine: Engine, client: PathBuf, image: Image },
}

/// Finds Flower as the context says, and checks that it is the release asked for.
pub(crate) async fn find(
    steps: &Steps<'_>,
    release: Release,
    runtime: &Runtime,
) -> Result<Flower, StepError> {
    let machine = steps.machine;
    let find = async || match runtime {
        Runtime::Venv => {
            let found = Environment::find(&machine.flower, release.version())
                .map_err(|why| StepError::flower(&why))?;
            Ok((Flower::Venv(found), format!("Flower {} in {}", release.version(), machine.flower.display())))
        }
        Runtime::Container(image) => in_image(release, image.as_ref(), steps.context.role()).await,
    };
    steps.wait("flower", find).await
}

async fn in_image(
    release: Release,
    image: Option<&ContainerImage>,
    role: Role,
) -> Result<(Flower, String), StepError> {
    let failed = |why: ContainerError| StepError::new_flower(&why, why.hint());
    let superlink = role == Role::SuperLink;
    let image = match image {
        Some(image) => Image::named(image.as_str()),
        None if superlink => Image::superlink(release.version()),
        None => Image::supernode(release.version()),
    };
    let engine = ENGINES.into_iter().find(|(_, client)| Path::new(client).exists());
    let Some((engine, client)) = engine.map(|(engine, client)| (engine, PathBuf::from(client))) else {
        return Err(StepError::new_flower(
            "FL_RUNTIME is container, and there is neither docker nor podman on this VM",
            "install one of them, or set FL_RUNTIME = venv",
        ));
    };
    let found = Flower::Container { engine, client, image };
    let Some(container) = found.container(&[], &[]) else { return Ok((found, String::new())) };
    let program = if superlink { "flower-superlink" } else { "flower-supernode" };
    let announce = |image: &Image| tracing::warn!("the image {image} is not on this VM: PULLING it now");
    let ready = container.make_ready(program, release.version(), Pull::Announced, run, announce);
    let ready = ready.await.map_err(failed)?;
    let how = if ready.pulled { "pulled" } else { "there already" };
    let words = format!("Flower {} in {} ({}, {how})", release.version(), container.image, ready.id);
    Ok((found, words))
}

impl Flower {
    /// The environment whose programs a command line names.
    pub(crate) fn environment(&self) -> Environment {
        match self {
            Self::Venv(found) => found.clone(),
            Self::Container { .. } => Environment::in_image(),
        }
    }

    /// Puts a service's command line into a container, if that is how Flower is run.
    pub(crate) fn wrap(&self, service: Service) -> Result<Service, StepError> {
        let files: Vec<PathBuf> = service.inputs.iter().chain(&service.reads).cloned().collect();
        let Some(container) = self.container(&files, &service.writes) else { return Ok(service) };
        let wrapped = match service.name {
            "flower-superlink" => container.superlink(&service.command),
            _ => container.supernode(&service.command),
        };
        let commands = wrapped.map_err(|why| StepError::new_flower(&why, why.hint()))?;
        Ok(Service {
            command: commands.run,
            container: Some(InContainer {
                engine: container.engine,
                before: commands.before,
                stop: commands.stop,
            }),
            ..service
        })
    }

    fn container<'a>(&'a self, reads: &'a [PathBuf], writes: &'a [PathBuf]) -> Option<Container<'a>> {
        match self {
            Self::Venv(_) => None,
            Self::Container { engine, client, image } => Some(Container {
                engine: *engine,
                client,
                image,
                reads,
                writes,
                memory: None,
                processes: PROCESSES,
                gpus: false,
            }),
        }
    }
}

/// Runs a command line of the engine to its end.
async fn run(command: &CommandLine) -> std::io::Result<Output> {
    let pulls = command.args.first().is_some_and(|verb| verb == "pull");
    let patience = if pulls { PULL_PATIENCE } else { ASK_PATIENCE };
    let output = tokio::process::Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(patience, output).await.unwrap_or_else(|_| {
        let text = format!("no end within {} s", patience.as_secs());
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
    })
}

/// Flower's home on this VM, with room for temporary files.
pub(crate) fn own_home(machine: &Machine) -> Result<PathBuf, StepError> {
    let home = machine.flower_home();
    crate::files::dir_within(&home, Path::new("tmp"))
        .map_err(|why| StepError::file(&home.join("tmp"), &why))?;
    Ok(home)
}
