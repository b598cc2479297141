//! The simulated world's SuperLink behind a real listener.

use std::net::SocketAddr;
use std::sync::mpsc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, ready};
use onefed_flower::{Operation, Transport};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::rng::T;
use crate::superlink::SuperLink;

type Work = Box<dyn FnOnce(&mut SuperLink, T) + Send>;

/// The model has a thread of its own.
#[derive(Clone)]
pub struct Model(mpsc::Sender<Work>);

impl Model {
    /// Starts a model, and a listener that speaks its transport.
    pub async fn start(transport: Transport) -> (Self, SocketAddr) {
        let (work, todo) = mpsc::channel::<Work>();
        std::thread::spawn(move || {
            let mut superlink = SuperLink::new(transport, true);
            todo.iter().for_each(|work| work(&mut superlink, crate::now()));
        });
        let model = Self(work);
        let listener = TcpListener::bind("127.22.1.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = model.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let model = served.clone();
                let service = service_fn(move |request| answer(model.clone(), request));
                let io = TokioIo::new(tcp);
                tokio::spawn(async move {
                    match transport {
                        Transport::Grpc => {
                            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            let _ = server.serve_connection(io, service).await;
                        }
                        Transport::Http => {
                            let server = hyper::server::conn::http1::Builder::new();
                            let _ = server.serve_connection(io, service).await;
                        }
                    }
                });
            }
        });
        (model, address)
    }

    /// Does something with the model, and waits for the outcome.
    pub async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SuperLink, T) -> R + Send + 'static,
    ) -> R {
        let (done, outcome) = oneshot::channel();
        let work: Work = Box::new(move |superlink, now| drop(done.send(work(superlink, now))));
        self.0.send(work).unwrap();
        outcome.await.unwrap()
    }
}

async fn answer(
    model: Model,
    request: Request<Incoming>,
) -> Result<Response<ReadyBody>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let Some((operation, transport)) = Operation::from_path(parts.uri.path()) else {
        return Ok(Response::new(ready(body)));
    };
    let call = FleetCall::from_request(operation, transport, &parts.headers, body).unwrap();
    let answer: FleetAnswer = model.with(move |superlink, now| superlink.call(now, &call)).await;
    Ok(answer.into_response())
}
