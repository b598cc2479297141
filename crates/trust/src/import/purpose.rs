//! What certificates are made for: serving TLS, signing others, and under which names.

use super::Request;
use super::certificate::Cert;
use super::finding::Findings;
use super::key::{KINDS_HINT, Kind};
use crate::SanName;

/// The server certificate must be for a server, and no CA.
pub(super) fn leaf(request: &Request<'_>, leaf: &Cert<'_>, findings: &mut Findings) {
    let (input, subject) = (leaf.input, leaf.subject());
    if leaf.is_ca() {
        let message = format!("{input}: the server certificate {subject} is a CA certificate (CA:TRUE).");
        let hint = "have the PKI issue a server certificate with CA:FALSE; clients refuse a CA as a server";
        findings.error("import::leaf-is-ca", input, message, hint);
    }
    server_auth(leaf, &leaf.called_server(), findings);
    if !leaf.is_ca()
        && leaf.x509.key_usage().is_ok_and(|usage| usage.is_some_and(|u| !u.value.digital_signature()))
    {
        let message =
            format!("{input}: the server certificate {subject} has a key usage without digitalSignature.");
        let hint = "have the PKI add digitalSignature: every TLS 1.3 handshake is signed";
        findings.error("import::key-usage", input, message, hint);
    }
    if leaf.kind == Kind::Ed25519 && request.grpc_clients {
        let message = format!(
            "{input}: a leaf shown to gRPC Flower must be EC or RSA; the server certificate {subject} is Ed25519."
        );
        let hint =
            "have the PKI issue a certificate for a P-256, P-384 or RSA key: gRPC fails every handshake else";
        findings.error("import::ed25519-grpc", input, message, hint);
    } else if !leaf.kind.can_serve() {
        let message = format!("{input}: the key of the server certificate {subject} is {}.", leaf.kind);
        findings.error("import::key-kind", input, message, KINDS_HINT);
    }
}

/// Whoever signs must be a CA that may.
pub(super) fn issuer(cert: &Cert<'_>, findings: &mut Findings) {
    let (input, who) = (cert.input, cert.called());
    if !cert.is_ca() {
        let message = format!("{input}: {who} is not a CA certificate (CA:TRUE is missing).");
        findings.error("import::not-a-ca", input, message, "give the certificate of the CA that signed");
    } else {
        match cert.x509.key_usage() {
            Ok(Some(usage)) if !usage.value.key_cert_sign() => {
                let message = format!("{input}: {who} has a key usage without keyCertSign.");
                let hint = "a CA that may not sign certificates is refused by clients: give the right one";
                findings.error("import::ca-cannot-sign", input, message, hint);
            }
            Ok(None) => {
                let message = format!("{input}: {who} says nothing about its key usage.");
                let hint = "Python 3.13 and later refuse such a CA; have it re-issued with keyCertSign";
                findings.warning("import::ca-key-usage-absent", input, message, hint);
            }
            _ => {}
        }
        server_auth(cert, &who, findings);
    }
    if !cert.kind.can_certify() {
        let message = format!("{input}: the key of {who} is {}.", cert.kind);
        let hint = "use a CA with RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519";
        findings.error("import::key-kind", input, message, hint);
    }
}

/// An extended key usage, where there is one, must allow servers. `anyExtendedKeyUsage` is not enough: neither
/// rustls nor OpenSSL takes it for a server.
fn server_auth(cert: &Cert<'_>, who: &str, findings: &mut Findings) {
    let usage = cert.x509.extended_key_usage();
    if usage.is_ok_and(|usage| usage.is_some_and(|usage| !usage.value.server_auth)) {
        let input = cert.input;
        let message = format!("{input}: {who} has an extended key usage without serverAuth.");
        let hint = "have the PKI issue it for TLS servers (serverAuth)";
        findings.error("import::not-for-servers", input, message, hint);
    }
}

/// Every name that peers dial must be in the server certificate.
pub(super) fn names(request: &Request<'_>, leaf: &Cert<'_>, findings: &mut Findings) {
    let (input, subject, names) = (leaf.input, leaf.subject(), &leaf.info.names);
    let list = |names: &[&SanName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        let message = format!("{input}: the server certificate {subject} has no subject alternative names.");
        let hint = "have the PKI add them: clients look at nothing else, the common name does not count";
        findings.error("import::no-names", input, message, hint);
        return;
    }
    let missing: Vec<&SanName> =
        request.dialled.iter().filter(|dialled| !names.iter().any(|name| name.covers(dialled))).collect();
    if !missing.is_empty() {
        let message = format!(
            "{input}: the server certificate {subject} is not for {}, which peers dial.",
            list(&missing)
        );
        let hint =
            format!("have the PKI add these names; it is for {}", list(&names.iter().collect::<Vec<_>>()));
        findings.error("import::name-missing", input, message, hint);
    }
}
