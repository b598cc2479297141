//! The table of the VMs of a training site: SuperNodes with a spoke of their own, behind a gateway, and the gateway.

use super::*;

/// A VM of a training site: its variables beside the role, what its service says, and what comes of it. `right`,
/// `other`, `third` stand for CAs and their fingerprints, `two` for a bundle of the first two.
type Site = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const GATEWAY_READY: &str = "gateway";
const NOBODY: &str = "nobody";

const SITES: [Site; 24] = [
    // A SuperNode with a spoke of its own.
    (
        "embedded",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right")],
        NOBODY,
        RIGHT,
    ),
    (
        "embedded, both, and the same fingerprint",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right"), ("FL_CA_FINGERPRINT", "right")],
        NOBODY,
        RIGHT,
    ),
    ("embedded, blank address", "supernode", &[("FL_SSL_CA_CERTFILE", "right")], NOBODY, NO_ADDRESS),
    ("embedded, blank address, no TLS", "supernode", &[("FL_TLS_ENABLED", "NO")], NOBODY, NO_ADDRESS),
    ("embedded, no CA", "supernode", &[("FL_SUPERLINK_ADDRESS", HUB)], NOBODY, NO_CA),
    (
        "embedded, the fingerprint of another",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right"), ("FL_CA_FINGERPRINT", "third")],
        NOBODY,
        WRONG_PIN,
    ),
    (
        "embedded, a bundle and a fingerprint",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "two"), ("FL_CA_FINGERPRINT", "right")],
        NOBODY,
        "context_invalid: FL_CA_FINGERPRINT pins one certificate, FL_SSL_CA_CERTFILE holds 2",
    ),
    (
        "embedded, a CA that is none",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "none")],
        NOBODY,
        "context_invalid: FL_SSL_CA_CERTFILE does not contain a valid base64-encoded PEM certificate",
    ),
    (
        "embedded, only a fingerprint",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_CA_FINGERPRINT", "right")],
        GATEWAY_READY,
        ELSEWHERE,
    ),
    (
        "embedded, no TLS, by name",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_TLS_ENABLED", "NO")],
        NOBODY,
        PLAIN,
    ),
    (
        "embedded, no TLS and a CA",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right"), ("FL_TLS_ENABLED", "NO")],
        NOBODY,
        CA_IMPLIES,
    ),
    (
        "embedded, node authentication without TLS",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_TLS_ENABLED", "NO"), ("FL_NODE_AUTH", "YES")],
        NOBODY,
        "context_invalid: FL_NODE_AUTH is YES but FL_TLS_ENABLED is NO",
    ),
    (
        "embedded, node authentication",
        "supernode",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right"), ("FL_NODE_AUTH", "YES")],
        NOBODY,
        RIGHT,
    ),
    // A SuperNode behind a gateway.
    ("dedicated", "supernode", &[DEDICATED, ("FL_SSL_CA_CERTFILE", "right")], GATEWAY_READY, RIGHT),
    (
        "dedicated, no gateway yet",
        "supernode",
        &[DEDICATED, ("FL_SSL_CA_CERTFILE", "right")],
        "starting",
        "wait: not yet: gateway VM 4 is starting",
    ),
    ("dedicated, no CA", "supernode", &[DEDICATED], GATEWAY_READY, NO_CA),
    (
        "dedicated, only a fingerprint",
        "supernode",
        &[DEDICATED, ("FL_CA_FINGERPRINT", "right")],
        GATEWAY_READY,
        ELSEWHERE,
    ),
    (
        "dedicated, the fingerprint of another",
        "supernode",
        &[DEDICATED, ("FL_SSL_CA_CERTFILE", "right"), ("FL_CA_FINGERPRINT", "third")],
        GATEWAY_READY,
        WRONG_PIN,
    ),
    // The gateway itself.
    (
        "gateway, signed",
        "gateway",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right"), ("FL_ENROL_KEY", ENROL_KEY)],
        NOBODY,
        ENROLLED,
    ),
    (
        "gateway, no CA",
        "gateway",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_ENROL_KEY", ENROL_KEY)],
        NOBODY,
        "context_invalid: FL_SSL_CA_CERTFILE is required for role gateway when FL_TLS_ENABLED is YES",
    ),
    (
        "gateway, no enrolment key",
        "gateway",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_SSL_CA_CERTFILE", "right")],
        NOBODY,
        "context_invalid: FL_ENROL_KEY is required for role gateway when FL_TLS_ENABLED is YES.",
    ),
    (
        "gateway, only a fingerprint",
        "gateway",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_CA_FINGERPRINT", "right"), ("FL_ENROL_KEY", ENROL_KEY)],
        NOBODY,
        ELSEWHERE,
    ),
    (
        "gateway, blank address",
        "gateway",
        &[("FL_SSL_CA_CERTFILE", "right"), ("FL_ENROL_KEY", ENROL_KEY)],
        NOBODY,
        "context_invalid: FL_SUPERLINK_ADDRESS is required for role gateway",
    ),
    (
        "gateway, no TLS, by name",
        "gateway",
        &[("FL_SUPERLINK_ADDRESS", HUB), ("FL_TLS_ENABLED", "NO")],
        NOBODY,
        PLAIN,
    ),
];

/// OneGate of a site knows no SuperLink that could name its CA.
const ELSEWHERE: &str = "context_invalid: FL_CA_FINGERPRINT takes the CA from OneGate, which at a training site does not know the SuperLink";
const HUB: &str = STATIC_HUB;
const DEDICATED: (&str, &str) = ("FL_GATEWAY", "dedicated");
const NO_ADDRESS: &str = "context_invalid: FL_SUPERLINK_ADDRESS is required for role supernode with FL_SITE";

#[test]
fn the_vms_of_a_training_site() {
    let world = World::new("sites");
    let cells = SITES.iter().map(|site| Cell { tls: "", row: site.0, column: site.1, expected: site.4 });
    table(cells.collect(), |cell| site_cell(&world, SITES.iter().find(|site| site.0 == cell.row).unwrap()));
}

fn site_cell(world: &World, (row, role, variables, service, _): &Site) -> String {
    let mut vm = Vm::new(30, true, world.flower.of(NEW));
    let gateway = format!("{}:9092", vm.address);
    match *service {
        GATEWAY_READY => {
            let endpoint = STANDARD.encode(&gateway);
            vm.gate().peer("gateway", &[("FL_STATE", "ready"), ("FL_ENDPOINT", &endpoint)]);
        }
        NOBODY => {}
        state => vm.gate().peer("gateway", &[("FL_STATE", state)]),
    }
    let meant = |name: &str, value: &str| {
        let ca = match value {
            "right" => &world.right,
            "third" => &world.third,
            "two" => return STANDARD.encode(format!("{}{}", world.right.cert_pem(), world.other.cert_pem())),
            "none" => return "bm90IGEgY2VydGlmaWNhdGU=".to_owned(),
            _ => return value.to_owned(),
        };
        if name == "FL_CA_FINGERPRINT" { print(ca) } else { ca_text(ca) }
    };
    let mut all: Vec<(&str, String)> =
        variables.iter().map(|(name, value)| (*name, meant(name, value))).collect();
    let embedded = !variables.contains(&DEDICATED) && *role == "supernode";
    if embedded {
        all.push(("FL_GATEWAY", "embedded".to_owned()));
    }
    all.extend([("FL_ROLE", (*role).to_owned()), ("FL_SITE", "clinic".to_owned())]);
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    vm.context(&all);
    vm.start();
    let mut found = outcome(&mut vm);
    if found.contains("certificate requested") {
        vm.gate().set("FL_CERT", &STANDARD.encode(sign(world, &vm, row)));
        found = outcome_after_signing(&mut vm);
    }
    if found == "processes" {
        found = match (*role, embedded) {
            ("gateway", _) => {
                let spoke = vm.json("spoke.json");
                assert_eq!(spoke["listen"], gateway);
                assert_eq!(spoke["tls"].is_null(), spoke["ca"].is_null(), "TLS on both sides or on none");
                let enrolled = vm.disk().join("tls/enrolled/current/server.pem");
                match spoke["tls"]["certificate"].as_str() {
                    None => PLAIN.to_owned(),
                    Some(path) if std::path::Path::new(path) == enrolled => {
                        assert_eq!(site_mode(world, &vm, HUB), RIGHT);
                        ENROLLED.to_owned()
                    }
                    Some(path) => panic!("{path}"),
                }
            }
            (_, true) => {
                let arguments = vm.arguments("flower-supernode");
                assert!(arguments.contains(&format!("{}:9092", vm.loopback)), "{arguments:?}");
                // Flower shows its key over TLS only; without one the hop is the VM's own loopback.
                let key = row.contains("node authentication");
                assert_ne!(arguments.contains(&"--insecure".to_owned()), key, "{arguments:?}");
                assert_eq!(
                    arguments.contains(&"--auth-supernode-private-key".to_owned()),
                    key,
                    "{arguments:?}"
                );
                site_mode(world, &vm, HUB)
            }
            (_, false) => {
                let arguments = vm.arguments("flower-supernode");
                assert!(arguments.contains(&gateway) && !arguments.contains(&"--insecure".to_owned()));
                let place = arguments.iter().position(|word| word == "--root-certificates").unwrap();
                ca_name(world, &arguments[place + 1])
            }
        };
        assert_eq!(
            vm.log().contains("this VM speaks PLAINTEXT"),
            found == PLAIN,
            "said loudly, or not at all"
        );
    }
    keys_stay_where_they_are(&vm, &[]);
    vm.end();
    found
}
