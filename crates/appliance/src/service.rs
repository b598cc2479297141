//! What a boot wants running, and who keeps it running.

use std::net::SocketAddr;
use std::path::PathBuf;

use onefed_flower::command::CommandLine;
use onefed_flower::container::FLOWER_ID;
use ring::digest::{Context, SHA256};

use crate::StepError;
use crate::files::Owner;

/// One process that this VM is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name, also of its log and its unit.
    pub(crate) name: &'static str,
    /// Program, arguments and whole environment.
    pub(crate) command: CommandLine,
    /// Command lines to run before each start, whatever becomes of them.
    pub(crate) before: Vec<CommandLine>,
    /// What ends it, where a signal to its own process would not.
    pub(crate) stop: Option<CommandLine>,
    /// Files whose content it reads when it starts: when one changes, it is started again.
    pub(crate) inputs: Vec<PathBuf>,
    /// Who it runs as, where the boot may choose.
    pub(crate) user: User,
    /// Directories and files that it writes.
    pub(crate) writes: Vec<PathBuf>,
    /// Files of its own that it alone may read: keys.
    pub(crate) reads: Vec<PathBuf>,
    /// Where it listens: checked before it is started.
    pub(crate) listens: Vec<SocketAddr>,
}

/// Who a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The link's own user: it holds the VM's keys.
    Onefed,
    /// Flower's user, 49999 as in its images: it runs other people's code.
    Flower,
    /// Whoever may talk to a container engine: the boot's own user.
    Engine,
}

impl User {
    /// User and group by number. Flower's are those of its images.
    pub(crate) fn ids(self) -> Owner {
        let id = match self {
            Self::Engine => 0,
            Self::Onefed => 49998,
            Self::Flower => FLOWER_ID,
        };
        Owner { uid: id, gid: id }
    }
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
    /// A file of [`inputs`](Self::inputs) cannot be read.
    pub(crate) fn digest(&self) -> Result<String, StepError> {
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
        for path in &self.inputs {
            add(path.as_os_str().as_encoded_bytes());
            add(&std::fs::read(path).map_err(|why| StepError::file(path, &why))?);
        }
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
        std::fs::write(&file, "1").unwrap();
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let service = |args: &[&str], env: &[(&str, &str)]| Service {
            name: "hub",
            command: CommandLine {
                program: "/usr/bin/onefed".into(),
                args: strings(args),
                env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            },
            before: Vec::new(),
            stop: None,
            inputs: vec![file.clone()],
            user: User::Onefed,
            writes: Vec::new(),
            reads: Vec::new(),
            listens: Vec::new(),
        };
        let first = service(&["a", "b"], &[("K", "V")]).digest().unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(first, service(&["a", "b"], &[("K", "V")]).digest().unwrap());
        assert_ne!(first, service(&["ab"], &[("K", "V")]).digest().unwrap());
        assert_ne!(first, service(&["a", "b", "K", "V"], &[]).digest().unwrap());
        std::fs::write(&file, "2").unwrap();
        assert_ne!(first, service(&["a", "b"], &[("K", "V")]).digest().unwrap());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(service(&["a"], &[]).digest().unwrap_err().code, "file_failed");
    }
}
