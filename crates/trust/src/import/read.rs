//! The three inputs as objects: certificates in DER, and one key.

use super::decode::{BARE, Block, blocks};
use super::finding::Findings;
use super::key::{Key, KeyFault};
use super::{Given, der, key};

/// More certificates than any chain has; each costs signature checks.
const MOST: usize = 32;

/// The certificates of an input, repetitions left out.
pub(super) fn certificates(given: &Given<'_>, findings: &mut Findings) -> Option<Vec<Vec<u8>>> {
    let name = given.name;
    let refuse = |findings: &mut Findings, code, why: &str, hint: &str| {
        findings.error(code, name, format!("{name} does not contain a valid PEM certificate: {why}."), hint);
    };
    let blocks = match blocks(given.bytes) {
        Ok(blocks) => blocks,
        Err(why) => {
            refuse(findings, "import::not-decodable", &why, "give PEM, base64 of PEM, or DER");
            return None;
        }
    };
    if blocks.iter().any(is_key) {
        let message = format!("{name} contains a private key. It must hold certificates only.");
        let hint = "take the key out; if others could read this, make a new key";
        findings.error("import::private-key", name, message, hint);
        return None;
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    let (mut others, mut repeated) = (Vec::new(), 0);
    for block in blocks {
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | BARE if found.contains(&block.der) => repeated += 1,
            "CERTIFICATE" | "X509 CERTIFICATE" | BARE => found.push(block.der),
            _ => others.push(block.label),
        }
    }
    if found.is_empty() {
        let why = format!("it holds {}, but no certificate", others.join(", "));
        refuse(findings, "import::no-certificate", &why, container_hint(&others));
        return None;
    }
    if !others.is_empty() {
        let message = format!("{name}: left out what is no certificate: {}.", others.join(", "));
        findings.note("import::left-out", name, message);
    }
    if repeated > 0 {
        let message = format!("{name}: left out {repeated} certificates that are there twice.");
        findings.note("import::left-out", name, message);
    }
    if found.len() > MOST {
        let why = format!("it holds {} certificates, at most {MOST} are read", found.len());
        refuse(findings, "import::too-many", &why, "give the server certificate and its intermediates only");
        return None;
    }
    Some(found)
}

/// The one key of an input.
pub(super) fn key(given: &Given<'_>, findings: &mut Findings) -> Option<Key> {
    let name = given.name;
    let blocks = match blocks(given.bytes) {
        Ok(blocks) => blocks,
        Err(why) => {
            let message = format!("{name} does not contain a valid PEM private key: {why}.");
            findings.error("import::not-decodable", name, message, "give PEM, base64 of PEM, or DER");
            return None;
        }
    };
    let is_certificate = |block: &Block| {
        block.label == "CERTIFICATE" || (block.label == BARE && key::is_certificate(&block.der))
    };
    let certificates = blocks.iter().filter(|block| is_certificate(block)).count();
    let keys: Vec<&Block> =
        blocks.iter().filter(|b| is_key(b) || (b.label == BARE && !is_certificate(b))).collect();
    let key = match keys.as_slice() {
        [key] => *key,
        [] => {
            let what = if certificates > 0 { "a certificate" } else { "other things" };
            let message = format!("{name} does not contain a valid PEM private key: it holds {what}.");
            findings.error("import::no-key", name, message, "give the key that the certificate was made for");
            return None;
        }
        several => {
            let message =
                format!("{name} holds {} private keys; which one counts is not said.", several.len());
            findings.error(
                "import::several-keys",
                name,
                message,
                "give the key of the server certificate only",
            );
            return None;
        }
    };
    if certificates > 0 {
        let message = format!("{name}: left out {certificates} certificates beside the key.");
        findings.note("import::left-out", name, message);
    }
    let fault = match Key::read(key) {
        Ok(key) => return Some(key),
        Err(fault) => fault,
    };
    let (code, why, hint) = match fault {
        KeyFault::Encrypted => (
            "import::key-encrypted",
            "the private key is encrypted with a passphrase, and a VM that boots has nobody to ask for it"
                .to_owned(),
            "decrypt it where it is kept: `openssl pkey -in KEY -out KEY.plain`",
        ),
        KeyFault::Damaged => (
            "import::key-damaged",
            "the private key is damaged or lacks its public part".to_owned(),
            "write it anew with `openssl pkey`; a .p12 file is unpacked with `openssl pkcs12 -nodes`",
        ),
        KeyFault::Kind(kind) => {
            ("import::key-kind", format!("the private key is of the kind {kind}"), key::KINDS_HINT)
        }
    };
    findings.error(code, name, format!("{name}: {why}."), hint);
    None
}

fn is_key(block: &Block) -> bool {
    block.label.ends_with("PRIVATE KEY") || (block.label == BARE && is_bare_key(&block.der))
}

/// PKCS#8, PKCS#1 and SEC1 keys all start with a version number; a certificate starts with a sequence.
fn is_bare_key(bytes: &[u8]) -> bool {
    let inner = der::expect(der::SEQUENCE, bytes);
    // A PKCS#12 file starts with version 3.
    inner
        .and_then(|(inner, _)| der::expect(der::INTEGER, inner))
        .is_some_and(|(version, _)| version <= [1].as_slice())
}

fn container_hint(labels: &[String]) -> &'static str {
    if labels.iter().any(|label| label.contains("PKCS7") || label == "CMS") {
        "unpack it: `openssl pkcs7 -print_certs -in FILE -out FILE.pem`"
    } else if labels.iter().any(|label| label.contains("REQUEST")) {
        "that is a signing request: have the PKI sign it, and give what comes back"
    } else if labels.iter().any(|label| label == "TRUSTED CERTIFICATE") {
        "write it anew: `openssl x509 -in FILE -out FILE.pem`"
    } else {
        "give PEM blocks of the kind CERTIFICATE"
    }
}
