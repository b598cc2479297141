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
    let inputs: Vec<&Variable> = TABLE.iter().filter(|row| row.roles.contains(&role)).collect();
    let lines = inputs.iter().filter_map(|row| Some(format!("  {} = \"{}\"", row.name, row.user_input()?)));
    format!("USER_INPUTS = [\n{}\n]\n{}", lines.collect::<Vec<_>>().join(",\n"), context_block(role))
}

/// The `CONTEXT` block of [`vm_template`].
pub(crate) fn context_block(role: Role) -> String {
    let inputs = TABLE.iter().filter(|row| row.roles.contains(&role) && row.user_input().is_some());
    let mut out = format!("CONTEXT = [\n  FL_ROLE = \"{role}\"");
    for (name, value) in FIXED {
        let _ = write!(out, ",\n  {name} = \"{value}\"");
    }
    for row in inputs {
        let _ = write!(out, ",\n  {0} = \"${0}\"", row.name);
    }
    out.push_str("\n]\n");
    out
}
