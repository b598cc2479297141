//! What no single value can tell: unknown names, missing variables, and what must hold between them.

use super::Values;
use crate::keepalive::KeepAlive;
use crate::node_config::NodeConfig;
use crate::problem::Problem;
use crate::raw::{RawContext, is_flower_name};
use crate::role::Role;
use crate::rule::count;
use crate::suggest::nearest;
use crate::table::{TABLE, variable};
use crate::together::{idle, together};
use crate::variable::Placement;

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
    keepalive(values, problems);
    trust(values, role, problems);
    partitions(values, problems);
    problems.extend(together(role, &|name| values.text(name)));
    unused(values, role, problems);
}

fn missing(name: &str, when: &str) -> Problem {
    let hint = variable(name).map(|row| row.description).unwrap_or_default();
    Problem::error("context::missing", name, format!("{name} is required{when}.")).with_hint(hint)
}

fn required(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    for row in TABLE.iter().filter(|row| row.required && values.given(row.name).is_none()) {
        match role {
            _ if row.roles.len() == Role::ALL.len() => problems.push(missing(row.name, "")),
            Some(role) if row.used_by(role, values.has_spoke()) => {
                problems.push(missing(row.name, &format!(" for role {role}")));
            }
            _ => {}
        }
    }
    if values.yes("TOKEN") == Some(true) && values.given("ONEGATE_ENDPOINT").is_none() {
        problems.push(missing("ONEGATE_ENDPOINT", " when TOKEN is YES"));
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

/// TLS fails closed: without a CA there is none at a site, and a CA is never ignored.
fn trust(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    const CA: &str = "FL_SSL_CA_CERTFILE";
    let (Some(role), Some(tls)) = (role, values.yes("FL_TLS_ENABLED")) else { return };
    let has_ca = values.given(CA).is_some();
    if tls && !has_ca && role != Role::SuperLink {
        let message = format!("{CA} is required for role {role} when FL_TLS_ENABLED is YES.");
        let problem = Problem::error("context::tls-without-ca", CA, message);
        problems.push(
            problem
                .with_hint("give the CA certificate of the federation; TLS is never switched off by itself"),
        );
    } else if !has_ca && values.given("FL_ENROL_KEY").is_some() && role != Role::SuperNode {
        let message = format!("FL_ENROL_KEY is given without {CA}: there is no CA to enrol with.");
        problems.push(Problem::error("context::enrol-without-ca", "FL_ENROL_KEY", message));
    }
    if !tls && has_ca {
        let message = format!("{CA} is given but FL_TLS_ENABLED is NO: a CA implies TLS.");
        let problem = Problem::error("context::ca-without-tls", CA, message);
        problems.push(problem.with_hint("set FL_TLS_ENABLED=YES, or leave the certificate out"));
    } else if !tls {
        let message = "FL_TLS_ENABLED is NO: models and credentials travel unencrypted.";
        problems.push(Problem::warning("context::plaintext", "FL_TLS_ENABLED", message));
    }
    if !tls && role == Role::SuperLink && values.given("FL_CERT_EXTRA_SAN").is_some() {
        let message = "FL_CERT_EXTRA_SAN is ignored because FL_TLS_ENABLED is NO.";
        problems.push(Problem::info("context::unused", "FL_CERT_EXTRA_SAN", message));
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

/// What a role does not use, and what this onefed does not: one line for each. Forms send every default, so only a
/// value that differs from it is worth a remark.
fn unused(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    let Some(role) = role else { return };
    for row in TABLE.iter().filter(|row| row.placement != Placement::Infrastructure || row.secret) {
        let Some(value) = values.given(row.name).filter(|value| !row.is_default(value)) else { continue };
        // What is refused has been said, and no second line helps.
        if values.is_checked(row) && row.check(value).is_err() {
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
