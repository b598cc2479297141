//! Certificates that nobody is asked for: of the operator's own PKI, from the context or imported, and of a CA of this
//! VM's own.

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use onefed_trust::import::{self, Given, Imported, Request};
use onefed_trust::{CertificateInfo, SanName};

use super::Secured;
use crate::authority::{self, AuthorityError, Installed, Order, imported_set, install, installed};
use crate::error::in_a_line;
use crate::files::{FileSet, private_dir};
use crate::{Machine, StepError, TlsFiles};

/// A certificate from the context, of a PKI of the operator's own.
pub(super) fn given(
    machine: &Machine,
    own: Dialled<'_>,
    request: &Request<'_>,
) -> Result<(Secured, String), StepError> {
    let imported = checked(request, "correct the certificate, or leave all three out")?;
    let dir = machine.tls_dir();
    private_dir(&dir).map_err(|why| StepError::file(&dir, &why))?;
    let set = FileSet::at(dir.join("given"));
    let same = |there: &Installed| {
        there.ca_pem == imported.ca_pem
            && there.chain_pem == imported.chain_pem
            && there.key_pem.expose() == imported.key_pem.expose()
    };
    let there = match installed(&set).map_err(own_fault)?.filter(same) {
        Some(there) => there,
        None => install(&set, &(&imported).into(), &[], None).map_err(own_fault)?,
    };
    let words = format!("the one in the context, {} days left", imported.leaf.days_left(request.now));
    Ok((of_set(&there, &imported.leaf, own)?, words))
}

/// What `onefed pki import` has put on the disk, or else a CA of this VM's own.
pub(super) fn own_or_imported(
    machine: &Machine,
    own: Dialled<'_>,
    grpc: bool,
) -> Result<(Secured, String), StepError> {
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

pub(super) fn own_ca(dir: &Path, name: &str, names: &[SanName]) -> Result<(Secured, String), StepError> {
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
pub(super) struct Dialled<'a> {
    /// What is published where the certificate names it.
    pub(super) address: IpAddr,
    /// All that this VM knows of.
    pub(super) names: &'a [SanName],
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

pub(super) fn own_fault(why: AuthorityError) -> StepError {
    match &why {
        AuthorityError::File { path, why } => StepError::file(path, why),
        _ => StepError::certificate(&why, why.hint()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefed_trust::RootCa;
    use std::path::PathBuf;

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
}
