//! What no tool makes: damaged and hostile inputs. The matrix of what `openssl` makes is in `tests/`.

use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;

use super::*;
use crate::{LeafRequest, RootCa};

fn told(ca: &[u8], certificate: &[u8], key: &[u8]) -> Report {
    let given = |name, bytes| Given { name, bytes };
    let dialled = [SanName::of_host("127.81.0.1")];
    check(&Request {
        ca: given("CA", ca),
        certificate: given("CERT", certificate),
        key: given("KEY", key),
        dialled: &dialled,
        grpc_clients: true,
        now: SystemTime::now(),
    })
}

/// A good set: CA, certificate, key.
fn good() -> (String, String, String) {
    let (now, names) = (SystemTime::now(), [SanName::of_host("127.81.0.1")]);
    let root = RootCa::generate("hospitals", now).unwrap();
    let request = LeafRequest::generate(&names).unwrap();
    let leaf = root.sign_server(&request.csr_pem, &names, now).unwrap();
    (root.cert_pem().to_owned(), leaf, request.key_pem.expose().to_owned())
}

/// Nothing panics, whatever it is; and what is not taken is explained.
fn survives(ca: &[u8], certificate: &[u8], key: &[u8]) {
    let report = told(ca, certificate, key);
    assert!(report.imported.is_some() || report.errors().count() > 0);
    assert!(report.findings.iter().all(|finding| !finding.message.chars().any(char::is_control)));
}

#[test]
fn what_onefed_makes_itself_passes() {
    let (ca, certificate, key) = good();
    let report = told(ca.as_bytes(), certificate.as_bytes(), key.as_bytes());
    assert_eq!(report.findings, []);
    let made = RootCa::generate_for_vm(&"a name that is too long ".repeat(9), SystemTime::now()).unwrap();
    let server = made.issue_server(&[SanName::of_host("127.81.0.1")], SystemTime::now()).unwrap();
    let report =
        told(made.cert_pem().as_bytes(), server.cert_pem.as_bytes(), server.key_pem.expose().as_bytes());
    assert_eq!(report.findings, []);
    assert_eq!(report.imported.unwrap().anchor.common_name.chars().count(), 64);
}

#[test]
fn no_more_certificates_than_any_chain_has() {
    let (ca, _, key) = good();
    let many: String = (0..33).map(|_| good().1).collect();
    let report = told(ca.as_bytes(), many.as_bytes(), key.as_bytes());
    assert_eq!(
        report.findings[0].message,
        "CERT does not contain a valid PEM certificate: it holds 33 certificates, at most 32 are read."
    );
    let large = vec![b'A'; 1 << 20];
    survives(&large, &large, &large);
}

#[test]
fn every_bit_that_is_turned_is_noticed() {
    let (ca, certificate, key) = good();
    let der = crate::certificate::first_der(&certificate).unwrap();
    for place in 0..der.len() {
        let mut damaged = der.clone();
        damaged[place] ^= 0x10;
        let report = told(ca.as_bytes(), &damaged, key.as_bytes());
        assert!(report.imported.is_none(), "byte {place} does not count");
        survives(ca.as_bytes(), &der[..place], key.as_bytes());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(ca: Vec<u8>, certificate: Vec<u8>, key: Vec<u8>) {
        survives(&ca, &certificate, &key);
    }

    #[test]
    fn no_block_panics(label in "[A-Z0-9 ]{0,20}", body in prop::collection::vec(any::<u8>(), 0..200), tail in ".*") {
        let body = BASE64_STANDARD.encode(body);
        for label in [label.as_str(), "CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----{tail}");
            survives(text.as_bytes(), text.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn no_der_panics(start in prop::sample::select(vec![0x30u8, 0x02, 0x04, 0x06, 0xa0]), rest: Vec<u8>) {
        let nested = der::write(der::SEQUENCE, &[der::write(der::INTEGER, &[0]), der::write(start, &rest)].concat());
        let bare = der::write(start, &rest);
        for bytes in [&nested, &bare] {
            survives(bytes, bytes, bytes);
        }
    }

    #[test]
    fn no_damage_to_a_good_set_panics(place in 0usize..3000, value: u8, cut in 0usize..3000) {
        let (ca, certificate, key) = good();
        for input in 0..3 {
            let mut inputs = [ca.clone().into_bytes(), certificate.clone().into_bytes(), key.clone().into_bytes()];
            let length = inputs[input].len();
            inputs[input][place % length] = value;
            survives(&inputs[0], &inputs[1], &inputs[2]);
            inputs[input].truncate(cut % length);
            survives(&inputs[0], &inputs[1], &inputs[2]);
        }
    }

    #[test]
    fn lengths_of_der_round_trip(content in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let written = der::write(der::OCTETS, &content);
        prop_assert_eq!(der::element(&written), Some((der::OCTETS, content.as_slice(), [].as_slice())));
    }
}
