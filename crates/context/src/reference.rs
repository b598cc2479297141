//! The variable reference in Markdown, written from the table so that it cannot differ from the code.

use std::fmt::Write as _;

use crate::role::Role;
use crate::table::TABLE;
use crate::template::context_block;
use crate::variable::{Effect, Placement, Variable};

/// The words that no table can make.
const OPENING: &str = include_str!("reference/opening.md");
const VALIDATION: &str = include_str!("reference/validation.md");
const INTERACTIONS: &str = include_str!("reference/interactions.md");
const HISTORY: &str = include_str!("reference/history.md");

/// The phases whose variables stand in the numbered tables of a role; the others have sections of their own.
const NUMBERED: [u8; 4] = [1, 5, 6, 7];
const LATER: [u8; 2] = [8, 9];
const ROLES: [(Role, &str); 2] = [(Role::SuperLink, "SuperLink"), (Role::SuperNode, "SuperNode")];

/// The whole contextualization reference, ready to be a file: headings, counts, one table for each role, both
/// `USER_INPUTS` blocks, rules and messages, interactions, the matrix of variable, role and phase, a history.
pub fn reference_markdown() -> String {
    let mut out = OPENING.to_owned();
    counts(&mut out);
    out.push_str("\n## 2. USER_INPUT format\n\nFive fields always, `flag|type|description|options|default`; an empty value is an unset one. The OneFlow server wants a\nvalue for every input that a service declares. `onefed` writes both from this table.\n");
    for (number, (role, title)) in (3..).zip(ROLES) {
        parameters(&mut out, number, role, title);
    }
    section(&mut out, "5. Service level", "Equal for all roles of a service.", |row| {
        row.placement == Placement::Service && row.phase.is_some_and(|phase| phase > 1)
    });
    section(&mut out, "6. TLS and ML framework (phases 2 and 3)", "", |row| {
        matches!(row.phase, Some(2 | 3)) && row.placement != Placement::Service
    });
    section(
        &mut out,
        "7. onefed's own, and the platform's",
        "Infrastructure is no input: the operator's tool, the template's author or OpenNebula writes it.",
        |row| row.phase.is_none() || row.placement == Placement::Infrastructure,
    );
    out.push_str(VALIDATION);
    rules(&mut out);
    effects(&mut out);
    out.push_str(INTERACTIONS);
    matrix(&mut out);
    out.push_str(HISTORY);
    out
}

fn in_role(row: &Variable, role: Role) -> bool {
    row.roles.contains(&role) && row.placement != Placement::Infrastructure
}

fn is_numbered(row: &Variable) -> bool {
    row.phase.is_some_and(|phase| NUMBERED.contains(&phase))
}

/// Rows as of phase 7, then those of later phases, each in the order of the table.
fn rows_of(role: Role) -> Vec<&'static Variable> {
    let own = |row: &&Variable| in_role(row, role) && row.placement != Placement::Infrastructure;
    let later = |row: &&Variable| {
        row.phase.is_some_and(|phase| LATER.contains(&phase)) && row.placement != Placement::Service
    };
    TABLE
        .iter()
        .filter(own)
        .filter(|row| is_numbered(row))
        .chain(TABLE.iter().filter(own).filter(later))
        .collect()
}

fn counts(out: &mut String) {
    let distinct = |keep: &dyn Fn(&Variable) -> bool| TABLE.iter().filter(|row| keep(row)).count();
    let phase = |number: u8| distinct(&|row| row.phase == Some(number));
    let _ = writeln!(out, "| Category | Count | Role |\n|---|---|---|");
    for (number, what, who) in [
        (1, "base", "Both"),
        (2, "TLS", "Both"),
        (3, "ML framework", "SuperNode"),
        (5, "training and checkpoints", "SuperLink"),
        (6, "GPU", "SuperNode"),
        (7, "gRPC keepalive/cert", "Both/SuperLink"),
        (8, "logs and metrics", "Both"),
        (9, "edge", "SuperNode"),
    ] {
        let _ = writeln!(out, "| Phase {number} {what} | {} | {who} |", phase(number));
    }
    let own = distinct(&|row| row.phase.is_none());
    let _ = writeln!(out, "| onefed's own and the platform's | {own} | All |");
    let _ = writeln!(out, "| **Distinct** | **{}** | |", TABLE.len());
    let inputs = distinct(&|row| row.placement != Placement::Infrastructure);
    let _ = writeln!(
        out,
        "\nOf these, {inputs} are inputs and {} are infrastructure. {} are not acted on by onefed (section 9).",
        TABLE.len() - inputs,
        distinct(&|row| matches!(row.effect, Effect::Later(_) | Effect::Elsewhere(_)))
    );
    out.push_str(
        "\nPhase 7 raised the stated total of the older reference from 39 to 42 (+3: the keepalive pair and `FL_CERT_EXTRA_SAN`).\nBoth are sums in which a variable of two roles may count twice; as of phase 7 there were 39 distinct names, and 36\nbefore. The counts above are distinct names.\n",
    );
}

fn parameters(out: &mut String, number: u32, role: Role, title: &str) {
    let rows = rows_of(role);
    let phase7 = rows.iter().filter(|row| is_numbered(row)).count();
    let _ = writeln!(
        out,
        "\n## {number}. {title} parameters\n\n{phase7} variables as of phase 7; the rows after them came later.\n"
    );
    let _ =
        writeln!(out, "| # | Variable | USER_INPUT | Default | Rule | Phase |\n|---|---|---|---|---|---|");
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} | {} | {} |",
            index + 1,
            row.name,
            input(row),
            code(row.default.unwrap_or_default()),
            cell(&row.rule.words()),
            row.phase.unwrap_or_default()
        );
    }
    let _ = writeln!(out, "\n```\nUSER_INPUTS = [");
    let heading = |phase: u8| match (phase, role) {
        (7, Role::SuperLink) => "Phase 7: Multi-site federation".to_owned(),
        (7, _) => "Phase 7: gRPC keepalive".to_owned(),
        (number, _) => format!("Phase {number}"),
    };
    let mut last = None;
    let count = rows.len();
    for (index, row) in rows.iter().enumerate() {
        if row.phase != last {
            last = row.phase;
            let _ = writeln!(out, "  # {}", heading(row.phase.unwrap_or_default()));
        }
        let comma = if index + 1 < count { "," } else { "" };
        let _ = writeln!(out, "  {} = \"{}\"{comma}", row.name, row.user_input().unwrap_or_default());
    }
    let _ = writeln!(
        out,
        "]\n```\n\nThe block that hands the answers to the VM, with those of sections 5 to 7. `onefed vars --template {role}` writes both for\na VM template.\n\n```\n{}```",
        context_block(role)
    );
}

fn section(out: &mut String, title: &str, intro: &str, keep: impl Fn(&Variable) -> bool) {
    let _ = writeln!(out, "\n## {title}\n");
    if !intro.is_empty() {
        let _ = writeln!(out, "{intro}\n");
    }
    let _ = writeln!(
        out,
        "| Variable | Roles | Set at | USER_INPUT | Description | Rule |\n|---|---|---|---|---|---|"
    );
    for row in TABLE.iter().filter(|row| keep(row)) {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.name,
            row.role_words(),
            row.placement.as_str(),
            input(row),
            cell(row.description),
            cell(&row.rule.words())
        );
    }
}

fn rules(out: &mut String) {
    let _ = writeln!(out, "\n| Variable | Rule | Message |\n|---|---|---|");
    for row in TABLE.iter().filter(|row| row.rule != crate::rule::Rule::Text) {
        let message = cell(&row.error.replace("{name}", row.name));
        let _ = writeln!(out, "| `{}` | {} | {message} |", row.name, cell(&row.rule.words()));
    }
}

fn effects(out: &mut String) {
    out.push_str("\n## 9. What onefed does not act on\n\nNothing is silently inert. A value other than the default gives one line, at boot and in `onefed plan`: `not yet` a\nwarning, `not used` a remark.\n\n");
    let _ = writeln!(out, "| Variable | onefed | Instead | Only when |\n|---|---|---|---|");
    for row in TABLE {
        let (Effect::Later(instead) | Effect::Elsewhere(instead)) = row.effect else {
            continue;
        };
        let when = row.only_when.map(|when| format!("`{}` is {}", when.variable, when.words.join(" or ")));
        let (word, when) = (row.effect.as_str(), when.unwrap_or_default());
        let _ = writeln!(out, "| `{}` | {word} | {} | {when} |", row.name, cell(instead));
    }
}

fn matrix(out: &mut String) {
    out.push_str("\n## 11. Matrix\n\n| Variable | Phase | SuperLink | SuperNode | Gateway | Set at | onefed | Interactions |\n|---|---|---|---|---|---|---|---|\n");
    for row in TABLE {
        let phase = row.phase.map_or("own".to_owned(), |phase| phase.to_string());
        let mark = |role| if row.roles.contains(&role) { "x" } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {phase} | {} | {} | {} | {} | {} | {} |",
            row.name,
            mark(Role::SuperLink),
            mark(Role::SuperNode),
            mark(Role::Gateway),
            row.placement.as_str(),
            row.effect.as_str(),
            cell(row.interactions)
        );
    }
}

fn input(row: &Variable) -> String {
    row.user_input().map_or("-".to_owned(), |input| code(&cell(&input)))
}

fn code(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { format!("`{text}`") }
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_table_says() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../spec/03-contextualization-reference.md");
        if std::env::var_os("UPDATE_SPEC").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, reference_markdown()).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == reference_markdown(),
            "spec/03-contextualization-reference.md differs from the table; write it anew with\n  UPDATE_SPEC=1 cargo test -p onefed-context"
        );
    }

    #[test]
    fn rows_have_their_numbers() {
        let number = |role, name: &str| rows_of(role).iter().position(|row| row.name == name).unwrap() + 1;
        for (name, row) in
            [("FL_CERT_EXTRA_SAN", 20), ("FL_GRPC_KEEPALIVE_TIME", 21), ("FL_GRPC_KEEPALIVE_TIMEOUT", 22)]
        {
            assert_eq!(number(Role::SuperLink, name), row);
        }
        assert_eq!(number(Role::SuperNode, "FL_GRPC_KEEPALIVE_TIME"), 11);
        assert_eq!(number(Role::SuperNode, "FL_GRPC_KEEPALIVE_TIMEOUT"), 12);
        let phase7 = |role| rows_of(role).into_iter().filter(|row| is_numbered(row)).count();
        assert_eq!((phase7(Role::SuperLink), phase7(Role::SuperNode)), (22, 12));
    }

    #[test]
    fn every_variable_has_its_row_outside_the_matrix() {
        let text = reference_markdown();
        for row in TABLE {
            let cells = text.matches(&format!("| `{}` |", row.name)).count();
            assert!(cells >= 2, "{} has {cells} rows", row.name);
        }
        for line in [
            "Phase 7 gRPC keepalive/cert | 3 | Both/SuperLink",
            "# Phase 7: Multi-site federation",
            "# Phase 7: gRPC keepalive",
            "### 10j",
            "### 10k",
            "Version: 1.3",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
