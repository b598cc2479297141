//! From a [`RawContext`] to a [`VmContext`], with every problem on the way.

mod build;
#[cfg(test)]
pub(crate) mod cases;
mod checks;
#[cfg(test)]
mod tests;
mod trust;
#[cfg(test)]
mod ways;

use crate::endpoint::{Endpoint, HUB_PORT};
use crate::problem::Problem;
use crate::raw::RawContext;
use crate::role::{GatewayPlacement, Role};
use crate::rule::{count, yes_no};
use crate::table::{TABLE, variable};
use crate::vm::VmContext;

/// The outcome of [`validate`].
#[derive(Clone, Debug)]
pub struct Validated {
    /// Everything that was noticed, in the order of the table; errors, warnings and remarks.
    pub problems: Vec<Problem>,
    /// The context; only if no problem is an error.
    pub context: Option<VmContext>,
}

/// Reads and validates a `context.sh`: [`RawContext::parse`] and [`validate`] in one step, so that a file with a
/// line that cannot be read never gives a context.
pub fn read_context_sh(text: &str) -> Validated {
    let (raw, mut problems) = RawContext::parse(text);
    let validated = validate(&raw);
    let readable = !problems.iter().any(Problem::is_error);
    problems.extend(validated.problems);
    Validated { problems, context: validated.context.filter(|_| readable) }
}

/// Checks every variable, then what holds between them.
///
/// Each value is checked whatever the role, as the reference asks, and whatever switch makes it meaningless. Defaults apply before values are compared with
/// each other.
pub fn validate(raw: &RawContext) -> Validated {
    let values = Values { raw };
    let mut problems = checks::names(raw);
    for row in TABLE {
        if let Some(Err(problem)) = raw.get(row.name).map(|value| row.check(value)) {
            problems.push(problem);
        }
    }
    checks::relations(&values, &mut problems);
    if problems.iter().any(Problem::is_error) {
        return Validated { problems, context: None };
    }
    let context = build::context(&values);
    if context.is_none() {
        // Not reachable while every rule of the table ends in the parser of its type; never silent all the same.
        let message = "The context passed every check but could not be read.".to_owned();
        problems.push(Problem::error("context::internal", "FL_ROLE", message));
    }
    Validated { problems, context }
}

/// Values with the table's defaults applied.
struct Values<'a> {
    raw: &'a RawContext,
}

impl Values<'_> {
    /// What was given, not the default.
    fn given(&self, name: &str) -> Option<&str> {
        self.raw.get(name)
    }

    /// What counts: the given value or the default.
    fn text(&self, name: &str) -> Option<&str> {
        self.given(name).or_else(|| variable(name)?.default)
    }

    fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn count(&self, name: &str) -> Option<u32> {
        count(self.text(name)?)
    }

    fn yes(&self, name: &str) -> Option<bool> {
        yes_no(self.text(name)?)
    }

    fn role(&self) -> Option<Role> {
        self.parse("FL_ROLE")
    }

    /// Whether this is a site with a name, one of several.
    fn has_site(&self) -> bool {
        self.given("FL_SITE").is_some()
    }

    /// Where the spoke is. At a single site nobody else has one.
    fn gateway(&self) -> Option<GatewayPlacement> {
        match self.given("FL_GATEWAY") {
            None if !self.has_site() => Some(GatewayPlacement::Embedded),
            _ => self.parse("FL_GATEWAY"),
        }
    }

    /// Whether this VM talks to the hub itself, if it is a SuperNode.
    fn has_spoke(&self) -> bool {
        self.gateway() == Some(GatewayPlacement::Embedded)
    }

    /// `FL_SUPERLINK_ADDRESS`, with its default port.
    fn hub(&self) -> Option<Endpoint> {
        Endpoint::parse_or(self.given("FL_SUPERLINK_ADDRESS")?, HUB_PORT).ok()
    }
}
