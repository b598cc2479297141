//! The name of a container image: parsed once, so that it can be neither an option nor two arguments.

use std::fmt;
use std::str::FromStr;

use super::ContainerError;
use crate::Version;

/// An image by its name and tag (`flwr/superlink:1.41.0`), or by its name and digest (`flwr/superlink@sha256:…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image(String);

/// The length of a SHA-256 in hexadecimal.
const DIGEST_LENGTH: usize = 64;

impl Image {
    /// Flower's own image of SuperLink.
    pub fn superlink(version: Version) -> Self {
        Self(format!("flwr/superlink:{version}"))
    }

    /// Flower's own image of a SuperNode. It has no machine learning library.
    pub fn supernode(version: Version) -> Self {
        Self(format!("flwr/supernode:{version}"))
    }

    /// Whether the name says the content, so that nobody can change what it means.
    pub fn is_digest(&self) -> bool {
        self.0.contains('@')
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Image {
    type Err = ContainerError;

    /// A name without tag and digest is refused: it would mean `latest`, whatever that is today.
    fn from_str(text: &str) -> Result<Self, ContainerError> {
        let bad = |why| ContainerError::BadImage { text: text.to_owned(), why };
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        // A colon in the first part of a path is the port of a registry.
        let last = name.rsplit('/').next().unwrap_or(name);
        let tag = last.split_once(':').map(|(_, tag)| tag);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return Err(bad(
                "it must begin with a letter or digit and have letters, digits and `._-/:` only",
            ));
        }
        if name.split('/').any(str::is_empty) || last.starts_with(':') {
            return Err(bad("a part of its path is empty"));
        }
        if tag.is_some_and(|tag| tag.is_empty() || tag.contains(':') || tag.starts_with(['.', '-'])) {
            return Err(bad("its tag is malformed"));
        }
        let hex = |digest: &str| {
            digest.len() == DIGEST_LENGTH
                && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        match digest {
            Some(digest) if !digest.strip_prefix("sha256:").is_some_and(hex) => {
                Err(bad("its digest is not `sha256:` and 64 hexadecimal digits"))
            }
            None if tag.is_none() => Err(bad("it has neither tag nor digest")),
            None if tag == Some("latest") => Err(bad("`latest` is whatever was there last")),
            _ => Ok(Self(text.to_owned())),
        }
    }
}
