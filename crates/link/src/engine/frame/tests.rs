use super::*;
use proptest::prelude::*;

/// A protobuf field with a length below 2^21.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let varint = [(length & 0x7f) as u8 | 0x80, (length >> 7 & 0x7f) as u8 | 0x80, (length >> 14) as u8];
    [&[tag << 3 | 2], &varint[..], bytes].concat()
}

/// A body as SuperLink answers PullMessages: what differs between nodes, and a tree with a subtree that does not.
fn body(node: u8, subtree: u8, length: usize) -> Bytes {
    let text = |byte: u8, length| vec![byte.wrapping_mul(7) | 1; length];
    let tree =
        [field(1, &text(node, 64)), field(2, &text(subtree, length)), field(2, &text(node, 20))].concat();
    [field(2, &text(node, 130)), field(3, &tree)].concat().into()
}

fn offer(node: u8, subtree: u8, length: usize) -> HubFrame {
    let body = body(node, subtree, length);
    HubFrame::Offer(Offer { node: node.into(), body, run: Some(Bytes::from_static(b"run")), fab: None })
}

#[test]
fn a_part_goes_once_and_is_named_afterwards() {
    let (mut sender, mut receiver, mut wire) = (Parts::default(), Parts::default(), BytesMut::new());
    let mut lengths = Vec::new();
    for node in 0..4 {
        // Not compressible, as hexadecimal digests hardly are.
        let noise: Vec<u8> =
            (0..60_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec()).collect();
        let tree = [field(1, &[node; 64]), field(2, &noise)].concat();
        let body = Bytes::from([field(2, &[node; 130]), field(3, &tree)].concat());
        let frame = HubFrame::Offer(Offer { node: node.into(), body, run: None, fab: None });
        frame.encode_with(&mut sender, &mut wire);
        lengths.push(wire.len());
        assert_eq!(HubFrame::decode_with(&mut receiver, &mut wire), Ok(Some(frame)));
        assert!(wire.is_empty());
    }
    assert!(lengths[1..].iter().all(|length| *length < 400), "{lengths:?}");
    assert!(lengths[0] > 10 * lengths[1], "{lengths:?}");
}

#[test]
fn a_part_that_the_receiver_does_not_have_ends_the_connection() {
    let (mut sender, mut wire) = (Parts::default(), BytesMut::new());
    offer(1, 1, 2000).encode_with(&mut sender, &mut wire);
    wire.clear();
    offer(2, 1, 2000).encode_with(&mut sender, &mut wire);
    assert_eq!(HubFrame::decode(&mut wire), Err(FrameError::Broken(2)));
    // Without reference to others it reads anywhere.
    offer(2, 1, 2000).encode(&mut wire);
    assert_eq!(HubFrame::decode(&mut wire), Ok(Some(offer(2, 1, 2000))));
}

#[test]
fn wants_read_back_with_their_bases_and_without() {
    let (a, b) = (ObjectId([1; 32]), ObjectId([2; 32]));
    let based = Wanted { id: b, base: Some(a) };
    for wanted in [vec![], vec![a.into()], vec![a.into(), based], vec![based]] {
        let mut wire = BytesMut::new();
        HubFrame::Want(wanted.clone()).encode(&mut wire);
        assert_eq!(HubFrame::decode(&mut wire), Ok(Some(HubFrame::Want(wanted.clone()))));
        SpokeFrame::Want(wanted.clone()).encode(&mut wire);
        assert_eq!(SpokeFrame::decode(&mut wire), Ok(Some(SpokeFrame::Want(wanted))));
    }
    // As many bases as ids, or none.
    let two = Payload { bases: Bytes::from_static(&[1; 64]), ..of_ids(&[a]) };
    assert_eq!(two.wanted(), None);
}

proptest! {
    #[test]
    fn both_ends_keep_the_same_parts(frames in prop::collection::vec((0u8..6, 0u8..20, 900usize..1400), 1..80)) {
        let (mut sender, mut receiver, mut wire) = (Parts::default(), Parts::default(), BytesMut::new());
        for (node, subtree, length) in frames {
            let frame = offer(node, subtree, length);
            frame.encode_with(&mut sender, &mut wire);
            HubFrame::Echo(3).encode_with(&mut sender, &mut wire);
            prop_assert_eq!(HubFrame::decode_with(&mut receiver, &mut wire), Ok(Some(frame)));
            prop_assert_eq!(HubFrame::decode_with(&mut receiver, &mut wire), Ok(Some(HubFrame::Echo(3))));
            prop_assert_eq!(&sender.0, &receiver.0);
            prop_assert!(sender.0.len() <= PARTS);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..9) {
        let mut framed = BytesMut::new();
        framed.put_u32(bytes.len() as u32 + 2);
        framed.put_slice(&[kind, 0]);
        framed.put_slice(&bytes);
        for mut wire in [framed.clone(), BytesMut::from(&bytes[..])] {
            while let Ok(Some(_)) = HubFrame::decode(&mut wire) {}
        }
        while let Ok(Some(_)) = SpokeFrame::decode(&mut framed) {}
    }
}
