//! XML-RPC to `oned`: what one zone has, and what its user may do with it.

mod clock;
mod common;
mod machines;
mod networks;
mod quotas;
mod rights;
mod storage;
mod system;
mod templates;
mod users;
mod vms;
pub mod wire;

use crate::http::{Http, Options, Repeat, redact};
use crate::xml::Element;
use crate::{Call, Credentials, Error, ZoneName};
use std::time::Duration;
use url::Url;
use wire::{Outcome, Param, Reply};

pub use clock::Clock;
pub use common::{Owner, Permissions, Rights};
pub use machines::{Allocation, Host};
pub use networks::{AddressRange, VirtualNetwork};
pub use quotas::{DatastoreQuota, ImageQuota, NetworkQuota, Quotas, Usage, VmQuota};
pub use rights::HostAccess;
pub use storage::{Datastore, Image};
pub use system::{Configuration, Version, Zone};
pub use templates::VmTemplate;
pub use users::{Group, User};
pub use vms::{Nic, Vm, VmAction, VmSummary};

/// Deadline of a call unless another is set.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A client of one zone's `oned`.
///
/// Calls that only read are tried again when no connection could be made; calls that change something never are.
#[derive(Clone, Debug)]
pub struct Client {
    zone: ZoneName,
    endpoint: Url,
    credentials: Credentials,
    http: Http,
}

impl Client {
    /// `endpoint` is the whole URL, such as `http://10.0.0.1:2633/RPC2`; a URL without a path gets `/RPC2`.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a URL that is not http or https or holds a password.
    pub fn new(zone: ZoneName, mut endpoint: Url, credentials: Credentials) -> Result<Self, Error> {
        let http = Http::new(&endpoint, Options { deadline: DEADLINE, keep_alive: false, ca: None })?;
        if endpoint.path() == "/" {
            endpoint.set_path("/RPC2");
        }
        Ok(Self { zone, endpoint, credentials, http })
    }

    /// Another deadline for each call.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_deadline(mut self, deadline: Duration) -> Result<Self, Error> {
        self.http = Http::new(&self.endpoint, Options { deadline, ..self.http.options })?;
        Ok(self)
    }

    /// Trusts only the CAs in `pem` (one or more certificates) instead of those of the system, for an https endpoint.
    ///
    /// # Errors
    /// [`Error::BadInput`] for text that holds no certificate.
    pub fn with_ca(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.http = Http::new(&self.endpoint, Options { ca: Some(pem.to_vec()), ..self.http.options })?;
        Ok(self)
    }

    /// The zone that this client speaks to.
    pub fn zone(&self) -> &ZoneName {
        &self.zone
    }

    fn own(&self, zone: &ZoneName, id: u32, shown: &dyn std::fmt::Display) -> Result<u32, Error> {
        if *zone == self.zone {
            Ok(id)
        } else {
            Err(Error::WrongZone { id: shown.to_string(), zone: self.zone.clone() })
        }
    }

    async fn read(&self, method: &str, shown: &str, params: &[Param]) -> Result<Answered, Error> {
        self.call(method, shown, params, Repeat::Harmless).await
    }

    /// A call whose answer is one element.
    async fn object<T>(
        &self,
        method: &str,
        shown: &str,
        params: &[Param],
        (element, needs): (&str, &str),
        read: impl Fn(&ZoneName, &Element) -> Option<T>,
    ) -> Result<T, Error> {
        let reply = self.read(method, shown, params).await?;
        let document = reply.document(element)?;
        read(&self.zone, &document).ok_or_else(|| reply.garbage(&format!("a {element} without {needs}")))
    }

    /// A call whose answer is an element with many of one kind.
    async fn pool<T>(
        &self,
        method: &str,
        params: &[Param],
        (element, needs): (&str, &str),
        read: impl Fn(&ZoneName, &Element) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let reply = self.read(method, "", params).await?;
        let document = reply.document(&format!("{element}_POOL"))?;
        let one = |each: &Element| {
            read(&self.zone, each).ok_or_else(|| reply.garbage(&format!("a {element} without {needs}")))
        };
        document.all(element).map(one).collect()
    }

    async fn write(&self, method: &str, shown: &str, params: &[Param]) -> Result<(), Error> {
        self.call(method, shown, params, Repeat::Never).await.map(drop)
    }

    /// A call that answers with the number of what it made.
    async fn make(&self, method: &str, shown: &str, params: &[Param]) -> Result<u32, Error> {
        let reply = self.call(method, shown, params, Repeat::Never).await?;
        match reply.value {
            wire::Value::Int(id) => u32::try_from(id).ok(),
            _ => None,
        }
        .ok_or_else(|| reply.garbage("no number of what was made"))
    }

    async fn call(
        &self,
        method: &str,
        shown: &str,
        params: &[Param],
        repeat: Repeat,
    ) -> Result<Answered, Error> {
        let call = Call {
            zone: Some(self.zone.clone()),
            endpoint: redact(&self.endpoint),
            what: format!("{method}({shown})"),
        };
        let session = Param::Text(self.credentials.session());
        let body = wire::request(method, std::iter::once(&session).chain(params));
        let answer = self.http.send(&call, repeat, |client| {
            let request = client.post(self.endpoint.clone()).header("content-type", "text/xml");
            request.body(body.clone())
        });
        let answer = answer.await?;
        match answer.status {
            200 => {}
            502..=504 => {
                let (code, message) = (i32::from(answer.status), answer.text());
                return Err(Error::Unavailable { call: Box::new(call), code, message });
            }
            status => {
                let why = format!("HTTP {status}, where oned always says 200 (its path is /RPC2)");
                return Err(Error::garbage(&call, why, &answer.body));
            }
        }
        let reply =
            wire::parse(&answer.body).map_err(|why| Error::garbage(&call, why.to_string(), &answer.body))?;
        match reply {
            Reply::Answer(Outcome::Success(value)) => Ok(Answered { call, value, body: answer.body }),
            Reply::Answer(Outcome::Failure { message, code }) => Err(failure(call, code, message)),
            Reply::Fault { code, message } => Err(Error::Fault { call: Box::new(call), code, message }),
        }
    }
}

/// Filter -2 (all that the user may use), from the first to the last.
const ALL_VISIBLE: [Param; 3] = [Param::Int(-2), Param::Int(-1), Param::Int(-1)];

fn int(id: u32) -> Param {
    // OpenNebula's ids are signed 32 bit; a larger number is sent as what it is: an id that cannot exist.
    Param::Int(i32::try_from(id).unwrap_or(i32::MAX))
}

/// Error codes of oned.
fn failure(call: Call, code: i32, message: String) -> Error {
    let call = Box::new(call);
    match code {
        256 => Error::Unauthenticated { call, message },
        512 => Error::Unauthorized { call, message },
        1024 => Error::NotFound { call, message },
        32768 => Error::Locked { call, message },
        // 8192 in what was seen; the code is not the only one for a bad name, so the words count.
        8192 | 16384 if message.contains(NAME_TAKEN) => {
            Error::NameTaken { call, by: taken_by(&message), message }
        }
        // 2048 of an action, 8192 of an update; the same codes stand for other refusals too.
        8192 if is_away(&message) => Error::Unavailable { call, code, message },
        2048 | 8192 if is_wrong_state(&message) => Error::Conflict { call, message },
        _ => Error::Refused { call, code, message },
    }
}

/// oned's words for a second object of the same name, as in `NAME is already taken by TEMPLATE 5.`
const NAME_TAKEN: &str = "is already taken by";

fn taken_by(message: &str) -> Option<u32> {
    let (_, holder) = message.split_once(NAME_TAKEN)?;
    // The kind may be two words, such as `VN TEMPLATE 5`.
    holder.split_whitespace().next_back()?.trim_end_matches('.').parse().ok()
}

/// oned's words for a VM that is in another state.
fn is_wrong_state(message: &str) -> bool {
    ["not available for state", "wrong state", "cannot be updated in state"]
        .iter()
        .any(|w| message.contains(w))
}

/// oned's words for a zone that is disabled, and for one whose federation's master is away.
fn is_away(message: &str) -> bool {
    ["zone disabled", "Could not connect to the federation master"].iter().any(|w| message.contains(w))
}

/// A successful answer together with what an error about its content needs.
struct Answered {
    call: Call,
    value: wire::Value,
    body: Vec<u8>,
}

impl Answered {
    fn garbage(&self, why: &str) -> Error {
        Error::garbage(&self.call, why, &self.body)
    }

    /// The XML inside the answer. Its root has to be what the method answers: a page of somebody else is no empty pool.
    fn document(&self, root: &str) -> Result<Element, Error> {
        let text = self.value.text().as_bytes();
        let document = Element::parse(text).map_err(|e| Error::garbage(&self.call, e.to_string(), text))?;
        if document.name == root {
            return Ok(document);
        }
        Err(Error::garbage(&self.call, format!("no {root} in it"), text))
    }
}
