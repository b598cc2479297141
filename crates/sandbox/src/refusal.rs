//! How oned says no: a code, the object it is about, and a text. OneFlow makes a status of it.

use crate::access::{Caller, Owned, Right};

/// oned's codes.
pub(crate) const AUTHENTICATION: i32 = 256;
pub(crate) const AUTHORIZATION: i32 = 512;
pub(crate) const NO_EXISTS: i32 = 1024;
pub(crate) const ACTION: i32 = 2048;
pub(crate) const API: i32 = 4096;
pub(crate) const INTERNAL: i32 = 8192;
pub(crate) const ALLOCATE: i32 = 16384;

/// A call that oned refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    /// The object's number, or -1.
    pub(crate) object: i64,
    /// Without the method's name in brackets, which oned puts in front.
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: i32, object: i64, text: impl Into<String>) -> Self {
        Self { code, object, text: text.into() }
    }

    /// INTERNAL, about nothing in particular.
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(INTERNAL, -1, text)
    }

    /// For a number that oned does not know.
    pub(crate) fn missing(what: &str, id: i64) -> Self {
        Self::new(NO_EXISTS, id, format!("Error getting {what} [{id}]."))
    }

    /// For a right that the caller lacks. `what` is the kind of object in capitals, with its number in brackets if it has one.
    pub(crate) fn unauthorized(caller: &Caller, right: Right, what: &str) -> Self {
        let text = format!("User [{}] : Not authorized to perform {} {what}.", caller.id, right.word());
        Self::new(AUTHORIZATION, -1, text)
    }

    /// [`unauthorized`](Self::unauthorized) unless the object's permissions allow it.
    pub(crate) fn unless(
        owned: &Owned,
        caller: &Caller,
        right: Right,
        kind: &str,
        id: u32,
    ) -> Result<(), Self> {
        if owned.allows(caller, right) {
            return Ok(());
        }
        Err(Self::unauthorized(caller, right, &format!("{kind} [{id}]")))
    }
}
