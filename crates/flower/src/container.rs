//! Flower's processes in containers of the official images: the engine's command lines, and the check of the image.
//!
//! A container runs the very command line that a virtual environment would ([`crate::command::Host`] with
//! [`crate::Environment::in_image`]). Files are mounted at the paths that they have on the VM, so no argument has to be
//! rewritten but one: an address to listen on. The engine's client stays in the foreground and whoever starts it owns
//! the restarts; the engine gets no restart policy.

mod image;
mod ready;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use image::Image;
pub use ready::{Pull, Ready};

use crate::Version;
use crate::command::CommandLine;

/// The user and group `app` of Flower's images.
pub const FLOWER_ID: u32 = 49999;
/// How long a container may take to end by itself, in seconds.
const GRACE_SECONDS: u32 = 30;
/// SuperLink's listeners that the hub uses. Its API for ServerApps (`--serverappio-api-address`) is not among them:
/// these processes run in the same container.
const PUBLISHED: [&str; 2] = ["--fleet-api-address", "--control-api-address"];

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// How a Flower process is put into a container.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The engine.
    pub engine: Engine,
    /// The engine's client on this VM, an absolute path.
    pub client: &'a Path,
    /// The image.
    pub image: &'a Image,
    /// Files and directories that the process reads: mounted read-only. They must exist.
    pub reads: &'a [PathBuf],
    /// Directories that it writes: the only places of its file system that it may write, beside `/tmp` in memory.
    pub writes: &'a [PathBuf],
    /// The most memory it may take, in bytes (swap is not added to it); `None` is no limit of its own.
    pub memory: Option<u64>,
    /// The most processes and threads it may have.
    pub processes: u32,
    /// Whether it gets the VM's NVIDIA GPUs.
    pub gpus: bool,
}

/// The command lines of a container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// To be run before each start; their failure means nothing. They remove a container that an earlier life left.
    pub before: Vec<CommandLine>,
    /// Runs the container in the foreground; its end is the end of this command.
    pub run: CommandLine,
    /// Ends it: asks it to, and after 30 seconds makes it.
    pub stop: CommandLine,
}

/// Why a Flower process cannot run in a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// A path that cannot be mounted as it is.
    #[error("{path} cannot be mounted into a container: {why}")]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A SuperLink that would be reachable from outside of the VM.
    #[error(
        "{flag} {address}: in a container SuperLink is published on an address of the loopback network only"
    )]
    NotLoopback {
        /// The argument.
        flag: String,
        /// Its value.
        address: String,
    },
    /// The client could not be started, or did not end in time.
    #[error("{client} cannot be run: {why}")]
    Client {
        /// The engine's client.
        client: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The engine refused or is not there.
    #[error("{engine} could not {doing}: {said}")]
    Engine {
        /// The engine.
        engine: Engine,
        /// What it was to do.
        doing: String,
        /// Its own words.
        said: String,
    },
    /// The image is not on this VM, and it was not allowed to pull it.
    #[error("the image {image} is not on this VM")]
    Absent {
        /// The image.
        image: Image,
        /// The engine.
        engine: Engine,
    },
    /// It was not there, and pulling it failed.
    #[error("the image {image} is not on this VM and cannot be pulled: {said}")]
    PullRefused {
        /// The image.
        image: Image,
        /// The engine's own words.
        said: String,
    },
    /// The image holds another release than the one asked for.
    #[error("the image {image} holds Flower {found}, asked for is {wanted}")]
    OtherRelease {
        /// The image.
        image: Image,
        /// What it says it is.
        found: String,
        /// What it should be.
        wanted: Version,
    },
    /// The program in the image does not say a release.
    #[error("the image {image} does not say which Flower it holds: {said}")]
    NoRelease {
        /// The image.
        image: Image,
        /// What it said instead.
        said: String,
    },
}

impl ContainerError {
    /// What the operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::BadPath { .. } => "use absolute paths without commas, quotes and line breaks".into(),
            Self::NotLoopback { .. } => "let it listen on 127.0.0.1: the hub is what others reach".into(),
            Self::Client { .. } => {
                "install the container engine, or run Flower from a virtual environment".into()
            }
            Self::Engine { engine, .. } => format!("see whether `{engine} info` works on this VM"),
            Self::Absent { image, engine } => {
                format!("`{engine} pull {image}`, or allow the boot to pull it")
            }
            Self::PullRefused { .. } => {
                "check the tag and the way to the registry, or bake the image into the VM's disk".into()
            }
            Self::OtherRelease { wanted, .. } => {
                format!("name an image of Flower {wanted}, or set FLOWER_VERSION to what is there")
            }
            Self::NoRelease { .. } => "use one of Flower's official images, or one made from them".into(),
        }
    }
}

impl Container<'_> {
    /// SuperLink in a container, published on the loopback addresses that `command` listens on.
    ///
    /// Inside it listens on all addresses: a container's own loopback cannot be published, and its network is one that
    /// only this engine's containers are in. Flower's API for ServerApps stays on the container's loopback.
    ///
    /// # Errors
    /// [`ContainerError::NotLoopback`], [`ContainerError::BadPath`].
    pub fn superlink(&self, command: &CommandLine) -> Result<Commands, ContainerError> {
        let (args, published) = publish(&command.args)?;
        let mut network = Vec::new();
        for socket in published {
            network.extend(["--publish".to_owned(), format!("{socket}:{}", socket.port())]);
        }
        self.commands("flower-superlink", network, command, args)
    }

    /// A SuperNode in a container. Nothing of it is published.
    ///
    /// Where its spoke is on the VM's own loopback (an embedded gateway), the container shares the VM's network: that
    /// loopback is not reachable otherwise, short of letting a plaintext spoke listen on the engine's bridge. A spoke
    /// elsewhere is dialled through a network of the container's own.
    ///
    /// # Errors
    /// [`ContainerError::BadPath`].
    pub fn supernode(&self, command: &CommandLine) -> Result<Commands, ContainerError> {
        let dialled =
            command.args.windows(2).find(|pair| pair[0] == "--superlink").map(|pair| pair[1].as_str());
        let network = if dialled.is_some_and(dials_loopback) {
            vec!["--network".to_owned(), "host".to_owned()]
        } else {
            Vec::new()
        };
        self.commands("flower-supernode", network, command, command.args.clone())
    }

    fn commands(
        &self,
        name: &str,
        network: Vec<String>,
        command: &CommandLine,
        args: Vec<String>,
    ) -> Result<Commands, ContainerError> {
        let mut run = strings(&["run", "--rm", "--name", name, "--entrypoint", name, "--log-driver", "none"]);
        run.extend(self.confinement());
        run.extend(["--pids-limit".to_owned(), self.processes.to_string()]);
        if let Some(bytes) = self.memory {
            // Without the second, as much again would be taken from swap.
            run.extend(
                ["--memory", "--memory-swap"].into_iter().flat_map(|f| [f.to_owned(), format!("{bytes}b")]),
            );
        }
        if self.gpus {
            run.extend(match self.engine {
                Engine::Docker => strings(&["--gpus", "all"]),
                Engine::Podman => strings(&["--device", "nvidia.com/gpu=all"]),
            });
        }
        run.extend(network);
        for (paths, mode) in [(self.reads, ",readonly"), (self.writes, "")] {
            for path in paths {
                // Unlike `--volume`, this refuses a source that is not there instead of making a directory of it.
                let path = mountable(path)?;
                run.extend(["--mount".to_owned(), format!("type=bind,src={path},dst={path}{mode}")]);
            }
        }
        // The image knows better where its programs are.
        for (key, value) in command.env.iter().filter(|(key, _)| key != "PATH") {
            run.extend(["--env".to_owned(), format!("{key}={value}")]);
        }
        run.push(self.image.to_string());
        run.extend(args);
        let remove = match self.engine {
            Engine::Docker => strings(&["rm", "--force", name]),
            Engine::Podman => strings(&["rm", "--force", "--ignore", name]),
        };
        let stop = vec!["stop".to_owned(), "-t".to_owned(), GRACE_SECONDS.to_string(), name.to_owned()];
        Ok(Commands { before: vec![self.client(remove)], run: self.client(run), stop: self.client(stop) })
    }

    /// What holds for every container, also for one that only says its version.
    fn confinement(&self) -> Vec<String> {
        let user = format!("{FLOWER_ID}:{FLOWER_ID}");
        let mut args = strings(&["--pull", "never", "--user", &user, "--cap-drop", "ALL"]);
        args.extend(strings(&["--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp"]));
        // A dump of its memory would be a file with keys.
        args.extend(strings(&["--ulimit", "core=0"]));
        args
    }

    fn client(&self, args: Vec<String>) -> CommandLine {
        let env = vec![
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ];
        CommandLine { program: self.client.to_owned(), args, env }
    }
}

/// The arguments with their listeners on all addresses, and where these are to be published instead.
fn publish(args: &[String]) -> Result<(Vec<String>, Vec<SocketAddr>), ContainerError> {
    let mut changed = args.to_vec();
    let mut published = Vec::new();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).filter(|at| at + 1 < args.len());
    let mut listener = |flag: &str, address: String| {
        let socket = address.parse::<SocketAddr>().ok().filter(|socket| socket.ip().is_loopback());
        let socket = socket.ok_or_else(|| ContainerError::NotLoopback { flag: flag.to_owned(), address })?;
        published.push(socket);
        Ok::<u16, ContainerError>(socket.port())
    };
    for flag in PUBLISHED {
        if let Some(at) = value(flag) {
            let port = listener(flag, args[at + 1].clone())?;
            changed[at + 1] = format!("0.0.0.0:{port}");
        }
    }
    if let (Some(host), Some(port)) = (value("--host"), value("--port")) {
        let (ip, port) = (&args[host + 1], &args[port + 1]);
        listener("--host", if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })?;
        changed[host + 1] = "0.0.0.0".to_owned();
    }
    Ok((changed, published))
}

/// Whether `host:port` is on the loopback of whoever dials it.
fn dials_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A path as part of a `--mount`, whose value is a line of comma-separated fields with quotes of their own.
fn mountable(path: &Path) -> Result<&str, ContainerError> {
    let bad = |why| ContainerError::BadPath { path: path.to_owned(), why };
    let text = path.to_str().ok_or_else(|| bad("it is not UTF-8"))?;
    if !path.is_absolute() {
        return Err(bad("it is not absolute"));
    }
    if text.contains(|c: char| c == ',' || c == '"' || c.is_control()) {
        return Err(bad("it has a comma, a quote or a control character"));
    }
    Ok(text)
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}
