//! The attributes of a VM that may be shown. Names are shown; values only of names that are known to hold no secret, and
//! only where the value is one that the name may have.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_context::{Endpoint, Rule, Variable, variable};
use onefed_trust::CertificateInfo;
use serde_json::{Map, Value};

use super::secrets::{HIDDEN, Secrets};

/// Every name, with its value or [`HIDDEN`].
pub(super) fn shown(attributes: &BTreeMap<String, String>, secrets: &mut Secrets) -> Value {
    let pairs = attributes.iter().map(|(name, value)| {
        let shown = public(name, value).unwrap_or_else(|| {
            secrets.held_back(value);
            HIDDEN.to_owned()
        });
        (name.clone(), Value::String(shown))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// What may be shown of a value; `None` where nothing may.
fn public(name: &str, value: &str) -> Option<String> {
    if value.is_empty() {
        return Some(String::new());
    }
    if let Some(shown) = published(name, value) {
        return shown;
    }
    if let Some(row) = variable(name) {
        return of_table(row, value);
    }
    let of_nic = name.strip_prefix("ETH").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let plain = match name {
        "SERVICE_ID" | "VMID" | "DISK_ID" => number(value),
        "ROLE_NAME" => word(value),
        "TARGET" => word(value) && value.len() <= 8,
        // Addresses, masks, numbers.
        _ if of_nic => value.chars().all(|c| c.is_ascii_hexdigit() || " .:/".contains(c)),
        _ => false,
    };
    plain.then(|| value.to_owned())
}

/// A variable of the table whose rule leaves no room for a secret.
pub(super) fn of_table(row: &Variable, value: &str) -> Option<String> {
    let open = matches!(row.rule, Rule::Text | Rule::NodeConfig | Rule::PrivateKey | Rule::OneTimeKey);
    if row.secret || open || value.contains('@') || row.check(value).is_err() {
        return None;
    }
    match row.rule {
        Rule::Certificates => certificates(value),
        _ => Some(value.to_owned()),
    }
}

/// What a VM of onefed says about itself. `None` for a name that is none of these.
fn published(name: &str, value: &str) -> Option<Option<String>> {
    let decoded = || STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let plain = |good: bool| good.then(|| value.to_owned());
    Some(match name {
        attribute::STATE | attribute::ERROR => plain(word(value)),
        attribute::READY | attribute::TLS => plain(matches!(value, "YES" | "NO")),
        attribute::GENERATION | attribute::NODE_ID => plain(number(value)),
        attribute::VERSION => plain(value.chars().all(|c| c.is_ascii_digit() || c == '.')),
        attribute::ENDPOINT => decoded().filter(|text| text.parse::<Endpoint>().is_ok()),
        // A text for people; what is known to be secret is cut out of it later.
        attribute::ERROR_TEXT | attribute::WAITING => decoded(),
        attribute::CERTIFICATE | attribute::CA => certificates(value),
        _ => return None,
    })
}

/// Fingerprint and days in place of a certificate, whatever else stands beside it.
fn certificates(value: &str) -> Option<String> {
    let text = match STANDARD.decode(value.split_whitespace().collect::<String>()) {
        Ok(bytes) => String::from_utf8(bytes).ok()?,
        Err(_) => value.to_owned(),
    };
    let info = CertificateInfo::from_pem(&text).ok()?;
    let (fingerprint, days) = (info.fingerprint, info.days_left(SystemTime::now()));
    Some(format!("certificate {fingerprint}, {days} days left"))
}

fn number(value: &str) -> bool {
    value.len() <= 20 && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// One of onefed's or OneFlow's own short words.
fn word(value: &str) -> bool {
    value.len() <= 32 && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_harmless_is_shown() {
        for (name, value) in [
            ("FL_ROLE", "superlink"),
            ("FL_STATE", "ready"),
            ("TOKEN", "YES"),
            ("ETH0_IP", "10.0.0.1"),
            ("ETH0_IP6", "2001:db8::1"),
            ("FL_GRPC_KEEPALIVE_TIME", "30"),
            ("ONEGATE_ENDPOINT", "http://10.0.0.1:5030"),
            ("SERVICE_ID", "7"),
        ] {
            assert_eq!(public(name, value).as_deref(), Some(value), "{name}");
        }
        for (name, value) in [
            ("FL_ENROL_KEY", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"),
            ("FL_SSL_KEYFILE", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t"),
            ("TOKEN", "m9UnA0BqWbzQ=="),
            ("TOKEN_PASSWORD", "x"),
            ("PASSWORD", "x"),
            ("START_SCRIPT_BASE64", "eA=="),
            ("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA me"),
            ("FL_NODE_CONFIG", "db-password=\"x\""),
            ("ONEGATE_ENDPOINT", "http://me:x@10.0.0.1:5030"),
            ("ETH0_NOTE", "sesame"),
            ("FL_STATE", "Sesame!"),
            ("FL_CSR_PROOF", "abc"),
            ("SOMETHING", "x"),
        ] {
            assert_eq!(public(name, value), None, "{name}");
        }
        assert_eq!(public("SOMETHING", "").as_deref(), Some(""));
        let text = STANDARD.encode("the disk is full");
        assert_eq!(public("FL_ERROR_TEXT", &text).as_deref(), Some("the disk is full"));
    }
}
