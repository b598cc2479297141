//! What spec/08 and spec/12 say about templates and variables agrees with the code.
//!
//! The tables between marks are made here; `UPDATE_SPEC=1` writes them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use onefed_context::{InputFlag, Placement, Role, TABLE, Variable, variable};
use onefed_federation::by_hand::{ByHand, Kind, VmTemplates};
use serde_json::Value;
use support::spec::{document, repository};

const MULTI: &str = "12-multi-site-federation.md";
const SINGLE: &str = "08-single-site-orchestration.md";

fn hand(kind: Kind) -> ByHand {
    let name = (kind == Kind::Site).then(|| ("FL_SITE".to_owned(), "paris".to_owned()));
    ByHand::new(kind, None, name).unwrap()
}

#[test]
fn tables_of_templates_are_the_codes() {
    held(MULTI, "fields of templates", &fields(&Kind::ALL));
    held(MULTI, "inputs of templates", &inputs());
    held(SINGLE, "fields of templates", &fields(&[Kind::Single]));
}

/// Compares what is between two marks, or writes it.
fn held(name: &str, what: &str, table: &str) {
    let (begin, end) = (format!("<!-- {what}, made by a test -->\n"), "<!-- end -->");
    let text = document(name);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{name} has no mark for {what}"));
    let (is, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_SPEC").is_some() {
        let path = repository().join("spec").join(name);
        std::fs::write(path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(is, table, "{name}: write the {what} anew with UPDATE_SPEC=1");
    }
}

/// A row for each field, a column for each kind.
fn fields(kinds: &[Kind]) -> String {
    let ids = VmTemplates { superlink: 0, supernode: 0 };
    let bodies: Vec<Value> =
        kinds.iter().map(|kind| hand(*kind).service_template(ids, None).unwrap()).collect();
    let mut table = format!("| field |{}\n|---|{}\n", " |".repeat(kinds.len()), "---|".repeat(kinds.len()));
    let mut row = |field: &str, cell: &dyn Fn(&Value) -> Option<String>| {
        let cells: Vec<String> = bodies
            .iter()
            .map(|body| format!(" {} |", cell(body).unwrap_or_else(|| "–".to_owned())))
            .collect();
        let _ = writeln!(table, "| {field} |{}", cells.concat());
    };
    for key in ["name", "deployment", "ready_status_gate", "shutdown_action"] {
        row(&format!("`{key}`"), &|body| Some(plain(&body[key])));
    }
    for name in ["superlink", "supernode"] {
        let of = |body: &Value, key: &str| {
            let role = body["roles"].as_array()?.iter().find(|role| role["name"] == name)?;
            role.get(key).cloned()
        };
        for key in ["cardinality", "min_vms", "max_vms", "shutdown_action", "parents"] {
            row(&format!("role `{name}`: `{key}`"), &|body| Some(plain(&of(body, key)?)));
        }
        row(&format!("role `{name}`: `CONTEXT`"), &|body| {
            let contents = of(body, "template_contents")?;
            let context = contents["CONTEXT"].as_object()?.clone();
            let pairs = context.iter().map(|(name, value)| match name.as_str() {
                "FL_SITE" => format!("`{name}`"),
                _ => format!("`{name}={}`", plain(value)),
            });
            Some(pairs.collect::<Vec<_>>().join(" "))
        });
    }
    table
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A row for each input of any kind.
fn inputs() -> String {
    let mut table = "| input | set at | type | default | onefed | coordinator | site | single |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for row in TABLE.iter().filter(|row| row.placement != Placement::Infrastructure) {
        let cells: Vec<String> = Kind::ALL.iter().map(|kind| asked(&hand(*kind), row)).collect();
        if cells.iter().all(|cell| cell == "–") {
            continue;
        }
        let default = row.default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let (level, kind, effect) = (row.placement.as_str(), row.input.as_str(), row.effect.as_str());
        let _ = writeln!(
            table,
            "| `{}` | {level} | {kind} | {default} | {effect} | {} |",
            row.name,
            cells.join(" | ")
        );
    }
    table
}

/// `M` or `O` and, where the service has two roles, whose input it is.
fn asked(hand: &ByHand, row: &Variable) -> String {
    let has = |of: Option<Role>| hand.inputs(of).iter().any(|input| input.name == row.name);
    let flag = if hand.flag(row) == InputFlag::Mandatory { "M" } else { "O" };
    if has(None) {
        return flag.to_owned();
    }
    let roles: Vec<&str> =
        hand.roles().iter().filter(|role| has(Some(**role))).map(|role| role.as_str()).collect();
    match (roles.is_empty(), hand.roles().len() == 1) {
        (true, _) => "–".to_owned(),
        (false, true) => flag.to_owned(),
        (false, false) => format!("{flag} {}", roles.join(", ")),
    }
}

/// A name that is spelled wrong, or of a variable that is gone, misleads whoever copies it.
#[test]
fn every_variable_that_is_named_is_in_the_table() {
    // What VMs publish, and what stands for several.
    const PUBLISHED: [&str; 10] = [
        "FL_STATE",
        "FL_ENDPOINT",
        "FL_CA_CERT",
        "FL_NODE_ID",
        "FL_ERROR",
        "FL_ERROR_TEXT",
        "FL_READY",
        "FL_CSR",
        "FL_BOOT",
        "FL_WAITING",
    ];
    for name in [MULTI, SINGLE] {
        let text = document(name);
        let words: BTreeSet<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| (word.starts_with("FL_") || *word == "FLOWER_VERSION") && !word.ends_with('_'))
            .collect();
        assert!(words.len() > 10, "{name}");
        for word in words {
            assert!(variable(word).is_some() || PUBLISHED.contains(&word), "{name} names {word}");
        }
    }
}

/// Links between documents lead somewhere.
#[test]
fn links_lead_somewhere() {
    for name in [MULTI, SINGLE] {
        for target in document(name).split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = target.split('#').next().unwrap();
            assert!(repository().join("spec").join(file).exists(), "{name} links to {target}");
        }
    }
}

/// Plans that are shown are plans.
#[test]
fn plans_that_are_shown_are_accepted() {
    let mut shown = 0;
    for name in [MULTI, SINGLE] {
        for block in document(name).split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            let checked = onefed_federation::check(text);
            assert!(checked.federation.is_some(), "{name}: {:?}", checked.errors);
            shown += 1;
        }
    }
    assert!(shown > 0);
}
