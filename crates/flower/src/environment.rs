//! The Python environment that Flower runs from: found, checked, or made.

use std::path::{Path, PathBuf};

use crate::Version;

/// Where Flower's official images have theirs.
const IN_IMAGE: &str = "/python/venv";

/// A virtual environment with Flower in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    dir: PathBuf,
}

/// What is wrong with an environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No Python package `flwr` where one should be.
    #[error("there is no Flower in {dir}")]
    Missing {
        /// The environment.
        dir: PathBuf,
    },
    /// Another release than the one asked for.
    #[error("{dir} holds Flower {found}, asked for is {wanted}")]
    OtherRelease {
        /// The environment.
        dir: PathBuf,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: Version,
    },
}

impl EnvironmentError {
    /// What the operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { dir } => {
                format!(
                    "make one: `python3 -m venv {0} && {0}/bin/pip install flwr=={1}`",
                    dir.display(),
                    crate::DEFAULT_RELEASE
                )
            }
            Self::OtherRelease { dir, wanted, .. } => {
                format!(
                    "install it: `{}/bin/pip install flwr=={wanted}`, or set FLOWER_VERSION to what is there",
                    dir.display()
                )
            }
        }
    }
}

impl Environment {
    /// Finds Flower in a virtual environment and checks its release, without starting Python.
    ///
    /// # Errors
    /// [`EnvironmentError`], missing or another release.
    pub fn find(dir: &Path, wanted: Version) -> Result<Self, EnvironmentError> {
        let missing = || EnvironmentError::Missing { dir: dir.to_owned() };
        let found = installed_release(dir).ok_or_else(missing)?;
        if !dir.join("bin/flower-supernode").exists() {
            return Err(missing());
        }
        if found != wanted.to_string() {
            return Err(EnvironmentError::OtherRelease { dir: dir.to_owned(), found, wanted });
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The environment inside Flower's official images. It is not on this machine, so nothing is checked here:
    /// [`crate::container::Container::make_ready`] does.
    pub fn in_image() -> Self {
        Self { dir: PathBuf::from(IN_IMAGE) }
    }

    /// The directory with the programs.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// A program of the environment.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }
}

/// The release that pip's records in an environment name.
fn installed_release(dir: &Path) -> Option<String> {
    let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let pythons = entries(dir.join("lib")).filter(|e| e.file_name().to_string_lossy().starts_with("python"));
    pythons.flat_map(|python| entries(python.path().join("site-packages"))).find_map(|entry| {
        let name = entry.file_name();
        Some(name.to_str()?.strip_prefix("flwr-")?.strip_suffix(".dist-info")?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_pips_records() {
        let dir = tempfile::tempdir().unwrap();
        let wanted: Version = "1.41.0".parse().unwrap();
        let missing = Environment::find(dir.path(), wanted).unwrap_err();
        assert!(matches!(missing, EnvironmentError::Missing { .. }));
        std::fs::create_dir_all(dir.path().join("lib/python3.11/site-packages/flwr-1.31.0.dist-info"))
            .unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/flower-supernode"), "").unwrap();
        let other = Environment::find(dir.path(), wanted).unwrap_err();
        assert!(other.to_string().ends_with("holds Flower 1.31.0, asked for is 1.41.0"), "{other}");
        assert!(Environment::find(dir.path(), "1.31.0".parse().unwrap()).is_ok());
    }
}
