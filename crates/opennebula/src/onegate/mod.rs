//! OneGate: what a VM may ask and say about itself and its service.
//!
//! What OneGate says is a hint and never a trust anchor: any VM of a service can overwrite another's attributes.

mod model;
mod publication;

use crate::http::{Answer, Http, Options, Repeat, redact};
use crate::{Call, Error, Secret, template};
use serde_json::Value;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use url::Url;

pub use model::{GateNic, GateNode, GateRole, GateService, GateVm};

/// Deadline of one attempt unless another is set.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// Attempts of one call when the server cannot be reached or answers 5xx.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A VM's client.
///
/// Every call is harmless to repeat, so each is tried four times, with growing pauses and jitter, when the server
/// cannot be reached, does not answer in time or answers 5xx. Any other answer stops at once.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Url,
    token: Secret,
    vm_id: u32,
    http: Http,
}

impl Client {
    /// `endpoint` is ONEGATE_ENDPOINT of the context, `token` the content of token.txt, `vm_id` VMID.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a URL that is not http or https, or a token that no header can carry.
    pub fn new(endpoint: Url, token: Secret, vm_id: u32) -> Result<Self, Error> {
        let http = Http::new(&endpoint, Options { deadline: DEADLINE, keep_alive: true, ca: None })?;
        // token.txt ends in a newline; a header must not.
        let token = Secret::new(token.expose().trim());
        if token.expose().is_empty() || !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            let why = "it is empty or not one word of printable characters (is token.txt whole?)".to_owned();
            return Err(Error::BadInput { what: "the OneGate token".to_owned(), why });
        }
        Ok(Self { endpoint, token, vm_id, http })
    }

    /// Another deadline for each attempt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_deadline(mut self, deadline: Duration) -> Result<Self, Error> {
        self.http = Http::new(&self.endpoint, Options { deadline, ..self.http.options })?;
        Ok(self)
    }

    /// Trusts only the CAs in `pem` (one or more certificates) instead of those of the system, for an https endpoint.
    ///
    /// # Errors
    /// [`Error::BadInput`] for text that holds no certificate.
    pub fn with_ca(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.http = Http::new(&self.endpoint, Options { ca: Some(pem.to_vec()), ..self.http.options })?;
        Ok(self)
    }

    /// This VM's number in its zone.
    pub fn vm_id(&self) -> u32 {
        self.vm_id
    }

    /// This VM.
    ///
    /// # Errors
    /// As any call.
    pub async fn vm(&self) -> Result<GateVm, Error> {
        let (call, answer) = self.exchange("GET", "/vm", None).await?;
        model::vm(&json(&call, &answer)?)
            .ok_or_else(|| Error::garbage(&call, "no VM with an ID in it", &answer.body))
    }

    /// This VM's service with all its VMs (`/service?extended=true`), CONTEXT included.
    ///
    /// # Errors
    /// [`Error::Refused`] for a VM without a service, or as any call.
    pub async fn service(&self) -> Result<GateService, Error> {
        let (call, answer) = self.exchange("GET", "/service?extended=true", None).await?;
        let service = model::service(&json(&call, &answer)?);
        service.ok_or_else(|| Error::garbage(&call, "no SERVICE with an id in it", &answer.body))
    }

    /// Publishes attributes of this VM in one request.
    ///
    /// Values may hold ASCII letters, digits, `. _ : / + = -` and inner spaces: what OneGate stores unchanged. Put
    /// anything else into base64.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name or value that OneGate would refuse or mangle, and for one that OneFlow would take
    /// for READY=YES: it looks for that text anywhere in the request. Otherwise as any call.
    pub async fn put(&self, attributes: &[(&str, &str)]) -> Result<(), Error> {
        let body = publication::body(attributes)?;
        if body.is_empty() {
            return Ok(());
        }
        self.exchange("PUT", "/vm", Some(body)).await.map(drop)
    }

    /// Takes an attribute of this VM away; no error when it is not there.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a bad name, or as any call.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        template::check_key(name)?;
        match self.exchange("PUT", "/vm?type=2", Some(name.to_owned())).await {
            Err(why) if why.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn exchange(
        &self,
        method: &'static str,
        path: &str,
        body: Option<String>,
    ) -> Result<(Call, Answer), Error> {
        let mut attempt = 1;
        loop {
            let error = match self.once(method, path, body.clone()).await {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => error,
                other => return other,
            };
            let pause = jitter(FIRST_PAUSE * 2u32.pow(attempt - 1));
            tracing::debug!(%error, attempt, ?pause, "asking OneGate again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        method: &'static str,
        path: &str,
        body: Option<String>,
    ) -> Result<(Call, Answer), Error> {
        let call = Call {
            zone: None,
            endpoint: redact(&self.endpoint),
            what: format!("{method} {path} of VM {}", self.vm_id),
        };
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}{path}", self.endpoint.path().trim_end_matches('/')));
        url.set_query(query);
        let answer = self.http.send(&call, Repeat::Never, |client| {
            let request = if method == "PUT" { client.put(url.clone()) } else { client.get(url.clone()) };
            let request = request
                .header("x-onegate-token", self.token.expose())
                .header("x-onegate-vmid", self.vm_id.to_string());
            match &body {
                Some(body) => request.header("content-type", "text/plain").body(body.clone()),
                None => request,
            }
        });
        let answer = answer.await?;
        if (200..300).contains(&answer.status) { Ok((call, answer)) } else { Err(refusal(call, &answer)) }
    }
}

fn refusal(call: Call, answer: &Answer) -> Error {
    let (call, message, status) = (Box::new(call), answer.text(), answer.status);
    match status {
        401 => Error::Unauthenticated { call, message },
        403 => Error::Unauthorized { call, message },
        404 => Error::NotFound { call, message },
        // What it says when an attribute to be deleted is not there.
        500 if message == "attribute not found" => Error::NotFound { call, message },
        500..=599 => Error::Unavailable { call, code: i32::from(status), message },
        status => Error::Refused { call, code: i32::from(status), message },
    }
}

fn json(call: &Call, answer: &Answer) -> Result<Value, Error> {
    serde_json::from_slice(&answer.body).map_err(|e| Error::garbage(call, e.to_string(), &answer.body))
}

/// Half to one and a half of `pause`, so that the VMs of a service do not ask in step.
fn jitter(pause: Duration) -> Duration {
    // A fresh RandomState is the standard library's only source of randomness; nothing secret hangs on it.
    let random = RandomState::new().build_hasher().finish() % 1000;
    pause.mul_f64(0.5 + random as f64 / 1000.0)
}
