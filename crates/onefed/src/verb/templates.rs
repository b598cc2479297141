//! `onefed templates`: services by hand. OneFlow and VM templates, and the documents that instantiate services, for
//! OpenNebula's own tools; no plan, no zone and no state directory is looked at.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use onefed_context::{InputFlag, InputType, Problem, Role, variable};
use onefed_federation::by_hand::{ByHand, Hardware, Kind, VmTemplates};

use crate::failure::{Done, Exit, Failure, join};
use crate::output::{Format, Output};
use crate::table;

/// What is to be written.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Formats of this verb:
  text   the inputs and their defaults, for people
  json   the service template, for `oneflow-template create FILE`; with --merge the document with a
         value for every input, for `oneflow-template instantiate ID FILE`
  one    a VM template, for `onetemplate create FILE`")]
pub(crate) struct TemplatesArgs {
    /// The service: coordinator (SuperLink), site (SuperNodes), or single (both, in one zone).
    #[arg(long)]
    kind: Kind,
    /// Write what the service is instantiated with.
    #[arg(long)]
    merge: bool,
    /// Choose a variable: an input's value, or FL_SITE, FL_FEDERATION, FL_CA_FINGERPRINT. `@FILE` reads it from a file.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<Setting>,
    /// How many SuperNodes there are at first; 2 without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    supernodes: Option<u32>,
    /// The zone's VM template, by its id: for all roles, or for one as in `superlink=3`.
    #[arg(long = "vm-template", value_name = "ID")]
    vm_templates: Vec<VmTemplate>,
    /// The network of each VM, by its id. Without it, the VM template's.
    #[arg(long, value_name = "ID")]
    network: Option<u32>,
    /// The role of a VM template. Only a single site has two.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// The image that a VM template boots from, by its id.
    #[arg(long, value_name = "ID")]
    image: Option<u32>,
    /// Processors in a VM template.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    cpus: u32,
    /// Memory in a VM template, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
}

/// `NAME=VALUE`.
#[derive(Clone)]
struct Setting {
    name: String,
    value: String,
}

/// `ID` or `ROLE=ID`.
#[derive(Clone, Copy, Debug)]
struct VmTemplate {
    role: Option<Role>,
    id: u32,
}

/// Writes one document.
pub(crate) fn run(args: &TemplatesArgs, output: Output) -> Done {
    if args.merge && output.format != Format::Json {
        let why = "what a service is instantiated with is JSON";
        return Err(Failure::new(Exit::Usage, "usage", why).hint("add --format json"));
    }
    let given = args.set.iter().map(Setting::read).collect::<Result<Vec<_>, _>>()?;
    let hand = ByHand::new(args.kind, args.supernodes, given).map_err(refused)?;
    match output.format {
        // Metrics have been refused.
        Format::Text | Format::Metrics => output.text(listed(&hand)),
        Format::Json if args.merge => output.json(&hand.merge_template().map_err(refused)?),
        Format::Json => {
            let vm_templates = vm_templates(args, hand.roles())?;
            output.json(&hand.service_template(vm_templates, args.network).map_err(refused)?);
        }
        Format::One => {
            let hardware =
                Hardware { cpus: args.cpus, memory: args.memory, image: args.image, network: args.network };
            output.one(hand.vm_template(role(args, hand.roles())?, &hardware).map_err(refused)?);
        }
    }
    Ok(Exit::Ok)
}

/// Every problem in one failure.
fn refused(problems: Vec<Problem>) -> Failure {
    let failures = problems.into_iter().map(|problem| {
        let failure = Failure::new(Exit::BadInput, problem.code, problem.message);
        Failure { hint: problem.hint, ..failure }
    });
    join(failures.collect()).unwrap_or_else(|| Failure::new(Exit::Failed, "templates", "nothing was written"))
}

/// The VM template of each role of the service.
fn vm_templates(args: &TemplatesArgs, roles: &[Role]) -> Result<VmTemplates, Failure> {
    let usage = |why: String, hint: &str| Failure::new(Exit::Usage, "usage", why).hint(hint);
    if let Some(other) =
        args.vm_templates.iter().filter_map(|one| one.role).find(|role| !roles.contains(role))
    {
        let why = format!("a service of kind {} has no role {other}", args.kind);
        return Err(usage(why, "leave it out"));
    }
    let of = |role: Role| {
        let own = args.vm_templates.iter().rev().find(|one| one.role == Some(role));
        own.or_else(|| args.vm_templates.iter().rev().find(|one| one.role.is_none())).map(|one| one.id)
    };
    if let Some(role) = roles.iter().find(|role| of(**role).is_none()) {
        let why = format!("which VM template of the zone is for role {role}?");
        let hint = "--vm-template ID; `onefed templates --format one` makes one, for `onetemplate create`";
        return Err(usage(why, hint));
    }
    // A role that the service does not have is not looked at.
    let of = |role| of(role).unwrap_or_default();
    Ok(VmTemplates { superlink: of(Role::SuperLink), supernode: of(Role::SuperNode) })
}

/// The role of the one VM template that is to be written.
fn role(args: &TemplatesArgs, roles: &[Role]) -> Result<Role, Failure> {
    let why = match (args.role, roles) {
        (None, [only]) => return Ok(*only),
        (Some(role), _) if roles.contains(&role) => return Ok(role),
        (Some(role), _) => format!("a service of kind {} has no role {role}", args.kind),
        (None, _) => format!("a service of kind {} has more than one VM template", args.kind),
    };
    let words: Vec<String> = roles.iter().map(|role| format!("--role {role}")).collect();
    Err(Failure::new(Exit::Usage, "usage", why).hint(words.join(" or ")))
}

/// The inputs of a service, for a reader.
fn listed(hand: &ByHand) -> String {
    let mut rows = Vec::new();
    for level in std::iter::once(None).chain(hand.roles().iter().copied().map(Some)) {
        for row in hand.inputs(level) {
            let needed = if hand.flag(row) == InputFlag::Mandatory { "M" } else { "O" };
            let value = hand.value(row).lines().next().unwrap_or_default();
            let value = if value.is_empty() { "-" } else { value };
            let value = if row.secret && value != "-" { "(hidden)" } else { value };
            rows.push(vec![
                row.name.to_owned(),
                level.map_or("service", Role::as_str).to_owned(),
                format!("{needed} {}", row.input.as_str()),
                shortened(value),
                row.description.to_owned(),
            ]);
        }
    }
    table::render(&["input", "set at", "type", "value", "description"], &rows)
}

/// A certificate fills no line.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 24;
    if value.chars().count() <= SHOWN {
        return value.to_owned();
    }
    format!("{}…", value.chars().take(SHOWN - 1).collect::<String>())
}

impl Setting {
    /// Name and value; what a file holds is wrapped as a form would do it.
    fn read(&self) -> Result<(String, String), Failure> {
        let row = variable(&self.name);
        let Some(path) = self.value.strip_prefix('@') else {
            if row.is_some_and(|row| row.secret) {
                let why = format!(
                    "{} is a secret, and everybody on this machine can read a command line",
                    self.name
                );
                let hint = format!("put it into a file: --set {}=@FILE", self.name);
                return Err(Failure::new(Exit::Usage, "templates::secret", why).hint(hint));
            }
            return Ok((self.name.clone(), self.value.clone()));
        };
        let text = std::fs::read_to_string(path).map_err(|why| {
            let message = format!("{} is to be read from {path}: {why}", self.name);
            Failure::new(Exit::BadInput, "file", message).hint("give a file behind the `@`")
        })?;
        let is_text64 = row.is_some_and(|row| row.input == InputType::Text64);
        let value = match text.contains("-----BEGIN ") && is_text64 {
            true => STANDARD.encode(text),
            false => text.trim_end_matches('\n').to_owned(),
        };
        Ok((self.name.clone(), value))
    }
}

impl fmt::Debug for Setting {
    /// The value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected NAME=VALUE".to_owned()),
        }
    }
}

impl FromStr for VmTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, id) = match text.split_once('=') {
            Some((role, id)) => (Some(role.parse::<Role>().map_err(|why| why.to_string())?), id),
            None => (None, text),
        };
        let id = id.parse().map_err(|_| format!("`{id}` is not the id of a VM template"))?;
        Ok(Self { role, id })
    }
}
