//! SuperNodes: each polls, takes its message, and sends a reply; as many as one likes on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody};
use onefed_flower::objects::{self, ObjectAnswer, ObjectId};
use onefed_flower::{Operation, Transport, messages};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _};
use tokio::time::Instant;

use super::{Model, RUN, bodies, id_of};
use crate::federation::Failed;

/// What precedes the point in the SubjectPublicKeyInfo of a P-256 key. Flower's own keys are on P-384, for which nothing
/// here signs with SHA-256; SuperLink takes both.
const SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// How many objects Flower moves at a time.
const AT_A_TIME: usize = 2;
/// Between two tries, and between two looks for an object that is not there yet.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a node asks and says that it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two polls.
    pub poll: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
}

impl Default for Timing {
    /// As real ones.
    fn default() -> Self {
        Self { poll: Duration::from_secs(3), heartbeat: Duration::from_secs(20) }
    }
}

/// A SuperNode.
#[derive(Clone)]
pub struct SuperNode {
    client: Client<HttpConnector, ReadyBody>,
    base: String,
    transport: Transport,
    key: Arc<EcdsaKeyPair>,
    pem: String,
    timing: Timing,
    /// What it answers every message with; a node without one never answers.
    reply: Option<Arc<Model>>,
}

impl SuperNode {
    /// A node with a new key, for the Fleet API at this address.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn new(
        fleet: SocketAddr,
        transport: Transport,
        timing: Timing,
        reply: Option<Arc<Model>>,
    ) -> Result<Self, Failed> {
        let random = SystemRandom::new();
        let fail = |_| Failed("a key cannot be made".to_owned());
        let document = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).map_err(fail)?;
        let key = EcdsaKeyPair::from_pkcs8(&ALGORITHM, document.as_ref(), &random);
        let key = key.map_err(|why| Failed(format!("a key cannot be read: {why}")))?;
        let text = STANDARD.encode([SPKI, key.public_key().as_ref()].concat());
        let (first, second) = text.split_at(64);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n");
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(4));
        if transport == Transport::Grpc {
            builder.http2_only(true).http2_initial_stream_window_size(16 << 20);
            builder.http2_initial_connection_window_size(32 << 20).http2_max_frame_size(1 << 20);
        }
        let (client, base) = (builder.build(connector), format!("http://{fleet}"));
        Ok(Self { client, base, transport, key: Arc::new(key), pem, timing, reply })
    }

    /// Registers, and then polls for ever. Faults of the other end are tried again after, as Flower does.
    pub async fn run(self) {
        let node = loop {
            match self.come().await {
                Some(node) => break node,
                None => tokio::time::sleep(AGAIN).await,
            }
        };
        let mut heartbeat = Instant::now() + self.timing.heartbeat;
        loop {
            let body = objects::pull_messages_request(node);
            if let Some(body) = self.call(Operation::PullMessages, body).await
                && let Some(head) = objects::message_head(&body)
            {
                self.work(node, head.id, head.objects).await;
            }
            if Instant::now() >= heartbeat {
                self.call(Operation::SendNodeHeartbeat, objects::heartbeat_request(node, 30.0)).await;
                heartbeat = Instant::now() + self.timing.heartbeat;
            }
            tokio::time::sleep(self.timing.poll).await;
        }
    }

    async fn come(&self) -> Option<u64> {
        let body = objects::activate_request(&self.pem, 30.0);
        self.call(Operation::RegisterNode, body.clone()).await?;
        messages::granted_node(&self.call(Operation::ActivateNode, body).await?)
    }

    /// Takes a message and answers it.
    async fn work(&self, node: u64, message: ObjectId, ids: Vec<ObjectId>) {
        let run = self.surely(Operation::GetRun, objects::run_request(node, RUN)).await;
        let hash = objects::fab_of_run(&run).unwrap_or_default();
        self.surely(Operation::GetFab, objects::fab_request(node, RUN, &hash)).await;
        self.side_by_side(ids, |worker, id| async move { worker.pull(node, id).await }).await;
        self.surely(Operation::ConfirmMessageReceived, bodies::confirm(node, message)).await;
        let Some(reply) = self.reply.as_ref().map(|reply| Arc::new(reply.answer(message))) else { return };
        let answer = self.surely(Operation::PushMessages, bodies::push(&reply, node, message)).await;
        let session = objects::push_session(&answer).unwrap_or_default();
        let name = session.session;
        self.side_by_side(session.wanted, |worker, id| {
            let (reply, name) = (Arc::clone(&reply), name.clone());
            async move {
                if let Some(content) = reply.content(id) {
                    let body = objects::push_object_request(node, RUN, &name, id, content);
                    worker.surely(Operation::PushObject, body).await;
                }
            }
        })
        .await;
    }

    /// Does something with every object, in order, two at a time.
    async fn side_by_side<F: Future<Output = ()> + Send + 'static>(
        &self,
        ids: Vec<ObjectId>,
        what: impl Fn(Self, ObjectId) -> F,
    ) {
        let mut running = tokio::task::JoinSet::new();
        for id in ids {
            if running.len() >= AT_A_TIME {
                running.join_next().await;
            }
            running.spawn(what(self.clone(), id));
        }
        running.join_all().await;
    }

    /// Pulls an object until it is there, and looks whether it is the right one.
    async fn pull(&self, node: u64, id: ObjectId) {
        loop {
            let body = self.surely(Operation::PullObject, objects::object_request(node, RUN, id)).await;
            if let Some(ObjectAnswer::Content(content)) = objects::object_answer(&body)
                && id_of(&content) == id
            {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Calls until that succeeds.
    async fn surely(&self, operation: Operation, body: Bytes) -> Bytes {
        loop {
            if let Some(body) = self.call(operation, body.clone()).await {
                return body;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One call, and the body of its answer if that is a success.
    async fn call(&self, operation: Operation, body: Bytes) -> Option<Bytes> {
        let call = FleetCall { operation, transport: self.transport, headers: self.sign()?, body };
        let request = call.to_request(&self.base).ok()?;
        let exchange = async {
            let (parts, body) = self.client.request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?;
            let trailers = body.trailers().cloned();
            let bytes = body.to_bytes();
            let (status, headers) = (parts.status, parts.headers);
            FleetAnswer::from_response(self.transport, status, &headers, trailers.as_ref(), bytes).ok()
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await.ok()??;
        answer.is_ok().then_some(answer.body)
    }

    /// Flower's headers: the key, the time, and the time signed.
    fn sign(&self) -> Option<HeaderMap> {
        let time = timestamp(SystemTime::now())?;
        let (key, signed) = match self.transport {
            Transport::Grpc => ("flwr-public-key-bin", "flwr-signature-bin"),
            Transport::Http => ("flwr-public-key", "flwr-signature"),
        };
        let signature = self.key.sign(&SystemRandom::new(), time.as_bytes()).ok()?;
        let value = |bytes: &[u8]| HeaderValue::from_str(&STANDARD.encode(bytes)).ok();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(HeaderName::from_static(key), value(self.pem.as_bytes())?);
        headers.insert(HeaderName::from_static(signed), value(signature.as_ref())?);
        headers.insert(HeaderName::from_static("flwr-timestamp"), HeaderValue::from_str(&time).ok()?);
        if self.transport == Transport::Http {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
        }
        Some(headers)
    }
}

/// Python's `datetime.isoformat()` in UTC.
fn timestamp(now: SystemTime) -> Option<String> {
    let now = time::OffsetDateTime::from(now);
    let (date, clock) = (now.date(), now.time());
    Some(format!(
        "{date}T{:02}:{:02}:{:02}.{:06}+00:00",
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.microsecond()
    ))
}
