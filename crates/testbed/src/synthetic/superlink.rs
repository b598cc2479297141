//! A SuperLink that has a message for each node as soon as somebody gives it one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, Refusal, ready};
use onefed_flower::{Operation, Transport, messages, objects};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{Model, bodies};

/// Its app, which nobody runs.
const FAB: &[u8] = b"an app";

/// The first node's id.
const FIRST: u64 = 1000;

#[derive(Default)]
struct State {
    /// Ids by public key.
    nodes: HashMap<String, u64>,
    /// Messages that wait to be pulled, and those that were.
    waiting: HashMap<u64, Arc<Model>>,
    given: HashMap<u64, Arc<Model>>,
    /// By operation: how many calls.
    calls: HashMap<Operation, u64>,
    /// Objects pulled, and objects pushed with their bytes.
    pulled: u64,
    pushed: u64,
    pushed_bytes: u64,
    /// Replies: what they still lack, by node and message.
    lacking: HashMap<(u64, objects::ObjectId), Vec<objects::ObjectId>>,
    /// The message that a node is pushing.
    pushing: HashMap<u64, objects::ObjectId>,
    replies: u64,
}

/// A running SuperLink. It ends on drop.
pub struct SuperLink {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SuperLink {
    /// Listens, on a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn start(listen: SocketAddr, transport: Transport) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("superlink".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, transport, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// Where its Fleet API is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives every node that is known this model.
    pub fn give_all(&self, model: &Arc<Model>) {
        let mut state = lock(&self.state);
        let nodes: Vec<u64> = state.nodes.values().copied().collect();
        state.waiting.extend(nodes.into_iter().map(|node| (node, Arc::clone(model))));
    }

    /// Gives the n-th node that has come, from 0, this model.
    pub fn give(&self, nth: u64, model: &Arc<Model>) {
        lock(&self.state).waiting.insert(FIRST + nth, Arc::clone(model));
    }

    /// How many nodes have come.
    #[must_use]
    pub fn nodes(&self) -> usize {
        lock(&self.state).nodes.len()
    }

    /// How many calls of an operation there were.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        lock(&self.state).calls.get(&operation).copied().unwrap_or(0)
    }

    /// Objects pulled; objects pushed, and their bytes.
    #[must_use]
    pub fn moved(&self) -> (u64, u64, u64) {
        let state = lock(&self.state);
        (state.pulled, state.pushed, state.pushed_bytes)
    }

    /// Waits until so many replies are whole; whether they are in time.
    #[must_use]
    pub fn wait_for_replies(&self, count: u64, patience: Duration) -> bool {
        self.wait(patience, |state| state.replies >= count)
    }

    /// Waits until so many nodes have come; whether they have in time.
    #[must_use]
    pub fn wait_for_nodes(&self, count: usize, patience: Duration) -> bool {
        self.wait(patience, |state| state.nodes.len() >= count)
    }

    fn wait(&self, patience: Duration, done: impl Fn(&State) -> bool) -> bool {
        let began = Instant::now();
        while !done(&lock(&self.state)) {
            if began.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for SuperLink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: std::net::TcpListener, transport: Transport, state: Arc<Mutex<State>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), transport, request));
        tokio::spawn(async move {
            let io = TokioIo::new(tcp);
            let _ = match transport {
                // Windows as gRPC's own, which grow with the line; here simply large.
                Transport::Grpc => {
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.timer(TokioTimer::new()).initial_stream_window_size(16 << 20);
                    server.initial_connection_window_size(32 << 20).max_frame_size(1 << 20);
                    server.max_send_buf_size(8 << 20);
                    server.serve_connection(io, service).await
                }
                Transport::Http => {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                }
            };
        });
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    transport: Transport,
    request: Request<Incoming>,
) -> Result<Response<ReadyBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let known = Operation::from_path(parts.uri.path()).filter(|(_, spoken)| *spoken == transport);
    let Some((operation, _)) = known else {
        let text = "this SuperLink has a Fleet API only";
        return Ok(match transport {
            Transport::Grpc => FleetAnswer::refusal(transport, Refusal::NotFleet, text).into_response(),
            Transport::Http => {
                let mut response = Response::new(ready(Bytes::from_static(text.as_bytes())));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        });
    };
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let call = FleetCall::from_request(operation, transport, &parts.headers, body);
    let done = call.ok().and_then(|call| lock(&state).call(&call));
    let answer = match done {
        Some(body) => FleetAnswer::ok(transport, body),
        None => FleetAnswer::refusal(transport, Refusal::Malformed, "what is asked cannot be read"),
    };
    Ok(answer.into_response())
}

impl State {
    /// The answer's body; `None` for a call that makes no sense.
    fn call(&mut self, call: &FleetCall) -> Option<Bytes> {
        *self.calls.entry(call.operation).or_default() += 1;
        let node = messages::requesting_node(call.operation, &call.body);
        Some(match call.operation {
            Operation::RegisterNode | Operation::ActivateNode => {
                let key = messages::activated_key(&call.body)?;
                let next = FIRST + self.nodes.len() as u64;
                objects::node_answer(*self.nodes.entry(key).or_insert(next))
            }
            Operation::DeactivateNode | Operation::UnregisterNode | Operation::ConfirmMessageReceived => {
                Bytes::new()
            }
            Operation::SendNodeHeartbeat => objects::heartbeat_answer(),
            Operation::PullMessages => match self.waiting.remove(&node?) {
                None => Bytes::new(),
                Some(model) => {
                    let body = bodies::pulled(&model, node?);
                    self.given.insert(node?, model);
                    body
                }
            },
            Operation::GetRun => bodies::run(&super::id_of(FAB).to_string()),
            Operation::GetFab => bodies::fab(&super::id_of(FAB).to_string(), &Bytes::from_static(FAB)),
            Operation::PullObject => {
                let asked = objects::asked_object(&call.body)?;
                self.pulled += 1;
                bodies::object(self.given.get(&asked.node).and_then(|model| model.content(asked.id)))
            }
            Operation::PushMessages => {
                let head = objects::message_head(&call.body)?;
                // As a real one: who begins anew is told what is still missing.
                let lacking = self.lacking.entry((node?, head.id)).or_insert_with(|| head.objects.clone());
                self.pushing.insert(node?, head.id);
                objects::push_accepted(head.id, lacking, "session")
            }
            Operation::PushObject => {
                let pushed = objects::pushed_object(&call.body)?;
                let message = self.pushing.get(&pushed.node)?;
                let lacking = self.lacking.get_mut(&(pushed.node, *message))?;
                let before = lacking.len();
                lacking.retain(|id| *id != pushed.id);
                let stored = lacking.len() < before;
                if stored {
                    (self.pushed, self.pushed_bytes) =
                        (self.pushed + 1, self.pushed_bytes + pushed.content.len() as u64);
                    self.replies += u64::from(lacking.is_empty());
                }
                objects::push_object_answer(stored)
            }
        })
    }
}
