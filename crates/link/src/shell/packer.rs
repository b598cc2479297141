//! Objects made ready for the bulk connection, and put together again behind it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onefed_flower::objects::ObjectId;

use crate::codec::policy::Policy;
use crate::codec::{self, CodecError, Coding};
use crate::engine::{Shelf as _, Wanted};
use crate::pair::bulk::Parcel;
use crate::store::{ObjectStore, PutError};

/// Less than this is coded where it is: handing it to another thread would take longer.
const QUICK: usize = 32 << 10;
/// An object that is there and cannot be read, since there are too many open files or too little memory, is tried again
/// after this time, so often.
const UNREADABLE: Duration = Duration::from_secs(1);
const UNREADABLE_TRIES: u32 = 10;

/// One end of a bulk connection, as far as coding goes.
pub(crate) struct Packer {
    store: ObjectStore,
    /// Nobody else has what is in the store.
    only: bool,
    policy: Mutex<Policy>,
    named: Mutex<Named>,
}

/// What this end wants as a difference.
#[derive(Default)]
struct Named {
    /// Objects that have not come.
    objects: HashSet<ObjectId>,
    /// All that were named since there were none of these: the sender knows best which is whose.
    bases: HashSet<ObjectId>,
    /// Objects that were wanted as a difference first, and then as they are: a difference may be on its way.
    plain: HashSet<ObjectId>,
}

/// Why an object that came is not in the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It could not be put together from its base: it is to be had as it is.
    #[error("{0}")]
    Base(String),
    /// There is no room for it now.
    #[error("{0}")]
    Disk(String),
    /// The other end does not keep to what was agreed.
    #[error("{0}")]
    Broken(String),
}

impl Packer {
    /// A packer of this store; `only` if nobody else has what it is to send.
    pub(crate) fn new(store: ObjectStore, only: bool) -> Self {
        Self { store, only, policy: Mutex::default(), named: Mutex::default() }
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is about to want these.
    pub(crate) fn name(&self, all: &[Wanted]) {
        let mut named = self.named();
        for wanted in all {
            if named.objects.remove(&wanted.id) && wanted.base.is_none() {
                named.plain.insert(wanted.id);
            }
            if let Some(base) = wanted.base {
                if named.objects.is_empty() {
                    named.bases.clear();
                }
                named.objects.insert(wanted.id);
                named.bases.insert(base);
            }
        }
    }

    /// The pair has ended, and with it all wants.
    pub(crate) fn forget(&self) {
        *self.named() = Named::default();
    }

    /// So many bytes of an object were on the line for so long.
    pub(crate) fn sent(&self, bytes: usize, took: Duration) {
        self.policy().sent(bytes as u64, took);
    }

    /// An object as it is to be sent; `None` if it is not in the store. One that cannot be read now is waited for: it is
    /// wanted once, and nobody would want it again.
    pub(crate) async fn pack(&self, wanted: Wanted) -> Option<Parcel> {
        let mut tries = 0;
        let content = loop {
            match self.store.get(wanted.id).await {
                Some(content) => break content,
                None if !self.store.has(wanted.id) => return None,
                None if tries == UNREADABLE_TRIES => {
                    // Others wait behind it. It is fetched again, or its turn comes again.
                    tracing::error!(object = %wanted.id, "an object cannot be read: open files, memory, rights?");
                    if !self.only {
                        self.store.remove(wanted.id).await;
                    }
                    return None;
                }
                None => tokio::time::sleep(UNREADABLE).await,
            }
            tries += 1;
        };
        if !self.policy().codes(content.len()) {
            return Some(Parcel::plain(wanted.id, content));
        }
        let base = match wanted.base {
            Some(id) => self.store.get(id).await.map(|content| (id, content)),
            None => None,
        };
        let (raw, base_id) = (content.clone(), base.as_ref().map(|(id, _)| *id));
        let coded = work(content.len(), move || {
            let began = Instant::now();
            (codec::encode(&raw, base.as_ref().map(|(_, content)| content.as_ref())), began.elapsed())
        });
        let Some((encoded, took)) = coded.await else { return Some(Parcel::plain(wanted.id, content)) };
        let (length, left) = (content.len(), encoded.bytes.len());
        self.policy().coded(length as u64, left as u64, took);
        let base = base_id.filter(|_| encoded.coding == Coding::Delta);
        Some(Parcel { id: wanted.id, coding: encoded.coding, length, base, bytes: encoded.bytes })
    }

    /// Puts an object together and stores it, verified. Gives the length of its content in bytes.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn take(&self, parcel: Parcel) -> Result<u64, NotTaken> {
        let Parcel { id, coding, length, base, bytes } = parcel;
        let (named, plain) = {
            let mut named = self.named();
            let (wanted, plain) = (named.objects.remove(&id), named.plain.remove(&id));
            (wanted && base.is_some_and(|base| named.bases.contains(&base)), plain)
        };
        let base = match base {
            None => None,
            // It was wanted twice, since the first seemed to find no room.
            Some(_) if !named && self.store.has(id) => return Ok(length as u64),
            Some(base) if !named && plain => {
                return Err(NotTaken::Base(format!("it is not wanted against {base} any more")));
            }
            Some(base) if !named => {
                return Err(NotTaken::Broken(format!("object {id} against {base}, which was not named")));
            }
            Some(base) => match self.store.get(base).await {
                Some(content) => Some(content),
                None => return Err(NotTaken::Base(format!("its base {base} is not here any more"))),
            },
        };
        let delta = base.is_some();
        let wrong = |why: String| match delta {
            true => NotTaken::Base(why),
            false => NotTaken::Broken(format!("object {id}: {why}")),
        };
        let decoded = work(length, move || codec::decode(coding, &bytes, length, base.as_deref())).await;
        let content = match decoded {
            Some(Ok(content)) => content,
            Some(Err(why @ CodecError::Memory(_))) => return Err(NotTaken::Disk(why.to_string())),
            Some(Err(why)) => return Err(wrong(why.to_string())),
            None => return Err(NotTaken::Disk("it could not be decoded".to_owned())),
        };
        match self.store.put(id, content).await {
            Ok(()) => Ok(length as u64),
            Err(why @ PutError::WrongHash) => Err(wrong(why.to_string())),
            Err(why) => Err(NotTaken::Disk(why.to_string())),
        }
    }
}

/// Does what takes a while on a thread that may. `None` if it panicked, or if everything ends.
async fn work<T: Send + 'static>(bytes: usize, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes < QUICK {
        return Some(job());
    }
    tokio::task::spawn_blocking(job).await.ok()
}

#[cfg(test)]
mod tests;
