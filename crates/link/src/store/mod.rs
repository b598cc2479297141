//! What hub and spoke keep on disk: a journal of records, and a store of objects named by their SHA-256.
//!
//! | | [`Journal`] | [`ObjectStore`] |
//! |---|---|---|
//! | holds | the engine's records, in order | the content of messages, app bundles |
//! | called | blocking, from the one task that owns it; each call takes microseconds, [`Journal::sync`] excepted | async, from anywhere, by clones of one handle |
//! | `kill -9` | survived by what [`Journal::append`] returned `Ok` for | survived by what [`ObjectStore::put`] returned `Ok` for |
//! | power cut | survived after [`Journal::sync`] | survived after [`ObjectStore::sync`] |
//! | full disk | goes on in space of its own until that is used up | refuses ([`PutError::NoRoom`]), evicts what is not kept |
//!
//! How a shell uses them (`shell/actor.rs`):
//!
//! ```text
//! let (mut journal, records) = Journal::open(dir, "spoke")?;     // blocking, once
//! let store = ObjectStore::open(dir.join("objects"), limits).await?;
//! let engine = Spoke::new(settings, records, now, &store);       // keeps what it needs, before anything is put
//! journal.append(&[record.encode()])?;                           // before any later action is begun
//! if record.is_final() {                                         // objects first: the record says that they are there
//!     store.sync().await?;
//! }
//! if record.is_promise() {
//!     journal.sync()?;                                           // on a thread that may block
//! }
//! if journal.bytes() > journal.bytes_after_rewrite() * N + SOME { journal.rewrite(&snapshot)?; }
//! Event::Storage(store.room() && journal.room());                // now and then
//! ```

mod disk;
mod journal;
mod objects;
#[cfg(test)]
mod support;

pub use journal::Journal;
pub use objects::{Limits, ObjectStore, PutError, Usage};
