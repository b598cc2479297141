//! What the VMs of a part would say about their variables together, said before they exist.

use std::collections::BTreeMap;
use std::ops::Range;

use onefed_context::{Problem, Role, Severity, TABLE, Variable, idle, together, variable};
use onefed_flower::Release;

use super::Draft;
use super::settings::Settings;
use crate::diagnostic::Sink;

/// The rules between variables, and one line for each variable that this onefed does not act on.
pub(super) fn check(draft: &Draft, sink: &mut Sink<'_>) {
    let version = |release: Option<Release>| Some(("FLOWER_VERSION", release?.version().to_string()));
    if let Some(coordinator) = &draft.coordinator {
        let ports = [
            ("FL_FLEET_API_ADDRESS", coordinator.fleet_port),
            ("FL_ADMIN_API_ADDRESS", coordinator.admin_port),
        ];
        let roles: &[Role] = match coordinator.nodes {
            Some(_) => &[Role::SuperLink, Role::SuperNode],
            None => &[Role::SuperLink],
        };
        let ports = ports.map(|(name, port)| (name, format!("0.0.0.0:{port}")));
        let derived = ports.into_iter().chain(version(draft.flower)).collect();
        Side { own: &coordinator.settings, all: &draft.settings, at: &coordinator.at, derived }
            .check(roles, sink);
        minimums(draft, &coordinator.settings, sink);
    }
    for site in &draft.sites {
        let release = site.flower.as_ref().map(|own| *own.get_ref()).or(draft.flower);
        let derived = version(release).into_iter().collect();
        Side { own: &site.settings, all: &draft.settings, at: &site.at, derived }
            .check(&[Role::SuperNode, Role::Gateway], sink);
    }
}

/// The variables of one part.
struct Side<'a> {
    own: &'a Settings,
    all: &'a Settings,
    /// The part's table.
    at: &'a Range<usize>,
    /// What the plan says in other words.
    derived: BTreeMap<&'static str, String>,
}

impl Side<'_> {
    fn check(&self, roles: &[Role], sink: &mut Sink<'_>) {
        let look = |name: &str| self.value(name);
        let mut problems: Vec<Problem> = Vec::new();
        for role in roles {
            problems.extend(together(Some(*role), &look));
        }
        let used = |row: &Variable| row.roles.iter().any(|role| roles.contains(role));
        for row in TABLE.iter().filter(|row| used(row)) {
            let given = self.own.get(row.name).or_else(|| self.all.get(row.name));
            problems.extend(given.and_then(|value| idle(row, value.get_ref(), &look)));
        }
        for problem in problems {
            let place = problem.variable.as_deref().and_then(|name| self.place(name));
            let place = place.unwrap_or_else(|| self.at.clone());
            let noted = match problem.severity {
                Severity::Error => sink.error(problem.code, place, problem.message),
                Severity::Warning | Severity::Info => sink.warning(problem.code, place, problem.message),
            };
            if let Some(hint) = problem.hint {
                noted.hint(hint);
            }
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let given = self.own.get(name).or_else(|| self.all.get(name)).map(|value| value.get_ref().as_str());
        let derived = || self.derived.get(name).map(String::as_str);
        given.or_else(derived).or_else(|| variable(name)?.default)
    }

    fn place(&self, name: &str) -> Option<Range<usize>> {
        self.own.get(name).or_else(|| self.all.get(name)).map(|value| value.span())
    }
}

/// A minimum that the sites of the plan can never reach, or not with the SuperNodes that they start with. Only a
/// minimum that the plan sets: the default is not a wish of anybody.
fn minimums(draft: &Draft, coordinator: &Settings, sink: &mut Sink<'_>) {
    let local = draft.coordinator.as_ref().and_then(|coordinator| coordinator.nodes.as_ref());
    let counts = draft.sites.iter().map(|site| site.supernodes);
    let counts: Option<Vec<_>> = counts.chain(local.map(|nodes| nodes.supernodes)).collect();
    let Some(counts) = counts.filter(|counts| !counts.is_empty()) else { return };
    let sum = |numbers: &mut dyn Iterator<Item = u32>| numbers.map(u64::from).sum::<u64>();
    let most = sum(&mut counts.iter().map(|count| count.max));
    let first = sum(&mut counts.iter().map(|count| count.min));
    for name in ["FL_MIN_AVAILABLE_CLIENTS", "FL_MIN_FIT_CLIENTS", "FL_MIN_EVALUATE_CLIENTS"] {
        let Some(value) = coordinator.get(name).or_else(|| draft.settings.get(name)) else { continue };
        let Ok(least) = value.get_ref().parse::<u64>() else { continue };
        if least > most {
            let message = format!("{name} is {least}, but all sites together have at most {most} SuperNodes");
            sink.error("plan::too-few-supernodes", value.span(), message)
                .hint("a run would wait for ever: lower it, or add SuperNodes");
        } else if least > first {
            let message = format!("{name} is {least}, but all sites together start with {first} SuperNodes");
            sink.warning("plan::few-supernodes", value.span(), message);
        }
    }
}
