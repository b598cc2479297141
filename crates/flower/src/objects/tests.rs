use proptest::prelude::*;

use super::*;

fn id(byte: u8) -> ObjectId {
    ObjectId([byte; 32])
}

fn tree(root: u8, children: Vec<ObjectTree>) -> ObjectTree {
    ObjectTree { object_id: id(root).to_string(), children }
}

fn body(root: u8, leaves: u8) -> Bytes {
    let record = tree(200, (1..=leaves).map(|leaf| tree(leaf, vec![])).collect());
    let message = MessageProto {
        metadata: Some(Metadata {
            run_id: 7,
            message_id: id(root).to_string(),
            reply_to_message_id: String::new(),
        }),
    };
    WithMessages { messages: vec![message], trees: vec![tree(root, vec![record])] }.encode_to_vec().into()
}

#[test]
fn ids_are_read_as_flower_writes_them_and_nothing_else_is() {
    let text = "00ff".repeat(16);
    assert_eq!(text.parse::<ObjectId>().unwrap().to_string(), text);
    for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"0F".repeat(32), &"zz".repeat(32)] {
        assert_eq!(bad.parse::<ObjectId>(), Err(NotAnObjectId), "{bad}");
    }
}

#[test]
fn a_message_names_its_objects_children_first_and_each_once() {
    let record = tree(9, vec![tree(1, vec![tree(2, vec![])]), tree(3, vec![]), tree(2, vec![])]);
    let message = MessageProto {
        metadata: Some(Metadata {
            run_id: 7,
            message_id: id(10).to_string(),
            reply_to_message_id: id(4).to_string(),
        }),
    };
    let both = WithMessages { messages: vec![message], trees: vec![tree(10, vec![record])] };
    let head = message_head(&both.encode_to_vec().into()).unwrap();
    assert_eq!((head.id, head.run, head.reply_to), (id(10), 7, Some(id(4))));
    assert_eq!(head.objects, [2, 1, 3, 9, 10].map(id));
    assert_eq!(message_head(&Bytes::new()), None);
    assert!(no_message(&Bytes::new()) && !no_message(&body(10, 1)));
}

#[test]
fn what_nodes_share_of_a_tree_is_cut_out_and_joined_again() {
    let (one, other) = (body(100, 40), body(101, 40));
    let (cut, second) = (Cut::of(&one).unwrap(), Cut::of(&other).unwrap());
    assert_eq!(cut.shared, second.shared);
    assert!(cut.head.len() + cut.tail.len() < 200, "{cut:?}");
    assert_eq!((cut.join(), second.join()), (one, other));
    assert_eq!(Cut::of(&body(100, 2)), None);
}

#[test]
fn answers_read_back() {
    let content = Bytes::from_static(b"abc");
    assert_eq!(object_answer(&object_content(&content)), Some(ObjectAnswer::Content(content.clone())));
    assert_eq!(object_answer(&Bytes::new()), Some(ObjectAnswer::Unknown));
    assert_eq!(object_answer(&Bytes::from_static(&[8, 1])), Some(ObjectAnswer::NotYet));
    let session = push_session(&push_accepted(id(1), &[id(2), id(3)], "s")).unwrap();
    assert_eq!(session, PushSession { wanted: vec![id(2), id(3)], session: "s".into() });
    assert!(object_stored(&push_object_answer(true)) && !object_stored(&push_object_answer(false)));
    let pushed = pushed_object(&push_object_request(5, 6, "s", id(7), &content)).unwrap();
    assert_eq!(pushed, ObjectPushed { node: 5, run: 6, id: id(7), content });
    let asked = asked_object(&object_request(5, 6, id(7))).unwrap();
    assert_eq!(asked, ObjectAsked { node: 5, run: 6, id: id(7) });
    assert_eq!(asked_run(&run_request(5, 6)), Some(6));
    assert_eq!(asked_fab(&fab_request(5, 6, "h")), Some((6, "h".into())));
}

/// A message as Flower makes it: message, records, and for each record its arrays with their chunks.
fn of_records(root: u8, records: &[&[&[u8]]]) -> Bytes {
    let record = |(at, arrays): (usize, &&[&[u8]])| {
        let array = |chunks: &&[u8]| {
            tree(chunks[0].wrapping_add(100), chunks.iter().map(|chunk| tree(*chunk, vec![])).collect())
        };
        tree(240 + at as u8, arrays.iter().map(array).collect())
    };
    let dict = tree(250, records.iter().enumerate().map(record).collect());
    let message = MessageProto {
        metadata: Some(Metadata {
            run_id: 7,
            message_id: id(root).to_string(),
            reply_to_message_id: String::new(),
        }),
    };
    WithMessages { messages: vec![message], trees: vec![tree(root, vec![dict])] }.encode_to_vec().into()
}

#[test]
fn chunks_of_arrays_are_paired_by_their_places() {
    let pairs = |new: &[&[&[u8]]], old: &[&[&[u8]]]| {
        let pairs = counterparts(&of_records(253, new), &of_records(254, old));
        pairs.iter().map(|(new, old)| (new.0[0], old.0[0])).collect::<Vec<_>>()
    };
    // Beside a record without arrays; a chunk that is the same, or was paired already, needs no base.
    let old: &[&[&[u8]]] = &[&[&[1, 2, 3], &[4], &[5]], &[]];
    assert_eq!(pairs(&[&[], &[&[11, 12, 3], &[14], &[11]]], old), [(11, 1), (12, 2), (14, 4)]);
    // A model of one array.
    assert_eq!(pairs(&[&[&[11]], &[]], &[&[&[1]], &[]]), [(11, 1)]);
    // Sorted by hashes, arrays are in any order; a layer that is the same as another is one array with it.
    assert_eq!(
        pairs(&[&[&[11], &[14], &[15, 16]]], &[&[&[5, 6], &[4], &[1]]]),
        [(11, 5), (14, 6), (15, 4), (16, 1)]
    );
    assert_eq!(pairs(&[&[&[11], &[14]]], old), [(11, 1), (14, 2)]);
    assert_eq!(pairs(&[&[&[11], &[12], &[13]]], &[&[&[1], &[2]]]), [(11, 1), (12, 2), (13, 1)]);
    assert_eq!(pairs(&[&[&[2], &[11]]], &[&[&[1], &[2]]]), [(11, 2)]);
    // Records that change places.
    let two: &[&[&[u8]]] = &[&[&[11]], &[&[12], &[13]]];
    assert_eq!(pairs(two, &[&[&[2], &[3]], &[&[1]]]), [(11, 1), (12, 2), (13, 3)]);
    assert_eq!(counterparts(&Bytes::new(), &of_records(9, old)), []);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = (message_head(&bytes), no_message(&bytes), asked_run(&bytes), asked_fab(&bytes), fab_of_run(&bytes));
        let _ = (asked_object(&bytes), pushed_object(&bytes), object_answer(&bytes), push_session(&bytes));
        let _ = counterparts(&bytes, &body(100, 40));
        if let Some(cut) = Cut::of(&bytes) {
            prop_assert_eq!(cut.join(), bytes);
        }
    }
}

#[test]
fn siblings_are_pulled_in_the_order_of_their_ids_and_children_before_parents() {
    let leaf = |id| tree(id, Vec::new());
    let message =
        tree(1, vec![tree(8, vec![leaf(12), leaf(10)]), leaf(9), tree(2, vec![leaf(11), leaf(10)])]);
    let both = WithMessages { messages: Vec::new(), trees: vec![message] };
    let order = [10, 11, 2, 12, 8, 9, 1].map(|id| ObjectId([id; 32]));
    assert_eq!(pull_order(&both.encode_to_vec().into()), order);
    assert_eq!(pull_order(&Bytes::new()), []);
}
