use onefed_federation::{check, parse};
use proptest::prelude::*;

use super::super::choose::{Choice, Reference, Site, Used};
use super::super::zone::{Object, Zone};
use super::*;

fn used(name: &str, called: &str, template: &str, network: &str) -> Used {
    let mut found = Zone::new(name.to_owned(), called.to_owned(), Some(0));
    found.version = Some("7.4.0".to_owned());
    let objects = |name: &str| Some(vec![Object { id: 0, name: name.to_owned() }]);
    (found.templates, found.networks, found.images) = (objects(template), objects(network), objects(called));
    Used {
        endpoint: format!("http://{name}.example.org:2633/RPC2").parse().unwrap(),
        oneflow: format!("http://{name}.example.org:2474").parse().unwrap(),
        template: Reference::Name(template.to_owned()),
        network: Reference::Name(network.to_owned()),
        found,
    }
}

fn choice(zones: Vec<Used>) -> Choice {
    let sites = zones.iter().map(|used| Site {
        name: used.found.zone.clone(),
        zone: used.found.zone.clone(),
        supernodes: 2,
    });
    Choice {
        name: "hospitals".to_owned(),
        flower: "1.41.0".to_owned(),
        mode: "routed".to_owned(),
        coordinator: zones[0].found.zone.clone(),
        address: None,
        sites: sites.collect(),
        zones,
    }
}

fn plain() -> Choice {
    choice(vec![used("madrid", "Madrid", "onefed", "private"), used("paris", "paris", "onefed", "private")])
}

#[test]
fn the_file() {
    let text = render(&plain());
    let checked = check(&text);
    assert_eq!((checked.errors, checked.warnings), (vec![], vec![]));
    insta::assert_snapshot!(text);
}

/// Each line that shows an optional key is a line that can be used: there is such a key, and its value is one.
#[test]
fn what_is_shown_in_comments_is_true() {
    let text = render(&plain());
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = 0;
    for at in 0..lines.len() {
        let Some(setting) = lines[at].strip_prefix("# ") else { continue };
        let is_key = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let key = setting.split_once(" = ").map(|(key, _)| key.trim()).filter(|key| is_key(key));
        let Some(key) = key else { continue };
        shown += 1;
        let mut edited: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        edited[at] = setting.to_owned();
        if ["onefed", "index", "requirements"].contains(&key) || setting.starts_with("flower = {") {
            // A table of its own, whose placeholders are no checksums.
            edited[at] = format!("[install]\n{setting}");
            let errors = check(&edited.join("\n")).errors;
            let unknown = errors.iter().find(|error| error.code == "plan::unknown-key");
            assert_eq!(unknown, None, "{setting}");
            continue;
        }
        if ["image", "cpu", "memory", "disk"].contains(&key) {
            // In place of a template.
            edited.iter_mut().filter(|line| line.starts_with("template ")).for_each(String::clear);
            if key != "image" {
                edited[at].push_str("\nimage = \"x\"");
            }
            edited.push(
                "[install]\nonefed = { url = \"https://x/onefed\", sha256 = \"".to_owned()
                    + &"0".repeat(64)
                    + "\" }",
            );
        }
        let errors = check(&edited.join("\n")).errors;
        assert_eq!(errors, vec![], "{setting}");
    }
    assert!(shown > 25, "{shown} settings are shown");
}

#[test]
fn texts_are_quoted() {
    assert_eq!(quoted("a\"b\\c\n\u{7f}é"), r#""a\"b\\c\u000A\u007Fé""#);
}

/// Names as no administrator gives them: they go into strings, and into comments.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,20}",
        any::<String>(),
        Just("'''\"\"\" # [zone.x]\nname = \"other\"".to_owned()),
        Just("x\r\n[variables]\nFL_TLS_ENABLED = \"NO\"".to_owned()),
        Just("\u{0}\u{7f}\u{85}\u{2028}\\".to_owned()),
        "[0-9]{1,12}",
    ]
}

proptest! {
    #[test]
    fn whatever_things_are_called_it_is_a_plan(
        names in prop::collection::vec((odd(), odd(), odd()), 1..4),
        auth in odd(),
        version in odd(),
    ) {
        let zones: Vec<Used> = (0..)
            .zip(&names)
            .map(|(at, (called, template, network))| {
                let mut used = used(&format!("zone-{at}"), called, template, network);
                (used.found.auth, used.found.version) = (Some(auth.clone()), Some(version.clone()));
                used
            })
            .collect();
        let blank = |name: &String| name.trim().is_empty();
        prop_assume!(!names.iter().any(|(_, template, network)| blank(template) || blank(network)));
        let text = render(&choice(zones));
        let plan = parse(&text).map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{text}")))?;
        prop_assert!(plan.tls, "a name has become a setting");
        prop_assert_eq!(plan.zones.len(), names.len());
        for (zone, (_, _, network)) in plan.zones.iter().zip(&names) {
            prop_assert_eq!(&zone.network, &onefed_federation::Reference::Name(network.clone()));
            prop_assert_eq!(zone.auth.as_ref(), Some(&auth));
        }
    }
}
