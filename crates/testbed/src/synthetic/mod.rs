//! A SuperLink and SuperNodes that only move bytes: for loads that real Flower is too slow or too large to make.
//!
//! They speak both of Flower's Fleet dialects, as real ones do: signed headers, trees, objects of 5 MiB, two at a time,
//! a poll every 3 s. There is one run, and no app.

mod bodies;
mod node;
mod superlink;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

pub use node::{SuperNode, Timing};
pub use superlink::SuperLink;

/// The size of Flower's objects: a chunk of 5 MiB with its head.
const CHUNK: usize = 5 * 1024 * 1024 + 29;
/// The one run's id.
const RUN: u64 = 4_711;

/// A message's objects: chunks, the record that holds them, the message itself.
#[derive(Clone, Debug)]
pub struct Model {
    /// Children before parents; the last one is the message.
    objects: Vec<(ObjectId, Bytes)>,
}

impl Model {
    /// A message with so many bytes of chunks, which nothing compresses and no other seed shares.
    #[must_use]
    pub fn new(seed: u64, bytes: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut objects = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let size = left.min(CHUNK);
            let mut content = Vec::with_capacity(size + 8);
            while content.len() < size {
                // xorshift64: fast, and random enough for a compressor.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                content.extend_from_slice(&state.to_le_bytes());
            }
            content.truncate(size);
            objects.push(object(content.into()));
            left -= size;
        }
        let names: String = objects.iter().map(|(id, _)| id.to_string()).collect();
        let record = object(format!("RecordDict {names}").into());
        let message = object(format!("Message {seed} {}", record.0).into());
        objects.extend([record, message]);
        Self { objects }
    }

    /// The same chunks in a message of its own, which answers another: Flower's messages are never the same twice.
    fn answer(&self, to: ObjectId) -> Self {
        let mut objects = self.objects.clone();
        if let Some(message) = objects.pop() {
            objects.push(object(format!("Message {to} {}", message.0).into()));
        }
        Self { objects }
    }

    /// All objects' bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|(_, content)| content.len() as u64).sum()
    }

    fn id(&self) -> ObjectId {
        self.objects.last().map_or(ObjectId([0; 32]), |(id, _)| *id)
    }

    fn content(&self, id: ObjectId) -> Option<&Bytes> {
        self.objects.iter().find(|(known, _)| *known == id).map(|(_, content)| content)
    }

    fn ids(&self) -> Vec<ObjectId> {
        self.objects.iter().map(|(id, _)| *id).collect()
    }
}

fn object(content: Bytes) -> (ObjectId, Bytes) {
    (id_of(&content), content)
}

fn id_of(content: &[u8]) -> ObjectId {
    let mut id = [0; 32];
    id.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, content).as_ref());
    ObjectId(id)
}
