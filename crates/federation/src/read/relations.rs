//! What must hold between the parts of a plan, over all zones. Nobody checks this after deployment.

use std::collections::BTreeMap;
use std::ops::Range;

use onefed_context::{KeepAlive, Role, SiteEnrolment, variable};
use toml::Spanned;

use super::Draft;
use super::settings::Settings;
use crate::diagnostic::Sink;
use crate::model::{LocalNodes, NetworkMode, SITE_ENROLMENT, VmTemplate, ZoneName};

/// Checks everything; what is absent from the draft has been reported already.
pub(super) fn check(draft: &Draft, sink: &mut Sink<'_>) {
    names(draft, sink);
    shared_service(draft, sink);
    zones(draft, sink);
    endpoints(draft, sink);
    ranges(draft, sink);
    tls(draft, sink);
    node_auth(draft, sink);
    keepalive(draft, sink);
    hold(draft, sink);
    container_image(draft, sink);
    install(draft, sink);
    requirements(draft, sink);
}

fn names(draft: &Draft, sink: &mut Sink<'_>) {
    let mut seen = BTreeMap::new();
    let local = draft.coordinator.as_ref().and_then(|coordinator| coordinator.nodes.as_ref());
    for name in draft.sites.iter().filter_map(|site| site.name.as_ref()) {
        if name.get_ref().as_str() == "coordinator" {
            let message = "a site cannot have the name `coordinator`: the coordinator's objects have it";
            sink.error("plan::duplicate-site", name.span(), message);
        }
        if local.is_some() && name.get_ref().as_str() == LocalNodes::SITE {
            let message = "a site cannot have the name `local`: the coordinator's own SuperNodes have it";
            sink.error("plan::duplicate-site", name.span(), message);
        }
        if let Some(line) = seen.get(name.get_ref()) {
            let message =
                format!("there are two sites `{}`; the first one is in line {line}", name.get_ref());
            sink.error("plan::duplicate-site", name.span(), message);
        } else {
            seen.insert(name.get_ref(), sink.line(name.span().start));
        }
    }
}

/// The VMs of one service are one to OneGate.
fn shared_service(draft: &Draft, sink: &mut Sink<'_>) {
    let local = draft.coordinator.as_ref().and_then(|coordinator| coordinator.nodes.as_ref());
    if let Some(local) = local.filter(|_| !draft.sites.is_empty()) {
        let message =
            "the coordinator's own SuperNodes are in the SuperLink's service, and can act for it in OneGate";
        sink.warning("plan::shared-service", local.at.clone(), message)
            .hint("where other sites should not have to trust them, make them a [[site]] in the same zone");
    }
}

/// References to zones, and zones without any.
fn zones(draft: &Draft, sink: &mut Sink<'_>) {
    let declared: Vec<&str> = draft.zones.iter().map(|zone| zone.name.get_ref().as_str()).collect();
    let coordinator = draft.coordinator.iter().filter_map(|c| c.zone.as_ref());
    let used: Vec<&Spanned<ZoneName>> =
        coordinator.chain(draft.sites.iter().filter_map(|site| site.zone.as_ref())).collect();
    let mut all_known = true;
    for zone in &used {
        let name = zone.get_ref().as_str();
        if !declared.contains(&name) {
            all_known = false;
            sink.error("plan::unknown-zone", zone.span(), format!("there is no [zone.{name}]")).suggest(
                name,
                declared.iter().copied(),
                || Some(format!("add a table [zone.{name}]")),
            );
        }
    }
    // A mistyped name would make its zone look unused as well.
    for zone in draft.zones.iter().filter(|_| all_known) {
        let name = zone.name.get_ref();
        if !used.iter().any(|used| used.get_ref() == name) {
            let message = format!("nothing in the plan uses [zone.{name}]");
            sink.warning("plan::unused-zone", zone.name.span(), message);
        }
    }
}

fn endpoints(draft: &Draft, sink: &mut Sink<'_>) {
    let mut seen: BTreeMap<&str, &ZoneName> = BTreeMap::new();
    for zone in &draft.zones {
        for url in zone.endpoint.iter().chain(&zone.oneflow) {
            let name = zone.name.get_ref();
            if let Some(other) = seen.get(url.get_ref().as_str()).filter(|other| **other != name) {
                let message = format!("[zone.{name}] and [zone.{other}] have the same endpoint");
                sink.error("plan::duplicate-endpoint", url.span(), message)
                    .hint("two names for one zone would make its objects collide");
            }
            seen.entry(url.get_ref().as_str()).or_insert(name);
        }
    }
    let here: Vec<_> = draft
        .zones
        .iter()
        .filter_map(|zone| zone.endpoint.as_ref())
        .filter(|url| matches!(url.get_ref().host_str(), Some("localhost" | "127.0.0.1" | "[::1]")))
        .collect();
    if here.len() > 1 {
        for url in here {
            let host = url.get_ref().host_str().unwrap_or_default();
            let message = format!("several zones have an endpoint on {host}, which is this machine");
            sink.warning("plan::localhost", url.span(), message)
                .hint("OpenNebula announces localhost by default; give each zone's real address");
        }
    }
}

/// The tunnel's addresses must be nobody else's.
fn ranges(draft: &Draft, sink: &mut Sink<'_>) {
    let (Some(subnet), Some(at)) = (draft.network.subnet, &draft.subnet) else { return };
    for zone in &draft.zones {
        let Some(lan) = zone.lan.as_ref().map(Spanned::get_ref) else { continue };
        if subnet.contains(lan) || lan.contains(&subnet) {
            let message =
                format!("the subnet {subnet} overlaps {lan}, the network of [zone.{}]", zone.name.get_ref());
            sink.error("plan::subnet-overlap", at.clone(), message).hint("choose a range that no zone uses");
        }
    }
}

/// Any release of the version table works with any other through the link. But a list of packages with hashes pins one
/// release, and there is one list for all VMs that are installed at their first boot.
fn requirements(draft: &Draft, sink: &mut Sink<'_>) {
    let (Some(coordinator), Some(flower), Some(install)) = (&draft.coordinator, draft.flower, &draft.install)
    else {
        return;
    };
    let Some(list) = &install.requirements else { return };
    let installed = |zone: &Option<Spanned<ZoneName>>, role: Role, settings: &Settings| {
        let name = zone.as_ref().map(Spanned::get_ref);
        let zone = draft.zones.iter().find(|zone| Some(zone.name.get_ref()) == name);
        let made = zone.is_some_and(|zone| *zone.templates.of(role) == VmTemplate::Made);
        let runtime = effective("FL_RUNTIME", settings, &draft.settings, &install.at);
        made && runtime.text != "container"
    };
    let mut first = None;
    let roles: &[Role] = match coordinator.nodes {
        Some(_) => &[Role::SuperLink, Role::SuperNode],
        None => &[Role::SuperLink],
    };
    if roles.iter().any(|role| installed(&coordinator.zone, *role, &coordinator.settings)) {
        first = Some((flower, "the coordinator".to_owned()));
    }
    for site in draft.sites.iter().filter(|site| installed(&site.zone, Role::SuperNode, &site.settings)) {
        let own = site.flower.as_ref().map_or(flower, |own| *own.get_ref());
        let (release, whose) = first.get_or_insert_with(|| (own, site.label()));
        if own != *release {
            let message = format!(
                "`requirements` of [install] pins one release of Flower, but {} runs {} and {whose} {}",
                site.label(),
                own.version(),
                release.version()
            );
            let at = site.flower.as_ref().map_or_else(|| list.clone(), Spanned::span);
            sink.error("plan::one-list", at, message).hint(
                "leave `requirements` out: an archive in `flower` of [install] is verified as a whole, and may hold the \
                 wheels of both; or give this site's zone a `template`",
            );
        }
    }
}

/// SuperLink and SuperNodes must agree on whether keys are registered.
fn node_auth(draft: &Draft, sink: &mut Sink<'_>) {
    const NAME: &str = "FL_NODE_AUTH";
    let Some(coordinator) = &draft.coordinator else { return };
    let enrolment = effective(SITE_ENROLMENT, &coordinator.settings, &draft.settings, &coordinator.at);
    let open = enrolment.given && enrolment.text == SiteEnrolment::Open.as_str();
    // A plan's own default is YES, whatever an appliance alone does; but nobody registers keys of sites made by hand.
    let of = |settings, at| {
        let own = effective(NAME, settings, &draft.settings, at);
        let default = if open { "NO" } else { "YES" };
        let text = if own.given { own.text.to_uppercase() } else { default.to_owned() };
        (text, own.at)
    };
    let (ours, at) = of(&coordinator.settings, &coordinator.at);
    if open && ours == "YES" {
        let message = format!(
            "{SITE_ENROLMENT} is open and {NAME} is YES: SuperNodes of sites that are made by hand wait until somebody registers their keys"
        );
        sink.warning("plan::open-with-keys", at, message)
            .hint("leave FL_NODE_AUTH out, or register each key: `flwr supernode register` through `onefed connect`");
    }
    for site in &draft.sites {
        let (own, at) = of(&site.settings, &site.at);
        if own != ours {
            let message = format!("{NAME} is {own} for {} but {ours} for the coordinator", site.label());
            sink.error("plan::node-auth-differs", at, message).hint("set it once, in [variables]");
        }
    }
}

fn tls(draft: &Draft, sink: &mut Sink<'_>) {
    const NAME: &str = "FL_TLS_ENABLED";
    let Some(coordinator) = &draft.coordinator else { return };
    let of = |settings, at| effective(NAME, settings, &draft.settings, at);
    let yes = |value: &Effective<'_>| value.text.eq_ignore_ascii_case("YES");
    let ours = of(&coordinator.settings, &coordinator.at);
    if !yes(&ours) {
        let message = "FL_TLS_ENABLED is NO: models and credentials travel unencrypted";
        match draft.network.mode {
            NetworkMode::Public => {
                let message = format!("{message}, and the network is the open internet");
                sink.error("plan::plaintext", ours.at.clone(), message)
                    .hint("leave FL_TLS_ENABLED at YES, or use mode = \"routed\" with a network of your own");
            }
            NetworkMode::Routed => {
                sink.warning("plan::plaintext", ours.at.clone(), message)
                    .hint("without TLS there is no admin endpoint: status, train and connect will not work");
            }
        }
    }
    for site in &draft.sites {
        let own = of(&site.settings, &site.at);
        if yes(&own) != yes(&ours) {
            let message = format!(
                "{NAME} is {} for {} but {} for the coordinator",
                own.text.to_uppercase(),
                site.label(),
                ours.text.to_uppercase()
            );
            sink.error("plan::tls-differs", own.at, message).hint("set it once, in [variables]");
        }
    }
}

/// Flower has one image for the SuperLink and another for SuperNodes.
fn container_image(draft: &Draft, sink: &mut Sink<'_>) {
    let Some(image) = draft.settings.get("FL_CONTAINER_IMAGE") else { return };
    let message = "FL_CONTAINER_IMAGE in [variables] gives the SuperLink and the SuperNodes the same image";
    sink.warning("plan::one-image", image.span(), message).hint(
        "set it in `variables` of [coordinator] and of each [[site]], unless the image has both programs",
    );
}

/// A plain system image has no onefed in it: somebody must say where it comes from.
fn install(draft: &Draft, sink: &mut Sink<'_>) {
    let mut plain = draft.zones.iter().filter(|zone| zone.image.is_some()).peekable();
    if let Some(install) = &draft.install {
        if plain.peek().is_none() {
            sink.warning(
                "plan::unused-install",
                install.at.clone(),
                "no zone has an `image` to install into",
            );
        }
        return;
    }
    for zone in plain {
        let message = format!(
            "[zone.{}] starts VMs from an image of the system alone, and there is no [install]",
            zone.name.get_ref()
        );
        let at = zone.image.clone().unwrap_or_else(|| zone.name.span());
        sink.error("plan::no-install", at, message).hint(
            "add [install] with onefed = { url = \"https://…\", sha256 = \"…\" }, or name a `template` \
             whose image has onefed in it",
        );
    }
}

fn keepalive(draft: &Draft, sink: &mut Sink<'_>) {
    let Some(coordinator) = &draft.coordinator else { return };
    let hub = side(draft, "the coordinator", &coordinator.settings, &coordinator.at, sink);
    for site in &draft.sites {
        let spoke = side(draft, &site.label(), &site.settings, &site.at, sink);
        let (Some(hub), Some((spoke, at))) = (&hub, spoke) else { continue };
        // The rule of the specification: a site's interval is at least half of the hub's. The hub refuses such
        // a spoke too, but then the VMs are there already.
        if u64::from(spoke) * 2 < u64::from(hub.0) {
            let message = format!(
                "{} pings every {spoke} s, but the coordinator's {} s allow one in {} s",
                site.label(),
                hub.0,
                hub.0.div_ceil(2)
            );
            sink.error("plan::keepalive-too-fast", at, message)
                .hint("a site's FL_GRPC_KEEPALIVE_TIME must be at least half of the coordinator's");
        }
    }
}

/// The hub gives the nodes of a site up when its own time is over, whatever the site would wait for.
fn hold(draft: &Draft, sink: &mut Sink<'_>) {
    const NAME: &str = "FL_LINK_HOLD";
    let Some(coordinator) = &draft.coordinator else { return };
    let hub = effective(NAME, &coordinator.settings, &draft.settings, &coordinator.at);
    let Ok(most) = hub.text.parse::<u32>() else { return };
    for site in &draft.sites {
        let own = effective(NAME, &site.settings, &draft.settings, &site.at);
        if own.text.parse::<u32>().is_ok_and(|seconds| seconds > most) {
            let message = format!(
                "{} hides cuts of its line for {} s, but the coordinator gives its SuperNodes up after {most} s",
                site.label(),
                own.text
            );
            sink.warning("plan::hold-shorter-at-hub", own.at, message)
                .hint("the smaller of the two counts; one FL_LINK_HOLD in [variables] is for both");
        }
    }
}

/// The interval of one side and its place; its pair is checked on the way.
fn side(
    draft: &Draft,
    who: &str,
    own: &Settings,
    at: &Range<usize>,
    sink: &mut Sink<'_>,
) -> Option<(u32, Range<usize>)> {
    let time = effective("FL_GRPC_KEEPALIVE_TIME", own, &draft.settings, at);
    let timeout = effective("FL_GRPC_KEEPALIVE_TIMEOUT", own, &draft.settings, at);
    let seconds: u32 = time.text.parse().ok()?;
    if let Err(error) = KeepAlive::from_secs(seconds, timeout.text.parse().ok()?) {
        // A pair of [variables] is wrong once, not once for each side.
        let who = if time.own || timeout.own { who } else { "[variables]" };
        let place = if timeout.given { timeout.at } else { time.at.clone() };
        sink.error("context::keepalive-order", place, format!("{who}: {error}"))
            .hint("the defaults are 60 and 20 seconds, and count where a value is not given");
    }
    if seconds < KeepAlive::SHORT {
        let message =
            format!("FL_GRPC_KEEPALIVE_TIME={seconds} is aggressive and may cause excessive traffic.");
        sink.warning("context::keepalive-short", time.at.clone(), message);
    }
    Some((seconds, time.at))
}

/// What counts for one side.
struct Effective<'a> {
    text: &'a str,
    /// Where it was set, or the side's table.
    at: Range<usize>,
    /// Whether the side itself sets it.
    own: bool,
    /// Whether anything sets it.
    given: bool,
}

fn effective<'a>(name: &str, own: &'a Settings, all: &'a Settings, at: &Range<usize>) -> Effective<'a> {
    let given =
        own.get(name).map(|value| (value, true)).or_else(|| all.get(name).map(|value| (value, false)));
    match given {
        Some((value, own)) => Effective { text: value.get_ref(), at: value.span(), own, given: true },
        None => {
            let text = variable(name).and_then(|row| row.default).unwrap_or_default();
            Effective { text, at: at.clone(), own: false, given: false }
        }
    }
}
