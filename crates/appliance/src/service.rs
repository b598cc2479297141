//! What a boot wants running, and who keeps it running.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use onefed_flower::command::CommandLine;
use onefed_flower::container::Engine;
use ring::digest::{Context, SHA256};

/// The service that is a SuperNode.
pub(crate) const SUPERNODE: &str = "flower-supernode";

/// One process that this VM is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name, also of its log and its unit.
    pub(crate) name: &'static str,
    /// Program, arguments and whole environment.
    pub(crate) command: CommandLine,
    /// Files whose content it reads when it starts: when one changes, it is started again.
    pub(crate) inputs: Vec<PathBuf>,
    /// Who it runs as, where the boot may choose. In a container: who its files belong to.
    pub(crate) user: User,
    /// Directories and files that it writes.
    pub(crate) writes: Vec<PathBuf>,
    /// Files of its own that it alone may read: keys.
    pub(crate) reads: Vec<PathBuf>,
    /// Where it listens: checked before it is started. A port below 1024 needs a capability.
    pub(crate) listens: Vec<SocketAddr>,
    /// Whether it computes on the VM's GPUs, whose devices it then may open.
    pub(crate) gpu: bool,
    /// What belongs to it when it is a container.
    pub(crate) container: Option<InContainer>,
}

/// What a container needs beside the command that runs it, which is the engine's client in the foreground.
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

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Started => "started",
            Self::Restarted => "restarted",
            Self::Stopped => "stopped",
        }
    }
}

/// What was done, in words for the log: `hub restarted, flower-superlink kept`.
pub(crate) fn in_words(done: &[(String, Change)]) -> String {
    let words: Vec<String> = done.iter().map(|(name, change)| format!("{name} {}", change.word())).collect();
    words.join(", ")
}

impl Service {
    /// A digest of everything that a running process of this service depends on. Two services with the same one may
    /// be taken for each other.
    ///
    /// # Errors
    /// The program, or a file of [`inputs`](Self::inputs) or [`reads`](Self::reads), that cannot be read.
    pub(crate) fn digest(&self) -> Result<String, (PathBuf, std::io::Error)> {
        let mut context = Context::new(&SHA256);
        // Lengths first, so that no two different lists read alike.
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(self.command.program.as_os_str().as_encoded_bytes());
        add(&(self.command.args.len() as u64).to_be_bytes());
        self.command.args.iter().for_each(|arg| add(arg.as_bytes()));
        for (key, value) in &self.command.env {
            add(key.as_bytes());
            add(value.as_bytes());
        }
        for path in self.inputs.iter().chain(&self.reads) {
            add(path.as_os_str().as_encoded_bytes());
            add(&std::fs::read(path).map_err(|why| (path.clone(), why))?);
        }
        // A program is known by size and time: reading it whole would take longer than the rest of the boot.
        let program = &self.command.program;
        let about = std::fs::metadata(program).map_err(|why| (program.clone(), why))?;
        let changed = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        add(&about.len().to_be_bytes());
        add(&changed.unwrap_or_default().as_nanos().to_be_bytes());
        Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_changes_with_arguments_environment_and_the_content_of_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hub.json");
        let program = dir.path().join("onefed");
        std::fs::write(&program, "").unwrap();
        std::fs::write(&file, "1").unwrap();
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let service = |args: &[&str], env: &[(&str, &str)]| Service {
            name: "hub",
            command: CommandLine {
                program: program.clone(),
                args: strings(args),
                env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            },
            inputs: vec![file.clone()],
            user: User::Onefed,
            writes: Vec::new(),
            reads: Vec::new(),
            listens: Vec::new(),
            gpu: false,
            container: None,
        };
        let first = service(&["a", "b"], &[("K", "V")]).digest().unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(first, service(&["a", "b"], &[("K", "V")]).digest().unwrap());
        assert_ne!(first, service(&["ab"], &[("K", "V")]).digest().unwrap());
        assert_ne!(first, service(&["a", "b", "K", "V"], &[]).digest().unwrap());
        std::fs::write(&file, "2").unwrap();
        assert_ne!(first, service(&["a", "b"], &[("K", "V")]).digest().unwrap());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(service(&["a"], &[]).digest().unwrap_err().0, file);
    }
}
