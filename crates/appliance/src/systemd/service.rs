//! What a boot wants running. A stand-in of the boot's own type of this name, with what units need beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use onefed_flower::command::CommandLine;
use onefed_flower::container::Engine;

/// One process that this VM is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name, also of its log and its unit.
    pub(crate) name: &'static str,
    /// Program, arguments and whole environment. In a container: the engine's client in the foreground.
    pub(crate) command: CommandLine,
    /// Files whose content it reads when it starts: when one changes, it is started again.
    pub(crate) inputs: Vec<PathBuf>,
    /// Who it runs as. In a container: who its files belong to.
    pub(crate) user: User,
    /// Directories and files that it writes.
    pub(crate) writes: Vec<PathBuf>,
    /// Files of its own that it alone may read: keys.
    pub(crate) reads: Vec<PathBuf>,
    /// Where it listens: a port below 1024 needs a capability.
    pub(crate) listens: Vec<SocketAddr>,
    /// Whether it computes on the VM's GPUs, whose devices it then may open.
    pub(crate) gpu: bool,
    /// What belongs to it when it is a container.
    pub(crate) container: Option<InContainer>,
}

/// What a container needs beside the command that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InContainer {
    /// The engine.
    pub(crate) engine: Engine,
    /// Run before each start; failures mean nothing.
    pub(crate) before: Vec<CommandLine>,
    /// Ends it.
    pub(crate) stop: CommandLine,
}

/// Who a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum User {
    /// The link's own user: it holds the VM's keys.
    Onefed,
    /// Flower's user, 49999 as in its images: it runs other people's code.
    Flower,
}

/// What became of a service when a boot asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It runs as it should, and was left alone.
    Kept,
    /// It was not there.
    Started,
    /// It ran otherwise, or with other files.
    Restarted,
    /// It is not wanted any more.
    Stopped,
}
