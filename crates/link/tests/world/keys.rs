//! What SuperNodes sign: a timestamp, and nothing else. The world's keys are names, its signatures say who made them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use onefed_flower::Transport;

use crate::rng::{S, T};

/// 2026-01-01, in seconds since 1970: where every world's wall clock begins.
pub const EPOCH: u64 = 1_767_225_600;

/// The public key with this number, as Flower would send it.
pub fn pem(key: u32) -> String {
    format!("-----BEGIN PUBLIC KEY-----\nkey{key}\n-----END PUBLIC KEY-----\n")
}

/// The headers of a call that the owner of a key signs when its clock shows this time.
pub fn headers(transport: Transport, key: u32, wall: T) -> HeaderMap {
    let (seconds, micros) = (wall / S, wall % S);
    let (day, hour, minute) = (1 + seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let time = format!("2026-01-{day:02}T{hour:02}:{minute:02}:{:02}.{micros:06}+00:00", seconds % 60);
    let (key_name, sign_name) = match transport {
        Transport::Grpc => ("flwr-public-key-bin", "flwr-signature-bin"),
        Transport::Http => ("flwr-public-key", "flwr-signature"),
    };
    let mut headers = HeaderMap::with_capacity(4);
    let value = |text: &[u8]| HeaderValue::from_str(&STANDARD.encode(text)).unwrap();
    headers.insert(HeaderName::from_static(key_name), value(pem(key).as_bytes()));
    headers.insert(HeaderName::from_static(sign_name), value(format!("{key} signs {time}").as_bytes()));
    headers.insert(HeaderName::from_static("flwr-timestamp"), HeaderValue::from_str(&time).unwrap());
    if transport == Transport::Http {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    }
    headers
}

/// When the headers were signed, in the world's time. `None` for headers that nobody signed like that.
pub fn signed_at(headers: &HeaderMap) -> Option<T> {
    let time = headers.get("flwr-timestamp")?.to_str().ok()?;
    let sign = headers.get("flwr-signature-bin").or_else(|| headers.get("flwr-signature"))?;
    let sign = STANDARD.decode(sign.as_bytes()).ok()?;
    let key = onefed_flower::messages::signing_key(headers)?;
    let number = key.split("\nkey").nth(1)?.split('\n').next()?;
    if sign != format!("{number} signs {time}").as_bytes() {
        return None;
    }
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    let seconds = (part(8..10)? - 1) * 86_400 + part(11..13)? * 3600 + part(14..16)? * 60 + part(17..19)?;
    Some(seconds * S + part(20..26)?)
}
