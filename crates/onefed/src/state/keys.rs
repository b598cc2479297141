//! The keys of a federation: the root CA, and who comes in with which certificate.

use std::path::Path;
use std::time::SystemTime;

use onefed_appliance::files::{Readers, private_dir};
use onefed_trust::{CertificateInfo, ClientIdentity, ClientRole, Fingerprint, RootCa, SecretPem};

use super::{State, not_deployed};
use crate::failure::{Exit, Failure};

/// A client certificate with fewer days left is made again by the next `apply`.
const RENEW_BELOW_DAYS: i64 = 60;

/// What is there of the root CA.
pub(crate) enum Authority {
    /// All of it: it can sign.
    Root(Box<RootCa>),
    /// Its key is kept elsewhere. What needs no signature goes on.
    Certificate {
        /// The certificate.
        pem: String,
        /// Where the key would be.
        key: String,
    },
}

impl Authority {
    /// The CA's certificate.
    pub(crate) fn cert_pem(&self) -> &str {
        match self {
            Self::Root(root) => root.cert_pem(),
            Self::Certificate { pem, .. } => pem,
        }
    }

    /// The fingerprint by which VMs know it.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, Failure> {
        Ok(CertificateInfo::from_pem(self.cert_pem())?.fingerprint)
    }

    /// The root, for a signature.
    pub(crate) fn root(&self) -> Result<&RootCa, Failure> {
        match self {
            Self::Root(root) => Ok(root),
            Self::Certificate { key, .. } => {
                let text = format!("something has to be signed, and the root key {key} is not there");
                Err(Failure::new(Exit::Configuration, "root-key-missing", text)
                    .hint("put the root key back for the time of `apply`; without it nothing can be signed"))
            }
        }
    }
}

impl State {
    /// The federation's root CA, made at first use. Never made anew over a certificate that VMs have.
    pub(crate) fn authority(&self, federation: &str) -> Result<Authority, Failure> {
        let (cert, key) = (self.dir.join("ca.pem"), self.dir.join("ca.key"));
        match (self.read(&cert)?, self.read(&key)?) {
            (Some(cert), Some(key)) => {
                return Ok(Authority::Root(Box::new(RootCa::load(&cert, &SecretPem::new(key))?)));
            }
            (Some(pem), None) => {
                return Ok(Authority::Certificate { pem, key: key.display().to_string() });
            }
            // A key alone is left of a first run that was cut short before anybody got the certificate.
            (None, _) => {}
        }
        let root = RootCa::generate(federation, SystemTime::now())?;
        self.write(&self.dir.join("federation"), &format!("{federation}\n"), Readers::Owner)?;
        self.write(&key, root.key_pem().expose(), Readers::Owner)?;
        self.write(&cert, root.cert_pem(), Readers::All)?;
        Ok(Authority::Root(Box::new(root)))
    }

    /// Whether there is a root CA.
    pub(crate) fn has_authority(&self) -> Result<bool, Failure> {
        Ok(self.read(&self.dir.join("ca.pem"))?.is_some())
    }

    /// The CA's certificate, for those who do not sign.
    pub(crate) fn ca_pem(&self) -> Result<String, Failure> {
        let path = self.dir.join("ca.pem");
        self.read(&path)?.ok_or_else(|| not_deployed(&self.dir))
    }

    /// The federation that a root CA is of, by its name.
    pub(super) fn owner_by_certificate(&self) -> Result<Option<String>, Failure> {
        let pem = self.read(&self.dir.join("ca.pem"))?;
        let info = pem.and_then(|pem| CertificateInfo::from_pem(&pem).ok());
        Ok(info.and_then(|info| Some(info.common_name.strip_suffix(" root CA")?.to_owned())))
    }

    /// The operator's own client certificate, made at first use and again before it ends. Without the root key the one
    /// that is there has to do.
    pub(crate) fn operator(&self, authority: &Authority) -> Result<ClientIdentity, Failure> {
        let kept = self.identity()?;
        if let Some(identity) = &kept {
            let days = CertificateInfo::from_pem(&identity.cert_pem)?.days_left(SystemTime::now());
            if days >= RENEW_BELOW_DAYS || (days > 0 && authority.root().is_err()) {
                return Ok(identity.clone());
            }
        }
        let identity = authority.root()?.issue_client("operator", ClientRole::Operator, SystemTime::now())?;
        self.write(&self.dir.join("operator.key"), identity.key_pem.expose(), Readers::Owner)?;
        self.write(&self.dir.join("operator.pem"), &identity.cert_pem, Readers::All)?;
        Ok(identity)
    }

    /// The client certificate in this directory, if there is one: the operator's, or a user's.
    pub(crate) fn identity(&self) -> Result<Option<ClientIdentity>, Failure> {
        for role in [ClientRole::Operator, ClientRole::User] {
            let cert = self.read(&self.dir.join(format!("{}.pem", role.name())))?;
            let key = self.read(&self.dir.join(format!("{}.key", role.name())))?;
            if let Some((cert_pem, key)) = cert.zip(key) {
                return Ok(Some(ClientIdentity { cert_pem, key_pem: SecretPem::new(key) }));
            }
        }
        Ok(None)
    }

    /// A client certificate for the hub: the one in this directory, else one that the root key gives for the moment, so
    /// that the root key and its certificate are enough to look. Nothing is written.
    pub(crate) fn client(&self, federation: &str) -> Result<ClientIdentity, Failure> {
        if let Some(identity) = self.identity()? {
            return Ok(identity);
        }
        self.ca_pem()?;
        match self.authority(federation)? {
            Authority::Root(root) => {
                Ok(root.issue_client("operator", ClientRole::Operator, SystemTime::now())?)
            }
            Authority::Certificate { .. } => {
                let text = "there is no client certificate in the state directory";
                Err(Failure::new(Exit::Permission, "no-certificate", text)
                    .hint("run `onefed apply`, which makes one"))
            }
        }
    }

    /// Makes a directory for a data scientist: the CA's certificate, a client certificate that reaches Flower's Control
    /// operations only, and where the hub is. No key of the operator is in it.
    pub(crate) fn hand_out(&self, name: &str, to: &Path) -> Result<(), Failure> {
        let inventory = self.deployed()?;
        let authority = self.authority(&inventory.federation)?;
        let identity = authority.root()?.issue_client(name, ClientRole::User, SystemTime::now())?;
        if to.exists() {
            return Err(
                Failure::file(to, "is there already").hint("name a directory that does not exist yet")
            );
        }
        private_dir(to).map_err(|why| Failure::file(to, why))?;
        let theirs = Self::open(to)?;
        theirs.write(&to.join("user.key"), identity.key_pem.expose(), Readers::Owner)?;
        theirs.write(&to.join("user.pem"), &identity.cert_pem, Readers::All)?;
        theirs.write(&to.join("ca.pem"), authority.cert_pem(), Readers::All)?;
        theirs.save_inventory(&inventory)
    }
}
