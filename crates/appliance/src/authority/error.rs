//! Why a VM's own CA cannot serve.

use std::path::PathBuf;

use super::Reason;

/// An error of [`keep`](super::keep). Each says where; [`AuthorityError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or directory could not be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// One half of a CA: somebody removed the other, since both are made in one step.
    #[error("{} holds {there} but no {lacks}: half of this VM's CA is gone", dir.display())]
    HalfCa {
        /// The CA's directory.
        dir: PathBuf,
        /// The file that is there.
        there: &'static str,
        /// The file that is not.
        lacks: &'static str,
    },
    /// A CA that cannot be read, or whose files do not belong together.
    #[error("this VM's CA in {} is damaged: {why}", dir.display())]
    DamagedCa {
        /// The CA's directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: onefed_trust::Error,
    },
    /// A CA outside its ten years, or a clock that is wrong.
    #[error("this VM's CA in {} is not in force: {why}", dir.display())]
    CaNotInForce {
        /// The CA's directory.
        dir: PathBuf,
        /// On which side.
        why: onefed_trust::Error,
    },
    /// A certificate must be issued, and the CA that issued the last one is not there.
    #[error("the server certificate must be issued anew ({reason}), but its CA is no longer in {}", dir.display())]
    CaGone {
        /// The CA's directory.
        dir: PathBuf,
        /// Why it must.
        reason: Reason,
    },
    /// The certificate could not be made.
    #[error(transparent)]
    Trust(#[from] onefed_trust::Error),
}

impl AuthorityError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let give_up = |dir: &std::path::Path| {
            let dir = dir.parent().unwrap_or(dir).display();
            format!("or remove {dir} for a new CA, which everybody who trusts the old one must be given")
        };
        match self {
            Self::File { .. } => "check that the disk is not full and that onefed may write there".to_owned(),
            Self::HalfCa { dir, lacks, .. } => format!("put {lacks} back from a copy, {}", give_up(dir)),
            Self::DamagedCa { dir, .. } | Self::CaGone { dir, .. } => {
                format!("put the CA back from a copy, {}", give_up(dir))
            }
            Self::CaNotInForce { dir, .. } => format!("correct the clock of this VM, {}", give_up(dir)),
            Self::Trust(_) => "check the names that the certificate is to have".to_owned(),
        }
    }
}
