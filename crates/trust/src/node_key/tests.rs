#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// The right format, with a key on another curve in it.
fn of_another_curve() -> SecretPem {
    let mut private = vec![0; 8];
    string(&mut private, b"ecdsa-sha2-nistp256");
    let mut out = MAGIC.to_vec();
    for part in [&b"none"[..], b"none", b""] {
        string(&mut out, part);
    }
    out.extend([0, 0, 0, 1]);
    string(&mut out, b"public");
    string(&mut out, &private);
    SecretPem::new(pem(PRIVATE_LABEL, 70, &out))
}

#[test]
fn a_key_survives_its_file_and_shows_only_its_public_half() {
    let made = NodeKey::generate().unwrap();
    let read = NodeKey::from_pem(made.private_pem()).unwrap();
    assert_eq!(made.public(), read.public());
    assert_ne!(made.public(), NodeKey::generate().unwrap().public());
    let shown = format!("{made:?}");
    assert!(shown.contains("hidden") && shown.contains("SHA256:"), "{shown}");

    let line = made.public().to_string();
    assert!(
        line.starts_with("ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABh"),
        "{line}"
    );
    assert_eq!(&line.parse::<NodePublicKey>().unwrap(), made.public());
    assert_eq!(&format!("{line} node@site\n").parse::<NodePublicKey>().unwrap(), made.public());
    let pem = made.public().to_pem();
    // As Flower's own: 215 bytes, lines of 64 characters, a line feed at the end.
    assert_eq!(pem.len(), 215, "{pem}");
    assert_eq!(&NodePublicKey::from_pem(&pem).unwrap(), made.public());
}

#[test]
fn numbers_of_every_length_are_written_as_openssh_writes_them() {
    let random = SystemRandom::new();
    let mut point = [7; POINT];
    point[0] = 4;
    for zeros in 0..SCALAR {
        for first in [0x01, 0x7f, 0x80, 0xff] {
            let mut scalar = [0; SCALAR];
            random.fill(&mut scalar[zeros..]).unwrap();
            scalar[zeros] = first;
            assert_eq!(decode(&encode(&point, &scalar, [9; 4])), Ok((point, scalar)));
        }
    }
}

#[test]
fn what_flower_would_not_load_is_refused_with_the_reason() {
    let good = NodeKey::generate().unwrap();
    let text = good.private_pem().expose().to_owned();
    let document = unpem(PRIVATE_LABEL, &text).unwrap();
    let (_, scalar) = decode(&document).unwrap();
    let other = NodeKey::generate().unwrap();
    let swapped = SecretPem::new(pem(PRIVATE_LABEL, 70, &encode(&other.public().0, &scalar, [1; 4])));
    for (given, why) in [
        (SecretPem::new(String::new()), "not an `OPENSSH PRIVATE KEY`"),
        (SecretPem::new(good.public().to_pem()), "not an `OPENSSH PRIVATE KEY`"),
        (SecretPem::new(text.clone() + &text), "not an `OPENSSH PRIVATE KEY`"),
        (swapped, "do not belong together"),
        (of_another_curve(), "not a key on P-384"),
        (locked(&document), "encrypted with a passphrase"),
    ] {
        let error = NodeKey::from_pem(&given).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(error.starts_with("the SuperNode's private key is not valid"), "{error}");
    }
    for bad in
        ["", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384 AAAA", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="]
    {
        assert!(bad.parse::<NodePublicKey>().is_err(), "{bad}");
    }
}

/// The same document with a cipher named in it.
fn locked(document: &[u8]) -> SecretPem {
    let mut out = MAGIC.to_vec();
    string(&mut out, b"aes256-ctr");
    out.extend(&document[MAGIC.len() + 8..]);
    SecretPem::new(pem(PRIVATE_LABEL, 70, &out))
}

#[test]
fn ssh_keygen_reads_the_private_key_and_finds_the_same_public_one() {
    let dir = std::env::temp_dir().join(format!("onefed-node-key-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for round in 0..20 {
        let key = NodeKey::generate().unwrap();
        let path = dir.join(format!("key-{round}"));
        std::fs::write(&path, key.private_pem().expose()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let run = |args: &[&str]| Command::new("ssh-keygen").args(args).arg("-f").arg(&path).output();
        let Ok(public) = run(&["-y"]) else {
            eprintln!("skipped: there is no ssh-keygen on this machine");
            break;
        };
        assert!(public.status.success(), "{public:?}");
        let line = String::from_utf8(public.stdout).unwrap();
        assert_eq!(line.trim(), key.public().to_string());
        let print = String::from_utf8(run(&["-l"]).unwrap().stdout).unwrap();
        assert!(print.contains(&key.public().fingerprint()), "{print}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*", bytes: Vec<u8>, cut in 0usize..400) {
        let _ = text.parse::<NodePublicKey>();
        let _ = NodePublicKey::from_pem(&text);
        let _ = NodePublicKey::from_pem(&pem(PUBLIC_LABEL, 64, &bytes));
        let _ = NodeKey::from_pem(&SecretPem::new(pem(PRIVATE_LABEL, 70, &[MAGIC, &bytes].concat())));
        let mut whole = encode(&[4; POINT], &[5; SCALAR], [0; 4]);
        whole.truncate(cut);
        let _ = decode(&whole);
    }
}
