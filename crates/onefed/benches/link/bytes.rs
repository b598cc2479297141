//! The cases with synthetic ends: a SuperLink and SuperNodes in this process that only move bytes, and between them the
//! real hub and real spokes over the emulated line.

use std::sync::Arc;
use std::time::Duration;

use onefed_flower::{Release, Transport};
use onefed_testbed::federation::{Failed, Link, Usage};
use onefed_testbed::synthetic::{Model, SuperLink, SuperNode, Timing};
use serde_json::json;

use crate::measure::{NET, Options, Shape, Who, flowing, looked_at};
use crate::table::{Row, Table, Target, median};

const PATIENCE: Duration = Duration::from_secs(300);
/// Idle SuperNodes, and through how many spokes.
const IDLE: (usize, usize) = (300, 30);
/// How long they are looked at.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// A case, its unit, what it is of a run, what it should be, and whether plain Flower has it, too.
type Measure = (&'static str, &'static str, fn(&Moved) -> f64, Target, bool);

struct Moved {
    /// 10^6 bytes per second, while they flow.
    down: f64,
    up: f64,
    /// CPU seconds per 10^9 bytes.
    hub: f64,
    spoke: f64,
    /// The most memory above what it had before, in bytes.
    hub_grew: u64,
    spoke_grew: u64,
}

pub(crate) fn bulk(options: &Options, flower: &str, table: &mut Table) {
    let pairs = options.pairs.unwrap_or(3);
    let (mut stock, mut ours) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        for (who, list) in [(Who::Stock, &mut stock), (Who::Ours, &mut ours)] {
            if who == Who::Stock && options.ours_only {
                continue;
            }
            match moved(who, flower, options.bulk * 1_000_000) {
                Ok(moved) => {
                    println!(
                        "  pair {pair}/{pairs} {who:?}: {:.0} MB/s down, {:.0} MB/s up; CPU-s per GB: hub {:.2}, spoke {:.2}; grew by {} and {} MB",
                        moved.down,
                        moved.up,
                        moved.hub,
                        moved.spoke,
                        moved.hub_grew / 1_000_000,
                        moved.spoke_grew / 1_000_000
                    );
                    list.push(moved);
                }
                Err(why) => table.failed(&format!("{who:?}: {why}")),
            }
        }
    }
    let runs = |list: &[Moved]| -> Vec<_> {
        let one = |moved: &Moved| json!([moved.down, moved.up, moved.hub, moved.spoke]);
        list.iter().map(one).collect()
    };
    let all = json!({ "of": ["MB/s down", "MB/s up", "hub CPU-s/GB", "spoke CPU-s/GB"], "stock": runs(&stock), "ours": runs(&ours) });
    let rows: [Measure; 6] = [
        ("bulk: down, 1 Gbit/s, 20 ms", "MB/s", |moved| moved.down, Target::AtLeast(106.0), true),
        ("bulk: up, 1 Gbit/s, 20 ms", "MB/s", |moved| moved.up, Target::AtLeast(106.0), true),
        ("bulk: CPU of the hub", "CPU-s per GB", |moved| moved.hub, Target::AtMost(2.5), false),
        ("bulk: CPU of the spoke", "CPU-s per GB", |moved| moved.spoke, Target::AtMost(2.5), false),
        (
            "bulk: memory of the hub over idle",
            "MB",
            |moved| moved.hub_grew as f64 / 1e6,
            Target::AtMost(67.1),
            false,
        ),
        (
            "bulk: memory of the spoke over idle",
            "MB",
            |moved| moved.spoke_grew as f64 / 1e6,
            Target::AtMost(67.1),
            false,
        ),
    ];
    for (case, unit, what, target, beside) in rows {
        let of = |list: &[Moved]| median(list.iter().map(what));
        let stock = of(&stock).filter(|_| beside);
        table.add(&Row { case, flower, unit, stock, ours: of(&ours), target, runs: all.clone() });
    }
}

/// One message down and one up.
fn moved(who: Who, flower: &str, bytes: usize) -> Result<Moved, Failed> {
    let transport = Release::parse(flower).map_err(|why| Failed(why.to_string()))?.transport();
    let (model, reply) = (Arc::new(Model::new(1, bytes)), Arc::new(Model::new(2, bytes)));
    let parts = Parts::start(who, flower, transport, 1)?;
    let timing = Timing { poll: Duration::from_millis(200), ..Timing::default() };
    let nodes = vec![SuperNode::new(parts.fleet(0), transport, timing, Some(reply))?];
    let running = running(nodes, &parts.superlink)?;
    let (hub, spoke) = (parts.hub_usage(), parts.spoke_usage());
    let lines: Vec<_> = parts.link.hops.iter().filter_map(|hop| hop.wan.as_ref()).collect();
    let (whole, looks) = looked_at(&lines, || {
        parts.superlink.give_all(&model);
        parts.superlink.wait_for_replies(1, PATIENCE)
    });
    if !whole {
        let (pulled, pushed, _) = parts.superlink.moved();
        let logs = parts.link.keep().display();
        let text =
            format!("not whole within {PATIENCE:?}: {pulled} objects down, {pushed} up; logs are in {logs}");
        return Err(Failed(text));
    }
    let (hub_after, spoke_after) = (parts.hub_usage(), parts.spoke_usage());
    drop(running);
    let rate = |bytes: u64, seconds: f64| 0.98 * bytes as f64 / 1e6 / seconds.max(0.05);
    let gb = 2.0 * bytes as f64 / 1e9;
    let last = looks.last().copied().unwrap_or_default();
    Ok(Moved {
        down: rate(last.0, flowing(looks.iter().map(|look| look.0))),
        up: rate(last.1, flowing(looks.iter().map(|look| look.1))),
        hub: (hub_after.cpu_seconds - hub.cpu_seconds) / gb,
        spoke: (spoke_after.cpu_seconds - spoke.cpu_seconds) / gb,
        hub_grew: hub_after.rss_peak.saturating_sub(hub.rss),
        spoke_grew: spoke_after.rss_peak.saturating_sub(spoke.rss),
    })
}

pub(crate) fn idle(_: &Options, flower: &str, table: &mut Table) {
    match idling(flower) {
        Err(why) => table.failed(&why.to_string()),
        Ok((hub, spoke, polls)) => {
            let runs = json!({ "polls_at_superlink_per_second": polls });
            let mb = |usage: Usage| usage.rss as f64 / 1e6;
            let share = |usage: Usage| 100.0 * usage.cpu_seconds / IDLE_TIME.as_secs_f64();
            let rows = [
                ("idle300: CPU of the hub", "% of a core", share(hub), Target::AtMost(10.0)),
                ("idle300: memory of the hub", "MB", mb(hub), Target::AtMost(104.9)),
                ("idle300: CPU of a spoke", "% of a core", share(spoke), Target::None),
                (
                    "idle300: anonymous memory of a spoke",
                    "MB",
                    spoke.rss_anon as f64 / 1e6,
                    Target::AtMost(15.7),
                ),
            ];
            for (case, unit, ours, target) in rows {
                let (stock, ours) = (None, Some(ours));
                table.add(&Row { case, flower, unit, stock, ours, target, runs: runs.clone() });
            }
        }
    }
}

/// Hub and one of the spokes while nothing happens (CPU seconds of that time only), and polls per second at SuperLink.
fn idling(flower: &str) -> Result<(Usage, Usage, f64), Failed> {
    let transport: Transport = Release::parse(flower).map_err(|why| Failed(why.to_string()))?.transport();
    let (count, spokes) = IDLE;
    let parts = Parts::start(Who::Ours, flower, transport, spokes)?;
    let node = |index: usize| SuperNode::new(parts.fleet(index % spokes), transport, Timing::default(), None);
    let nodes = (0..count).map(node).collect::<Result<Vec<_>, _>>()?;
    let running = running(nodes, &parts.superlink)?;
    // The rush of the first moment is no idling.
    std::thread::sleep(Duration::from_secs(10));
    let (hub, spoke) = (parts.hub_usage(), parts.spoke_usage());
    let polls = parts.superlink.calls(onefed_flower::Operation::PullMessages);
    std::thread::sleep(IDLE_TIME);
    let less =
        |after: Usage, before: Usage| Usage { cpu_seconds: after.cpu_seconds - before.cpu_seconds, ..after };
    let polls = parts.superlink.calls(onefed_flower::Operation::PullMessages) - polls;
    let usage = (less(parts.hub_usage(), hub), less(parts.spoke_usage(), spoke));
    drop(running);
    Ok((usage.0, usage.1, polls as f64 / IDLE_TIME.as_secs_f64()))
}

/// A SuperLink, and what is before each site's SuperNodes.
struct Parts {
    // Ends before what it talks to.
    link: Link,
    superlink: SuperLink,
}

impl Parts {
    fn start(who: Who, flower: &str, transport: Transport, sites: usize) -> Result<Self, Failed> {
        let superlink = SuperLink::start(([127, NET, 1, 1], 29092).into(), transport);
        let superlink = superlink.map_err(|why| Failed(format!("the synthetic SuperLink: {why}")))?;
        let setup = Shape::new(sites, 0, 0, 0.0, 20).setup(who, flower);
        Ok(Self { link: Link::start(&setup, superlink.address())?, superlink })
    }

    fn fleet(&self, site: usize) -> std::net::SocketAddr {
        self.link.hops[site].fleet
    }

    fn hub_usage(&self) -> Usage {
        self.link.hub.as_ref().map(|hub| hub.usage()).unwrap_or_default()
    }

    fn spoke_usage(&self) -> Usage {
        self.link.hops[0].spoke.as_ref().map(|spoke| spoke.usage()).unwrap_or_default()
    }
}

/// Nodes on a thread of their own, when SuperLink knows all of them. They end on drop.
fn running(nodes: Vec<SuperNode>, superlink: &SuperLink) -> Result<tokio::runtime::Runtime, Failed> {
    let count = nodes.len();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|why| Failed(why.to_string()))?;
    for node in nodes {
        runtime.spawn(node.run());
    }
    if superlink.wait_for_nodes(count, Duration::from_secs(120)) {
        return Ok(runtime);
    }
    Err(Failed(format!("{} of {count} nodes have come", superlink.nodes())))
}
