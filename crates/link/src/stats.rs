//! What a spoke says of itself: to the hub now and then, and to whoever asks it.

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::unknown::UnknownOperation;

/// Of the operations that a spoke names so many are taken.
const NAMES: usize = 32;
/// And so much of a name.
const NAME: usize = 64;

/// What a spoke has done since it started, and what it has in hand. Numbers of a field are never given another meaning;
/// what an older or newer spoke does not say is 0.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SpokeStats {
    /// Whether its disk has room. If not, calls are passed through one by one, and no cut is hidden.
    #[prost(bool, tag = "1")]
    pub room: bool,
    /// Seconds since it started.
    #[prost(uint64, tag = "2")]
    pub uptime_seconds: u64,
    /// For how many seconds it hides a cut, `FL_LINK_HOLD`.
    #[prost(uint64, tag = "3")]
    pub hold_seconds: u64,
    /// Calls of SuperNodes.
    #[prost(uint64, tag = "4")]
    pub calls: u64,
    /// Of these, answered without asking the hub.
    #[prost(uint64, tag = "5")]
    pub answered_here: u64,
    /// Calls sent to the hub again after a reconnect.
    #[prost(uint64, tag = "6")]
    pub retries: u64,
    /// Cuts of the line that are over and that no SuperNode saw: there were some, the cut was no longer than the hold, and
    /// the disk had room.
    #[prost(uint64, tag = "7")]
    pub cuts_hidden: u64,
    /// Objects that came over the line.
    #[prost(uint64, tag = "8")]
    pub objects_down: u64,
    /// Bytes of their content.
    #[prost(uint64, tag = "9")]
    pub content_down: u64,
    /// Objects handed to SuperNodes.
    #[prost(uint64, tag = "10")]
    pub objects_served: u64,
    /// Bytes of their content.
    #[prost(uint64, tag = "11")]
    pub content_served: u64,
    /// Objects that were on the spoke's disk when a message named them.
    #[prost(uint64, tag = "12")]
    pub objects_reused: u64,
    /// Objects sent to the hub.
    #[prost(uint64, tag = "13")]
    pub objects_up: u64,
    /// Bytes of their content.
    #[prost(uint64, tag = "14")]
    pub content_up: u64,
    /// Bytes of what SuperNodes pushed that the hub had already. Counted while nothing is on its way up.
    #[prost(uint64, tag = "15")]
    pub saved_up: u64,
    /// Messages handed to a SuperNode more than once.
    #[prost(uint64, tag = "16")]
    pub served_again: u64,
    /// Messages and replies that came to nothing here, each with a line in the spoke's log.
    #[prost(uint64, tag = "17")]
    pub given_up: u64,
    /// Messages that their SuperNodes have not confirmed.
    #[prost(uint64, tag = "18")]
    pub messages: u64,
    /// Replies that the hub does not have yet: the spool.
    #[prost(uint64, tag = "19")]
    pub replies: u64,
    /// Calls that the hub has not answered.
    #[prost(uint64, tag = "20")]
    pub open_calls: u64,
    /// Bytes on the wire of all bulk connections so far: received.
    #[prost(uint64, tag = "21")]
    pub bulk_received: u64,
    /// And sent.
    #[prost(uint64, tag = "22")]
    pub bulk_sent: u64,
    /// Bytes of objects on its disk.
    #[prost(uint64, tag = "23")]
    pub disk_bytes: u64,
    /// Of these, needed by messages and replies under way.
    #[prost(uint64, tag = "24")]
    pub disk_needed_bytes: u64,
    /// What objects may take, `FL_LINK_DISK`.
    #[prost(uint64, tag = "25")]
    pub disk_limit_bytes: u64,
    /// Objects removed to make room.
    #[prost(uint64, tag = "26")]
    pub evictions: u64,
    /// Objects found damaged on the disk, and fetched again where they could be.
    #[prost(uint64, tag = "27")]
    pub damaged: u64,
    /// Fleet operations that it refused because it does not know them.
    #[prost(message, repeated, tag = "28")]
    pub unknown: Vec<NamedCount>,
}

/// A name and how often it came.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedCount {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How often.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Seconds since it last came, when this was said.
    #[prost(uint64, tag = "3")]
    pub seen_seconds: u64,
}

impl From<UnknownOperation> for NamedCount {
    fn from(one: UnknownOperation) -> Self {
        Self { name: one.name, count: one.count, seen_seconds: one.seen_seconds }
    }
}

impl SpokeStats {
    /// Its bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// What these bytes say. Names are cut and cleaned: they come from whoever reaches the spoke's listener.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        let mut stats = Self::decode(bytes).ok()?;
        stats.unknown.truncate(NAMES);
        for one in &mut stats.unknown {
            let shown = |c: char| if c.is_ascii_alphanumeric() || "-_?".contains(c) { c } else { '?' };
            one.name = one.name.chars().take(NAME).map(shown).collect();
        }
        Some(stats)
    }

    /// Bytes that SuperNodes got from the spoke's disk without the line.
    pub fn saved_by_cache_down(&self) -> u64 {
        self.content_served.saturating_sub(self.content_down)
    }

    /// Bytes that the codec kept off the line on the way down, with what the line itself adds taken off.
    pub fn saved_by_codec_down(&self) -> u64 {
        self.content_down.saturating_sub(self.bulk_received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back_and_names_are_cleaned() {
        let named = |name: &str| NamedCount { name: name.into(), count: 2, seen_seconds: 1 };
        let stats = SpokeStats {
            room: true,
            content_served: 9,
            content_down: 3,
            bulk_received: 5,
            unknown: vec![named("PullSecrets")],
            ..SpokeStats::default()
        };
        assert_eq!(SpokeStats::from_bytes(stats.to_bytes()), Some(stats.clone()));
        assert_eq!((stats.saved_by_cache_down(), stats.saved_by_codec_down()), (6, 0));

        let names = std::iter::repeat_with(|| named(&format!("\u{1b}[31m{}", "x".repeat(500))));
        let flood = SpokeStats { unknown: names.take(1000).collect(), ..SpokeStats::default() };
        let read = SpokeStats::from_bytes(flood.to_bytes()).unwrap().unknown;
        assert_eq!(read.len(), NAMES);
        assert_eq!(read[0].name, format!("??31m{}", "x".repeat(NAME - 5)));
        assert_eq!(SpokeStats::from_bytes(Bytes::from_static(&[255; 4])), None);
    }
}
