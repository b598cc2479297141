//! OneFlow's REST: service templates and services (groups of VMs with roles) of one zone.

mod model;
mod services;
mod templates;

use crate::http::{Answer, Http, Options, Repeat, redact};
use crate::{Call, Credentials, Error, ServiceId, ServiceTemplateId, ZoneName};
use serde_json::Value;
use std::time::Duration;
use url::Url;

pub use model::{LogEntry, Role, Service, ServiceTemplate};
pub use services::RoleAction;
pub use templates::DeleteAlso;

/// Deadline of a call unless another is set. Each one makes oned start a ruby process to check the login, so a busy
/// front end takes seconds.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A client of one zone's OneFlow. Reads are tried again when no connection could be made; writes never are.
#[derive(Clone, Debug)]
pub struct Client {
    zone: ZoneName,
    url: Url,
    credentials: Credentials,
    http: Http,
}

impl Client {
    /// `url` is the root, such as `http://10.0.0.1:2474`.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a URL that is not http or https or holds a password.
    pub fn new(zone: ZoneName, url: Url, credentials: Credentials) -> Result<Self, Error> {
        let http = Http::new(&url, Options { deadline: DEADLINE, keep_alive: true, ca: None })?;
        Ok(Self { zone, url, credentials, http })
    }

    /// Another deadline for each call.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_deadline(mut self, deadline: Duration) -> Result<Self, Error> {
        self.http = Http::new(&self.url, Options { deadline, ..self.http.options })?;
        Ok(self)
    }

    /// Trusts only the CAs in `pem` (one or more certificates) instead of those of the system, for an https endpoint.
    ///
    /// # Errors
    /// [`Error::BadInput`] for text that holds no certificate.
    pub fn with_ca(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.http = Http::new(&self.url, Options { ca: Some(pem.to_vec()), ..self.http.options })?;
        Ok(self)
    }

    /// The zone that this client speaks to.
    pub fn zone(&self) -> &ZoneName {
        &self.zone
    }

    fn template_path(&self, id: &ServiceTemplateId) -> Result<String, Error> {
        self.own(&id.zone, id)?;
        Ok(format!("/service_template/{}", id.id))
    }

    fn service_path(&self, id: &ServiceId) -> Result<String, Error> {
        self.own(&id.zone, id)?;
        Ok(format!("/service/{}", id.id))
    }

    fn own(&self, zone: &ZoneName, shown: &dyn std::fmt::Display) -> Result<(), Error> {
        if *zone == self.zone {
            Ok(())
        } else {
            Err(Error::WrongZone { id: shown.to_string(), zone: self.zone.clone() })
        }
    }

    fn read_template(&self, call: &Call, answer: &Answer) -> Result<ServiceTemplate, Error> {
        let document = document(call, answer)?;
        model::template(&self.zone, &document).map_err(|why| Error::garbage(call, why, &answer.body))
    }

    fn read_service(&self, call: &Call, answer: &Answer, document: &Value) -> Result<Service, Error> {
        model::service(&self.zone, document).map_err(|why| Error::garbage(call, why, &answer.body))
    }

    async fn get(&self, path: &str) -> Result<(Call, Answer), Error> {
        self.send("GET", path, None).await
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Call, Answer), Error> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        let call = Call {
            zone: Some(self.zone.clone()),
            endpoint: redact(&self.url),
            what: format!("{method} {path}"),
        };
        let repeat = if method == "GET" { Repeat::Harmless } else { Repeat::Never };
        let answer = self.http.send(&call, repeat, |client| {
            let request = match method {
                "GET" => client.get(url.clone()),
                "PUT" => client.put(url.clone()),
                "DELETE" => client.delete(url.clone()),
                _ => client.post(url.clone()),
            };
            let request =
                request.basic_auth(&self.credentials.user, Some(self.credentials.password.expose()));
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        });
        let answer = answer.await?;
        if (200..300).contains(&answer.status) { Ok((call, answer)) } else { Err(refusal(call, &answer)) }
    }
}

/// OneFlow's errors are plain text, except unhandled ones, which are JSON with a reason.
fn refusal(call: Call, answer: &Answer) -> Error {
    let call = Box::new(call);
    let mut message = answer.text();
    if let Ok(Value::Object(map)) = serde_json::from_slice(&answer.body)
        && let Some(reason) = crate::json::text(map.get("reason"))
    {
        message = format!("{}: {reason}", crate::json::text(map.get("message")).unwrap_or_default());
    }
    match answer.status {
        // 401 is also oned's "this user may not use this one document".
        401 if message == "Invalid credentials" || message.starts_with("A username and password") => {
            Error::Unauthenticated { call, message }
        }
        401 => Error::Unauthorized { call, message },
        403 => Error::Unauthenticated { call, message },
        404 => Error::NotFound { call, message },
        // oned's 8192 came through.
        500 if message.contains("zone disabled") => Error::Unavailable { call, code: 500, message },
        500 if message.contains("in state:") => Error::Conflict { call, message },
        400 => Error::Schema { call, message },
        status @ 502..=504 => Error::Unavailable { call, code: i32::from(status), message },
        status => Error::Refused { call, code: i32::from(status), message },
    }
}

fn body(call: &Call, answer: &Answer) -> Result<Value, Error> {
    // Every answer says text/html, so the type is not looked at.
    serde_json::from_slice(&answer.body).map_err(|e| Error::garbage(call, e.to_string(), &answer.body))
}

fn document(call: &Call, answer: &Answer) -> Result<Value, Error> {
    match body(call, answer)? {
        Value::Object(mut map) => {
            map.remove("DOCUMENT").ok_or_else(|| Error::garbage(call, "no DOCUMENT in it", &answer.body))
        }
        _ => Err(Error::garbage(call, "not an object", &answer.body)),
    }
}

fn document_pool(call: &Call, answer: &Answer) -> Result<Vec<Value>, Error> {
    let body = body(call, answer)?;
    match body.get("DOCUMENT_POOL") {
        Some(pool) => Ok(crate::json::many(pool.get("DOCUMENT")).to_vec()),
        None => Err(Error::garbage(call, "no DOCUMENT_POOL in it", &answer.body)),
    }
}
