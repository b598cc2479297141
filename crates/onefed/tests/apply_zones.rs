//! Zones that are down, before and in the middle; names that are somebody else's; a state directory that has forgotten
//! everything but the root CA. Second octets: 233 to 238.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use onefed_opennebula::template;
use support::{Desk, DryZones, Proxies, Verdict, replaced, run, run_within, until};

/// The example behind proxies, and without keys that would be registered at a hub.
fn plan(desk: &Desk) {
    desk.plan(|plan| Proxies::through(desk, plan) + "\nFL_NODE_AUTH = \"NO\"\n");
}

/// The state of each zone in an apply's document.
fn states(document: &serde_json::Value) -> Vec<String> {
    let zones = document["zones"].as_array().unwrap().iter();
    zones
        .map(|zone| format!("{} {}", zone["zone"].as_str().unwrap(), zone["state"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_site_whose_zone_is_down_is_for_the_next_apply() {
    let desk = Desk::new("zones-site-down", 233);
    let (zones, proxies) = (DryZones::up(&desk), Proxies::up(&desk));
    plan(&desk);
    proxies.down(&["lisbon"]);
    let first = run(&mut desk.onefed("apply")).expect(69);
    for said in
        ["zone paris (site paris): done", "zone lisbon (site lisbon): down", "error[zone-unreachable]"]
    {
        assert!(first.stderr.contains(said), "{said}: {}", first.stderr);
    }
    assert_eq!(zones.objects("hospitals-").len(), 4);
    let again = run(&mut desk.onefed("apply --format json")).expect(69).json();
    assert_eq!(states(&again), ["madrid done", "paris done", "lisbon down"]);
    assert_eq!(again["error"]["code"], "zone-unreachable");
    proxies.heal();
    run(&mut desk.onefed("apply")).expect(0);
    assert_eq!(zones.objects("hospitals-").len(), 6);

    // The way back: the rest goes, and the next one completes it.
    proxies.down(&["lisbon"]);
    let removal = run(&mut desk.onefed("destroy --yes")).expect(69);
    assert!(removal.stderr.contains("zone lisbon"), "{}", removal.stderr);
    assert_eq!(
        zones.objects("hospitals-"),
        ["lisbon service hospitals-lisbon", "lisbon template hospitals-lisbon"]
    );
    proxies.heal();
    run(&mut desk.onefed("destroy --yes")).expect(0);
    assert_eq!(zones.objects("hospitals-"), Vec::<String>::new());
    assert_eq!(zones.locks(), Vec::<String>::new());
}

#[test]
fn without_the_coordinators_zone_sites_are_made_and_wait() {
    let desk = Desk::new("zones-hub-down", 234);
    let (zones, proxies) = (DryZones::up(&desk), Proxies::up(&desk));
    desk.plan(|plan| {
        let plan = replaced(
            &plan,
            "# address = \"203.0.113.10\" ",
            &format!("address = \"{}\" ", desk.address("1.10")),
        );
        Proxies::through(&desk, plan) + "\nFL_NODE_AUTH = \"NO\"\n"
    });
    proxies.down(&["madrid"]);
    // Their gateways ask for certificates and get them; that is as far as they come.
    let first = run(&mut desk.onefed("apply --format json")).expect(69);
    assert!(
        first.stderr.contains("zone madrid does not answer, so the lock is in zone paris"),
        "{}",
        first.stderr
    );
    let first = first.json();
    assert_eq!(states(&first), ["paris waiting", "lisbon waiting", "madrid down"]);
    assert_eq!(zones.objects("hospitals-").len(), 4, "the sites were not made");
    assert_eq!(zones.locks(), Vec::<String>::new());
    proxies.heal();
    run(&mut desk.onefed("apply")).expect(0);
    assert_eq!(zones.objects("hospitals-").len(), 6);
    run(&mut desk.onefed("plan")).expect(0);
}

#[test]
fn a_zone_that_goes_down_in_the_middle_is_for_the_next_apply() {
    let desk = Desk::new("zones-middle", 235);
    let (zones, proxies) = (DryZones::up(&desk), Proxies::up(&desk));
    plan(&desk);
    // From the first service on, paris is not heard of.
    let mut gone = false;
    proxies.judge(move |zone, what| {
        gone |= zone == "paris" && what.starts_with("POST /service_template/");
        if gone && zone == "paris" { Verdict::Lost } else { Verdict::Pass }
    });
    let first = run_within(&mut desk.onefed("apply --format json"), Duration::from_secs(120)).expect(69);
    assert_eq!(states(&first.json()), ["madrid done", "paris down", "lisbon done"], "{}", first.stderr);
    proxies.heal();
    run(&mut desk.onefed("apply")).expect(0);
    assert_eq!(zones.objects("hospitals-").len(), 6, "{:#?}", zones.objects("hospitals-"));
    run(&mut desk.onefed("plan")).expect(0);
}

#[test]
fn the_lock_follows_when_its_zone_goes_down() {
    let desk = Desk::new("zones-lock", 236);
    let (zones, proxies) = (DryZones::up(&desk), Proxies::up(&desk));
    plan(&desk);
    zones.pause(true);
    let mut apply = desk.onefed("apply");
    let child = apply.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("all is made", || (zones.objects("hospitals-").len() == 6).then_some(()));
    proxies.down(&["madrid"]);
    until("the lock is in paris too", || {
        zones.locks().iter().any(|lock| lock.starts_with("paris")).then_some(())
    });
    zones.pause(false);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{text}");
    // Its VMs are there or on their way, as the hub was given up a moment before or after.
    let paris = |how: &str| text.contains(&format!("zone paris (site paris): {how}"));
    assert!(paris("done") || paris("waiting"), "{text}");
    // What is left in the zone that is down goes with the next one.
    assert_eq!(zones.locks(), ["madrid VM template onefed-lock-hospitals"]);
    proxies.heal();
    run(&mut desk.onefed("apply")).expect(0);
    assert_eq!(zones.locks(), Vec::<String>::new());
}

#[test]
fn the_state_directory_is_a_cache_but_for_the_root_ca() {
    let desk = Desk::new("zones-cache", 237);
    let zones = DryZones::up(&desk);
    plan_direct(&desk);
    // The coordinator is ready, the gateways have still to ask: their keys must be found again.
    zones.pause(true);
    let mut child = desk.onefed("apply");
    let mut child = child.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("all is made", || (zones.objects("hospitals-").len() == 6).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    forget_all_but(&desk, &["ca.pem", "ca.key"]);
    let plan = run(&mut desk.onefed("plan")).expect(0);
    assert!(plan.stdout.contains("Plan: 0 to create, 0 to change, 0 to remove"), "{}", plan.stdout);
    zones.pause(false);
    let apply = run(&mut desk.onefed("apply")).expect(0);
    assert!(apply.stderr.contains("paris: signed the certificate of VM 0"), "{}", apply.stderr);
    assert!(desk.path(".onefed/inventory.json").exists() && desk.path(".onefed/operator.pem").exists());

    // Without the key too, as long as nothing has to be signed.
    forget_all_but(&desk, &["ca.pem"]);
    run(&mut desk.onefed("apply")).expect(0);
    // Another federation's plan is still told apart, by the certificate alone.
    desk.write("other.toml", &replaced(&desk.example(), "name   = \"hospitals\"", "name   = \"clinics\""));
    let other = run(&mut desk.onefed("apply -f other.toml")).expect(65);
    assert!(other.stderr.contains("error[other-federation]"), "{}", other.stderr);
    // Without the certificate there is no way on: a new one would lock all VMs out.
    forget_all_but(&desk, &[]);
    let refused = run(&mut desk.onefed("apply")).expect(78);
    assert!(refused.stderr.contains("error[root-missing]"), "{}", refused.stderr);
    assert!(!desk.path(".onefed/ca.pem").exists());
    // Nor with another one.
    run(&mut desk.onefed("destroy --yes")).expect(0);
    assert_eq!(zones.objects("hospitals-"), Vec::<String>::new());
}

fn plan_direct(desk: &Desk) {
    desk.plan(|plan| plan + "\nFL_NODE_AUTH = \"NO\"\n");
}

fn forget_all_but(desk: &Desk, keep: &[&str]) {
    for entry in std::fs::read_dir(desk.path(".onefed")).unwrap().flatten() {
        if !keep.iter().any(|name| entry.file_name() == *name) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn what_is_somebody_elses_is_not_touched() {
    let desk = Desk::new("zones-others", 238);
    let zones = DryZones::up(&desk);
    plan_direct(&desk);
    // A federation whose name begins as ours does, and things without a label.
    let other = desk.example().replace("name   = \"hospitals\"", "name   = \"hospitals-b\"");
    desk.write("b.toml", &(other + "\nFL_NODE_AUTH = \"NO\"\n"));
    run(&mut desk.onefed("apply -f b.toml --state b")).expect(0);
    let text = template::attributes(&[("NAME", "hospitals-notes"), ("CPU", "1"), ("MEMORY", "128")]).unwrap();
    zones.block_on(zones.xmlrpc("paris").template_allocate(&text)).unwrap();
    let before = zones.objects("hospitals-");
    run(&mut desk.onefed("apply")).expect(0);
    run(&mut desk.onefed("destroy --yes")).expect(0);
    assert_eq!(zones.objects("hospitals-"), before);
    run(&mut desk.onefed("plan -f b.toml")).expect(0);

    // A zone that leaves the plan file is named, and not forgotten.
    let one_zone_less = |plan: String| {
        let site = plan.find("[[site]]\nname       = \"lisbon\"").unwrap();
        let zone = plan.find("[zone.madrid]").unwrap();
        let lisbon = plan.find("[zone.lisbon]").unwrap();
        let variables = plan.find("[variables]").unwrap();
        format!("{}{}{}", &plan[..site], &plan[zone..lisbon], &plan[variables..])
    };
    run(&mut desk.onefed("apply")).expect(0);
    desk.plan(|plan| one_zone_less(plan) + "\nFL_NODE_AUTH = \"NO\"\n");
    let apply = run(&mut desk.onefed("apply --yes")).expect(0);
    assert!(
        apply.stderr.contains("warning: zone lisbon is not in the plan file any more"),
        "{}",
        apply.stderr
    );
    let removal = run(&mut desk.onefed("destroy --yes")).expect(69);
    assert!(removal.stderr.contains("error[zone-not-in-plan]: zone lisbon"), "{}", removal.stderr);
    plan_direct(&desk);
    run(&mut desk.onefed("destroy --yes")).expect(0);
    assert_eq!(zones.objects("hospitals-"), before);
    let again = run(&mut desk.onefed("destroy --yes")).expect(0);
    assert!(again.stderr.contains("nothing of federation hospitals is deployed"), "{}", again.stderr);
}
