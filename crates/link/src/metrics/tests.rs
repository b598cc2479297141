use std::collections::BTreeSet;

use super::*;
use crate::stats::{NamedCount, SpokeStats};
use crate::status::{Flow, NodeStatus, Said};

/// A hub with one spoke that is up and says something, and one that is cut off.
fn hub() -> HubStatus {
    let line = |site: &str, connected: bool| SpokeLine {
        site: site.to_owned(),
        spoke: "7".to_owned(),
        connected,
        since_seconds: 9,
        peer: "10.0.0.2:1".to_owned(),
        bytes_down: 1000,
        bytes_up: 500,
        calls: 4,
        pings_sent: 2,
        pings_acked: 2,
        ping_age_seconds: connected.then_some(3),
        rtt_ms: connected.then_some(20.5),
        why: String::new(),
        cuts: 1,
        down: Flow { objects: 2, content: 900, saved_by_cache: 900, saved_by_codec: 0 },
        up: Flow::default(),
        held: 2,
        held_seconds_left: Some(500),
        said: None,
    };
    let stats = SpokeStats {
        room: true,
        replies: 3,
        unknown: vec![NamedCount { name: "PullSecrets".into(), count: 5, seen_seconds: 1 }],
        ..SpokeStats::default()
    };
    let said = Some(Said { age_seconds: 2, stats });
    let node =
        |node_id| NodeStatus { node_id, site: "paris".to_owned(), online: true, seen_seconds: 1, key: None };
    HubStatus {
        schema_version: 1,
        federation: "hospitals".to_owned(),
        flower: "1.41.0".to_owned(),
        site_enrolment: "open".to_owned(),
        superlink: SuperLinkStatus::Up,
        trouble: None,
        certificate_days: 90,
        uptime_seconds: 9,
        spokes: vec![SpokeLine { said, ..line("paris", true) }, line("a \"b\"\n\\c", false)],
        nodes: vec![node(1), node(2)],
        runs: Vec::new(),
        refused: 0,
        refused_nodes: Vec::new(),
        refused_spokes: Vec::new(),
        unknown: Vec::new(),
        link: Some(HubLink { room: true, suspected: 1, ..HubLink::default() }),
    }
}

#[test]
fn what_a_hub_knows_is_in_its_metrics() {
    let text = render(&hub());
    for line in [
        "onefed_supernodes_online{site=\"paris\"} 2",
        "onefed_link_up{site=\"paris\",spoke=\"7\"} 1",
        "onefed_link_up{site=\"a \\\"b\\\"\\n\\\\c\",spoke=\"7\"} 0",
        "onefed_link_wire_bytes_total{site=\"paris\",spoke=\"7\",direction=\"down\"} 1000",
        "onefed_link_cache_saved_bytes{site=\"paris\",spoke=\"7\",direction=\"down\"} 900",
        "onefed_link_rtt_seconds{site=\"paris\",spoke=\"7\"} 0.0205",
        "onefed_link_spool_replies{site=\"paris\",spoke=\"7\"} 3",
        "onefed_link_unknown_operations_total{site=\"paris\",spoke=\"7\",operation=\"PullSecrets\"} 5",
        "onefed_link_hub_suspected_losses_total 1",
        "onefed_link_hub_disk_ok 1",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    // Of a spoke that says nothing nothing is said.
    assert_eq!(text.matches("onefed_link_spool_replies{").count(), 1);
    // And of a hub that is older than its own part nothing either.
    let older = render(&HubStatus { link: None, ..hub() });
    assert!(!older.contains("\nonefed_link_hub_disk_ok "), "{older}");
}

#[test]
fn the_text_is_what_openmetrics_wants() {
    let text = render(&hub());
    assert!(text.ends_with("\n# EOF\n"));
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("onefed_") && !name.ends_with("_total"), "{name}");
            assert!(seen.insert(name.to_owned()), "{name} twice");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            family = name.to_owned();
        } else if !line.starts_with(&format!("# HELP {family} ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            assert!(name == family || name == format!("{family}_total"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(seen.len(), METRICS.len());
    for metric in METRICS {
        for (values, _) in (metric.samples)(&hub()) {
            assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
        }
        assert!(!metric.help.contains('|') && metric.help.ends_with('.'), "{}", metric.name);
    }
}

#[test]
fn the_page_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/13-monitoring.md");
    let page = include_str!("page.md").replace("{{metrics}}\n", &reference_markdown());
    if std::env::var_os("UPDATE_SPEC").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let how = "differs from the table; write it anew with\n  UPDATE_SPEC=1 cargo test -p onefed-link";
    assert!(file == page, "spec/13-monitoring.md {how}");
}
