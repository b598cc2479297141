//! One HTTP exchange with a deadline: shared by the three clients.

use crate::{Call, Error};
use std::{error::Error as _, time::Duration};
use url::Url;

/// Longest answer taken; a pool of thousands of VMs is a few MB.
const MAX_ANSWER: usize = 64 << 20;
/// A read is tried again this often when no connection could be made.
const CONNECT_RETRIES: u32 = 2;
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header Date, where there is one.
    pub(crate) date: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as one line of text for an error: OpenNebula's errors are plain text.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(2000).collect()
    }
}

/// Whether repeating a call is harmless.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Harmless,
    Never,
}

/// How an endpoint is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// For a whole call.
    pub(crate) deadline: Duration,
    /// False for oned, which closes after every call.
    pub(crate) keep_alive: bool,
    /// The only CAs that are trusted, in PEM; `None` for those of the system.
    pub(crate) ca: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    pub(crate) options: Options,
}

impl Http {
    /// No proxy is ever used: these calls carry passwords to machines of the operator's own network. No redirect is
    /// followed for the same reason.
    pub(crate) fn new(endpoint: &Url, options: Options) -> Result<Self, Error> {
        let bad = |why: &str| Error::BadInput {
            what: format!("endpoint {}", redact(endpoint)),
            why: why.to_owned(),
        };
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(bad("only http:// and https:// URLs with a host are endpoints"));
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(bad("user and password belong into the credentials, not into the URL"));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Err only says that another thread was faster.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.deadline.min(Duration::from_secs(5)))
            .timeout(options.deadline);
        if !options.keep_alive {
            builder = builder.pool_max_idle_per_host(0);
        }
        if let Some(pem) = &options.ca {
            builder = builder.tls_certs_only(crate::tls::authorities(pem).map_err(|why| bad(&why))?);
        } else if endpoint.scheme() == "http" {
            // Do not look for system roots that are not needed: a small image may have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|e| bad(&chain(&e)))?;
        Ok(Self { client, options })
    }

    pub(crate) async fn send<F>(&self, call: &Call, repeat: Repeat, build: F) -> Result<Answer, Error>
    where
        F: Fn(&reqwest::Client) -> reqwest::RequestBuilder,
    {
        let work = async {
            let mut tries = 0;
            loop {
                let error = match self.once(call, build(&self.client)).await {
                    Err(Attempt::Connect(error)) => error,
                    Err(Attempt::Other(error)) => return Err(error),
                    Ok(answer) => return Ok(answer),
                };
                if repeat == Repeat::Never || tries == CONNECT_RETRIES {
                    return Err(error);
                }
                tries += 1;
                tracing::debug!(%error, tries, "connecting again");
                tokio::time::sleep(CONNECT_PAUSE * tries).await;
            }
        };
        // The deadline is for the whole call, retries included.
        match tokio::time::timeout(self.options.deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(self.timeout(call)),
        }
    }

    async fn once(&self, call: &Call, request: reqwest::RequestBuilder) -> Result<Answer, Attempt> {
        let mut response = request.send().await.map_err(|e| self.classify(call, e))?;
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.classify(call, e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Attempt::Other(Error::garbage(call, "longer than 64 MiB", &body)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, date, body })
    }

    fn classify(&self, call: &Call, error: reqwest::Error) -> Attempt {
        let call = || Box::new(call.clone());
        if let Some(why) = crate::tls::diagnosis(&error, self.options.ca.is_some()) {
            return Attempt::Other(Error::Tls { call: call(), why });
        }
        if error.is_connect() {
            let why = if error.is_timeout() {
                "connecting timed out".to_owned()
            } else {
                chain(&error.without_url())
            };
            return Attempt::Connect(Error::Unreachable { call: call(), why, sent: false });
        }
        Attempt::Other(if error.is_timeout() {
            self.timeout(&call())
        } else {
            Error::Unreachable { call: call(), why: chain(&error.without_url()), sent: true }
        })
    }

    fn timeout(&self, call: &Call) -> Error {
        Error::Timeout { call: Box::new(call.clone()), after: self.options.deadline }
    }
}

enum Attempt {
    Connect(Error),
    Other(Error),
}

/// The causes of an error, outermost first.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// An endpoint as it may be shown.
pub(crate) fn redact(endpoint: &Url) -> String {
    if endpoint.cannot_be_a_base() {
        // `me:secret@host` is a URL of the scheme `me`.
        return "(not shown: no http URL)".to_owned();
    }
    let mut shown = endpoint.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}
