//! What can go wrong between onefed and OpenNebula, each naming the zone, the call and the object.

use crate::ZoneName;
use std::{fmt, time::Duration};

/// Which call an error belongs to. Never holds a password, token or request body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The zone; `None` for OneGate, which a VM reaches without knowing its zone.
    pub zone: Option<ZoneName>,
    /// Where the call went, such as `http://10.0.0.1:2633/RPC2`.
    pub endpoint: String,
    /// Method and object, such as `one.vm.info(12)` or `GET /service/4`.
    pub what: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "zone {zone}: {} at {}", self.what, self.endpoint),
            None => write!(f, "OneGate: {} at {}", self.what, self.endpoint),
        }
    }
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection, or it broke.
    #[error("{call}: cannot be reached: {why}")]
    Unreachable {
        /// The call.
        call: Box<Call>,
        /// The cause, innermost last.
        why: String,
        /// Whether there was a connection, so that the call may have arrived.
        sent: bool,
    },
    /// No answer within the deadline.
    #[error("{call}: no answer within {after:?}")]
    Timeout {
        /// The call.
        call: Box<Call>,
        /// The deadline that passed.
        after: Duration,
    },
    /// The server was reached, but there is no TLS with it: its certificate, or what it speaks.
    #[error("{call}: no TLS: {why}")]
    Tls {
        /// The call.
        call: Box<Call>,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// The server is up but cannot answer now: HTTP 502, 503, 504, OneGate's 500, a zone that its administrator disabled,
    /// a federation whose master is away.
    #[error("{call}: the server cannot answer now ({code}): {message}")]
    Unavailable {
        /// The call.
        call: Box<Call>,
        /// HTTP status, or oned's error code.
        code: i32,
        /// Its text.
        message: String,
    },
    /// Wrong user, password or token, or a token that has expired: oned says the same of all of them.
    #[error("{call}: login refused: {message}")]
    Unauthenticated {
        /// The call.
        call: Box<Call>,
        /// The server's text.
        message: String,
    },
    /// A good login without the right to this object.
    #[error("{call}: not permitted: {message}")]
    Unauthorized {
        /// The call.
        call: Box<Call>,
        /// The server's text.
        message: String,
    },
    /// The object does not exist (any more).
    #[error("{call}: not found: {message}")]
    NotFound {
        /// The call.
        call: Box<Call>,
        /// The server's text.
        message: String,
    },
    /// OneFlow read the document and found it wrong (400): a key of a template, or a user input without a value.
    #[error("{call}: the document is refused: {message}")]
    Schema {
        /// The call.
        call: Box<Call>,
        /// OneFlow's text, such as `KEY: 'template_id' must be an Integer;`.
        message: String,
    },
    /// The server understood and said no: text that cannot be parsed, restricted attribute, internal errors.
    #[error("{call}: refused ({code}): {message}")]
    Refused {
        /// The call.
        call: Box<Call>,
        /// OpenNebula's error code (XML-RPC) or HTTP status (OneFlow, OneGate).
        code: i32,
        /// The server's text.
        message: String,
    },
    /// The object is busy or in a state that does not allow this (`Service cannot be ... in state: ...`).
    #[error("{call}: not in this state: {message}")]
    Conflict {
        /// The call.
        call: Box<Call>,
        /// The server's text.
        message: String,
    },
    /// Another object of the same kind and owner has this name. Allocation is atomic in oned: of two who try at once,
    /// one gets this.
    #[error("{call}: this name is taken: {message}")]
    NameTaken {
        /// The call.
        call: Box<Call>,
        /// The number of the object that has the name, where oned says it.
        by: Option<u32>,
        /// The server's text.
        message: String,
    },
    /// Somebody has locked the object (`onetemplate lock` and the like).
    #[error("{call}: locked: {message}")]
    Locked {
        /// The call.
        call: Box<Call>,
        /// The server's text.
        message: String,
    },
    /// An XML-RPC fault: unknown method or wrong arguments, so a server of another kind or age.
    #[error("{call}: XML-RPC fault {code}: {message}")]
    Fault {
        /// The call.
        call: Box<Call>,
        /// Fault code, -506 unknown method, -501 wrong arguments.
        code: i32,
        /// Its text.
        message: String,
    },
    /// The answer is not what OpenNebula says.
    #[error(
        "{call}: an answer that is not OpenNebula's: {why} (begins with {sample:?}); is this the right endpoint?"
    )]
    Garbage {
        /// The call.
        call: Box<Call>,
        /// What is wrong with it.
        why: String,
        /// Its first characters.
        sample: String,
    },
    /// OpenNebula before 7.0, whose OneFlow has other names.
    #[error("zone {zone}: OpenNebula {version} is too old: onefed needs 7.0 or later")]
    TooOld {
        /// The zone.
        zone: ZoneName,
        /// Its version.
        version: String,
    },
    /// An id of one zone was given to the client of another.
    #[error("{id} does not belong to zone {zone}: the call was not made")]
    WrongZone {
        /// The id as text.
        id: String,
        /// The client's zone.
        zone: ZoneName,
    },
    /// The caller's data cannot be sent.
    #[error("{what} cannot be sent: {why}")]
    BadInput {
        /// The thing.
        what: String,
        /// The reason and the remedy.
        why: String,
    },
}

impl Error {
    /// A later repeat of the same call may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Unavailable { .. })
    }

    /// The call may have been carried out although it failed: it was sent and nothing was heard of it, or the answer
    /// could not be read. What was to be made has to be looked for before it is made again.
    pub fn is_undecided(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Garbage { .. } => true,
            Self::Unreachable { sent, .. } => *sent,
            // A proxy in front of the server, which may have passed the call on.
            Self::Unavailable { code, .. } => matches!(code, 502 | 504),
            _ => false,
        }
    }

    /// The object is gone or never was.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The name is taken by another object of the same owner.
    pub fn is_name_taken(&self) -> bool {
        matches!(self, Self::NameTaken { .. })
    }

    /// The login is good, the right is missing. A wrong login is [`Unauthenticated`](Self::Unauthenticated).
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Unauthorized { .. })
    }

    /// The object is in a state that does not allow the call now.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Somebody has locked the object.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    pub(crate) fn garbage(call: &Call, why: impl Into<String>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
        Self::Garbage {
            call: Box::new(call.clone()),
            why: why.into(),
            sample: text.chars().take(80).collect(),
        }
    }
}
