//! What a failed handshake means, in words that say which side to look at.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls, InvalidMessage, PeerIncompatible};

/// Why a handshake failed. `Display` gives one clause for a log or a status, [`Diagnosis::hint`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Diagnosis {
    /// The peer's certificate does not chain to the given CA.
    #[error("the peer's certificate is signed by another CA than the given one")]
    OtherCa,
    /// The peer's certificate is in order, but not for the name or address that was dialled.
    #[error("the peer's certificate is not for the name or address that was dialled")]
    OtherName,
    /// The peer's certificate has ended.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate has not begun.
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// A signature does not fit: the peer's key is not its certificate's, or the certificate is signed by a CA that has
    /// the name of the given one and another key.
    #[error(
        "a signature is wrong: the peer's key is another certificate's, or its CA was made anew under the same name"
    )]
    BadSignature,
    /// The peer's certificate is not for what it is used for.
    #[error("the peer's certificate is not made for this purpose")]
    Purpose,
    /// What arrived is no TLS.
    #[error("the peer does not speak TLS")]
    Plaintext,
    /// No version of TLS that both accept.
    #[error("the peer speaks no version of TLS that is accepted here")]
    Version,
    /// The peer broke off and said why.
    #[error("the peer broke off the handshake: {0}")]
    Refused(Refusal),
    /// The peer hung up without a word.
    #[error("the peer closed the connection during the handshake")]
    Closed,
}

/// What a peer said that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It trusts another CA.
    #[error("it does not know the CA of this side's certificate")]
    UnknownCa,
    /// This side's certificate has ended, or not begun.
    #[error("it says that this side's certificate is out of its dates")]
    Dates,
    /// This side's certificate is wrong otherwise, such as by its name.
    #[error("it does not take this side's certificate")]
    Certificate,
    /// It found a signature wrong, see [`Diagnosis::BadSignature`].
    #[error("it says that this side's key, certificate and CA are not of the same set")]
    Key,
    /// It asks for a client certificate.
    #[error("it wants a client certificate")]
    ClientCertificateWanted,
    /// No version of TLS that both accept.
    #[error("it speaks no version of TLS that is accepted here")]
    Version,
    /// Anything else.
    #[error("it gives no reason that helps")]
    Other,
}

impl Diagnosis {
    /// Reads what TLS says of itself inside an error of reading or writing. `None` if the error is not about TLS, or
    /// says more in its own words than any diagnosis.
    pub fn of(why: &io::Error) -> Option<Self> {
        match why.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
            Some(tls) => Self::of_tls(tls),
            None if why.kind() == io::ErrorKind::UnexpectedEof => Some(Self::Closed),
            None => None,
        }
    }

    /// The same for an error of the TLS library.
    pub fn of_tls(why: &Tls) -> Option<Self> {
        use CertificateError as C;
        Some(match why {
            Tls::InvalidCertificate(C::UnknownIssuer) => Self::OtherCa,
            Tls::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => Self::OtherName,
            Tls::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => Self::Expired,
            Tls::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => Self::NotYetValid,
            Tls::InvalidCertificate(C::BadSignature) => Self::BadSignature,
            Tls::InvalidCertificate(C::InvalidPurpose | C::InvalidPurposeContext { .. }) => Self::Purpose,
            Tls::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::Plaintext,
            Tls::PeerIncompatible(
                PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Clients before TLS 1.2 do not send it.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::Version,
            Tls::AlertReceived(alert) => Self::Refused(Refusal::of(*alert)),
            _ => return None,
        })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherCa | Self::Refused(Refusal::UnknownCa) => {
                "give both sides the same CA (FL_SSL_CA_CERTFILE)"
            }
            Self::OtherName | Self::Refused(Refusal::Certificate) => {
                "dial a name or address that is in the certificate, or add it (FL_CERT_EXTRA_SAN)"
            }
            Self::Expired | Self::NotYetValid | Self::Refused(Refusal::Dates) => {
                "compare the clocks of both sides, and the dates of the certificate"
            }
            Self::BadSignature | Self::Refused(Refusal::Key) => {
                "install key, certificate and CA of the same set"
            }
            Self::Purpose => "use a certificate made for TLS servers (serverAuth)",
            Self::Plaintext => "set FL_TLS_ENABLED alike on both sides, and check the port",
            Self::Version | Self::Refused(Refusal::Version) => "between onefed's own ends it is TLS 1.3 only",
            Self::Refused(Refusal::ClientCertificateWanted) => {
                "this endpoint is for holders of an operator's key"
            }
            Self::Refused(Refusal::Other) | Self::Closed => "look at the log of the other side",
        }
    }
}

impl Refusal {
    fn of(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::UnknownCA => Self::UnknownCa,
            AlertDescription::CertificateExpired => Self::Dates,
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => Self::Certificate,
            AlertDescription::DecryptError => Self::Key,
            AlertDescription::CertificateRequired => Self::ClientCertificateWanted,
            AlertDescription::ProtocolVersion => Self::Version,
            _ => Self::Other,
        }
    }
}
