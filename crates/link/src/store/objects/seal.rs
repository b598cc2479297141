//! Encryption of contents at rest, with a key that never leaves the directory.
//!
//! Every stored copy has a key of its own: HKDF-SHA256 of the store's key, a random salt, and the object's id. A sealed
//! content is `salt (16) · parts`, a part being up to 256 KiB of AES-256-GCM and its tag; the nonce is the number of the
//! part and whether it is the last one. So no nonce is used twice, no part can be moved or left out, and what opens under
//! an id is what was sealed under it: it was verified then, and need not be hashed again.

use std::io::{self, Read, Write};
use std::path::Path;

use onefed_flower::objects::ObjectId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::super::disk::{self, at};
use crate::io::Buffer;

const SALT: usize = 16;
const TAG: usize = 16;
const PART: usize = 256 << 10;

/// The key of a store.
pub(super) struct Vault {
    key: [u8; 32],
    random: SystemRandom,
}

impl Vault {
    /// Reads the key of this file, or makes one. Contents that were sealed with a lost key are lost.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        match std::fs::read(path) {
            Ok(bytes) if bytes.len() == key.len() => key.copy_from_slice(&bytes),
            Ok(_) => {
                tracing::warn!(key = %path.display(), "the store's key is damaged: what was encrypted with it is lost");
                return make(path, random);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return make(path, random),
            Err(error) => return Err(at(path)(error)),
        }
        Ok(Self { key, random })
    }

    fn key_of(&self, id: ObjectId, salt: &[u8; SALT]) -> io::Result<LessSafeKey> {
        let key = Salt::new(HKDF_SHA256, salt).extract(&self.key);
        let info = [id.0.as_slice()];
        let key = key.expand(&info, &AES_256_GCM).map_err(|_| io::Error::other("cannot derive a key"))?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }

    /// Writes the sealed content.
    pub(super) fn seal(&self, id: ObjectId, content: &[u8], into: &mut impl Write) -> io::Result<()> {
        let mut salt = [0; SALT];
        self.random.fill(&mut salt).map_err(|_| io::Error::other("no random bytes"))?;
        let key = self.key_of(id, &salt)?;
        into.write_all(&salt)?;
        let parts = parts(content.len());
        let mut buffer = Vec::with_capacity(content.len().min(PART) + TAG);
        for part in 0..parts {
            buffer.clear();
            buffer.extend_from_slice(&content[part * PART..content.len().min((part + 1) * PART)]);
            let nonce = nonce(part, part + 1 == parts);
            key.seal_in_place_append_tag(nonce, Aad::empty(), &mut buffer)
                .map_err(|_| io::Error::other("cannot encrypt"))?;
            into.write_all(&buffer)?;
        }
        Ok(())
    }

    /// Reads a sealed content of so many bytes. `None` if it is not what was sealed.
    pub(super) fn unseal(
        &self,
        id: ObjectId,
        bytes: usize,
        from: &mut impl Read,
    ) -> io::Result<Option<Buffer>> {
        let mut salt = [0; SALT];
        from.read_exact(&mut salt)?;
        let key = self.key_of(id, &salt)?;
        let parts = parts(bytes);
        let mut content = Buffer::with_capacity(bytes + TAG);
        for part in 0..parts {
            let start = content.len();
            let length = PART.min(bytes - start);
            // Unlike `read_exact` this does not need memory that was cleared before.
            if from.by_ref().take((length + TAG) as u64).read_to_end(&mut content)? < length + TAG {
                return Ok(None);
            }
            let nonce = nonce(part, part + 1 == parts);
            if key.open_in_place(nonce, Aad::empty(), &mut content[start..]).is_err() {
                return Ok(None);
            }
            content.truncate(start + length);
        }
        Ok(Some(content))
    }
}

fn make(path: &Path, random: SystemRandom) -> io::Result<Vault> {
    let mut key = [0; 32];
    random.fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    disk::write_private(path, &key)?;
    Ok(Vault { key, random })
}

fn parts(bytes: usize) -> usize {
    bytes.div_ceil(PART).max(1)
}

fn nonce(part: usize, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&(part as u64).to_le_bytes());
    nonce[8] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// How long a content of so many bytes is when it is sealed.
pub(super) fn sealed_length(bytes: u64) -> u64 {
    SALT as u64 + bytes + TAG as u64 * bytes.div_ceil(PART as u64).max(1)
}

/// How long the content is of which this is the sealed length. `None` if there is none.
pub(super) fn content_length(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(SALT as u64)?;
    let bytes = body.checked_sub(TAG as u64 * body.div_ceil((PART + TAG) as u64))?;
    (sealed_length(bytes) == sealed).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back() {
        let part = PART as u64;
        for bytes in [0, 1, 16, 17, part - 1, part, part + 1, 2 * part, 20 * part + 7] {
            assert_eq!(content_length(sealed_length(bytes)), Some(bytes));
        }
        assert_eq!(content_length(31), None);
        assert_eq!(content_length(sealed_length(part) + 5), None);
    }

    #[test]
    fn only_what_was_sealed_opens() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        let (id, other) = (ObjectId([1; 32]), ObjectId([2; 32]));
        for bytes in [0, 1, PART, PART + 1, 3 * PART - 5] {
            let content: Vec<u8> = (0..bytes).map(|byte| (byte % 251) as u8).collect();
            let mut sealed = Vec::new();
            vault.seal(id, &content, &mut sealed).unwrap();
            assert_eq!(sealed.len() as u64, sealed_length(bytes as u64));
            let again = Vault::open(&dir.path().join("key")).unwrap();
            let opened = again.unseal(id, bytes, &mut sealed.as_slice()).unwrap();
            assert_eq!(opened.as_deref(), Some(&content));
            assert!(vault.unseal(other, bytes, &mut sealed.as_slice()).unwrap().is_none());
            let middle = sealed.len() / 2;
            sealed[middle] ^= 1;
            assert!(vault.unseal(id, bytes, &mut sealed.as_slice()).unwrap().is_none());
        }
    }

    #[test]
    fn parts_cannot_be_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        let (id, mut sealed) = (ObjectId([1; 32]), Vec::new());
        vault.seal(id, &vec![7; 2 * PART], &mut sealed).unwrap();
        sealed.truncate(SALT + PART + TAG);
        assert!(vault.unseal(id, PART, &mut sealed.as_slice()).unwrap().is_none());
    }
}
