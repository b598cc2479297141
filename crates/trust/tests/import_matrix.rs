//! What an operator may bring, made with `openssl`: every form, every kind of key, every fault.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use onefed_trust::import::{Given, Report, Request, check};
use onefed_trust::{SanName, SecretPem, check_leaf, tls};
use support::{CA, Kind, P256, P384, Pki, SERVER, Wanted};

const NAMES: &str = "IP:127.81.0.1,DNS:hub.example.org";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn dialled() -> Vec<SanName> {
    vec![SanName::of_host("127.81.0.1"), SanName::of_host("hub.example.org")]
}

fn import(ca: &[u8], certificate: &[u8], key: &[u8], grpc_clients: bool, now: SystemTime) -> Report {
    check(&Request {
        ca: Given { name: "FL_SSL_CA_CERTFILE", bytes: ca },
        certificate: Given { name: "FL_SSL_CERTFILE", bytes: certificate },
        key: Given { name: "FL_SSL_KEYFILE", bytes: key },
        dialled: &dialled(),
        grpc_clients,
        now,
    })
}

/// Everything that was found, one line each, with times left out.
fn told(report: &Report) -> String {
    let line = |finding: &onefed_trust::import::Finding| {
        let words = finding.message.split(' ').map(|word| {
            let time = word.len() > 20 && word.starts_with("20") && word.contains("Z");
            if time { format!("[TIME]{}", word.split_once('Z').unwrap().1) } else { word.to_owned() }
        });
        let words = words.collect::<Vec<_>>().join(" ");
        format!("{} {}: {words}\n", finding.severity, finding.code.strip_prefix("import::").unwrap())
    };
    report.findings.iter().map(line).collect()
}

/// A set that was taken must work with the TLS that the hub is built on.
#[track_caller]
fn serves(report: &Report) {
    let set = report.imported.as_ref().unwrap_or_else(|| panic!("refused:\n{}", told(report)));
    check_leaf(&set.chain_pem, &set.key_pem, &with_intermediates(set), SystemTime::now()).unwrap();
    tls::server(&set.chain_pem, &set.key_pem, None, tls::Versions::Tls12AndUp, &[b"h2"]).unwrap();
    tls::client(&set.ca_pem, None, &[]).unwrap();
}

/// `check_leaf` knows no intermediates; for its check of the key they may count as trusted.
fn with_intermediates(set: &onefed_trust::import::Imported) -> String {
    format!("{}{}", set.ca_pem, set.chain_pem)
}

/// The forms in which a file may arrive.
fn forms(pki: &Pki, name: &str, der: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let pem = pki.read(name);
    let once = BASE64_STANDARD.encode(&pem);
    let folded = once.as_bytes().chunks(76).map(|c| str::from_utf8(c).unwrap()).collect::<Vec<_>>();
    let text = pki.text(name);
    vec![
        ("PEM", pem.clone()),
        ("PEM with CRLF", text.replace('\n', "\r\n").into_bytes()),
        ("PEM with blanks for line breaks", text.replace('\n', " ").into_bytes()),
        ("PEM with \\n in letters", text.replace('\n', "\\n").into_bytes()),
        ("PEM after remarks", format!("Bag Attributes: é\n\n{text}\n# end\n").into_bytes()),
        ("base64", once.clone().into_bytes()),
        ("base64 without padding", once.trim_end_matches('=').as_bytes().to_vec()),
        ("base64 in lines", folded.join("\r\n").into_bytes()),
        ("double base64", BASE64_STANDARD.encode(&once).into_bytes()),
        ("base64 of DER", BASE64_STANDARD.encode(&der).into_bytes()),
        ("double base64 of DER", BASE64_STANDARD.encode(BASE64_STANDARD.encode(&der)).into_bytes()),
        ("DER", der),
    ]
}

#[test]
fn every_form_of_every_kind_of_key() {
    let pki = Pki::new("forms");
    pki.root("Root", P256);
    for (kind, name) in [
        (Kind::Rsa(2048), "rsa2048"),
        (Kind::Rsa(3072), "rsa3072"),
        (Kind::Rsa(4096), "rsa4096"),
        (P256, "p256"),
        (P384, "p384"),
        (Kind::Ed25519, "ed25519"),
    ] {
        pki.server(name, "Root", kind, NAMES);
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        let der = |what: &str, file: &str| pki.openssl(&[what, "-in", file, "-outform", "DER"]);
        let cas = forms(&pki, "Root.pem", der("x509", "Root.pem"));
        let certs = forms(&pki, &cert, der("x509", &cert));
        let keys =
            forms(&pki, &key, pki.openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &key, "-outform", "DER"]));
        let mut normal = None;
        for (((form, ca), (_, cert)), (_, key)) in cas.iter().zip(&certs).zip(&keys) {
            let report = import(ca, cert, key, false, SystemTime::now());
            assert_eq!(told(&report), "", "{name} as {form}");
            serves(&report);
            let set = report.imported.unwrap();
            let all = format!("{}{}{}", set.ca_pem, set.chain_pem, set.key_pem.expose());
            assert_eq!(*normal.get_or_insert(all.clone()), all, "{name} as {form} differs");
        }
        assert_eq!(normal.unwrap(), format!("{}{}{}", pki.text("Root.pem"), pki.text(&cert), pki.text(&key)));
        // The older encodings of keys.
        let traditional: &[&[&str]] = match kind {
            Kind::Rsa(_) => &[&["rsa", "-traditional"], &["rsa", "-traditional", "-outform", "DER"]],
            Kind::Ec(_) => &[&["ec"], &["ec", "-outform", "DER"]],
            Kind::Ed25519 => &[],
        };
        for args in traditional {
            let old = pki.openssl(&[args, ["-in", key.as_str()].as_slice()].concat());
            let report = import(&pki.read("Root.pem"), &pki.read(&cert), &old, false, SystemTime::now());
            assert_eq!(told(&report), "", "{name} {args:?}");
            serves(&report);
        }
    }
}

#[test]
fn a_ca_of_every_kind_of_key() {
    let pki = Pki::new("cas");
    for (kind, name) in [(Kind::Rsa(2048), "RSA"), (P256, "P256"), (P384, "P384"), (Kind::Ed25519, "Ed")] {
        pki.root(name, kind);
        pki.server(&format!("of {name}"), name, P256, NAMES);
        let read = |end: &str| pki.read(&format!("of {name}.{end}"));
        let report =
            import(&pki.read(&format!("{name}.pem")), &read("pem"), &read("key"), true, SystemTime::now());
        assert_eq!(told(&report), "", "{name}");
        serves(&report);
    }
}

/// One cell of the matrix: the files that are given, and all that must be said of them.
struct Cell {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
    told: &'static str,
}

#[test]
#[allow(clippy::too_many_lines)]
fn every_fault_and_every_repair() {
    let pki = faulty_pki();
    let files = |names: &[&str]| names.iter().flat_map(|name| pki.read(name)).collect::<Vec<u8>>();
    let cell = |ca: &[&str], cert: &[&str], key: &str, told| Cell {
        ca: files(ca),
        cert: files(cert),
        key: files(&[key]),
        told,
    };
    let good = |cert: Vec<u8>, key: Vec<u8>, told| Cell { ca: files(&["Root.pem"]), cert, key, told };
    let (leaf, key) = (|| files(&["leaf.pem"]), || files(&["leaf.key"]));
    let cells = [
        cell(&["Root.pem"], &["leaf.pem"], "leaf.key", ""),
        // The chain.
        cell(&["Root.pem"], &["below.pem", "Between.pem"], "below.key", ""),
        cell(
            &["Root.pem"],
            &["below.pem", "Between.pem", "Root.pem"],
            "below.key",
            "note left-out: FL_SSL_CERTFILE: `CN=Root` is not sent to clients: the chain does not need it.\n",
        ),
        cell(
            &["Root.pem"],
            &["Between.pem", "below.pem"],
            "below.key",
            "note reordered: FL_SSL_CERTFILE: the certificates were out of order; they are put into the order of signing.\n",
        ),
        cell(
            &["Root.pem"],
            &["Root.pem", "Between.pem", "below.pem", "below.pem"],
            "below.key",
            "note left-out: FL_SSL_CERTFILE: left out 1 certificates that are there twice.\n\
             note reordered: FL_SSL_CERTFILE: the certificates were out of order; they are put into the order of signing.\n\
             note left-out: FL_SSL_CERTFILE: `CN=Root` is not sent to clients: the chain does not need it.\n",
        ),
        cell(&["Root.pem", "Between.pem"], &["below.pem"], "below.key", ""),
        cell(
            &["Between.pem"],
            &["below.pem"],
            "below.key",
            "warning ca-not-root: FL_SSL_CA_CERTFILE: the CA certificate `CN=Between` is not a root: `CN=Root` signed it.\n",
        ),
        cell(
            &["Root.pem"],
            &["below.pem"],
            "below.key",
            "error issuer-missing: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): `CN=Between`, which signed `CN=below`, is neither in FL_SSL_CERTFILE nor in FL_SSL_CA_CERTFILE.\n",
        ),
        cell(
            &["Other.pem"],
            &["leaf.pem"],
            "leaf.key",
            "error issuer-missing: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): `CN=Root`, which signed `CN=leaf`, is neither in FL_SSL_CERTFILE nor in FL_SSL_CA_CERTFILE.\n",
        ),
        cell(
            &["Other.pem"],
            &["leaf.pem", "Root.pem"],
            "leaf.key",
            "error not-signed: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): the chain ends at `CN=Root`, which is not in FL_SSL_CA_CERTFILE.\n",
        ),
        cell(
            &["namesake/Root.pem"],
            &["leaf.pem"],
            "leaf.key",
            "error not-signed: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): `CN=Root` in FL_SSL_CA_CERTFILE has the name of the issuer of `CN=leaf`, but not its key.\n",
        ),
        cell(&["namesake/Root.pem", "Root.pem"], &["leaf.pem"], "leaf.key", ""),
        cell(
            &["Root.pem"],
            &["leaf.pem", "other leaf.pem"],
            "leaf.key",
            "error several-leaves: FL_SSL_CERTFILE holds 2 server certificates: `CN=leaf`, `CN=other leaf`.\n",
        ),
        cell(
            &["Narrow.pem"],
            &["too deep.pem", "Under narrow.pem"],
            "too deep.key",
            "error path-length: FL_SSL_CA_CERTFILE: the CA certificate `CN=Narrow` has a path length that 1 intermediates below it exceed.\n",
        ),
        cell(
            &["Old.pem"],
            &["sha1.pem"],
            "sha1.key",
            "error signature-algorithm: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): the signature of `CN=Old` on `CN=sha1` is of a kind that is not accepted.\n",
        ),
        cell(
            &["Root.pem"],
            &["sha1 ec.pem"],
            "sha1 ec.key",
            "error signature-algorithm: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): the signature of `CN=Root` on `CN=sha1 ec` is of a kind that is not accepted.\n",
        ),
        // Who may sign, and who may serve.
        cell(
            &["No CA.pem"],
            &["of no ca.pem"],
            "of no ca.key",
            "error not-a-ca: FL_SSL_CA_CERTFILE: the CA certificate `CN=No CA` is not a CA certificate (CA:TRUE is missing).\n\
             note left-out: FL_SSL_CA_CERTFILE: `CN=No CA` is no CA certificate and is left out.\n",
        ),
        cell(
            &["Root.pem"],
            &["of false.pem", "False between.pem"],
            "of false.key",
            "error not-a-ca: FL_SSL_CERTFILE: the intermediate certificate `CN=False between` is not a CA certificate (CA:TRUE is missing).\n",
        ),
        cell(
            &["No sign.pem"],
            &["of no sign.pem"],
            "of no sign.key",
            "error ca-cannot-sign: FL_SSL_CA_CERTFILE: the CA certificate `CN=No sign` has a key usage without keyCertSign.\n",
        ),
        cell(
            &["Plain.pem"],
            &["of plain.pem"],
            "of plain.key",
            "warning ca-key-usage-absent: FL_SSL_CA_CERTFILE: the CA certificate `CN=Plain` says nothing about its key usage.\n",
        ),
        cell(
            &["Root.pem"],
            &["leaf ca.pem"],
            "leaf ca.key",
            "error leaf-is-ca: FL_SSL_CERTFILE: the server certificate `CN=leaf ca` is a CA certificate (CA:TRUE).\n",
        ),
        cell(
            &["Root.pem"],
            &["client.pem"],
            "client.key",
            "error not-for-servers: FL_SSL_CERTFILE: the server certificate `CN=client` has an extended key usage without serverAuth.\n",
        ),
        cell(
            &["Root.pem"],
            &["any eku.pem"],
            "any eku.key",
            "error not-for-servers: FL_SSL_CERTFILE: the server certificate `CN=any eku` has an extended key usage without serverAuth.\n",
        ),
        cell(&["Root.pem"], &["no eku.pem"], "no eku.key", ""),
        cell(
            &["Root.pem"],
            &["encipher.pem"],
            "encipher.key",
            "error key-usage: FL_SSL_CERTFILE: the server certificate `CN=encipher` has a key usage without digitalSignature.\n",
        ),
        cell(
            &["leaf.pem"],
            &["Root.pem"],
            "leaf.key",
            "error interchanged: FL_SSL_CERTFILE holds a CA certificate, and FL_SSL_CA_CERTFILE one that it signed: they are interchanged.\n",
        ),
        cell(
            &["self.pem"],
            &["self.pem"],
            "self.key",
            "error not-a-ca: FL_SSL_CA_CERTFILE: the CA certificate `CN=self` is not a CA certificate (CA:TRUE is missing).\n\
             note left-out: FL_SSL_CA_CERTFILE: `CN=self` is no CA certificate and is left out.\n",
        ),
        // Dates.
        cell(
            &["Root.pem"],
            &["expired.pem"],
            "expired.key",
            "error expired: FL_SSL_CERTFILE: the server certificate `CN=expired` expired at [TIME].\n",
        ),
        cell(
            &["Root.pem"],
            &["early.pem"],
            "early.key",
            "error not-yet-valid: FL_SSL_CERTFILE: the server certificate `CN=early` is not valid before [TIME].\n",
        ),
        cell(
            &["Root.pem"],
            &["soon.pem"],
            "soon.key",
            "warning expires-soon: FL_SSL_CERTFILE: the server certificate `CN=soon` ends at [TIME], in 19 days.\n",
        ),
        cell(
            &["Expired root.pem"],
            &["of expired.pem"],
            "of expired.key",
            "error expired: FL_SSL_CA_CERTFILE: the CA certificate `CN=Expired root` expired at [TIME].\n",
        ),
        cell(
            &["Root.pem"],
            &["of gone.pem", "Gone between.pem"],
            "of gone.key",
            "error expired: FL_SSL_CERTFILE: the intermediate certificate `CN=Gone between` expired at [TIME].\n",
        ),
        cell(
            &["Root.pem"],
            &["of early.pem", "Early between.pem"],
            "of early.key",
            "error not-yet-valid: FL_SSL_CERTFILE: the intermediate certificate `CN=Early between` is not valid before [TIME].\n",
        ),
        // Names.
        cell(
            &["Root.pem"],
            &["wrong names.pem"],
            "wrong names.key",
            "error name-missing: FL_SSL_CERTFILE: the server certificate `CN=wrong names` is not for IP:127.81.0.1, DNS:hub.example.org, which peers dial.\n",
        ),
        cell(&["Root.pem"], &["wildcard.pem"], "wildcard.key", ""),
        cell(
            &["Root.pem"],
            &["no names.pem"],
            "no names.key",
            "error no-names: FL_SSL_CERTFILE: the server certificate `CN=no names` has no subject alternative names.\n",
        ),
        // The key.
        cell(
            &["Root.pem"],
            &["leaf.pem"],
            "other leaf.key",
            "error key-mismatch: FL_SSL_KEYFILE: the private key does not belong to the server certificate in FL_SSL_CERTFILE.\n",
        ),
        cell(
            &["Root.pem"],
            &["leaf.pem"],
            "Root.key",
            "error key-of-ca: FL_SSL_KEYFILE: this is the private key of the CA, not of the server certificate in FL_SSL_CERTFILE.\n",
        ),
        good(leaf(), pki.openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-in", "leaf.key"]), ENCRYPTED),
        good(
            leaf(),
            pki.openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-outform", "DER", "-in", "leaf.key"]),
            ENCRYPTED,
        ),
        good(leaf(), pki.openssl(&["ec", "-aes128", "-passout", "pass:x", "-in", "leaf.key"]), ENCRYPTED),
        good(
            leaf(),
            pki.openssl(&["ec", "-no_public", "-in", "leaf.key"]),
            "error key-damaged: FL_SSL_KEYFILE: the private key is damaged or lacks its public part.\n",
        ),
        good(
            leaf(),
            leaf(),
            "error no-key: FL_SSL_KEYFILE does not contain a valid PEM private key: it holds a certificate.\n",
        ),
        good(
            leaf(),
            pki.openssl(&["x509", "-in", "leaf.pem", "-outform", "DER"]),
            "error no-key: FL_SSL_KEYFILE does not contain a valid PEM private key: it holds a certificate.\n",
        ),
        good(
            leaf(),
            [leaf(), key()].concat(),
            "note left-out: FL_SSL_KEYFILE: left out 1 certificates beside the key.\n",
        ),
        good(
            leaf(),
            [key(), files(&["other leaf.key"])].concat(),
            "error several-keys: FL_SSL_KEYFILE holds 2 private keys; which one counts is not said.\n",
        ),
        good(
            leaf(),
            pki.openssl(&["ecparam", "-name", "prime256v1", "-genkey"]),
            "error key-mismatch: FL_SSL_KEYFILE: the private key does not belong to the server certificate in FL_SSL_CERTFILE.\n",
        ),
        cell(
            &["Root.pem"],
            &["weak.pem"],
            "weak.key",
            "error key-kind: FL_SSL_KEYFILE: the private key is of the kind RSA with 1024 bits.\n\
             error key-kind: FL_SSL_CERTFILE: the key of the server certificate `CN=weak` is RSA with 1024 bits.\n",
        ),
        cell(
            &["Root.pem"],
            &["p521.pem"],
            "p521.key",
            "error key-kind: FL_SSL_KEYFILE: the private key is of the kind P-521.\n\
             error key-kind: FL_SSL_CERTFILE: the key of the server certificate `CN=p521` is P-521.\n",
        ),
        // What is not there, or not what it should be.
        Cell {
            ca: Vec::new(),
            cert: b" \r\n".to_vec(),
            key: Vec::new(),
            told: "error not-decodable: FL_SSL_CA_CERTFILE does not contain a valid PEM certificate: it is empty.\n\
             error not-decodable: FL_SSL_CERTFILE does not contain a valid PEM certificate: it is empty.\n\
             error not-decodable: FL_SSL_KEYFILE does not contain a valid PEM private key: it is empty.\n",
        },
        Cell {
            ca: b"garbage!".to_vec(),
            cert: vec![0xff; 40],
            key: b"\0".to_vec(),
            told: "error not-decodable: FL_SSL_CA_CERTFILE does not contain a valid PEM certificate: it is neither PEM, nor DER, nor base64 of these.\n\
             error not-decodable: FL_SSL_CERTFILE does not contain a valid PEM certificate: it is neither PEM, nor DER, nor base64 of these.\n\
             error not-decodable: FL_SSL_KEYFILE does not contain a valid PEM private key: it is neither PEM, nor DER, nor base64 of these.\n",
        },
        good(
            [leaf(), key()].concat(),
            key(),
            "error private-key: FL_SSL_CERTFILE contains a private key. It must hold certificates only.\n",
        ),
        good(
            key(),
            leaf(),
            "error private-key: FL_SSL_CERTFILE contains a private key. It must hold certificates only.\n\
             error no-key: FL_SSL_KEYFILE does not contain a valid PEM private key: it holds a certificate.\n",
        ),
        good(
            files(&["leaf.csr"]),
            key(),
            "error no-certificate: FL_SSL_CERTFILE does not contain a valid PEM certificate: it holds CERTIFICATE REQUEST, but no certificate.\n",
        ),
        good(
            pki.openssl(&["crl2pkcs7", "-nocrl", "-certfile", "leaf.pem"]),
            key(),
            "error no-certificate: FL_SSL_CERTFILE does not contain a valid PEM certificate: it holds PKCS7, but no certificate.\n",
        ),
        good(
            pki.openssl(&["crl2pkcs7", "-nocrl", "-certfile", "leaf.pem", "-outform", "DER"]),
            key(),
            "error not-a-certificate: FL_SSL_CERTFILE does not contain a valid PEM certificate: object 1 is not an X.509 certificate.\n",
        ),
        good(
            BASE64_STANDARD.encode(BASE64_STANDARD.encode(BASE64_STANDARD.encode(leaf()))).into_bytes(),
            key(),
            "error not-decodable: FL_SSL_CERTFILE does not contain a valid PEM certificate: it is encoded in base64 more than twice.\n",
        ),
        good(
            leaf()[..300].to_vec(),
            key(),
            "error not-decodable: FL_SSL_CERTFILE does not contain a valid PEM certificate: its CERTIFICATE block has no end.\n",
        ),
        good(
            String::from_utf8(leaf()).unwrap().replacen("MII", "MI?", 1).into_bytes(),
            key(),
            "error not-decodable: FL_SSL_CERTFILE does not contain a valid PEM certificate: its CERTIFICATE block is damaged.\n",
        ),
        // Several at once: all are told.
        cell(
            &["Expired root.pem"],
            &["everything.pem"],
            "leaf.key",
            "error issuer-missing: Server certificate is not signed by the provided CA certificate (FL_SSL_CERTFILE, FL_SSL_CA_CERTFILE): `CN=Root`, which signed `CN=everything`, is neither in FL_SSL_CERTFILE nor in FL_SSL_CA_CERTFILE.\n\
             error not-for-servers: FL_SSL_CERTFILE: the server certificate `CN=everything` has an extended key usage without serverAuth.\n\
             error expired: FL_SSL_CERTFILE: the server certificate `CN=everything` expired at [TIME].\n\
             error expired: FL_SSL_CA_CERTFILE: the CA certificate `CN=Expired root` expired at [TIME].\n\
             error name-missing: FL_SSL_CERTFILE: the server certificate `CN=everything` is not for IP:127.81.0.1, DNS:hub.example.org, which peers dial.\n\
             error key-mismatch: FL_SSL_KEYFILE: the private key does not belong to the server certificate in FL_SSL_CERTFILE.\n",
        ),
    ];
    let now = SystemTime::now();
    let mut wrong = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        let report = import(&cell.ca, &cell.cert, &cell.key, true, now);
        let told = told(&report);
        if told != cell.told {
            wrong.push(format!("cell {number}: expected\n{}found\n{told}", cell.told));
            continue;
        }
        assert_eq!(report.imported.is_none(), told.contains("error "), "cell {number}");
        assert!(
            report.errors().all(|finding| finding.hint.is_some()),
            "cell {number}: an error without a hint"
        );
        if report.imported.is_some() {
            serves(&report);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ENCRYPTED: &str = "error key-encrypted: FL_SSL_KEYFILE: the private key is encrypted with a passphrase, and a VM that boots has nobody to ask for it.\n";

/// Everything that the cells are made of.
fn faulty_pki() -> Pki {
    let pki = Pki::new("faults");
    let make = |name, by, key, extensions: String, days| {
        pki.make(&Wanted { name, by, key, extensions, days, digest: "default" })
    };
    let server = |more: &str| format!("{SERVER}subjectAltName={NAMES}\n{more}");
    let named = |names: &str| format!("{SERVER}subjectAltName={names}\n");
    let year = (-1, 300);
    // A second root of the same name goes first, and out of the way.
    pki.root("Root", P256);
    std::fs::create_dir_all(pki.path("namesake")).unwrap();
    std::fs::rename(pki.path("Root.pem"), pki.path("namesake/Root.pem")).unwrap();
    for name in ["Root", "Other"] {
        pki.root(name, P256);
    }
    for name in ["leaf", "other leaf"] {
        pki.server(name, "Root", P256, NAMES);
    }
    make("Between", Some("Root"), P256, CA.to_owned(), year);
    pki.server("below", "Between", P256, NAMES);
    make("Narrow", None, P256, CA.replace("CA:TRUE", "CA:TRUE,pathlen:0"), year);
    make("Under narrow", Some("Narrow"), P256, CA.to_owned(), year);
    pki.server("too deep", "Under narrow", P256, NAMES);
    make("No CA", None, P256, CA.replace("CA:TRUE", "CA:FALSE"), year);
    pki.server("of no ca", "No CA", P256, NAMES);
    make("False between", Some("Root"), P256, CA.replace("CA:TRUE", "CA:FALSE"), year);
    pki.server("of false", "False between", P256, NAMES);
    make("No sign", None, P256, CA.replace("keyCertSign,cRLSign", "digitalSignature"), year);
    pki.server("of no sign", "No sign", P256, NAMES);
    make("Plain", None, P256, "basicConstraints=critical,CA:TRUE\n".to_owned(), year);
    pki.server("of plain", "Plain", P256, NAMES);
    make("leaf ca", Some("Root"), P256, server("").replace("CA:FALSE", "CA:TRUE"), year);
    make("client", Some("Root"), P256, server("").replace("serverAuth", "clientAuth"), year);
    make("any eku", Some("Root"), P256, server("").replace("serverAuth", "anyExtendedKeyUsage"), year);
    make("no eku", Some("Root"), P256, server("").replace("extendedKeyUsage=serverAuth\n", ""), year);
    make("encipher", Some("Root"), P256, server("").replace("digitalSignature", "keyEncipherment"), year);
    make("self", None, P256, server(""), year);
    make("expired", Some("Root"), P256, server(""), (-30, -1));
    make("early", Some("Root"), P256, server(""), (1, 300));
    make("soon", Some("Root"), P256, server(""), (-1, 20));
    make("Expired root", None, P256, CA.to_owned(), (-30, -1));
    pki.server("of expired", "Expired root", P256, NAMES);
    make("Gone between", Some("Root"), P256, CA.to_owned(), (-30, -1));
    pki.server("of gone", "Gone between", P256, NAMES);
    make("Early between", Some("Root"), P256, CA.to_owned(), (1, 300));
    pki.server("of early", "Early between", P256, NAMES);
    make("wrong names", Some("Root"), P256, named("IP:127.81.0.9,DNS:*.org,DNS:example.org"), year);
    make("wildcard", Some("Root"), P256, named("IP:127.81.0.1,DNS:*.Example.org"), year);
    make("no names", Some("Root"), P256, SERVER.to_owned(), year);
    pki.root("Old", Kind::Rsa(2048));
    let by = Some("Old");
    pki.make(&Wanted { name: "sha1", by, key: P256, extensions: server(""), days: year, digest: "sha1" });
    pki.make(&Wanted {
        name: "sha1 ec",
        by: Some("Root"),
        key: P256,
        extensions: server(""),
        days: year,
        digest: "sha1",
    });
    pki.server("weak", "Root", Kind::Rsa(1024), NAMES);
    pki.server("p521", "Root", Kind::Ec("P-521"), NAMES);
    make("everything", Some("Root"), P256, named("DNS:x").replace("serverAuth", "clientAuth"), (-30, -1));
    pki
}

#[test]
fn an_ed25519_leaf_is_for_http_flower_only() {
    let pki = Pki::new("ed25519");
    pki.root("Root", P256);
    pki.server("leaf", "Root", Kind::Ed25519, NAMES);
    let (ca, cert, key) = (pki.read("Root.pem"), pki.read("leaf.pem"), pki.read("leaf.key"));
    serves(&import(&ca, &cert, &key, false, SystemTime::now()));
    assert_eq!(
        told(&import(&ca, &cert, &key, true, SystemTime::now())),
        "error ed25519-grpc: FL_SSL_CERTFILE: a leaf shown to gRPC Flower must be EC or RSA; the server certificate `CN=leaf` is Ed25519.\n"
    );
}

#[test]
fn the_clock_that_counts_is_the_callers() {
    let pki = Pki::new("clock");
    pki.root("Root", P256);
    pki.server("leaf", "Root", P256, NAMES);
    let (ca, cert, key) = (pki.read("Root.pem"), pki.read("leaf.pem"), pki.read("leaf.key"));
    let now = SystemTime::now();
    let codes = |now| {
        let report = import(&ca, &cert, &key, true, now);
        report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(now), [""; 0]);
    assert_eq!(codes(now + 280 * DAY), ["import::expires-soon"]);
    assert_eq!(codes(now + 301 * DAY), ["import::expired"]);
    assert_eq!(codes(now + 3001 * DAY), ["import::expired"; 2]);
    assert_eq!(codes(now - 2 * DAY), ["import::not-yet-valid"; 2]);
}

#[test]
fn nothing_of_a_key_is_ever_said() {
    let pki = Pki::new("secret");
    pki.root("Root", P256);
    pki.server("leaf", "Root", P256, NAMES);
    let key = pki.text("leaf.key");
    let secret = key.lines().nth(1).unwrap();
    for (ca, cert, given) in [
        (key.clone(), key.clone(), key.clone()),
        (pki.text("Root.pem"), pki.text("leaf.pem"), key.clone()),
        (pki.text("Root.pem"), pki.text("leaf.pem"), key.replace("-----END", "----END")),
        (pki.text("Root.pem"), pki.text("leaf.pem"), key.replace("PRIVATE KEY", secret)),
    ] {
        let report = import(ca.as_bytes(), cert.as_bytes(), given.as_bytes(), true, SystemTime::now());
        let said = format!("{report:?}");
        for part in secret.as_bytes().windows(12).step_by(4) {
            assert!(!said.contains(str::from_utf8(part).unwrap()), "{said}");
        }
    }
    let request = Given { name: "FL_SSL_KEYFILE", bytes: key.as_bytes() };
    assert_eq!(format!("{request:?}"), format!("Given(FL_SSL_KEYFILE, {} bytes)", key.len()));
    assert_eq!(format!("{:?}", SecretPem::new(key)), "SecretPem(hidden)");
}
