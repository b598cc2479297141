//! What no single value can tell: unknown names, missing variables, and what must hold between them.

use super::{Values, trust};
use crate::keepalive::KeepAlive;
use crate::node_config::NodeConfig;
use crate::problem::Problem;
use crate::raw::{RawContext, is_flower_name};
use crate::role::{GatewayPlacement, Role};
use crate::rule::count;
use crate::suggest::nearest;
use crate::table::{TABLE, variable};
use crate::together::{idle, together};
use crate::variable::{Placement, Variable};

/// Names that nobody knows, and names given twice with and without the prefix.
pub(super) fn names(raw: &RawContext) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (given, value) in raw.iter() {
        let name = given.strip_prefix("ONEAPP_").unwrap_or(given);
        if !is_flower_name(name) {
            continue;
        }
        if variable(name).is_none() {
            let problem =
                Problem::error("context::unknown", given, format!("{given} is not a known variable."));
            let flower = TABLE.iter().map(|row| row.name).filter(|name| is_flower_name(name));
            problems.push(Problem {
                hint: nearest(name, flower).map(|n| format!("did you mean {n}?")),
                ..problem
            });
        } else if given != name && raw.get_exact(name).is_some_and(|plain| plain != value) {
            let message = format!("{given} and {name} are the same variable but have different values.");
            problems
                .push(Problem::error("context::conflict", name, message).with_hint("give only one of them"));
        }
    }
    problems
}

/// Everything else; appends to the problems of the single values.
pub(super) fn relations(values: &Values<'_>, problems: &mut Vec<Problem>) {
    let role = values.role();
    required(values, role, problems);
    addresses(values, problems);
    site(values, role, problems);
    keepalive(values, problems);
    trust::check(values, role, problems);
    readiness(values, problems);
    partitions(values, problems);
    problems.extend(together(role, &|name| values.text(name)));
    unused(values, role, problems);
}

fn missing(name: &str, when: &str) -> Problem {
    let hint = variable(name).map(|row| row.description).unwrap_or_default();
    Problem::error("context::missing", name, format!("{name} is required{when}.")).with_hint(hint)
}

fn required(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    for row in TABLE.iter().filter(|row| values.given(row.name).is_none()) {
        match role {
            _ if row.required.len() == Role::ALL.len() => problems.push(missing(row.name, "")),
            Some(role) if row.required.contains(&role) => {
                problems.push(missing(row.name, &format!(" for role {role}")));
            }
            _ => {}
        }
    }
    // OpenNebula sets both, and a CONTEXT that was replaced as a whole may have lost them.
    for name in ["ONEGATE_ENDPOINT", "VMID"] {
        if values.yes("TOKEN") == Some(true) && values.given(name).is_none() {
            problems.push(missing(name, " when TOKEN is YES"));
        }
    }
}

fn addresses(values: &Values<'_>, problems: &mut Vec<Problem>) {
    if values.given("ETH0_IP").is_none() && values.given("ETH0_IP6").is_none() {
        problems.push(missing("ETH0_IP", ""));
    }
    for (name, value) in values.raw.iter().filter(|(name, _)| *name != "ETH0_IP" && interface(name).is_some())
    {
        if value.parse::<std::net::IpAddr>().is_err() {
            let value = crate::problem::shown(value);
            let message = format!("Invalid {name}: '{value}'. Must be an IP address.");
            problems.push(Problem::error("context::invalid", name, message));
        }
    }
}

/// Orders the address variables of a VM: the interface's number, then IPv4 before IPv6. None for other names.
pub(super) fn interface(name: &str) -> Option<(u32, u8)> {
    let (number, kind) = name.strip_prefix("ETH")?.split_once('_')?;
    let family = match kind {
        "IP" => 4,
        "IP6" => 6,
        _ => return None,
    };
    count(number).map(|number| (number, family))
}

/// 10c: a training site is told where the hub is; a single site may ask OneGate.
fn site(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    const ADDRESS: &str = "FL_SUPERLINK_ADDRESS";
    let named = values.has_site() || role == Some(Role::Gateway);
    if named && let Some(found) = problems.iter_mut().find(|p| p.variable.as_deref() == Some(ADDRESS)) {
        // The literal message offers discovery, which a training site does not have.
        let why = found.hint.take().map(|why| format!("{why}; ")).unwrap_or_default();
        let rest = "at a training site it cannot be left empty: set the address of the federation's hub";
        found.hint = Some(format!("{why}{rest}"));
    }
    if role != Some(Role::SuperNode) {
        return;
    }
    let blank = values.given(ADDRESS).is_none();
    if values.has_site() {
        if blank && values.has_spoke() {
            let problem = missing(ADDRESS, " for role supernode with FL_SITE and FL_GATEWAY=embedded");
            problems.push(problem.with_hint(
                "set the address of the federation's hub, host:port; only where FL_SITE is blank does OneGate know it",
            ));
        }
        return;
    }
    if values.gateway() == Some(GatewayPlacement::Dedicated) {
        let message = "FL_GATEWAY is dedicated, but FL_SITE is blank: a single site has no gateway VM.";
        let problem = Problem::error("context::gateway-without-site", "FL_GATEWAY", message);
        problems
            .push(problem.with_hint("set FL_SITE to the name of the training site, or leave FL_GATEWAY out"));
    } else if blank && values.yes("TOKEN") == Some(false) {
        let message = format!("{ADDRESS} is empty and TOKEN is not YES: nothing says where the hub is.");
        let problem = Problem::error("context::no-discovery", ADDRESS, message);
        problems
            .push(problem.with_hint("set the address of the SuperLink's VM, or TOKEN=YES to ask OneGate"));
    } else if !blank {
        let message = "FL_SITE is blank: this SuperNode belongs to the single site `local`.";
        let problem = Problem::info("context::single-site", "FL_SITE", message);
        problems
            .push(problem.with_hint("in a federation of several sites, set FL_SITE to the name of this one"));
    }
}

/// Who reports READY: the appliance always does.
fn readiness(values: &Values<'_>, problems: &mut Vec<Problem>) {
    const REPORT: &str = "REPORT_READY";
    if values.yes(REPORT) != Some(true) {
        return;
    }
    problems.push(match values.given("READY_SCRIPT_PATH") {
        None => Problem::warning(
            "context::early-ready",
            REPORT,
            "REPORT_READY is YES: the guest agent would report READY even where the appliance has failed. Leave it out; the appliance reports READY itself.",
        ),
        Some(path) => {
            let path = crate::problem::shown(path);
            let message = format!(
                "REPORT_READY is YES: the guest agent reports READY too, once {path} succeeds; `onefed health` is such a program."
            );
            Problem::info("context::ready-twice", REPORT, message)
        }
    });
}

fn keepalive(values: &Values<'_>, problems: &mut Vec<Problem>) {
    let positive = |name| values.count(name).filter(|seconds| *seconds > 0);
    let Some(time) = positive("FL_GRPC_KEEPALIVE_TIME") else { return };
    if time < KeepAlive::SHORT {
        let message = format!("FL_GRPC_KEEPALIVE_TIME={time} is aggressive and may cause excessive traffic.");
        problems.push(Problem::warning("context::keepalive-short", "FL_GRPC_KEEPALIVE_TIME", message));
    }
    let Some(timeout) = positive("FL_GRPC_KEEPALIVE_TIMEOUT") else { return };
    if let Err(error) = KeepAlive::from_secs(time, timeout) {
        let problem =
            Problem::error("context::keepalive-order", "FL_GRPC_KEEPALIVE_TIMEOUT", error.to_string());
        problems.push(
            problem.with_hint("the defaults are 60 and 20 seconds, and count where a value is not given"),
        );
    }
}

fn partitions(values: &Values<'_>, problems: &mut Vec<Problem>) {
    let (base, total) = ("FL_PARTITION_BASE", "FL_NUM_PARTITIONS");
    let (name, other) = match (values.given(base), values.given(total)) {
        (Some(_), None) => (total, base),
        (None, Some(_)) => (base, total),
        (None, None) => return,
        (Some(_), Some(_)) => {
            if let (Some(first), Some(all)) = (values.count(base), values.count(total).filter(|all| *all > 0))
                && first >= all
            {
                let message = format!("{base} ({first}) must be less than {total} ({all}).");
                problems.push(Problem::error("context::partition-range", base, message));
            }
            let config: NodeConfig = values.parse("FL_NODE_CONFIG").unwrap_or_default();
            for key in ["partition-id", "num-partitions"].into_iter().filter(|key| config.get(key).is_some())
            {
                let message =
                    format!("FL_NODE_CONFIG sets {key}, which comes from {base} and {total} already.");
                let problem = Problem::error("context::partition-twice", "FL_NODE_CONFIG", message);
                problems.push(problem.with_hint("set the partitions in one of the two ways"));
            }
            return;
        }
    };
    let message = format!("{name} is required when {other} is given.");
    problems.push(Problem::error("context::partition-pair", name, message));
}

/// Whether somebody who sets it may expect an effect of it: a template's author writes infrastructure for all roles
/// alike.
fn is_told(row: &Variable) -> bool {
    row.placement != Placement::Infrastructure || row.secret || row.only_when.is_some()
}

/// What a role does not use, and what this onefed does not: one line for each. Forms send every default, so only a
/// value that differs from it is worth a remark.
fn unused(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    let Some(role) = role else { return };
    for row in TABLE.iter().filter(|row| is_told(row)) {
        let Some(value) = values.given(row.name).filter(|value| !row.is_default(value)) else { continue };
        // What is refused has been said, and no second line helps.
        if row.check(value).is_err() {
            continue;
        }
        if !row.used_by(role, values.has_spoke()) {
            let where_else = if row.spoke_only && role == Role::SuperNode {
                ": it acts on the site's gateway"
            } else {
                ""
            };
            let message = format!("{} is set, but this {role} does not use it{where_else}.", row.name);
            problems.push(Problem::info("context::unused", row.name, message));
        } else if let Some(problem) = idle(row, value, &|name| values.text(name)) {
            problems.push(problem);
        }
    }
}
