//! The VM's side of a server certificate: key and request, and the check of what comes back.

use std::time::SystemTime;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;

use crate::certificate::first_der;
use crate::{CertificateInfo, Error, Result, SanName, SecretPem};

/// A new key (EC P-256, which gRPC and Python both take) and the request for its certificate.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// Stays on the VM.
    pub key_pem: SecretPem,
    /// Goes to the signer.
    pub csr_pem: String,
}

impl LeafRequest {
    /// Makes a key and a request for these names.
    ///
    /// # Errors
    /// [`Error::Generate`] if the random source fails, [`Error::Malformed`] for a DNS name that is none.
    pub fn generate(names: &[SanName]) -> Result<Self> {
        let key = KeyPair::generate().map_err(|why| Error::generate("a key", why))?;
        Self::for_key(&SecretPem::new(key.serialize_pem()), names)
    }

    /// Makes a request for a key that is there already.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged key or a DNS name that is none.
    pub fn for_key(key_pem: &SecretPem, names: &[SanName]) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Self::request(key_pem, names, params)
    }

    /// Makes a request for an operator's own PKI. Unlike onefed's own CA, others copy from a request: it has a common
    /// name (the first DNS name, else the first address) and asks for what a TLS server's certificate needs.
    ///
    /// # Errors
    /// [`Error::NoNames`], [`Error::Malformed`] for a damaged key or a DNS name that is none.
    pub fn for_pki(key_pem: &SecretPem, names: &[SanName]) -> Result<Self> {
        let dns =
            names.iter().find_map(|name| if let SanName::Dns(dns) = name { Some(dns.clone()) } else { None });
        let first = names
            .iter()
            .find_map(|name| if let SanName::Ip(ip) = name { Some(ip.to_string()) } else { None });
        let mut params = CertificateParams::default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.distinguished_name = DistinguishedName::new();
        let name = dns.or(first).ok_or(Error::NoNames)?;
        params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
        Self::request(key_pem, names, params)
    }

    fn request(key_pem: &SecretPem, names: &[SanName], mut params: CertificateParams) -> Result<Self> {
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|why| Error::malformed("the key", why))?;
        params.subject_alt_names = names.iter().map(SanName::to_rcgen).collect::<Result<_>>()?;
        let fail = |why| Error::generate("a signing request", why);
        let csr_pem = params.serialize_request(&key).map_err(fail)?.pem().map_err(fail)?;
        Ok(Self { key_pem: key_pem.clone(), csr_pem })
    }
}

/// Checks that a certificate is for this key, signed by this CA and valid now.
///
/// # Errors
/// [`Error::Malformed`], [`Error::OtherKey`], [`Error::Dates`], [`Error::NotSignedByCa`].
pub fn check_leaf(
    cert_pem: &str,
    key_pem: &SecretPem,
    ca_pem: &str,
    now: SystemTime,
) -> Result<CertificateInfo> {
    let der = first_der(cert_pem)?;
    let info = CertificateInfo::from_der(&der)?;
    let key = KeyPair::from_pem(key_pem.expose()).map_err(|why| Error::malformed("the key", why))?;
    if info.public_key != key.subject_public_key_info() {
        return Err(Error::OtherKey);
    }
    info.in_force(now)?;
    let der = CertificateDer::from(der);
    let leaf = ParsedCertificate::try_from(&der).map_err(|why| Error::malformed("the certificate", why))?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rustls::client::verify_server_cert_signed_by_trust_anchor(
        &leaf,
        &crate::tls::roots(ca_pem)?,
        &[],
        UnixTime::since_unix_epoch(since_epoch),
        crate::tls::provider().signature_verification_algorithms.all,
    )
    .map_err(|why| Error::NotSignedByCa(why.to_string()))?;
    Ok(info)
}
