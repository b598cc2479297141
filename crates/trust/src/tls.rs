//! TLS settings: one crypto provider, no system roots, no fallback.

mod diagnosis;

use std::sync::Arc;

pub use diagnosis::{Diagnosis, Refusal};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
pub use rustls::{ClientConfig, ServerConfig};

use crate::{ClientIdentity, Error, Result, SecretPem};

static TLS13_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Which TLS versions a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3 only: between our own ends.
    Tls13,
    /// TLS 1.2 and 1.3: towards Flower's processes.
    Tls12AndUp,
}

impl Versions {
    fn list(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            Self::Tls13 => TLS13_ONLY,
            Self::Tls12AndUp => rustls::ALL_VERSIONS,
        }
    }
}

/// The crypto provider that everything here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings of a server with this certificate chain and key. With `client_ca`, clients must show a certificate of
/// that CA. `alpn` in order of preference.
///
/// # Errors
/// [`Error::Malformed`] for a damaged PEM, [`Error::Tls`] for a key of another certificate.
pub fn server(
    chain_pem: &str,
    key_pem: &SecretPem,
    client_ca: Option<&str>,
    versions: Versions,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())
        .map_err(|why| Error::Tls(why.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|why| Error::Tls(why.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain(chain_pem)?, key(key_pem)?)
        .map_err(|why| Error::Tls(why.to_string()))?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Settings of a TLS 1.3 client that trusts exactly this CA and shows `identity` where it has one.
///
/// # Errors
/// As [`server`].
pub fn client(ca_pem: &str, identity: Option<&ClientIdentity>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(Versions::Tls13.list())
        .map_err(|why| Error::Tls(why.to_string()))?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(id) => builder
            .with_client_auth_cert(chain(&id.cert_pem)?, key(&id.key_pem)?)
            .map_err(|why| Error::Tls(why.to_string()))?,
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The CA certificates of a PEM text as trust anchors.
pub(crate) fn roots(ca_pem: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for cert in chain(ca_pem)? {
        store.add(cert).map_err(|why| Error::malformed("the CA certificate", why))?;
    }
    Ok(store)
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certs: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certs {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(Error::malformed("the certificate", "no CERTIFICATE block in the text")),
        Err(why) => Err(Error::malformed("the certificate", why)),
    }
}

fn key(pem: &SecretPem) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|why| Error::malformed("the private key", why))
}
