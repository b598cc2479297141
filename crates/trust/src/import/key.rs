//! Private keys: which kind, in which encoding, and whose.

use std::fmt;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Request;
use super::certificate::Cert;
use super::decode::{self, Block};
use super::der::{self, CONTEXT_0, INTEGER, OCTETS, OID, SEQUENCE, expect};
use super::finding::Findings;
use crate::SecretPem;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Kinds that are known by name only, to be refused by it.
const OTHERS: [(&[u8], &str); 6] = [
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSASSA-PSS"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (&[0x2b, 0x65, 0x6e], "X25519"),
];
/// What can sign a TLS handshake here.
pub(super) const KINDS_HINT: &str = "use RSA with 2048 to 4096 bits, P-256, P-384 or Ed25519";

/// What kind of key, private or public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With the number of bits of its modulus.
    Rsa(usize),
    P256,
    P384,
    Ed25519,
    /// Not of use here; the name, or the OID as it is encoded.
    Other(String),
}

/// A private key that can be used.
pub(super) struct Key {
    /// PKCS#8.
    pub(super) pem: SecretPem,
    /// SubjectPublicKeyInfo in DER.
    public: Vec<u8>,
}

/// Why a key cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyFault {
    Encrypted,
    Damaged,
    Kind(Kind),
}

impl Kind {
    /// The kind of a public key.
    pub(super) fn of(public: &SubjectPublicKeyInfo<'_>) -> Self {
        if let Ok(PublicKey::RSA(rsa)) = public.parsed()
            && public.algorithm.algorithm.as_bytes() == RSA
        {
            return Self::Rsa(bits(rsa.modulus));
        }
        let curve = public.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        Self::named(public.algorithm.algorithm.as_bytes(), curve.as_ref().map(|oid| oid.as_bytes()))
    }

    fn named(algorithm: &[u8], curve: Option<&[u8]>) -> Self {
        match (algorithm, curve) {
            (EC, Some(P256)) => Self::P256,
            (EC, Some(P384)) => Self::P384,
            (EC, None) => Self::Other("EC with a curve that has no name".to_owned()),
            (ED25519, _) => Self::Ed25519,
            (oid, curve) => {
                let oid = curve.filter(|_| oid == EC).unwrap_or(oid);
                let known = OTHERS.iter().find(|(known, _)| *known == oid);
                let hex = || oid.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
                Self::Other(known.map_or_else(|| format!("OID {}", hex()), |(_, name)| (*name).to_owned()))
            }
        }
    }

    /// Whether a server can sign handshakes with such a key.
    pub(super) fn can_serve(&self) -> bool {
        match self {
            Self::Rsa(bits) => (2048..=4096).contains(bits),
            Self::P256 | Self::P384 | Self::Ed25519 => true,
            Self::Other(_) => false,
        }
    }

    /// Whether signatures of such a CA can be checked.
    pub(super) fn can_certify(&self) -> bool {
        match self {
            Self::Rsa(bits) => (2048..=8192).contains(bits),
            other => other.can_serve(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA with {bits} bits"),
            Self::P256 => f.write_str("P-256"),
            Self::P384 => f.write_str("P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl Key {
    /// Reads a key in any of its encodings.
    pub(super) fn read(block: &Block) -> Result<Self, KeyFault> {
        if block.encrypted || block.label == "ENCRYPTED PRIVATE KEY" || is_encrypted(&block.der) {
            return Err(KeyFault::Encrypted);
        }
        let (kind, pkcs8) = as_pkcs8(&block.der).ok_or(KeyFault::Damaged)?;
        if !kind.can_serve() {
            return Err(KeyFault::Kind(kind));
        }
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| KeyFault::Damaged)?;
        let public = key.public_key().ok_or(KeyFault::Damaged)?.to_vec();
        Ok(Self { pem: SecretPem::new(decode::pem("PRIVATE KEY", &pkcs8)), public })
    }
}

/// The key, if it is the one of the server certificate.
pub(super) fn belongs(
    request: &Request<'_>,
    key: Option<Key>,
    leaf: &Cert<'_>,
    ca: &[Cert<'_>],
    findings: &mut Findings,
) -> Option<Key> {
    let key = key?;
    if leaf.has_key(&key) {
        return Some(key);
    }
    let (name, of) = (request.key.name, request.certificate.name);
    if ca.iter().any(|cert| cert.has_key(&key)) {
        let message =
            format!("{name}: this is the private key of the CA, not of the server certificate in {of}.");
        let hint = "take the CA's key away from this machine; give the server's key";
        findings.error("import::key-of-ca", name, message, hint);
    } else {
        let message = format!("{name}: the private key does not belong to the server certificate in {of}.");
        let hint = "give the key that the certificate was made for";
        findings.error("import::key-mismatch", name, message, hint);
    }
    None
}

impl Cert<'_> {
    /// Whether a private key is this certificate's.
    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.info.public_key == key.public
    }
}

/// Whether bytes are a certificate and no key.
pub(super) fn is_certificate(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok()
}

/// An encrypted PKCS#8 key starts with an algorithm where a plain one has its version.
fn is_encrypted(bytes: &[u8]) -> bool {
    let parts = || {
        let (inner, _) = expect(SEQUENCE, bytes)?;
        let (algorithm, rest) = expect(SEQUENCE, inner)?;
        let _ = (expect(OID, algorithm)?, expect(OCTETS, rest)?);
        Some(())
    };
    parts().is_some()
}

/// The kind of a key in PKCS#8, PKCS#1 or SEC1, and the key in PKCS#8.
fn as_pkcs8(bytes: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let (inner, _) = expect(SEQUENCE, bytes)?;
    let (version, rest) = expect(INTEGER, inner)?;
    // Other versions are other things, such as PKCS#12.
    if !matches!(version, [0 | 1]) {
        return None;
    }
    if let Some((algorithm, key)) = expect(SEQUENCE, rest) {
        let (oid, parameters) = expect(OID, algorithm)?;
        let kind = if oid == RSA {
            rsa(expect(OCTETS, key)?.0)?
        } else {
            Kind::named(oid, expect(OID, parameters).map(|(curve, _)| curve))
        };
        return Some((kind, bytes.to_vec()));
    }
    if let Some((secret, rest)) = expect(OCTETS, rest) {
        let curve = expect(CONTEXT_0, rest).and_then(|(curve, _)| expect(OID, curve)).map(|(curve, _)| curve);
        let curve = curve.unwrap_or(if secret.len() > 32 { P384 } else { P256 });
        let wrapped = der::pkcs8(EC, &der::write(OID, curve), bytes);
        return Some((Kind::named(EC, Some(curve)), wrapped));
    }
    Some((rsa(bytes)?, der::pkcs8(RSA, &[0x05, 0x00], bytes)))
}

/// The kind of a PKCS#1 key.
fn rsa(bytes: &[u8]) -> Option<Kind> {
    let (inner, _) = expect(SEQUENCE, bytes)?;
    let (_, rest) = expect(INTEGER, inner)?;
    let (modulus, _) = expect(INTEGER, rest)?;
    Some(Kind::Rsa(bits(modulus)))
}

/// The bits of a positive integer.
fn bits(integer: &[u8]) -> usize {
    let mut digits = integer.iter().skip_while(|digit| **digit == 0);
    let first = digits.next().map_or(0, |digit| 8 - digit.leading_zeros() as usize);
    first + 8 * digits.count()
}
