use super::*;
use crate::objects::inputs;
use onefed_context::{GatewayPlacement, RawContext, validate};
use proptest::prelude::*;
use serde_json::Value;

const CA: &str = include_str!("../../../context/tests/data/ca.pem");
const IDS: VmTemplates = VmTemplates { superlink: 3, supernode: 4 };

fn hand(kind: Kind, given: &[(&str, &str)]) -> ByHand {
    try_hand(kind, given).unwrap()
}

fn try_hand(kind: Kind, given: &[(&str, &str)]) -> Result<ByHand, Vec<Problem>> {
    ByHand::new(kind, None, given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// Enough for the service to be made.
fn needed(kind: Kind) -> Vec<(&'static str, &'static str)> {
    match kind {
        Kind::Coordinator => vec![],
        Kind::Site => {
            vec![
                ("FL_SITE", "paris"),
                ("FL_SUPERLINK_ADDRESS", "hub.example.org"),
                ("FL_SSL_CA_CERTFILE", CA),
            ]
        }
        Kind::Single => vec![("FL_CA_TRUST", "first-use")],
    }
}

fn said(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// Pretty JSON, whose keys are in order whatever the features of serde_json in this build.
fn pretty(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> =
                    map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(entries.into_iter().collect())
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    let text = serde_json::to_string_pretty(&sorted(value)).unwrap();
    text.replace(CA.replace('\n', "\\n").as_str(), "(CA certificate)")
}

#[test]
fn documents_of_every_kind() {
    for kind in Kind::ALL {
        let hand = hand(kind, &needed(kind));
        let template = hand.service_template(IDS, Some(7)).unwrap();
        insta::assert_snapshot!(format!("template_{kind}"), pretty(&template));
        insta::assert_snapshot!(format!("merge_{kind}"), pretty(&hand.merge_template().unwrap()));
    }
}

/// The reference's sections 2 to 4: names, fields, what is mandatory, who has parents.
#[test]
fn the_fields_of_the_reference() {
    let body = |kind| hand(kind, &needed(kind)).service_template(IDS, None).unwrap();
    for (kind, name) in
        [(Kind::Coordinator, "Coordinator"), (Kind::Site, "Training Site"), (Kind::Single, "Single Site")]
    {
        let body = body(kind);
        assert_eq!(body["name"], format!("Flower Federation - {name}"));
        assert_eq!(body["deployment"], "straight");
        assert_eq!(body["ready_status_gate"], true);
        assert_eq!(body["shutdown_action"], "shutdown");
        assert_eq!(body["user_inputs"]["FL_TLS_ENABLED"], "O|boolean|Encrypt the Fleet link with TLS||YES");
        for role in body["roles"].as_array().unwrap() {
            assert_eq!(role["shutdown_action"], "shutdown");
            assert_eq!(role["type"], "vm");
            let numbers = ["cardinality", "min_vms", "max_vms"].map(|key| role[key].as_u64().unwrap());
            assert_eq!(numbers, if role["name"] == "superlink" { [1, 1, 1] } else { [2, 2, 10] });
            assert!(role["template_contents"].get("NIC").is_none());
            let parents = (kind == Kind::Single && role["name"] == "supernode").then(|| "superlink".into());
            assert_eq!(role.get("parents").map(|list| list[0].clone()), parents, "{kind}");
        }
    }
    let inputs = body(Kind::Site)["roles"][0]["user_inputs"].clone();
    assert!(inputs["FL_SUPERLINK_ADDRESS"].as_str().unwrap().starts_with("M|text|"));
    assert!(inputs["FL_SSL_CA_CERTFILE"].as_str().unwrap().starts_with("M|text64|"));
    let plain = hand(Kind::Site, &[("FL_SITE", "paris"), ("FL_TLS_ENABLED", "no")]);
    let inputs = plain.service_template(IDS, None).unwrap()["roles"][0]["user_inputs"].clone();
    assert!(inputs["FL_SSL_CA_CERTFILE"].as_str().unwrap().starts_with("O|text64|"));
}

/// A site by hand declares what `apply` declares for SuperNodes with an embedded gateway, and both in the same way.
#[test]
fn inputs_are_those_of_apply() {
    let plan = include_str!("../../../../examples/three-zones.toml")
        .replace("\"dedicated\"", "\"embedded\"")
        .replace("FL_GRPC_KEEPALIVE_TIME    = 30", "FL_NODE_AUTH = false")
        .replace("FL_GRPC_KEEPALIVE_TIMEOUT = 10", "");
    let federation = crate::parse(&plan).unwrap();
    assert_eq!(federation.sites[0].gateway, GatewayPlacement::Embedded);
    let apply = |part| {
        let ids =
            crate::ZoneIds { superlink_template: 3, gateway_template: 4, supernode_template: 4, network: 6 };
        crate::service_template(&federation, part, &ids).unwrap()
    };
    let site = apply(crate::Part::Site(&federation.sites[0].name));
    let ours = hand(Kind::Site, &needed(Kind::Site)).service_template(IDS, None).unwrap();
    assert_eq!(site["user_inputs"], ours["user_inputs"]);
    let (theirs, ours) = (&site["roles"][0]["user_inputs"], &ours["roles"][0]["user_inputs"]);
    let mut differ = Vec::new();
    for (name, text) in ours.as_object().unwrap() {
        if theirs[name] != *text {
            differ.push(name.as_str());
        }
    }
    // What only the plan knows, and what only the hand does.
    differ.sort_unstable();
    assert_eq!(differ, ["FL_NUM_PARTITIONS", "FL_PARTITION_BASE", "FL_SUPERLINK_ADDRESS"]);
    assert_eq!(theirs.as_object().unwrap().len(), ours.as_object().unwrap().len());
    // A coordinator may have the certificate of somebody's PKI, which a plan's cannot.
    let coordinator = apply(crate::Part::Coordinator);
    let ours = hand(Kind::Coordinator, &[]).service_template(IDS, None).unwrap();
    let more = ours["roles"][0]["user_inputs"].as_object().unwrap();
    let more: Vec<_> =
        more.keys().filter(|name| coordinator["roles"][0]["user_inputs"].get(*name).is_none()).collect();
    assert_eq!(more, ["FL_SSL_CERTFILE", "FL_SSL_KEYFILE"]);
    // Both from one list.
    let listed = inputs::rows(Placement::Service, |_| true).count();
    assert_eq!(listed, hand(Kind::Single, &[]).inputs(None).len());
}

#[test]
fn what_is_refused_is_refused_at_once_with_what_to_do() {
    let mut out = String::new();
    out += &said(
        try_hand(
            Kind::Site,
            &[
                ("FL_SUPERLINK_ADRESS", "x"),
                ("FL_STRATEGY", "FedAvg"),
                ("TOKEN", "NO"),
                ("FL_SITE", "Paris"),
                ("FL_NODE_CONFIG", "a=\"${x}\""),
                ("FL_GRPC_KEEPALIVE_TIME", "60"),
                ("FL_GRPC_KEEPALIVE_TIME", "30"),
                ("FL_CA_TRUST", "first-use"),
            ],
        )
        .unwrap_err(),
    );
    out += &said(hand(Kind::Site, &[]).service_template(IDS, None).unwrap_err());
    out += &said(hand(Kind::Site, &[]).merge_template().unwrap_err());
    out += &said(hand(Kind::Single, &[]).merge_template().unwrap_err());
    out += &said(hand(Kind::Coordinator, &[("FL_SSL_CERTFILE", CA)]).merge_template().unwrap_err());
    out += &said(try_hand(Kind::Coordinator, &[("FL_SITE_ENROLMENT", "token")]).unwrap_err());
    insta::assert_snapshot!(out);
}

#[test]
fn what_the_author_chooses_is_in_the_context_and_no_form() {
    let print = format!("sha256:{}", "a".repeat(64));
    let mut given = needed(Kind::Site);
    given.extend([("FL_FEDERATION", "hospitals"), ("FL_CA_FINGERPRINT", &print)]);
    let hand = hand(Kind::Site, &given);
    let template = hand.service_template(IDS, None).unwrap();
    let context = &template["roles"][0]["template_contents"]["CONTEXT"];
    for (name, value) in [("FL_SITE", "paris"), ("FL_FEDERATION", "hospitals"), ("FL_CA_FINGERPRINT", &print)]
    {
        assert_eq!(context[name], value);
        assert!(template["roles"][0]["user_inputs"].get(name).is_none());
    }
    let merge = hand.merge_template().unwrap();
    assert_eq!(merge["roles"][0]["template_contents"]["CONTEXT"]["FL_SITE"], "paris");
    let text = hand.vm_template(Role::SuperNode, &HARDWARE).unwrap();
    assert!(text.contains("\n  FL_SITE = \"paris\",\n"), "{text}");
    assert!(!format!("{hand:?}").contains("BEGIN"), "values may be secrets");
}

const HARDWARE: Hardware = Hardware { cpus: 4, memory: 8192, image: Some(5), network: None };

#[test]
fn a_vm_template_has_what_the_role_asks_for() {
    let text = hand(Kind::Site, &[("FL_SITE", "paris"), ("FL_NODE_CONFIG", "department=\"radiology\"")])
        .vm_template(Role::SuperNode, &HARDWARE)
        .unwrap();
    assert!(text.starts_with(
        "NAME = \"Flower SuperNode\"\nCPU = \"4\"\nVCPU = \"4\"\nMEMORY = \"8192\"\nCPU_MODEL = [ MODEL = \"host-passthrough\" ]\nGRAPHICS = [ LISTEN = \"0.0.0.0\", TYPE = \"VNC\" ]\nDISK = [ IMAGE_ID = \"5\" ]\n# NIC = ["
    ), "{text}");
    assert!(text.contains("|department=\\\"radiology\\\"\""), "{text}");
    assert!(!text.contains("FL_CA_TRUST"));
    let single = hand(Kind::Single, &[]);
    let superlink = single.vm_template(Role::SuperLink, &HARDWARE).unwrap();
    assert!(!superlink.contains("FL_SSL_"), "siblings could read the key");
    let supernode = single.vm_template(Role::SuperNode, &HARDWARE).unwrap();
    assert!(supernode.contains("FL_CA_TRUST = \"M|list|"), "{supernode}");
    assert!(!supernode.contains("FL_SITE") && !supernode.contains("FL_GATEWAY"));
}

fn keys(value: &Value) -> Vec<&String> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().collect();
    keys.sort();
    keys
}

prop_compose! {
    fn any_service()(
        kind in proptest::sample::select(&Kind::ALL),
        supernodes in proptest::option::of(1u32..30),
        tls: bool,
        level in proptest::option::of(proptest::sample::select(&["DEBUG", "INFO"])),
        time in proptest::option::of(21u32..100),
        federation in proptest::option::of("[a-z]{1,8}"),
    ) -> ByHand {
        let mut given: Vec<(String, String)> = Vec::new();
        for (name, value) in needed(kind) {
            if tls || name == "FL_SITE" || name == "FL_SUPERLINK_ADDRESS" {
                given.push((name.into(), value.into()));
            }
        }
        given.push(("FL_TLS_ENABLED".into(), if tls { "YES" } else { "no" }.into()));
        given.extend(level.map(|level| ("FL_LOG_LEVEL".into(), level.into())));
        given.extend(time.map(|time| ("FL_GRPC_KEEPALIVE_TIME".into(), time.to_string())));
        given.extend(federation.map(|name| ("FL_FEDERATION".into(), name)));
        ByHand::new(kind, supernodes, given).unwrap()
    }
}

proptest! {
    /// OneFlow refuses an instantiation without a value for every declared input at its own level, and a VM refuses
    /// what does not add up.
    #[test]
    fn every_declared_input_has_its_value_at_its_level(hand in any_service()) {
        let template = hand.service_template(IDS, None).unwrap();
        let merge = hand.merge_template().unwrap();
        prop_assert_eq!(keys(&template["user_inputs"]), keys(&merge["user_inputs_values"]));
        let (declared, valued) = (template["roles"].as_array().unwrap(), merge["roles"].as_array().unwrap());
        prop_assert_eq!(declared.len(), valued.len());
        for (declared, valued) in declared.iter().zip(valued) {
            prop_assert_eq!(&declared["name"], &valued["name"]);
            prop_assert_eq!(keys(&declared["user_inputs"]), keys(&valued["user_inputs_values"]));
            let mut context = BTreeMap::new();
            for part in [
                &declared["template_contents"]["CONTEXT"],
                &merge["user_inputs_values"],
                &valued["user_inputs_values"],
                &serde_json::json!({ "VMID": "1", "ETH0_IP": "10.0.0.2", "ONEGATE_ENDPOINT": "http://127.0.0.1:5030" }),
            ] {
                for (name, value) in part.as_object().unwrap() {
                    prop_assert!(context.insert(name.clone(), value.as_str().unwrap().to_owned()).is_none(), "{} twice", name);
                }
            }
            for (name, input) in declared["user_inputs"].as_object().unwrap() {
                prop_assert_eq!(input.as_str().unwrap().split('|').count(), 5, "{}: {}", name, input);
            }
            let validated = validate(&RawContext::from_pairs(context));
            prop_assert!(validated.context.is_some(), "{:?}", validated.problems);
        }
    }

    #[test]
    fn nothing_that_is_given_panics(kind in proptest::sample::select(&Kind::ALL), name in "[A-Z_]{0,12}", at in 0usize..70, value in "\\PC{0,20}") {
        let known = TABLE.get(at).map_or(name, |row| row.name.to_owned());
        if let Ok(hand) = ByHand::new(kind, None, [(known, value)]) {
            let _ = hand.merge_template();
            let _ = hand.service_template(IDS, None);
        }
    }
}
