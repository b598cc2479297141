use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::*;
use crate::store::Limits;

/// One end with a store of its own.
async fn end() -> (Packer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { reserve_free_bytes: 0, ..Limits::default() };
    let store = ObjectStore::open(dir.path().join("objects"), limits).await.unwrap();
    (Packer::new(store, false), dir)
}

async fn put(packer: &Packer, content: &Bytes) -> ObjectId {
    let mut id = ObjectId([0; 32]);
    id.0.copy_from_slice(digest(&SHA256, content).as_ref());
    packer.store.put(id, content.clone()).await.unwrap();
    id
}

/// Numbers without a pattern, and the same with a small change to each.
fn models() -> (Bytes, Bytes) {
    let noise = |number: u32| {
        let mixed = (number ^ number >> 16).wrapping_mul(0x45d9_f3b3);
        mixed ^ mixed >> 15
    };
    let old: Vec<u32> = (0..100_000).map(|number| noise(noise(number + 1))).collect();
    let new = old.iter().map(|number| number.wrapping_add(noise(*number) & 0xff));
    let bytes = |all: Vec<u32>| all.into_iter().flat_map(u32::to_le_bytes).collect();
    (bytes(old.clone()), bytes(new.collect()))
}

fn is_of_base(result: Result<u64, NotTaken>) -> bool {
    matches!(result, Err(NotTaken::Base(_)))
}

fn is_broken(result: Result<u64, NotTaken>) -> bool {
    matches!(result, Err(NotTaken::Broken(_)))
}

#[tokio::test]
async fn an_object_travels_as_the_difference_to_its_base() {
    let ((from, _from), (to, _to)) = (end().await, end().await);
    let (old, new) = models();
    let (base, id) = (put(&from, &old).await, put(&from, &new).await);
    put(&to, &old).await;
    let wanted = Wanted { id, base: Some(base) };
    to.name(&[wanted]);
    let parcel = from.pack(wanted).await.unwrap();
    assert_eq!((parcel.coding, parcel.base), (Coding::Delta, Some(base)));
    assert!(parcel.bytes.len() < new.len() / 3, "{}", parcel.bytes.len());
    assert_eq!(to.take(parcel).await.unwrap(), new.len() as u64);
    assert_eq!(to.store.get(id).await, Some(new));
}

#[tokio::test]
async fn a_base_must_be_there_and_have_been_named() {
    let ((from, _from), (to, _to)) = (end().await, end().await);
    let (old, new) = models();
    let (base, id) = (put(&from, &old).await, put(&from, &new).await);
    let wanted = Wanted { id, base: Some(base) };
    let parcel = from.pack(wanted).await.unwrap();
    // Not named at all; named, but not there (any more); of a pair that has ended.
    assert!(is_broken(to.take(parcel.clone()).await));
    to.name(&[wanted]);
    assert!(is_of_base(to.take(parcel.clone()).await));
    put(&to, &old).await;
    assert!(is_broken(to.take(parcel.clone()).await), "named once is used once");
    to.name(&[wanted]);
    to.name(&[id.into()]);
    assert!(is_of_base(to.take(parcel.clone()).await), "wanted again as it is, with a difference on its way");
    assert!(is_broken(to.take(parcel.clone()).await), "one was on its way");
    to.name(&[wanted]);
    to.forget();
    assert!(is_broken(to.take(parcel).await));
    assert_eq!(to.store.get(id).await, None);
    // A sender that does not have the base sends the object as it is.
    let nowhere = Wanted { id, base: Some(ObjectId([7; 32])) };
    assert_eq!(from.pack(nowhere).await.unwrap().base, None);
    assert_eq!(from.pack(ObjectId([7; 32]).into()).await, None);
}

#[tokio::test]
async fn damage_is_mended_once_and_then_ends_the_pair() {
    let ((from, _from), (to, _to)) = (end().await, end().await);
    let (old, new) = models();
    let (base, id) = (put(&from, &old).await, put(&from, &new).await);
    put(&to, &old).await;
    let wanted = Wanted { id, base: Some(base) };
    let damaged = |mut parcel: Parcel| {
        let mut bytes = parcel.bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        parcel.bytes = bytes.into();
        parcel
    };
    to.name(&[wanted]);
    assert!(is_of_base(to.take(damaged(from.pack(wanted).await.unwrap())).await));
    let plain = Parcel::plain(id, new.clone());
    assert!(is_broken(to.take(damaged(plain.clone())).await));
    assert!(is_broken(to.take(Parcel { coding: Coding::Packed, ..plain.clone() }).await));
    assert_eq!(to.take(plain).await.unwrap(), new.len() as u64);
}

#[tokio::test]
async fn on_a_fast_line_objects_travel_as_they_are() {
    let (from, _dir) = end().await;
    let content = Bytes::from(vec![7; 1 << 20]);
    let id = put(&from, &content).await;
    assert_eq!(from.pack(id.into()).await.unwrap().coding, Coding::Packed);
    (0..20).for_each(|_| from.sent(10 << 20, Duration::from_micros(10)));
    assert_eq!(from.pack(id.into()).await, Some(Parcel::plain(id, content)));
    (0..20).for_each(|_| from.sent(10 << 20, Duration::from_secs(10)));
    assert_eq!(from.pack(id.into()).await.unwrap().coding, Coding::Packed);
}
