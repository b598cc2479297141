//! The decision about TLS, as a table with the expected mode or error of every cell: the real `onefed boot`, up to its
//! processes, with programs in place of Flower's and a OneGate that says what the cell wants.
//!
//! A cell is a way to plaintext, to TLS with a certificate from somewhere, a wait that says for what, or an error by its
//! code with a piece of its text. Nothing else: what a cell does not allow, it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

#[path = "support/gate.rs"]
mod gate;
#[path = "../../trust/tests/support/mod.rs"]
mod openssl;
#[path = "tls_decision/sites.rs"]
mod sites;
#[path = "support/vm.rs"]
mod vm;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gate::Call;
use onefed_trust::{CertificateInfo, EnrolKey, LeafRequest, NodeKey, RootCa, SanName};
use openssl::{Kind, P256, Pki, SERVER, Wanted};
use vm::{Flower, Vm};

const NEW: &str = "1.41.0";
/// Its Fleet API is gRPC, which cannot do with every kind of key.
const OLD: &str = "1.31.0";
const ENROL_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
/// The name in the certificates of the operator's own PKI.
const NAME: &str = "hub.example.org";
/// Where nobody listens.
const STATIC_HUB: &str = "127.143.250.8:9092";
const FOUND_HUB: &str = "127.143.250.9:9092";
/// The codes of steps, and how `onefed boot` exits with them.
const EXITS: [(&str, i32); 2] = [("context_invalid", 78), ("certificate_failed", 1)];

/// What all cells share: made once, it takes openssl a second.
struct World {
    flower: Flower,
    pki: Pki,
    right: RootCa,
    other: RootCa,
    third: RootCa,
}

impl World {
    fn new(name: &str) -> Self {
        let ca = |name: &str| RootCa::generate(name, SystemTime::now()).unwrap();
        Self {
            flower: Flower::new(&[NEW, OLD]),
            pki: Pki::new(&format!("decision-{name}")),
            right: ca("hospitals"),
            other: ca("impostor"),
            third: ca("third"),
        }
    }

    fn file(&self, name: &str) -> String {
        STANDARD.encode(self.pki.read(name))
    }
}

fn ca_text(ca: &RootCa) -> String {
    STANDARD.encode(ca.cert_pem())
}

fn print(ca: &RootCa) -> String {
    ca.fingerprint().unwrap().to_string()
}

/// Waits for the outcome of a boot that was started, and says it in the words of the tables.
fn outcome(vm: &mut Vm) -> String {
    let waits: [&[&str]; 4] =
        [&["step=\"processes\"", "ok: "], &["not yet: "], &["certificate requested"], &["ALARM: a certif"]];
    let exit = vm.outcome(&waits);
    let log = vm.log();
    let Some(exit) = exit else {
        if log.contains("step=\"processes\"") {
            return "processes".to_owned();
        }
        let line = log.lines().rev().find(|line| line.contains("not yet: ") || line.contains("certificate"));
        return format!("wait: {}", line.unwrap());
    };
    let failed = log.lines().find(|line| line.contains(" failed: ")).unwrap_or_else(|| panic!("{log}"));
    let code = failed.split("code=\"").nth(1).unwrap().split('"').next().unwrap();
    let (_, wanted) = EXITS.iter().find(|(name, _)| *name == code).unwrap_or_else(|| panic!("{failed}"));
    assert_eq!(exit, *wanted, "{failed}");
    let (_, said) = failed.split_once(" failed: ").unwrap();
    assert!(vm.processes().is_empty(), "left behind: {:?}", vm.processes());
    if let Some(gate) = &vm.gate {
        // It is said with the same words, and nothing else is.
        assert_eq!(gate.attribute("FL_STATE").as_deref(), Some("failed"), "{log}");
        assert_eq!(gate.attribute("FL_ERROR").as_deref(), Some(code));
        let text = STANDARD.decode(gate.attribute("FL_ERROR_TEXT").unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(said.starts_with(&text), "{text}\n{said}");
        assert!(["READY", "FL_ENDPOINT", "FL_TLS"].iter().all(|name| gate.attribute(name).is_none()));
    }
    format!("{code}: {failed}")
}

/// Whether an outcome is the expected one: the same code or mode, and the piece of text in it.
fn fits(expected: &str, found: &str) -> bool {
    match expected.split_once(": ") {
        None => expected == found,
        Some((code, piece)) => found.starts_with(&format!("{code}: ")) && found.contains(piece),
    }
}

/// Runs cells side by side, and fails with all that were not as expected.
fn table(cells: Vec<Cell>, run: impl Fn(&Cell) -> String + Sync) {
    let (queue, wrong) = (Mutex::new(cells.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some(cell) = next else { break };
                    // A cell that panics must not hide the others.
                    let found = std::panic::catch_unwind(AssertUnwindSafe(|| run(&cell)));
                    let found = found.unwrap_or_else(|_| "a panic, see above".to_owned());
                    if !fits(cell.expected, &found) {
                        let text =
                            format!("{}\n  expected {}\n  found    {found}", cell.name(), cell.expected);
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

/// One cell: its coordinates, and what it comes to.
struct Cell {
    /// The value of `FL_TLS_ENABLED`.
    tls: &'static str,
    row: &'static str,
    column: &'static str,
    expected: &'static str,
}

impl Cell {
    fn name(&self) -> String {
        format!("FL_TLS_ENABLED='{}', {}, {}", self.tls, self.row, self.column)
    }
}

/// No private key where it does not belong: not in the arguments or environment of a process, in a log, in what was
/// published, or in a file that others can read; files with keys are 0600, the directories of CA keys 0700.
#[track_caller]
fn keys_stay_where_they_are(vm: &Vm, given: &[String]) {
    let mut keys: BTreeSet<String> = given.iter().flat_map(|pem| bodies(pem)).collect();
    let files = vm.files();
    let mut holders = BTreeSet::new();
    for path in &files {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        if text.contains("PRIVATE KEY") {
            let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(path), 0o600, "{}", path.display());
            if path.file_name().unwrap() == "ca.key" {
                assert_eq!(mode(path.parent().unwrap()), 0o700, "{}", path.display());
            }
            keys.extend(bodies(&text));
            holders.insert(path.clone());
        }
    }
    let mut places: Vec<(String, String)> = vec![("the boot's log".to_owned(), vm.log())];
    for (pid, words, environment) in vm.processes() {
        places.push((format!("the arguments of {pid}"), words.join(" ")));
        places.push((format!("the environment of {pid}"), environment));
    }
    for asked in vm.gate.iter().flat_map(|gate| gate.asked()) {
        places.push(("OneGate".to_owned(), asked.body));
    }
    for path in files.iter().filter(|path| !holders.contains(*path)) {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        places.push((path.display().to_string(), text));
    }
    for (place, text) in &places {
        // Also where a PEM was wrapped once more.
        let unwrapped: String = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
            .filter(|word| word.len() > 20)
            .filter_map(|word| STANDARD.decode(word).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        for key in &keys {
            assert!(!text.contains(key) && !unwrapped.contains(key), "a private key is in {place}");
        }
    }
}

/// Of the body of each private key what is secret and long enough to be told from chance. A certificate has the public
/// half in it, and so has the rest of a key.
fn bodies(pem: &str) -> Vec<String> {
    let keys = pem.split("-----BEGIN ").filter(|part| part.contains("PRIVATE KEY-----"));
    keys.map(|key| {
        let lines: Vec<&str> = key.lines().skip(1).take_while(|line| !line.starts_with("-----")).collect();
        let line = match key.starts_with("OPENSSH") {
            // The secret number comes at the end, before the comment.
            true => lines[lines.len() - 2],
            // PKCS#8 of an EC or Ed25519 key: it begins in the first line.
            false => lines[0],
        };
        line[line.len() - 16..].to_owned()
    })
    .collect()
}

const OWN: &str = "tls(own)";
const GIVEN: &str = "tls(given)";
const IMPORTED: &str = "tls(imported)";
const ENROLLED: &str = "tls(enrolled)";
const PLAIN: &str = "plaintext";
const CA_IMPLIES: &str = "context_invalid: FL_SSL_CA_CERTFILE is given but FL_TLS_ENABLED is NO";
const CERT_IMPLIES: &str = "context_invalid: FL_SSL_CERTFILE is given but FL_TLS_ENABLED is NO";
const ED25519: &str = "certificate_failed: a leaf shown to gRPC Flower must be EC or RSA";
const ENROL_ALONE: &str = "context_invalid: FL_ENROL_KEY is given without FL_SSL_CA_CERTFILE";

/// The SuperLink's table: what it was given, and what comes of it with `YES` (so are `yes` and nothing) and with `NO`.
const SUPERLINK: [(&str, &str, &str); 27] = [
    ("nothing", OWN, PLAIN),
    ("its own CA, second boot", OWN, PLAIN),
    (
        "its own CA, and a directory of it that lost its key",
        "certificate_failed: tls/own/ca holds ca.pem but no ca.key: half of this VM's CA is gone",
        PLAIN,
    ),
    ("an imported set", IMPORTED, PLAIN),
    ("an imported set, Ed25519 and then a release with gRPC", ED25519, PLAIN),
    ("CA and enrolment key, signed", ENROLLED, CA_IMPLIES),
    ("CA and enrolment key, not signed yet", "wait: certificate requested", CA_IMPLIES),
    (
        "CA and enrolment key, offered a certificate for another key",
        "wait: ALARM: a certificate was offered",
        CA_IMPLIES,
    ),
    (
        "CA and enrolment key, offered a certificate by another CA",
        "wait: ALARM: a certificate was offered",
        CA_IMPLIES,
    ),
    (
        "CA and enrolment key, no OneGate",
        "certificate_failed: there is no OneGate to ask through",
        CA_IMPLIES,
    ),
    ("CA and enrolment key, the right fingerprint", ENROLLED, CA_IMPLIES),
    (
        "CA and enrolment key, the fingerprint of another",
        "context_invalid: FL_SSL_CA_CERTFILE has the fingerprint",
        CA_IMPLIES,
    ),
    ("enrolment key only", ENROL_ALONE, ENROL_ALONE),
    (
        "CA only",
        "context_invalid: FL_SSL_CERTFILE is required when FL_SSL_CA_CERTFILE is provided",
        CA_IMPLIES,
    ),
    (
        "CA and certificate",
        "context_invalid: FL_SSL_KEYFILE is required when FL_SSL_CA_CERTFILE is provided",
        CA_IMPLIES,
    ),
    (
        "CA and key",
        "context_invalid: FL_SSL_CERTFILE is required when FL_SSL_CA_CERTFILE is provided",
        CA_IMPLIES,
    ),
    (
        "certificate and key",
        "context_invalid: FL_SSL_CA_CERTFILE is required when FL_SSL_CERTFILE is provided",
        CERT_IMPLIES,
    ),
    ("all of a PKI", GIVEN, CA_IMPLIES),
    ("all of a PKI and an enrolment key", "context_invalid: these are two ways to a certificate", CA_IMPLIES),
    (
        "a CA that is none",
        "context_invalid: FL_SSL_CA_CERTFILE does not contain a valid base64-encoded PEM certificate",
        "context_invalid: FL_SSL_CA_CERTFILE does not contain",
    ),
    (
        "all of a PKI, the key of another",
        "certificate_failed: FL_SSL_KEYFILE: the private key does not belong to the server certificate",
        CA_IMPLIES,
    ),
    (
        "all of a PKI, the certificate by another CA",
        "certificate_failed: Server certificate is not signed by the provided CA certificate",
        CA_IMPLIES,
    ),
    (
        "all of a PKI, expired",
        "certificate_failed: FL_SSL_CERTFILE: the server certificate `CN=expired` expired at",
        CA_IMPLIES,
    ),
    (
        "all of a PKI, not yet in force",
        "certificate_failed: FL_SSL_CERTFILE: the server certificate `CN=early` is not valid before",
        CA_IMPLIES,
    ),
    ("all of a PKI, Ed25519, a release with gRPC", ED25519, CA_IMPLIES),
    ("all of a PKI, Ed25519, a release with HTTP", GIVEN, CA_IMPLIES),
    (
        "all of a PKI, for another address",
        "certificate_failed: the certificate names no host that peers could dial",
        CA_IMPLIES,
    ),
];

#[test]
fn superlink() {
    let world = World::new("superlink");
    let pki = &world.pki;
    pki.root("Root", P256);
    pki.root("Other", P256);
    let names = format!("DNS:{NAME}");
    pki.server("good", "Root", P256, &names);
    pki.server("stranger", "Other", P256, &names);
    pki.server("ed25519", "Root", Kind::Ed25519, &names);
    pki.server("elsewhere", "Root", P256, "IP:192.0.2.9");
    for (name, days) in [("expired", (-30, -1)), ("early", (3, 30))] {
        let extensions = format!("{SERVER}subjectAltName={names}\n");
        pki.make(&Wanted { name, by: Some("Root"), key: P256, extensions, days, digest: "default" });
    }
    let mut cells = Vec::new();
    for (row, yes, no) in SUPERLINK {
        for (tls, expected) in [("YES", yes), ("yes", yes), ("", yes), ("NO", no)] {
            cells.push(Cell { tls, row, column: "superlink", expected });
        }
    }
    table(cells, |cell| superlink_cell(&world, cell));
}

fn superlink_cell(world: &World, cell: &Cell) -> String {
    let row = cell.row;
    let is = |part: &str| row.contains(part);
    let release = if is("gRPC") { OLD } else { NEW };
    let mut vm = Vm::new(0, !is("no OneGate"), world.flower.of(release));
    let enrols = is("enrolment key,");
    let ca = match row {
        "a CA that is none" => Some("bm90IGEgY2VydGlmaWNhdGU=".to_owned()),
        _ if enrols => Some(ca_text(&world.right)),
        "CA only" | "CA and certificate" | "CA and key" => Some(world.file("Root.pem")),
        _ => is("all of a PKI").then(|| world.file("Root.pem")),
    };
    let pair = match row {
        _ if is("the key of another") => ("good.pem", "stranger.key"),
        _ if is("by another CA") => ("stranger.pem", "stranger.key"),
        _ if is("expired") => ("expired.pem", "expired.key"),
        _ if is("not yet in force") => ("early.pem", "early.key"),
        _ if is("for another address") => ("elsewhere.pem", "elsewhere.key"),
        _ if is("Ed25519") => ("ed25519.pem", "ed25519.key"),
        _ => ("good.pem", "good.key"),
    };
    let all = is("all of a PKI");
    let certificate =
        (all || ["CA and certificate", "certificate and key"].contains(&row)).then(|| world.file(pair.0));
    let key = (all || ["CA and key", "certificate and key"].contains(&row)).then(|| world.file(pair.1));
    let enrol = is("enrolment key").then(|| ENROL_KEY.to_owned());
    let pin = match row {
        _ if is("the right fingerprint") => Some(print(&world.right)),
        _ if is("the fingerprint of another") => Some(print(&world.other)),
        _ => None,
    };
    let mut variables = vec![("FL_ROLE", "superlink".to_owned()), ("FLOWER_VERSION", release.to_owned())];
    let given = [
        ("FL_SSL_CA_CERTFILE", ca),
        ("FL_SSL_CERTFILE", certificate),
        ("FL_SSL_KEYFILE", key),
        ("FL_ENROL_KEY", enrol),
        ("FL_CA_FINGERPRINT", pin),
    ];
    variables.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let context = |vm: &Vm, tls: &str, release: &str| {
        let mut all: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([("FL_TLS_ENABLED", tls), ("FLOWER_VERSION", release)]);
        vm.context(&all);
    };
    // What is on the disk before.
    let mut kept = None;
    if is("its own CA") {
        context(&vm, "YES", release);
        vm.start();
        assert_eq!(outcome(&mut vm), "processes");
        vm.end();
        let own = vm.disk().join("tls/own");
        kept = Some((std::fs::read(own.join("server/current/ca.pem")).unwrap(), own.clone()));
        if is("lost its key") {
            std::fs::remove_file(own.join("ca/ca.key")).unwrap();
        }
    }
    if is("an imported set") {
        context(&vm, "YES", NEW);
        let path = |name: &str| world.pki.path(name).display().to_string();
        let (root, certificate, key) = (path("Root.pem"), path(pair.0), path(pair.1));
        let names = ["--san", &format!("DNS:{NAME}")];
        let place =
            ["pki", "import", "--context", "context", "--ca", &root, "--cert", &certificate, "--key", &key];
        let (exit, _, why) = vm.onefed(&[&place[..], &names].concat());
        assert_eq!(exit, 0, "{why}");
    }
    context(&vm, cell.tls, release);
    vm.start();
    let mut found = outcome(&mut vm);
    if found.contains("certificate requested") && !is("not signed yet") {
        let signed = sign(world, &vm, row);
        vm.gate().set("FL_CERT", &STANDARD.encode(signed));
        found = outcome_after_signing(&mut vm);
    }
    if found == "processes" {
        found = superlink_mode(&vm);
        let arguments = vm.arguments("flower-superlink");
        assert!(arguments.contains(&"--insecure".to_owned()), "inside one VM: {arguments:?}");
        assert_eq!(
            vm.log().contains("this VM speaks PLAINTEXT"),
            found == PLAIN,
            "said loudly, or not at all"
        );
        if let (Some((ca, own)), "tls(own)") = (kept, found.as_str()) {
            assert_eq!(ca, std::fs::read(own.join("server/current/ca.pem")).unwrap(), "the CA stays");
        }
    }
    keys_stay_where_they_are(&vm, &[world.pki.text(pair.1)]);
    vm.end();
    found
}

/// Which certificate the hub shows, by its file.
fn superlink_mode(vm: &Vm) -> String {
    let hub = vm.json("hub.json");
    if hub["tls"].is_null() {
        assert!(hub["admin_ca"].is_null(), "no admin endpoint without TLS");
        return PLAIN.to_owned();
    }
    let tls = vm.disk().join("tls");
    let path = std::path::Path::new(hub["tls"]["certificate"].as_str().unwrap());
    let first = path.strip_prefix(&tls).unwrap().components().next().unwrap();
    let source = first.as_os_str().to_str().unwrap();
    // Only people with a certificate of a CA that the operator's tool keeps are let in.
    assert_eq!(hub["admin_ca"].is_null(), source != "enrolled");
    format!("tls({source})")
}

/// What the operator, or somebody else, answers to the request of a VM.
fn sign(world: &World, vm: &Vm, row: &str) -> String {
    let text = |name: &str| {
        let found = vm.gate().attribute(name).unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(STANDARD.decode(found).unwrap()).unwrap()
    };
    let mut csr = text("FL_CSR");
    let generation = vm.gate().attribute("FL_BOOT").unwrap().parse().unwrap();
    let proof = vm.gate().attribute("FL_CSR_PROOF").unwrap();
    EnrolKey::from_text(ENROL_KEY).verify(&proof, gate::VM, generation, &csr).unwrap();
    let names = [SanName::Ip(vm.address.parse().unwrap())];
    if row.contains("for another key") {
        csr = LeafRequest::generate(&names).unwrap().csr_pem;
    }
    let ca = if row.contains("by another CA") { &world.other } else { &world.right };
    ca.sign_server(&csr, &names, SystemTime::now()).unwrap()
}

const RIGHT: &str = "tls(right)";
const OTHER: &str = "tls(other)";
const WAIT: &str = "wait: not yet: SuperLink VM 4 is starting";
const ALARM: &str = "certificate_failed: ALARM: OneGate names a CA with the fingerprint";
const NAMED_NOWHERE: &str = "context_invalid: neither the context nor OneGate names the CA of the hub";
const SAYS_NO: &str =
    "context_invalid: FL_TLS_ENABLED is YES here, and the SuperLink of this service says NO";
const SAYS_YES: &str =
    "context_invalid: FL_TLS_ENABLED is NO here, and the SuperLink of this service says YES";
const NO_HUB: &str = "context_invalid: FL_SUPERLINK_ADDRESS is empty and TOKEN is not YES";
const NO_GATE: &str = "context_invalid: takes the CA from OneGate, but TOKEN is not YES";
const WRONG_PIN: &str = "context_invalid: the CA in FL_SSL_CA_CERTFILE has the fingerprint";
const NO_CA: &str =
    "context_invalid: FL_SSL_CA_CERTFILE is required for role supernode when FL_TLS_ENABLED is YES";
const TWO_WAYS: &str = "context_invalid: FL_CA_TRUST is first-use, but FL_SSL_CA_CERTFILE is given";
const PIN_IMPLIES: &str = "context_invalid: FL_CA_FINGERPRINT is given but FL_TLS_ENABLED is NO";

/// What OneGate says of the SuperLink: TLS with the right CA, with another one, with none, no TLS, nothing yet; and no
/// OneGate at all.
const SAYS: [&str; 6] = ["right CA", "other CA", "no CA", "says NO", "not up yet", "no OneGate"];

/// The table of a SuperNode at a single site: its trust, and what comes of it for each of [`SAYS`].
type Row = (&'static str, [&'static str; 6]);

/// With `FL_TLS_ENABLED` YES (or nothing) and an address in the context.
const STATIC: [Row; 9] = [
    ("CA", [RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT]),
    ("CA, right pin", [RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT]),
    ("CA, wrong pin", [WRONG_PIN, WRONG_PIN, WRONG_PIN, WRONG_PIN, WRONG_PIN, WRONG_PIN]),
    ("right pin", [RIGHT, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_GATE]),
    ("wrong pin", [ALARM, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_GATE]),
    ("first use", [RIGHT, OTHER, NAMED_NOWHERE, SAYS_NO, WAIT, NO_GATE]),
    ("after first use", [RIGHT, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_GATE]),
    ("CA and first use", [TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS]),
    ("nothing", [NO_CA, NO_CA, NO_CA, NO_CA, NO_CA, NO_CA]),
];

/// The same with an address that has to be discovered.
const DISCOVERED: [Row; 9] = [
    ("CA", [RIGHT, RIGHT, RIGHT, SAYS_NO, WAIT, NO_HUB]),
    ("CA, right pin", [RIGHT, RIGHT, RIGHT, SAYS_NO, WAIT, NO_HUB]),
    ("CA, wrong pin", [WRONG_PIN, WRONG_PIN, WRONG_PIN, SAYS_NO, WAIT, NO_HUB]),
    ("right pin", [RIGHT, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_HUB]),
    ("wrong pin", [ALARM, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_HUB]),
    ("first use", [RIGHT, OTHER, NAMED_NOWHERE, SAYS_NO, WAIT, NO_HUB]),
    ("after first use", [RIGHT, ALARM, NAMED_NOWHERE, SAYS_NO, WAIT, NO_HUB]),
    ("CA and first use", [TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS, TWO_WAYS]),
    ("nothing", [NO_CA, NO_CA, NO_CA, NO_CA, NO_CA, NO_CA]),
];

/// With `FL_TLS_ENABLED` NO and an address in the context. First use is no claim of TLS: it names no CA.
const PLAIN_STATIC: [Row; 7] = [
    ("CA", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("CA, right pin", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("right pin", [PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES]),
    ("first use", [PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN]),
    ("after first use", [PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN]),
    ("CA and first use", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("nothing", [PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN]),
];

/// The same with an address that has to be discovered.
const PLAIN_DISCOVERED: [Row; 7] = [
    ("CA", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("CA, right pin", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("right pin", [PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES, PIN_IMPLIES]),
    ("first use", [SAYS_YES, SAYS_YES, SAYS_YES, PLAIN, WAIT, NO_HUB]),
    ("after first use", [SAYS_YES, SAYS_YES, SAYS_YES, PLAIN, WAIT, NO_HUB]),
    ("CA and first use", [CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES, CA_IMPLIES]),
    ("nothing", [SAYS_YES, SAYS_YES, SAYS_YES, PLAIN, WAIT, NO_HUB]),
];

fn cells(rows: &[Row], tls: &'static str) -> Vec<Cell> {
    let all = rows.iter().flat_map(|(row, outcomes)| SAYS.iter().zip(outcomes).map(move |cell| (*row, cell)));
    all.map(|(row, (column, expected))| Cell { tls, row, column, expected }).collect()
}

#[test]
fn a_supernode_at_a_single_site_that_is_told_where_the_hub_is() {
    let world = World::new("static");
    let all = [cells(&STATIC, "YES"), cells(&STATIC, ""), cells(&PLAIN_STATIC, "NO")];
    table(all.into_iter().flatten().collect(), |cell| supernode_cell(&world, cell, Some(STATIC_HUB)));
}

#[test]
fn a_supernode_at_a_single_site_that_asks_onegate_where_the_hub_is() {
    let world = World::new("discovered");
    let all = [cells(&DISCOVERED, "YES"), cells(&DISCOVERED, ""), cells(&PLAIN_DISCOVERED, "NO")];
    table(all.into_iter().flatten().collect(), |cell| supernode_cell(&world, cell, None));
}

/// Lets the SuperLink of the service say what a column says.
fn says(world: &World, vm: &Vm, column: &str) {
    let Some(gate) = &vm.gate else { return };
    let endpoint = STANDARD.encode(FOUND_HUB);
    let up = |tls, ca: Option<&RootCa>| {
        let ca = ca.map(ca_text);
        let mut said = vec![("FL_STATE", "ready"), ("FL_ENDPOINT", &endpoint), ("FL_TLS", tls)];
        said.extend(ca.as_deref().map(|ca| ("FL_CA_CERT", ca)));
        gate.peer("superlink", &said);
    };
    match column {
        "right CA" => up("YES", Some(&world.right)),
        "other CA" => up("YES", Some(&world.other)),
        "no CA" => up("YES", None),
        "says NO" => up("NO", None),
        _ => gate.peer("superlink", &[("FL_STATE", "starting")]),
    }
}

fn supernode_cell(world: &World, cell: &Cell, hub: Option<&str>) -> String {
    let row = cell.row;
    let gate = cell.column != "no OneGate" || row == "after first use";
    let block = if hub.is_some() { 10 } else { 20 };
    let mut vm = Vm::new(block, gate, world.flower.of(NEW));
    let pin = match row {
        _ if row.ends_with("right pin") => Some(print(&world.right)),
        _ if row.ends_with("wrong pin") => Some(print(&world.third)),
        _ => None,
    };
    let ca = row.starts_with("CA").then(|| ca_text(&world.right));
    let trust = row.ends_with("first use").then(|| "first-use".to_owned());
    let given = [
        ("FL_ROLE", Some("supernode".to_owned())),
        ("FLOWER_VERSION", Some(NEW.to_owned())),
        ("FL_SUPERLINK_ADDRESS", hub.map(str::to_owned)),
        ("FL_SSL_CA_CERTFILE", ca),
        ("FL_CA_FINGERPRINT", pin),
        ("FL_CA_TRUST", trust),
    ];
    let variables: Vec<(&str, String)> =
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let context = |vm: &Vm, tls: &str| {
        let mut all: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("FL_TLS_ENABLED", tls));
        vm.context(&all);
    };
    if row == "after first use" {
        says(world, &vm, "right CA");
        context(&vm, "YES");
        vm.start();
        assert_eq!(outcome(&mut vm), "processes");
        assert!(vm.log().contains("is trusted from now on"), "{}", vm.log());
        vm.end();
        if cell.column == "no OneGate" {
            vm.gate = None;
        }
    }
    says(world, &vm, cell.column);
    context(&vm, cell.tls);
    vm.start();
    let mut found = outcome(&mut vm);
    if found == "processes" {
        found = site_mode(world, &vm, hub.unwrap_or(FOUND_HUB));
        // The hop inside the VM, on its loopback.
        let arguments = vm.arguments("flower-supernode");
        assert!(arguments.contains(&"--insecure".to_owned()), "{arguments:?}");
        assert!(arguments.contains(&format!("{}:9092", vm.loopback)), "{arguments:?}");
        assert_eq!(
            vm.log().contains("this VM speaks PLAINTEXT"),
            found == PLAIN,
            "said loudly, or not at all"
        );
        if let (Some(_), Some(gate)) = (hub, vm.gate.as_ref().filter(|_| row.starts_with("CA"))) {
            assert_eq!(gate.count(Call::Service), 0, "a static address beats OneGate");
        }
    }
    keys_stay_where_they_are(&vm, &[]);
    vm.end();
    found
}

/// Whom the spoke trusts on its line to the hub, and that it dials the right one.
fn site_mode(world: &World, vm: &Vm, hub: &str) -> String {
    let spoke = vm.json("spoke.json");
    let dialled = format!("{}:{}", spoke["hub_host"].as_str().unwrap(), spoke["hub_port"]);
    assert_eq!(dialled, hub);
    let Some(path) = spoke["ca"].as_str() else { return PLAIN.to_owned() };
    ca_name(world, path)
}

/// Which CA a file holds.
fn ca_name(world: &World, path: &str) -> String {
    let pem = std::fs::read_to_string(path).unwrap();
    let found = CertificateInfo::from_pem(&pem).unwrap().fingerprint.to_string();
    let known = [("right", &world.right), ("other", &world.other)];
    let name = known.iter().find(|(_, ca)| print(ca) == found).map(|(name, _)| *name);
    format!("tls({})", name.unwrap())
}

/// What came after the request for a certificate.
fn outcome_after_signing(vm: &mut Vm) -> String {
    vm.forget();
    outcome(vm)
}

/// The search for keys finds a key of each kind, plain and wrapped once more, and a file that others can read.
#[test]
fn a_key_in_the_wrong_place_would_be_found() {
    let node = NodeKey::generate().unwrap().private_pem().expose().to_owned();
    let names = [SanName::Dns(NAME.to_owned())];
    let leaf = LeafRequest::generate(&names).unwrap().key_pem.expose().to_owned();
    for key in [node, leaf] {
        let vm = Vm::new(40, false, "/nowhere".into());
        let write = |name: &str, text: &str, mode| {
            let path = vm.disk().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let found =
            || std::panic::catch_unwind(AssertUnwindSafe(|| keys_stay_where_they_are(&vm, &[]))).is_err();
        write("tls/a.key", &key, 0o600);
        assert!(!found());
        let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        for text in [lines.join("\n"), lines.join(""), STANDARD.encode(&key)] {
            write("hub.json", &text, 0o600);
            assert!(found(), "{text}");
        }
        write("hub.json", "{}", 0o600);
        assert!(!found());
        write("tls/a.key", &key, 0o640);
        assert!(found());
        write("tls/a.key", "", 0o600);
        write("tls/own/ca/ca.key", &key, 0o600);
        std::fs::set_permissions(vm.disk().join("tls/own/ca"), std::fs::Permissions::from_mode(0o750))
            .unwrap();
        assert!(found());
    }
}

/// What is searched for of a key is its secret, not what a certificate or a public key shows as well.
#[test]
fn what_is_searched_for_is_the_secret_half() {
    let node = NodeKey::generate().unwrap();
    let pem = node.private_pem().expose();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let fragment = &bodies(pem)[0];
    let place = body.find(fragment.as_str()).unwrap();
    let public = node.public().to_string();
    let point = STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    let bytes = STANDARD.decode(&body).unwrap();
    // The bytes behind the fragment, of which the public key must hold none.
    let secret = &bytes[(place * 3).div_ceil(4)..(place + fragment.len()) * 3 / 4];
    assert!(!point.windows(secret.len().min(8)).any(|part| secret.starts_with(part)), "{pem}");
    // From the end: the comment and its padding are known to everybody.
    assert!(secret.windows(4).all(|part| part != [1, 2, 3, 4]), "{pem}");
}
