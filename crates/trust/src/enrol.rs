//! Enrolment keys: how a VM's signing request proves which VM it is from.
//!
//! The request travels through OneGate, which any VM of the same service may write to. So `apply` gives the VM a
//! key in its context, which lives as long as its service, and the VM sends HMAC-SHA-256(key, VM id, boot generation, request) beside it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SecureRandom;

use crate::{Error, Result};

/// An enrolment key, written as 43 characters of base64url. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolKey(String);

impl EnrolKey {
    /// Makes a new key of 256 random bits.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0u8; 32];
        let random = ring::rand::SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| Error::generate("a one-time key", "no random bytes"))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Takes a key as it stands in a context.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text for the context. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The proof that goes with a request: base64url, 43 characters.
    pub fn proof(&self, vm_id: u32, generation: u64, csr_pem: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), message(vm_id, generation, csr_pem).as_bytes()))
    }

    /// Checks a proof, in constant time.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`].
    pub fn verify(&self, proof: &str, vm_id: u32, generation: u64, csr_pem: &str) -> Result<()> {
        let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| Error::NotAuthenticated)?;
        hmac::verify(&self.key(), message(vm_id, generation, csr_pem).as_bytes(), &proof)
            .map_err(|_| Error::NotAuthenticated)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

impl std::fmt::Debug for EnrolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnrolKey(hidden)")
    }
}

/// What is authenticated. Whitespace at the ends of the request does not survive OneGate and is left out.
fn message(vm_id: u32, generation: u64, csr_pem: &str) -> String {
    format!("onefed-csr-1\n{vm_id}\n{generation}\n{}", csr_pem.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_key_vm_generation_and_request_only() {
        let key = EnrolKey::generate().unwrap();
        let proof = key.proof(7, 1, "csr\n");
        assert!(key.verify(&proof, 7, 1, "csr").is_ok());
        assert!(key.verify(&proof, 8, 1, "csr").is_err());
        assert!(key.verify(&proof, 7, 2, "csr").is_err());
        assert!(key.verify(&proof, 7, 1, "other").is_err());
        assert!(key.verify("garbage!", 7, 1, "csr").is_err());
        assert!(EnrolKey::generate().unwrap().verify(&proof, 7, 1, "csr").is_err());
        assert_eq!(format!("{key:?}"), "EnrolKey(hidden)");
    }
}
