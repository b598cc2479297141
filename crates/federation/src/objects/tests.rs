use super::digest::canonical;
use super::*;
use crate::parse;
use onefed_context::{Role, Secret, SiteName, validate};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const EXAMPLE: &str = include_str!("../../../../examples/three-zones.toml");
const KEY: &str = "q1w2e3r4t5y6u7i8o9p0-_q1w2e3r4t5";
const CA: &str = include_str!("../../../context/tests/data/ca.pem");

const IDS: ZoneIds =
    ZoneIds { superlink_template: 3, gateway_template: 4, supernode_template: 5, network: 6 };

fn inputs(federation: &Federation) -> Inputs {
    Inputs {
        ca_pem_base64: CA.to_owned(),
        ca_fingerprint: format!("sha256:{}", "0".repeat(64)),
        hub: Some("10.71.1.2:9092".parse().unwrap()),
        enrol_keys: federation.parts().map(|part| (federation.object_name(part), Secret::new(KEY))).collect(),
    }
}

/// Pretty JSON with ordered keys, whatever the features of serde_json in this build.
fn pretty(value: &Value) -> String {
    let sorted: Value = serde_json::from_str(&canonical(value)).unwrap();
    let text = serde_json::to_string_pretty(&sorted).unwrap();
    text.replace(CA.replace('\n', "\\n").as_str(), "(CA certificate)")
}

fn site(federation: &Federation, at: usize) -> Part<'_> {
    Part::Site(&federation.sites[at].name)
}

#[test]
fn bodies_of_the_example() {
    let federation = parse(EXAMPLE).unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r#""version": "[^"]+""#, r#""version": "[version]""#);
    let _guard = settings.bind_to_scope();
    for (name, part) in [("coordinator", Part::Coordinator), ("site", site(&federation, 1))] {
        let template = service_template(&federation, part, &IDS).unwrap();
        insta::assert_snapshot!(format!("template_{name}"), pretty(&template));
        let merge = merge_template(&federation, part, &inputs(&federation)).unwrap();
        insta::assert_snapshot!(format!("merge_{name}"), pretty(&merge));
    }
}

#[test]
fn an_embedded_gateway_is_no_role_but_dials_the_hub() {
    let federation = parse(&EXAMPLE.replace("\"dedicated\"", "\"embedded\"")).unwrap();
    let body = service_template(&federation, site(&federation, 0), &IDS).unwrap();
    let roles = body["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0]["name"], "supernode");
    assert_eq!(roles[0]["template_contents"]["CONTEXT"]["FL_GATEWAY"], "embedded");
    assert!(roles[0]["user_inputs"]["FL_SUPERLINK_ADDRESS"].as_str().unwrap().starts_with("M|text|"));
    assert!(roles[0]["user_inputs"]["FL_GRPC_KEEPALIVE_TIME"].as_str().unwrap().ends_with("|30"));
}

#[test]
fn the_address_that_sites_dial_is_in_the_certificate_and_listened_on() {
    let text = EXAMPLE.replace("# address = \"203.0.113.10\" ", "address = \"2001:db8::1\"");
    let federation = parse(&text).unwrap();
    let merge = merge_template(&federation, Part::Coordinator, &inputs(&federation)).unwrap();
    let values = &merge["roles"][0]["user_inputs_values"];
    assert_eq!(values["FL_CERT_EXTRA_SAN"], "IP:2001:db8::1");
    assert_eq!(values["FL_FLEET_API_ADDRESS"], "[::]:9092");
    let merge = merge_template(&federation, site(&federation, 0), &inputs(&federation)).unwrap();
    assert_eq!(merge["roles"][0]["user_inputs_values"]["FL_SUPERLINK_ADDRESS"], "[2001:db8::1]:9092");
}

#[test]
fn what_is_not_known_is_an_error() {
    let federation = parse(EXAMPLE).unwrap();
    let error = |part, inputs: &Inputs| merge_template(&federation, part, inputs).unwrap_err().to_string();
    let known = inputs(&federation);
    let nowhere: SiteName = "nowhere".parse().unwrap();
    insta::assert_snapshot!(
        [
            error(site(&federation, 0), &Inputs { hub: None, ..known.clone() }),
            error(Part::Coordinator, &Inputs { ca_pem_base64: String::new(), ..known.clone() }),
            error(Part::Site(&nowhere), &known),
        ].join("\n"),
        @"
    `hospitals-paris` cannot be made: the address of the hub is not known yet; deploy the coordinator first, or write `address` in [coordinator]
    `hospitals-coordinator` cannot be made: TLS is on, but there is no CA certificate to hand out
    the federation has no site `nowhere`
    "
    );
    let coordinator = merge_template(&federation, Part::Coordinator, &Inputs { hub: None, ..known });
    assert!(coordinator.is_ok());
}

#[test]
fn plaintext_hands_out_neither_ca_nor_key() {
    let federation =
        parse(&EXAMPLE.replace("[variables] ", "[variables]\nFL_TLS_ENABLED = \"no\"\n#")).unwrap();
    for part in federation.parts() {
        let text = merge_template(&federation, part, &inputs(&federation)).unwrap().to_string();
        assert!(!text.contains(KEY) && !text.contains("BEGIN") && !text.contains("sha256:"), "{text}");
        assert!(text.contains(r#""FL_TLS_ENABLED":"NO""#), "{text}");
    }
}

#[test]
fn nodes_are_authenticated_by_default_where_there_is_tls() {
    let value = |variables: &str| {
        let federation =
            parse(&EXAMPLE.replace("[variables]", &format!("[variables]\n{variables}"))).unwrap();
        let merge = merge_template(&federation, Part::Coordinator, &inputs(&federation)).unwrap();
        merge["roles"][0]["user_inputs_values"]["FL_NODE_AUTH"].as_str().unwrap().to_owned()
    };
    assert_eq!(value(""), "YES");
    assert_eq!(value("FL_NODE_AUTH = false"), "NO");
    assert_eq!(value("FL_TLS_ENABLED = false"), "NO");
}

#[test]
fn forms_do_not_offer_another_way_to_tls() {
    let federation = parse(EXAMPLE).unwrap();
    for part in federation.parts() {
        let body = service_template(&federation, part, &IDS).unwrap().to_string();
        for name in ["FL_SSL_CERTFILE", "FL_SSL_KEYFILE", "FL_CA_TRUST"] {
            assert!(!body.contains(name), "{name}");
        }
    }
}

#[test]
fn digests_follow_the_plan_and_nothing_else() {
    let digests = |text: &str| -> Vec<String> {
        let zones = wanted(&parse(text).unwrap());
        zones.iter().flat_map(|zone| &zone.objects).map(|object| object.digest.clone()).collect()
    };
    let before = digests(EXAMPLE);
    assert!(before.iter().all(|digest| digest.len() == 16));
    // Template and service of a part have one digest; different parts have different ones.
    assert!(
        before[0] == before[1] && before[2] == before[3] && before[0] != before[2] && before[2] != before[4]
    );
    assert_eq!(
        before,
        digests(&format!("{EXAMPLE}\n# a remark\nFL_LOG_LEVEL = 'INFO'\n")),
        "a default made explicit"
    );
    assert_eq!(before, digests(&EXAMPLE.replace("127.71.2.1", "127.72.2.1")), "where a zone is reached");
    for (from, to, changed) in [
        ("1.41.0\" ", "1.40.0\" ", [true, true, true]),
        ("TIME    = 30", "TIME    = 40", [true, true, true]),
        ("[coordinator]  ", "[coordinator]\nfleet_port = 9999 #", [true, false, false]),
        ("[coordinator]  ", "[coordinator]\naddress = 'hub' #", [true, true, true]),
        ("\"dedicated\" ", "\"embedded\" ", [false, true, false]),
        ("# [site.node_config]", "node_config = { a = 1 } #", [false, true, false]),
        ("supernodes = 2 ", "supernodes = 3 ", [false, true, true]),
        ("supernodes = 2 ", "flower = '1.31.0'\nsupernodes = 2 ", [false, true, false]),
        ("supernodes = 2 ", "flower = '1.41.0'\nsupernodes = 2 ", [false, false, false]),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let after = digests(&EXAMPLE.replace(from, to));
        let differs: Vec<_> = before.iter().zip(&after).map(|(a, b)| a != b).step_by(2).collect();
        assert_eq!(differs, changed, "{from} -> {to}");
    }
}

#[test]
fn a_release_of_its_own_is_named_where_a_site_is_described() {
    let text = EXAMPLE.replacen("supernodes = 2 ", "flower = '1.31.0'\nsupernodes = 2 ", 1);
    let details: Vec<_> = wanted(&parse(&text).unwrap())
        .into_iter()
        .flat_map(|zone| zone.objects)
        .filter(|object| object.kind == ObjectKind::Service)
        .map(|object| object.detail)
        .collect();
    assert_eq!(
        details,
        ["1 SuperLink", "2 SuperNodes + 1 gateway, Flower 1.31.0", "2 SuperNodes + 1 gateway"]
    );
}

#[test]
fn several_parts_may_share_a_zone() {
    let federation = parse(&EXAMPLE.replace("zone       = \"lisbon\"", "zone = \"madrid\"")).unwrap();
    let zones: Vec<_> =
        wanted(&federation).iter().map(|zone| format!("{}: {}", zone.zone, zone.role)).collect();
    assert_eq!(zones, ["madrid: coordinator, site lisbon", "paris: site paris"]);
}

/// A federation in one zone, all in one service.
const SINGLE: &str = "name = 'lab'\n[coordinator]\nzone = 'z'\nsupernodes = 2\n\
    [zone.z]\nendpoint = 'http://z:2633/RPC2'\nnetwork = 1\n";

#[test]
fn one_service_for_a_federation_in_one_place() {
    let federation = parse(SINGLE).unwrap();
    assert_eq!(federation.warnings, []);
    let body = service_template(&federation, Part::Coordinator, &IDS).unwrap();
    assert_eq!((&body["onefed"]["kind"], &body["onefed"]["site"]), (&"single".into(), &Value::Null));
    assert_eq!(body["deployment"], "straight");
    let merge = merge_template(&federation, Part::Coordinator, &Inputs { hub: None, ..inputs(&federation) });
    let merge = merge.unwrap();
    let roles = body["roles"].as_array().unwrap();
    assert_eq!((&roles[0]["name"], &roles[1]["name"]), (&"superlink".into(), &"supernode".into()));
    assert_eq!(
        (&roles[0]["parents"], &roles[1]["parents"]),
        (&Value::Null, &serde_json::json!(["superlink"]))
    );
    assert_eq!(roles[1]["template_id"], IDS.supernode_template);
    let context = context_of(&body, &merge, 1);
    let of = |name: &str| context.get(name).map(String::as_str);
    // It finds the hub by OneGate, and knows the CA all the same.
    assert_eq!((of("FL_SUPERLINK_ADDRESS"), of("FL_SSL_CA_CERTFILE")), (Some(""), Some(CA)));
    assert_eq!((of("FL_GATEWAY"), of("FL_SITE"), of("FL_ENROL_KEY")), (Some("embedded"), None, None));
    assert_eq!((of("FL_PARTITION_BASE"), of("FL_NUM_PARTITIONS")), (Some("0"), Some("2")));
    assert_eq!(context_of(&body, &merge, 0).get("FL_ENROL_KEY").map(String::as_str), Some(KEY));
    let zones = wanted(&federation);
    assert_eq!(zones.len(), 1);
    assert_eq!(zones[0].objects[0].detail, "1 SuperLink + 2 SuperNodes");
    assert_eq!(federation.roles_in(&federation.coordinator.zone), [Role::SuperLink, Role::SuperNode]);
    assert_eq!(crate::LocalNodes::SITE, SiteName::local().as_str(), "as the VMs call it");
}

/// The context of a VM of this role, as OneFlow would put it together.
fn context_of(template: &Value, merge: &Value, role: usize) -> BTreeMap<String, String> {
    let mut context = BTreeMap::new();
    let mut add = |value: &Value| {
        for (key, value) in value.as_object().unwrap() {
            context.insert(key.clone(), value.as_str().unwrap().to_owned());
        }
    };
    add(&template["roles"][role]["template_contents"]["CONTEXT"]);
    add(&merge["user_inputs_values"]);
    add(&merge["roles"][role]["user_inputs_values"]);
    add(&merge["roles"][role]["template_contents"]["CONTEXT"]);
    add(
        &serde_json::json!({ "VMID": "1", "ETH0_IP": "10.0.0.2", "ONEGATE_ENDPOINT": "http://127.0.0.1:5030" }),
    );
    context
}

fn keys(value: &Value) -> Vec<&String> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().collect();
    keys.sort();
    keys
}

/// A line that names a release, or none.
fn any_release() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just("flower = '1.31.0'\n"),
        Just("flower = '1.40.0'\n"),
        Just("flower = '1.41.0'\n")
    ]
}

prop_compose! {
    fn any_plan()(
        sites in proptest::collection::vec((1u32..5, 0u32..4, any::<bool>(), any_release()), 0..5),
        flower in any_release(),
        local in proptest::option::of((1u32..5, 0u32..4)),
        image: bool,
        tls: bool,
        address in proptest::option::of(prop_oneof![Just("203.0.113.10"), Just("hub.example.org"), Just("fd00::1")]),
    ) -> String {
        let mut text = format!("name = 'lab'\n{flower}[variables]\nFL_TLS_ENABLED = {tls}\n[coordinator]\nzone = 'z'\n");
        if let Some(address) = address {
            text.push_str(&format!("address = '{address}'\n"));
        }
        let local = local.or(sites.is_empty().then_some((2, 0)));
        if let Some((min, more)) = local {
            text.push_str(&format!("supernodes = {{ min = {min}, max = {} }}\n", min + more));
            text.push_str("node_config = { place = 'here' }\n");
        }
        text.push_str("[zone.z]\nendpoint = 'http://z:2633/RPC2'\nnetwork = 1\n");
        if image {
            text.push_str(&format!("image = 7\n[install]\nonefed = {{ file = 'onefed', sha256 = '{}' }}\n", "0".repeat(64)));
        }
        for (index, (min, more, embedded, flower)) in sites.into_iter().enumerate() {
            let gateway = if embedded { "embedded" } else { "dedicated" };
            text.push_str(&format!(
                "[[site]]\nname = 's{index}'\nzone = 'z'\nsupernodes = {{ min = {min}, max = {} }}\n\
                 gateway = '{gateway}'\n{flower}node_config = {{ site = 'it is \"s{index}\"' }}\n",
                min + more,
            ));
        }
        text
    }
}

proptest! {
    #[test]
    fn every_declared_input_has_its_value_and_every_vm_a_valid_context(text in any_plan()) {
        let federation = parse(&text).unwrap();
        for part in federation.parts() {
            let template = service_template(&federation, part, &IDS).unwrap();
            let merge = merge_template(&federation, part, &inputs(&federation)).unwrap();
            prop_assert_eq!(keys(&template["user_inputs"]), keys(&merge["user_inputs_values"]));
            let (declared, valued) = (template["roles"].as_array().unwrap(), merge["roles"].as_array().unwrap());
            prop_assert_eq!(declared.len(), valued.len());
            for (index, (declared, valued)) in declared.iter().zip(valued).enumerate() {
                prop_assert_eq!(&declared["name"], &valued["name"]);
                prop_assert_eq!(keys(&declared["user_inputs"]), keys(&valued["user_inputs_values"]));
                for input in declared["user_inputs"].as_object().unwrap() {
                    prop_assert_eq!(input.1.as_str().unwrap().split('|').count(), 5, "{:?}", input);
                    // One level for each variable.
                    prop_assert!(template["user_inputs"].get(input.0).is_none(), "{}", input.0);
                }
                prop_assert!(!declared.to_string().contains("FL_ENROL_KEY"));
                let context = context_of(&template, &merge, index);
                let release = match part {
                    Part::Coordinator => federation.flower,
                    Part::Site(name) => federation.site(name).unwrap().flower,
                };
                prop_assert_eq!(&context["FLOWER_VERSION"], &release.version().to_string());
                let validated = validate(&onefed_context::RawContext::from_pairs(context));
                let unexpected: Vec<_> =
                    validated.problems.iter().filter(|p| p.code != "context::plaintext").collect();
                prop_assert!(unexpected.is_empty(), "{:?}", unexpected);
                prop_assert_eq!(validated.context.unwrap().role().as_str(), declared["name"].as_str().unwrap());
            }
        }
    }

    #[test]
    fn partitions_are_disjoint_and_complete(text in any_plan()) {
        let federation = parse(&text).unwrap();
        let local = federation.coordinator.local.as_ref();
        prop_assert!(local.is_none_or(|local| local.partition.base == 0));
        let mut next = local.map_or(0, |local| local.supernodes.max);
        for site in &federation.sites {
            prop_assert_eq!(site.partition.base, next);
            next += site.supernodes.max;
        }
        let totals = federation.sites.iter().map(|site| site.partition.total);
        prop_assert!(totals.chain(local.map(|local| local.partition.total)).all(|total| total == next));
    }
}
