//! Why a boot step failed: a stable code, what happened, and what to do.

/// A failed boot step. The code is published as `FL_ERROR`; the list of codes is closed:
/// `context_invalid`, `onegate_failed`, `flower_missing`, `address_in_use`, `file_failed`, `certificate_failed`,
/// `gateway_not_found`, `superlink_not_found`, `partition_failed`, `process_failed`, `health_timeout`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StepError {
    /// One of the codes above.
    pub code: &'static str,
    /// What happened, naming the variable, file or address.
    pub text: String,
    /// What to do about it.
    pub hint: String,
    /// The exit code of `onefed boot` by meaning (sysexits).
    pub exit: u8,
}

/// `EX_CONFIG`: the VM was told something wrong.
const CONFIGURATION: u8 = 78;
/// `EX_UNAVAILABLE`: something that the VM needs is not there.
const UNAVAILABLE: u8 = 69;
/// Anything else.
const FAILED: u8 = 1;
/// Never published.
const SUPERSEDED: &str = "superseded";

/// A finding as the log, OneGate and `onefed health` show it: each has one line for it.
pub(crate) fn in_a_line(code: &str, message: &str, hint: Option<&str>) -> String {
    let hint = hint.map_or(String::new(), |hint| format!(" (hint: {hint})"));
    format!("[{code}] {message}{hint}").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

impl StepError {
    fn new(code: &'static str, exit: u8, text: impl ToString, hint: impl Into<String>) -> Self {
        Self { code, text: text.to_string(), hint: hint.into(), exit }
    }

    pub(crate) fn context(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("context_invalid", CONFIGURATION, text, hint)
    }

    pub(crate) fn onegate(why: &onefed_opennebula::Error) -> Self {
        let hint = "check that the template has TOKEN = \"YES\" and that OneGate is reachable from this VM";
        Self::new("onegate_failed", UNAVAILABLE, why, hint)
    }

    pub(crate) fn flower(why: &onefed_flower::EnvironmentError) -> Self {
        Self::new("flower_missing", CONFIGURATION, why, why.hint())
    }

    pub(crate) fn new_flower(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("flower_missing", CONFIGURATION, text, hint)
    }

    pub(crate) fn address(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("address_in_use", CONFIGURATION, text, hint)
    }

    pub(crate) fn file(path: &std::path::Path, why: &std::io::Error) -> Self {
        let text = format!("{}: {why}", path.display());
        Self::new(
            "file_failed",
            FAILED,
            text,
            "check that the disk is not full and that onefed may write there",
        )
    }

    pub(crate) fn certificate(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("certificate_failed", FAILED, text, hint)
    }

    pub(crate) fn gateway(text: impl ToString) -> Self {
        let hint = "look at the gateway VM of this service: its console says which boot step it is at";
        Self::new("gateway_not_found", UNAVAILABLE, text, hint)
    }

    pub(crate) fn partition(text: impl ToString) -> Self {
        let hint =
            "name the partition yourself in FL_NODE_CONFIG, for instance `partition-id=0 num-partitions=4`";
        Self::new("partition_failed", FAILED, text, hint)
    }

    pub(crate) fn process(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("process_failed", FAILED, text, hint)
    }

    pub(crate) fn superlink(text: impl ToString) -> Self {
        let hint = "look at the SuperLink VM of this service, or set FL_SUPERLINK_ADDRESS";
        Self::new("superlink_not_found", UNAVAILABLE, text, hint)
    }

    /// A VM that does not do its work now.
    pub(crate) fn unwell(text: impl ToString) -> Self {
        Self::new(
            "health_timeout",
            FAILED,
            text,
            "see the log of the boot, and those of its processes: in the disk's log directory, or under systemd in the journal",
        )
    }

    /// The context has changed while a step waited. Not a failure: the boot begins again.
    pub(crate) fn superseded() -> Self {
        Self::new(SUPERSEDED, FAILED, "the context has changed", "nothing to do: the boot begins again")
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.code == SUPERSEDED
    }

    pub(crate) fn health(text: impl ToString, hint: impl Into<String>) -> Self {
        Self::new("health_timeout", UNAVAILABLE, text, hint)
    }
}

impl From<onefed_trust::Error> for StepError {
    fn from(why: onefed_trust::Error) -> Self {
        Self::certificate(
            why,
            "check the CA in FL_SSL_CA_CERTFILE, and the clocks of this VM and of the operator",
        )
    }
}
