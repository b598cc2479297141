//! One certificate of an import.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::Given;
use super::finding::Findings;
use super::key::Kind;
use crate::CertificateInfo;

/// Which input a certificate came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Ca,
    Chain,
}

/// A certificate, with what is asked about it again and again.
pub(super) struct Cert<'a> {
    pub(super) origin: Origin,
    /// The name of its input.
    pub(super) input: &'a str,
    pub(super) der: &'a [u8],
    pub(super) x509: X509Certificate<'a>,
    pub(super) info: CertificateInfo,
    pub(super) kind: Kind,
}

impl Cert<'_> {
    /// Its subject, as a message may show it: in one line, and not without end.
    pub(super) fn subject(&self) -> String {
        shown(&self.x509.subject().to_string())
    }

    pub(super) fn issuer(&self) -> String {
        shown(&self.x509.issuer().to_string())
    }

    /// Whether it says of itself that it is a CA.
    pub(super) fn is_ca(&self) -> bool {
        self.x509.is_ca()
    }

    /// Whether it names itself as its issuer.
    pub(super) fn is_root(&self) -> bool {
        self.x509.subject().as_raw() == self.x509.issuer().as_raw()
    }

    /// Whether the other one names this one as its issuer.
    pub(super) fn is_named_by(&self, other: &Cert<'_>) -> bool {
        self.der != other.der && self.x509.subject().as_raw() == other.x509.issuer().as_raw()
    }

    /// What an issuer is called: "the CA certificate `CN=…`" and so on.
    pub(super) fn called(&self) -> String {
        match self.origin {
            Origin::Ca => format!("the CA certificate {}", self.subject()),
            Origin::Chain => format!("the intermediate certificate {}", self.subject()),
        }
    }

    /// What the server certificate is called.
    pub(super) fn called_server(&self) -> String {
        format!("the server certificate {}", self.subject())
    }
}

/// Parses the certificates of one input. `None` if one of them cannot be read.
pub(super) fn parse<'a>(
    given: &Given<'a>,
    origin: Origin,
    ders: &'a [Vec<u8>],
    findings: &mut Findings,
) -> Option<Vec<Cert<'a>>> {
    let input = given.name;
    let mut certs = Vec::new();
    for (index, der) in ders.iter().enumerate() {
        let parsed = X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty());
        let Some(((_, x509), info)) = parsed.zip(CertificateInfo::from_der(der).ok()) else {
            let message = format!(
                "{input} does not contain a valid PEM certificate: object {} is not an X.509 certificate.",
                index + 1
            );
            let hint =
                "check how it was copied; `openssl pkcs12` and `openssl pkcs7` unpack .p12 and .p7b files";
            findings.error("import::not-a-certificate", input, message, hint);
            continue;
        };
        let kind = Kind::of(x509.public_key());
        certs.push(Cert { origin, input, der, x509, info, kind });
    }
    (certs.len() == ders.len()).then_some(certs)
}

fn shown(name: &str) -> String {
    const MOST: usize = 120;
    let mut out = String::from("`");
    for (count, c) in name.chars().enumerate() {
        if count == MOST {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('`');
    out
}
