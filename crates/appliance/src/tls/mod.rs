//! Which certificate a VM serves with and which CA it trusts: the decision, and the files.
//!
//! It fails closed. Plaintext comes only from `FL_TLS_ENABLED = NO`; a CA that is missing, wrong or changed ends the
//! boot. What a process gets is a path; a file that has changed makes exactly the processes start again that read it.

mod anchor;
mod enrolment;
mod pki;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use onefed_context::{GatewayContext, GatewayTls, San, SiteTrust, SuperLinkContext, SuperLinkTls};
use onefed_trust::SanName;
use onefed_trust::import::{Given, Request};

use self::pki::Dialled;
use crate::files::read_if_there;
use crate::steps::Steps;
use crate::{StepError, TlsFiles};

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
    let names = names(&steps.context.addresses, &own.extra_san);
    let dialled = Dialled { address, names: &names };
    match &own.tls {
        SuperLinkTls::Off => {
            plaintext();
            Ok(Secured::default())
        }
        SuperLinkTls::Enrolled { ca, key } => {
            let secured = enrolment::enrolled(steps, ca, key, names).await?;
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
            steps.run("certificate", async || pki::given(machine, dialled, &request)).await
        }
        SuperLinkTls::Own => {
            steps.run("certificate", async || pki::own_or_imported(machine, dialled, grpc)).await
        }
    }
}

/// The certificate of a gateway, for its site's LAN.
pub(crate) async fn gateway(steps: &Steps<'_>, own: &GatewayContext) -> Result<Secured, StepError> {
    match &own.tls {
        GatewayTls::Off => {
            plaintext();
            Ok(Secured::default())
        }
        GatewayTls::Enrolled { ca, key } => {
            enrolment::enrolled(steps, ca, key, names(&steps.context.addresses, &[])).await
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
                anchor::check_given(ca, steps.context.ca_fingerprint.as_ref())?;
                Ok((anchor::install(machine, ca.pem())?, "the CA of the federation".to_owned()))
            };
            steps.run("ca", install).await?
        }
        SiteTrust::Pinned(pin) => {
            let install = async || {
                let pem = anchor::named(offered)?;
                anchor::check_pin(pem, &pin.to_string(), "FL_CA_FINGERPRINT")?;
                Ok((
                    anchor::install(machine, pem)?,
                    format!("the CA that OneGate names is {pin}, as the context says"),
                ))
            };
            steps.run("ca", install).await?
        }
        SiteTrust::FirstUse => {
            steps.run("ca", async || anchor::first_use(machine, anchor::named(offered)?)).await?
        }
    };
    Ok(Secured { ca: Some(ca), ..Secured::default() })
}

/// The certificate of a hop inside this VM, by a CA that never leaves it.
pub(crate) async fn inner(steps: &Steps<'_>) -> Result<Secured, StepError> {
    let machine = steps.machine;
    let make = async || {
        let names = [SanName::Ip(machine.loopback()), SanName::Dns("localhost".to_owned())];
        pki::own_ca(&machine.inner_dir(), "onefed inside one VM", &names)
    };
    steps.run("inner certificate", make).await
}

/// The names that a VM answers to: its addresses, and what the operator adds.
fn names(addresses: &[IpAddr], extra: &[San]) -> Vec<SanName> {
    let mut names: Vec<SanName> = addresses.iter().copied().map(SanName::Ip).collect();
    names.extend(extra.iter().map(|san| match san {
        San::Ip(ip) => SanName::Ip(*ip),
        San::Dns(name) => SanName::Dns(name.clone()),
    }));
    names.sort();
    names.dedup();
    names
}

fn plaintext() {
    tracing::warn!(
        "FL_TLS_ENABLED is NO: this VM speaks PLAINTEXT, because the operator asked for it by name"
    );
}
