use super::*;
use crate::objects::{Inputs, ZoneIds, merge_template, service_template, vm_template};
use crate::parse;
use onefed_context::Secret;
use proptest::prelude::*;
use serde_json::json;

const EXAMPLE: &str = include_str!("../../../../../examples/three-zones.toml");
const KEY: &str = "q1w2e3r4t5y6u7i8o9p0-_q1w2e3r4t5";
const CA: &str = "LS0tLS1CRUdJTi";

const IDS: ZoneIds =
    ZoneIds { superlink_template: 3, gateway_template: 4, supernode_template: 5, network: 6 };

fn names() -> Names {
    let named = |id: u32, name: &str| (id, name.to_owned());
    Names {
        templates: [named(3, "onefed"), named(4, "onefed"), named(5, "onefed")].into(),
        networks: [named(6, "private"), named(7, "lab")].into(),
        images: [named(9, "Debian 12")].into(),
    }
}

/// A part's service as OneFlow keeps it: the template with what was merged into it.
fn service_body(federation: &Federation, part: Part<'_>) -> Value {
    let inputs = Inputs {
        ca_pem_base64: CA.to_owned(),
        ca_fingerprint: format!("sha256:{}", "0".repeat(64)),
        hub: Some("10.71.1.2:9092".parse().unwrap()),
        enrol_keys: federation.parts().map(|part| (federation.object_name(part), Secret::new(KEY))).collect(),
    };
    let mut body = service_template(federation, part, &IDS).unwrap();
    merge(&mut body, &merge_template(federation, part, &inputs).unwrap());
    body
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            into.iter_mut().zip(from).for_each(|(into, from)| merge(into, from));
        }
        (into, from) => *into = from.clone(),
    }
}

fn paris(federation: &Federation) -> Part<'_> {
    Part::Site(&federation.sites[0].name)
}

/// What is said of the service of site paris when the plan becomes another one.
fn said(from: &str, to: &str) -> Vec<String> {
    assert!(EXAMPLE.contains(from), "{from}");
    let before = parse(EXAMPLE).unwrap();
    let facts = Facts::of_document(&service_body(&before, paris(&before)), &names());
    let after = parse(&EXAMPLE.replace(from, to)).unwrap();
    let zone = &after.sites[0].zone;
    let wanted = Facts::wanted(&after, zone, ObjectKind::Service, &after.object_name(paris(&after)));
    facts.differences(&wanted).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_as_wanted_has_no_difference() {
    for text in [EXAMPLE.to_owned(), EXAMPLE.replace("\"dedicated\" ", "\"embedded\" ")] {
        let federation = parse(&text).unwrap();
        for part in federation.parts() {
            let (zone, name) = match part {
                Part::Coordinator => (&federation.coordinator.zone, federation.object_name(part)),
                Part::Site(site) => (&federation.site(site).unwrap().zone, federation.object_name(part)),
            };
            let template = service_template(&federation, part, &IDS).unwrap();
            for (kind, body) in [
                (ObjectKind::ServiceTemplate, template),
                (ObjectKind::Service, service_body(&federation, part)),
            ] {
                let have = Facts::of_document(&body, &names());
                let wanted = Facts::wanted(&federation, zone, kind, &name);
                assert_eq!(have.differences(&wanted), [], "{name}");
                assert_eq!(have.made_by, wanted.made_by);
            }
        }
    }
}

#[test]
fn each_change_has_its_words() {
    insta::assert_debug_snapshot!([
        said("supernodes = 2                #", "supernodes = { min = 2, max = 10 } #"),
        said("\"dedicated\" ", "\"embedded\" "),
        said("TIME    = 30", "TIME    = 40"),
        said("1.41.0\" ", "1.40.0\" "),
        said("supernodes = 2                #", "flower = '1.31.0'\nsupernodes = 2 #"),
        said("network  = \"private\"\n", "network = \"lab\"\n"),
        said("network  = \"private\"\n", "network = 8\n"),
        said("template = \"onefed\"\n", "template = \"onefed-2\"\n"),
        said("# address = \"203.0.113.10\"", "address = \"203.0.113.10\""),
        said("[variables] ", "[variables]\nFL_TLS_ENABLED = false\n#"),
        said("[variables] ", "[variables]\nFL_LOG_LEVEL = 'DEBUG'\n#"),
        said(
            "# [site.node_config]",
            "node_config = { department = \"a name that goes on and on and on and on and on and on\" }\n#"
        ),
    ]);
}

#[test]
fn vm_templates_are_compared_by_what_a_reader_knows() {
    let text = EXAMPLE.replacen("template = \"onefed\"", "image = \"Debian 12\" #", 1)
        + &format!(
            "\n[install]\nonefed = {{ url = \"https://x.example.org/a\", sha256 = \"{}\" }}\n",
            "0".repeat(64)
        );
    let said = |from: &str, to: &str| -> Vec<String> {
        let before = parse(&text).unwrap();
        let zone = before.zone(&before.coordinator.zone).unwrap();
        let images = crate::ImageIds { system: 9, ..Default::default() };
        let stored = vm_template(&before, zone, onefed_context::Role::SuperLink, &images).unwrap();
        let get = |vector: &str, key: &str| attribute(&stored, vector, key);
        let have = Facts::of_vm_template(get, &names());
        let after = parse(&text.replace(from, to)).unwrap();
        let name = after.vm_template_name(onefed_context::Role::SuperLink);
        let wanted = Facts::wanted(&after, &after.coordinator.zone, ObjectKind::VmTemplate, &name);
        have.differences(&wanted).iter().map(ToString::to_string).collect()
    };
    assert_eq!(said("nothing", "nothing"), Vec::<String>::new());
    assert_eq!(
        said("image = \"Debian 12\"", "memory = 8192\nimage = 10"),
        ["image: Debian 12 -> #10", "memory: 4096 MiB -> 8192 MiB"]
    );
    assert_eq!(said("x.example.org/a", "x.example.org/b"), ["start script: another one"]);
}

/// An attribute of template text as onefed writes it.
fn attribute<'t>(text: &'t str, vector: &str, key: &str) -> Option<&'t str> {
    let inside = match vector {
        "" => text,
        _ => {
            let from = text.find(&format!("{vector} = ["))?;
            text[from..].split_once("\n]")?.0
        }
    };
    let line = inside.lines().find(|line| line.trim_start().starts_with(&format!("{key} = ")))?;
    Some(line.split_once(" = ")?.1.trim_end_matches(',').trim_matches('"'))
}

#[test]
fn nothing_of_secrets_and_trust_is_a_fact() {
    let federation = parse(EXAMPLE).unwrap();
    for part in federation.parts() {
        let body = service_body(&federation, part);
        assert!(part == Part::Coordinator || body.to_string().contains(KEY) && body.to_string().contains(CA));
        let facts = format!("{:?}", Facts::of_document(&body, &names()));
        for secret in [KEY, CA, "sha256:", "FL_ENROL_KEY"] {
            assert!(!facts.contains(secret), "{secret} in {facts}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let keys = "(roles|name|user_inputs|user_inputs_values|template_contents|CONTEXT|NIC|NETWORK_ID|min_vms|max_vms|onefed|FL_SITE|FL_LOG_LEVEL|[a-z]{1,3})";
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_panics(mut body in any_json(), as_role: bool) {
        if as_role {
            body = json!({ "roles": [{ "name": "supernode", "template_contents": body.clone() }, body] });
        }
        let federation = parse(EXAMPLE).unwrap();
        let facts = Facts::of_document(&body, &names());
        let site = &federation.sites[0];
        let wanted = Facts::wanted(&federation, &site.zone, ObjectKind::Service, "hospitals-paris");
        let (one, again) = (facts.differences(&wanted), facts.differences(&wanted));
        prop_assert_eq!(&one, &again);
        prop_assert!(facts.differences(&facts).is_empty());
        for difference in one {
            prop_assert!(difference.to_string().lines().count() == 1, "{}", difference);
        }
    }
}
