//! Whether the image that is asked for is on this VM and holds the release that it should: asked of the engine and of
//! the program in the image. Labels do not tell: those of Flower's images are their base system's.

use std::io;
use std::process::Output;

use super::{Container, ContainerError, Image, strings};
use crate::Version;
use crate::command::CommandLine;

/// What to do where an image is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Fail.
    Never,
    /// Say so, then pull it.
    Announced,
}

/// An image that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The engine's id of its content, `sha256:…`. A tag may be moved; this may not.
    pub id: String,
    /// Whether it had to be pulled.
    pub pulled: bool,
}

impl Container<'_> {
    /// Asks for the id of the image; it fails where the image is not there.
    pub fn inspect(&self) -> CommandLine {
        self.client(strings(&["image", "inspect", "--format", "{{.Id}}", &self.image.to_string()]))
    }

    /// Pulls the image.
    pub fn pull(&self) -> CommandLine {
        self.client(strings(&["pull", "--quiet", &self.image.to_string()]))
    }

    /// Asks `program` (`flower-superlink` or `flower-supernode`) in the image for its release.
    pub fn ask_release(&self, program: &str) -> CommandLine {
        let mut args = strings(&["run", "--rm", "--network", "none", "--entrypoint", program]);
        args.extend(self.confinement());
        args.extend([self.image.to_string(), "--version".to_owned()]);
        self.client(args)
    }

    /// Makes sure that the image is there and holds the release that was asked for. It is never another one silently.
    ///
    /// `run` runs a command line to its end, with a deadline of its own (a pull may take minutes); `announce` is told
    /// before something is pulled. `program` is as for [`ask_release`](Self::ask_release).
    ///
    /// # Errors
    /// Every [`ContainerError`] but those of [`superlink`](Self::superlink).
    pub async fn make_ready(
        &self,
        program: &str,
        wanted: Version,
        pull: Pull,
        mut run: impl AsyncFnMut(&CommandLine) -> io::Result<Output>,
        announce: impl FnOnce(&Image),
    ) -> Result<Ready, ContainerError> {
        let failed = |why| ContainerError::Client { client: self.client.to_owned(), why };
        let mut found = self.presence(&run(&self.inspect()).await.map_err(failed)?)?;
        let pulled = found.is_none();
        if pulled {
            let image = self.image.clone();
            if pull == Pull::Never {
                return Err(ContainerError::Absent { image, engine: self.engine });
            }
            announce(&image);
            let output = run(&self.pull()).await.map_err(failed)?;
            if !output.status.success() {
                return Err(ContainerError::PullRefused { image, said: last_words(&output) });
            }
            found = self.presence(&run(&self.inspect()).await.map_err(failed)?)?;
        }
        let Some(id) = found else {
            let said = "the pull succeeded, and it is not there".to_owned();
            return Err(ContainerError::PullRefused { image: self.image.clone(), said });
        };
        let output = run(&self.ask_release(program)).await.map_err(failed)?;
        self.holds(wanted, &output)?;
        Ok(Ready { id, pulled })
    }

    /// The image's id, `None` where it is not there. That is told from an engine that is not there by its words.
    fn presence(&self, output: &Output) -> Result<Option<String>, ContainerError> {
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !id.is_empty() {
            return Ok(Some(id));
        }
        let said = last_words(output);
        let absent = ["no such image", "image not known", "failed to find image"];
        if absent.iter().any(|words| said.to_ascii_lowercase().contains(words)) {
            return Ok(None);
        }
        let doing = format!("look for the image {}", self.image);
        Err(ContainerError::Engine { engine: self.engine, doing, said })
    }

    fn holds(&self, wanted: Version, output: &Output) -> Result<(), ContainerError> {
        let image = self.image.clone();
        if !output.status.success() {
            return Err(ContainerError::NoRelease { image, said: last_words(output) });
        }
        match release_in(&String::from_utf8_lossy(&output.stdout)) {
            None => Err(ContainerError::NoRelease { image, said: last_words(output) }),
            Some(found) if found != wanted.to_string() => {
                Err(ContainerError::OtherRelease { image, found: found.to_owned(), wanted })
            }
            Some(_) => Ok(()),
        }
    }
}

/// The release in the answer of a Flower program to `--version`: `Flower version: 1.41.0` in a line of its own.
pub(super) fn release_in(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.trim().strip_prefix("Flower version: ")).map(str::trim)
}

/// The last line that a command said, errors first.
fn last_words(output: &Output) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(|line| line.chars().take(300).collect())
    };
    text(&output.stderr).or_else(|| text(&output.stdout)).unwrap_or_else(|| format!("{}", output.status))
}
