//! The keys of a world and what they mean.

use super::fields::{Fields, Reader};
use super::{
    DelaysWorld, HostWorld, ImageState, ImageWorld, NetworkWorld, OwnerWorld, QuotaOf, QuotaWorld,
    TemplateWorld, UserWorld, World, ZoneWorld,
};
use crate::access::Mode;
use crate::addresses::SIZE;
use onefed_opennebula::Secret;
use std::collections::BTreeSet;
use toml::de::DeTable;

const ZONE: [&str; 11] = [
    "version",
    "enabled",
    "vdc",
    "endpoint",
    "oneflow_endpoint",
    "delays",
    "host",
    "network",
    "image",
    "template",
    "quota",
];
const DELAYS: [&str; 6] = [
    "boot_seconds",
    "shutdown_seconds",
    "xmlrpc_seconds",
    "oneflow_seconds",
    "onegate_seconds",
    "ready_poll_seconds",
];

/// The world in a text, or all that is wrong with it.
pub(super) fn world(text: &str) -> Result<World, Vec<String>> {
    let mut reader = Reader::new(text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(why) => {
            reader.problem(why.span().map_or(0, |span| span.start), why.message());
            return Err(reader.said());
        }
    };
    let top = reader.table(&table, "the world", &["user", "all", "zone"]);
    let mut world = World::default();
    for fields in reader.list(&top, "user", &["name", "password", "groups"]).unwrap_or_default() {
        world.users.extend(user(&mut reader, &fields));
    }
    let mut names = BTreeSet::from(["oneadmin".to_owned()]);
    for user in &world.users {
        if !names.insert(user.name.clone()) {
            reader.problem(usize::MAX, format!("there are two users {}", user.name));
        }
    }
    let groups: BTreeSet<_> = world.users.iter().flat_map(|u| u.groups.clone()).collect();
    let known = Known { users: names, groups };
    if let Some(all) = reader.inner(&top, "all", &ZONE) {
        world.all = zone(&mut reader, &all, &known);
    }
    for (name, fields) in reader.named(&top, "zone", &ZONE) {
        let zone = zone(&mut reader, &fields, &known);
        world.zones.insert(name, zone);
    }
    consistent(&mut reader, &world);
    if reader.problems.is_empty() { Ok(world) } else { Err(reader.said()) }
}

/// Who can own something or have a quota.
struct Known {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

fn user(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> Option<UserWorld> {
    let name = reader.needed(fields, "name");
    let password = reader.needed(fields, "password");
    let groups = reader.texts(fields, "groups").unwrap_or_else(|| vec!["users".to_owned()]);
    if groups.is_empty() {
        reader.problem(fields.at(), format!("{}: `groups` must have one", fields.place()));
    }
    let (name, password) = (name?, password?);
    if name.contains([':', ' ', '\t']) {
        reader.problem(fields.at(), format!("{}: `name` must have no blank and no colon", fields.place()));
    }
    Some(UserWorld { name, password: Secret::new(password), groups })
}

fn zone(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> ZoneWorld {
    let version = |text: &str| {
        let parts: Vec<_> = text.split('.').collect();
        (parts.len() >= 2 && parts.iter().all(|p| p.parse::<u32>().is_ok())).then(|| text.to_owned())
    };
    let vdc = reader.texts(fields, "vdc");
    for group in vdc.iter().flatten().filter(|g| *g != "users" && !known.groups.contains(*g)) {
        reader.problem(
            fields.at(),
            format!("{}: `vdc` names the group {group}, which no user is in", fields.place()),
        );
    }
    ZoneWorld {
        version: reader.word(fields, "version", "numbers with dots, such as 7.4.0", version),
        enabled: reader.flag(fields, "enabled"),
        vdc,
        endpoint: reader.text(fields, "endpoint"),
        oneflow_endpoint: reader.text(fields, "oneflow_endpoint"),
        hosts: each(reader, fields, "host", &["name", "cpu", "memory", "state"], host),
        networks: each(reader, fields, "network", &["name", "size", "owner", "permissions"], |r, f| {
            network(r, f, known)
        }),
        images: each(reader, fields, "image", &["name", "state", "size", "owner", "permissions"], |r, f| {
            image(r, f, known)
        }),
        templates: each(
            reader,
            fields,
            "template",
            &["name", "image", "owner", "permissions", "cpu", "memory", "inputs"],
            |r, f| template(r, f, known),
        ),
        quotas: each(
            reader,
            fields,
            "quota",
            &["user", "group", "vms", "cpu", "memory", "network", "leases"],
            |r, f| quota(r, f, known),
        ),
        delays: reader
            .inner(fields, "delays", &DELAYS)
            .map(|inner| delays(reader, &inner))
            .unwrap_or_default(),
    }
}

fn each<'r, 'x, 't, T>(
    reader: &mut Reader<'t>,
    fields: &Fields<'r, 'x>,
    key: &str,
    known: &[&str],
    mut one: impl FnMut(&mut Reader<'t>, &Fields<'r, 'x>) -> Option<T>,
) -> Option<Vec<T>> {
    let list = reader.list(fields, key, known)?;
    Some(list.iter().filter_map(|inner| one(reader, inner)).collect())
}

fn delays(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> DelaysWorld {
    DelaysWorld {
        boot: reader.seconds(fields, "boot_seconds"),
        shutdown: reader.seconds(fields, "shutdown_seconds"),
        xmlrpc: reader.seconds(fields, "xmlrpc_seconds"),
        oneflow: reader.seconds(fields, "oneflow_seconds"),
        onegate: reader.seconds(fields, "onegate_seconds"),
        ready_poll: reader.seconds(fields, "ready_poll_seconds"),
    }
}

fn host(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> Option<HostWorld> {
    let state = reader.word(fields, "state", "\"on\" or \"off\"", |text| match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    });
    Some(HostWorld {
        cpu: reader.whole(fields, "cpu", 1..=100_000).unwrap_or(64),
        memory: reader.whole(fields, "memory", 1..=100_000_000).unwrap_or(262_144),
        on: state.unwrap_or(true),
        name: reader.needed(fields, "name")?,
    })
}

fn owner(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> OwnerWorld {
    let default = OwnerWorld::default();
    let owner = reader.text(fields, "owner").unwrap_or(default.owner);
    if !known.users.contains(&owner) {
        reader
            .problem(fields.at(), format!("{}: `owner` {owner} is not a user of the world", fields.place()));
    }
    let mode = reader.word(fields, "permissions", "three octal digits, such as 644", Mode::parse);
    OwnerWorld { owner, mode: mode.unwrap_or(default.mode) }
}

fn network(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> Option<NetworkWorld> {
    let size = reader.whole(fields, "size", 1..=u32::from(SIZE)).and_then(|size| u8::try_from(size).ok());
    let owner = owner(reader, fields, known);
    Some(NetworkWorld { size, owner, name: reader.needed(fields, "name")? })
}

fn image(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> Option<ImageWorld> {
    let wanted = "\"ready\", \"disabled\", \"locked\" or \"error\"";
    let state = reader.word(fields, "state", wanted, |text| match text {
        "ready" => Some(ImageState::Ready),
        "disabled" => Some(ImageState::Disabled),
        "locked" => Some(ImageState::Locked),
        "error" => Some(ImageState::Error),
        _ => None,
    });
    Some(ImageWorld {
        state: state.unwrap_or(ImageState::Ready),
        size: reader.whole(fields, "size", 1..=100_000_000).unwrap_or(4096),
        owner: owner(reader, fields, known),
        name: reader.needed(fields, "name")?,
    })
}

fn template(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> Option<TemplateWorld> {
    Some(TemplateWorld {
        image: reader.text(fields, "image"),
        cpu: reader.number(fields, "cpu", 0.01..=1000.0).unwrap_or(1.0),
        memory: reader.whole(fields, "memory", 1..=10_000_000).unwrap_or(2048),
        inputs: reader.map(fields, "inputs").into_iter().collect(),
        owner: owner(reader, fields, known),
        name: reader.needed(fields, "name")?,
    })
}

fn quota(reader: &mut Reader<'_>, fields: &Fields<'_, '_>, known: &Known) -> Option<QuotaWorld> {
    let (user, group) = (reader.text(fields, "user"), reader.text(fields, "group"));
    let vms = reader.whole(fields, "vms", 0..=1_000_000);
    let cpu = reader.number(fields, "cpu", 0.0..=1e6);
    let memory = reader.whole(fields, "memory", 0..=1_000_000_000);
    let leases = match (reader.text(fields, "network"), reader.whole(fields, "leases", 0..=255)) {
        (Some(network), Some(leases)) => Some((network, leases)),
        (None, None) => None,
        _ => {
            reader.problem(fields.at(), format!("{}: `network` and `leases` go together", fields.place()));
            None
        }
    };
    let of = match (user, group) {
        (Some(user), None) if known.users.contains(&user) => QuotaOf::User(user),
        (None, Some(group)) if group == "users" || known.groups.contains(&group) => QuotaOf::Group(group),
        (Some(name), None) | (None, Some(name)) => {
            reader.problem(fields.at(), format!("{}: the world does not have {name}", fields.place()));
            return None;
        }
        _ => {
            reader.problem(fields.at(), format!("{} needs `user` or `group`, one of them", fields.place()));
            return None;
        }
    };
    Some(QuotaWorld { of, vms, cpu, memory, leases })
}

/// What must hold in each zone once everything is laid together.
fn consistent(reader: &mut Reader<'_>, world: &World) {
    let mut places: Vec<_> =
        world.zones.keys().map(|name| (format!("zone.{name}"), world.of(name))).collect();
    if places.is_empty() {
        places.push(("all".to_owned(), world.all.clone()));
    }
    let mut said = BTreeSet::new();
    for (place, zone) in places {
        let images: BTreeSet<_> = zone.images().into_iter().map(|i| i.name).collect();
        for template in zone.templates() {
            if let Some(image) = template.image.filter(|image| !images.contains(image)) {
                said.insert(format!(
                    "{place}: template {} names the image {image}, which is not there",
                    template.name
                ));
            }
        }
        let networks = zone.networks();
        let total: u32 = networks.iter().filter_map(|n| n.size).map(u32::from).sum();
        let open = networks.iter().filter(|n| n.size.is_none()).count();
        if total + u32::try_from(open).unwrap_or(u32::MAX) > u32::from(SIZE) {
            said.insert(format!("{place}: its networks need {total} leases, a zone has {SIZE}"));
        }
        for quota in zone.quotas.iter().flatten() {
            if let Some((network, _)) =
                quota.leases.as_ref().filter(|(n, _)| !networks.iter().any(|w| w.name == *n))
            {
                said.insert(format!("{place}: a quota names the network {network}, which is not there"));
            }
        }
    }
    for why in said {
        reader.problem(usize::MAX, why);
    }
}
