use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::diff::{Condition, Existing, ZoneExisting, diff};
use crate::plan::Action;
use crate::{Part, ZoneIds, parse, service_template};

const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A zone with an image, which coordinates, and one with a template of its own, which trains.
fn plan(machine: &str, install: &str) -> Federation {
    let text = format!(
        "name = 'lab'\n[coordinator]\nzone = 'a'\n[[site]]\nname = 's'\nzone = 'a'\nsupernodes = 1\n\
         [[site]]\nname = 't'\nzone = 'b'\nsupernodes = 1\n[zone.a]\nnetwork = 1\n{machine}\n[zone.b]\nnetwork = 1\n\
         [install]\n{install}"
    );
    parse(&text).unwrap_or_else(|why| panic!("{why:?}"))
}

fn usual() -> Federation {
    plan("image = 'Ubuntu 24.04'\ndisk = '20 GiB'\ngateway_template = 9", &from_files("onefed-0.1.0"))
}

fn from_files(onefed: &str) -> String {
    format!(
        "onefed = {{ file = '{onefed}', sha256 = '{SUM}' }}\nflower = {{ file = 'wheels.tar', sha256 = '{SUM}' }}"
    )
}

fn ids() -> ImageIds {
    let files = [("onefed-0.1.0", 21), ("wheels.tar", 22)];
    ImageIds { system: 7, files: files.map(|(name, id)| (name.to_owned(), id)).into() }
}

#[test]
fn the_text_of_a_vm_template() {
    let federation = usual();
    let text = vm_template(&federation, &federation.zones[0], Role::SuperNode, &ids()).unwrap();
    let script = text.lines().find(|line| line.contains("START_SCRIPT_BASE64")).unwrap();
    let script = script.split('"').nth(1).unwrap();
    let decoded = String::from_utf8(STANDARD.decode(script).unwrap()).unwrap();
    assert!(
        decoded.starts_with("#!/bin/sh\n") && decoded.contains("\nFLOWER_VERSION='1.41.0'\n"),
        "{decoded}"
    );
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r#"VERSION = "[^"]+""#, "VERSION = \"[version]\"");
    settings.add_filter(r#"DIGEST = "[0-9a-f]{16}""#, "DIGEST = \"[digest]\"");
    let _guard = settings.bind_to_scope();
    insta::assert_snapshot!(text.replace(script, "(script)"));
}

#[test]
fn what_a_vm_template_cannot_be_made_from() {
    let federation = usual();
    let error = |zone: usize, images: &ImageIds| {
        vm_template(&federation, &federation.zones[zone], Role::Gateway, images).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [error(1, &ids()), error(0, &ImageIds { system: 7, files: BTreeMap::new() })].join("\n"),
        @r"
    `lab-gateway` cannot be made: [zone.b] has no `image`
    `lab-gateway` cannot be made: the id of the image `onefed-0.1.0` is not known
    "
    );
}

#[test]
fn a_label_is_read_as_it_was_written() {
    let federation = usual();
    let text = vm_template(&federation, &federation.zones[0], Role::SuperLink, &ids()).unwrap();
    let label = text.split("ONEFED = [").nth(1).unwrap();
    let pair = |line: &str| {
        let (key, value) = line.trim().trim_end_matches(',').split_once(" = ")?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    };
    let mut attributes: BTreeMap<_, _> = label.lines().filter_map(pair).collect();
    let read = |attributes: &BTreeMap<String, String>| {
        VmTemplateLabel::read(|name| attributes.get(name).map(String::as_str))
    };
    let found = read(&attributes).unwrap();
    assert_eq!((found.federation.as_str(), found.role.as_str()), ("lab", "superlink"));
    assert_eq!(found.digest, super::super::wanted(&federation)[0].objects[0].digest);
    assert_eq!(federation.vm_template_role("lab-superlink"), Some(Role::SuperLink));
    assert_eq!(federation.vm_template_role("lab-lisbon"), None);
    attributes.insert("KIND".to_owned(), "lock".to_owned());
    assert_eq!(read(&attributes), None);
    assert_eq!(read(&BTreeMap::new()), None);
}

/// What is there after everything has been made.
fn done(federation: &Federation) -> Vec<ZoneExisting> {
    let existing = |object: Object| Existing {
        trouble: String::new(),
        facts: Default::default(),
        id: Some(1),
        kind: object.kind,
        name: object.name,
        digest: object.digest,
        state: Condition::Good,
    };
    let zones = super::super::wanted(federation).into_iter();
    zones
        .map(|zone| ZoneExisting {
            zone: zone.zone,
            objects: zone.objects.into_iter().map(existing).collect(),
        })
        .collect()
}

/// What each change of a plan does to kinds of objects in the two zones.
#[test]
fn a_changed_machine_replaces_the_services_of_its_zone() {
    let before = usual();
    let all = done(&before);
    let kinds: Vec<_> = all[0].objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
    assert_eq!(
        kinds[..2],
        [(ObjectKind::VmTemplate, "lab-superlink"), (ObjectKind::VmTemplate, "lab-supernode")]
    );
    assert!(all[1].objects.iter().all(|object| object.kind != ObjectKind::VmTemplate));
    assert!(diff(&before, &all).is_empty());
    let machine = "image = 'Ubuntu 24.04'\ndisk = '20 GiB'\ngateway_template = 9";
    for (machine, install, services) in [
        (machine.replace("20", "30"), from_files("onefed-0.1.0"), true),
        (machine.replace("Ubuntu 24.04", "Debian 12"), from_files("onefed-0.1.0"), true),
        (machine.to_owned(), from_files("onefed-0.1.0").replacen("0123", "f123", 1), true),
        // The same content from elsewhere: for machines to come.
        (machine.to_owned(), from_files("another-name"), false),
    ] {
        let plan = diff(&plan(&machine, &install), &all);
        for change in &plan.zones[0].changes {
            let expected = match change.kind {
                ObjectKind::VmTemplate => Action::Change,
                _ if !services => Action::Keep,
                ObjectKind::ServiceTemplate => Action::Change,
                ObjectKind::Service => Action::Replace,
            };
            assert_eq!(change.action, expected, "{install} {}", change.name);
        }
        assert!(plan.zones[1].changes.iter().all(|change| change.action == Action::Keep), "{install}");
    }
}

/// One VM template for sites of several releases: each VM's context says which one it is to install.
#[test]
fn another_release_at_a_site_leaves_vm_templates_alone() {
    let text = |flower: &str| {
        format!(
            "name = 'lab'\n[coordinator]\nzone = 'a'\n[[site]]\nname = 's'\nzone = 'a'\nsupernodes = 1\n{flower}\
             [zone.a]\nnetwork = 1\nimage = 7\n[install]\n{}",
            from_files("onefed-0.1.0")
        )
    };
    let (before, after) = (parse(&text("")).unwrap(), parse(&text("flower = '1.31.0'\n")).unwrap());
    let plan = diff(&after, &done(&before));
    let changed: Vec<_> = plan
        .changes()
        .filter(|change| change.action != Action::Keep)
        .map(|change| (change.action, change.name.as_str()))
        .collect();
    assert_eq!(changed, [(Action::Change, "lab-s"), (Action::Replace, "lab-s")]);
}

#[test]
fn vm_templates_go_last() {
    let federation = usual();
    let mut all = done(&federation);
    let mut moved = all.remove(0);
    moved.zone = ZoneName::new("old").unwrap();
    let plan = diff(&federation, &[moved]);
    let last = plan.zones.last().unwrap();
    let kinds: Vec<_> = last.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds.first(), Some(&ObjectKind::Service));
    assert_eq!(kinds.last(), Some(&ObjectKind::VmTemplate));
    assert!(last.changes.iter().all(|change| change.action == Action::Remove));
}

#[test]
fn services_use_the_made_templates() {
    let federation = usual();
    let ids = ZoneIds { superlink_template: 31, gateway_template: 9, supernode_template: 33, network: 1 };
    let site = Part::Site(&federation.sites[0].name);
    let body = service_template(&federation, site, &ids).unwrap();
    assert_eq!(body["roles"][0]["template_id"], 9);
    assert_eq!(body["roles"][1]["template_id"], 33);
    assert!(!body.to_string().contains("START_SCRIPT"));
}

proptest! {
    /// OpenNebula's reading of a quoted value gives back what was quoted.
    #[test]
    fn quoting_is_undone_by_reading(value in "(?s)[^\0]*") {
        let quoted = quote(&value);
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        let (mut read, mut chars) = (String::new(), inner.chars());
        while let Some(c) = chars.next() {
            prop_assert!(c != '"', "an open quote in {}", quoted);
            read.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        prop_assert_eq!(read, value);
    }
}
