//! What can go wrong with a listener or a line.

use std::net::SocketAddr;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("{who} cannot listen on {address}: {why}")]
    Listen {
        /// Which listener: "the hub's Fleet listener", …
        who: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        why: std::io::Error,
    },
    /// A host name that has no address, or a connection that could not be made.
    #[error("cannot reach {what} at {address}: {why}")]
    Unreachable {
        /// What was dialled.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        why: String,
    },
    /// The TLS handshake failed.
    #[error("TLS with {what} at {address} failed: {why}")]
    Tls {
        /// What was dialled.
        what: &'static str,
        /// Where.
        address: String,
        /// What TLS said.
        why: String,
    },
    /// Something took too long.
    #[error("{what} did not answer within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// The other end answered, but not what it should.
    #[error("{what} answered {answer}")]
    Answer {
        /// Who answered.
        what: String,
        /// What.
        answer: String,
    },
    /// The other end understood, and will not. Asking again does not help.
    #[error("{what} refused: {why}")]
    Refused {
        /// Who refused.
        what: String,
        /// Why, in words for the operator.
        why: String,
    },
    /// What must survive a restart cannot be kept.
    #[error(
        "the state in {} cannot be used: {why}; it needs a disk with room, and belongs to one process",
        dir.display()
    )]
    Disk {
        /// The directory.
        dir: std::path::PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Certificates or keys are wrong.
    #[error(transparent)]
    Trust(#[from] onefed_trust::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a TLS handshake failed, in words that say what to do where that is known.
pub(crate) fn tls_words(why: &std::io::Error) -> String {
    match onefed_trust::tls::Diagnosis::of(why) {
        Some(diagnosis) => format!("{diagnosis}: {}", diagnosis.hint()),
        None => why.to_string(),
    }
}
