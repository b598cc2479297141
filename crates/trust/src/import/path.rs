//! From the server certificate up to the CA: which certificates, in which order, and what breaks off.

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::error::X509Error;

use super::Request;
use super::certificate::{Cert, Origin};
use super::finding::Findings;
use super::key::Key;

/// The reference's words for a chain that does not end at the CA.
const NOT_SIGNED: &str = "Server certificate is not signed by the provided CA certificate";
/// Longer than any real chain.
const DEEPEST: usize = 8;

/// A complete chain.
pub(super) struct Path<'a, 'c> {
    /// In the order of signing; without the server certificate and without the CA.
    pub(super) intermediates: Vec<&'c Cert<'a>>,
    /// Where it ends.
    pub(super) anchor: &'c Cert<'a>,
}

/// Where a chain breaks off.
enum Break<'a, 'c> {
    /// Nobody given has the name of this one's issuer.
    NoIssuer(&'c Cert<'a>),
    /// The issuer of the first one has the name of the second one, and another key.
    OtherKey(&'c Cert<'a>, &'c Cert<'a>),
    /// The first one is signed by the second one in a way that nobody should accept any more, or that is not known.
    Algorithm(&'c Cert<'a>, &'c Cert<'a>),
    /// A root that is not among the CAs.
    OtherRoot(&'c Cert<'a>),
    /// A chain without end.
    TooDeep(&'c Cert<'a>),
}

/// Picks the server certificate out of the chain. `None` where going on would only confuse.
pub(super) fn leaf<'a, 'c>(
    chain: &'c [Cert<'a>],
    ca: &[Cert<'_>],
    key: Option<&Key>,
    findings: &mut Findings,
) -> Option<&'c Cert<'a>> {
    let signs_another = |cert: &Cert<'a>| chain.iter().any(|other| cert.is_named_by(other));
    let leaves: Vec<&Cert<'a>> = chain.iter().filter(|cert| !cert.is_ca() && !signs_another(cert)).collect();
    let of_key = || key.and_then(|key| chain.iter().find(|cert| cert.has_key(key)));
    match leaves.as_slice() {
        [one] => Some(*one),
        [] => of_key().or_else(|| chain.iter().find(|cert| !signs_another(cert))).or_else(|| chain.first()),
        several => {
            let input = several[0].input;
            let subjects = several.iter().map(|cert| cert.subject()).collect::<Vec<_>>().join(", ");
            let message = format!("{input} holds {} server certificates: {subjects}.", several.len());
            let hint = "give one server certificate, with every name that peers dial, and its intermediates";
            findings.error("import::several-leaves", input, message, hint);
            // Go on with the likely one, for what else is wrong.
            of_key().or_else(|| several.first().copied())
        }
    }
    .filter(|leaf| !interchanged(leaf, ca, findings))
}

/// Whether the two inputs were given the wrong way round. Nothing else needs to be said then.
fn interchanged(leaf: &Cert<'_>, ca: &[Cert<'_>], findings: &mut Findings) -> bool {
    let issued = ca.iter().find(|cert| leaf.is_named_by(cert));
    let Some(issued) = issued.filter(|_| leaf.is_ca() && ca.iter().all(|cert| !cert.is_ca())) else {
        return false;
    };
    let (input, other) = (leaf.input, issued.input);
    let message =
        format!("{input} holds a CA certificate, and {other} one that it signed: they are interchanged.");
    findings.error("import::interchanged", input, message, "give each the other's value");
    true
}

impl<'a, 'c> Path<'a, 'c> {
    /// Climbs from the server certificate to a CA. `None` if it cannot be done; why is among the findings.
    pub(super) fn find(
        leaf: &'c Cert<'a>,
        chain: &'c [Cert<'a>],
        ca: &'c [Cert<'a>],
        findings: &mut Findings,
    ) -> Option<Self> {
        let broken = match climb(leaf, &[], chain, ca) {
            Ok(mut up) => {
                let anchor = up.pop()?;
                if !anchor.is_root() {
                    let (input, who) = (anchor.input, anchor.called());
                    let message = format!("{input}: {who} is not a root: {} signed it.", anchor.issuer());
                    let hint = "add the root to it: clients that insist on a root refuse the connection else";
                    findings.warning("import::ca-not-root", input, message, hint);
                }
                return Some(Self { intermediates: up, anchor });
            }
            Err(broken) => broken,
        };
        let cas = ca.first().map_or("", |cert| cert.input);
        let input = leaf.input;
        let (code, why, hint) = match broken {
            Break::NoIssuer(of) => (
                "import::issuer-missing",
                format!("{}, which signed {}, is neither in {input} nor in {cas}", of.issuer(), of.subject()),
                format!(
                    "if {0} is an intermediate, append it to {input}; if it is the root, give it in {cas}",
                    of.issuer()
                ),
            ),
            Break::OtherKey(of, by) => (
                "import::not-signed",
                format!(
                    "{} in {} has the name of the issuer of {}, but not its key",
                    by.subject(),
                    by.input,
                    of.subject()
                ),
                "the issuer was made anew under the same name: give the one that signed".to_owned(),
            ),
            Break::OtherRoot(root) => (
                "import::not-signed",
                format!("the chain ends at {}, which is not in {cas}", root.subject()),
                format!("give that CA in {cas}, or a certificate that the CA in {cas} signed"),
            ),
            Break::Algorithm(of, by) => (
                "import::signature-algorithm",
                format!(
                    "the signature of {} on {} is of a kind that is not accepted",
                    by.subject(),
                    of.subject()
                ),
                "have it issued anew with SHA-256 or better, by an RSA, P-256, P-384 or Ed25519 key"
                    .to_owned(),
            ),
            Break::TooDeep(of) => (
                "import::too-deep",
                format!("the chain goes on after {DEEPEST} certificates, at {}", of.subject()),
                "give the intermediates that lead to the CA, and no others".to_owned(),
            ),
        };
        findings.error(code, input, format!("{NOT_SIGNED} ({input}, {cas}): {why}."), hint);
        None
    }

    /// What the TLS library itself says of a set that nothing else was found wrong with.
    pub(super) fn last_word(&self, leaf: &Cert<'_>, request: &Request<'_>, findings: &mut Findings) {
        if findings.0.iter().any(|finding| finding.severity == super::Severity::Error) {
            return;
        }
        let verify = || {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(self.anchor.der))?;
            let der = CertificateDer::from(leaf.der);
            let between: Vec<_> =
                self.intermediates.iter().map(|cert| CertificateDer::from(cert.der)).collect();
            let since = request.now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(&der)?,
                &roots,
                &between,
                UnixTime::since_unix_epoch(since),
                crate::tls::provider().signature_verification_algorithms.all,
            )
        };
        if let Err(why) = verify() {
            let input = leaf.input;
            let message =
                format!("{input}: TLS clients refuse the server certificate {}: {why}.", leaf.subject());
            let hint = "look at it with `openssl x509 -text`: version, critical extensions, name constraints";
            findings.error("import::refused", input, message, hint);
        }
    }
}

/// The certificates above `of`, up to and with the CA.
fn climb<'a, 'c>(
    of: &'c Cert<'a>,
    below: &[&'c Cert<'a>],
    chain: &'c [Cert<'a>],
    ca: &'c [Cert<'a>],
) -> Result<Vec<&'c Cert<'a>>, Break<'a, 'c>> {
    // A certificate that is itself trusted.
    if let Some(same) = ca.iter().find(|cert| cert.der == of.der && cert.is_root()) {
        return Ok(vec![same]);
    }
    if below.len() >= DEEPEST {
        return Err(Break::TooDeep(of));
    }
    if of.is_root() && !ca.iter().any(|cert| cert.is_named_by(of)) {
        return Err(Break::OtherRoot(of));
    }
    let mut above: Vec<&Cert<'a>> = chain
        .iter()
        .chain(ca)
        .filter(|cert| cert.is_named_by(of) && !below.iter().any(|seen| seen.der == cert.der))
        .collect();
    above.sort_by_key(|cert| match cert.origin {
        Origin::Ca if cert.is_root() => 0,
        Origin::Chain => 1,
        Origin::Ca => 2,
    });
    let mut broken = Break::NoIssuer(of);
    let mut below = below.to_vec();
    below.push(of);
    for cert in above {
        let next = match of.x509.verify_signature(Some(cert.x509.public_key())) {
            Err(X509Error::SignatureUnsupportedAlgorithm) => Err(Break::Algorithm(of, cert)),
            Err(_) => Err(Break::OtherKey(of, cert)),
            Ok(()) if is_sha1(of) => Err(Break::Algorithm(of, cert)),
            Ok(()) if cert.origin == Origin::Ca && cert.is_root() => return Ok(vec![cert]),
            Ok(()) => climb(cert, &below, chain, ca),
        };
        match next {
            Ok(mut up) => {
                up.insert(0, cert);
                return Ok(up);
            }
            // An intermediate that the operator trusts by itself.
            Err(Break::NoIssuer(_)) if cert.origin == Origin::Ca => return Ok(vec![cert]),
            // What got furthest says most.
            Err(why) => broken = why,
        }
    }
    Err(broken)
}

/// SHA-1 signatures verify, and no client takes them.
fn is_sha1(cert: &Cert<'_>) -> bool {
    let oid = &cert.x509.signature_algorithm.algorithm;
    *oid == x509_parser::oid_registry::OID_PKCS1_SHA1WITHRSA
        || *oid == x509_parser::oid_registry::OID_SHA1_WITH_RSA
}

/// Everything that signs: the chain's and the CA's certificates that are part of the path, or may be where there is none.
pub(super) fn above<'a, 'c>(
    leaf: &'c Cert<'a>,
    chain: &'c [Cert<'a>],
    ca: &'c [Cert<'a>],
    path: Option<&Path<'a, 'c>>,
) -> Vec<&'c Cert<'a>> {
    match path {
        Some(path) => path.intermediates.iter().copied().chain([path.anchor]).collect(),
        None => {
            let signs = |cert: &&Cert<'a>| cert.is_ca() || chain.iter().any(|other| cert.is_named_by(other));
            chain.iter().filter(|cert| cert.der != leaf.der).filter(signs).chain(ca).collect()
        }
    }
}

/// Says what of the chain was put in order or left out.
pub(super) fn order(
    request: &Request<'_>,
    leaf: &Cert<'_>,
    chain: &[Cert<'_>],
    path: Option<&Path<'_, '_>>,
    findings: &mut Findings,
) {
    let Some(path) = path else { return };
    let input = request.certificate.name;
    let wanted: Vec<&[u8]> =
        std::iter::once(leaf).chain(path.intermediates.iter().copied()).map(|cert| cert.der).collect();
    let given: Vec<&[u8]> = chain.iter().map(|cert| cert.der).collect();
    // Some of the wanted ones may have come with the CA.
    if !wanted.iter().filter(|der| given.contains(der)).eq(given.iter().filter(|der| wanted.contains(der))) {
        let message =
            format!("{input}: the certificates were out of order; they are put into the order of signing.");
        findings.note("import::reordered", input, message);
    }
    let unused = chain.iter().filter(|cert| !wanted.contains(&cert.der) && (cert.is_ca() || cert.is_root()));
    for cert in unused {
        let message =
            format!("{input}: {} is not sent to clients: the chain does not need it.", cert.subject());
        findings.note("import::left-out", input, message);
    }
}

/// A CA may limit how many CAs come below it.
pub(super) fn lengths(path: Option<&Path<'_, '_>>, findings: &mut Findings) {
    let Some(path) = path else { return };
    for (below, cert) in path.intermediates.iter().copied().chain([path.anchor]).enumerate() {
        let limit = cert.x509.basic_constraints().ok().flatten().and_then(|bc| bc.value.path_len_constraint);
        if limit.is_some_and(|limit| below > limit as usize) {
            let (input, who) = (cert.input, cert.called());
            let message =
                format!("{input}: {who} has a path length that {below} intermediates below it exceed.");
            let hint = "have the intermediate issued by a CA that may have CAs below it";
            findings.error("import::path-length", input, message, hint);
        }
    }
}

/// The certificates of the CA input that can be trusted as such; others are said to be left out.
pub(super) fn anchors<'a, 'c>(ca: &'c [Cert<'a>], findings: &mut Findings) -> Vec<&'c Cert<'a>> {
    let (anchors, others): (Vec<_>, Vec<_>) = ca.iter().partition(|cert| cert.is_ca());
    for cert in others {
        let message = format!("{}: {} is no CA certificate and is left out.", cert.input, cert.subject());
        findings.note("import::left-out", cert.input, message);
    }
    anchors
}
