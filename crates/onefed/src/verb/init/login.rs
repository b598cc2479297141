//! Where to begin, and as whom: from the options, the environment, or the files that OpenNebula's own tools use.

use std::path::{Path, PathBuf};

use onefed_opennebula::Credentials;
use url::Url;

use super::args::{ForZone, InitArgs, pick};
use crate::failure::{Exit, Failure};

/// What is known before anybody was asked.
pub(super) struct Start {
    /// An endpoint without a zone's name: one of a federation.
    pub(super) door: Option<Url>,
    /// Endpoints of zones by name.
    pub(super) named: Vec<(String, Url)>,
    /// OneFlow endpoints of zones by name.
    pub(super) oneflow: Vec<(String, Url)>,
    /// ONEFLOW_URL: that of the zone which the user's own tools speak to.
    pub(super) oneflow_here: Option<Url>,
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
        if endpoints.is_empty() {
            endpoints.extend(usual_endpoint()?.map(|value| ForZone { zone: None, value }));
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
        let oneflow_here = std::env::var("ONEFLOW_URL").ok().and_then(|url| parse(&url, None).ok());
        let auth = ForZone::parse_all(&args.auth);
        let ca = ForZone::parse_all(&args.ca);
        Ok(Self { door: doors.pop(), named, oneflow, oneflow_here, auth, ca })
    }

    /// The login for a zone that has one of these names; for the first question, of no zone yet.
    pub(super) fn login(&self, names: &[&str]) -> Result<Login, Failure> {
        let given = pick(&self.auth, names).map(str::to_owned);
        let usual = || {
            let named = std::env::var_os("ONE_AUTH").filter(|path| !path.is_empty()).map(PathBuf::from);
            named.or_else(|| home(".one/one_auth"))
        };
        let fail = |text: String| {
            Failure::new(Exit::Permission, "zone-login", text)
                .hint("name a file that holds user:password with --auth, or in ONE_AUTH")
        };
        let path = given.as_ref().map(PathBuf::from).or_else(usual);
        let path = path.ok_or_else(|| fail("no login".to_owned()))?;
        let text = std::fs::read_to_string(&path)
            .map_err(|why| fail(format!("no login: {}: {why}", path.display())))?;
        let credentials =
            Credentials::parse(&text).map_err(|why| fail(format!("{}: {why}", path.display())))?;
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

/// ONE_XMLRPC, else the file that OpenNebula's own tools read.
fn usual_endpoint() -> Result<Option<String>, Failure> {
    if let Some(url) = std::env::var("ONE_XMLRPC").ok().filter(|url| !url.trim().is_empty()) {
        return Ok(Some(url));
    }
    let Some(path) = home(".one/one_endpoint") else { return Ok(None) };
    let text = onefed_appliance::files::read_if_there(&path).map_err(|why| Failure::file(&path, why))?;
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn home(name: &str) -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(name))
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
