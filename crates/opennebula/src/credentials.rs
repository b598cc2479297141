//! User name and password of an OpenNebula account, and the type that keeps secrets out of logs.

use std::fmt;

/// A text that must not be shown: `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// An OpenNebula login. A login token works wherever the password does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name, without a colon.
    pub user: String,
    /// Password or login token.
    pub password: Secret,
}

/// A text that is not `user:password`. The text itself is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OpenNebula credentials must be one line 'user:password' (the content of ~/.one/one_auth)")]
pub struct BadCredentials;

impl Credentials {
    /// Reads `user:password`, the content of `~/.one/one_auth`. White space around it is dropped; the password may
    /// itself contain colons.
    ///
    /// # Errors
    /// [`BadCredentials`] when the colon, the user or the password is missing, or there is more than one line.
    pub fn parse(text: &str) -> Result<Self, BadCredentials> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(BadCredentials);
        }
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Self { user: user.to_owned(), password: Secret::new(password) })
            }
            _ => Err(BadCredentials),
        }
    }

    /// The session string of XML-RPC, `user:password`.
    pub(crate) fn session(&self) -> String {
        format!("{}:{}", self.user, self.password.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_hides() {
        let c = Credentials::parse("oneadmin:pa:ss\n").unwrap();
        assert_eq!((c.user.as_str(), c.password.expose()), ("oneadmin", "pa:ss"));
        assert!(!format!("{c:?}").contains("pa:ss"));
        for bad in ["", "oneadmin", ":x", "x:", "a:b\nc:d"] {
            assert_eq!(Credentials::parse(bad), Err(BadCredentials), "{bad:?}");
        }
    }
}
