//! Zones made by hand: what a sandbox cannot be brought to.

use onefed_federation::{Plan, diff};
use onefed_opennebula::xml::Element;
use onefed_opennebula::xmlrpc::{
    AddressRange, Image, NetworkQuota, Owner, Permissions, Quotas, Usage, User, VirtualNetwork, VmQuota,
    VmTemplate,
};
use onefed_opennebula::xmlrpc::{Client, HostAccess, ImageQuota, Zone as Listed};
use onefed_opennebula::{
    Attributes, ClusterId, Credentials, GroupId, ImageId, ImageKind, ImageState, NetworkState, UserId,
    VmTemplateId, VnetId, oneflow,
};

use super::*;

const EXAMPLE: &str = include_str!("../../../../../../examples/three-zones.toml");

fn zone() -> onefed_opennebula::ZoneName {
    "paris".parse().unwrap()
}

/// Clients of a zone that nobody answers for: what is looked at is handed in.
fn clients() -> ZoneClients {
    let login = Credentials::parse("alice:secret").unwrap();
    let url = |path: &str| format!("http://127.0.0.1:1{path}").parse().unwrap();
    ZoneClients {
        xmlrpc: Client::new(zone(), url("/RPC2"), login.clone()).unwrap(),
        oneflow: oneflow::Client::new(zone(), url(""), login).unwrap(),
    }
}

fn owner(uname: &str) -> Owner {
    Owner { uid: 5, gid: 1, uname: uname.to_owned(), gname: "users".to_owned() }
}

fn image(id: u32, name: &str, uname: &str) -> Image {
    Image {
        id: ImageId::new(zone(), id),
        name: name.to_owned(),
        owner: owner(uname),
        permissions: Permissions::from_octal(0o644),
        kind: ImageKind::Os,
        state: ImageState::Ready,
        size_mb: 4096,
        persistent: false,
        running_vms: 0,
        datastore: None,
        attributes: Attributes::default(),
    }
}

fn template(xml: &str) -> VmTemplate {
    VmTemplate {
        id: VmTemplateId::new(zone(), 0),
        name: "onefed".to_owned(),
        owner: owner("oneadmin"),
        permissions: Permissions::from_octal(0o644),
        registered: 0,
        attributes: Attributes::of(&Element::parse(xml.as_bytes()).unwrap()),
        user_inputs: BTreeMap::new(),
        context: BTreeMap::new(),
    }
}

fn network(size: u64, used: u64) -> VirtualNetwork {
    let range =
        AddressRange { id: 0, kind: "IP4".to_owned(), first: None, mac: String::new(), size, used: None };
    VirtualNetwork {
        id: VnetId::new(zone(), 0),
        name: "private".to_owned(),
        owner: owner("oneadmin"),
        permissions: Permissions::from_octal(0o644),
        state: NetworkState::Ready,
        clusters: Vec::new(),
        used,
        ranges: if size == 0 { Vec::new() } else { vec![range] },
        attributes: BTreeMap::new(),
    }
}

fn user(quotas: Quotas) -> User {
    let group = GroupId::new(zone(), 1);
    User {
        id: UserId::new(zone(), 5),
        name: "alice".to_owned(),
        group: group.clone(),
        group_name: "users".to_owned(),
        groups: vec![group],
        enabled: true,
        quotas,
    }
}

fn seen(template_xml: &str, images: Vec<Image>, network: VirtualNetwork) -> Seen {
    Seen {
        objects: Vec::new(),
        alive: BTreeMap::new(),
        templates: vec![template(template_xml)],
        networks: vec![network],
        images: Ok(images),
    }
}

fn extra(quotas: Quotas) -> Extra {
    Extra {
        user: Ok(user(quotas)),
        group: None,
        pool: Ok(Vec::new()),
        number: Some(100),
        hosts: Ok(Vec::new()),
        access: Some(Ok(HostAccess::Yes)),
        images: None,
    }
}

/// What is said of zone paris, which is to have a gateway and two SuperNodes.
async fn said(seen: &Seen, extra: Extra) -> Vec<String> {
    let federation = onefed_federation::parse(EXAMPLE).unwrap();
    let plan: Plan = diff(&federation, &[]);
    let changes = plan.zones.iter().find(|entry| entry.zone.as_str() == "paris").unwrap();
    let zone = federation.zone(&changes.zone).unwrap();
    let clients = clients();
    let mut look =
        Look { federation: &federation, zone, clients: &clients, seen, changes, extra, problems: Vec::new() };
    look.all().await;
    let mut problems = look.problems;
    problems.sort_by_key(order);
    problems.iter().map(|it| format!("{}: {}", it.diagnostic.code, it.diagnostic.message)).collect()
}

const TEMPLATE: &str = "<T><CPU>1.5</CPU><MEMORY>2048</MEMORY><DISK><IMAGE_ID>0</IMAGE_ID></DISK></T>";

#[tokio::test]
async fn a_zone_with_everything_has_no_problem() {
    let seen = seen(TEMPLATE, vec![image(0, "onefed", "oneadmin")], network(3, 0));
    assert_eq!(said(&seen, extra(Quotas::default())).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_image_by_name_is_one_of_its_owner() {
    let by_name = "<T><DISK><IMAGE>onefed</IMAGE></DISK></T>";
    let images = || vec![image(7, "onefed", "oneadmin")];
    let own = seen(by_name, images(), network(9, 0));
    let problems = said(&own, extra(Quotas::default())).await;
    assert_eq!(
        problems,
        [
            "zone::image-owner: zone paris: image onefed of VM template onefed #0 is looked for among those of alice, and it is one of oneadmin"
        ]
    );
    let named = "<T><DISK><IMAGE>onefed</IMAGE><IMAGE_UNAME>oneadmin</IMAGE_UNAME></DISK></T>";
    let named = seen(named, images(), network(9, 0));
    assert_eq!(said(&named, extra(Quotas::default())).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_persistent_image_is_for_one_vm() {
    let mut one = image(0, "onefed", "oneadmin");
    one.persistent = true;
    let problems = said(&seen(TEMPLATE, vec![one], network(9, 0)), extra(Quotas::default())).await;
    assert_eq!(
        problems,
        [
            "zone::image-persistent: zone paris: image onefed #0 of VM template onefed #0 is persistent, so that one VM can have it, and the plan has 3"
        ]
    );
}

#[tokio::test]
async fn networks_must_be_ready_and_have_room() {
    let images = || vec![image(0, "onefed", "oneadmin")];
    let mut broken = network(10, 8);
    broken.state = NetworkState::Error;
    let problems = said(&seen(TEMPLATE, images(), broken), extra(Quotas::default())).await;
    assert_eq!(
        problems,
        [
            "zone::network-full: zone paris: network private has 2 free addresses, and the plan needs 3 more",
            "zone::network-state: zone paris: network private is ERROR",
        ]
    );
    let problems = said(&seen(TEMPLATE, images(), network(0, 0)), extra(Quotas::default())).await;
    assert!(problems[0].contains("has no address range, and the plan needs 3 addresses"), "{problems:?}");
}

#[tokio::test]
async fn quotas_count_what_is_used_and_what_is_wanted() {
    let images = || vec![image(0, "onefed", "oneadmin")];
    let usage = |used: f64, limit: f64| Usage { used, limit: Some(limit) };
    let vms = |clusters: Vec<ClusterId>| VmQuota {
        clusters,
        vms: usage(1.0, 4.0),
        cpu: usage(1.0, 5.0),
        memory_mb: usage(0.0, 6144.0),
        system_disk_mb: usage(0.0, 3.0 * 4096.0),
        ..VmQuota::default()
    };
    let fitting = |quotas: Quotas| extra(quotas);
    // 1 + 3 VMs of 4; 1 + 3 × 1.5 CPU of 5.
    let quotas = Quotas { vms: vec![vms(Vec::new())], ..Quotas::default() };
    let problems = said(&seen(TEMPLATE, images(), network(9, 0)), fitting(quotas)).await;
    assert_eq!(
        problems,
        [
            "zone::quota: zone paris: the quota of user alice is too small: CPU: 1 used, 4.5 more wanted, 5 allowed"
        ]
    );
    // In a cluster, where nobody knows whether they come there.
    let quotas = Quotas { vms: vec![vms(vec![ClusterId::new(zone(), 3)])], ..Quotas::default() };
    let problems = said(&seen(TEMPLATE, images(), network(9, 0)), fitting(quotas)).await;
    assert!(problems[0].contains("in cluster 3 is too small if all VMs come there: CPU"), "{problems:?}");
    // Addresses and users of an image; those of other ones do not count.
    let leases = |id| NetworkQuota { network: VnetId::new(zone(), id), leases: usage(0.0, 2.0) };
    let users = |id| ImageQuota { image: ImageId::new(zone(), id), running_vms: usage(4.0, 6.0) };
    let quotas = Quotas {
        networks: vec![leases(0), leases(1)],
        images: vec![users(0), users(1)],
        ..Quotas::default()
    };
    let problems = said(&seen(TEMPLATE, images(), network(9, 0)), fitting(quotas)).await;
    assert_eq!(
        problems,
        [
            "zone::quota: zone paris: the quota of user alice is too small: addresses of the network: 0 used, 3 more wanted, 2 allowed; VMs with image #0: 4 used, 3 more wanted, 6 allowed"
        ]
    );
    // oneadmin's group has no quota.
    let quotas =
        Quotas { vms: vec![VmQuota { vms: usage(0.0, 0.0), ..VmQuota::default() }], ..Quotas::default() };
    let mut admin = fitting(quotas);
    admin.user = Ok(User { groups: vec![GroupId::new(zone(), 0)], ..user(Quotas::default()) });
    admin.hosts = Err(Failure::new(Exit::Failed, "x", "not asked"));
    let problems = said(&seen(TEMPLATE, images(), network(9, 0)), admin).await;
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_not_answered_is_a_warning() {
    let seen = seen(TEMPLATE, vec![image(0, "onefed", "oneadmin")], network(9, 0));
    let mut silent = extra(Quotas::default());
    silent.user = Err(Failure::new(Exit::Failed, "x", "zone paris: no answer"));
    silent.access = Some(Ok(HostAccess::Unlikely));
    let problems = said(&seen, silent).await;
    assert_eq!(
        problems,
        [
            "zone::no-hosts: zone paris: this login may use no host (it sees no datastore either), so that no VM would run",
            "zone::not-checked: zone paris: rights and quotas could not be checked: no answer",
        ]
    );
}

#[test]
fn replaced_vms_make_room_and_removed_ones_do_not() {
    let federation = onefed_federation::parse(EXAMPLE).unwrap();
    let plan = diff(&federation, &[]);
    let mut paris = plan.zones.iter().find(|entry| entry.zone.as_str() == "paris").unwrap().clone();
    let alive = |gateway, supernode| {
        let roles = [("gateway", gateway), ("supernode", supernode)];
        BTreeMap::from([(4, roles.map(|(role, count)| (role.to_owned(), count)).into())])
    };
    let service =
        paris.changes.iter().position(|it| it.kind == onefed_federation::ObjectKind::Service).unwrap();
    let mut wants = |action, id| {
        paris.changes[service].action = action;
        paris.changes[service].id = id;
        Wants::of(&federation, &paris, &alive(1, 5)).vms()
    };
    use onefed_federation::Action;
    assert_eq!(wants(Action::Create, None), 3);
    assert_eq!(wants(Action::Replace, Some(4)), -3);
    assert_eq!(wants(Action::Keep, Some(4)), 0);
    assert_eq!(wants(Action::Remove, Some(4)), 0);
    paris.changes[service].action = Action::Repair;
    assert_eq!(Wants::of(&federation, &paris, &alive(1, 1)).vms(), 1);
}

#[test]
fn zones_that_stand_alone_are_not_taken_for_one() {
    let federation = onefed_federation::parse(EXAMPLE).unwrap();
    let listed = |id: u32, name: &str| Listed {
        id,
        name: name.to_owned(),
        enabled: true,
        endpoint: Some("http://localhost:2633/RPC2".to_owned()),
        oneflow: None,
    };
    let check = |one: (u32, Vec<Listed>), other: (u32, Vec<Listed>)| {
        let answer =
            |(number, pool)| Extra { pool: Ok(pool), number: Some(number), ..extra(Quotas::default()) };
        let zones = [(&federation.zones[0], answer(one)), (&federation.zones[1], answer(other))];
        same::check(&federation, &zones, &BTreeMap::new()).len()
    };
    // Every OpenNebula that stands alone has zone 0 of this name.
    let alone = || vec![listed(0, "OpenNebula")];
    assert_eq!(check((0, alone()), (0, alone())), 0);
    let both = || vec![listed(0, "OpenNebula"), listed(100, "Paris")];
    assert_eq!(check((0, both()), (100, both())), 0);
    assert_eq!(check((100, both()), (100, both())), 1);
}

#[test]
fn problems_of_a_zone_count_where_something_is_done() {
    use onefed_federation::{Condition, Existing, Facts, ZoneExisting, wanted};
    let federation = onefed_federation::parse(EXAMPLE).unwrap();
    let plan = |edit: &dyn Fn(&str, &mut Existing)| {
        let existing: Vec<ZoneExisting> = wanted(&federation)
            .into_iter()
            .map(|zone| {
                let objects = zone.objects.into_iter().map(|object| {
                    let mut existing = Existing {
                        id: Some(1),
                        kind: object.kind,
                        name: object.name,
                        digest: object.digest,
                        state: Condition::Good,
                        trouble: String::new(),
                        facts: Facts::default(),
                    };
                    edit(zone.zone.as_str(), &mut existing);
                    existing
                });
                let objects = objects.collect();
                ZoneExisting { zone: zone.zone, objects }
            })
            .collect();
        let plan = diff(&federation, &existing);
        let names: Vec<&str> = federation.zones.iter().map(|zone| zone.name.as_str()).collect();
        let stay = names.into_iter().filter(|name| stays(&federation, &plan, &ZoneName::new(name).unwrap()));
        stay.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(plan(&|_, _| {}), ["madrid", "paris", "lisbon"]);
    let fail = |zone: &'static str| {
        move |name: &str, it: &mut Existing| {
            if name == zone {
                it.state = Condition::Failed;
            }
        }
    };
    assert_eq!(plan(&fail("paris")), ["madrid", "lisbon"]);
    // The hub may come to be elsewhere, and then all are made anew.
    assert_eq!(plan(&fail("madrid")), Vec::<String>::new());
}
