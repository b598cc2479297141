//! Reading certificates: names, dates, fingerprint.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Error, Result, SanName};

/// The SHA-256 of a certificate's DER encoding, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of_der(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::malformed("the fingerprint", "expected sha256: and 64 hexadecimal digits");
        let hex =
            text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// What onefed wants to know about a certificate.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    /// The pin.
    pub fingerprint: Fingerprint,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// The common name of the subject, empty if there is none.
    pub common_name: String,
    /// The organisational unit of the subject; says the role of a client certificate.
    pub unit: Option<String>,
    /// The subject alternative names.
    pub names: Vec<SanName>,
    /// The subject's public key (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_pem(pem: &str) -> Result<Self> {
        Self::from_der(&first_der(pem)?)
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let (_, cert) =
            X509Certificate::from_der(der).map_err(|why| Error::malformed("the certificate", why))?;
        let text = |mut names: Box<dyn Iterator<Item = &str> + '_>| names.next().map(str::to_owned);
        let subject = cert.subject();
        Ok(Self {
            fingerprint: Fingerprint::of_der(der),
            not_before: moment(cert.validity().not_before.timestamp()),
            not_after: moment(cert.validity().not_after.timestamp()),
            common_name: text(Box::new(subject.iter_common_name().filter_map(|n| n.as_str().ok())))
                .unwrap_or_default(),
            unit: text(Box::new(subject.iter_organizational_unit().filter_map(|n| n.as_str().ok()))),
            names: names(&cert),
            public_key: cert.public_key().raw.to_vec(),
        })
    }

    /// Whether the certificate is in force at a time.
    ///
    /// # Errors
    /// [`Error::Dates`], which says on which side it is not.
    pub fn in_force(&self, now: SystemTime) -> Result<()> {
        if now < self.not_before {
            let why = "not yet valid: the clock of this machine or of the signer is wrong";
            return Err(Error::Dates(why.into()));
        }
        if now > self.not_after {
            return Err(Error::Dates("expired".into()));
        }
        Ok(())
    }

    /// Whole days until the certificate ends; negative when it has.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        let days = |span: Duration| i64::try_from(span.as_secs() / 86_400).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(past) => -days(past.duration()) - 1,
        }
    }
}

/// The addresses and DNS names that a certificate is for.
fn names(cert: &X509Certificate<'_>) -> Vec<SanName> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(SanName::Dns(name.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| SanName::Ip(b.into())),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| SanName::Ip(b.into())),
            _ => None,
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

/// The DER of the first certificate in a PEM text.
pub(crate) fn first_der(pem: &str) -> Result<Vec<u8>> {
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|why| Error::malformed("the certificate", why))?;
        if block.label == "CERTIFICATE" {
            return Ok(block.contents);
        }
    }
    Err(Error::malformed("the certificate", "no CERTIFICATE block in the text"))
}

/// A time from seconds since the epoch; times before it are not used by any certificate and read as the epoch.
fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fingerprints_round_trip_and_bad_ones_are_refused() {
        let print = Fingerprint::of_der(b"x");
        assert_eq!(print.to_string().parse::<Fingerprint>().unwrap(), print);
        for bad in ["", "sha256:", "sha256:zz", "md5:00", &print.to_string()[..70], &"sha256:é".repeat(8)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(-----BEGIN CERTIFICATE-----\n)?.*(\n-----END CERTIFICATE-----)?", der: Vec<u8>) {
            let _ = CertificateInfo::from_pem(&text);
            let _ = CertificateInfo::from_der(&der);
        }
    }
}
