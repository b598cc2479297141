//! Vectors made by `sign_message` and `public_key_to_bytes` of the real wheels, and bytes of nobody.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// Made by a release: its key, then two times and their signatures, all as HTTP has them.
struct Vector {
    key: &'static str,
    times: [(&'static str, &'static str); 2],
}

const OF_1_31: Vector = Vector {
    key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUhZd0VBWUhLb1pJemowQ0FRWUZLNEVFQUNJRFlnQUU4THQ5Tzgxd1VWMjFKZjNNSndXUzRWbXptOHZZVmtVKwoyU0VUNkxIUzJ2NjN3d3ZEK1M0NFB4WnN1NHRVNjBKWUxEZXVWcC9mMUw1TTR6aHI0TDhHM0RhWFRSZHpmMk5SClNrdTk4bnFqVEI0RWExTnVBbTB2NEFaVXV4SHNMazRHCi0tLS0tRU5EIFBVQkxJQyBLRVktLS0tLQo=",
    times: [
        (
            "2026-11-22T09:44:21.468489+00:00",
            "MGUCMQDwhXiMskFseHtEMP6CkqS4cR84xB+B33J0NwuAJULCjRDkVys8NnciZyj8M9G0kksCMCIqAY2V9TdEqV2IKM6T1VGVaztmLOu/D70OEXou/HJr9Mf1+j71ELg6eK1dTDkttQ==",
        ),
        (
            "2026-11-22T09:44:21+00:00",
            "MGUCMFe0szsF+FKVN0Fx5hSa4U15CS0+5lDcmbz4O4P2evBcAqpMumq06l3G+ATJBmfL7AIxAJpZ9Ug91CO3NoYE24cp7MoeDglyR4fA7fdonMg0PSPM2N6aUHNafdiGIT3F2LMImA==",
        ),
    ],
};

const OF_1_41: Vector = Vector {
    key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUhZd0VBWUhLb1pJemowQ0FRWUZLNEVFQUNJRFlnQUUvYTBEeVZwT2QvWXgydVRoSG00NjJmd2pkRVZQNGtGOAoxZlVyOUtlZnJVTHRCR0pzTlBJeTcyTmQxczlrTmJCMWdKUUxTVDY5WCtuNm13RUt3K3FWeENIZ3NZT0VGZ1J0CjhPUjA3aFlYNWM3RGdUTFhDWUJTNlZhSkI4dkY4RXRGCi0tLS0tRU5EIFBVQkxJQyBLRVktLS0tLQo=",
    times: [
        (
            "2026-11-22T09:44:22.930343+00:00",
            "MGUCMAQ7pdnJVK+aLkJDD/hWGLS9Klstxy2ICIjun2VbxaDYahjJDi6xMgkKe5VGHM/0mQIxAPE9z6CNKeXghKXIccI71k2iMwc9iI+rQn1ds+CUVJi+hoEL/uzVs7Mt2SPc34dvKA==",
        ),
        (
            "2026-11-22T09:44:22+00:00",
            "MGUCMQC1BRd0DWfedZwJpM7KtaVl2p1/Pqr+7U8xjH+MSulRAhfU5WPAiSEwvNLRDrDNGl0CMBRnuEhYQeLbdlrLl68Vw3dIT7DBSbQULfRKWOf2YjrvB/uenH6PUWBieWrp72h+gw==",
        ),
    ],
};

/// Headers from pairs; a name may come more than once.
fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

/// The headers of a call in a transport: 0 is gRPC, 1 is HTTP.
fn call<'a>(dialect: usize, key: &'a str, at: &'a str, signature: &'a str) -> [(&'static str, &'a str); 3] {
    let (key_name, signature_name) = HEADERS[dialect];
    [(key_name, key), (TIMESTAMP_HEADER, at), (signature_name, signature)]
}

#[test]
fn what_real_flower_signed_is_good_in_both_transports_with_and_without_padding() {
    for vector in [OF_1_31, OF_1_41] {
        for (at, signature) in vector.times {
            for (dialect, padded) in [(0, false), (0, true), (1, true)] {
                let cut = |text: &'static str| if padded { text } else { text.trim_end_matches('=') };
                let headers = headers(&call(dialect, cut(vector.key), at, cut(signature)));
                let signed = verify(&headers).unwrap();
                assert_eq!(Some(&signed.key_pem), signing_key(&headers).as_ref());
                assert!(signed.key_pem.starts_with(PEM_BEGIN));
                assert_eq!(Some(signed.at), signed_at(&headers), "{at}");
            }
        }
    }
}

#[test]
fn another_time_key_or_signature_is_refused() {
    let [(at, signature), (other_at, other_signature)] = OF_1_41.times;
    let key = OF_1_41.key;
    for (key, at, signature) in [
        (key, other_at, signature),
        (key, at, other_signature),
        (OF_1_31.key, at, signature),
        (key, at, ""),
        ("", at, signature),
        (key, "", signature),
        // The same moment in other words is not what was signed.
        (key, "2026-11-22T10:44:22.930343+01:00", signature),
    ] {
        for dialect in [0, 1] {
            assert_eq!(verify(&headers(&call(dialect, key, at, signature))), None, "{key} {at} {signature}");
        }
    }
}

#[test]
fn headers_that_two_readers_could_read_differently_are_refused() {
    let (at, signature) = OF_1_41.times[0];
    let good = call(1, OF_1_41.key, at, signature);
    assert!(verify(&headers(&good)).is_some());
    for missing in 0..good.len() {
        let rest: Vec<_> =
            good.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, pair)| *pair).collect();
        assert_eq!(verify(&headers(&rest)), None, "{:?}", good[missing]);
        let twice: Vec<_> = good.iter().chain([&good[missing]]).copied().collect();
        assert_eq!(verify(&headers(&twice)), None, "{:?}", good[missing]);
    }
    for other in call(0, OF_1_31.key, at, OF_1_31.times[0].1) {
        let both: Vec<_> = good.iter().chain([&other]).copied().collect();
        assert_eq!(verify(&headers(&both)), None, "{other:?}");
    }
}

#[test]
fn times_are_read_as_python_writes_them() {
    let read = |text: &str| signed_at(&headers(&[(TIMESTAMP_HEADER, text)]));
    let at = |micros| Some(UNIX_EPOCH + Duration::from_micros(micros));
    assert_eq!(read("2026-11-22T09:44:22+00:00"), at(1_795_340_662_000_000));
    assert_eq!(read("2026-11-22T09:44:22.930343+00:00"), at(1_795_340_662_930_343));
    assert_eq!(read("2026-11-22T11:44:22.930343+02:00"), at(1_795_340_662_930_343));
    assert_eq!(read("2026-11-22T04:14:22-05:30"), at(1_795_340_662_000_000));
    assert_eq!(read("1969-12-31T23:59:59+00:00"), Some(UNIX_EPOCH - Duration::from_secs(1)));
    for bad in [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T09:44:22",
        "2026-02-30T09:44:22+00:00",
        "2026-11-22T09:44:22+00:00 ",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
    assert_eq!(signed_at(&HeaderMap::new()), None);
}

#[test]
fn a_key_of_the_other_curve_works_and_other_kinds_do_not() {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
    let at = "2026-11-22T09:44:22+00:00";
    let signature = BASE64.encode(pair.sign(&random, at.as_bytes()).unwrap());
    let pem = |der: &[u8]| BASE64.encode(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", BASE64.encode(der)));
    let der = [CURVES[1].0, pair.public_key().as_ref()].concat();
    assert!(verify(&headers(&call(1, &pem(&der), at, &signature))).is_some());
    let truncated = &der[..der.len() - 1];
    let ed25519 = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &[7; 32]].concat();
    for bad in [truncated, &ed25519, &[]] {
        assert_eq!(verify(&headers(&call(1, &pem(bad), at, &signature))), None);
    }
}

proptest! {
    #[test]
    fn no_headers_panic(
        dialect in 0_usize..2,
        key in prop_oneof![Just(OF_1_41.key.to_owned()), "[ -~]{0,60}", any::<Vec<u8>>().prop_map(|b| BASE64.encode(b))],
        at in prop_oneof![Just(OF_1_41.times[0].0.to_owned()), "[0-9T:.+-]{0,40}", "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}"],
        signature in prop_oneof![any::<Vec<u8>>().prop_map(|b| BASE64.encode(b)), "[ -~]{0,60}"],
    ) {
        let headers = headers(&call(dialect, &key, &at, &signature));
        prop_assert_eq!(verify(&headers), None);
        let _ = signed_at(&headers);
    }

    #[test]
    fn one_changed_byte_of_a_signature_is_refused(at in 0_usize..103, bit in 0_u32..8) {
        let (time, signature) = OF_1_31.times[0];
        let mut bytes = BASE64.decode(signature).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        let changed = BASE64.encode(bytes);
        prop_assert_eq!(verify(&headers(&call(0, OF_1_31.key, time, &changed))), None);
    }
}
