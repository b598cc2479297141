//! OneFlow's REST: service templates and services (groups of VMs with roles) of one zone.

mod model;

use crate::http::{Answer, Http, Repeat, redact};
use crate::{Call, Credentials, Error, ServiceId, ServiceTemplateId, ZoneName};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

pub use model::{LogEntry, Role, Service, ServiceTemplate};

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
        let http = Http::new(&url, DEADLINE, true)?;
        Ok(Self { zone, url, credentials, http })
    }

    /// Another deadline for each call.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_deadline(mut self, deadline: Duration) -> Result<Self, Error> {
        self.http = Http::new(&self.url, deadline, true)?;
        Ok(self)
    }

    /// The zone that this client speaks to.
    pub fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// All service templates that the user may see.
    ///
    /// # Errors
    /// As any call.
    pub async fn service_templates(&self) -> Result<Vec<ServiceTemplate>, Error> {
        let (call, answer) = self.get("/service_template").await?;
        let pool = document_pool(&call, &answer)?;
        let one = |d| model::template(&self.zone, d).map_err(|why| Error::garbage(&call, why, &answer.body));
        pool.iter().map(one).collect()
    }

    /// One service template.
    ///
    /// # Errors
    /// As any call.
    pub async fn service_template(&self, id: &ServiceTemplateId) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.get(&self.template_path(id)?).await?;
        self.read_template(&call, &answer)
    }

    /// Stores a new template. The body is the template itself; unknown keys are kept by the server.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 400 for schema errors, or as any call.
    pub async fn create_service_template(&self, body: &Value) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.send("POST", "/service_template", Some(body)).await?;
        self.read_template(&call, &answer)
    }

    /// Replaces the whole body of a template. OneFlow keeps the document's own name.
    ///
    /// # Errors
    /// As [`create_service_template`](Self::create_service_template).
    pub async fn update_service_template(
        &self,
        id: &ServiceTemplateId,
        body: &Value,
    ) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.send("PUT", &self.template_path(id)?, Some(body)).await?;
        self.read_template(&call, &answer)
    }

    /// Deletes a template; the VM templates that it names stay.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_service_template(&self, id: &ServiceTemplateId) -> Result<(), Error> {
        self.send("DELETE", &self.template_path(id)?, None).await.map(drop)
    }

    /// Makes a service out of a template. Returns as soon as the service exists; the VMs come later, and what goes wrong
    /// then shows only in the service's state and log. `merge_template` must give every user input a value.
    ///
    /// # Errors
    /// As any call.
    pub async fn instantiate(
        &self,
        id: &ServiceTemplateId,
        merge_template: &Value,
    ) -> Result<ServiceId, Error> {
        let body =
            json!({"action": {"perform": "instantiate", "params": {"merge_template": merge_template}}});
        let path = format!("{}/action", self.template_path(id)?);
        let (call, answer) = self.send("POST", &path, Some(&body)).await?;
        let service = document(&call, &answer).and_then(|d| self.read_service(&call, &answer, &d))?;
        Ok(service.id)
    }

    /// All services that the user may see. One that was undeployed is gone from here.
    ///
    /// # Errors
    /// As any call.
    pub async fn services(&self) -> Result<Vec<Service>, Error> {
        let (call, answer) = self.get("/service").await?;
        document_pool(&call, &answer)?.iter().map(|d| self.read_service(&call, &answer, d)).collect()
    }

    /// One service.
    ///
    /// # Errors
    /// As any call; [`Error::NotFound`] once it is undeployed.
    pub async fn service(&self, id: &ServiceId) -> Result<Service, Error> {
        let (call, answer) = self.get(&self.service_path(id)?).await?;
        document(&call, &answer).and_then(|d| self.read_service(&call, &answer, &d))
    }

    /// Undeploys a service; returns before its VMs are gone.
    ///
    /// # Errors
    /// [`Error::Conflict`] in a transient or failed state: use [`recover_delete`](Self::recover_delete) then.
    pub async fn delete_service(&self, id: &ServiceId) -> Result<(), Error> {
        self.send("DELETE", &self.service_path(id)?, None).await.map(drop)
    }

    /// Deletes a service in any state: seen for DEPLOYING, DEPLOYING_NETS and FAILED_*, read in OneFlow's source for the
    /// others. Where [`delete_service`](Self::delete_service) is accepted it is the ordinary way.
    ///
    /// # Errors
    /// As any call.
    pub async fn recover_delete(&self, id: &ServiceId) -> Result<(), Error> {
        self.action(id, &json!({"perform": "recover", "params": {"delete": true}})).await
    }

    /// Runs failed VMs again.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a service that has not failed.
    pub async fn recover(&self, id: &ServiceId) -> Result<(), Error> {
        self.action(id, &json!({"perform": "recover"})).await
    }

    /// Sets the number of VMs of a role, within its min_vms and max_vms. Scaling down ends the oldest VMs first.
    ///
    /// # Errors
    /// [`Error::Conflict`] while the service scales or cools down; [`Error::Refused`] outside the limits.
    pub async fn scale(&self, id: &ServiceId, role: &str, cardinality: u32) -> Result<(), Error> {
        // Without "force" the server fails, and takes the service off its watchdog on the way.
        let body = json!({"role_name": role, "cardinality": cardinality, "force": false});
        let path = format!("{}/scale", self.service_path(id)?);
        self.send("POST", &path, Some(&body)).await.map(drop)
    }

    async fn action(&self, id: &ServiceId, action: &Value) -> Result<(), Error> {
        let path = format!("{}/action", self.service_path(id)?);
        self.send("POST", &path, Some(&json!({ "action": action }))).await.map(drop)
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
        500 if message.contains("in state:") => Error::Conflict { call, message },
        502..=504 => Error::Unavailable { call, status: answer.status, message },
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
