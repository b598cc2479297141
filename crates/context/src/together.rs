//! What must hold between the variables of training, GPU, metrics, node authentication and runtime.
//!
//! A VM's context and a plan are checked by these same rules: both hand in a look-up that gives what counts for one
//! VM, its value or the default. The bounds are those of Flower's strategies as they behave, not only as the older
//! reference writes them: where a strategy would quietly do nothing, the values are refused.

use crate::problem::Problem;
use crate::role::Role;
use crate::rule::{count, decimal, yes_no};
use crate::runtime::ContainerImage;
use crate::variable::Variable;
use crate::vm::FlowerVersion;

/// Looks up what counts for a variable: the value given, else the table's default.
type Look<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// The libraries that a ready-made app can run on.
const FRAMEWORKS: &[(&str, &[&str])] = &[
    ("image-classification", &["pytorch", "tensorflow"]),
    ("anomaly-detection", &["sklearn"]),
    ("llm-fine-tuning", &["pytorch"]),
];

/// Everything that is wrong or doubtful between the values of one VM. Values that are refused by themselves are passed
/// over. Without a role, the rules of all roles apply.
pub fn together<'a>(role: Option<Role>, look: Look<'a>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if role.is_none_or(|role| role == Role::SuperLink) {
        minimums(look, &mut problems);
        strategy(look, &mut problems);
        metrics(look, &mut problems);
    }
    if role.is_none_or(|role| role == Role::SuperNode) {
        gpu(look, &mut problems);
        use_case(look, &mut problems);
    }
    if role != Some(Role::Gateway) {
        node_auth(look, &mut problems);
        image(look, &mut problems);
    }
    problems
}

/// One line about an allowed value that has no effect: because another variable makes it meaningless, or because
/// onefed does not act on it.
pub fn idle<'a>(row: &Variable, value: &str, look: Look<'a>) -> Option<Problem> {
    if row.is_default(value) {
        return None;
    }
    match row.only_when {
        Some(when) if !when.holds(look(when.variable)) => {
            let words = when.words.join(" or ");
            let message = format!("{} has no effect unless {} is {words}.", row.name, when.variable);
            Some(Problem::info("context::no-effect", row.name, message))
        }
        _ => row.note(value),
    }
}

fn number(look: Look<'_>, name: &str) -> Option<u32> {
    look(name).and_then(count)
}

fn is_on(look: Look<'_>, name: &str) -> bool {
    look(name).and_then(yes_no) == Some(true)
}

/// 10b: which minimum gates what.
fn minimums(look: Look<'_>, problems: &mut Vec<Problem>) {
    const AVAILABLE: &str = "FL_MIN_AVAILABLE_CLIENTS";
    let Some(available) = number(look, AVAILABLE).filter(|n| *n > 0) else { return };
    for (name, what) in [("FL_MIN_FIT_CLIENTS", "training"), ("FL_MIN_EVALUATE_CLIENTS", "evaluation")] {
        if let Some(least) = number(look, name).filter(|least| *least > available) {
            let message = format!(
                "{name} ({least}) is greater than {AVAILABLE} ({available}): {what} waits until {least} clients are connected."
            );
            problems.push(Problem::warning("context::minimums", name, message));
        }
    }
}

/// 10g: the bounds of the strategies.
fn strategy(look: Look<'_>, problems: &mut Vec<Problem>) {
    let Some(strategy) = look("FL_STRATEGY") else { return };
    let n = number(look, "FL_MIN_AVAILABLE_CLIENTS").filter(|n| *n > 0);
    let f = number(look, "FL_NUM_MALICIOUS");
    match (strategy, n, f) {
        ("Krum", Some(n), Some(f)) => byzantine("Krum", 2, n, f, problems),
        ("Bulyan", Some(n), Some(f)) => byzantine("Bulyan", 4, n, f, problems),
        ("FedTrimmedAvg", Some(n), _) => trimmed(look, n, problems),
        ("FedProx", _, _) if look("FL_PROXIMAL_MU").and_then(decimal) == Some(0.0) => {
            let message = "FL_STRATEGY is FedProx and FL_PROXIMAL_MU is 0: this is the same as FedAvg.";
            problems.push(Problem::warning("context::fedprox-zero", "FL_PROXIMAL_MU", message));
        }
        _ => {}
    }
}

/// Krum and Bulyan. Flower's Bulyan skips every aggregation below its bound, for f = 0 too; its Krum picks some update
/// without a word, which for f = 0 hurts nobody who expects no hostile client.
fn byzantine(name: &str, factor: u64, n: u32, f: u32, problems: &mut Vec<Problem>) {
    let least = u64::from(f) * factor + 3;
    if u64::from(n) >= least {
        return;
    }
    if name == "Krum" && f == 0 {
        let message =
            format!("Krum compares nothing with fewer than 3 clients; FL_MIN_AVAILABLE_CLIENTS is {n}.");
        problems.push(Problem::warning("context::krum-few", "FL_MIN_AVAILABLE_CLIENTS", message));
        return;
    }
    let message = format!(
        "{name} requires n >= {factor}*f+3. FL_MIN_AVAILABLE_CLIENTS={n}, FL_NUM_MALICIOUS={f} requires n >= {least}."
    );
    let problem = Problem::error("context::byzantine-bound", "FL_MIN_AVAILABLE_CLIENTS", message);
    problems.push(problem.with_hint(format!("set FL_MIN_AVAILABLE_CLIENTS to at least {least}")));
}

/// A trimmed mean that trims nobody is a plain mean: no protection at all.
fn trimmed(look: Look<'_>, n: u32, problems: &mut Vec<Problem>) {
    let beta = look("FL_TRIM_BETA").and_then(decimal).filter(|beta| *beta > 0.0 && *beta < 0.5);
    let Some(beta) = beta else { return };
    if beta * f64::from(n) >= 1.0 {
        return;
    }
    let least = (1.0 / beta).ceil();
    let message = format!(
        "FedTrimmedAvg trims floor(beta*n) clients at each end. FL_TRIM_BETA={beta}, FL_MIN_AVAILABLE_CLIENTS={n} trims none and requires n >= {least}."
    );
    let problem = Problem::error("context::trims-nobody", "FL_MIN_AVAILABLE_CLIENTS", message);
    problems
        .push(problem.with_hint(format!(
            "set FL_MIN_AVAILABLE_CLIENTS to at least {least}, or a larger FL_TRIM_BETA"
        )));
}

/// 10l: the port must be free on this VM.
fn metrics(look: Look<'_>, problems: &mut Vec<Problem>) {
    const PORT: &str = "FL_METRICS_PORT";
    let Some(port) = number(look, PORT).filter(|_| is_on(look, "FL_METRICS_ENABLED")) else { return };
    for name in ["FL_FLEET_API_ADDRESS", "FL_CONTROL_API_ADDRESS", "FL_ADMIN_API_ADDRESS"] {
        let other = look(name).and_then(|text| text.parse::<crate::Endpoint>().ok());
        if other.is_some_and(|other| u32::from(other.port) == port) {
            let message = format!("{PORT} ({port}) is the port of {name} already.");
            problems.push(Problem::error("context::port-twice", PORT, message));
        }
    }
}

/// Flower refuses to authenticate nodes without TLS.
fn node_auth(look: Look<'_>, problems: &mut Vec<Problem>) {
    let tls = look("FL_TLS_ENABLED").and_then(yes_no);
    if is_on(look, "FL_NODE_AUTH") && tls == Some(false) {
        let message =
            "FL_NODE_AUTH is YES but FL_TLS_ENABLED is NO: Flower authenticates nodes over TLS only.";
        let problem = Problem::error("context::auth-without-tls", "FL_NODE_AUTH", message);
        problems.push(problem.with_hint("set FL_TLS_ENABLED=YES, or FL_NODE_AUTH=NO"));
    }
}

/// An image whose tag is the number of another release.
fn image(look: Look<'_>, problems: &mut Vec<Problem>) {
    const IMAGE: &str = "FL_CONTAINER_IMAGE";
    if look("FL_RUNTIME") != Some("container") {
        return;
    }
    let image = look(IMAGE).and_then(|text| text.parse::<ContainerImage>().ok());
    let (Some(image), Some(wanted)) = (image, look("FLOWER_VERSION")) else { return };
    let Some(tag) = image.tag().map(|tag| tag.split('-').next().unwrap_or(tag)) else { return };
    if tag.parse::<FlowerVersion>().is_ok() && tag != wanted {
        let message = format!("{IMAGE} has the tag of release {tag}, but FLOWER_VERSION is {wanted}.");
        let problem = Problem::warning("context::image-release", IMAGE, message);
        problems.push(problem.with_hint("set both to the same release"));
    }
}

/// 10m.
fn gpu(look: Look<'_>, problems: &mut Vec<Problem>) {
    if is_on(look, "FL_DCGM_ENABLED") && !is_on(look, "FL_GPU_ENABLED") {
        let message = "FL_DCGM_ENABLED=YES but FL_GPU_ENABLED is not YES: there is no GPU to watch.";
        problems.push(Problem::warning("context::dcgm-without-gpu", "FL_DCGM_ENABLED", message));
    }
}

fn use_case(look: Look<'_>, problems: &mut Vec<Problem>) {
    let (Some(case), Some(framework)) = (look("FL_USE_CASE"), look("ML_FRAMEWORK")) else { return };
    let Some((_, needed)) = FRAMEWORKS.iter().find(|(name, _)| *name == case) else { return };
    let known = crate::table::variable("ML_FRAMEWORK").and_then(|row| row.rule.options());
    if needed.contains(&framework) || !known.is_some_and(|known| known.contains(&framework)) {
        return;
    }
    let needed = needed.join(" or ");
    let message = format!(
        "FL_USE_CASE '{case}' requires ML_FRAMEWORK '{needed}', but ML_FRAMEWORK is set to '{framework}'"
    );
    problems.push(Problem::error("context::use-case", "FL_USE_CASE", message));
}
