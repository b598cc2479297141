use super::*;
use proptest::prelude::*;

/// An object as it is, packed or as a difference, by its id.
fn parcel(id: u8, bytes: &[u8]) -> Parcel {
    let plain = Parcel::plain(ObjectId([id; 32]), Bytes::copy_from_slice(bytes));
    let length = bytes.len() + usize::from(id);
    match id % 3 {
        0 => plain,
        1 => Parcel { coding: Coding::Packed, length, ..plain },
        _ => Parcel { coding: Coding::Delta, length, base: Some(ObjectId([!id; 32])), ..plain },
    }
}

fn encode(objects: &[(u8, Vec<u8>)], part: usize, out: &mut BytesMut) {
    for (id, content) in objects {
        put_object(&parcel(*id, content), out);
        for part in content.chunks(part.max(1)) {
            put_part(part.len(), out);
            out.put_slice(part);
            put_ack(7, out);
        }
    }
}

fn decode(bytes: &[u8], cut: usize) -> Result<(Vec<Item>, u64), BulkError> {
    let (mut decoder, mut items) = (Decoder::default(), Vec::new());
    for chunk in bytes.chunks(cut.max(1)) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(item) = decoder.next(&mut chunk)? {
            items.push(item);
        }
        assert!(chunk.is_empty());
    }
    Ok((items, decoder.taken()))
}

proptest! {
    #[test]
    fn objects_read_back_however_the_bytes_are_cut(
        objects in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        part in 1usize..400,
        cut in 1usize..700,
    ) {
        let mut bytes = BytesMut::new();
        encode(&objects, part, &mut bytes);
        let (items, taken) = decode(&bytes, cut).unwrap();
        let acks = items.iter().filter(|item| matches!(item, Item::Ack(7))).count();
        let read: Vec<_> = items.into_iter().filter_map(|item| match item {
            Item::Object(parcel) => Some(parcel),
            Item::Ack(_) => None,
        }).collect();
        prop_assert_eq!(read, objects.iter().map(|(id, bytes)| parcel(*id, bytes)).collect::<Vec<_>>());
        prop_assert_eq!(taken, (bytes.len() - acks * 13) as u64, "all but the acknowledgements counts");
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..50) {
        let _ = decode(&bytes, cut);
    }

    #[test]
    fn damage_never_panics(at in 0usize..500, byte: u8, cut in 1usize..50) {
        let mut bytes = BytesMut::new();
        encode(&[(1, vec![1; 100]), (2, vec![]), (3, vec![3; 200])], 64, &mut bytes);
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&bytes, cut);
    }
}

#[test]
fn what_is_out_of_turn_or_too_long_is_refused_and_what_is_optional_passed_over() {
    let of = |put: &dyn Fn(&mut BytesMut)| {
        let mut bytes = BytesMut::new();
        put(&mut bytes);
        decode(&bytes, usize::MAX).map(|(items, _)| items)
    };
    assert_eq!(of(&|out| put_part(1, out)), Err(BulkError::OutOfTurn(PART)));
    let begin = |length: usize, out: &mut BytesMut| {
        let none = Parcel::plain(ObjectId([0; 32]), Bytes::new());
        put_object(&none, out);
        let at = out.len() - 5;
        out[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
    };
    let two = of(&|out| {
        begin(1, out);
        begin(1, out);
    });
    assert_eq!(two, Err(BulkError::OutOfTurn(OBJECT)));
    let more = of(&|out| {
        begin(1, out);
        put_part(2, out);
    });
    assert_eq!(more, Err(BulkError::WrongLength(PART, 2)));
    let long = of(&|out| begin(MAX_OBJECT + 1, out));
    assert_eq!(long, Err(BulkError::TooLong(MAX_OBJECT as u64 + 1)));
    assert_eq!(of(&|out| put_head(9, 0, out)), Err(BulkError::UnknownKind(9)));
    let skipped = of(&|out| {
        put_head(0x90, 3, out);
        out.put_slice(b"abc");
        put_ack(5, out);
    });
    assert_eq!(skipped, Ok(vec![Item::Ack(5)]));
    assert!(of(&|out| put_head(0x90, MAX_SMALL + 1, out)).is_err());
    let coded = of(&|out| {
        begin(1, out);
        let last = out.len() - 1;
        out[last] = 4;
    });
    assert_eq!(coded, Err(BulkError::UnknownCoding(4)));
    // A head that is too short for its coding, and more bytes than the content has.
    let short = of(&|out| {
        begin(1, out);
        let last = out.len() - 1;
        out[last] = 1;
    });
    assert_eq!(short, Err(BulkError::WrongLength(OBJECT, 37)));
    let more = of(&|out| put_object(&Parcel { length: 2, ..parcel(1, b"abc") }, out));
    assert_eq!(more, Err(BulkError::WrongLength(OBJECT, 3)));
}
