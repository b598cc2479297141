use onefed_link::stats::NamedCount;
use onefed_link::status::{Flow, RefusedSpoke, Said, SuperLinkStatus};
use onefed_link::unknown::UnknownOperation;

use super::*;

fn line(site: &str, spoke: &str) -> SpokeLine {
    SpokeLine {
        site: site.to_owned(),
        spoke: spoke.to_owned(),
        connected: true,
        since_seconds: 4000,
        peer: "10.0.0.2:51234".to_owned(),
        bytes_down: 101_000_000,
        bytes_up: 99_000_000,
        calls: 400,
        pings_sent: 9,
        pings_acked: 9,
        ping_age_seconds: Some(12),
        rtt_ms: Some(101.4),
        why: String::new(),
        cuts: 1,
        down: Flow { objects: 40, content: 100_000_000, saved_by_cache: 300_000_000, saved_by_codec: 0 },
        up: Flow { objects: 40, content: 99_000_000, saved_by_cache: 0, saved_by_codec: 30_000_000 },
        held: 0,
        held_seconds_left: None,
        said: Some(Said { age_seconds: 3, stats: SpokeStats { room: true, ..SpokeStats::default() } }),
    }
}

fn hub(spokes: Vec<SpokeLine>) -> HubStatus {
    HubStatus {
        schema_version: 1,
        federation: "hospitals".to_owned(),
        flower: "1.41.0".to_owned(),
        site_enrolment: "open".to_owned(),
        superlink: SuperLinkStatus::Up,
        trouble: None,
        certificate_days: 90,
        uptime_seconds: 9,
        spokes,
        nodes: Vec::new(),
        runs: Vec::new(),
        refused: 0,
        refused_nodes: Vec::new(),
        refused_spokes: Vec::new(),
        unknown: Vec::new(),
        link: Some(HubLink { room: true, ..HubLink::default() }),
    }
}

#[test]
fn a_line_for_each_spoke_with_what_people_need() {
    let mut cut = line("lisbon", "4");
    (cut.connected, cut.since_seconds, cut.held, cut.held_seconds_left) = (false, 70, 2, Some(555));
    let mut full = line("paris", "9");
    if let Some(said) = &mut full.said {
        said.stats.room = false;
        (said.stats.replies, said.stats.messages, said.stats.disk_needed_bytes) = (1, 2, 96_000_000);
        said.stats.unknown.push(NamedCount { name: "PullSecrets".into(), count: 3, seen_seconds: 1 });
    }
    let mut new = line("paris", "8");
    (new.said, new.ping_age_seconds, new.rtt_ms) = (None, None, None);
    (new.down, new.up) = (Flow::default(), Flow::default());
    let mut hub = hub(vec![cut, new, full]);
    hub.unknown.push(UnknownOperation { name: "push-secrets".into(), count: 1, seen_seconds: 5 });
    hub.link = Some(HubLink { room: true, suspected: 1, given_up: 2, ..HubLink::default() });
    hub.refused_spokes.push(RefusedSpoke {
        site: "rome".into(),
        spoke: "1".into(),
        peer: "10.0.0.9:1".into(),
        why: "this hub speaks link protocol 2".into(),
        seen_seconds: 3,
    });
    insta::assert_snapshot!(links(&hub));
}

#[test]
fn what_was_saved_counts_what_crossed() {
    assert_eq!(line("paris", "9").saved_percent().map(f64::round), Some(62.0));
    let nothing = SpokeLine { down: Flow::default(), up: Flow::default(), ..line("paris", "9") };
    assert_eq!(nothing.saved_percent(), None);
}
