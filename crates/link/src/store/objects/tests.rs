//! What a store promises.

use super::keeper::sha256;
use super::*;

const LIMITS: Limits =
    Limits { bytes: 1 << 20, objects: 1000, reserve_free_bytes: 0, memory: 1 << 16, encrypt: false };

fn object(seed: u8, length: usize) -> (ObjectId, Bytes) {
    let content: Bytes = vec![seed; length].into();
    (sha256(&content), content)
}

#[tokio::test]
async fn objects_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = ObjectStore::open(dir.path(), LIMITS).await.unwrap();
    let all: Vec<_> = (0..5).map(|seed| object(seed, 1 << (4 * seed))).collect();
    for (id, content) in &all {
        assert!(!store.has(*id));
        store.put(*id, content.clone()).await.unwrap();
        assert!(store.has(*id));
    }
    store.sync().await.unwrap();
    drop(store);
    let store = ObjectStore::open(dir.path(), LIMITS).await.unwrap();
    for (id, content) in &all {
        assert_eq!(store.get(*id).await.as_ref(), Some(content));
    }
    store.remove(all[0].0).await;
    assert_eq!(store.get(all[0].0).await, None);
    assert!(store.0.flights.is_empty());
}

#[tokio::test]
async fn a_wrong_hash_is_never_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = ObjectStore::open(dir.path(), LIMITS).await.unwrap();
    let ((id, right), (_, wrong)) = (object(1, 100), object(2, 100));
    assert!(matches!(store.put(id, wrong).await, Err(PutError::WrongHash)));
    assert!(!store.has(id));
    store.put(id, right).await.unwrap();
    assert!(store.has(id));
}
