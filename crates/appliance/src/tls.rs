//! Which certificate a VM serves with and which CA it trusts: the decision, and the files.
//!
//! It fails closed. Plaintext comes only from `FL_TLS_ENABLED = NO`; a CA that is missing, wrong or changed ends the
//! boot. What a process gets is a path; a file that has changed makes exactly the processes start again that read it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onefed_context::{CaBundle, GatewayContext, Secret, SiteTrust, SuperLinkContext, SuperLinkTls};
use onefed_trust::import::{self, Given, Imported, Request};
use onefed_trust::{CertificateInfo, EnrolKey, SanName};

use crate::authority::{self, AuthorityError, Installed, Order, imported_set, install, installed};
use crate::boot::Steps;
use crate::certificate::{self, Asking};
use crate::error::in_a_line;
use crate::files::{FileSet, Readers, keep, private_dir, read_if_there, write};
use crate::{Machine, StepError, TlsFiles};

/// The TLS of one listener, as files; nothing for plaintext.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secured {
    /// What the listener shows.
    pub(crate) files: Option<TlsFiles>,
    /// What its peers, and this VM's own clients, hold against it.
    pub(crate) ca: Option<PathBuf>,
    /// What peers must dial, where the certificate does not name this VM's own address.
    pub(crate) name: Option<String>,
    /// Whose certificates open the admin endpoint: only a CA that the operator's tool keeps.
    pub(crate) admin_ca: Option<PathBuf>,
}

impl Secured {
    /// The files that everybody may read, and whose change concerns who does.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        let served = self.files.iter().map(|files| files.certificate.clone());
        let mut all: Vec<_> = served.chain(self.ca.clone()).chain(self.admin_ca.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The key, for the listener's user alone.
    pub(crate) fn keys(&self) -> Vec<PathBuf> {
        self.files.iter().map(|files| files.key.clone()).collect()
    }

    /// The CA, to be published.
    pub(crate) fn ca_text(&self) -> Result<Option<String>, StepError> {
        let Some(path) = &self.ca else { return Ok(None) };
        read_if_there(path).map_err(|why| StepError::file(path, &why))
    }
}

/// The certificate of the hub.
///
/// `address`: what peers dial, unless the certificate does not name it. `grpc`: whether Flower's gRPC may meet it, which
/// cannot do with every kind of key.
pub(crate) async fn superlink(
    steps: &Steps<'_>,
    own: &SuperLinkContext,
    address: IpAddr,
    grpc: bool,
) -> Result<Secured, StepError> {
    let machine = steps.machine;
    let names = certificate::names(&steps.context.addresses, &own.extra_san);
    let dialled = Dialled { address, names: &names };
    match &own.tls {
        SuperLinkTls::Off => {
            plaintext();
            Ok(Secured::default())
        }
        SuperLinkTls::Enrolled { ca, key } => {
            let secured = enrolled(steps, ca, key, names).await?;
            Ok(Secured { admin_ca: secured.ca.clone(), ..secured })
        }
        SuperLinkTls::Given { ca, certificate, key } => {
            let request = Request {
                ca: Given { name: "FL_SSL_CA_CERTFILE", bytes: ca.pem().as_bytes() },
                certificate: Given { name: "FL_SSL_CERTFILE", bytes: certificate.pem().as_bytes() },
                key: Given { name: "FL_SSL_KEYFILE", bytes: key.expose().as_bytes() },
                // Peers may dial a name that this VM does not know of.
                dialled: &[],
                grpc_clients: grpc,
                now: SystemTime::now(),
            };
            steps.run("certificate", async || given(machine, dialled, &request)).await
        }
        SuperLinkTls::Own => steps.run("certificate", async || own_or_imported(machine, dialled, grpc)).await,
    }
}

/// The certificate of a gateway, for its site's LAN.
pub(crate) async fn gateway(steps: &Steps<'_>, own: &GatewayContext) -> Result<Secured, StepError> {
    let names = certificate::names(&steps.context.addresses, &[]);
    match (&own.trust, &own.enrol_key) {
        (SiteTrust::Off, _) => {
            plaintext();
            Ok(Secured::default())
        }
        (SiteTrust::Given(ca), Some(key)) => enrolled(steps, ca, key, names).await,
        _ => {
            let refuse = async || {
                Err(StepError::context(
                    "FL_TLS_ENABLED is YES, but FL_SSL_CA_CERTFILE or FL_ENROL_KEY is missing",
                    "deploy with `onefed apply`, which sets both, or use FL_GATEWAY = embedded",
                ))
            };
            steps.run("certificate", refuse).await
        }
    }
}

/// What a SuperNode's VM trusts. `offered` is the CA that OneGate names, a hint.
pub(crate) async fn site(
    steps: &Steps<'_>,
    trust: &SiteTrust,
    offered: Option<&str>,
) -> Result<Secured, StepError> {
    let machine = steps.machine;
    let ca = match trust {
        SiteTrust::Off => {
            plaintext();
            return Ok(Secured::default());
        }
        SiteTrust::Given(ca) => {
            let install = async || {
                let path = certificate::install_ca(machine, ca, steps.context.ca_fingerprint.as_ref())?;
                Ok((path, "the CA of the federation".to_owned()))
            };
            steps.run("ca", install).await?
        }
        SiteTrust::Pinned(pin) => {
            let install = async || {
                let pem = named(offered)?;
                check_pin(pem, &pin.to_string(), "FL_CA_FINGERPRINT")?;
                Ok((
                    install_ca_text(machine, pem)?,
                    format!("the CA that OneGate names is {pin}, as the context says"),
                ))
            };
            steps.run("ca", install).await?
        }
        SiteTrust::FirstUse => steps.run("ca", async || first_use(machine, named(offered)?)).await?,
    };
    Ok(Secured { ca: Some(ca), ..Secured::default() })
}

/// The certificate of a hop inside this VM, by a CA that never leaves it.
pub(crate) async fn inner(steps: &Steps<'_>) -> Result<Secured, StepError> {
    let machine = steps.machine;
    let make = async || {
        let names = [SanName::Ip(machine.loopback()), SanName::Dns("localhost".to_owned())];
        own_ca(&machine.inner_dir(), "onefed inside one VM", &names)
    };
    steps.run("inner certificate", make).await
}

fn plaintext() {
    tracing::warn!(
        "FL_TLS_ENABLED is NO: this VM speaks PLAINTEXT, because the operator asked for it by name"
    );
}

async fn enrolled(
    steps: &Steps<'_>,
    ca: &CaBundle,
    key: &Secret,
    names: Vec<SanName>,
) -> Result<Secured, StepError> {
    let machine = steps.machine;
    let obtain = async || {
        let installed = certificate::install_ca(machine, ca, steps.context.ca_fingerprint.as_ref())?;
        let key = EnrolKey::from_text(key.expose());
        let asking = Asking { ca, key: &key, generation: steps.generation, names: names.clone() };
        let (files, text) = certificate::obtain(machine, &steps.publisher, &asking).await?;
        Ok((Secured { files: Some(files), ca: Some(installed), ..Secured::default() }, text))
    };
    steps.wait("certificate", obtain).await
}

/// A certificate from the context, of a PKI of the operator's own.
fn given(machine: &Machine, own: Dialled<'_>, request: &Request<'_>) -> Result<(Secured, String), StepError> {
    let imported = checked(request, "correct the certificate, or leave all three out")?;
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let set = FileSet::at(dir.join("given"));
    let there = installed(&set).map_err(own_fault)?;
    let same = there.is_some_and(|there| {
        there.ca_pem == imported.ca_pem
            && there.chain_pem == imported.chain_pem
            && there.key_pem.expose() == imported.key_pem.expose()
    });
    if !same {
        install(&set, &imported, &[], None).map_err(own_fault)?;
    }
    let there = installed(&set)
        .map_err(own_fault)?
        .ok_or_else(|| StepError::certificate("not kept", "boot again"))?;
    let words = format!("the one in the context, {} days left", imported.leaf.days_left(request.now));
    Ok((of_set(&there, &imported.leaf, own)?, words))
}

/// What `onefed pki import` has put on the disk, or else a CA of this VM's own.
fn own_or_imported(machine: &Machine, own: Dialled<'_>, grpc: bool) -> Result<(Secured, String), StepError> {
    let Some(there) = installed(&imported_set(&machine.disk)).map_err(own_fault)? else {
        let dir = machine.own_dir();
        private_dir(&machine.tls_dir()).map_err(|why| StepError::file(&dir, &why))?;
        return own_ca(&dir, "onefed SuperLink", own.names);
    };
    let now = SystemTime::now();
    let request = Request {
        ca: Given { name: "the imported CA", bytes: there.ca_pem.as_bytes() },
        certificate: Given { name: "the imported certificate", bytes: there.chain_pem.as_bytes() },
        key: Given { name: "the imported key", bytes: there.key_pem.expose().as_bytes() },
        dialled: &there.dialled,
        grpc_clients: grpc,
        now,
    };
    let leaf = checked(&request, "import another one: `onefed pki csr`, `onefed pki import`")?.leaf;
    let words = format!("the imported one, {} days left", leaf.days_left(now));
    Ok((of_set(&there, &leaf, own)?, words))
}

fn checked(request: &Request<'_>, hint: &str) -> Result<Imported, StepError> {
    let line = |finding: &import::Finding| in_a_line(finding.code, &finding.message, finding.hint.as_deref());
    let report = import::check(request);
    for finding in report.findings.iter().filter(|finding| finding.severity != import::Severity::Error) {
        tracing::warn!("{}", line(finding));
    }
    let errors: Vec<String> = report.errors().map(line).collect();
    report.imported.ok_or_else(|| StepError::certificate(errors.join("; "), hint))
}

fn own_ca(dir: &Path, name: &str, names: &[SanName]) -> Result<(Secured, String), StepError> {
    let order = Order { dir, name, names, owner: None, now: SystemTime::now() };
    let kept = authority::keep(&order).map_err(own_fault)?;
    let words = format!("{}, {} days left", kept.done, kept.leaf.days_left(order.now));
    let files = TlsFiles { certificate: kept.chain, key: kept.key };
    Ok((Secured { files: Some(files), ca: Some(kept.ca), name: None, admin_ca: None }, words))
}

/// A set of an operator's own PKI. Such a PKI may not name this VM's address; then peers have to dial what it names.
fn of_set(set: &Installed, leaf: &CertificateInfo, own: Dialled<'_>) -> Result<Secured, StepError> {
    let name = if leaf.names.contains(&SanName::Ip(own.address)) {
        None
    } else {
        // Rather what this VM knows of than any other host of the certificate's.
        let known = leaf.names.iter().filter(|name| own.names.contains(name));
        let hosts = leaf.names.iter().filter(|name| matches!(name, SanName::Dns(_)));
        let found = known.chain(hosts).find_map(|name| match name {
            SanName::Dns(name) if name.starts_with('*') => None,
            SanName::Dns(name) => Some(name.clone()),
            SanName::Ip(ip) => Some(ip.to_string()),
        });
        Some(found.ok_or_else(|| own.unnamed())?)
    };
    let files = TlsFiles { certificate: set.chain.clone(), key: set.key.clone() };
    Ok(Secured { files: Some(files), ca: Some(set.ca.clone()), name, admin_ca: None })
}

/// What peers may dial to reach this VM.
#[derive(Clone, Copy)]
struct Dialled<'a> {
    /// What is published where the certificate names it.
    address: IpAddr,
    /// All that this VM knows of.
    names: &'a [SanName],
}

impl Dialled<'_> {
    fn unnamed(self) -> StepError {
        let own: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        StepError::certificate(
            format!("the certificate names no host that peers could dial, and none of {}", own.join(", ")),
            "have it issued for this VM's address or for a DNS name",
        )
    }
}

fn own_fault(why: AuthorityError) -> StepError {
    match &why {
        AuthorityError::File { path, why } => StepError::file(path, why),
        _ => StepError::certificate(&why, why.hint()),
    }
}

/// The CA that OneGate names, or why there is none.
fn named(offered: Option<&str>) -> Result<&str, StepError> {
    offered.ok_or_else(|| {
        StepError::context(
            "TLS is on, but neither the context nor OneGate names the CA of the hub",
            "set FL_SSL_CA_CERTFILE; OneGate names a CA only to the service that the SuperLink is in",
        )
    })
}

/// Holds the CA that OneGate names against the pin; `source` is where that comes from.
fn check_pin(pem: &str, pin: &str, source: &str) -> Result<(), StepError> {
    let alarm = |text: String| {
        let hint = "somebody in this service may be posing as the SuperLink; compare with the CA on the SuperLink's VM";
        StepError::certificate(format!("ALARM: {text}"), hint)
    };
    let found = CertificateInfo::from_pem(pem)?.fingerprint.to_string();
    if found != pin {
        return Err(alarm(format!("OneGate names a CA with the fingerprint {found}, {source} says {pin}")));
    }
    // Everything in the bundle would be trusted, so the pin must cover everything.
    match pem.matches("BEGIN CERTIFICATE").count() {
        1 => Ok(()),
        count => Err(alarm(format!("OneGate names {count} CA certificates, {source} covers one, {pin}"))),
    }
}

/// Takes the CA that OneGate names once, and no other ever after.
fn first_use(machine: &Machine, offered: &str) -> Result<(PathBuf, String), StepError> {
    let found = CertificateInfo::from_pem(offered)?.fingerprint.to_string();
    let path = machine.tls_dir().join("first-use");
    let kept = read_if_there(&path).map_err(|why| StepError::file(&path, &why))?;
    let words = match kept {
        Some(pin) => {
            check_pin(offered, pin.trim(), "the pin of the first use").map_err(|why| {
                let remove =
                    format!("if the SuperLink's CA was changed on purpose, remove {}", path.display());
                StepError { hint: format!("{}; {remove}", why.hint), ..why }
            })?;
            format!("{found}, as on first use")
        }
        None => {
            check_pin(offered, &found, "the first use")?;
            private_dir(&machine.tls_dir()).map_err(|why| StepError::file(&path, &why))?;
            write(&path, found.as_bytes(), Readers::Owner).map_err(|why| StepError::file(&path, &why))?;
            tracing::warn!(
                "FL_CA_TRUST is first-use: the CA {found} that OneGate names is trusted from now on"
            );
            format!("{found}, taken on first use")
        }
    };
    Ok((install_ca_text(machine, offered)?, words))
}

fn install_ca_text(machine: &Machine, pem: &str) -> Result<PathBuf, StepError> {
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let path = dir.join("ca.pem");
    keep(&path, pem.as_bytes(), Readers::All).map_err(|why| StepError::file(&path, &why))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefed_trust::RootCa;

    fn set(names: &[&str]) -> (Installed, CertificateInfo) {
        let names: Vec<SanName> = names.iter().copied().map(SanName::of_host).collect();
        let ca = RootCa::generate_for_vm("an operator's", SystemTime::now()).unwrap();
        let made = ca.issue_server(&names, SystemTime::now()).unwrap();
        let leaf = CertificateInfo::from_pem(&made.cert_pem).unwrap();
        let path = PathBuf::new;
        let installed = Installed {
            ca: path(),
            chain: path(),
            key: path(),
            ca_pem: ca.cert_pem().to_owned(),
            chain_pem: made.cert_pem,
            key_pem: made.key_pem,
            dialled: Vec::new(),
        };
        (installed, leaf)
    }

    /// Peers and this VM's own question about its health dial what is published: the certificate must name that.
    #[test]
    fn what_is_published_is_named_by_the_certificate() {
        let own = ["10.0.0.5", "10.1.0.5", "hub.example.org"].map(SanName::of_host);
        let own = Dialled { address: "10.0.0.5".parse().unwrap(), names: &own };
        let name = |names: &[&str]| {
            let (installed, leaf) = set(names);
            of_set(&installed, &leaf, own).map(|secured| secured.name).map_err(|why| why.text)
        };
        assert_eq!(name(&["10.0.0.5", "other.org"]), Ok(None));
        assert_eq!(name(&["10.1.0.5"]), Ok(Some("10.1.0.5".to_owned())));
        assert_eq!(name(&["other.org", "hub.example.org"]), Ok(Some("hub.example.org".to_owned())));
        assert_eq!(name(&["*.org", "other.org"]), Ok(Some("other.org".to_owned())));
        assert!(name(&["*.org", "10.9.9.9"]).unwrap_err().contains("IP:10.1.0.5"));
    }

    #[test]
    fn a_pin_covers_one_certificate_and_the_alarm_says_whose_it_is() {
        let (one, other) = (set(&["a.org"]).0.ca_pem, set(&["a.org"]).0.ca_pem);
        let print = CertificateInfo::from_pem(&one).unwrap().fingerprint.to_string();
        let alarm = |pem: &str| check_pin(pem, &print, "the pin of the first use").unwrap_err().text;
        assert!(check_pin(&one, &print, "the pin of the first use").is_ok());
        assert!(alarm(&other).ends_with(&format!(", the pin of the first use says {print}")));
        assert!(alarm(&format!("{one}{other}")).contains("2 CA certificates"));
    }
}
