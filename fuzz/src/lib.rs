//! What is fuzzed: everything that reads bytes of somebody else. One function per target; each panics where bytes are read
//! in two ways, or read back as something else.
//!
//! The fuzzer's entry points are in `fuzz_targets/`. `crates/link/tests/corpus.rs` compiles this same file and runs the
//! whole corpus through it, so that neither can drift from the other.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use onefed_flower::fleet::{FleetAnswer, FleetCall, frame, unframe};
use onefed_flower::objects::{self, Cut};
use onefed_flower::{Operation, Transport, bridge, control, messages, run_log, signature};
use onefed_link::codec::{self, Coding};
use onefed_link::engine::frame::{FrameError, HubFrame, Parts, SpokeFrame};
use onefed_link::engine::record::{HubRecord, SpokeRecord};
use onefed_link::pair::bulk::{Decoder, Item, put_ack, put_object, put_part};

/// A target: its name, as in `fuzz_targets/` and `corpus/`, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("spoke_frames", spoke_frames),
    ("hub_frames", hub_frames),
    ("bulk", bulk),
    ("coded", coded),
    ("records", records),
    ("bodies", bodies),
    ("envelopes", envelopes),
];

const BOTH: [Transport; 2] = [Transport::Grpc, Transport::Http];

/// The control connection as a hub reads it.
pub fn spoke_frames(data: &[u8]) {
    frames::<SpokeFrame>(data, |_, bytes| SpokeFrame::decode(bytes), |frame, _, bytes| frame.encode(bytes));
}

/// The control connection as a spoke reads it.
pub fn hub_frames(data: &[u8]) {
    frames(data, HubFrame::decode_with, HubFrame::encode_with);
}

/// Reads a frame; the parts are those that earlier frames of the connection brought.
type Decode<F> = fn(&mut Parts, &mut BytesMut) -> Result<Option<F>, FrameError>;
/// Writes a frame.
type Encode<F> = fn(&F, &mut Parts, &mut BytesMut);

/// Frames are the same however the bytes are cut into pieces, and read back as what they are.
fn frames<F: PartialEq + Debug>(data: &[u8], decode: Decode<F>, encode: Encode<F>) {
    let all = |pieces: &[&[u8]]| {
        let (mut parts, mut bytes, mut read) = (Parts::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            loop {
                match decode(&mut parts, &mut bytes) {
                    Ok(Some(frame)) => read.push(frame),
                    Ok(None) => break,
                    Err(why) => return (read, Some(why)),
                }
            }
        }
        (read, None)
    };
    let (read, why) = all(&[data]);
    let (head, tail) = data.split_at(data.len() / 2);
    assert_eq!(all(&[head, tail]), (read_again(&read, decode, encode), why));
}

/// The frames after they were written to a connection and read from it once more.
fn read_again<F: Debug>(frames: &[F], decode: Decode<F>, encode: Encode<F>) -> Vec<F> {
    let (mut ours, mut theirs) = (Parts::default(), Parts::default());
    let again = |frame: &F| {
        let mut bytes = BytesMut::new();
        encode(frame, &mut ours, &mut bytes);
        let read = decode(&mut theirs, &mut bytes);
        assert!(bytes.is_empty(), "{} bytes are left of {frame:?}", bytes.len());
        match read {
            Ok(Some(read)) => read,
            other => panic!("{frame:?} reads back as {other:?}"),
        }
    };
    frames.iter().map(again).collect()
}

/// The bulk connection, read by both ends: objects are the same however the bytes are cut into pieces.
pub fn bulk(data: &[u8]) {
    let all = |pieces: &[&[u8]]| {
        let (mut decoder, mut items) = (Decoder::default(), Vec::new());
        for piece in pieces {
            let mut chunk = Bytes::copy_from_slice(piece);
            loop {
                match decoder.next(&mut chunk) {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(why) => return (items, Err(why)),
                }
            }
            assert!(chunk.is_empty());
        }
        (items, Ok(decoder.taken()))
    };
    let (items, end) = all(&[data]);
    let (head, tail) = data.split_at(data.len() / 2);
    assert_eq!(all(&[head, tail]), (items.clone(), end));
    let mut written = BytesMut::new();
    for item in &items {
        match item {
            Item::Object(parcel) => {
                put_object(parcel, &mut written);
                if !parcel.bytes.is_empty() {
                    put_part(parcel.bytes.len(), &mut written);
                    written.extend_from_slice(&parcel.bytes);
                }
            }
            Item::Ack(taken) => put_ack(*taken, &mut written),
        }
    }
    assert_eq!(all(&[&written]).0, items);
}

/// Coded objects: first two bytes for the length of the content, one for how it is coded, and one for the length of the
/// base, which is next. What is decoded is coded again, and comes back.
pub fn coded(data: &[u8]) {
    let [low, high, coding, base, rest @ ..] = data else { return };
    let (length, coding) = (usize::from(u16::from_le_bytes([*low, *high])), coding % 3);
    let Some(coding) = Coding::of_number(coding) else { return };
    let (base, bytes) = rest.split_at(usize::from(*base).min(rest.len()));
    if let Ok(content) = codec::decode(coding, &Bytes::copy_from_slice(bytes), length, Some(base)) {
        assert_eq!(content.len(), length);
        let encoded = codec::encode(&content, Some(base));
        assert!(encoded.bytes.len() <= length);
        assert_eq!(codec::decode(encoded.coding, &encoded.bytes, length, Some(base)), Ok(content));
    }
    let raw = Bytes::copy_from_slice(rest);
    let encoded = codec::encode(&raw, Some(base));
    assert_eq!(codec::decode(encoded.coding, &encoded.bytes, raw.len(), Some(base)), Ok(raw));
}

/// The records of both journals.
pub fn records(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    if let Ok(record) = SpokeRecord::decode(data.clone()) {
        assert_eq!(SpokeRecord::decode(record.encode().into()), Ok(record));
    }
    if let Ok(record) = HubRecord::decode(data) {
        assert_eq!(HubRecord::decode(record.encode().into()), Ok(record));
    }
}

/// The bodies of Flower's messages, and the objects in them.
pub fn bodies(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Some(head) = objects::message_head(&body) {
        assert_eq!(head.objects.last(), Some(&head.id));
        assert!(!objects::no_message(&body));
    }
    if let Some(cut) = Cut::of(&body) {
        assert_eq!(cut.join(), body);
    }
    if let Some(pushed) = objects::pushed_object(&body) {
        let session = "session";
        let again =
            objects::push_object_request(pushed.node, pushed.run, session, pushed.id, &pushed.content);
        assert_eq!(objects::pushed_object(&again), Some(pushed));
    }
    if let Some(objects::ObjectAnswer::Content(content)) = objects::object_answer(&body) {
        let again = objects::object_answer(&objects::object_content(&content));
        assert_eq!(again, Some(objects::ObjectAnswer::Content(content)));
    }
    if let Some(asked) = objects::asked_object(&body) {
        let again = objects::object_request(asked.node, asked.run, asked.id);
        assert_eq!(objects::asked_object(&again), Some(asked));
    }
    if let Some((run, hash)) = objects::asked_fab(&body) {
        assert_eq!(objects::asked_fab(&objects::fab_request(7, run, &hash)), Some((run, hash)));
    }
    let _ = (objects::asked_run(&body), objects::fab_of_run(&body), objects::push_session(&body));
    let _ = (objects::object_stored(&body), messages::heartbeat_accepted(&body));
    let _ = (messages::granted_node(&body), messages::activated_key(&body));
    let _ = (messages::pulled_round(&body, &body), control::list_runs_answer(body.clone()));
    for operation in Operation::ALL {
        let _ = messages::requesting_node(operation, &body);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let mut log = run_log::RunLog::default();
        for line in text.lines() {
            let _ = log.line(line);
        }
    }
}

/// Requests and answers of both transports, from a text like HTTP's: a path, header lines, an empty line, a body.
pub fn envelopes(data: &[u8]) {
    let (head, body) = data
        .windows(2)
        .position(|two| two == b"\n\n")
        .map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let body = Bytes::copy_from_slice(body);
    let mut lines = head.split(|byte| *byte == b'\n');
    let path = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }

    if let Ok(message) = unframe(body.clone()) {
        assert_eq!(frame(&message), body);
    }
    assert_eq!(unframe(frame(&body)), Ok(body.clone()));
    let known = Operation::from_path(&path);
    assert!(known.is_none() || Operation::unknown_name(&path).is_none());
    if let Some(signed) = signature::verify(&headers) {
        assert_eq!(signature::signed_at(&headers), Some(signed.at));
        assert_eq!(messages::signing_key(&headers), Some(signed.key_pem));
    }

    for (from, to) in [(Transport::Grpc, Transport::Http), (Transport::Http, Transport::Grpc)] {
        assert_eq!(bridge::headers(&headers, from, from), headers);
        // After one translation, those back and there again change nothing any more.
        let over = bridge::headers(&headers, from, to);
        assert_eq!(bridge::headers(&bridge::headers(&over, to, from), from, to), over);
    }
    for from in BOTH {
        for to in BOTH {
            let status =
                headers.get("status").and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
            let status = status.unwrap_or(StatusCode::OK);
            if let Ok(answer) = FleetAnswer::from_response(from, status, &headers, None, body.clone()) {
                let over = bridge::answer(answer.clone(), to);
                assert_eq!(over.is_ok(), answer.is_ok());
                assert_eq!(over.is_unauthenticated(), answer.is_unauthenticated());
                assert_eq!(over.is_forbidden(), answer.is_forbidden());
                assert!(!answer.is_ok() || over.body == answer.body);
                let _ = (over.words(), over.into_response());
            }
        }
        let operation = known.map_or(Operation::GetRun, |(operation, _)| operation);
        if let Ok(call) = FleetCall::from_request(operation, from, &headers, body.clone()) {
            for to in BOTH {
                let over = bridge::call(&call, to);
                assert_eq!((over.operation, over.transport, &over.body), (operation, to, &call.body));
                assert!(over.to_request("http://superlink").is_ok());
            }
        }
    }
}
