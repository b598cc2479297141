//! Whom a VM trusts: a CA from the context or from OneGate, held against a pin.

use std::path::PathBuf;

use onefed_context::{CaBundle, CaFingerprint};
use onefed_trust::CertificateInfo;

use crate::files::{Readers, keep, private_dir, read_if_there, write};
use crate::{Machine, StepError};

/// The CA that OneGate names, or why there is none.
pub(super) fn named(offered: Option<&str>) -> Result<&str, StepError> {
    offered.ok_or_else(|| {
        StepError::context(
            "TLS is on, but neither the context nor OneGate names the CA of the hub",
            "set FL_SSL_CA_CERTFILE; OneGate names a CA only to the service that the SuperLink is in",
        )
    })
}

/// Holds a CA that came with the context against the pin that came with it, if one did.
pub(super) fn check_given(ca: &CaBundle, pin: Option<&CaFingerprint>) -> Result<(), StepError> {
    let Some(pin) = pin else { return Ok(()) };
    // Everything in the bundle would be trusted, so the pin must cover everything.
    if ca.count() != 1 {
        return Err(StepError::context(
            format!("FL_CA_FINGERPRINT pins one certificate, FL_SSL_CA_CERTFILE holds {}", ca.count()),
            "give the one CA certificate of this federation",
        ));
    }
    let found = CertificateInfo::from_pem(ca.pem())?.fingerprint;
    if found.to_string() != pin.to_string() {
        return Err(StepError::context(
            format!("the CA in FL_SSL_CA_CERTFILE has the fingerprint {found}, FL_CA_FINGERPRINT says {pin}"),
            "use the CA certificate that belongs to this federation",
        ));
    }
    Ok(())
}

/// Holds the CA that OneGate names against the pin; `source` is where that comes from.
pub(super) fn check_pin(pem: &str, pin: &str, source: &str) -> Result<(), StepError> {
    let alarm = |text: String| {
        let hint = "somebody in this service may be posing as the SuperLink; compare with the CA on the SuperLink's VM";
        StepError::certificate(format!("ALARM: {text}"), hint)
    };
    let found = CertificateInfo::from_pem(pem)?.fingerprint.to_string();
    if found != pin {
        return Err(alarm(format!("OneGate names a CA with the fingerprint {found}, {source} says {pin}")));
    }
    // Everything in the bundle would be trusted, so the pin must cover everything.
    match pem.matches("BEGIN CERTIFICATE").count() {
        1 => Ok(()),
        count => Err(alarm(format!("OneGate names {count} CA certificates, {source} covers one, {pin}"))),
    }
}

/// Takes the CA that OneGate names once, and no other ever after.
pub(super) fn first_use(machine: &Machine, offered: &str) -> Result<(PathBuf, String), StepError> {
    let found = CertificateInfo::from_pem(offered)?.fingerprint.to_string();
    let path = machine.tls_dir().join("first-use");
    let kept = read_if_there(&path).map_err(|why| StepError::file(&path, &why))?;
    let words = match kept {
        Some(pin) => {
            check_pin(offered, pin.trim(), "the pin of the first use").map_err(|why| {
                let remove =
                    format!("if the SuperLink's CA was changed on purpose, remove {}", path.display());
                StepError { hint: format!("{}; {remove}", why.hint), ..why }
            })?;
            format!("{found}, as on first use")
        }
        None => {
            check_pin(offered, &found, "the first use")?;
            private_dir(&machine.tls_dir()).map_err(|why| StepError::file(&path, &why))?;
            write(&path, found.as_bytes(), Readers::Owner).map_err(|why| StepError::file(&path, &why))?;
            tracing::warn!(
                "FL_CA_TRUST is first-use: the CA {found} that OneGate names is trusted from now on"
            );
            format!("{found}, taken on first use")
        }
    };
    Ok((install(machine, offered)?, words))
}

/// Writes the CA where processes read it.
pub(super) fn install(machine: &Machine, pem: &str) -> Result<PathBuf, StepError> {
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let path = dir.join("ca.pem");
    keep(&path, pem.as_bytes(), Readers::All).map_err(|why| StepError::file(&path, &why))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefed_trust::RootCa;
    use std::time::SystemTime;

    fn ca() -> String {
        RootCa::generate_for_vm("an operator's", SystemTime::now()).unwrap().cert_pem().to_owned()
    }

    #[test]
    fn a_pin_covers_one_certificate_and_the_alarm_says_whose_it_is() {
        let (one, other) = (ca(), ca());
        let print = CertificateInfo::from_pem(&one).unwrap().fingerprint.to_string();
        let alarm = |pem: &str| check_pin(pem, &print, "the pin of the first use").unwrap_err().text;
        assert!(check_pin(&one, &print, "the pin of the first use").is_ok());
        assert!(alarm(&other).ends_with(&format!(", the pin of the first use says {print}")));
        assert!(alarm(&format!("{one}{other}")).contains("2 CA certificates"));
    }
}
