//! XML-RPC to `oned`: zones, VM templates, networks and VMs of one zone.

mod model;
mod templates;
pub mod wire;

use crate::http::{Http, Repeat, redact};
use crate::{Call, Credentials, Error, VmId, ZoneName, template};
use std::time::Duration;
use url::Url;
use wire::{Outcome, Param, Reply};

pub use model::{
    AddressRange, Nic, Owner, Permissions, Rights, Version, VirtualNetwork, Vm, VmTemplate, Zone,
};

/// Deadline of a call unless another is set.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What to do with a VM; `terminate` on a VM that is already done succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmAction {
    /// Orderly end.
    Terminate,
    /// End at once.
    TerminateHard,
    /// Switch off in an orderly way, keep the disks.
    Poweroff,
    /// Switch off at once, keep the disks. Also overrides a [`Poweroff`](Self::Poweroff) that takes too long.
    PoweroffHard,
    /// Start again what is powered off, stopped or suspended.
    Resume,
    /// Keep from being scheduled.
    Hold,
    /// Let a held VM go.
    Release,
    /// Ask the guest to restart. OpenNebula shows no other state meanwhile.
    Reboot,
    /// Reset the guest.
    RebootHard,
}

impl VmAction {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::TerminateHard => "terminate-hard",
            Self::Poweroff => "poweroff",
            Self::PoweroffHard => "poweroff-hard",
            Self::Resume => "resume",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Reboot => "reboot",
            Self::RebootHard => "reboot-hard",
        }
    }
}

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
        let http = Http::new(&endpoint, DEADLINE, false)?;
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
        self.http = Http::new(&self.endpoint, deadline, false)?;
        Ok(self)
    }

    /// The zone that this client speaks to.
    pub fn zone(&self) -> &ZoneName {
        &self.zone
    }

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
    /// enabled. Zones whose names are not [`ZoneName`]s keep them as text.
    ///
    /// # Errors
    /// As any call.
    pub async fn zone_pool(&self) -> Result<Vec<Zone>, Error> {
        let reply = self.read("one.zonepool.info", "", &[]).await?;
        let pool = reply.document()?;
        pool.all("ZONE")
            .map(|z| model::zone(z).ok_or_else(|| reply.garbage("a ZONE without ID or NAME")))
            .collect()
    }

    /// The virtual networks that the user may use (`one.vnpool.info`).
    ///
    /// # Errors
    /// As any call.
    pub async fn networks(&self) -> Result<Vec<VirtualNetwork>, Error> {
        let reply = self.read("one.vnpool.info", "", &ALL_VISIBLE).await?;
        let pool = reply.document()?;
        let one = |n| model::network(&self.zone, n).ok_or_else(|| reply.garbage("a VNET without ID or NAME"));
        pool.all("VNET").map(one).collect()
    }

    /// One VM (`one.vm.info`), without decryption of encrypted attributes.
    ///
    /// # Errors
    /// As any call; [`Error::NotFound`] for a number that never was (a VM that is done is still found).
    pub async fn vm(&self, id: &VmId) -> Result<Vm, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let reply = self.read("one.vm.info", &number.to_string(), &[int(number), Param::Bool(false)]).await?;
        let vm = model::vm(&self.zone, &reply.document()?);
        vm.ok_or_else(|| reply.garbage("a VM without ID, NAME or STATE"))
    }

    /// Writes attributes into the VM's USER_TEMPLATE (`one.vm.update`). With `append` the other attributes stay, without
    /// it these replace all of them.
    ///
    /// # Errors
    /// [`Error::BadInput`] for names or values that cannot be sent, or as any call.
    pub async fn vm_update(&self, id: &VmId, attributes: &[(&str, &str)], append: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let text = template::attributes(attributes)?;
        let params = [int(number), Param::Text(text), Param::Int(i32::from(append))];
        self.write("one.vm.update", &number.to_string(), &params).await
    }

    /// Does something to a VM (`one.vm.action`). Returns when oned has accepted it: the states on the way and the end
    /// show in [`vm`](Self::vm).
    ///
    /// # Errors
    /// [`Error::Conflict`] in a state that does not allow it, or as any call.
    pub async fn vm_action(&self, id: &VmId, action: VmAction) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [Param::Text(action.as_str().into()), int(number)];
        self.write("one.vm.action", &format!("{}, {number}", action.as_str()), &params).await
    }

    /// Changes the configuration of a VM (`one.vm.updateconf`). `template` is template text, as of
    /// [`template::vector`]; oned reads OS, FEATURES, INPUT, GRAPHICS, VIDEO, RAW, CPU_MODEL, BACKUP_CONFIG and CONTEXT
    /// of it and ignores everything else.
    ///
    /// With `append` what is given is laid over what is there. Without it, it replaces it, and those of these attributes
    /// that are not given are removed, except CONTEXT, which stays when none is given. See
    /// [`vm_update_context`](Self::vm_update_context) for what becomes of a CONTEXT.
    ///
    /// # Errors
    /// [`Error::Conflict`] in a state that does not allow it, such as BOOT or HOTPLUG; [`Error::Refused`] with code 8192
    /// for text that oned cannot read and for changed `ETHn_*`; or as any call.
    pub async fn vm_updateconf(&self, id: &VmId, template: &str, append: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Text(template.to_owned()), Param::Int(i32::from(append))];
        self.write("one.vm.updateconf", &number.to_string(), &params).await
    }

    /// Changes the CONTEXT of a VM by [`vm_updateconf`](Self::vm_updateconf). A running VM (through LCM state HOTPLUG)
    /// gets the new context at once, any other one at its next start.
    ///
    /// Without `append`, variables that are not given are gone. oned keeps DISK_ID and TARGET and, with NETWORK=YES,
    /// makes `ETHn_*` again. ONEGATE_ENDPOINT and VMID it makes again only when TOKEN=YES is new: a replacement for the
    /// context of a VM that had TOKEN=YES has to hold them too, as the template that OpenNebula's own `onevm updateconf`
    /// puts into its editor does.
    ///
    /// # Errors
    /// As [`vm_updateconf`](Self::vm_updateconf); [`Error::BadInput`] for names or values that cannot be sent.
    pub async fn vm_update_context(
        &self,
        id: &VmId,
        variables: &[(&str, &str)],
        append: bool,
    ) -> Result<(), Error> {
        let text = template::vector("CONTEXT", variables)?;
        self.vm_updateconf(id, &text, append).await
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
                let (status, message) = (answer.status, answer.text());
                return Err(Error::Unavailable { call: Box::new(call), status, message });
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
        2048 | 8192 if is_wrong_state(&message) => Error::Conflict { call, message },
        _ => Error::Refused { call, code, message },
    }
}

/// oned's words for a second object of the same name, as in `NAME is already taken by TEMPLATE 5.`
const NAME_TAKEN: &str = "is already taken by";

fn taken_by(message: &str) -> Option<u32> {
    let (_, holder) = message.split_once(NAME_TAKEN)?;
    holder.split_whitespace().nth(1)?.trim_end_matches('.').parse().ok()
}

/// oned's words for a VM that is in another state.
fn is_wrong_state(message: &str) -> bool {
    ["not available for state", "wrong state", "cannot be updated in state"]
        .iter()
        .any(|w| message.contains(w))
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

    fn document(&self) -> Result<crate::xml::Element, Error> {
        let text = self.value.text().as_bytes();
        crate::xml::Element::parse(text).map_err(|e| Error::garbage(&self.call, e.to_string(), text))
    }
}
