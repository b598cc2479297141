//! The name of a container image.

use std::fmt;

use crate::Version;

/// An image by its name and tag (`flwr/superlink:1.41.0`), or by its name and digest (`flwr/superlink@sha256:…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image(String);

impl Image {
    /// An image that the operator names. The name has been checked where it came in: it has a tag or a digest, is one
    /// argument, and not an option.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Flower's own image of SuperLink.
    pub fn superlink(version: Version) -> Self {
        Self(format!("flwr/superlink:{version}"))
    }

    /// Flower's own image of a SuperNode. It has no machine learning library.
    pub fn supernode(version: Version) -> Self {
        Self(format!("flwr/supernode:{version}"))
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
