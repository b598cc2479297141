//! What the operator's own environment says of OpenNebula, in the variables and files of OpenNebula's own tools.

use std::path::{Path, PathBuf};

use onefed_opennebula::Credentials;
use url::Url;

/// The operator's environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operator {
    /// ONE_XMLRPC, else `~/.one/one_endpoint`. `Err` with what is wrong with it.
    pub(crate) xmlrpc: Option<Result<Url, String>>,
    /// ONEFLOW_URL, else `~/.one/oneflow_endpoint`.
    pub(crate) oneflow: Option<Result<Url, String>>,
    /// ONE_AUTH, else `~/.one/one_auth`: a file that may not be there.
    pub(crate) auth: Option<PathBuf>,
}

impl Operator {
    /// That of this process.
    pub(crate) fn here() -> Self {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".one"));
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let place = |variable: &str, file: &str| {
            if let Some(value) = set(variable) {
                return Some(url(variable, &value.to_string_lossy()));
            }
            let path = home.as_ref()?.join(file);
            let text = std::fs::read_to_string(&path).ok()?;
            Some(url(&path.display().to_string(), &text))
        };
        Self {
            xmlrpc: place("ONE_XMLRPC", "one_endpoint"),
            oneflow: place("ONEFLOW_URL", "oneflow_endpoint"),
            auth: set("ONE_AUTH").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("one_auth"))),
        }
    }

    /// The operator's login.
    ///
    /// # Errors
    /// Why there is none, without the content of any file.
    pub(crate) fn login(&self) -> Result<Credentials, String> {
        login(self.auth.as_deref().ok_or("no credentials")?)
    }
}

/// The login in a file.
///
/// # Errors
/// As [`Operator::login`].
pub(crate) fn login(path: &Path) -> Result<Credentials, String> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    Credentials::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
}

/// `text` is not repeated in an error: it may hold a password.
fn url(source: &str, text: &str) -> Result<Url, String> {
    text.trim().parse().map_err(|why| format!("{source} is not a URL: {why}"))
}
