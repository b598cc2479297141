//! A PKI made with the real `openssl`, as an operator would have one.

// Every test binary uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the certificates of a CA say of themselves.
pub(crate) const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
/// What a server certificate says of itself; the names are added.
pub(crate) const SERVER: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

/// How a key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa(u32),
    Ec(&'static str),
    Ed25519,
}

pub(crate) const P256: Kind = Kind::Ec("P-256");
pub(crate) const P384: Kind = Kind::Ec("P-384");

/// A directory with keys and certificates, each by its name.
pub(crate) struct Pki {
    dir: PathBuf,
}

/// A certificate to be made.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// The name of another one that signs it; none for one that signs itself.
    pub(crate) by: Option<&'a str>,
    pub(crate) key: Kind,
    pub(crate) extensions: String,
    /// Days from now at which it begins and ends.
    pub(crate) days: (i64, i64),
    /// `sha256` and so on; `default` leaves it to the kind of the signer's key.
    pub(crate) digest: &'a str,
}

impl Pki {
    /// An empty one, in a directory of this test's own.
    pub(crate) fn new(test: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pki-{test}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let pki = Self { dir };
        let config = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n\
            default_md=default\npolicy=any\nunique_subject=no\nemail_in_dn=no\npreserve=yes\n\
            [any]\ncommonName=optional\n[req]\ndistinguished_name=dn\n[dn]\n";
        pki.write("openssl.cnf", config.as_bytes());
        pki.write("index.txt", b"");
        pki
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The bytes of a file; `root.pem` is a certificate, `root.key` its key.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// A root CA, in force.
    pub(crate) fn root(&self, name: &str, key: Kind) {
        self.make(&Wanted {
            name,
            by: None,
            key,
            extensions: CA.to_owned(),
            days: (-1, 3000),
            digest: "default",
        });
    }

    /// A server certificate with these names (`IP:…,DNS:…`), in force.
    pub(crate) fn server(&self, name: &str, by: &str, key: Kind, names: &str) {
        let extensions = format!("{SERVER}subjectAltName={names}\n");
        self.make(&Wanted { name, by: Some(by), key, extensions, days: (-1, 300), digest: "default" });
    }

    /// Makes a key (`NAME.key`, PKCS#8) and a certificate (`NAME.pem`) with the common name NAME.
    pub(crate) fn make(&self, wanted: &Wanted<'_>) {
        let name = wanted.name;
        self.key(name, wanted.key);
        let (key, csr, cert) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req",
            "-new",
            "-config",
            "openssl.cnf",
            "-subj",
            &subject,
            "-key",
            &key,
            "-out",
            &csr,
        ]);
        self.write("extensions.cnf", format!("[extensions]\n{}", wanted.extensions).as_bytes());
        let signer = wanted.by.unwrap_or(name);
        let (signer_key, signer_cert) = (format!("{signer}.key"), format!("{signer}.pem"));
        let (start, end) = (moment(wanted.days.0), moment(wanted.days.1));
        let mut args = vec!["ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", &csr, "-out", &cert];
        args.extend(["-startdate", &start, "-enddate", &end, "-keyfile", &signer_key, "-md", wanted.digest]);
        args.extend(["-extfile", "extensions.cnf", "-extensions", "extensions"]);
        match wanted.by {
            Some(_) => args.extend(["-cert", &signer_cert]),
            None => args.push("-selfsign"),
        }
        self.openssl(&args);
    }

    /// A key in PKCS#8, `NAME.key`.
    pub(crate) fn key(&self, name: &str, kind: Kind) {
        let out = format!("{name}.key");
        let option = match kind {
            Kind::Rsa(bits) => format!("rsa_keygen_bits:{bits}"),
            Kind::Ec(curve) => format!("ec_paramgen_curve:{curve}"),
            Kind::Ed25519 => String::new(),
        };
        let mut args = vec!["genpkey", "-out", &out, "-algorithm"];
        match kind {
            Kind::Rsa(_) => args.extend(["RSA", "-pkeyopt", &option]),
            Kind::Ec(_) => args.extend(["EC", "-pkeyopt", &option]),
            Kind::Ed25519 => args.push("ED25519"),
        }
        self.openssl(&args);
    }

    /// What `openssl` writes to standard output; it must succeed.
    #[track_caller]
    pub(crate) fn openssl(&self, args: &[&str]) -> Vec<u8> {
        let output = self.try_openssl(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {}: {said}", args.join(" "));
        output.stdout
    }

    /// The same, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_openssl(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|why| panic!("{OPENSSL_MISSING}: {why}"))
    }

    /// `openssl`, to be started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        command
    }
}

/// Said where the program is not there: the tests that need it fail, they are not left out.
pub(crate) const OPENSSL_MISSING: &str =
    "this test makes certificates with `openssl`: install it (apt-get install openssl)";

/// A day from now as `openssl ca` takes it.
fn moment(days: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then =
        time::OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap() + days * 86_400).unwrap();
    let (hour, minute, second) = then.to_hms();
    format!(
        "{:04}{:02}{:02}{hour:02}{minute:02}{second:02}Z",
        then.year(),
        u8::from(then.month()),
        then.day()
    )
}
