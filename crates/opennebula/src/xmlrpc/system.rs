//! The server itself: its version, its configuration, the zones of its federation.

use super::{Client, int, wire::Param};
use crate::xml::Element;
use crate::{Attributes, Error};
use std::fmt;
use url::Url;

/// A version of OpenNebula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// As the server wrote it.
    pub text: String,
}

impl Version {
    /// Reads `7.4.0` and `6.99.80`; only the first two numbers matter.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor, text: text.trim().to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A zone of the federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its number, 0 for the master.
    pub id: u32,
    /// Its name, as the administrator wrote it.
    pub name: String,
    /// Not disabled by the administrator; says nothing about being alive.
    pub enabled: bool,
    /// XML-RPC endpoint. `http://localhost:2633/RPC2` until the administrator sets it.
    pub endpoint: Option<String>,
    /// OneFlow endpoint, where the administrator set the attribute ONEFLOW_ENDPOINT.
    pub oneflow: Option<String>,
}

impl Zone {
    /// [`endpoint`](Self::endpoint) as a URL; `None` when it is not set or is none.
    pub fn endpoint_url(&self) -> Option<Url> {
        self.endpoint.as_deref()?.parse().ok()
    }

    /// [`oneflow`](Self::oneflow) as a URL; `None` when it is not set or is none.
    pub fn oneflow_url(&self) -> Option<Url> {
        self.oneflow.as_deref()?.parse().ok()
    }
}

/// What oned's configuration says, as far as a client may want to know. The rest is not kept: an administrator's answer
/// holds the database's password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The number of the zone that answers: which one of [`Client::zone_pool`] it is.
    pub zone_id: Option<u32>,
    /// `STANDALONE`, `MASTER` or `SLAVE`.
    pub federation_mode: Option<String>,
    /// VM_RESTRICTED_ATTR: what only administrators may set in a VM, such as `CONTEXT/FILES`.
    pub restricted: Vec<String>,
}

/// What every ZONE has.
const ZONE: (&str, &str) = ("ZONE", "ID or NAME");

impl Client {
    /// `one.system.version`. Does not check the version: see [`check_version`](Self::check_version).
    ///
    /// # Errors
    /// Every kind of [`Error`] that a call can end in. oned checks the login for this call too.
    pub async fn system_version(&self) -> Result<Version, Error> {
        let reply = self.read("one.system.version", "", &[]).await?;
        let text = reply.value.text();
        Version::parse(text).ok_or_else(|| reply.garbage(&format!("'{text}' is not a version")))
    }

    /// [`system_version`](Self::system_version), refused when it is before 7.0.
    ///
    /// # Errors
    /// [`Error::TooOld`], or as any call.
    pub async fn check_version(&self) -> Result<Version, Error> {
        let version = self.system_version().await?;
        if version.major < 7 {
            return Err(Error::TooOld { zone: self.zone.clone(), version: version.text });
        }
        Ok(version)
    }

    /// All zones of the federation (`one.zonepool.info`). Their state is administrative: a dead zone still says
    /// enabled. Zones whose names are not [`ZoneName`](crate::ZoneName)s keep them as text.
    ///
    /// # Errors
    /// As any call.
    pub async fn zone_pool(&self) -> Result<Vec<Zone>, Error> {
        self.pool("one.zonepool.info", &[], ZONE, |_, xml| zone(xml)).await
    }

    /// One zone of the federation (`one.zone.info`).
    ///
    /// # Errors
    /// [`Error::NotFound`], or as any call.
    pub async fn zone_info(&self, id: u32) -> Result<Zone, Error> {
        let params = [int(id), Param::Bool(false)];
        self.object("one.zone.info", &id.to_string(), &params, ZONE, |_, xml| zone(xml)).await
    }

    /// oned's configuration (`one.system.config`). Any user may ask on most servers; one that is not oneadmin's gets it
    /// without its secrets.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where it is for administrators only, or as any call.
    pub async fn system_config(&self) -> Result<Configuration, Error> {
        let reply = self.read("one.system.config", "", &[]).await?;
        // The root has had two names.
        let document = reply.document("OPENNEBULA_CONFIGURATION").or_else(|_| reply.document("TEMPLATE"))?;
        Ok(configuration(&document))
    }
}

fn some(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn zone(xml: &Element) -> Option<Zone> {
    let attribute = |name| some(xml.child("TEMPLATE").and_then(|t| t.text_of(name)));
    Some(Zone {
        id: xml.number_of("ID")?,
        name: xml.text_of("NAME")?.to_owned(),
        enabled: xml.number_of::<i32>("STATE").is_none_or(|s| s == 0),
        endpoint: attribute("ENDPOINT"),
        oneflow: attribute("ONEFLOW_ENDPOINT"),
    })
}

fn configuration(xml: &Element) -> Configuration {
    let attributes = Attributes::of(xml);
    let federation = attributes.vector("FEDERATION");
    let restricted = xml.all("VM_RESTRICTED_ATTR").map(|a| a.text.trim().to_owned());
    Configuration {
        zone_id: federation.and_then(|f| f.get("ZONE_ID")?.trim().parse().ok()),
        federation_mode: federation.and_then(|f| f.get("MODE").cloned()),
        restricted: restricted.filter(|a| !a.is_empty()).collect(),
    }
}
