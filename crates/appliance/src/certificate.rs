//! The server certificate of a VM: kept over reboots, asked for when it is missing or does not fit any more.
//!
//! Key and request are made here; the request goes out with a proof by the enrolment key, the operator's `apply`
//! signs it, and only a certificate for this very key, by the pinned CA, is taken.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use onefed_context::{CaBundle, CaFingerprint, San};
use onefed_trust::{CertificateInfo, EnrolKey, LeafRequest, SanName, SecretPem, check_leaf};

use crate::files::{Readers, keep, private_dir, read_if_there, write};
use crate::publication::{Publisher, attribute, decode, encode};
use crate::{Machine, StepError, TlsFiles};

/// How long to wait for the operator's signature.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often to look for it.
const LOOK: Duration = Duration::from_millis(500);
/// A certificate that ends sooner than this is asked for again at boot.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who asks for a certificate, and with what right.
pub(crate) struct Asking<'a> {
    pub(crate) ca: &'a CaBundle,
    pub(crate) key: &'a EnrolKey,
    pub(crate) generation: u64,
    pub(crate) names: Vec<SanName>,
}

/// The names that a VM answers to: its addresses, and what the operator adds.
pub(crate) fn names(addresses: &[IpAddr], extra: &[San]) -> Vec<SanName> {
    let mut names: Vec<SanName> = addresses.iter().copied().map(SanName::Ip).collect();
    names.extend(extra.iter().map(|san| match san {
        San::Ip(ip) => SanName::Ip(*ip),
        San::Dns(name) => SanName::Dns(name.clone()),
    }));
    names.sort();
    names.dedup();
    names
}

/// Writes the CA where processes read it, after holding it against the pin.
pub(crate) fn install_ca(
    machine: &Machine,
    ca: &CaBundle,
    pin: Option<&CaFingerprint>,
) -> Result<std::path::PathBuf, StepError> {
    if let Some(pin) = pin {
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
                format!(
                    "the CA in FL_SSL_CA_CERTFILE has the fingerprint {found}, FL_CA_FINGERPRINT says {pin}"
                ),
                "use the CA certificate that belongs to this federation",
            ));
        }
    }
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let path = dir.join("ca.pem");
    keep(&path, ca.pem().as_bytes(), Readers::All).map_err(|why| StepError::file(&path, &why))?;
    Ok(path)
}

/// Takes the kept certificate if it still fits, else asks for one and waits for it. The text says which.
pub(crate) async fn obtain(
    machine: &Machine,
    publisher: &Publisher,
    asking: &Asking<'_>,
) -> Result<(TlsFiles, String), StepError> {
    let dir = machine.tls_dir();
    let files = TlsFiles { certificate: dir.join("server.pem"), key: dir.join("server.key") };
    let key = match read_if_there(&files.key).map_err(|why| StepError::file(&files.key, &why))? {
        Some(pem) => SecretPem::new(pem),
        None => {
            let made = LeafRequest::generate(&asking.names)?.key_pem;
            write(&files.key, made.expose().as_bytes(), Readers::Owner)
                .map_err(|why| StepError::file(&files.key, &why))?;
            made
        }
    };
    let now = SystemTime::now();
    let kept = read_if_there(&files.certificate).map_err(|why| StepError::file(&files.certificate, &why))?;
    if let Some(info) = kept.and_then(|pem| check_leaf(&pem, &key, asking.ca.pem(), now).ok()) {
        let fits = asking.names.iter().all(|name| info.names.contains(name));
        if fits && info.not_after > now + RENEW {
            return Ok((files, format!("kept, {} days left", info.days_left(now))));
        }
    }
    let Some(gate) = publisher.client() else {
        let hint = "set TOKEN = \"YES\" in the template's CONTEXT";
        return Err(StepError::certificate(
            "a certificate is needed, but there is no OneGate to ask through",
            hint,
        ));
    };
    let request = LeafRequest::for_key(&key, &asking.names)?;
    let csr = request.csr_pem.trim();
    let proof = asking.key.proof(gate.vm_id(), asking.generation, csr);
    // Base64url has a `_`, which OneGate keeps, and a `-`, which it keeps too.
    publisher.say(&[(attribute::REQUEST, &encode(csr)), (attribute::PROOF, &proof)]).await?;
    tracing::info!(
        names = asking.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        "certificate requested"
    );
    let started = std::time::Instant::now();
    let mut refused = None;
    let mut unheard = None;
    while started.elapsed() < PATIENCE {
        let vm = gate.vm().await;
        let why = vm.as_ref().err().map(ToString::to_string);
        if let (Some(why), true) = (&why, why != unheard) {
            tracing::info!("not yet: {why}");
        }
        unheard = why;
        if let Some(found) = vm.ok().and_then(|vm| vm.user_template.get(attribute::CERTIFICATE).cloned()) {
            let checked = decode(&found).ok_or_else(|| "not base64".to_owned()).and_then(|pem| {
                check_leaf(&pem, &key, asking.ca.pem(), SystemTime::now()).map_err(|why| why.to_string())?;
                Ok(pem)
            });
            match checked {
                Ok(pem) => {
                    write(&files.certificate, pem.as_bytes(), Readers::All)
                        .map_err(|why| StepError::file(&files.certificate, &why))?;
                    return Ok((files, format!("signed in {:.1} s", started.elapsed().as_secs_f64())));
                }
                // Somebody offers a certificate that is not ours. Say so once, and keep waiting for the right one.
                Err(why) if refused.as_ref() != Some(&why) => {
                    tracing::error!(why, "ALARM: a certificate was offered that this VM must not take");
                    refused = Some(why);
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let refused = refused.map_or(String::new(), |why| format!("; one that was offered was refused: {why}"));
    Err(StepError::certificate(
        format!("no certificate within {} minutes{refused}", PATIENCE.as_secs() / 60),
        "run `onefed apply` again: it signs what VMs of the federation ask for",
    ))
}
