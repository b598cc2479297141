//! `pki csr` and `pki import`, with a PKI made by `openssl`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../trust/tests/support/mod.rs"]
mod openssl;
mod support;

use std::os::unix::fs::PermissionsExt as _;

use openssl::{CA, Kind, P256, Pki, SERVER, Wanted};
use support::{Desk, run};

/// No zone and no listener here; the addresses are only written down.
const NET: u8 = 121;
const PLACE: &str = "--disk disk --context context";
/// The release decides who sees the certificate: up to 1.39 it is gRPC.
const CONTEXT: &str = "VMID='7'\nETH0_IP='127.121.0.1'\nETH1_IP='127.121.9.1'\nFL_ROLE='superlink'\nFL_FEDERATION='hospitals'\nFLOWER_VERSION='1.32.0'\nFL_CERT_EXTRA_SAN='DNS:hub.example.org'\n";

fn desk(name: &str) -> Desk {
    let desk = Desk::new(name, NET);
    std::fs::create_dir(desk.path("context")).unwrap();
    desk.write("context/context.sh", CONTEXT);
    desk
}

/// Signs what `csr` wrote, as a PKI does that copies names and purposes from the request.
fn sign(pki: &Pki, csr: &str, serial: &str) -> Vec<u8> {
    let request = pki.write("vm.csr", csr.as_bytes());
    let request = request.to_str().unwrap();
    let mut args = vec!["x509", "-req", "-in", request, "-CA", "Root.pem", "-CAkey", "Root.key"];
    args.extend(["-days", "90", "-set_serial", serial, "-copy_extensions", "copyall"]);
    pki.openssl(&args)
}

#[test]
fn a_request_signed_by_the_operators_pki_is_installed() {
    let desk = desk("pki-csr");
    let pki = Pki::new("verb-csr");
    pki.root("Root", P256);
    let first = run(&mut desk.onefed(&format!("pki csr {PLACE}"))).expect(0);
    let key = desk.path("disk/tls/requested/server.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let said = first.stderr.replace(&desk.dir().display().to_string(), "[DIR]");
    assert_eq!(
        said,
        "a request for IP:127.121.0.1, IP:127.121.9.1, DNS:hub.example.org; its key stays in disk/tls/requested/server.key\n\
         next: have your PKI sign it for a TLS server with these names, then `onefed pki import --ca FILE --cert FILE` here\n"
    );
    // What a PKI reads in it.
    pki.write("vm.csr", first.stdout.as_bytes());
    let text = pki.openssl(&["req", "-in", "vm.csr", "-verify", "-noout", "-text"]);
    let text = String::from_utf8(text).unwrap();
    for part in [
        "Subject: CN = hub.example.org",
        "IP Address:127.121.0.1, IP Address:127.121.9.1, DNS:hub.example.org",
        "TLS Web Server Authentication",
        "Digital Signature",
        "NIST CURVE: P-256",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The same key again, and more names.
    let again =
        run(&mut desk.onefed(&format!("pki csr {PLACE} --san DNS:b.example,IP:127.121.0.1 --format json")));
    let again = again.expect(0).json();
    assert_eq!(again["names"].as_array().unwrap().len(), 4);
    assert_eq!(again["key_file"], "disk/tls/requested/server.key");
    pki.write("again.csr", again["request"].as_str().unwrap().as_bytes());
    let public = |csr| pki.openssl(&["req", "-in", csr, "-noout", "-pubkey"]);
    assert_eq!(public("vm.csr"), public("again.csr"));

    let cert = sign(&pki, &first.stdout, "1");
    std::fs::write(desk.path("vm.pem"), &cert).unwrap();
    std::fs::write(desk.path("ca.pem"), pki.read("Root.pem")).unwrap();
    let import = format!("pki import {PLACE} --ca ca.pem --cert vm.pem");
    desk.snapshot("pki__installed", &mut desk.onefed(&import)).expect(0);
    let installed = |file: &str| std::fs::read(desk.path("disk/tls/imported/current").join(file)).unwrap();
    assert_eq!(installed("server.pem"), cert);
    assert_eq!(installed("server.key"), std::fs::read(&key).unwrap());
    assert_eq!(installed("ca.pem"), pki.read("Root.pem"));
    assert_eq!(installed("dialled.txt"), b"127.121.0.1\n");
    let mode = |file: &str| {
        let path = desk.path("disk/tls/imported/current").join(file);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("server.key"), mode("server.pem"), mode("ca.pem")), (0o600, 0o644, 0o644));
    // A renewal by the same request takes the place of the first.
    let renewed = sign(&pki, &first.stdout, "2");
    std::fs::write(desk.path("vm.pem"), &renewed).unwrap();
    let json =
        run(&mut desk.onefed(&format!("{import} --san DNS:hub.example.org --format json"))).expect(0).json();
    assert_eq!((&json["ok"], &json["errors"]), (&true.into(), &0.into()));
    assert_eq!(json["certificate"]["common_name"], "hub.example.org");
    assert_eq!((installed("server.pem"), installed("dialled.txt")), (renewed, b"hub.example.org\n".to_vec()));
    assert!(!desk.files().iter().any(|file| file.ends_with("imported/1/")), "{:?}", desk.files());
}

#[test]
fn what_must_not_be_used_is_refused_with_everything_that_is_wrong() {
    let desk = desk("pki-import");
    let pki = Pki::new("verb-import");
    pki.root("Root", P256);
    pki.root("Other", P256);
    pki.server("good", "Root", P256, "IP:127.121.0.1");
    pki.server("ed25519", "Root", Kind::Ed25519, "IP:127.121.0.1");
    let extensions = format!("{SERVER}subjectAltName=DNS:x\n").replace("serverAuth", "clientAuth");
    pki.make(&Wanted {
        name: "bad",
        by: Some("Root"),
        key: P256,
        extensions,
        days: (-30, -1),
        digest: "default",
    });
    let by = Some("Root");
    pki.make(&Wanted {
        name: "Between",
        by,
        key: P256,
        extensions: CA.to_owned(),
        days: (-1, 20),
        digest: "default",
    });
    pki.server("below", "Between", P256, "IP:127.121.0.1");
    for file in [
        "Root.pem",
        "Other.pem",
        "good.pem",
        "good.key",
        "bad.pem",
        "ed25519.pem",
        "ed25519.key",
        "below.key",
    ] {
        std::fs::write(desk.path(file), pki.read(file)).unwrap();
    }
    std::fs::write(desk.path("chain.pem"), [pki.read("Between.pem"), pki.read("below.pem")].concat())
        .unwrap();
    let snapshot = |name: &str, args: &str, exit| {
        desk.snapshot(&format!("pki__{name}"), &mut desk.onefed(&format!("pki import {PLACE} {args}")))
            .expect(exit)
    };
    snapshot("no_key", "--ca Root.pem --cert good.pem", 65);
    snapshot("no_file", "--ca nowhere.pem --cert nothing.pem --key good.key", 65);
    snapshot("everything", "--ca Other.pem --cert bad.pem --key good.key", 65);
    snapshot("everything_json", "--ca Other.pem --cert bad.pem --key good.key --format json", 65);
    snapshot("ed25519_grpc", "--ca Root.pem --cert ed25519.pem --key ed25519.key", 65);
    snapshot("bad_san", "--ca Root.pem --cert good.pem --key good.key --san hub.example.org", 64);
    assert!(!desk.files().iter().any(|file| file.starts_with("disk/")), "{:?}", desk.files());
    snapshot("chain_repaired", "--ca Root.pem --cert chain.pem --key below.key", 0);
    // What is refused later leaves what is installed.
    let before = std::fs::read(desk.path("disk/tls/imported/current/server.pem")).unwrap();
    snapshot("refused_later", "--ca Root.pem --cert good.pem --key below.key", 65);
    assert_eq!(std::fs::read(desk.path("disk/tls/imported/current/server.pem")).unwrap(), before);
    // Flower over HTTP takes Ed25519.
    desk.write("context/context.sh", &CONTEXT.replace("1.32.0", "1.41.0"));
    run(&mut desk.onefed(&format!("pki import {PLACE} --ca Root.pem --cert ed25519.pem --key ed25519.key")))
        .expect(0);
}

#[test]
fn without_a_context_the_names_must_be_given() {
    let desk = Desk::new("pki-no-context", NET);
    desk.snapshot("pki__no_context", &mut desk.onefed(&format!("pki csr {PLACE}"))).expect(78);
    let given =
        run(&mut desk.onefed(&format!("pki csr {PLACE} --san IP:127.121.0.1 --format json"))).expect(0);
    assert_eq!(given.json()["names"], serde_json::json!(["IP:127.121.0.1"]));
    assert!(
        given.stderr.starts_with("without the context of this VM: context/context.sh: No such file"),
        "{}",
        given.stderr
    );
    // A key that was damaged is never replaced: a certificate may have been made for it.
    desk.write("disk/tls/requested/server.key", "damaged");
    desk.snapshot("pki__damaged_key", &mut desk.onefed(&format!("pki csr {PLACE} --san IP:127.121.0.1")))
        .expect(1);
    assert_eq!(std::fs::read_to_string(desk.path("disk/tls/requested/server.key")).unwrap(), "damaged");
}
