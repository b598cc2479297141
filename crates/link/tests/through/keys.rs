//! The key of a SuperNode, and what it signs: the time, as it is.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use onefed_flower::Transport;
use onefed_flower::signature;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::rng::T;

/// What precedes the point in the SubjectPublicKeyInfo of a P-256 key.
const SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

pub struct Key {
    pair: EcdsaKeyPair,
    pub pem: String,
}

impl Key {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ALGORITHM, document.as_ref(), &random).unwrap();
        let text = STANDARD.encode([SPKI, pair.public_key().as_ref()].concat());
        let (begin, end) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");
        let pem = format!("{begin}\n{}\n{}\n{end}\n", &text[..64], &text[64..]);
        Self { pair, pem }
    }

    /// The headers of a call that is made now.
    pub fn headers(&self, transport: Transport) -> HeaderMap {
        let time = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap();
        let signature = self.pair.sign(&SystemRandom::new(), time.as_bytes()).unwrap();
        let (key_name, sign_name) = match transport {
            Transport::Grpc => ("flwr-public-key-bin", "flwr-signature-bin"),
            Transport::Http => ("flwr-public-key", "flwr-signature"),
        };
        let value = |bytes: &[u8]| HeaderValue::from_str(&STANDARD.encode(bytes)).unwrap();
        HeaderMap::from_iter([
            (HeaderName::from_static(key_name), value(self.pem.as_bytes())),
            (HeaderName::from_static(sign_name), value(signature.as_ref())),
            (HeaderName::from_static("flwr-timestamp"), HeaderValue::from_str(&time).unwrap()),
        ])
    }
}

/// When a call was signed, in the time of the SuperLink model, if it was.
pub fn signed_at(headers: &HeaderMap) -> Option<T> {
    let signed = signature::verify(headers)?;
    let age = SystemTime::now().duration_since(signed.at).unwrap_or_default();
    Some(crate::now().saturating_sub(age.as_micros() as T))
}
