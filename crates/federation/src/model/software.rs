//! What VMs are made from in zones whose plan names an image: the machine, and where its software comes from.

use std::fmt;

use url::Url;

use super::Reference;

/// Where a role's VM template comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VmTemplate {
    /// The zone has it, and onefed only uses it.
    Given(Reference),
    /// onefed makes it from the zone's [`Machine`] and the plan's [`Install`].
    Made,
}

/// The virtual machines that onefed makes templates for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `image`: a system image with contextualization and without onefed.
    pub image: Reference,
    /// `cpu`: so many virtual CPUs, at least 1.
    pub cpu: u32,
    /// `memory`, in MiB.
    pub memory: u32,
    /// `disk`, in MiB; the image's own size where it is absent.
    pub disk: Option<u32>,
}

/// `[install]`: where a VM that starts from a plain system image gets its software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// `onefed`: the binary.
    pub onefed: Source,
    /// `flower` or `index`: Flower and what it needs.
    pub flower: FlowerFrom,
    /// `requirements`: a list of packages with hashes, for `pip install --require-hashes`.
    pub requirements: Option<Source>,
}

/// A file whose content is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub at: Location,
    /// SHA-256 over its content: 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// At this address, http or https, without credentials.
    Url(Url),
    /// An image of this name in a FILES datastore of each zone; it comes with the context.
    File(String),
}

/// Where Flower comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowerFrom {
    /// A tar archive of wheels, compressed or not; nothing else is asked.
    Wheels(Source),
    /// A Python package index; PyPI where none is named.
    Index(Option<Url>),
}

impl Install {
    /// Every file that is fetched, with its key in the plan, in the order of fetching.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &Source)> {
        let wheels = match &self.flower {
            FlowerFrom::Wheels(source) => Some(source),
            FlowerFrom::Index(_) => None,
        };
        std::iter::once(("onefed", &self.onefed))
            .chain(wheels.map(|source| ("flower", source)))
            .chain(self.requirements.as_ref().map(|source| ("requirements", source)))
    }

    /// The images of a FILES datastore that every zone with an `image` must have; each name once, in order.
    pub fn files(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .sources()
            .filter_map(|(_, source)| match &source.at {
                Location::File(name) => Some(name.as_str()),
                Location::Url(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl VmTemplate {
    /// The zone's own template; `None` for one that onefed makes.
    pub fn given(&self) -> Option<&Reference> {
        match self {
            Self::Given(reference) => Some(reference),
            Self::Made => None,
        }
    }
}

impl fmt::Display for Machine {
    /// For instance "2 CPUs, 4 GiB, Ubuntu 24.04".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cpu == 1 { "" } else { "s" };
        write!(f, "{} CPU{plural}, {}, ", self.cpu, Size(self.memory))?;
        if let Some(disk) = self.disk {
            write!(f, "disk {}, ", Size(disk))?;
        }
        write!(f, "{}", self.image)
    }
}

/// MiB for a reader.
struct Size(u32);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) {
            write!(f, "{} GiB", self.0 / 1024)
        } else {
            write!(f, "{} MiB", self.0)
        }
    }
}
