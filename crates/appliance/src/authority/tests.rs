//! A VM's own CA over reboots, changes, crashes and damage.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::files::set::tests::crashing_at;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn ip(text: &str) -> SanName {
    SanName::Ip(text.parse().unwrap())
}

fn order<'a>(dir: &'a Path, names: &'a [SanName], now: SystemTime) -> Order<'a> {
    Order { dir, name: "hospitals VM 7", names, owner: None, now }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_ca_stays_and_the_leaf_follows_what_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (now, names) = (SystemTime::now(), [ip("127.0.0.1"), SanName::of_host("hub.example.org")]);
    let first = keep(&order(dir.path(), &names, now)).unwrap();
    assert_eq!(first.done, Done::Made);
    assert_eq!((first.leaf.days_left(now), first.authority.days_left(now)), (364, 3649));
    assert_eq!(first.authority.common_name, "hospitals VM 7");
    let leaf = text(&first.chain);
    // A reboot, and one with the names in another order.
    let turned = [names[1].clone(), names[0].clone()];
    for names in [&names, &turned] {
        let again = keep(&order(dir.path(), names, now + DAY)).unwrap();
        assert_eq!((again.done, text(&again.chain)), (Done::Kept, leaf.clone()));
    }
    // An address changes.
    let moved = [ip("127.0.0.1"), ip("10.0.0.2")];
    let again = keep(&order(dir.path(), &moved, now)).unwrap();
    assert_eq!(
        again.done.to_string(),
        "issued anew by the kept CA: it lacked IP:10.0.0.2, and had DNS:hub.example.org, which this VM has no more"
    );
    assert_eq!(again.authority.fingerprint, first.authority.fingerprint);
    // The end comes near, and passes.
    for later in [336, 800] {
        let again = keep(&order(dir.path(), &moved, now + later * DAY)).unwrap();
        assert_eq!(again.done, Done::Reissued(Reason::Dates));
        assert_eq!(again.authority.fingerprint, first.authority.fingerprint);
    }
    // The service gets a user of its own. Who is not root cannot give files away, and says so.
    let owner = Some(Owner { uid: 49999, gid: 49999 });
    let given = Order { owner, ..order(dir.path(), &moved, now + 800 * DAY) };
    match keep(&given) {
        Ok(again) => {
            assert_eq!(again.done, Done::Reissued(Reason::Owner));
            assert_eq!(std::fs::metadata(&again.key).unwrap().uid(), 49999);
            assert_eq!(keep(&given).unwrap().done, Done::Kept);
        }
        Err(why) => assert!(why.to_string().contains("not permitted"), "{why}"),
    }
    // Files of the set are gone, damaged or another one's.
    let other = tempfile::tempdir().unwrap();
    let stranger = keep(&order(other.path(), &moved, now)).unwrap();
    let now = now + 800 * DAY;
    for (file, content, reason) in [
        (&first.key, None, Reason::Missing),
        (&first.key, Some(text(&stranger.key)), Reason::OtherKey),
        (&first.key, Some("no key".to_owned()), Reason::Damaged),
        (&first.chain, Some(String::new()), Reason::Damaged),
        (&first.ca, Some(text(&stranger.ca)), Reason::OtherCa),
    ] {
        match content {
            Some(content) => std::fs::write(file, content).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
        let again = keep(&order(dir.path(), &moved, now)).unwrap();
        assert_eq!(again.done, Done::Reissued(reason));
        assert_eq!(again.authority.fingerprint, first.authority.fingerprint);
        assert_eq!(keep(&order(dir.path(), &moved, now)).unwrap().done, Done::Kept);
    }
}

#[test]
fn keys_are_private_and_the_cas_key_is_apart() {
    let dir = tempfile::tempdir().unwrap();
    let kept = keep(&order(dir.path(), &[ip("127.0.0.1")], SystemTime::now())).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("ca")), 0o700);
    assert_eq!(mode(&dir.path().join("ca/ca.key")), 0o600);
    assert_eq!((mode(&kept.key), mode(&kept.chain), mode(&kept.ca)), (0o600, 0o644, 0o644));
    let ca_key = text(&dir.path().join("ca/ca.key"));
    for file in [&kept.key, &kept.chain, &kept.ca] {
        assert!(!text(file).contains(ca_key.trim()));
    }
    std::fs::set_permissions(dir.path().join("ca"), Permissions::from_mode(0o755)).unwrap();
    keep(&order(dir.path(), &[ip("127.0.0.1")], SystemTime::now())).unwrap();
    assert_eq!(mode(&dir.path().join("ca")), 0o700);
}

#[test]
fn a_crash_at_any_point_ends_with_one_ca() {
    let names = [ip("127.0.0.1")];
    let now = SystemTime::now();
    let (mut points, mut kept_one) = (0, 0);
    loop {
        let dir = tempfile::tempdir().unwrap();
        let crashed = crashing_at(points, || keep(&order(dir.path(), &names, now)).unwrap());
        let ca = dir.path().join("ca/ca.pem");
        let before = ca.exists().then(|| text(&ca));
        let kept = keep(&order(dir.path(), &names, now)).unwrap();
        if let Some(before) = before {
            assert_eq!(text(&kept.ca), before, "a second CA after point {points}");
            kept_one += 1;
        }
        assert_eq!(keep(&order(dir.path(), &names, now)).unwrap().done, Done::Kept);
        assert!(!dir.path().join("ca.new").exists());
        if crashed.is_ok() {
            break;
        }
        points += 1;
    }
    assert!(points >= 10 && kept_one >= 6, "{points} points, {kept_one} with a CA");
}

#[test]
fn a_ca_that_is_not_whole_is_never_replaced() {
    let (now, names) = (SystemTime::now(), [ip("127.0.0.1")]);
    let other = tempfile::tempdir().unwrap();
    keep(&order(other.path(), &names, now)).unwrap();
    type Harm = fn(&Path, &Path);
    let harms: [(Harm, &str); 5] = [
        (
            |ca, _| std::fs::remove_file(ca.join("ca.key")).unwrap(),
            "DIR/ca holds ca.pem but no ca.key: half of this VM's CA is gone",
        ),
        (
            |ca, _| std::fs::remove_file(ca.join("ca.pem")).unwrap(),
            "DIR/ca holds ca.key but no ca.pem: half of this VM's CA is gone",
        ),
        (
            |ca, other| {
                std::fs::copy(other.join("ca/ca.key"), ca.join("ca.key")).unwrap();
            },
            "this VM's CA in DIR/ca is damaged: the certificate is for another key",
        ),
        (
            |ca, _| std::fs::write(ca.join("ca.pem"), "").unwrap(),
            "this VM's CA in DIR/ca is damaged: the certificate is not valid: no CERTIFICATE block in the text",
        ),
        (
            |ca, _| {
                std::fs::remove_dir_all(ca).unwrap();
                std::fs::remove_file(ca.with_file_name("server/current/server.key")).unwrap();
            },
            "the server certificate must be issued anew (there was none), but its CA is no longer in DIR/ca",
        ),
    ];
    for (harm, message) in harms {
        let dir = tempfile::tempdir().unwrap();
        keep(&order(dir.path(), &names, now)).unwrap();
        harm(&dir.path().join("ca"), other.path());
        let why = keep(&order(dir.path(), &names, now)).unwrap_err();
        assert_eq!(why.to_string().replace(&dir.path().display().to_string(), "DIR"), message);
        assert!(why.hint().contains("from a copy, or remove "), "{}", why.hint());
    }
}

#[test]
fn a_ca_that_was_taken_away_is_missed_only_when_something_must_be_signed() {
    let dir = tempfile::tempdir().unwrap();
    let (now, names) = (SystemTime::now(), [ip("127.0.0.1")]);
    keep(&order(dir.path(), &names, now)).unwrap();
    std::fs::remove_dir_all(dir.path().join("ca")).unwrap();
    assert_eq!(keep(&order(dir.path(), &names, now)).unwrap().done, Done::Kept);
    let why = keep(&order(dir.path(), &[ip("127.0.0.2")], now)).unwrap_err();
    assert!(matches!(why, AuthorityError::CaGone { .. }), "{why}");
}

#[test]
fn a_clock_outside_the_cas_life_makes_no_new_ca() {
    let dir = tempfile::tempdir().unwrap();
    let (now, names) = (SystemTime::now(), [ip("127.0.0.1")]);
    let made = keep(&order(dir.path(), &names, now)).unwrap();
    for then in [now - 2 * DAY, now + 3700 * DAY] {
        let why = keep(&order(dir.path(), &names, then)).unwrap_err();
        assert!(matches!(why, AuthorityError::CaNotInForce { .. }), "{why}");
        assert!(why.hint().starts_with("correct the clock"));
    }
    // A leaf never outlives the CA, and is not issued anew at every boot of the CA's last month.
    let late = now + 3640 * DAY;
    let kept = keep(&order(dir.path(), &names, late)).unwrap();
    assert_eq!(kept.leaf.not_after, made.authority.not_after);
    assert_eq!(keep(&order(dir.path(), &names, late + DAY)).unwrap().done, Done::Kept);
    let none = keep(&order(&dir.path().join("x"), &[], now)).unwrap_err();
    assert!(matches!(none, AuthorityError::Trust(TrustError::NoNames)), "{none}");
}

#[test]
fn an_operators_set_is_kept_with_the_names_that_peers_dial() {
    use onefed_trust::import::{Given, Request, check};
    let dir = tempfile::tempdir().unwrap();
    let set = imported_set(dir.path());
    assert!(installed(&set).unwrap().is_none());
    assert!(kept_request_key(dir.path()).unwrap().1.is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "asking has made something");
    let (path, key) = request_key(dir.path()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(request_key(dir.path()).unwrap().1.expose(), key.expose());

    let names = [ip("10.0.0.1"), SanName::of_host("hub.example.org")];
    let operators = RootCa::generate("the operator's", SystemTime::now()).unwrap();
    let made = operators.issue_server(&names, SystemTime::now()).unwrap();
    let checked = |ca: &str, chain: &str, key: &SecretPem, dialled: &[SanName]| {
        check(&Request {
            ca: Given { name: "CA", bytes: ca.as_bytes() },
            certificate: Given { name: "CERT", bytes: chain.as_bytes() },
            key: Given { name: "KEY", bytes: key.expose().as_bytes() },
            dialled,
            grpc_clients: true,
            now: SystemTime::now(),
        })
    };
    let report = checked(operators.cert_pem(), &made.cert_pem, &made.key_pem, &names);
    install(&set, &report.imported.as_ref().unwrap().into(), &names, None).unwrap();
    let kept = installed(&set).unwrap().unwrap();
    assert_eq!((kept.dialled.as_slice(), text(&kept.chain)), (names.as_slice(), kept.chain_pem.clone()));
    assert_eq!(checked(&kept.ca_pem, &kept.chain_pem, &kept.key_pem, &kept.dialled).findings, []);
    // What was removed by hand is noticed by the check, not taken for no set at all.
    std::fs::remove_file(&kept.key).unwrap();
    let kept = installed(&set).unwrap().unwrap();
    let report = checked(&kept.ca_pem, &kept.chain_pem, &kept.key_pem, &kept.dialled);
    assert_eq!(report.findings[0].message, "KEY does not contain a valid PEM private key: it is empty.");
}
