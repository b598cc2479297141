//! A certificate that the operator's `apply` signs: kept over reboots, asked for when there is none or it does not fit.
//!
//! Key and request are made here; the request goes out with a proof by the enrolment key, and only a certificate for
//! this very key, by the pinned CA, is taken. CA, certificate and key are replaced as a set.

use std::time::{Duration, SystemTime};

use onefed_context::{CaBundle, Secret};
use onefed_trust::{EnrolKey, LeafRequest, SanName, check_leaf};

use super::pki::own_fault;
use super::{Secured, anchor};
use crate::authority::{Installed, Parts, install, installed, request_key};
use crate::files::{FileSet, private_dir};
use crate::publication::{Publisher, attribute, decode, encode};
use crate::steps::Steps;
use crate::{Machine, StepError, TlsFiles};

/// How long to wait for the operator's signature: an `apply` that was cut short goes on when its operator is back.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How often to look for it.
const LOOK: Duration = Duration::from_millis(500);
/// A certificate that ends sooner than this is asked for again at boot.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who asks for a certificate, and with what right.
struct Asking<'a> {
    ca: &'a CaBundle,
    key: &'a EnrolKey,
    generation: u64,
    names: Vec<SanName>,
}

/// The certificate of this VM, signed by the CA that came with its context.
pub(super) async fn enrolled(
    steps: &Steps<'_>,
    ca: &CaBundle,
    key: &Secret,
    names: Vec<SanName>,
) -> Result<Secured, StepError> {
    let obtain = async || {
        anchor::check_given(ca, steps.context.ca_fingerprint.as_ref())?;
        let key = EnrolKey::from_text(key.expose());
        let asking = Asking { ca, key: &key, generation: steps.generation, names: names.clone() };
        let (set, text) = obtain(steps.machine, &steps.publisher, &asking).await?;
        let files = TlsFiles { certificate: set.chain, key: set.key };
        Ok((Secured { files: Some(files), ca: Some(set.ca), ..Secured::default() }, text))
    };
    steps.wait("certificate", obtain).await
}

/// Takes the kept set if it still fits, else asks for a certificate and waits for it. The text says which.
async fn obtain(
    machine: &Machine,
    publisher: &Publisher,
    asking: &Asking<'_>,
) -> Result<(Installed, String), StepError> {
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let set = FileSet::at(dir.join("enrolled"));
    let now = SystemTime::now();
    if let Some(there) = installed(&set).map_err(own_fault)?
        && there.ca_pem == asking.ca.pem()
        && let Ok(info) = check_leaf(&there.chain_pem, &there.key_pem, &there.ca_pem, now)
    {
        let fits = asking.names.iter().all(|name| info.names.contains(name));
        if fits && info.not_after > now + RENEW {
            return Ok((there, format!("kept, {} days left", info.days_left(now))));
        }
    }
    let (_, key) = request_key(&machine.disk).map_err(own_fault)?;
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
                    let made = Parts { ca_pem: asking.ca.pem(), chain_pem: &pem, key_pem: &key };
                    let there = install(&set, &made, &[], None).map_err(own_fault)?;
                    return Ok((there, format!("signed in {:.1} s", started.elapsed().as_secs_f64())));
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
        format!("no certificate within {} h{refused}", PATIENCE.as_secs() / 3600),
        "run `onefed apply` again: it signs what VMs of the federation ask for",
    ))
}
