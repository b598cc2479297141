//! What `apply` makes of a plan with plain images, and what it does with a plan that was looked at before. Second
//! octets: 233, 234.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use onefed_opennebula::template;
use support::{Desk, DryZones, replaced, run};

/// The example with VM templates that onefed makes in paris.
fn plan_with_an_image(desk: &Desk, memory: u32) {
    desk.plan(|plan| {
        let paris = plan.find("[zone.paris]").unwrap();
        let (before, after) = plan.split_at(paris);
        let image = format!("image    = \"Ubuntu 24.04\"\nmemory   = {memory}\n");
        let after = after.replacen("template = \"onefed\"\n", &image, 1);
        let sha = "0".repeat(64);
        let install =
            format!("[install]\nonefed = {{ url = \"https://example.org/onefed\", sha256 = \"{sha}\" }}\n\n");
        let plan = format!("{before}{after}").replace("[variables]", &format!("{install}[variables]"));
        plan + "\nFL_NODE_AUTH = \"NO\"\n"
    });
}

#[test]
fn vm_templates_are_made_changed_and_removed_like_the_rest() {
    let desk = Desk::new("objects-vm", 233);
    let zones = DryZones::up(&desk);
    plan_with_an_image(&desk, 4096);
    // Somebody else's template has a name that is wanted: nothing is made, anywhere.
    let text = template::attributes(&[("NAME", "hospitals-gateway"), ("CPU", "1")]).unwrap();
    let foreign = zones.block_on(zones.xmlrpc("paris").template_allocate(&text)).unwrap();
    let refused = run(&mut desk.onefed("apply")).expect(78);
    assert!(
        refused.stderr.contains("error[name-taken]: zone paris: there is a VM template hospitals-gateway"),
        "{}",
        refused.stderr
    );
    assert_eq!(zones.objects("hospitals-"), ["paris VM template hospitals-gateway"]);
    assert!(!desk.path(".onefed/ca.key").exists());
    zones.block_on(zones.xmlrpc("paris").template_delete(&foreign, false)).unwrap();

    run(&mut desk.onefed("apply")).expect(0);
    let templates = ["paris VM template hospitals-gateway", "paris VM template hospitals-supernode"];
    let made: Vec<String> =
        zones.objects("hospitals-").into_iter().filter(|it| it.contains("VM template")).collect();
    assert_eq!(made, templates);
    run(&mut desk.onefed("plan")).expect(0);
    let ids = |zones: &DryZones| -> Vec<u32> {
        let all = zones.templates("paris").into_iter();
        all.filter(|it| it.name.starts_with("hospitals-")).map(|it| it.id.id).collect()
    };
    let before = ids(&zones);
    // The services are made from them.
    let service = zones.block_on(zones.oneflow("paris").services()).unwrap().remove(0);
    let used: Vec<u64> = service.body["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["template_id"].as_u64().unwrap())
        .collect();
    assert_eq!(used, before.iter().map(|id| u64::from(*id)).collect::<Vec<_>>());

    // Changed in place.
    plan_with_an_image(&desk, 8192);
    run(&mut desk.onefed("apply --yes")).expect(0);
    assert_eq!(ids(&zones), before);
    for it in zones.templates("paris").into_iter().filter(|it| before.contains(&it.id.id)) {
        assert_eq!(it.attributes.text("MEMORY"), Some("8192"));
    }
    run(&mut desk.onefed("plan")).expect(0);

    // Not wanted any more: they go after the services that were made from them.
    desk.plan(|plan| plan + "\nFL_NODE_AUTH = \"NO\"\n");
    run(&mut desk.onefed("apply --yes")).expect(0);
    assert_eq!(zones.objects("hospitals-").len(), 6, "{:#?}", zones.objects("hospitals-"));
    run(&mut desk.onefed("plan")).expect(0);

    plan_with_an_image(&desk, 4096);
    run(&mut desk.onefed("apply --yes")).expect(0);
    let removal = run(&mut desk.onefed("destroy --yes")).expect(0);
    assert!(removal.stderr.contains("paris: VM template hospitals-gateway removed"), "{}", removal.stderr);
    assert_eq!(zones.objects("hospitals-"), Vec::<String>::new());
    assert_eq!(zones.locks(), Vec::<String>::new());
}

#[test]
fn a_saved_plan_is_done_as_it_was_looked_at_or_not_at_all() {
    let desk = Desk::new("objects-saved", 234);
    let zones = DryZones::up(&desk);
    let plain = |plan: String| plan + "\nFL_NODE_AUTH = \"NO\"\n";
    desk.plan(plain);
    run(&mut desk.onefed("plan --out first.plan")).expect(2);
    // The file moved.
    desk.plan(|plan| {
        plain(replaced(&plan, "supernodes = 2                # or", "supernodes = 1                # or"))
    });
    let refused = run(&mut desk.onefed("apply first.plan")).expect(65);
    assert!(refused.stderr.contains("error[plan-stale]"), "{}", refused.stderr);
    assert_eq!(zones.objects("hospitals-"), Vec::<String>::new());
    assert_eq!(zones.locks(), Vec::<String>::new());
    // As it was.
    desk.plan(plain);
    run(&mut desk.onefed("apply first.plan")).expect(0);
    assert_eq!(zones.objects("hospitals-").len(), 6);
    // The world moved.
    let refused = run(&mut desk.onefed("apply first.plan")).expect(75);
    assert!(refused.stderr.contains("is new"), "{}", refused.stderr);
    let refused = run(&mut desk.onefed("apply federation.toml")).expect(65);
    assert!(refused.stderr.contains("error[plan-saved]"), "{}", refused.stderr);
}
