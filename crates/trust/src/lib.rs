//! Who is who: the operator's root CA, leaf certificates and their requests, fingerprints, one-time keys, and the
//! TLS settings made of them. In-process; no `openssl` binary.
//!
//! A private key is made where it is used: a VM makes its key and a signing request ([`LeafRequest`]), the operator
//! checks and signs it ([`RootCa::sign_server`]), the VM accepts only a certificate for its own key
//! ([`check_leaf`]). What travels is public, or a one-time key ([`EnrolKey`]).

mod ca;
mod certificate;
mod enrol;
mod error;
pub mod import;
mod leaf;
mod node_key;
mod san;
mod secret;
pub mod tls;

pub use ca::{ClientIdentity, ClientRole, RootCa, ServerIdentity};
pub use certificate::{CertificateInfo, Fingerprint};
pub use enrol::EnrolKey;
pub use error::Error;
pub use leaf::{LeafRequest, check_leaf};
pub use node_key::{NodeKey, NodePublicKey};
pub use san::SanName;
pub use secret::SecretPem;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
