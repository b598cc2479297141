//! What a VM says about itself through OneGate.
//!
//! OneGate data is a hint, never a trust anchor. Readiness goes out last, in one request with everything that peers
//! need; no other attribute may read like READY=YES (OneFlow looks for that text anywhere in an update).

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_opennebula::onegate::Client;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

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
    /// Whether peers must speak TLS: `YES` or `NO`.
    pub const TLS: &str = "FL_TLS";
    /// The CA of the hub's certificate: base64 of PEM. A hint, to be held against a fingerprint.
    pub const CA: &str = "FL_CA_CERT";
    /// The public key with which this SuperNode signs: base64 of an OpenSSH line. The operator registers it.
    pub const NODE_KEY: &str = "FL_NODE_KEY";
    /// Flower's id of this SuperNode.
    pub const NODE_ID: &str = "FL_NODE_ID";
    /// The code of what went wrong, empty state otherwise absent.
    pub const ERROR: &str = "FL_ERROR";
    /// What went wrong and what to do: base64 of a text.
    pub const ERROR_TEXT: &str = "FL_ERROR_TEXT";
    /// What a boot waits for that is elsewhere, in words, base64; there while it waits for long.
    pub const WAITING: &str = "FL_WAITING";
    /// What OneFlow waits for.
    pub const READY: &str = "READY";
}

/// The attributes of an earlier boot that must not be believed any more.
const STALE: [&str; 12] = [
    attribute::READY,
    attribute::ENDPOINT,
    attribute::TLS,
    attribute::CA,
    attribute::NODE_KEY,
    attribute::REQUEST,
    attribute::PROOF,
    attribute::CERTIFICATE,
    attribute::NODE_ID,
    attribute::ERROR,
    attribute::ERROR_TEXT,
    attribute::WAITING,
];

/// This VM's voice. Without OneGate it says nothing.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: Option<Client>,
    /// The first words of this boot, on their way: nothing else is said before they are.
    opening: Arc<Mutex<Option<Opening>>>,
}

/// It ends with its publisher: what one boot has to say first must never come after what the next one says.
struct Opening(JoinHandle<Result<(), StepError>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Publisher {
    pub(crate) fn new(client: Option<Client>) -> Self {
        Self { client, opening: Arc::default() }
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Takes back what an earlier boot said, and says that this one has begun. The boot goes on meanwhile; a failure
    /// comes with the next word.
    pub(crate) async fn begin(&self, role: &str, version: &str, generation: u64) {
        let Some(client) = self.client.clone() else { return };
        let (role, version) = (role.to_owned(), version.to_owned());
        let opening = tokio::spawn(async move { open(&client, &role, &version, generation).await });
        *self.opening.lock().await = Some(Opening(opening));
    }

    /// Publishes attributes in one request.
    pub(crate) async fn say(&self, attributes: &[(&str, &str)]) -> Result<(), StepError> {
        self.opened().await?;
        match &self.client {
            None => Ok(()),
            Some(client) => patiently(|| client.put(attributes)).await,
        }
    }

    /// Says that all is well again after trouble.
    pub(crate) async fn recovered(&self) -> Result<(), StepError> {
        self.say(&[(attribute::STATE, "ready")]).await?;
        let Some(client) = &self.client else { return Ok(()) };
        for name in [attribute::ERROR, attribute::ERROR_TEXT] {
            patiently(|| client.delete(name)).await?;
        }
        Ok(())
    }

    /// Says what this boot waits for, or that it does not wait any more: best effort, for whoever watches.
    pub(crate) async fn waits(&self, what: Option<&str>) {
        let Some(client) = &self.client else { return };
        if self.opened().await.is_err() {
            return;
        }
        let done = match what {
            Some(what) => client.put(&[(attribute::WAITING, &encode(what))]).await,
            None => client.delete(attribute::WAITING).await,
        };
        if let Err(why) = done {
            tracing::warn!(%why, "what this VM waits for could not be published");
        }
    }

    /// Publishes a failure, best effort: the failure itself is what matters.
    pub(crate) async fn failed(&self, error: &StepError) {
        // What this boot wanted to say first must not come after this. A request that is under way is heard, also when
        // nobody waits for its answer any more, so it gets the time to be answered.
        if let Some(mut opening) = self.opening.lock().await.take() {
            let _ = tokio::time::timeout(LAST_WORDS, &mut opening.0).await;
        }
        let text = encode(&format!("{} (hint: {})", error.text, error.hint));
        let Some(client) = &self.client else { return };
        // Nothing of what was said is true any more, READY least of all; peers must not find an address that nobody
        // serves. Where it cannot be seen what is there, the two that draw others here
        // are worth a try of their own.
        let there = client.vm().await.map(|vm| vm.user_template);
        let gone = |name: &&str| match &there {
            Ok(there) => there.contains_key(*name),
            Err(_) => [attribute::READY, attribute::ENDPOINT].contains(name),
        };
        for name in STALE.into_iter().filter(gone) {
            let _ = client.delete(name).await;
        }
        let attributes =
            [(attribute::STATE, "failed"), (attribute::ERROR, error.code), (attribute::ERROR_TEXT, &text)];
        if let Err(why) = client.put(&attributes).await {
            tracing::warn!(%why, "the failure could not be published");
        }
    }

    /// Waits for the first words.
    async fn opened(&self) -> Result<(), StepError> {
        let mut slot = self.opening.lock().await;
        // It stays where it is meanwhile: whoever gives up waiting must not let go of it.
        let Some(opening) = slot.as_mut() else { return Ok(()) };
        // Aborted only where another boot has begun.
        let done = (&mut opening.0).await.unwrap_or(Ok(()));
        *slot = None;
        done
    }
}

async fn open(client: &Client, role: &str, version: &str, generation: u64) -> Result<(), StepError> {
    let before = patiently(|| client.vm()).await?.user_template;
    for name in STALE.into_iter().filter(|name| before.contains_key(*name)) {
        patiently(|| client.delete(name)).await?;
    }
    let generation = generation.to_string();
    let first = [
        (attribute::STATE, "starting"),
        (attribute::ROLE, role),
        (attribute::VERSION, version),
        (attribute::GENERATION, &generation),
    ];
    patiently(|| client.put(&first)).await
}

/// A OneGate that restarts is away for some seconds, and must not end a boot.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// The pause between two tries is drawn from one half of this to all of it: VMs that boot together must not ask together.
const PAUSE: Duration = Duration::from_secs(3);

/// How long a failed boot waits for its own first words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Asks OneGate again while it cannot answer.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, StepError>
where
    F: Future<Output = Result<T, onefed_opennebula::Error>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Err(why) if why.is_transient() && started.elapsed() < PATIENCE => {
                tracing::warn!(%why, "OneGate cannot answer now, asking again");
                tokio::time::sleep(PAUSE.mul_f64(jitter())).await;
            }
            done => return done.map_err(|why| StepError::onegate(&why)),
        }
    }
}

/// A number from 0.5 to 1, other in every process and at every call.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(()) >> 11;
    0.5 + bits as f64 / (1_u64 << 54) as f64
}

/// Base64 without line breaks, as OneGate keeps it.
pub(crate) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// The reverse of [`encode`]; `None` for anything that it did not make.
pub(crate) fn decode(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefed_opennebula::Secret;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    /// A boot that begins again lets go of its publisher, also in the middle of a word.
    #[tokio::test]
    async fn nothing_of_an_earlier_boot_is_said_once_its_publisher_is_gone() {
        let listener = TcpListener::bind("127.144.3.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let publisher = Publisher::new(Some(Client::new(endpoint, Secret::new("token"), 7).unwrap()));
        publisher.begin("superlink", "1.41.0", 1).await;
        let (mut asked, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
        // OneGate takes its time, and somebody gives up waiting.
        let said =
            tokio::time::timeout(Duration::from_millis(50), publisher.say(&[("FL_STATE", "ready")])).await;
        assert!(said.is_err());
        assert!(publisher.opening.lock().await.is_some(), "the first words are still to come");
        drop(publisher);
        let mut request = Vec::new();
        let ended = tokio::time::timeout(SOON, asked.read_to_end(&mut request)).await;
        assert!(ended.is_ok(), "the question is still being asked");
    }
}
