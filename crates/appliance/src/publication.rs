//! What a VM says about itself through OneGate.
//!
//! OneGate data is a hint, never a trust anchor. Readiness goes out last, in one request with everything that peers
//! need; no other attribute may read like READY=YES (OneFlow looks for that text anywhere in an update).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_opennebula::onegate::Client;

use crate::StepError;

/// The attributes, by name.
pub mod attribute {
    /// `starting`, `ready`, `degraded` or `failed`.
    pub const STATE: &str = "FL_STATE";
    /// The role, as in the context.
    pub const ROLE: &str = "FL_ROLE";
    /// The Flower release that runs.
    pub const VERSION: &str = "FL_VERSION";
    /// Which boot of this VM published; counts up from 1.
    pub const GENERATION: &str = "FL_BOOT";
    /// `host:port` where peers connect: a gateway's spoke, a SuperLink's hub. Base64, since IPv6 brackets do not
    /// survive OneGate.
    pub const ENDPOINT: &str = "FL_ENDPOINT";
    /// A request for a server certificate: base64 of PEM.
    pub const REQUEST: &str = "FL_CSR";
    /// The proof that goes with the request.
    pub const PROOF: &str = "FL_CSR_PROOF";
    /// The signed certificate, written by the operator: base64 of PEM.
    pub const CERTIFICATE: &str = "FL_CERT";
    /// Flower's id of this SuperNode.
    pub const NODE_ID: &str = "FL_NODE_ID";
    /// The code of what went wrong, empty state otherwise absent.
    pub const ERROR: &str = "FL_ERROR";
    /// What went wrong and what to do: base64 of a text.
    pub const ERROR_TEXT: &str = "FL_ERROR_TEXT";
    /// What OneFlow waits for.
    pub const READY: &str = "READY";
}

/// The attributes of an earlier boot that must not be believed any more.
const STALE: [&str; 8] = [
    attribute::READY,
    attribute::ENDPOINT,
    attribute::REQUEST,
    attribute::PROOF,
    attribute::CERTIFICATE,
    attribute::NODE_ID,
    attribute::ERROR,
    attribute::ERROR_TEXT,
];

/// This VM's voice. Without OneGate it says nothing.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: Option<Client>,
}

impl Publisher {
    pub(crate) fn new(client: Option<Client>) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Takes back what an earlier boot said, and says that this one has begun.
    pub(crate) async fn begin(&self, role: &str, version: &str, generation: u64) -> Result<(), StepError> {
        let Some(client) = &self.client else { return Ok(()) };
        let before = patiently(async || client.vm().await).await?.user_template;
        for name in STALE.into_iter().filter(|name| before.contains_key(*name)) {
            patiently(async || client.delete(name).await).await?;
        }
        let generation = generation.to_string();
        self.say(&[
            (attribute::STATE, "starting"),
            (attribute::ROLE, role),
            (attribute::VERSION, version),
            (attribute::GENERATION, &generation),
        ])
        .await
    }

    /// Publishes attributes in one request.
    pub(crate) async fn say(&self, attributes: &[(&str, &str)]) -> Result<(), StepError> {
        match &self.client {
            None => Ok(()),
            Some(client) => patiently(async || client.put(attributes).await).await,
        }
    }

    /// Says that all is well again after trouble.
    pub(crate) async fn recovered(&self) -> Result<(), StepError> {
        self.say(&[(attribute::STATE, "ready")]).await?;
        match &self.client {
            None => Ok(()),
            Some(client) => patiently(async || client.delete(attribute::ERROR).await).await,
        }
    }

    /// Publishes a failure, best effort: the failure itself is what matters.
    pub(crate) async fn failed(&self, error: &StepError) {
        let text = encode(&format!("{} (hint: {})", error.text, error.hint));
        let Some(client) = &self.client else { return };
        // The READY of an earlier boot is not true any more. It may not be there.
        let _ = client.delete(attribute::READY).await;
        let attributes =
            [(attribute::STATE, "failed"), (attribute::ERROR, error.code), (attribute::ERROR_TEXT, &text)];
        if let Err(why) = client.put(&attributes).await {
            tracing::warn!(%why, "the failure could not be published");
        }
    }
}

/// A OneGate that restarts is away for some seconds, and must not end a boot.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const PAUSE: Duration = Duration::from_secs(2);

/// Asks OneGate again while it cannot answer.
async fn patiently<T>(
    mut ask: impl AsyncFnMut() -> Result<T, onefed_opennebula::Error>,
) -> Result<T, StepError> {
    let started = Instant::now();
    loop {
        match ask().await {
            Err(why) if why.is_transient() && started.elapsed() < PATIENCE => {
                tracing::warn!(%why, "OneGate cannot answer now, asking again");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done.map_err(|why| StepError::onegate(&why)),
        }
    }
}

/// Base64 without line breaks, as OneGate keeps it.
pub(crate) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The reverse of [`encode`]; `None` for anything that it did not make.
pub(crate) fn decode(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}
