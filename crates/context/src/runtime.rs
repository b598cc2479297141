//! How Flower is run in a VM: from a virtual environment or in a container.

use std::fmt;
use std::str::FromStr;

/// The longest name of an image that is accepted, in bytes.
const LONGEST: usize = 255;

/// `FL_RUNTIME`, with the image that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// From a virtual environment on the VM's disk.
    Venv,
    /// In a container of this image, `FL_CONTAINER_IMAGE`; none for Flower's own of the role and the release.
    Container(Option<ContainerImage>),
}

/// A container image with a tag (`flwr/superlink:1.41.0`) or a digest (`flwr/superlink@sha256:…`).
///
/// Its letters are so few that the text is one plain argument of a command line, and never an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerImage(String);

/// Why a text is no [`ContainerImage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerImageError {
    /// Neither tag nor digest: the release would be left to chance.
    #[error("the tag or the digest is missing")]
    Unversioned,
    /// `latest` is whatever was there last.
    #[error("`latest` is whatever was there last: name the release")]
    Latest,
    /// The part before tag or digest.
    #[error(
        "the repository must be lower-case letters, digits, `.`, `_`, `-` and `/`, after a registry host if any"
    )]
    Repository,
    /// The part after the colon.
    #[error("the tag must be up to 128 letters, digits, `.`, `_` and `-`")]
    Tag,
    /// The part after `@`.
    #[error("the digest must be sha256: and 64 hexadecimal digits in lower case")]
    Digest,
}

impl ContainerImage {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag; none for an image that is named by its digest.
    pub fn tag(&self) -> Option<&str> {
        if self.0.contains('@') { None } else { self.0.rsplit_once(':').map(|(_, tag)| tag) }
    }

    /// The digest, `sha256:…`; none for an image that is named by its tag.
    pub fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }
}

impl fmt::Display for ContainerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ContainerImage {
    type Err = ContainerImageError;

    fn from_str(text: &str) -> Result<Self, ContainerImageError> {
        use ContainerImageError::{Digest, Latest, Repository, Tag, Unversioned};
        if text.len() > LONGEST {
            return Err(Repository);
        }
        let repository = if let Some((repository, digest)) = text.split_once('@') {
            let digits = digest.strip_prefix("sha256:").ok_or(Digest)?;
            if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(Digest);
            }
            repository
        } else {
            let (repository, tag) = text.rsplit_once(':').ok_or(Unversioned)?;
            // A colon before the last slash belongs to a registry's port.
            if tag.contains('/') && !tag.starts_with('/') {
                return Err(Unversioned);
            }
            if tag == "latest" {
                return Err(Latest);
            }
            let starts_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if !starts_well || tag.len() > 128 || !tag.bytes().all(inner) {
                return Err(Tag);
            }
            repository
        };
        if is_repository(repository) { Ok(Self(text.to_owned())) } else { Err(Repository) }
    }
}

/// `[host[:port]/]name[/name]…`. As the clients of registries read it, the first part is a host if it has a dot or a
/// port or is `localhost`.
fn is_repository(text: &str) -> bool {
    let path = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            let (name, port) = host.split_once(':').unwrap_or((host, "1"));
            let good = crate::rule::count(port).is_some_and(|port| (1..=65535).contains(&port));
            if !good || !crate::endpoint::is_host(name) {
                return false;
            }
            path
        }
        _ => text,
    };
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    path.split('/').all(|part| {
        part.starts_with(edge)
            && part.ends_with(edge)
            && part.chars().all(|c| edge(c) || "._-".contains(c))
            && !part.contains("..")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_tag_or_a_digest_is_needed() {
        let image = |text: &str| text.parse::<ContainerImage>().unwrap();
        for good in [
            "flwr/superlink:1.41.0",
            "a:b",
            "r.example.com:5000/fl/super_node:1.41.0-py3.13",
            "localhost/x:y",
        ] {
            assert_eq!((image(good).as_str(), image(good).digest()), (good, None));
        }
        assert_eq!(image("r.example.com:5000/fl:1.41.0").tag(), Some("1.41.0"));
        let by_digest = image(&format!("flwr/superlink@{DIGEST}"));
        assert_eq!((by_digest.tag(), by_digest.digest()), (None, Some(DIGEST)));
    }

    #[test]
    fn what_a_shell_or_a_client_could_misread_is_refused() {
        use ContainerImageError::*;
        for (bad, why) in [
            ("", Unversioned),
            ("flwr/superlink", Unversioned),
            ("host:5000/x", Unversioned),
            ("flwr/superlink:latest", Latest),
            ("flwr/superlink:", Tag),
            ("flwr/superlink:-v", Tag),
            ("flwr/superlink:1 --privileged", Tag),
            ("x:$(id)", Tag),
            ("--privileged:x", Repository),
            ("Flwr/superlink:1", Repository),
            ("a//b:1", Repository),
            ("../b:1", Repository),
            ("https://x/y:1", Repository),
            ("host:0/x:1", Repository),
            ("-v/:/host:1", Repository),
            ("a b:1", Repository),
            ("/x:1", Repository),
            ("x/:1", Repository),
            (":1", Repository),
            ("x:", Tag),
            ("x:-1", Tag),
            ("x:1\n", Tag),
            ("x:1:2", Repository),
            ("ü:1", Repository),
            ("localhost:5000/x", Unversioned),
            ("x@sha256:12", Digest),
            ("x@md5:12", Digest),
        ] {
            assert_eq!(bad.parse::<ContainerImage>(), Err(why), "{bad}");
        }
        assert_eq!(format!("x:1@{DIGEST}").parse::<ContainerImage>(), Err(Repository));
        assert_eq!(format!("{}:1", "a".repeat(300)).parse::<ContainerImage>(), Err(Repository));
    }

    proptest! {
        #[test]
        fn no_text_becomes_an_option_or_panics(text in ".*", like in "[a-z0-9.:/@_-]*") {
            for text in [text, like] {
                let Ok(image) = text.parse::<ContainerImage>() else { continue };
                prop_assert!(!image.as_str().starts_with('-'));
                prop_assert!(!image.as_str().contains(char::is_whitespace));
            }
        }
    }
}
