//! Real handshakes: our settings against themselves and against `openssl`, each outcome with its diagnosis.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use onefed_trust::tls::{self, ClientConfig, Diagnosis, Refusal, ServerConfig, Versions};
use onefed_trust::{RootCa, SanName, SecretPem};
use rustls::ProtocolVersion;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use support::{Kind, OPENSSL_MISSING, P256, Pki, SERVER, Wanted};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// No handshake on loopback takes longer, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every server here has an address of its own below 127.81.
const SELF: &str = "127.81.0.1:0";
const OTHER: &str = "127.81.0.2:0";
const NAMES: &str = "IP:127.81.0.1,IP:127.81.0.2,DNS:hub.example.org";

/// How a handshake ended on one side.
type Ended = Result<ProtocolVersion, Option<Diagnosis>>;

fn pki(test: &str) -> Pki {
    let pki = Pki::new(test);
    pki.root("Root", P256);
    // A CA that was made anew, as a redeployed appliance of the reference has one.
    std::fs::rename(pki.path("Root.pem"), pki.path("Namesake.pem")).unwrap();
    pki.root("Root", P256);
    pki.root("Other", P256);
    pki.server("good", "Root", P256, NAMES);
    pki.server("rsa", "Root", Kind::Rsa(2048), NAMES);
    pki.server("wrong name", "Root", P256, "IP:127.81.9.9,DNS:other.example.org");
    let server = |name, extensions, days| {
        pki.make(&Wanted { name, by: Some("Root"), key: P256, extensions, days, digest: "default" });
    };
    let named = format!("{SERVER}subjectAltName={NAMES}\n");
    server("expired", named.clone(), (-30, -1));
    server("early", named.clone(), (1, 30));
    server("client", named.replace("serverAuth", "clientAuth"), (-1, 30));
    pki
}

fn secret(pki: &Pki, name: &str) -> SecretPem {
    SecretPem::new(pki.text(&format!("{name}.key")))
}

fn server(pki: &Pki, name: &str, versions: Versions) -> Arc<ServerConfig> {
    let chain = pki.text(&format!("{name}.pem"));
    tls::server(&chain, &secret(pki, name), None, versions, &[]).unwrap()
}

fn client(pki: &Pki, ca: &str) -> Arc<ClientConfig> {
    tls::client(&pki.text(&format!("{ca}.pem")), None, &[]).unwrap()
}

/// A server whose key is another one's: our settings refuse to be made so, a hostile server does not.
fn mismatched(pki: &Pki) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(&pki.read("good.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&pki.read("wrong name.key")).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let builder = ServerConfig::builder_with_provider(tls::provider());
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).unwrap().with_no_client_auth();
    Arc::new(builder.with_cert_resolver(Arc::new(resolver)))
}

fn ended(outcome: std::io::Result<Option<ProtocolVersion>>) -> Ended {
    match outcome {
        Ok(version) => Ok(version.unwrap()),
        Err(why) => {
            let diagnosis = Diagnosis::of(&why);
            assert!(diagnosis.is_some(), "no diagnosis for {why:?}");
            Err(diagnosis)
        }
    }
}

/// Serves one connection.
async fn serve(config: Arc<ServerConfig>) -> (SocketAddr, JoinHandle<Ended>) {
    let listener = TcpListener::bind(SELF).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = TlsAcceptor::from(config).accept(stream).await;
        ended(match accepted {
            Ok(mut stream) => {
                let version = stream.get_ref().1.protocol_version();
                let _ = stream.shutdown().await;
                Ok(version)
            }
            Err(why) => Err(why),
        })
    });
    (address, task)
}

/// Connects to an address, under a name.
async fn dial(config: Arc<ClientConfig>, address: SocketAddr, name: &str) -> Ended {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await.unwrap();
    ended(connected.map(|stream| stream.get_ref().1.protocol_version()))
}

/// `openssl s_client`: whether it was content, and all that it said.
async fn s_client(pki: &Pki, ca: &str, address: SocketAddr, more: &[&str]) -> (bool, String) {
    let (address, ca) = (address.to_string(), format!("{ca}.pem"));
    let mut args = vec!["s_client", "-connect", &address, "-CAfile", &ca, "-brief", "-verify_return_error"];
    args.extend(more);
    let mut command = Command::from(pki.command(&args));
    let output = command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output =
        timeout(PATIENCE, output).await.unwrap().unwrap_or_else(|why| panic!("{OPENSSL_MISSING}: {why}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// `openssl s_server`, which serves until the returned process is dropped.
async fn s_server(pki: &Pki, name: &str, more: &[&str]) -> (SocketAddr, tokio::process::Child) {
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    let mut args = vec!["s_server", "-accept", OTHER, "-cert", &cert, "-key", &key];
    args.extend(more);
    let mut command = Command::from(pki.command(&args));
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{OPENSSL_MISSING}: {why}"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let line = line.expect("s_server ended before it accepted");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.parse().unwrap();
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (address, child)
}

/// What the client must find, for each server certificate, CA and name.
const CLIENT_MATRIX: [(&str, &str, &str, Result<(), Diagnosis>); 12] = [
    ("good", "Root", "127.81.0.1", Ok(())),
    ("good", "Root", "hub.example.org", Ok(())),
    ("rsa", "Root", "127.81.0.1", Ok(())),
    ("good", "Other", "127.81.0.1", Err(Diagnosis::OtherCa)),
    ("good", "Namesake", "127.81.0.1", Err(Diagnosis::BadSignature)),
    ("good", "Root", "127.81.0.3", Err(Diagnosis::OtherName)),
    ("good", "Root", "other.example.org", Err(Diagnosis::OtherName)),
    ("wrong name", "Root", "127.81.0.1", Err(Diagnosis::OtherName)),
    ("wrong name", "Root", "other.example.org", Ok(())),
    ("expired", "Root", "127.81.0.1", Err(Diagnosis::Expired)),
    ("early", "Root", "127.81.0.1", Err(Diagnosis::NotYetValid)),
    ("client", "Root", "127.81.0.1", Err(Diagnosis::Purpose)),
];

#[tokio::test]
async fn our_client_against_our_server_and_against_openssl() {
    let pki = pki("handshake-client");
    for (name, ca, dialled, expected) in CLIENT_MATRIX {
        let want = expected.clone().map(|()| ProtocolVersion::TLSv1_3).map_err(Some);
        let cell = format!("{name}, CA {ca}, dialled {dialled}");
        for versions in [Versions::Tls12AndUp, Versions::Tls13] {
            let (address, served) = serve(server(&pki, name, versions)).await;
            assert_eq!(dial(client(&pki, ca), address, dialled).await, want, "{cell}");
            let served = served.await.unwrap();
            assert_eq!(served.is_ok(), expected.is_ok(), "{cell}: {served:?}");
            // The server is told why.
            let told = match expected {
                Ok(()) => None,
                Err(Diagnosis::OtherCa) => Some(Refusal::UnknownCa),
                Err(Diagnosis::BadSignature) => Some(Refusal::Key),
                Err(Diagnosis::Expired | Diagnosis::NotYetValid) => Some(Refusal::Dates),
                Err(_) => Some(Refusal::Certificate),
            };
            assert_eq!(served.err().flatten(), told.map(Diagnosis::Refused), "{cell}");
        }
        let (address, mut child) = s_server(&pki, name, &[]).await;
        assert_eq!(dial(client(&pki, ca), address, dialled).await, want, "{cell}, s_server");
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn openssls_client_against_our_server() {
    let pki = pki("handshake-openssl");
    let (ip, dns) = (["-verify_ip", "127.81.0.1"], ["-verify_hostname", "hub.example.org"]);
    let refused = |refusal| Err(Some(Diagnosis::Refused(refusal)));
    for (name, ca, options, said, served) in [
        ("good", "Root", ip, "Verification: OK", Ok(ProtocolVersion::TLSv1_3)),
        ("good", "Root", dns, "Verification: OK", Ok(ProtocolVersion::TLSv1_3)),
        ("rsa", "Root", dns, "Verification: OK", Ok(ProtocolVersion::TLSv1_3)),
        ("good", "Other", ip, "unable to get local issuer certificate", refused(Refusal::UnknownCa)),
        // OpenSSL tells the two CAs apart by their key identifiers.
        ("good", "Namesake", ip, "unable to get local issuer certificate", refused(Refusal::UnknownCa)),
        ("wrong name", "Root", ip, "IP address mismatch", refused(Refusal::Certificate)),
        ("wrong name", "Root", dns, "hostname mismatch", refused(Refusal::Certificate)),
        ("expired", "Root", ip, "certificate has expired", refused(Refusal::Dates)),
        ("early", "Root", ip, "certificate is not yet valid", refused(Refusal::Certificate)),
        ("client", "Root", ip, "unsuitable certificate purpose", refused(Refusal::Certificate)),
    ] {
        let cell = format!("{name}, CA {ca}, {options:?}");
        let (address, task) = serve(server(&pki, name, Versions::Tls12AndUp)).await;
        let (content, all) = s_client(&pki, ca, address, &options).await;
        assert!(all.contains(said), "{cell}: {all}");
        assert_eq!(content, served.is_ok(), "{cell}: {all}");
        assert_eq!(task.await.unwrap(), served, "{cell}");
    }
}

#[tokio::test]
async fn tls_1_2_only_is_taken_from_flower_and_not_on_the_line() {
    let pki = pki("handshake-versions");
    let old = ["-tls1_2", "-verify_ip", "127.81.0.1"];
    for name in ["good", "rsa"] {
        let (address, task) = serve(server(&pki, name, Versions::Tls12AndUp)).await;
        let (content, said) = s_client(&pki, "Root", address, &old).await;
        assert!(content && said.contains("TLSv1.2") && said.contains("Verification: OK"), "{said}");
        assert_eq!(task.await.unwrap(), Ok(ProtocolVersion::TLSv1_2));
    }
    let (address, task) = serve(server(&pki, "good", Versions::Tls13)).await;
    let (content, said) = s_client(&pki, "Root", address, &old).await;
    assert!(!content && said.contains("alert protocol version"), "{said}");
    assert_eq!(task.await.unwrap(), Err(Some(Diagnosis::Version)));
    // And the other way round: a server of TLS 1.2 only is nothing for our client.
    let (address, mut child) = s_server(&pki, "good", &["-tls1_2"]).await;
    let found = dial(client(&pki, "Root"), address, "127.81.0.1").await;
    assert_eq!(found, Err(Some(Diagnosis::Refused(Refusal::Version))));
    child.kill().await.unwrap();
    // Older than that is taken by nobody.
    let (address, task) = serve(server(&pki, "good", Versions::Tls12AndUp)).await;
    let (content, _) = s_client(&pki, "Root", address, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).await;
    assert!(!content);
    assert_eq!(task.await.unwrap(), Err(Some(Diagnosis::Version)));
}

#[tokio::test]
async fn a_key_of_another_certificate() {
    let pki = pki("handshake-key");
    // Our settings are not made with it,
    let why =
        tls::server(&pki.text("good.pem"), &secret(&pki, "rsa"), None, Versions::Tls13, &[]).unwrap_err();
    assert_eq!(why.to_string(), "TLS settings: keys may not be consistent: KeyMismatch");
    // OpenSSL does not start with it,
    let output = pki.try_openssl(&["s_server", "-accept", OTHER, "-cert", "good.pem", "-key", "rsa.key"]);
    assert!(!output.status.success());
    // and from a server that does, nobody takes it.
    let (address, task) = serve(mismatched(&pki)).await;
    let found = dial(client(&pki, "Root"), address, "127.81.0.1").await;
    assert_eq!(found, Err(Some(Diagnosis::BadSignature)));
    assert_eq!(task.await.unwrap(), Err(Some(Diagnosis::Refused(Refusal::Key))));
    let (address, task) = serve(mismatched(&pki)).await;
    let (content, said) = s_client(&pki, "Root", address, &[]).await;
    assert!(!content && said.contains("bad signature"), "{said}");
    assert_eq!(task.await.unwrap(), Err(Some(Diagnosis::Refused(Refusal::Key))));
}

#[tokio::test]
async fn plaintext_where_tls_is_expected() {
    let pki = pki("handshake-plaintext");
    // What gRPC, HTTP/1.1 and HTTP/2 clients without TLS send first.
    for hello in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /flwr.proto.Fleet/ActivateNode HTTP/1.1\r\n\r\n"]
    {
        let (address, task) = serve(server(&pki, "good", Versions::Tls12AndUp)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(task.await.unwrap(), Err(Some(Diagnosis::Plaintext)));
        assert!(!answer.windows(4).any(|window| window == b"HTTP"), "answered in plaintext");
    }
    // And the other way round.
    for (greeting, diagnosis) in
        [("HTTP/1.1 400 Bad Request\r\n\r\n", Diagnosis::Plaintext), ("", Diagnosis::Closed)]
    {
        let listener = TcpListener::bind(SELF).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(greeting.as_bytes()).await.unwrap();
        });
        assert_eq!(dial(client(&pki, "Root"), address, "127.81.0.1").await, Err(Some(diagnosis)));
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_vms_own_ca_satisfies_the_strictest_reading() {
    let pki = Pki::new("handshake-own");
    let now = std::time::SystemTime::now();
    let ca = RootCa::generate_for_vm("hospitals VM 7", now).unwrap();
    let names = ["127.81.0.1", "127.0.0.1", "::1", "hub.example.org"].map(SanName::of_host);
    let made = ca.issue_server(&names, now).unwrap();
    pki.write("Root.pem", ca.cert_pem().as_bytes());
    pki.write("good.pem", made.cert_pem.as_bytes());
    pki.write("good.key", made.key_pem.expose().as_bytes());
    // As Python 3.13 verifies: key usages, key identifiers and all.
    let strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "Root.pem", "good.pem"];
    assert_eq!(String::from_utf8(pki.openssl(&strict)).unwrap(), "good.pem: OK\n");
    let text = String::from_utf8(pki.openssl(&["x509", "-in", "Root.pem", "-noout", "-text"])).unwrap();
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "NIST CURVE: P-256"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for more in [["-verify_ip", "127.81.0.1"], ["-verify_hostname", "hub.example.org"]] {
        let (address, task) = serve(server(&pki, "good", Versions::Tls12AndUp)).await;
        let (content, said) = s_client(&pki, "Root", address, &more).await;
        assert!(content && said.contains("Verification: OK"), "{said}");
        assert_eq!(task.await.unwrap(), Ok(ProtocolVersion::TLSv1_3));
    }
}
