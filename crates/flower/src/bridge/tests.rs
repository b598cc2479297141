//! Translations read as the releases on the other side do.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Operation;
use crate::fleet::Refusal;

/// What a SuperNode does after an answer, as its release has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    /// Goes on.
    None,
    /// Ends itself.
    Stops,
    /// Takes the run for ended.
    RunEnded,
    /// Tries again.
    TriesAgain,
    /// Gives this call up.
    GivesUp,
}

/// Flower 1.31: `retry_invoker.py`. Flower 1.41: `http_retry.py`.
fn consequence(answer: &FleetAnswer) -> Consequence {
    match &answer.status {
        FleetStatus::Grpc(0, _) => Consequence::None,
        FleetStatus::Grpc(16, _) => Consequence::Stops,
        FleetStatus::Grpc(7, _) => Consequence::RunEnded,
        FleetStatus::Grpc(14, _) if answer.words().to_lowercase().contains("handshake failed") => {
            Consequence::GivesUp
        }
        FleetStatus::Grpc(14, _) => Consequence::TriesAgain,
        FleetStatus::Grpc(..) => Consequence::GivesUp,
        FleetStatus::Http(status) => match status.as_u16() {
            200 => Consequence::None,
            401 => Consequence::Stops,
            403 => Consequence::RunEnded,
            502..=504 => Consequence::TriesAgain,
            _ => Consequence::GivesUp,
        },
    }
}

fn grpc(code: u16, words: &'static str) -> FleetAnswer {
    let status = FleetStatus::Grpc(code, Some(HeaderValue::from_static(words)));
    FleetAnswer { status, body: Bytes::new(), content_type: None }
}

fn http(status: u16, body: &'static [u8]) -> FleetAnswer {
    let status = FleetStatus::Http(StatusCode::from_u16(status).unwrap());
    let content_type = Some(HeaderValue::from_static("application/json"));
    FleetAnswer { status, body: Bytes::from_static(body), content_type }
}

fn header_map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn a_call_changes_two_names_and_their_padding_and_nothing_else() {
    let body = Bytes::from_static(b"\x0a\x02\x08\x07unknown fields, too");
    let of = |transport, headers: &[_]| FleetCall {
        operation: Operation::PullMessages,
        transport,
        headers: header_map(headers),
        body: body.clone(),
    };
    let old = of(
        Transport::Grpc,
        &[
            ("flwr-public-key-bin", "LS0tLQ"),
            ("flwr-signature-bin", "MGU+/w"),
            ("flwr-timestamp", "2026-11-22T09:44:22+00:00"),
            ("flwr-package-version", "1.31.0"),
            ("flwr-something-new-bin", "AA"),
        ],
    );
    let new = of(
        Transport::Http,
        &[
            ("flwr-public-key", "LS0tLQ=="),
            ("flwr-signature", "MGU+/w=="),
            ("flwr-timestamp", "2026-11-22T09:44:22+00:00"),
            ("flwr-package-version", "1.31.0"),
            ("flwr-something-new-bin", "AA"),
        ],
    );
    assert_eq!(call(&old, Transport::Http), new);
    assert_eq!(call(&new, Transport::Grpc), old);
    assert_eq!(call(&old, Transport::Grpc), old);
    let request = call(&old, Transport::Http).to_request("http://superlink").unwrap();
    assert_eq!(request.uri().path(), "/v1/fleet/pull-messages");
    assert_eq!(request.headers()[CONTENT_TYPE], "application/protobuf");
    let typed = of(Transport::Http, &[("content-type", "application/protobuf")]);
    assert!(call(&typed, Transport::Grpc).headers.is_empty());
}

#[test]
fn a_signature_is_as_good_after_the_translation() {
    let key = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KTUhZd0VBWUhLb1pJemowQ0FRWUZLNEVFQUNJRFlnQUUvYTBEeVZwT2QvWXgydVRoSG00NjJmd2pkRVZQNGtGOAoxZlVyOUtlZnJVTHRCR0pzTlBJeTcyTmQxczlrTmJCMWdKUUxTVDY5WCtuNm13RUt3K3FWeENIZ3NZT0VGZ1J0CjhPUjA3aFlYNWM3RGdUTFhDWUJTNlZhSkI4dkY4RXRGCi0tLS0tRU5EIFBVQkxJQyBLRVktLS0tLQo=";
    let signature = "MGUCMQC1BRd0DWfedZwJpM7KtaVl2p1/Pqr+7U8xjH+MSulRAhfU5WPAiSEwvNLRDrDNGl0CMBRnuEhYQeLbdlrLl68Vw3dIT7DBSbQULfRKWOf2YjrvB/uenH6PUWBieWrp72h+gw==";
    let sent = header_map(&[
        ("flwr-public-key", key),
        ("flwr-signature", signature),
        ("flwr-timestamp", "2026-11-22T09:44:22+00:00"),
    ]);
    let signed = crate::signature::verify(&sent);
    assert!(signed.is_some());
    let over = headers(&sent, Transport::Http, Transport::Grpc);
    assert_eq!(crate::signature::verify(&over), signed);
    assert_eq!(headers(&over, Transport::Grpc, Transport::Http), sent);
}

#[test]
fn what_is_not_base64_is_left_out_and_what_came_twice_stays_twice() {
    let bad = header_map(&[("flwr-signature-bin", "%"), ("flwr-timestamp", "now")]);
    assert_eq!(headers(&bad, Transport::Grpc, Transport::Http), header_map(&[("flwr-timestamp", "now")]));
    let smuggled = header_map(&[("flwr-signature", "AA=="), ("flwr-signature-bin", "AQ")]);
    let over = headers(&smuggled, Transport::Grpc, Transport::Http);
    assert_eq!(over, header_map(&[("flwr-signature", "AQ==")]));
    let mut twice = header_map(&[("flwr-signature", "AA==")]);
    twice.append("flwr-signature", HeaderValue::from_static("AQ=="));
    let over = headers(&twice, Transport::Http, Transport::Grpc);
    assert_eq!(over.get_all("flwr-signature-bin").iter().collect::<Vec<_>>(), ["AA", "AQ"]);
}

#[test]
fn every_grpc_status_keeps_its_consequence() {
    for code in 0..=17 {
        let old = grpc(code, "words");
        let new = answer(old.clone(), Transport::Http);
        match code {
            // A gRPC SuperNode gives up, an HTTP one does not. No SuperLink says it of itself.
            4 => assert_eq!(consequence(&new), Consequence::TriesAgain),
            _ => assert_eq!(consequence(&new), consequence(&old), "{code}"),
        }
        assert_eq!(new.is_unauthenticated(), code == 16);
        assert_eq!(new.is_forbidden(), code == 7);
        assert_eq!(answer(old.clone(), Transport::Grpc), old);
    }
    let pairs = [(16, 401), (7, 403), (14, 503), (4, 504), (9, 412), (5, 404), (12, 404), (13, 500)];
    for (code, status) in pairs.into_iter().chain([(3, 400), (6, 409), (8, 429)]) {
        let FleetStatus::Http(got) = answer(grpc(code, ""), Transport::Http).status else { panic!("{code}") };
        assert_eq!(got.as_u16(), status, "{code}");
    }
}

#[test]
fn every_http_status_keeps_its_consequence() {
    for status in 200..600 {
        let new = http(status, b"{\"detail\": \"words\"}");
        let old = answer(new.clone(), Transport::Grpc);
        assert_eq!(consequence(&old), consequence(&new), "{status}");
        assert_eq!(old.is_unauthenticated(), status == 401);
        assert_eq!(old.is_forbidden(), status == 403);
        assert_eq!(answer(new.clone(), Transport::Http), new);
    }
    let pairs = [(401, 16), (403, 7), (502, 14), (503, 14), (504, 14), (412, 9), (500, 13), (400, 3)];
    for (status, code) in pairs.into_iter().chain([(409, 6), (429, 8), (501, 12), (415, 3)]) {
        let FleetStatus::Grpc(got, _) = answer(http(status, b""), Transport::Grpc).status else {
            panic!("{status}")
        };
        assert_eq!(got, code, "{status}");
    }
}

#[test]
fn words_and_numbers_survive() {
    let activation =
        http(412, br#"{"code": 2004, "detail": "Failed to activate SuperNode.", "extra": "more\nof it"}"#);
    let old = answer(activation, Transport::Grpc);
    assert_eq!(old.words(), "[code: 2004] Failed to activate SuperNode. more of it (gRPC status 9)");
    let new = answer(grpc(9, "No SuperNode found with the given public key."), Transport::Http);
    assert_eq!(new.body, r#"{"code":0,"detail":"No SuperNode found with the given public key."}"#);
    assert_eq!(new.content_type.unwrap(), "application/json");
    // As Flower 1.41 writes its errors where it speaks gRPC.
    let own = grpc(7, r#"{"code": 2007, "public_message": "Not now.", "public_details": "Object_id: 7"}"#);
    assert_eq!(own.words(), "Not now. Object_id: 7 (gRPC status 7)");
    let new = answer(own, Transport::Http);
    assert_eq!(new.body, r#"{"code":2007,"detail":"Not now.","extra":"Object_id: 7"}"#);
    // Something of the request was not found; an operation was not.
    let known = http(404, br#"{"code": 24, "detail": "Node ID not found for account."}"#);
    assert!(matches!(answer(known, Transport::Grpc).status, FleetStatus::Grpc(5, _)));
    let unknown = http(404, br#"{"detail": "Not Found"}"#);
    assert!(matches!(answer(unknown, Transport::Grpc).status, FleetStatus::Grpc(12, _)));
    // The words that would end a gRPC SuperNode are not among them.
    let fatal = http(503, br#"{"detail": "proxy: TLS Handshake Failed, handshake failed"}"#);
    let old = answer(fatal, Transport::Grpc);
    assert_eq!(consequence(&old), Consequence::TriesAgain, "{}", old.words());
    let broken = http(500, b"<html>");
    assert_eq!(answer(broken, Transport::Grpc).words(), "gRPC status 13");
}

#[test]
fn refusals_of_our_own_are_the_same_as_if_made_for_the_other_side() {
    for refusal in [Refusal::Unavailable, Refusal::NotFleet, Refusal::Malformed] {
        let made = |transport| FleetAnswer::refusal(transport, refusal, "the hub is not there");
        assert_eq!(answer(made(Transport::Http), Transport::Grpc), made(Transport::Grpc));
        assert_eq!(answer(made(Transport::Grpc), Transport::Http), made(Transport::Http));
    }
}

proptest! {
    #[test]
    fn a_body_is_never_touched(body: Vec<u8>) {
        let body = Bytes::from(body);
        for (from, to) in [(Transport::Grpc, Transport::Http), (Transport::Http, Transport::Grpc)] {
            let there = answer(FleetAnswer::ok(from, body.clone()), to);
            prop_assert_eq!(&there, &FleetAnswer::ok(to, body.clone()));
            prop_assert_eq!(answer(there, from), FleetAnswer::ok(from, body.clone()));
        }
    }

    #[test]
    fn no_answer_panics(status in 100_u16..1000, code: u16, body: Vec<u8>, words in "[ -~]*") {
        let status = FleetStatus::Http(StatusCode::from_u16(status).unwrap());
        let _ = answer(FleetAnswer { status, body: body.into(), content_type: None }, Transport::Grpc);
        let status = FleetStatus::Grpc(code, HeaderValue::from_str(&words).ok());
        let _ = answer(FleetAnswer { status, body: Bytes::new(), content_type: None }, Transport::Http);
    }
}
