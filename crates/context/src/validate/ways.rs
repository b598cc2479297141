//! The ways to TLS, to the hub and to Flower: what each mixture of variables comes to.

use super::cases::{CA, KEY, PRINT, PRIVATE};
use super::tests::{context, told};
use crate::*;

type Changes<'a> = &'a [(&'static str, &'a str)];

fn superlink(changes: Changes<'_>) -> SuperLinkContext {
    match context("superlink", changes).role {
        RoleContext::SuperLink(own) => own,
        other => panic!("{other:?}"),
    }
}

fn supernode(changes: Changes<'_>) -> SuperNodeContext {
    match context("supernode", changes).role {
        RoleContext::SuperNode(own) => own,
        other => panic!("{other:?}"),
    }
}

/// Every mixture of the four variables and the switch: the way that it comes to, or the code of every error.
#[test]
fn each_mixture_at_the_superlink_is_one_way_or_an_error() {
    let given = [
        ("FL_SSL_CA_CERTFILE", CA),
        ("FL_SSL_CERTFILE", CA),
        ("FL_SSL_KEYFILE", PRIVATE),
        ("FL_ENROL_KEY", KEY),
    ];
    let mut lines = String::new();
    for tls in ["YES", "NO"] {
        for mask in 0..16 {
            let mut changes = vec![("FL_TLS_ENABLED", tls)];
            changes.extend(
                given.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, pair)| *pair),
            );
            let names: Vec<_> = changes[1..].iter().map(|(name, _)| name.trim_start_matches("FL_")).collect();
            let validated = super::tests::with("superlink", &changes);
            let outcome = match validated.context.map(|vm| vm.role) {
                Some(RoleContext::SuperLink(own)) => match own.tls {
                    SuperLinkTls::Off => "Off".to_owned(),
                    SuperLinkTls::Enrolled { .. } => "Enrolled".to_owned(),
                    SuperLinkTls::Given { .. } => "Given".to_owned(),
                    SuperLinkTls::Own => "Own".to_owned(),
                },
                _ => {
                    let errors = validated.problems.iter().filter(|p| p.is_error());
                    errors
                        .map(|p| format!("{} {}", p.code, p.variable.as_deref().unwrap()))
                        .collect::<Vec<_>>()
                        .join(", ")
                }
            };
            lines += &format!("{tls} {}: {outcome}\n", names.join(" "));
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn the_references_messages_for_an_incomplete_pki() {
    insta::assert_snapshot!(told("superlink", &[("FL_SSL_CA_CERTFILE", CA)]));
    insta::assert_snapshot!(told("superlink", &[("FL_SSL_CERTFILE", CA), ("FL_SSL_KEYFILE", PRIVATE)]));
    insta::assert_snapshot!(told(
        "superlink",
        &[
            ("FL_SSL_CA_CERTFILE", CA),
            ("FL_SSL_CERTFILE", CA),
            ("FL_SSL_KEYFILE", PRIVATE),
            ("FL_CERT_EXTRA_SAN", "DNS:x")
        ]
    ));
}

#[test]
fn each_way_carries_what_it_needs() {
    let enrolled = superlink(&[("FL_SSL_CA_CERTFILE", CA), ("FL_ENROL_KEY", KEY)]).tls;
    let SuperLinkTls::Enrolled { ca, key } = enrolled else { panic!("{enrolled:?}") };
    assert_eq!((ca.pem(), key.expose()), (CA, KEY));
    let vm = context(
        "superlink",
        &[("FL_SSL_CA_CERTFILE", CA), ("FL_SSL_CERTFILE", CA), ("FL_SSL_KEYFILE", PRIVATE)],
    );
    assert!(vm.tls() && vm.ca().is_some());
    assert!(!format!("{vm:?}").contains("PRIVATE KEY"));
    let RoleContext::SuperLink(SuperLinkContext {
        tls: SuperLinkTls::Given { certificate, key, .. }, ..
    }) = vm.role
    else {
        panic!("{vm:?}")
    };
    assert_eq!((certificate.pem(), key.expose()), (CA, PRIVATE));
}

#[test]
fn a_site_trusts_what_it_is_told_and_nothing_by_itself() {
    // OneGate knows the SuperLink within its own service only.
    let gate = [
        ("TOKEN", "YES"),
        ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030"),
        ("FL_SSL_CA_CERTFILE", ""),
        ("FL_SITE", ""),
    ];
    let trust = |more: Changes<'_>| supernode(&[&gate[..], more].concat()).trust;
    assert_eq!(supernode(&[]).trust, SiteTrust::Given(CA.parse().unwrap()));
    assert_eq!(supernode(&[("FL_SSL_CA_CERTFILE", ""), ("FL_TLS_ENABLED", "NO")]).trust, SiteTrust::Off);
    assert_eq!(trust(&[("FL_CA_FINGERPRINT", PRINT)]), SiteTrust::Pinned(PRINT.parse().unwrap()));
    assert_eq!(trust(&[("FL_CA_TRUST", "first-use")]), SiteTrust::FirstUse);
    let pinned = context("supernode", &[("FL_CA_FINGERPRINT", PRINT)]);
    assert!(pinned.ca().is_some() && pinned.ca_fingerprint.is_some());

    let told = |more: Changes<'_>| told("supernode", &[&gate[..], more].concat());
    insta::assert_snapshot!(told(&[]));
    insta::assert_snapshot!(told(&[("FL_CA_TRUST", "first-use")]));
    insta::assert_snapshot!(told(&[("FL_CA_TRUST", "first-use"), ("FL_CA_FINGERPRINT", PRINT)]));
    insta::assert_snapshot!(told(&[("FL_CA_TRUST", "first-use"), ("TOKEN", "NO")]));
    insta::assert_snapshot!(told(&[("FL_CA_FINGERPRINT", PRINT), ("TOKEN", "")]));
    insta::assert_snapshot!(told(&[("FL_TLS_ENABLED", "NO"), ("FL_CA_FINGERPRINT", PRINT)]));
    insta::assert_snapshot!(told(&[("FL_TLS_ENABLED", "NO"), ("FL_CA_TRUST", "first-use")]));
}

#[test]
fn a_gateway_enrols_with_a_ca_that_it_knows() {
    let gate = [
        ("TOKEN", "YES"),
        ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030"),
        ("FL_SSL_CA_CERTFILE", ""),
        ("FL_ENROL_KEY", KEY),
    ];
    insta::assert_snapshot!(told("gateway", &[&gate[..], &[("FL_CA_FINGERPRINT", PRINT)]].concat()));
    insta::assert_snapshot!(told("gateway", &[("FL_ENROL_KEY", "")]));
    insta::assert_snapshot!(told("gateway", &[&gate[..], &[("FL_CA_TRUST", "first-use")]].concat()));
}

#[test]
fn a_single_site_may_ask_onegate_where_the_hub_is() {
    let single = [
        ("FL_SITE", ""),
        ("TOKEN", "YES"),
        ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030"),
        ("FL_FEDERATION", ""),
    ];
    let own = supernode(&single);
    assert_eq!(
        (own.site, own.gateway, own.hub),
        (SiteName::local(), GatewayPlacement::Embedded, Some(HubSource::OneGate))
    );
    assert_eq!(context("supernode", &single).federation.as_str(), "flower");
    let fixed = supernode(&[("FL_SITE", ""), ("FL_SUPERLINK_ADDRESS", "Hub.example.com")]);
    assert_eq!(fixed.hub, Some(HubSource::Static("hub.example.com:9092".parse().unwrap())));

    insta::assert_snapshot!(told("supernode", &[("FL_SITE", ""), ("FL_SUPERLINK_ADDRESS", "hub")]));
    insta::assert_snapshot!(told("supernode", &[("FL_SITE", ""), ("TOKEN", "")]));
    insta::assert_snapshot!(told("supernode", &[&single[..], &[("FL_GATEWAY", "dedicated")]].concat()));
}

#[test]
fn a_training_site_is_told_what_to_set() {
    let hints = |role: &str, changes: Changes<'_>| {
        let problems = super::tests::with(role, changes).problems;
        problems.iter().map(|p| format!("{p}\n")).collect::<String>()
    };
    insta::assert_snapshot!(hints("supernode", &[("FL_GATEWAY", "embedded")]));
    insta::assert_snapshot!(hints("gateway", &[("FL_SUPERLINK_ADDRESS", "fd00::1")]));
}

#[test]
fn node_authentication_needs_tls() {
    assert!(superlink(&[("FL_NODE_AUTH", "yes")]).node_auth);
    assert!(!superlink(&[("FL_TLS_ENABLED", "NO")]).node_auth);
    insta::assert_snapshot!(told("superlink", &[("FL_NODE_AUTH", "YES"), ("FL_TLS_ENABLED", "NO")]));
    insta::assert_snapshot!(told("supernode", &[("FL_NODE_AUTH", "YES")]));
}

#[test]
fn a_container_is_of_the_release_or_of_the_operators_image() {
    let image = |text: &str| Runtime::Container(Some(text.parse().unwrap()));
    let container = ("FL_RUNTIME", "container");
    assert_eq!(superlink(&[container]).runtime, Runtime::Container(None));
    assert_eq!(
        supernode(&[container, ("FL_CONTAINER_IMAGE", "x/y:1.41.0-gpu")]).runtime,
        image("x/y:1.41.0-gpu")
    );
    assert_eq!(told("supernode", &[container, ("FL_CONTAINER_IMAGE", "x/y:1.41.0-gpu")]), "");
    assert!(context("gateway", &[]).runtime().is_none());
    insta::assert_snapshot!(told("superlink", &[container, ("FL_CONTAINER_IMAGE", "flwr/superlink:1.40.0")]));
    insta::assert_snapshot!(told("superlink", &[("FL_CONTAINER_IMAGE", "flwr/superlink:1.41.0")]));
    insta::assert_snapshot!(told("gateway", &[container]));
}

#[test]
fn who_reports_ready_is_said() {
    insta::assert_snapshot!(told("superlink", &[("REPORT_READY", "YES")]));
    insta::assert_snapshot!(told(
        "superlink",
        &[("REPORT_READY", "YES"), ("READY_SCRIPT_PATH", "/opt/ready")]
    ));
    insta::assert_snapshot!(told("superlink", &[("READY_SCRIPT_PATH", "/opt/ready")]));
}
