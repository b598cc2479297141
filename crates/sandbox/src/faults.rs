//! The services of a zone misbehaving on purpose, and VMs that do not boot, for tests of those who live with them.
//!
//! Faults are lines in the file `faults` of the sandbox's directory (or in `onegate-faults`, its older name; the newer one
//! counts), which only the sandbox's owner can reach: no service answers for it, so no VM's token opens it. It is looked at
//! at every request. Each line is one fault, of words in any order:
//!
//! ```text
//! answer=503 service=oneflow zone=paris method=POST path=/service_template times=3 seconds=10
//! answer=lost service=xmlrpc method=one.template.allocate times=1
//! answer=slow delay=2.5 service=all
//! answer=boot-failure zone=lisbon role=gateway times=1
//! ```
//!
//! | `answer` | what happens |
//! |---|---|
//! | 401, 403, 404 | refused in the service's own words: the login (so an expired token), the right, the object |
//! | 500, 503 | the service's own failure, the page of a proxy in front of it |
//! | garbage | 200 with somebody else's HTML page |
//! | truncated | the call is carried out, half of its answer arrives |
//! | lost | the call is carried out, and the connection is closed without an answer |
//! | close, hang | the connection is closed, or left open, without anything being done |
//! | slow | as without a fault, later |
//! | prolog-failure, boot-failure | a VM does not come up |
//!
//! `answer` is needed. The others narrow it down: `service` (onegate, which is the default, oneflow, xmlrpc or all), a zone by
//! name, a VM by its number (in each zone, without `zone`), a role by name (of VMs that do not come up), a method (an HTTP
//! method, or the name of an XML-RPC one), the beginning of an HTTP path, a number of requests (in each zone), seconds since the
//! file was written. `delay` is seconds to wait before any answer. The first line that fits and is not used up answers;
//! without one, everything behaves. A file that was replaced counts anew. [`misbehave`] writes the file.

mod answer;
mod file;
mod line;

use crate::SandboxError;
use crate::files::private_file;
use onefed_opennebula::ZoneName;
use std::path::Path;
use std::time::Duration;

pub(crate) use answer::{Asked, Verdict};
pub(crate) use file::{Faults, lift};
pub(crate) use line::{Cut, CutListener};

/// What happens instead of what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// The login is refused: 401, or 256 by XML-RPC.
    Unauthorized,
    /// The right is missing: 403, or 512 by XML-RPC.
    Forbidden,
    /// The object is unknown: 404, or 1024 by XML-RPC.
    NotFound,
    /// The service's own 500; by XML-RPC, which has none, a proxy's.
    Broken,
    /// 503 with a page of the proxy in front of it.
    Unavailable,
    /// 200 with something that is not the service's.
    Garbage,
    /// Carried out, but half of the answer is missing.
    Truncated,
    /// Carried out, but the connection is closed without an answer.
    Lost,
    /// No answer, ever; the connection stays open and nothing is done.
    Hang,
    /// The connection is closed without an answer and nothing is done.
    Close,
    /// As it should be, after [`Fault::delay`].
    Slow,
    /// A VM fails in its prolog.
    PrologFailure,
    /// A VM fails to boot.
    BootFailure,
}

impl Misbehaviour {
    /// Of VMs, not of a service.
    fn is_of_vms(self) -> bool {
        matches!(self, Self::PrologFailure | Self::BootFailure)
    }
}

/// Who misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// OneGate.
    OneGate,
    /// OneFlow.
    OneFlow,
    /// XML-RPC.
    XmlRpc,
    /// All three.
    All,
}

/// A fault. What is `None` does not narrow it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happens.
    pub answer: Misbehaviour,
    /// To whom. Does not matter for VMs that do not come up.
    pub service: Service,
    /// Only in this zone.
    pub zone: Option<ZoneName>,
    /// Only to the VM of this number: the one that calls OneGate, that XML-RPC is asked about, or that does not come up.
    pub vm: Option<u32>,
    /// Only to VMs of this role that do not come up.
    pub role: Option<String>,
    /// Only to requests of this method, such as `PUT` or `one.vm.info`.
    pub method: Option<String>,
    /// Only to paths that begin so.
    pub path: Option<String>,
    /// So many requests, counted for each zone.
    pub times: Option<u32>,
    /// So long from when it was set.
    pub lasts: Option<Duration>,
    /// Waits so long before anything else.
    pub delay: Option<Duration>,
}

impl Fault {
    /// A fault of OneGate in all zones, for all VMs and requests, until it is lifted.
    pub fn new(answer: Misbehaviour) -> Self {
        Self {
            answer,
            service: Service::OneGate,
            zone: None,
            vm: None,
            role: None,
            method: None,
            path: None,
            times: None,
            lasts: None,
            delay: None,
        }
    }

    /// The same, of another service.
    #[must_use]
    pub fn by(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    /// The same, for one VM of one zone.
    #[must_use]
    pub fn of(mut self, vm: &onefed_opennebula::VmId) -> Self {
        (self.zone, self.vm) = (Some(vm.zone.clone()), Some(vm.id));
        self
    }
}

/// Makes the sandbox in `dir` misbehave from the next request on; replaces what was set before, so that no faults at all
/// make it behave again.
///
/// # Errors
/// [`SandboxError::File`] when the file in `dir` cannot be written.
pub fn misbehave(dir: &Path, faults: &[Fault]) -> Result<(), SandboxError> {
    let lines: String = faults.iter().map(|fault| format!("{}\n", file::line_of(fault))).collect();
    private_file(&dir.join(file::NAME), &lines)?;
    file::remove(&dir.join(file::OLD_NAME))
}
