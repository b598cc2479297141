//! A hub's status as metrics, in the OpenMetrics text format that Prometheus reads.
//!
//! The table below is the one place where a metric's name, kind, words and value are decided; `spec/13` is made from it.

use std::fmt::Write as _;

use crate::status::{HubLink, HubStatus, SpokeLine, SuperLinkStatus};

/// What an HTTP answer with these metrics says of its content.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a metric's value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up only, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
pub struct Metric {
    /// Its name. A counter's samples have `_total` after it.
    pub name: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// The labels of its samples, in order.
    pub labels: &'static [&'static str],
    /// One line of explanation.
    pub help: &'static str,
    /// Its samples.
    samples: fn(&HubStatus) -> Vec<Sample>,
}

/// The labels' values, and the value.
type Sample = (Vec<String>, f64);

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A sample without labels.
fn one(value: impl Into<Option<f64>>) -> Vec<Sample> {
    value.into().map(|value| (Vec::new(), value)).into_iter().collect()
}

/// A sample of the hub's own part, where the hub says it.
fn of_link(hub: &HubStatus, value: fn(&HubLink) -> u64) -> Vec<Sample> {
    one(hub.link.as_ref().map(|link| value(link) as f64))
}

/// A sample for each spoke that has one.
fn each(hub: &HubStatus, value: impl Fn(&SpokeLine) -> Option<f64>) -> Vec<Sample> {
    let name = |line: &SpokeLine| vec![line.site.clone(), line.spoke.clone()];
    hub.spokes.iter().filter_map(|line| Some((name(line), value(line)?))).collect()
}

/// A sample for each spoke and direction.
fn both(hub: &HubStatus, value: fn(&SpokeLine) -> (u64, u64)) -> Vec<Sample> {
    let name = |line: &SpokeLine, way: &str| vec![line.site.clone(), line.spoke.clone(), way.to_owned()];
    let two = |line| {
        let (down, up) = value(line);
        [(name(line, "down"), down as f64), (name(line, "up"), up as f64)]
    };
    hub.spokes.iter().flat_map(two).collect()
}

/// A sample for each spoke that has said something of itself.
macro_rules! said {
    ($field:ident) => {
        |hub| each(hub, |line| line.said.as_ref().map(|said| said.stats.$field as f64))
    };
}

/// A sample of the hub's own part.
macro_rules! link {
    ($field:ident) => {
        |hub| of_link(hub, |link| link.$field)
    };
}

const NONE: &[&str] = &[];
const SPOKE: &[&str] = &["site", "spoke"];
const WAY: &[&str] = &["site", "spoke", "direction"];

macro_rules! metrics {
    ($($name:literal $kind:ident $labels:ident $help:literal $samples:expr;)*) => {
        &[$(Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help, samples: $samples }),*]
    };
}

/// All metrics.
pub static METRICS: &[Metric] = metrics! {
    "onefed_hub_uptime_seconds" Gauge NONE "Since the hub started." |hub| one(hub.uptime_seconds as f64);
    "onefed_hub_certificate_days" Gauge NONE "Until the hub's certificate ends." |hub| one(hub.certificate_days as f64);
    "onefed_superlink_up" Gauge NONE "Whether SuperLink answers on its loopback." |hub| one(f64::from(u8::from(hub.superlink == SuperLinkStatus::Up)));
    "onefed_hub_journal_ok" Gauge NONE "Whether the hub can write down what it must not forget; while it cannot (0), it serves no spoke." |hub| one(f64::from(u8::from(hub.trouble.is_none())));
    "onefed_supernodes_online" Gauge SITE "SuperNodes that SuperLink takes for online; a site that is empty means without a spoke." online;
    "onefed_link_up" Gauge SPOKE "Whether the line to the spoke is up." |hub| each(hub, |line| Some(f64::from(u8::from(line.connected))));
    "onefed_link_state_seconds" Gauge SPOKE "Since the line came up or went down." |hub| each(hub, |line| Some(line.since_seconds as f64));
    "onefed_link_cuts" Counter SPOKE "Times that the line went down." |hub| each(hub, |line| Some(line.cuts as f64));
    "onefed_link_cuts_hidden" Counter SPOKE "Cuts that are over and that no SuperNode saw, although some were there." said!(cuts_hidden);
    "onefed_link_rtt_seconds" Gauge SPOKE "Round-trip time of the last PING." |hub| each(hub, |line| line.rtt_ms.map(|ms| ms / 1000.0));
    "onefed_link_ping_age_seconds" Gauge SPOKE "Since the last answer to a PING." |hub| each(hub, |line| line.ping_age_seconds.map(|age| age as f64));
    "onefed_link_wire_bytes" Counter WAY "Bytes on the wire over all connections, with TLS and without TCP." |hub| both(hub, |line| (line.bytes_down, line.bytes_up));
    "onefed_link_content_bytes" Counter WAY "Bytes of the objects (models, replies, app bundles) that crossed, before coding." |hub| both(hub, |line| (line.down.content, line.up.content));
    "onefed_link_objects" Counter WAY "Objects that crossed." |hub| both(hub, |line| (line.down.objects, line.up.objects));
    "onefed_link_cache_saved_bytes" Gauge WAY "Bytes of objects that did not have to cross, since the other end had them." |hub| both(hub, |line| (line.down.saved_by_cache, line.up.saved_by_cache));
    "onefed_link_codec_saved_bytes" Gauge WAY "Bytes of objects that coding kept off the wire." |hub| both(hub, |line| (line.down.saved_by_codec, line.up.saved_by_codec));
    "onefed_link_calls" Counter SPOKE "Fleet calls that the spoke passed on." |hub| each(hub, |line| Some(line.calls as f64));
    "onefed_link_spoke_calls" Counter SPOKE "Fleet calls of the spoke's SuperNodes." said!(calls);
    "onefed_link_spoke_calls_answered_here" Counter SPOKE "Of these, answered by the spoke without asking the hub." said!(answered_here);
    "onefed_link_retries" Counter SPOKE "Calls that the spoke sent again after a reconnect." said!(retries);
    "onefed_link_served_again" Counter SPOKE "Messages that the spoke handed to a SuperNode more than once." said!(served_again);
    "onefed_link_spoke_given_up" Counter SPOKE "Messages and replies that came to nothing at the spoke." said!(given_up);
    "onefed_link_spool_replies" Gauge SPOKE "Replies that the spoke has and the hub has not." said!(replies);
    "onefed_link_spool_messages" Gauge SPOKE "Messages at the spoke that their SuperNodes have not confirmed." said!(messages);
    "onefed_link_spoke_disk_bytes" Gauge SPOKE "Bytes of objects on the spoke's disk." said!(disk_bytes);
    "onefed_link_spoke_disk_needed_bytes" Gauge SPOKE "Of these, needed by messages and replies under way." said!(disk_needed_bytes);
    "onefed_link_spoke_disk_limit_bytes" Gauge SPOKE "What objects may take at the spoke, FL_LINK_DISK." said!(disk_limit_bytes);
    "onefed_link_spoke_disk_ok" Gauge SPOKE "Whether the spoke's disk has room; 0 means that cuts are not hidden." |hub| each(hub, |line| line.said.as_ref().map(|said| f64::from(u8::from(said.stats.room))));
    "onefed_link_spoke_said_seconds" Gauge SPOKE "Since the spoke last said what is in its metrics." |hub| each(hub, |line| line.said.as_ref().map(|said| said.age_seconds as f64));
    "onefed_link_held_nodes" Gauge SPOKE "SuperNodes that the hub keeps alive although their spoke is out of reach." |hub| each(hub, |line| Some(line.held as f64));
    "onefed_link_unknown_operations" Counter OPERATION "Fleet operations that were refused because this release does not know them." unknown;
    "onefed_link_hub_calls_repeated" Counter NONE "Calls that came a second time and were not made a second time." link!(repeated);
    "onefed_link_hub_messages" Counter NONE "Messages pulled from SuperLink." link!(messages);
    "onefed_link_hub_objects_pulled" Counter NONE "Objects pulled from SuperLink, each once for all sites." link!(objects_pulled);
    "onefed_link_hub_content_pulled_bytes" Counter NONE "Bytes of their content." link!(content_pulled);
    "onefed_link_hub_objects_reused" Counter NONE "Objects that were on the hub's disk when a message named them." link!(objects_reused);
    "onefed_link_hub_replies" Counter NONE "Replies that SuperLink has." link!(replies);
    "onefed_link_hub_sessions_again" Counter NONE "Push sessions at SuperLink that had to be begun again." link!(sessions_again);
    "onefed_link_hub_holds" Counter NONE "Times that a SuperNode was kept alive in a cut." link!(holds);
    "onefed_link_hub_suspected_losses" Counter NONE "Messages that may have been lost next to SuperLink, or that a SuperNode took and never answered; each told to the ServerApp." link!(suspected);
    "onefed_link_hub_given_up" Counter NONE "Messages and replies that came to nothing at the hub." link!(given_up);
    "onefed_link_hub_refused_wants" Counter NONE "Objects that a spoke asked for and that no message of it names." link!(refused_wants);
    "onefed_link_hub_calls_held_back" Counter NONE "Calls that were put off since their spoke had not said that earlier answers arrived." link!(held_back);
    "onefed_link_hub_kept_calls" Gauge NONE "Calls of spokes that may come again: under way, or with an answer that is kept until it has arrived." link!(kept_calls);
    "onefed_link_hub_kept_call_bytes" Gauge NONE "What these take, in bytes of memory." link!(kept_call_bytes);
    "onefed_link_hub_open_messages" Gauge NONE "Messages that their SuperNodes have not confirmed." link!(open_messages);
    "onefed_link_hub_open_replies" Gauge NONE "Replies at the hub that SuperLink does not have yet." link!(open_replies);
    "onefed_link_hub_disk_bytes" Gauge NONE "Bytes of objects on the hub's disk." link!(disk_bytes);
    "onefed_link_hub_disk_needed_bytes" Gauge NONE "Of these, needed by messages and replies under way." link!(disk_needed_bytes);
    "onefed_link_hub_disk_limit_bytes" Gauge NONE "What objects may take at the hub, FL_LINK_DISK." link!(disk_limit_bytes);
    "onefed_link_hub_disk_ok" Gauge NONE "Whether the hub's disk has room; 0 means that cuts are not hidden." |hub| of_link(hub, |link| u64::from(link.room));
    "onefed_link_hub_damaged_objects" Counter NONE "Objects found damaged on the hub's disk." link!(damaged);
    "onefed_link_hub_evicted_objects" Counter NONE "Objects removed from the hub's disk to make room." link!(evictions);
};

const SITE: &[&str] = &["site"];
const OPERATION: &[&str] = &["site", "spoke", "operation"];

fn online(hub: &HubStatus) -> Vec<Sample> {
    let mut sites = std::collections::BTreeMap::<&str, u32>::new();
    for node in &hub.nodes {
        *sites.entry(&node.site).or_default() += u32::from(node.online);
    }
    sites.into_iter().map(|(site, count)| (vec![site.to_owned()], f64::from(count))).collect()
}

fn unknown(hub: &HubStatus) -> Vec<Sample> {
    let own = hub.unknown.iter().map(|one| (vec![String::new(), String::new(), one.name.clone()], one.count));
    let of_spokes = hub.spokes.iter().flat_map(|line| {
        let stats = line.said.iter().flat_map(|said| &said.stats.unknown);
        stats.map(|one| (vec![line.site.clone(), line.spoke.clone(), one.name.clone()], one.count))
    });
    own.chain(of_spokes).map(|(labels, count)| (labels, count as f64)).collect()
}

/// The metrics of a hub, ready to be read by Prometheus.
pub fn render(hub: &HubStatus) -> String {
    let mut out = String::new();
    for metric in METRICS {
        let samples = (metric.samples)(hub);
        let (name, kind) = (metric.name, metric.kind);
        let _ = writeln!(out, "# TYPE {name} {}\n# HELP {name} {}", kind.word(), metric.help);
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        for (values, value) in samples {
            let pairs = metric.labels.iter().zip(&values);
            let pairs: Vec<_> =
                pairs.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
            let _ = writeln!(out, "{name}{suffix}{labels} {value}");
        }
    }
    out.push_str("# EOF\n");
    out
}

/// A label's value: sites and spokes name themselves.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The metrics as a table in Markdown, for the specification.
pub fn reference_markdown() -> String {
    let mut out = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let suffix = if metric.kind == Kind::Counter { "_total" } else { "" };
        let (name, kind, labels) = (metric.name, metric.kind.word(), metric.labels.join(", "));
        let _ = writeln!(out, "| `{name}{suffix}` | {kind} | {labels} | {} |", metric.help);
    }
    out
}

#[cfg(test)]
mod tests;
