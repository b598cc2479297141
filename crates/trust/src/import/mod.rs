//! A certificate from an operator's own PKI: CA, server certificate with its chain, private key, in whatever form they
//! were given, checked and brought into one form.
//!
//! [`check`] reads text and bytes only; no file, no clock, no network. It tells everything that is wrong at once, each
//! as a [`Finding`] with a stable code and the name under which the input was given (a variable or a file). Accepted
//! are PEM, base64 of PEM or of DER, the same encoded twice, and DER; keys in PKCS#8, PKCS#1 and SEC1.

mod certificate;
mod dates;
mod decode;
mod der;
mod finding;
mod key;
mod path;
mod purpose;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

pub use finding::{Finding, Severity};

use crate::import::certificate::Origin;
use crate::import::finding::Findings;
use crate::import::path::Path;
use crate::{CertificateInfo, SanName, SecretPem};

/// One input: its bytes, and the name by which findings call it, such as `FL_SSL_CERTFILE` or a file's name.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// What the operator calls it.
    pub name: &'a str,
    /// What was given, in any of the accepted forms.
    pub bytes: &'a [u8],
}

/// What is to be checked, and against what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The CA certificate, or several.
    pub ca: Given<'a>,
    /// The server certificate with its intermediates, in any order.
    pub certificate: Given<'a>,
    /// The private key of the server certificate.
    pub key: Given<'a>,
    /// The names and addresses that peers dial; each must be in the server certificate. Empty: not checked.
    pub dialled: &'a [SanName],
    /// Whether gRPC clients of Flower will see this certificate; they fail every handshake with an Ed25519 one.
    pub grpc_clients: bool,
    /// The time to check dates against.
    pub now: SystemTime,
}

/// A set that passed every check, in the form in which TLS takes it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The CA certificates in PEM: what peers trust.
    pub ca_pem: String,
    /// The server certificate and then its intermediates, in the order of signing, in PEM. Without the CA.
    pub chain_pem: String,
    /// The private key in PEM, as PKCS#8.
    pub key_pem: SecretPem,
    /// The server certificate.
    pub leaf: CertificateInfo,
    /// The CA certificate that the chain ends at.
    pub anchor: CertificateInfo,
}

/// The outcome of [`check`].
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that was noticed: first what cannot be read, then the chain, then each certificate, then the key.
    pub findings: Vec<Finding>,
    /// The set; only if no finding is an error.
    pub imported: Option<Imported>,
}

impl Report {
    /// The findings that stand in the way.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }
}

/// Checks a set and normalises it.
pub fn check(request: &Request<'_>) -> Report {
    let mut findings = Findings::default();
    let imported = checked(request, &mut findings);
    let good = !findings.0.iter().any(|finding| finding.severity == Severity::Error);
    Report { findings: findings.0, imported: imported.filter(|_| good) }
}

/// `None` wherever an error was found that leaves nothing to go on with.
fn checked(request: &Request<'_>, findings: &mut Findings) -> Option<Imported> {
    let ca_der = read::certificates(&request.ca, findings);
    let chain_der = read::certificates(&request.certificate, findings);
    let key = read::key(&request.key, findings);
    let ca = certificate::parse(&request.ca, Origin::Ca, ca_der.as_deref()?, findings);
    let chain = certificate::parse(&request.certificate, Origin::Chain, chain_der.as_deref()?, findings);
    let (ca, chain) = (ca?, chain?);
    let leaf = path::leaf(&chain, &ca, key.as_ref(), findings)?;
    let path = Path::find(leaf, &chain, &ca, findings);
    path::order(request, leaf, &chain, path.as_ref(), findings);
    purpose::leaf(request, leaf, findings);
    for cert in path::above(leaf, &chain, &ca, path.as_ref()) {
        purpose::issuer(cert, findings);
    }
    path::lengths(path.as_ref(), findings);
    dates::check(leaf, &leaf.called_server(), request.now, findings);
    for cert in path::above(leaf, &chain, &ca, path.as_ref()) {
        dates::check(cert, &cert.called(), request.now, findings);
    }
    purpose::names(request, leaf, findings);
    let key = key::belongs(request, key, leaf, &ca, findings);
    let (path, key) = (path?, key?);
    let imported = Imported {
        ca_pem: path::anchors(&ca, findings)
            .iter()
            .map(|cert| decode::pem("CERTIFICATE", cert.der))
            .collect(),
        chain_pem: std::iter::once(leaf)
            .chain(path.intermediates.iter().copied())
            .map(|cert| decode::pem("CERTIFICATE", cert.der))
            .collect(),
        key_pem: key.pem,
        leaf: leaf.info.clone(),
        anchor: path.anchor.info.clone(),
    };
    path.last_word(leaf, request, findings);
    Some(imported)
}

impl fmt::Debug for Given<'_> {
    /// One of the inputs is a key, so none is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given({}, {} bytes)", self.name, self.bytes.len())
    }
}
