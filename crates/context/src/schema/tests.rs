use super::*;
use crate::table::variable;
use crate::validate::cases::{CA, CASES, KEY};
use boon::{Compiler, Draft, SchemaIndex, Schemas};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The schema, compiled; a schema that is none fails here.
static COMPILED: LazyLock<(Schemas, SchemaIndex)> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&context_schema().unwrap()).unwrap();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource("context.json", document).unwrap();
    let index = compiler.compile("context.json", &mut schemas).unwrap();
    (schemas, index)
});

fn accepts(context: Value) -> bool {
    COMPILED.0.validate(&context, COMPILED.1).is_ok()
}

fn one(name: &str, value: &str) -> Value {
    // A gateway asks for these two.
    let around = [("FL_SITE", "paris"), ("FL_SUPERLINK_ADDRESS", "hub"), (name, value)];
    Value::Object(around.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

#[test]
fn the_file_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/context.schema.json");
    let wanted = context_schema().unwrap();
    if std::env::var_os("UPDATE_SPEC").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == wanted,
        "spec/context.schema.json differs from the table; write it anew with\n  UPDATE_SPEC=1 cargo test -p onefed-context"
    );
}

/// What no regular expression can say, so that the schema lets it pass.
const ONLY_CODE_KNOWS: &[(&str, &str)] = &[
    ("FL_LINK_HOLD", "59"),
    ("FL_LINK_HOLD", "3601"),
    ("FL_LINK_DISK", "255"),
    ("FL_LINK_DISK", "16777217"),
    ("FL_NODE_CONFIG", "site=madrid"),
    ("FL_NODE_CONFIG", "a=1,b=2"),
    ("FL_NODE_CONFIG", "a=\"x\u{1b}\""),
    ("VMID", "2147483648"),
    ("FL_PROXIMAL_MU", "1e9999"),
    ("FL_SERVER_LR", "1e-999"),
    ("FL_CLIENT_LR", "1e-999"),
    ("FL_TRIM_BETA", "0.5"),
    ("FL_GPU_MEMORY_FRACTION", "1.1"),
];

#[test]
fn good_values_pass_and_bad_ones_do_not() {
    let mut passed = Vec::new();
    for case in CASES {
        let row = variable(case.name).unwrap();
        for good in case.good.iter().copied().chain(["", row.default.unwrap_or_default()]) {
            assert!(accepts(one(case.name, good)), "{}={good}", case.name);
            let spellings = prefixed(row);
            assert!(spellings.iter().all(|name| accepts(one(name, good))), "ONEAPP_{}={good}", case.name);
        }
        for (bad, _) in case.bad {
            if accepts(one(case.name, bad)) {
                passed.push((case.name, *bad));
            }
        }
        assert!(!accepts(json!({ case.name: 1 })), "{} is a text", case.name);
        let closed_to_forms = row.check("null").is_err();
        assert_eq!(closed_to_forms, !accepts(one(case.name, "null")), "{}", case.name);
    }
    assert_eq!(passed, ONLY_CODE_KNOWS);
}

#[test]
fn whole_contexts() {
    let gateway = json!({ "FL_ROLE": "gateway", "FL_SITE": "paris", "FL_SUPERLINK_ADDRESS": "10.0.0.1",
        "FL_SSL_CA_CERTFILE": CA, "FL_ENROL_KEY": KEY, "TOKEN": "YES", "DISK_ID": "1", "ETH0_MAC": "02:00" });
    assert!(accepts(gateway.clone()));
    let changed = |name: &str, value: Option<&str>| {
        let mut context = gateway.clone();
        let map = context.as_object_mut().unwrap();
        match value {
            Some(value) => map.insert(name.to_owned(), json!(value)),
            None => map.remove(name),
        };
        accepts(context)
    };
    // A gateway cannot be without its site and its hub, in one spelling or the other.
    assert!(
        !changed("FL_SITE", None) && !changed("FL_SITE", Some("")) && !changed("FL_SUPERLINK_ADDRESS", None)
    );
    assert!(changed("ONEAPP_FL_SITE", Some("paris")));
    assert!(
        !changed("FL_SIET", Some("x"))
            && !changed("ONEAPP_FL_SIET", Some("x"))
            && !changed("FLOWER_X", Some(""))
    );
    assert!(!changed("FL_ROLE", Some("hub")) && !changed("ONEAPP_FL_GATEWAY", Some("nowhere")));
    assert!(accepts(json!({ "FL_ROLE": "superlink" })) && accepts(json!({})));
    assert!(!accepts(json!([])));
}

#[test]
fn every_variable_has_its_property() {
    let document: Value = serde_json::from_str(&context_schema().unwrap()).unwrap();
    for row in TABLE {
        let own = &document["properties"][row.name];
        assert_eq!(
            (own["type"].as_str(), own["description"].as_str()),
            (Some("string"), Some(row.description))
        );
        assert_eq!(own["default"].as_str(), row.default, "{}", row.name);
        assert_eq!(own["x-roles"].as_array().unwrap().len(), row.roles.len());
        assert_eq!(own["writeOnly"].as_bool().unwrap_or_default(), row.secret);
        let free = matches!(row.rule, Rule::Text | Rule::NodeConfig);
        assert_eq!(own.get("enum").is_none() && own.get("pattern").is_none(), free, "{}", row.name);
    }
}

proptest! {
    /// The schema is never stricter than a VM.
    #[test]
    fn what_a_vm_accepts_passes(
        row in proptest::sample::select(TABLE),
        text in prop_oneof![
            ".{0,12}",
            "[0-9]{1,6}",
            "[0-9]{0,3}\\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?",
            "[a-z0-9A-Z._/-]{0,20}",
            "[a-z0-9.-]{1,10}:[0-9]{0,5}",
            "\\[?[0-9a-f:]{2,12}\\]?(:[0-9]{1,5})?",
            "( ?(IP|DNS):[*a-z0-9.:]{1,8} ?,?){1,3}",
            "[a-z]{1,5}(\\.[a-z]{2})?(:[0-9]{1,3})?/[a-z]{1,3}:[a-z0-9.]{1,3}",
            "[hH][tT]tps?:/{0,3}[a-z0-9./:]{0,9}",
            "(YES|yes|No|all|0,1|null)",
        ],
    ) {
        if row.check(&text).is_ok() {
            prop_assert!(accepts(one(row.name, &text)), "{}={text:?}", row.name);
        }
    }
}
