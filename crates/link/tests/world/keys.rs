//! The keys of SuperNodes, and what they sign: a timestamp, and nothing else. Keys and signatures are real, made once per
//! process and thread; P-256, since nothing here signs with SHA-256 on Flower's own P-384.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use onefed_flower::Transport;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _};

use crate::rng::{S, T};

/// 2026-01-01, in seconds since 1970: where every world's wall clock begins.
pub const EPOCH: u64 = 1_767_225_600;
/// SuperNodes sign every call; here the same signature serves for a moment, since making one and checking it is slow: where
/// nothing depends on its time, …
pub const SLOT: T = 5 * S;
/// … where clocks are off, …
pub const SHORT: T = S / 2;
/// … and where calls come late, so that their times say which came first.
pub const EACH: T = S / 1000;
/// What precedes the point in the SubjectPublicKeyInfo of a P-256 key.
const SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

static KEYS: Mutex<Vec<(Vec<u8>, String)>> = Mutex::new(Vec::new());

thread_local! {
    static SIGNED: RefCell<HashMap<(Transport, u32, T), HeaderMap>> = RefCell::default();
    static WHEN: RefCell<HashMap<HeaderValue, T>> = RefCell::default();
}

fn key(number: u32) -> (Vec<u8>, String) {
    let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    while keys.len() <= number as usize {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ALGORITHM, document.as_ref(), &random).unwrap();
        let text = STANDARD.encode([SPKI, pair.public_key().as_ref()].concat());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
            &text[..64],
            &text[64..]
        );
        keys.push((document.as_ref().to_vec(), pem));
    }
    keys[number as usize].clone()
}

/// The public key with this number, as Flower would send it.
pub fn pem(number: u32) -> String {
    key(number).1
}

/// The headers of a call that the owner of a key signs when its clock shows this time, to so much.
pub fn headers(transport: Transport, number: u32, wall: T, slot: T) -> HeaderMap {
    let wall = wall / slot * slot;
    SIGNED.with_borrow_mut(|signed| {
        signed.entry((transport, number, wall)).or_insert_with(|| sign(transport, number, wall)).clone()
    })
}

fn sign(transport: Transport, number: u32, wall: T) -> HeaderMap {
    let (seconds, micros) = (wall / S, wall % S);
    let (day, hour, minute) = (1 + seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let time = format!("2026-01-{day:02}T{hour:02}:{minute:02}:{:02}.{micros:06}+00:00", seconds % 60);
    let (key_name, sign_name) = match transport {
        Transport::Grpc => ("flwr-public-key-bin", "flwr-signature-bin"),
        Transport::Http => ("flwr-public-key", "flwr-signature"),
    };
    let random = SystemRandom::new();
    let (document, pem) = key(number);
    let pair = EcdsaKeyPair::from_pkcs8(&ALGORITHM, &document, &random).unwrap();
    let signature = pair.sign(&random, time.as_bytes()).unwrap();
    let value = |bytes: &[u8]| HeaderValue::from_str(&STANDARD.encode(bytes)).unwrap();
    let signature = value(signature.as_ref());
    WHEN.with_borrow_mut(|when| when.insert(signature.clone(), wall));
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(HeaderName::from_static(key_name), value(pem.as_bytes()));
    headers.insert(HeaderName::from_static(sign_name), signature);
    headers.insert(HeaderName::from_static("flwr-timestamp"), HeaderValue::from_str(&time).unwrap());
    if transport == Transport::Http {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    }
    headers
}

/// When the headers were signed, in the world's time. `None` for headers that nobody signed.
pub fn signed_at(headers: &HeaderMap) -> Option<T> {
    let sign = headers.get("flwr-signature-bin").or_else(|| headers.get("flwr-signature"))?;
    WHEN.with_borrow(|when| when.get(sign).copied())
}
