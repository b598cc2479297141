//! The hub's admin endpoint: mutual TLS, certificates of the operator's CA. Operators see the hub's state and decide
//! which SuperNodes are admitted; operators and data scientists reach Flower's other Control operations. Nothing else:
//! no Fleet, no Runtime.

use std::pin::Pin;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use onefed_flower::control::is_control_path;
use onefed_flower::control::nodes::is_admission_path;
use onefed_flower::fleet::{FleetAnswer, Refusal};
use onefed_trust::{CertificateInfo, ClientRole};

use crate::admission;
use crate::hub::Sight;
use crate::listen::{Body, Peer, boxed, json, text};
use crate::metrics;
use crate::status::HubStatus;
use crate::wire::{METRICS_PATH, REGISTER_NODE_PATH, STATUS_PATH, UNREGISTER_NODE_PATH};

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The service of one admin connection. TLS has verified the client certificate; here it is read for its role.
pub(crate) fn service(
    sight: Sight,
    peer: Peer,
) -> impl Fn(Request<Incoming>) -> Answer + Send + Sync + 'static {
    let info = peer.certificate.as_deref().and_then(|der| CertificateInfo::from_der(der).ok());
    let role = info.as_ref().and_then(|info| {
        [ClientRole::Operator, ClientRole::User]
            .into_iter()
            .find(|role| info.unit.as_deref() == Some(role.name()))
    });
    let name = info.map(|info| info.common_name).unwrap_or_default();
    move |request| {
        let (sight, name) = (sight.clone(), name.clone());
        Box::pin(async move { answer(&sight, role, &name, request).await })
    }
}

async fn answer(
    sight: &Sight,
    role: Option<ClientRole>,
    name: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let shared = &sight.shared;
    let path = request.uri().path().to_owned();
    let Some(role) = role else {
        return text(StatusCode::FORBIDDEN, "this certificate is neither an operator's nor a user's");
    };
    let for_operators = is_admission_path(&path)
        || [STATUS_PATH, METRICS_PATH, REGISTER_NODE_PATH, UNREGISTER_NODE_PATH].contains(&path.as_str());
    if for_operators && role != ClientRole::Operator {
        let seen = [STATUS_PATH, METRICS_PATH].contains(&path.as_str());
        let what = if seen { "the state of the hub is" } else { "admitting SuperNodes is" };
        tracing::info!(path, name, "refused at the admin endpoint: not an operator");
        return text(StatusCode::FORBIDDEN, format!("{what} for operators"));
    }
    match (request.method(), path.as_str()) {
        (&Method::GET, STATUS_PATH) => return json(&sight.status().await),
        (&Method::GET, METRICS_PATH) => return metrics(&sight.status().await),
        (&Method::POST, REGISTER_NODE_PATH) => {
            return admission::register(&shared.superlink, request, name).await;
        }
        (&Method::POST, UNREGISTER_NODE_PATH) => {
            return admission::unregister(&shared.superlink, request, name).await;
        }
        _ => {}
    }
    if !is_control_path(&path) {
        tracing::info!(path, name, "refused at the admin endpoint");
        return text(StatusCode::NOT_FOUND, format!("{path} is not part of the admin endpoint"));
    }
    tracing::info!(path, name, role = role.name(), "Control call");
    match shared.superlink.control(request).await {
        Ok(response) => response,
        Err(why) => {
            let transport = shared.superlink.release().transport();
            let why = format!("hub: SuperLink did not answer: {why}");
            tracing::warn!(path, why, "Control call not passed on");
            boxed(FleetAnswer::refusal(transport, Refusal::Unavailable, &why).into_response())
        }
    }
}

fn metrics(status: &HubStatus) -> Response<Body> {
    let mut answer = text(StatusCode::OK, metrics::render(status).trim_end());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    answer
}
