use onefed_link::stats::{NamedCount, SpokeStats};
use onefed_link::status::{Flow, HubLink, HubStatus, NodeStatus, RefusedSpoke, Said, SpokeLine};

use super::super::model::{CertificateLine, RoleLine, SiteLine, ZoneLine};
use super::*;

fn vm(id: u32, role: &str) -> VmLine {
    VmLine {
        id: Some(id),
        role: role.to_owned(),
        state: "ACTIVE".to_owned(),
        lcm: Some("RUNNING".to_owned()),
        says: "ready".to_owned(),
        error: None,
        address: Some("10.0.0.1".to_owned()),
        node_id: None,
        certificate: None,
    }
}

fn service(name: &str, roles: &[(&str, u32)]) -> ServiceLine {
    let line = |(role, count): &(&str, u32)| RoleLine {
        role: (*role).to_owned(),
        expected: *count,
        vms: Some(*count),
    };
    let vms = roles.iter().flat_map(|(role, count)| (0..*count).map(|id| vm(id, role)));
    ServiceLine {
        zone: "madrid".to_owned(),
        name: name.to_owned(),
        id: Some(1),
        state: "RUNNING".to_owned(),
        why: None,
        as_planned: Some(true),
        doubles: Vec::new(),
        roles: roles.iter().map(line).collect(),
        vms: vms.collect(),
    }
}

fn hub() -> HubStatus {
    let spoke = SpokeLine {
        site: "paris".to_owned(),
        spoke: "gateway".to_owned(),
        connected: true,
        since_seconds: 9,
        peer: "10.0.0.2:1".to_owned(),
        bytes_down: 0,
        bytes_up: 0,
        calls: 0,
        pings_sent: 0,
        pings_acked: 0,
        ping_age_seconds: None,
        rtt_ms: None,
        why: String::new(),
        cuts: 0,
        down: Flow::default(),
        up: Flow::default(),
        held: 0,
        held_seconds_left: None,
        said: Some(Said { age_seconds: 1, stats: SpokeStats { room: true, ..SpokeStats::default() } }),
    };
    let node = NodeStatus { node_id: 7, site: "paris".to_owned(), online: true, seen_seconds: 1, key: None };
    HubStatus {
        schema_version: 1,
        federation: "hospitals".to_owned(),
        flower: "1.41.0".to_owned(),
        site_enrolment: "open".to_owned(),
        superlink: SuperLinkStatus::Up,
        trouble: None,
        certificate_days: 90,
        uptime_seconds: 9,
        spokes: vec![spoke],
        nodes: vec![node],
        runs: Vec::new(),
        refused: 0,
        refused_nodes: Vec::new(),
        refused_spokes: Vec::new(),
        unknown: Vec::new(),
        link: Some(HubLink { room: true, ..HubLink::default() }),
    }
}

/// A federation of which nothing is wrong.
fn well() -> Status {
    Status {
        schema_version: 1,
        federation: "hospitals".to_owned(),
        flower: "1.41.0".to_owned(),
        zones: vec![ZoneLine {
            zone: "madrid".to_owned(),
            version: Some("7.4.0".to_owned()),
            supported: true,
            why: None,
            oneflow_why: None,
        }],
        services: vec![
            service("hospitals-coordinator", &[("superlink", 1)]),
            service("hospitals-paris", &[("gateway", 1), ("supernode", 2)]),
        ],
        sites: vec![SiteLine {
            site: "paris".to_owned(),
            flower: "1.41.0".to_owned(),
            expected: 2,
            online: Some(2),
            spokes_expected: 1,
            spokes_connected: Some(1),
        }],
        hub_address: None,
        hub: Known::Known(hub()),
        certificates: vec![CertificateLine { of: "hub".to_owned(), days: Some(90) }],
        open: Vec::new(),
        problems: Vec::new(),
        healthy: false,
    }
}

fn said(status: &mut Status) -> &mut SpokeStats {
    match &mut of_hub(status).spokes[0].said {
        Some(said) => &mut said.stats,
        None => panic!("the spoke says nothing"),
    }
}

fn of_hub(status: &mut Status) -> &mut HubStatus {
    match &mut status.hub {
        Known::Known(hub) => hub,
        Known::Unknown(why) => panic!("{why}"),
    }
}

#[test]
fn nothing_is_wrong_with_a_whole_federation() {
    assert_eq!(problems(&well()), []);
    // Strangers who were sent away, sites made by hand, or a run that failed, are shown and are no fault of it.
    let mut status = well();
    of_hub(&mut status).refused = 3;
    of_hub(&mut status).nodes.clear();
    assert_eq!(problems(&status), []);
}

#[test]
fn each_thing_that_is_wrong_or_unknown_is_a_reason() {
    use ProblemKind::{Broken, Unknown};
    type Spoil = fn(&mut Status);
    let cases: [(ProblemKind, &str, Spoil); 23] = [
        (Unknown, "zone madrid: gone", |it| it.zones[0].why = Some("zone madrid: gone".into())),
        (Unknown, "OneFlow is gone", |it| it.zones[0].oneflow_why = Some("OneFlow is gone".into())),
        (Broken, "OpenNebula 7.4.0 is not supported", |it| it.zones[0].supported = false),
        (Broken, "there is no service hospitals-paris", |it| it.services[1].state = "absent".into()),
        (Broken, "hospitals-paris is WARNING", |it| it.services[1].state = "WARNING".into()),
        (Broken, "hospitals-paris is not as the plan file says", |it| {
            it.services[1].as_planned = Some(false)
        }),
        (Broken, "another service is called hospitals-paris (#9)", |it| it.services[1].doubles = vec![9]),
        // A VM that was terminated by hand: OneFlow has lowered the cardinality and says RUNNING.
        (Broken, "has 1 of 2 VMs in role supernode", |it| it.services[1].roles[1].vms = Some(1)),
        (Broken, "VM 0 of hospitals-coordinator is POWEROFF", |it| {
            it.services[0].vms[0].state = "POWEROFF".into();
            it.services[0].vms[0].lcm = None;
        }),
        // What it says of itself is as old as the VM's last word.
        (Broken, "VM 0 of hospitals-coordinator is UNKNOWN", |it| {
            it.services[0].vms[0].lcm = Some("UNKNOWN".into());
        }),
        (Broken, "says failed: disk_full: no room", |it| {
            it.services[0].vms[0].says = "failed".into();
            it.services[0].vms[0].error = Some("disk_full: no room".into());
        }),
        (Unknown, "VM 0 of hospitals-coordinator: timed out", |it| {
            it.services[0].vms[0].state = "unknown".into();
            it.services[0].vms[0].says = "timed out".into();
        }),
        (Unknown, "hub: no route", |it| it.hub = Known::Unknown("no route".into())),
        (Broken, "SuperLink is down: x", |it| of_hub(it).superlink = SuperLinkStatus::Down("x".into())),
        (Broken, "the hub is that of federation banks", |it| of_hub(it).federation = "banks".into()),
        (Broken, "SuperLink runs Flower 1.31.0", |it| of_hub(it).flower = "1.31.0".into()),
        (Broken, "site paris: 1 of 2 SuperNodes online", |it| it.sites[0].online = Some(1)),
        (Broken, "site paris: 0 of 1 links up", |it| it.sites[0].spokes_connected = Some(0)),
        (Broken, "the hub: the disk failed: x", |it| of_hub(it).trouble = Some("the disk failed: x".into())),
        (Broken, "the hub: no room on the disk", |it| of_hub(it).link = Some(HubLink::default())),
        (Broken, "site paris: no room on the disk", |it| said(it).room = false),
        (Broken, "asks for the Fleet operation PullSecrets", |it| {
            said(it).unknown.push(NamedCount { name: "PullSecrets".into(), count: 3, seen_seconds: 9 });
        }),
        (Unknown, "certificate hub: it cannot be read", |it| it.certificates[0].days = None),
    ];
    for (kind, words, spoil) in cases {
        let mut status = well();
        spoil(&mut status);
        let found = problems(&status);
        let fits = |problem: &Problem| problem.kind == kind && problem.what.contains(words);
        assert!(found.iter().any(fits), "{words}: {found:?}");
        assert_eq!(found.len(), 1, "one cause is one reason: {found:?}");
    }
}

#[test]
fn certificates_are_a_reason_in_time() {
    for (days, well) in [(-1, false), (0, false), (FEW_DAYS - 1, false), (FEW_DAYS, true)] {
        let mut status = self::well();
        status.certificates[0].days = Some(days);
        assert_eq!(problems(&status).is_empty(), well, "{days}");
    }
}

#[test]
fn a_cut_is_told_with_its_cause_and_with_what_it_may_cost() {
    let mut status = well();
    status.sites[0].spokes_connected = Some(0);
    let told = |status: &Status| problems(status)[0].what.clone();
    {
        let spoke = &mut of_hub(&mut status).spokes[0];
        (spoke.connected, spoke.since_seconds, spoke.why) = (false, 40, "keep-alive timed out".into());
    }
    assert_eq!(told(&status), "site paris: 0 of 1 links up: down for 40 s (keep-alive timed out)");
    {
        let spoke = &mut of_hub(&mut status).spokes[0];
        (spoke.held, spoke.held_seconds_left) = (2, Some(560));
    }
    let text = "site paris: 0 of 1 links up: down for 40 s (keep-alive timed out); 2 SuperNodes are kept online for another \
                9 min: a round waits for them";
    assert_eq!(told(&status), text);
    of_hub(&mut status).spokes.clear();
    assert_eq!(told(&status), "site paris: 0 of 1 links up: no spoke has come to the hub yet");
    let refused = RefusedSpoke {
        site: "paris".into(),
        spoke: "6".into(),
        peer: "127.0.0.1:1".into(),
        why: "this hub speaks version 2 of the link, and the spoke version 1".into(),
        seen_seconds: 2,
    };
    of_hub(&mut status).refused_spokes.push(refused);
    let text = "site paris: 0 of 1 links up: the hub refuses spoke 6: this hub speaks version 2 of the link, and the spoke \
                version 1";
    assert_eq!(told(&status), text);
    // It has not asked for a while: it may have been mended since.
    of_hub(&mut status).refused_spokes[0].seen_seconds = STILL;
    assert_eq!(told(&status), "site paris: 0 of 1 links up: no spoke has come to the hub yet");
    // What a spoke said before it was cut off is no fault of now, and neither is a name of long ago.
    let mut status = well();
    said(&mut status).unknown.push(NamedCount { name: "Old".into(), count: 3, seen_seconds: LATELY });
    assert_eq!(problems(&status), []);
}
