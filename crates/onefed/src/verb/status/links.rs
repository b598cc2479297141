//! The lines to the sites, as they are drawn.

use onefed_link::stats::SpokeStats;
use onefed_link::status::{HubLink, HubStatus, SpokeLine};

use crate::table::{bytes, plain, render, span};

/// The lines to the sites, who and what was sent away, and what came to nothing.
pub(super) fn links(hub: &HubStatus) -> String {
    let rows: Vec<Vec<String>> = hub.spokes.iter().map(|spoke| row(hub, spoke)).collect();
    let header = ["link", "state", "peer", "PINGs answered", "down", "up", "saved", "spool", "held"];
    let mut out = format!("\n{}\n\n", render(&header, &rows));
    for spoke in &hub.spokes {
        out.extend(
            spoke.said.iter().map(|said| format!("  carried    {}\n", carried(hub, spoke, &said.stats))),
        );
    }
    for spoke in &hub.refused_spokes {
        let (site, why) = (plain(&spoke.site), plain(&spoke.why));
        out.push_str(&format!("  refused    spoke {} of {site}: {why}\n", plain(&spoke.spoke)));
    }
    for node in &hub.refused_nodes {
        let (key, site, why) = (&node.key, plain(&node.site), plain(&node.why));
        out.push_str(&format!("  refused    SuperNode {key} of {site}: {why}\n"));
    }
    for one in &hub.unknown {
        let (name, often) = (plain(&one.name), often(one.count));
        out.push_str(&format!("  refused    operation {name} of SuperNodes without a spoke, {often}\n"));
    }
    for spoke in &hub.spokes {
        for one in spoke.said.iter().flat_map(|said| &said.stats.unknown) {
            let (name, often, site) = (plain(&one.name), often(one.count), plain(&spoke.site));
            out.push_str(&format!("  refused    operation {name} of a SuperNode of {site}, {often}\n"));
        }
    }
    if let Some(lost) = lost(hub) {
        out.push_str(&format!("  lost       {lost}\n"));
    }
    out
}

fn often(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A site; of one with several spokes, which of them.
fn name(hub: &HubStatus, spoke: &SpokeLine) -> String {
    let alone = hub.spokes.iter().filter(|other| other.site == spoke.site).count() == 1;
    plain(&if alone { spoke.site.clone() } else { format!("{}/{}", spoke.site, spoke.spoke) })
}

/// What a line has carried, what it did not have to, and how often it was cut.
fn carried(hub: &HubStatus, spoke: &SpokeLine, stats: &SpokeStats) -> String {
    let (down, up) = (&spoke.down, &spoke.up);
    let cache = bytes(down.saved_by_cache + up.saved_by_cache);
    let codec = bytes(down.saved_by_codec + up.saved_by_codec);
    format!(
        "{}: {} objects down, {} up; {cache} saved by cache, {codec} by codec; {} calls, {} sent again; {} cuts, {} hidden",
        name(hub, spoke),
        down.objects,
        up.objects,
        stats.calls,
        stats.retries,
        spoke.cuts,
        stats.cuts_hidden
    )
}

fn row(hub: &HubStatus, spoke: &SpokeLine) -> Vec<String> {
    let since = span(spoke.since_seconds);
    let ping = spoke.ping_age_seconds.map_or("none yet".to_owned(), |age| format!("{} ago", span(age)));
    let rtt = spoke.rtt_ms.map_or(String::new(), |rtt| format!(", {rtt:.1} ms"));
    let nothing = || "–".to_owned();
    vec![
        name(hub, spoke),
        if spoke.connected { format!("up {since}") } else { format!("DOWN {since}") },
        spoke.peer.clone(),
        ping + &rtt,
        bytes(spoke.bytes_down),
        bytes(spoke.bytes_up),
        spoke.saved_percent().map_or_else(nothing, |percent| format!("{percent:.0} %")),
        spoke.said.as_ref().map_or_else(nothing, |said| spool(&said.stats)),
        match spoke.held_seconds_left {
            Some(left) => format!("{} for {}", spoke.held, span(left)),
            None => nothing(),
        },
    ]
}

/// What a spoke has that the other side has not.
fn spool(stats: &SpokeStats) -> String {
    let count = |count: u64, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let (up, down) = (count(stats.replies, "reply", "replies"), count(stats.messages, "message", "messages"));
    let mut parts: Vec<String> = up.into_iter().chain(down).collect();
    if parts.is_empty() {
        return if stats.room { "–".to_owned() } else { "DISK FULL".to_owned() };
    }
    parts.push(bytes(stats.disk_needed_bytes));
    if !stats.room {
        parts.push("DISK FULL".to_owned());
    }
    parts.join(", ")
}

/// What came to nothing since hub and spokes started. Each is in a log, and the ServerApp has heard of it.
fn lost(hub: &HubStatus) -> Option<String> {
    let HubLink { suspected, given_up, .. } = hub.link.unwrap_or_default();
    let of_spokes = hub.spokes.iter().filter_map(|spoke| spoke.said.as_ref());
    let given_up = given_up + of_spokes.map(|said| said.stats.given_up).sum::<u64>();
    let parts = [(suspected, "perhaps lost"), (given_up, "given up")];
    let parts: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!parts.is_empty()).then(|| format!("messages and replies: {}; the ServerApp was told", parts.join(", ")))
}

#[cfg(test)]
mod tests;
