//! The operator's root CA: it signs what VMs ask for, and the operator's own client certificates.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use ring::rand::SecureRandom;

use crate::{CertificateInfo, Error, Fingerprint, Result, SanName, SecretPem};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The root lives long: replacing it touches every site.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Leaves are re-issued without touching any site.
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most characters that a common name may have (RFC 5280, appendix A.1).
const LONGEST_NAME: usize = 64;
/// Certificates start in the past, so that a VM whose clock is behind accepts them.
const BACKDATE: Duration = Duration::from_secs(3600);

/// What the holder of a client certificate may do at the hub's admin endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// Everything: status and Flower's Control operations.
    Operator,
    /// A data scientist: Flower's Control operations only.
    User,
}

impl ClientRole {
    /// The name that stands in the certificate's organisational unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::User => "user",
        }
    }
}

/// A client certificate with its key.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: SecretPem,
}

/// A server certificate with its key.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// The certificate; the CA signed it, so that it is the whole chain.
    pub cert_pem: String,
    /// Its key (EC P-256, which gRPC and Python both take).
    pub key_pem: SecretPem,
}

/// A self-signed root CA with its key (EC P-256).
pub struct RootCa {
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
    key_pem: SecretPem,
}

impl RootCa {
    /// Makes a new root for a federation.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails.
    pub fn generate(federation: &str, now: SystemTime) -> Result<Self> {
        Self::make(&format!("{federation} root CA"), 1, now)
    }

    /// Makes the CA that a VM keeps for itself: for ten years, and for server certificates only (path length 0).
    /// `name` becomes its common name, cut to the 64 characters that one may have.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails.
    pub fn generate_for_vm(name: &str, now: SystemTime) -> Result<Self> {
        Self::make(name, 0, now)
    }

    fn make(name: &str, path_length: u8, now: SystemTime) -> Result<Self> {
        let fail = |why| Error::generate("the root CA", why);
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = template(name, None, now, ROOT_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).map_err(fail)?;
        let (cert_pem, key_pem) = (cert.pem(), SecretPem::new(key.serialize_pem()));
        Ok(Self { issuer: Issuer::new(params, key), cert_pem, key_pem })
    }

    /// Takes up a root that was written to disk earlier.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file, [`Error::OtherKey`] for a pair that does not belong together.
    pub fn load(cert_pem: &str, key_pem: &SecretPem) -> Result<Self> {
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|why| Error::malformed("the root key", why))?;
        let info = CertificateInfo::from_pem(cert_pem)?;
        if info.public_key != key.subject_public_key_info() {
            return Err(Error::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key)
            .map_err(|why| Error::malformed("the root certificate", why))?;
        Ok(Self { issuer, cert_pem: cert_pem.to_owned(), key_pem: key_pem.clone() })
    }

    /// The certificate, to be given to everybody.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The key, to be kept by the operator.
    pub fn key_pem(&self) -> &SecretPem {
        &self.key_pem
    }

    /// The fingerprint by which VMs pin this root.
    ///
    /// # Errors
    /// [`Error::Malformed`] never in practice: the certificate was made or checked by this type.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Ok(CertificateInfo::from_pem(&self.cert_pem)?.fingerprint)
    }

    /// Signs a server certificate for a VM. Only the public key and the names are taken from the request;
    /// everything else is decided here. Every name must be one of `allowed`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a broken request (its self-signature is checked), [`Error::NoNames`],
    /// [`Error::NameNotAllowed`].
    pub fn sign_server(&self, csr_pem: &str, allowed: &[SanName], now: SystemTime) -> Result<String> {
        let csr = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|why| Error::malformed("the certificate signing request", why))?;
        let asked: Vec<SanName> =
            csr.params.subject_alt_names.iter().filter_map(SanName::from_rcgen).collect();
        if asked.is_empty() || asked.len() != csr.params.subject_alt_names.len() {
            return Err(Error::NoNames);
        }
        if let Some(name) = asked.iter().find(|name| !allowed.contains(name)) {
            let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::NameNotAllowed { asked: name.to_string(), allowed });
        }
        let mut params = template(&asked[0].to_string(), None, now, LEAF_LIFE)?;
        params.subject_alt_names = asked.iter().map(SanName::to_rcgen).collect::<Result<_>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let cert = params.signed_by(&csr.public_key, &self.issuer);
        Ok(cert.map_err(|why| Error::generate("the server certificate", why))?.pem())
    }

    /// Makes a key and a server certificate for it, for one year, but not beyond the end of this CA.
    ///
    /// # Errors
    /// [`Error::NoNames`], [`Error::Dates`] if this CA is not in force at `now`, [`Error::Malformed`] for a DNS name
    /// that is none, [`Error::Generate`] if the random source fails.
    pub fn issue_server(&self, names: &[SanName], now: SystemTime) -> Result<ServerIdentity> {
        let own = CertificateInfo::from_pem(&self.cert_pem)?;
        own.in_force(now)?;
        let first = names.first().ok_or(Error::NoNames)?;
        let fail = |why| Error::generate("the server certificate", why);
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = template(&first.to_string(), None, now, LEAF_LIFE)?;
        params.not_after = params.not_after.min(own.not_after.into());
        params.subject_alt_names = names.iter().map(SanName::to_rcgen).collect::<Result<_>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let cert = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(ServerIdentity { cert_pem: cert.pem(), key_pem: SecretPem::new(key.serialize_pem()) })
    }

    /// Makes a client certificate with its key, for a person who uses the admin endpoint.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails.
    pub fn issue_client(&self, name: &str, role: ClientRole, now: SystemTime) -> Result<ClientIdentity> {
        let fail = |why| Error::generate("the client certificate", why);
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = template(name, Some(role), now, LEAF_LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let cert = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(ClientIdentity { cert_pem: cert.pem(), key_pem: SecretPem::new(key.serialize_pem()) })
    }
}

/// What all certificates have in common: subject, serial number, dates, key identifiers.
fn template(
    name: &str,
    role: Option<ClientRole>,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "onefed");
    if let Some(role) = role {
        subject.push(DnType::OrganizationalUnitName, role.name());
    }
    subject.push(DnType::CommonName, name.chars().take(LONGEST_NAME).collect::<String>());
    params.distinguished_name = subject;
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life.max(DAY)).into();
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0u8; 16];
    let random = ring::rand::SystemRandom::new();
    random.fill(&mut serial).map_err(|_| Error::generate("a serial number", "no random bytes"))?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LeafRequest, check_leaf};

    fn ip(text: &str) -> SanName {
        SanName::Ip(text.parse().unwrap())
    }

    #[test]
    fn a_root_survives_the_disk_and_keeps_its_fingerprint() {
        let now = SystemTime::now();
        let made = RootCa::generate("hospitals", now).unwrap();
        let loaded = RootCa::load(made.cert_pem(), made.key_pem()).unwrap();
        assert_eq!(made.fingerprint().unwrap(), loaded.fingerprint().unwrap());
        let request = LeafRequest::generate(&[ip("10.0.0.1")]).unwrap();
        let leaf = loaded.sign_server(&request.csr_pem, &[ip("10.0.0.1")], now).unwrap();
        check_leaf(&leaf, &request.key_pem, made.cert_pem(), now).unwrap();
        let other = RootCa::generate("hospitals", now).unwrap();
        assert!(matches!(RootCa::load(made.cert_pem(), other.key_pem()), Err(Error::OtherKey)));
        assert!(matches!(
            check_leaf(&leaf, &request.key_pem, other.cert_pem(), now),
            Err(Error::NotSignedByCa(_))
        ));
    }

    #[test]
    fn a_request_gets_only_names_of_its_vm() {
        let now = SystemTime::now();
        let root = RootCa::generate("hospitals", now).unwrap();
        let request = LeafRequest::generate(&[ip("10.0.0.1"), SanName::of_host("evil.example")]).unwrap();
        let error = root.sign_server(&request.csr_pem, &[ip("10.0.0.1"), ip("10.0.0.10")], now).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the signing request asks for DNS:evil.example, but the VM may only have IP:10.0.0.1, IP:10.0.0.10"
        );
        let none = LeafRequest::generate(&[]).unwrap();
        assert!(matches!(root.sign_server(&none.csr_pem, &[], now), Err(Error::NoNames)));
        assert!(matches!(root.sign_server("nonsense", &[], now), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_leaf_is_refused_for_another_key_or_at_another_time() {
        let now = SystemTime::now();
        let root = RootCa::generate("hospitals", now).unwrap();
        let names = [ip("fd00::1")];
        let (one, two) = (LeafRequest::generate(&names).unwrap(), LeafRequest::generate(&names).unwrap());
        let leaf = root.sign_server(&one.csr_pem, &names, now).unwrap();
        assert!(matches!(check_leaf(&leaf, &two.key_pem, root.cert_pem(), now), Err(Error::OtherKey)));
        for then in [now - 2 * DAY, now + 400 * DAY] {
            assert!(matches!(check_leaf(&leaf, &one.key_pem, root.cert_pem(), then), Err(Error::Dates(_))));
        }
    }
}
