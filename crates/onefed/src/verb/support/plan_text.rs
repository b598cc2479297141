//! The plan file without what may be a secret in it. Comments go: nobody can tell what is in them.

use onefed_context::variable;
use toml::{Table, Value};

use super::attributes::of_table;
use super::secrets::{HIDDEN, Secrets};

/// The keys of a plan, whose values are names, numbers, addresses and paths. In `variables` the table of variables counts.
const KEYS: [&str; 38] = [
    "address",
    "admin_port",
    "auth",
    "ca",
    "coordinator",
    "cpu",
    "disk",
    "endpoint",
    "file",
    "fleet_port",
    "flower",
    "gateway",
    "gateway_template",
    "image",
    "index",
    "install",
    "lan",
    "max",
    "memory",
    "min",
    "mode",
    "name",
    "network",
    "oneflow",
    "onefed",
    "onegate",
    "requirements",
    "sha256",
    "site",
    "subnet",
    "superlink_template",
    "supernode_template",
    "supernodes",
    "template",
    "url",
    "variables",
    "node_config",
    "zone",
];

/// The plan as TOML, its keys in the order of the alphabet.
///
/// # Errors
/// For a text that is no TOML: what in it is a secret cannot be told.
pub(super) fn redacted(text: &str, secrets: &mut Secrets) -> Result<String, String> {
    let mut plan: Table = text.parse().map_err(|why: toml::de::Error| why.message().to_owned())?;
    table(&mut plan, secrets);
    toml::to_string_pretty(&plan).map_err(|why| why.to_string())
}

fn table(plan: &mut Table, secrets: &mut Secrets) {
    for (key, value) in plan.iter_mut() {
        match (key.as_str(), value) {
            ("variables", Value::Table(variables)) => {
                for (name, value) in variables.iter_mut() {
                    let shown = variable(name).is_some_and(|row| match &*value {
                        Value::String(text) => text.is_empty() || of_table(row, text).is_some(),
                        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => !row.secret,
                        _ => false,
                    });
                    if !shown {
                        hide(value, secrets);
                    }
                }
            }
            ("node_config", Value::Table(config)) => {
                config.iter_mut().for_each(|(_, value)| hide(value, secrets));
            }
            // The keys of this one are names of zones.
            ("zone", Value::Table(zones)) => {
                for (_, zone) in zones.iter_mut() {
                    match zone {
                        Value::Table(zone) => table(zone, secrets),
                        other => hide(other, secrets),
                    }
                }
            }
            (key, value) if KEYS.contains(&key) => known(value, secrets),
            (_, value) => hide(value, secrets),
        }
    }
}

/// The value of a key that plans have.
fn known(value: &mut Value, secrets: &mut Secrets) {
    match value {
        Value::Table(inner) => table(inner, secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| known(item, secrets)),
        // A URL with a login in it, which no plan may have; a key in place of a path.
        Value::String(text) if text.contains('@') || text.contains('\n') || text.len() > 512 => {
            hide(value, secrets);
        }
        _ => {}
    }
}

fn hide(value: &mut Value, secrets: &mut Secrets) {
    match value {
        Value::Table(inner) => inner.iter_mut().for_each(|(_, value)| hide(value, secrets)),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        other => {
            let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            secrets.held_back(&text);
            if let Some((_, login)) = text.split_once("://")
                && let Some((login, _)) = login.rsplit_once('@')
            {
                secrets.held_back(login.split_once(':').map_or(login, |(_, password)| password));
            }
            *other = Value::String(HIDDEN.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_there() {
        let plan = r#"
# password: sesame-1
name = "hospitals"
passwort = "sesame-2"
[coordinator]
zone = "madrid" # sesame-3
variables = { FL_SSL_KEYFILE = "sesame-4", FL_LOG_LEVEL = "DEBUG", MY_TOKEN = "sesame-5", FL_NUM_ROUNDS = 3 }
[[site]]
name = "paris"
node_config = { db = "sesame-6", inner = { key = 77777777 } }
[zone.madrid]
auth = "/srv/one/one_auth"
endpoint = "http://oneadmin:sesame-7@one:2633/RPC2"
template = 7
oneflow = "http://one:2474"
"#;
        let mut secrets = Secrets::default();
        let text = redacted(plan, &mut secrets).unwrap();
        assert!(!text.contains("sesame") && !text.contains("7777"), "{text}");
        for part in [
            "/srv/one/one_auth",
            "FL_LOG_LEVEL = \"DEBUG\"",
            "http://one:2474",
            "FL_NUM_ROUNDS = 3",
            "FL_SSL_KEYFILE = \"(hidden)\"",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // What was held back here is cut out elsewhere too.
        assert_eq!(secrets.scissors().cut_from("at sesame-7, sesame-5"), "at (hidden), (hidden)");
        assert!(redacted("name = \"x", &mut secrets).is_err());
    }
}
