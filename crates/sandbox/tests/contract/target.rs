//! Where the cases are tried, and calls as bytes, which the project's clients would never send.

use crate::heard::Heard;
use onefed_opennebula::xmlrpc::wire::{self, Param};
use onefed_opennebula::{Credentials, ZoneName, oneflow, xmlrpc};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// One zone.
pub(crate) struct Target {
    pub(crate) xmlrpc: Url,
    pub(crate) oneflow: Url,
    pub(crate) onegate: Option<Url>,
    pub(crate) login: Credentials,
    /// What a real zone would take long for, or a guest, is tried as well.
    pub(crate) is_sandbox: bool,
    /// What every name of this run begins with.
    pub(crate) prefix: String,
    /// How long to wait for a service or a VM.
    pub(crate) patience: Duration,
    ca: Option<Vec<u8>>,
    http: reqwest::Client,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The user of the run.
    User,
    /// The user with another password.
    WrongPassword,
    /// Somebody who does not exist.
    Stranger,
    /// No login at all.
    Nobody,
}

/// All names of all runs begin with it.
pub(crate) const FAMILY: &str = "onefed-contract-";

impl Target {
    pub(crate) fn new(
        xmlrpc: Url,
        oneflow: Url,
        onegate: Option<Url>,
        login: Credentials,
        ca: Option<Vec<u8>>,
    ) -> Self {
        // Err only says that it is installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
        if let Some(pem) = &ca {
            http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).expect("the CA in PEM"));
        } else if [Some(&xmlrpc), Some(&oneflow), onegate.as_ref()]
            .into_iter()
            .flatten()
            .all(|u| u.scheme() == "http")
        {
            http = http.tls_certs_only([]);
        }
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_millis());
        Self {
            xmlrpc,
            oneflow,
            onegate,
            login,
            is_sandbox: false,
            prefix: format!("{FAMILY}{now:x}-{:x}-", std::process::id()),
            patience: Duration::from_secs(120),
            ca,
            http: http.build().expect("an HTTP client"),
        }
    }

    /// As a sandbox: everything is tried, and nothing takes long.
    pub(crate) fn sandbox(self) -> Self {
        Self { is_sandbox: true, patience: Duration::from_secs(20), ..self }
    }

    /// The zone that the environment names: ONE_XMLRPC, ONEFLOW_URL, ONEGATE_ENDPOINT (may be left out) and ONE_AUTH (a
    /// file; else `~/.one/one_auth`), ONE_CA (a PEM file for https).
    pub(crate) fn from_environment() -> Result<Self, String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let url = |name: &str| -> Result<Option<Url>, String> {
            set(name).map(|text| text.trim().parse().map_err(|why| format!("{name}: {why}"))).transpose()
        };
        let needed =
            |name: &str| url(name)?.ok_or_else(|| format!("{name} is not set: it names the zone to test"));
        let home = || set("HOME").map(|home| Path::new(&home).join(".one/one_auth"));
        let auth = set("ONE_AUTH").map(PathBuf::from).or_else(home).ok_or("ONE_AUTH is not set")?;
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()));
        let login = Credentials::parse(&read(&auth)?).map_err(|why| format!("{}: {why}", auth.display()))?;
        let ca = set("ONE_CA").map(|path| read(Path::new(&path))).transpose()?.map(String::into_bytes);
        let (xmlrpc, oneflow, onegate) =
            (needed("ONE_XMLRPC")?, needed("ONEFLOW_URL")?, url("ONEGATE_ENDPOINT")?);
        Ok(Self::new(xmlrpc, oneflow, onegate, login, ca))
    }

    pub(crate) fn zone(&self) -> ZoneName {
        "contract".parse().unwrap()
    }

    /// The project's own client.
    pub(crate) fn rpc(&self) -> xmlrpc::Client {
        self.rpc_as(self.login.clone())
    }

    pub(crate) fn rpc_as(&self, login: Credentials) -> xmlrpc::Client {
        let client = xmlrpc::Client::new(self.zone(), self.xmlrpc.clone(), login).unwrap();
        match &self.ca {
            Some(pem) => client.with_ca(pem).unwrap(),
            None => client,
        }
    }

    /// The project's own client.
    pub(crate) fn flow(&self) -> oneflow::Client {
        self.flow_as(self.login.clone())
    }

    pub(crate) fn flow_as(&self, login: Credentials) -> oneflow::Client {
        let client = oneflow::Client::new(self.zone(), self.oneflow.clone(), login).unwrap();
        match &self.ca {
            Some(pem) => client.with_ca(pem).unwrap(),
            None => client,
        }
    }

    fn user(&self, who: Who) -> Option<(String, String)> {
        let (user, password) = (self.login.user.clone(), self.login.password.expose().to_owned());
        match who {
            Who::User => Some((user, password)),
            Who::WrongPassword => Some((user, "not-the-password".to_owned())),
            Who::Stranger => Some((format!("{}nobody", self.prefix), "x".to_owned())),
            Who::Nobody => None,
        }
    }

    /// A call of oned.
    pub(crate) async fn call(&self, who: Who, method: &str, params: &[Param]) -> Result<Heard, String> {
        let session = self.user(who).map_or_else(|| "no colon in it".to_owned(), |(u, p)| format!("{u}:{p}"));
        let session = Param::Text(session);
        let body = wire::request(method, std::iter::once(&session).chain(params));
        let heard = self
            .send(self.http.post(self.xmlrpc.clone()).header("content-type", "text/xml").body(body))
            .await?;
        heard.into_rpc()
    }

    /// A request to oned's port that need not be XML-RPC.
    pub(crate) async fn at_oned(&self, method: &str, path: &str, body: &str) -> Result<Heard, String> {
        let mut url = self.xmlrpc.clone();
        url.set_path(path);
        let method = method.parse().map_err(|why| format!("{why}"))?;
        self.send(self.http.request(method, url).header("content-type", "text/xml").body(body.to_owned()))
            .await
    }

    /// A request to OneFlow.
    pub(crate) async fn at_flow(
        &self,
        who: Who,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Heard, String> {
        let url = join(&self.oneflow, path);
        let mut request = self.http.request(method.parse().map_err(|why| format!("{why}"))?, url);
        if let Some((user, password)) = self.user(who) {
            request = request.basic_auth(user, Some(password));
        }
        self.send(request.body(body.to_owned())).await
    }

    /// A request to OneGate.
    pub(crate) async fn at_gate(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Heard, String> {
        let gate = self.onegate.as_ref().ok_or("no ONEGATE_ENDPOINT")?;
        let mut request =
            self.http.request(method.parse().map_err(|why| format!("{why}"))?, join(gate, path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.to_owned())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Heard, String> {
        let response = request.send().await.map_err(|why| format!("no answer: {}", why.without_url()))?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (status, kind, connection) =
            (response.status().as_u16(), header("content-type"), header("connection"));
        let body =
            response.text().await.map_err(|why| format!("the answer broke off: {}", why.without_url()))?;
        Ok(Heard { status, kind, connection, body, reply: None })
    }
}

fn join(base: &Url, path: &str) -> Url {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    url
}
