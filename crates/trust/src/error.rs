//! What can be wrong with certificates, keys and requests.

/// An error of this crate. Each names the object that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is not the PEM object it should be.
    #[error("{what} is not valid: {why}")]
    Malformed {
        /// The object, for instance "the certificate signing request".
        what: &'static str,
        /// What the parser said.
        why: String,
    },
    /// A key, certificate or request could not be made.
    #[error("cannot make {what}: {why}")]
    Generate {
        /// The object that was being made.
        what: &'static str,
        /// What the generator said.
        why: String,
    },
    /// A request asks for a name that its VM does not have.
    #[error("the signing request asks for {asked}, but the VM may only have {allowed}")]
    NameNotAllowed {
        /// The name asked for.
        asked: String,
        /// The names that would have been signed.
        allowed: String,
    },
    /// A request without any name: no client could verify the certificate.
    #[error("the signing request names no address")]
    NoNames,
    /// A request that does not carry the proof of the VM that it claims to be from.
    #[error("the signing request is not authenticated by the VM's one-time key")]
    NotAuthenticated,
    /// A certificate for another key than the one that is held.
    #[error("the certificate is for another key")]
    OtherKey,
    /// A certificate that does not chain to the CA.
    #[error("the certificate is not signed by the expected CA: {0}")]
    NotSignedByCa(String),
    /// A certificate outside its validity.
    #[error("the certificate is {0}")]
    Dates(String),
    /// A CA whose fingerprint is not the pinned one.
    #[error("the CA certificate has the fingerprint {found}, expected is {expected}")]
    Fingerprint {
        /// The fingerprint of what was given.
        found: String,
        /// The pinned fingerprint.
        expected: String,
    },
    /// TLS settings that the library refuses.
    #[error("TLS settings: {0}")]
    Tls(String),
}

impl Error {
    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }

    pub(crate) fn generate(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Generate { what, why: why.to_string() }
    }
}
