//! Where to begin, and as whom: from the options, the environment, or the files that OpenNebula's own tools use.

use std::path::Path;

use onefed_opennebula::Credentials;
use url::Url;

use super::args::{ForZone, InitArgs, pick};
use crate::failure::{Exit, Failure};
use crate::zones::{Operator, login};

/// What is known before anybody was asked.
pub(super) struct Start {
    /// An endpoint without a zone's name: one of a federation.
    pub(super) door: Option<Url>,
    /// Endpoints of zones by name.
    pub(super) named: Vec<(String, Url)>,
    /// OneFlow endpoints of zones by name.
    pub(super) oneflow: Vec<(String, Url)>,
    /// What OpenNebula's own tools would use; its OneFlow is that of the zone which they speak to.
    pub(super) operator: Operator,
    auth: Vec<ForZone>,
    ca: Vec<ForZone>,
}

/// A login and the file that it is from.
pub(super) struct Login {
    pub(super) credentials: Credentials,
    /// The file, where it was named on the command line, so that the plan has to name it too.
    pub(super) file: Option<String>,
    /// The CA of https endpoints and its file, where one was named.
    pub(super) ca: Option<(String, Vec<u8>)>,
}

impl Start {
    /// Reads options and environment. All that is wrong with them is said at once.
    pub(super) fn read(args: &InitArgs) -> Result<Self, Failure> {
        let mut wrong = Vec::new();
        let (mut doors, mut named) = (Vec::new(), Vec::new());
        let mut endpoints = ForZone::parse_all(&args.endpoint);
        let operator = Operator::here();
        match &operator.xmlrpc {
            _ if !endpoints.is_empty() => {}
            None => {}
            Some(Ok(url)) => endpoints.push(ForZone { zone: None, value: url.to_string() }),
            Some(Err(why)) => wrong.push(why.clone()),
        }
        for ForZone { zone, value } in endpoints {
            match (zone, parse(&value, Some("/RPC2"))) {
                (None, Ok(url)) => doors.push(url),
                (Some(zone), Ok(url)) => named.push((zone, url)),
                (_, Err(why)) => wrong.push(format!("--endpoint {}: {why}", shown(&value))),
            }
        }
        let mut oneflow = Vec::new();
        for ForZone { zone, value } in ForZone::parse_all(&args.oneflow) {
            match (zone, parse(&value, None)) {
                (Some(zone), Ok(url)) => oneflow.push((zone, url)),
                (None, Ok(_)) => wrong.push(format!("--oneflow {value}: whose is it? write ZONE={value}")),
                (_, Err(why)) => wrong.push(format!("--oneflow {}: {why}", shown(&value))),
            }
        }
        if doors.len() > 1 {
            wrong.push(
                "several --endpoint without a name: write ZONE=URL for zones of no federation".to_owned(),
            );
        }
        if !wrong.is_empty() {
            return Err(Failure::new(Exit::Usage, "init-options", wrong.join("\n  and: ")));
        }
        if doors.is_empty() && named.is_empty() {
            let text = "no endpoint: neither --endpoint nor ONE_XMLRPC nor ~/.one/one_endpoint names one";
            return Err(Failure::new(Exit::Usage, "no-endpoint", text)
                .hint("for instance --endpoint http://one.example.org:2633/RPC2"));
        }
        let auth = ForZone::parse_all(&args.auth);
        let ca = ForZone::parse_all(&args.ca);
        Ok(Self { door: doors.pop(), named, oneflow, operator, auth, ca })
    }

    /// The login for a zone that has one of these names; for the first question, of no zone yet.
    pub(super) fn login(&self, names: &[&str]) -> Result<Login, Failure> {
        let given = pick(&self.auth, names).map(str::to_owned);
        let credentials = match &given {
            Some(path) => login(Path::new(path)),
            None => self.operator.login(),
        };
        let credentials = credentials.map_err(|why| {
            Failure::new(Exit::Permission, "zone-login", format!("no login: {why}"))
                .hint("name a file that holds user:password with --auth, or in ONE_AUTH")
        })?;
        let ca = match pick(&self.ca, names) {
            None => None,
            Some(path) => {
                let pem = std::fs::read(path).map_err(|why| Failure::file(Path::new(path), why))?;
                Some((path.to_owned(), pem))
            }
        };
        Ok(Login { credentials, file: given, ca })
    }
}

/// A URL that was refused, without what may be a password in it.
fn shown(text: &str) -> &str {
    if text.contains('@') { "(hidden: it holds a login)" } else { text }
}

/// An endpoint as a plan file takes it.
pub(super) fn parse(text: &str, path: Option<&str>) -> Result<Url, String> {
    let mut url = Url::parse(text.trim()).map_err(|why| why.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("an endpoint is an http:// or https:// URL with a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user and password belong into the --auth file, not into the URL".to_owned());
    }
    if let (Some(path), "/") = (path, url.path()) {
        url.set_path(path);
    }
    Ok(url)
}
