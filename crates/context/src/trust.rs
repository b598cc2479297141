//! Whom a VM trusts, and what it shows to others: the ways to TLS.

use crate::fingerprint::CaFingerprint;
use crate::pem::CaBundle;
use crate::secret::Secret;

/// How the hub gets its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuperLinkTls {
    /// `FL_TLS_ENABLED=NO`, by name: plaintext.
    Off,
    /// `FL_SSL_CA_CERTFILE` and `FL_ENROL_KEY`: the operator's CA signs what the VM asks for.
    Enrolled {
        /// The CA of the federation.
        ca: CaBundle,
        /// The one-time key with which the VM asks.
        key: Secret,
    },
    /// `FL_SSL_CA_CERTFILE`, `FL_SSL_CERTFILE` and `FL_SSL_KEYFILE`: a PKI of the operator's own.
    Given {
        /// The CA that sites are told.
        ca: CaBundle,
        /// The hub's certificate and what else came with it, in the order given, as PEM. Only its wrapping has been
        /// looked at: whether it is a chain, in force and for this VM is for the crate that verifies chains.
        certificate: CaBundle,
        /// The private key as it was given: PEM, or base64 of PEM (once or twice) or of DER.
        key: Secret,
    },
    /// None of them: the VM makes a CA at its first boot and keeps it, or has what `onefed pki import` put on its disk.
    Own,
}

/// How a gateway gets the certificate for its site's LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayTls {
    /// `FL_TLS_ENABLED=NO`, by name: plaintext.
    Off,
    /// `FL_SSL_CA_CERTFILE` and `FL_ENROL_KEY`: the operator's CA signs what the VM asks for, and is the hub's too.
    Enrolled {
        /// The CA of the federation.
        ca: CaBundle,
        /// The one-time key with which the VM asks.
        key: Secret,
    },
}

/// How a VM at a site knows the CA of its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteTrust {
    /// `FL_TLS_ENABLED=NO`, by name: plaintext.
    Off,
    /// `FL_SSL_CA_CERTFILE`. Where the context has a fingerprint as well, the certificate must have it.
    Given(CaBundle),
    /// `FL_CA_FINGERPRINT` alone: the CA comes from OneGate's `FL_CA_CERT`, and must have this fingerprint.
    Pinned(CaFingerprint),
    /// `FL_CA_TRUST=first-use`: the CA comes from OneGate's `FL_CA_CERT` once, and is pinned on the disk from then on.
    FirstUse,
}

impl SuperLinkTls {
    /// The CA that the context holds.
    pub fn ca(&self) -> Option<&CaBundle> {
        match self {
            Self::Enrolled { ca, .. } | Self::Given { ca, .. } => Some(ca),
            Self::Off | Self::Own => None,
        }
    }
}

impl GatewayTls {
    /// The CA that the context holds.
    pub fn ca(&self) -> Option<&CaBundle> {
        match self {
            Self::Enrolled { ca, .. } => Some(ca),
            Self::Off => None,
        }
    }
}

impl SiteTrust {
    /// The CA that the context holds.
    pub fn ca(&self) -> Option<&CaBundle> {
        match self {
            Self::Given(ca) => Some(ca),
            Self::Off | Self::Pinned(_) | Self::FirstUse => None,
        }
    }
}
