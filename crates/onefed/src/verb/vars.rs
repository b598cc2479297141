//! `onefed vars`: the table of context variables.

use onefed_context::{Effect, Placement, Role, TABLE, Variable, reference_markdown, vm_template};
use serde_json::{Value, json};

use crate::failure::{Done, Exit};
use crate::output::Output;
use crate::table;

/// Shows every variable: in columns, as JSON, or as the reference in Markdown; or a role's part of a VM template.
pub(crate) fn run(markdown: bool, template: Option<Role>, output: Output) -> Done {
    if let Some(role) = template {
        let text = vm_template(role);
        output.text(&text);
        output.json(&json!({ "schema_version": 1, "role": role, "template": text }));
        return Ok(Exit::Ok);
    }
    if markdown {
        output.text(reference_markdown());
    } else {
        output.text(table::render(
            &["variable", "roles", "set at", "type", "default", "onefed", "description"],
            &TABLE.iter().map(row).collect::<Vec<_>>(),
        ));
    }
    output.json(&json!({ "schema_version": 1, "variables": TABLE.iter().map(document).collect::<Vec<_>>() }));
    Ok(Exit::Ok)
}

fn row(row: &Variable) -> Vec<String> {
    vec![
        row.name.to_owned(),
        row.role_words(),
        row.placement.as_str().to_owned(),
        row.input.as_str().to_owned(),
        row.default.unwrap_or("-").to_owned(),
        row.effect.as_str().to_owned(),
        row.description.to_owned(),
    ]
}

fn document(row: &Variable) -> Value {
    let instead = match row.effect {
        Effect::Used | Effect::Platform => None,
        Effect::Later(text) | Effect::Elsewhere(text) => Some(text),
    };
    json!({
        "name": row.name,
        "phase": row.phase,
        "roles": row.roles,
        "placement": row.placement.as_str(),
        "type": row.input.as_str(),
        "user_input": row.user_input(),
        "options": row.rule.options(),
        "default": row.default,
        "description": row.description,
        "rule": row.rule.words(),
        "message": row.error.replace("{name}", row.name),
        "interactions": (!row.interactions.is_empty()).then_some(row.interactions),
        "only_when": row.only_when.map(|when| json!({ "variable": when.variable, "words": when.words })),
        "effect": row.effect.as_str(),
        "instead": instead,
        "required_for": row.required,
        "spoke_only": row.spoke_only,
        "secret": row.secret,
        "infrastructure": row.placement == Placement::Infrastructure,
    })
}
