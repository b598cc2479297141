//! https endpoints: whom a client trusts, and what it says when it cannot.

use super::{login, paris, success};
use crate::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that says its version over TLS, with a certificate for `name`.
async fn server(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, expired: bool) -> Url {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/RPC2", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let (_, body) = success("7.4.0");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

async fn version(url: &Url, ca: Option<&str>) -> Result<String, Error> {
    let mut client = xmlrpc::Client::new(paris(), url.clone(), login()).unwrap();
    if let Some(ca) = ca {
        client = client.with_ca(ca.as_bytes())?;
    }
    client.system_version().await.map(|version| version.text)
}

#[tokio::test]
async fn only_the_given_ca_is_trusted() {
    let (own, other) = (authority("own"), authority("other"));
    let url = server(&own, "127.0.0.1", false).await;
    assert_eq!(version(&url, Some(&own.pem())).await.unwrap(), "7.4.0");
    // A bundle, as for a change of the CA.
    assert_eq!(version(&url, Some(&(other.pem() + &own.pem()))).await.unwrap(), "7.4.0");
    let say = async |url: &Url, ca: Option<&str>| {
        let error = version(url, ca).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }) && !error.is_transient(), "{error:?}");
        error.to_string()
    };
    let wrong = say(&url, Some(&other.pem())).await;
    assert!(wrong.contains("zone paris") && wrong.contains("is it the right CA?"), "{wrong}");
    let none = say(&url, None).await;
    assert!(none.contains("a CA that this machine does not trust: give that CA as `ca`"), "{none}");
    let name = say(&server(&own, "one.example.org", false).await, Some(&own.pem())).await;
    assert!(name.contains("for another name"), "{name}");
    let old = say(&server(&own, "127.0.0.1", true).await, Some(&own.pem())).await;
    assert!(old.contains("has expired"), "{old}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain: Url = format!("https://{}/RPC2", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let plain = say(&plain, Some(&own.pem())).await;
    assert!(plain.contains("does not speak TLS"), "{plain}");
}

#[test]
fn a_ca_that_is_none() {
    let client = || xmlrpc::Client::new(paris(), "https://127.0.0.1/RPC2".parse().unwrap(), login()).unwrap();
    for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = client().with_ca(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::BadInput { .. }), "{bad:?}: {error:?}");
    }
}
