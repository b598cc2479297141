//! What can go wrong between the boot and systemd.

use std::path::PathBuf;

use crate::StepError;

/// Why systemd does not run what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdError {
    #[error("{tool} is not installed")]
    NotInstalled { tool: String },
    #[error("systemd does not answer: {said}")]
    NoBus { said: String },
    #[error("`{what}` did not end within {seconds} s")]
    Hung { what: String, seconds: u64 },
    #[error("`{what}` failed: {said}")]
    Refused { what: String, said: String },
    #[error("`{what}` says what is not understood: {said}")]
    Garbled { what: String, said: String },
    #[error("{unit} does not start ({why}): {last_words}")]
    NotStarted { unit: String, why: String, last_words: String },
    #[error("{unit} keeps ending: {restarts} restarts, the last end {why}: {last_words}")]
    CrashLoop { unit: String, restarts: u32, why: String, last_words: String },
    #[error("{unit} is masked or a link: somebody has forbidden it")]
    Masked { unit: String },
    #[error("{unit}: {what} cannot be written into a unit: {why}")]
    Unwritable { unit: String, what: String, why: &'static str },
    #[error("{path}: {why}")]
    File { path: PathBuf, why: std::io::Error },
    #[error("there is no user {name} with its group{detail} on this VM")]
    NoUser { name: &'static str, detail: &'static str },
    #[error("{path} cannot be given to {service}: {why}")]
    Forbidden { path: PathBuf, service: &'static str, why: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<SystemdError>),
}

impl SystemdError {
    /// No problem, the one problem, or all of them.
    pub(super) fn all(mut problems: Vec<Self>) -> Result<(), Self> {
        match (problems.len(), problems.pop()) {
            (_, None) => Ok(()),
            (1, Some(only)) => Err(only),
            (_, Some(last)) => {
                problems.push(last);
                Err(Self::Several(problems))
            }
        }
    }

    /// What the operator can do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotInstalled { .. } => "boot without units (in the foreground) where there is no systemd".into(),
            Self::NoBus { .. } => {
                "`onefed boot` needs to be root on a VM that systemd has started; see `systemctl is-system-running`"
                    .into()
            }
            Self::Hung { .. } => "see `systemctl list-jobs` for what it waits for".into(),
            Self::Refused { .. } | Self::Garbled { .. } => "see `systemctl status` and the journal of this VM".into(),
            Self::NotStarted { unit, .. } | Self::CrashLoop { unit, .. } => {
                format!("see `systemctl status {unit}` and `journalctl -u {unit}`")
            }
            Self::Masked { unit } => format!("`systemctl unmask {unit}`"),
            Self::Unwritable { .. } => "correct the path or variable that it comes from".into(),
            Self::File { .. } => "check that the disk is not full and that this is run as root".into(),
            Self::NoUser { .. } => "run `systemd-sysusers` with the onefed.sysusers.conf of the image".into(),
            Self::Forbidden { .. } => "keep each service's files in directories of their own".into(),
            Self::Several(list) => list.first().map(Self::hint).unwrap_or_default(),
        }
    }
}

impl From<SystemdError> for StepError {
    fn from(error: SystemdError) -> Self {
        match &error {
            SystemdError::File { path, why } => Self::file(path, why),
            _ => Self::process(&error, error.hint()),
        }
    }
}
