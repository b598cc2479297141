//! What a VM template of OpenNebula needs so that its form asks for the variables of a role and the VM gets the answers:
//! a `USER_INPUTS` and a `CONTEXT` block.

use std::fmt::Write as _;

use crate::role::Role;
use crate::table::TABLE;
use crate::variable::Variable;

/// What the author of a template sets for every role, and no form asks for. The appliance reports READY itself.
const FIXED: [(&str, &str); 4] = [
    ("NETWORK", "YES"),
    ("REPORT_READY", "NO"),
    ("SSH_PUBLIC_KEY", "$USER[SSH_PUBLIC_KEY]"),
    ("TOKEN", "YES"),
];

/// Both blocks for a VM of this role, ready to be part of a VM template: every input of the table with its default, and
/// a reference to each answer. A site's template adds FL_SITE; what `onefed apply` writes is not in it.
pub fn vm_template(role: Role) -> String {
    vm_template_with(role, &Variable::user_input, &[])
}

/// The same with other inputs and a larger CONTEXT. `input` gives the five fields of a row, or none for a row that is
/// not asked for; `more` are entries of CONTEXT that no form asks for.
pub fn vm_template_with(
    role: Role,
    input: &dyn Fn(&Variable) -> Option<String>,
    more: &[(&str, &str)],
) -> String {
    let rows = TABLE.iter().filter(|row| row.roles.contains(&role));
    let inputs: Vec<_> = rows.filter_map(|row| Some((row.name, input(row)?))).collect();
    let lines: Vec<_> =
        inputs.iter().map(|(name, fields)| format!("  {name} = \"{}\"", quoted(fields))).collect();
    let names: Vec<_> = inputs.iter().map(|(name, _)| *name).collect();
    format!("USER_INPUTS = [\n{}\n]\n{}", lines.join(",\n"), context(role, more, &names))
}

/// The `CONTEXT` block of [`vm_template`].
pub(crate) fn context_block(role: Role) -> String {
    let inputs = TABLE.iter().filter(|row| row.roles.contains(&role) && row.user_input().is_some());
    context(role, &[], &inputs.map(|row| row.name).collect::<Vec<_>>())
}

fn context(role: Role, more: &[(&str, &str)], inputs: &[&str]) -> String {
    let mut out = format!("CONTEXT = [\n  FL_ROLE = \"{role}\"");
    for (name, value) in more.iter().chain(&FIXED) {
        let _ = write!(out, ",\n  {name} = \"{}\"", quoted(value));
    }
    for name in inputs {
        let _ = write!(out, ",\n  {name} = \"${name}\"");
    }
    out.push_str("\n]\n");
    out
}

/// A value between the quotes of a template.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}
