//! The signature that every Fleet call of a SuperNode carries, read and checked without SuperLink.
//!
//! A SuperNode signs nothing but the time: ECDSA with SHA-256 over the text of `flwr-timestamp`, by the key that it
//! sends along. So a good signature says that the holder of the key made a call at that time, not which call. Whether
//! the key belongs to the node that the body names is for the caller to know, and so is how old a time may be
//! (SuperLink takes -5 to +305 s).

use std::time::SystemTime;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::messages::{BASE64, signing_key};

const TIMESTAMP_HEADER: &str = "flwr-timestamp";
/// The names of the key and of the signature in gRPC, then those in HTTP.
const HEADERS: [(&str, &str); 2] =
    [("flwr-public-key-bin", "flwr-signature-bin"), ("flwr-public-key", "flwr-signature")];

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// What precedes the uncompressed point (a byte 4, then x and y) in the SubjectPublicKeyInfo of a key, by curve. Flower
/// makes P-384 keys; an operator may register one of another curve, of which P-256 is the usual one.
const CURVES: [(&[u8], usize, &EcdsaVerificationAlgorithm); 2] = [
    (b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00", 97, &ECDSA_P384_SHA256_ASN1),
    (b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00", 65, &ECDSA_P256_SHA256_ASN1),
];

/// Who made a call, and when, as a good signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The public key, as the headers have it (PEM text, SubjectPublicKeyInfo): compare it with a key that SuperLink
    /// has accepted.
    pub key_pem: String,
    /// When, by the clock of the SuperNode.
    pub at: SystemTime,
}

/// When the call was signed, by the clock of the SuperNode and unchecked: `flwr-timestamp`, in both transports. `None`
/// unless there is exactly one, with an offset from UTC.
pub fn signed_at(headers: &HeaderMap) -> Option<SystemTime> {
    let text = only(headers, TIMESTAMP_HEADER)?.to_str().ok()?;
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// Checks the signature of a call against the key in its own headers. `None` where anything is missing, unreadable, twice
/// there (a hop and SuperLink could read different ones) or wrong; such a call can still be passed on, for SuperLink to
/// judge.
pub fn verify(headers: &HeaderMap) -> Option<Signed> {
    let (signed, signature) = claim(headers)?;
    let signature = BASE64.decode(signature.as_bytes()).ok()?;
    let (algorithm, point) = point(&signed.key_pem)?;
    let timestamp = only(headers, TIMESTAMP_HEADER)?;
    UnparsedPublicKey::new(algorithm, point).verify(timestamp.as_bytes(), &signature).ok()?;
    Some(signed)
}

/// What the headers claim, unchecked: for a caller who has proven lately that this key is theirs. `None` where anything
/// is missing, unreadable or twice there.
pub fn claimed(headers: &HeaderMap) -> Option<Signed> {
    claim(headers).map(|(signed, _)| signed)
}

/// What the headers claim, and the signature.
fn claim(headers: &HeaderMap) -> Option<(Signed, &HeaderValue)> {
    let at = signed_at(headers)?;
    let present =
        |(key, signature): &&(&str, &str)| headers.contains_key(*key) || headers.contains_key(*signature);
    let mut dialects = HEADERS.iter().filter(present);
    let ((key, signature), None) = (dialects.next()?, dialects.next()) else { return None };
    only(headers, key)?;
    let key_pem = signing_key(headers)?;
    Some((Signed { key_pem, at }, only(headers, signature)?))
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The curve of a public key, and its uncompressed point.
fn point(pem: &str) -> Option<(&'static EcdsaVerificationAlgorithm, Vec<u8>)> {
    let inner = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let text: String = inner.split_ascii_whitespace().collect();
    let der = BASE64.decode(text).ok()?;
    CURVES.iter().find_map(|(prefix, length, algorithm)| {
        let point = der.strip_prefix(*prefix)?;
        (point.len() == *length).then(|| (*algorithm, point.to_vec()))
    })
}

#[cfg(test)]
mod tests;
