//! CAs of an https endpoint, and what a handshake that failed means.

use rustls::{AlertDescription, CertificateError};
use std::error::Error as _;

/// The certificates in a PEM text. All are trusted, and nothing else is.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, String> {
    let certificates = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|_| "its CA cannot be read: it has to be one or more certificates in PEM".to_owned())?;
    if certificates.is_empty() {
        return Err("its CA has no certificate in it (looked for -----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(certificates)
}

/// What is wrong when `error` is about TLS. `own_ca` says whether the operator named a CA.
pub(crate) fn diagnosis(error: &reqwest::Error, own_ca: bool) -> Option<String> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(tls) = tls_error(inner) {
            return Some(explain(tls, own_ca));
        }
        cause = inner.source();
    }
    None
}

/// An io::Error does not show what it holds as its source, but the source of that; and it may hold another one.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn explain(error: &rustls::Error, own_ca: bool) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => certificate(why, own_ca),
        rustls::Error::InvalidMessage(_) => {
            "what answers does not speak TLS: is the endpoint http:// instead of https://?".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks for a client certificate, which onefed does not have".to_owned()
        }
        other => other.to_string(),
    }
}

fn certificate(why: &CertificateError, own_ca: bool) -> String {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature if own_ca => {
            "its certificate is not signed by the CA that was given for this zone: is it the right CA?".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by a CA that this machine does not trust: give that CA as `ca` of the zone"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name than the endpoint's: {why}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired: {why}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet, or this machine's clock is slow: {why}")
        }
        other => format!("its certificate is bad: {other}"),
    }
}
