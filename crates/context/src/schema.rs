//! A JSON schema of a context, written from the table so that editors and pipelines can check a file without onefed.
//!
//! In a context every value is a text, and an empty one is unset. A pattern never refuses what [`crate::validate`]
//! accepts. It may accept more: what no regular expression can say (dates, ranges of decimal numbers, what holds between
//! variables) is for `onefed context check`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::problem::Problem;
use crate::raw::is_flower_name;
use crate::role::Role;
use crate::rule::{Rule, Span};
use crate::table::TABLE;
use crate::variable::Variable;

/// A port, 1 to 65535, with leading zeros as they are read.
const PORT: &str =
    "0{0,4}([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
/// A host in an address: a name, IPv4, or IPv6 in brackets.
const HOST: &str = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])";
/// PEM somewhere, or base64 of something that is long enough to be a certificate or a key.
const ARMOUR: &str = r"-----BEGIN [\s\S]+-----END |^[A-Za-z0-9+/=\s]{40,}$";

/// The schema as a JSON document of draft 2020-12, two blanks for each level and a line break at the end.
///
/// # Errors
/// [`Problem`] `context::internal` if it cannot be written, which no table can bring about.
pub fn context_schema() -> Result<String, Problem> {
    let mut text = serde_json::to_string_pretty(&schema()).map_err(|why| {
        Problem::error("context::internal", "", format!("The schema cannot be written: {why}"))
    })?;
    text.push('\n');
    Ok(text)
}

/// Keys are in the order of the fields, whatever other crates ask of the JSON library.
#[derive(Serialize)]
struct Schema {
    #[serde(rename = "$schema")]
    draft: &'static str,
    title: &'static str,
    description: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    properties: BTreeMap<String, Property>,
    #[serde(rename = "propertyNames")]
    names: Names,
    #[serde(rename = "allOf")]
    roles: Vec<Conditional>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Property {
    Own(Box<Own>),
    Prefixed {
        #[serde(rename = "$ref")]
        same: String,
    },
}

/// One variable. What a schema has no word for begins with `x-`.
#[derive(Serialize)]
struct Own {
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'static str>,
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    words: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<Not>,
    #[serde(rename = "writeOnly", skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    #[serde(rename = "x-rule")]
    rule: String,
    #[serde(rename = "x-message")]
    message: String,
    #[serde(rename = "x-roles")]
    roles: &'static [Role],
    #[serde(rename = "x-required-for", skip_serializing_if = "nobody")]
    required: &'static [Role],
    #[serde(rename = "x-placement")]
    placement: &'static str,
    #[serde(rename = "x-type")]
    input: &'static str,
    #[serde(rename = "x-user-input", skip_serializing_if = "Option::is_none")]
    user_input: Option<String>,
    #[serde(rename = "x-only-when", skip_serializing_if = "Option::is_none")]
    only_when: Option<OnlyWhen>,
    #[serde(rename = "x-effect")]
    effect: &'static str,
    #[serde(rename = "x-phase", skip_serializing_if = "Option::is_none")]
    phase: Option<u8>,
}

#[derive(Serialize)]
struct OnlyWhen {
    variable: &'static str,
    values: &'static [&'static str],
}

#[derive(Serialize)]
struct Not {
    #[serde(rename = "anyOf")]
    any_of: Vec<Refused>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Refused {
    Words {
        #[serde(rename = "enum")]
        words: Vec<&'static str>,
    },
    Pattern {
        pattern: &'static str,
    },
}

/// Names of onefed's own kind must be known; others are the platform's.
#[derive(Serialize)]
struct Names {
    #[serde(rename = "anyOf")]
    any_of: (Known, Foreign),
}

#[derive(Serialize)]
struct Known {
    #[serde(rename = "enum")]
    names: Vec<String>,
}

#[derive(Serialize)]
struct Foreign {
    not: Refused,
}

#[derive(Serialize)]
struct Conditional {
    #[serde(rename = "if")]
    condition: IsRole,
    then: All,
}

#[derive(Serialize)]
struct IsRole {
    required: [&'static str; 1],
    properties: BTreeMap<&'static str, Constant>,
}

#[derive(Serialize)]
struct Constant {
    #[serde(rename = "const")]
    value: &'static str,
}

#[derive(Serialize)]
struct All {
    #[serde(rename = "allOf")]
    all_of: Vec<AnySpelling>,
}

#[derive(Serialize)]
struct AnySpelling {
    #[serde(rename = "anyOf")]
    any_of: Vec<Given>,
}

/// There, and not empty.
#[derive(Serialize)]
struct Given {
    required: [String; 1],
    properties: BTreeMap<String, NotEmpty>,
}

#[derive(Serialize)]
struct NotEmpty {
    #[serde(rename = "minLength")]
    least: u32,
}

fn nobody(roles: &&'static [Role]) -> bool {
    roles.is_empty()
}

fn schema() -> Schema {
    let mut properties = BTreeMap::new();
    for row in TABLE {
        properties.insert(row.name.to_owned(), Property::Own(Box::new(own(row))));
        if let Some(prefixed) = prefixed(row) {
            properties.insert(prefixed, Property::Prefixed { same: format!("#/properties/{}", row.name) });
        }
    }
    let known = properties.keys().cloned().collect();
    Schema {
        draft: "https://json-schema.org/draft/2020-12/schema",
        title: "Context of a VM of a Flower federation",
        description: "Every value is a text, and an empty one is unset. What holds between variables is for `onefed context check`.",
        kind: "object",
        properties,
        names: Names {
            any_of: (
                Known { names: known },
                Foreign { not: Refused::Pattern { pattern: "^(ONEAPP_)?(FL_|FLOWER_)" } },
            ),
        },
        roles: Role::ALL.iter().filter_map(|role| required_of(*role)).collect(),
    }
}

fn prefixed(row: &Variable) -> Option<String> {
    is_flower_name(row.name).then(|| format!("ONEAPP_{}", row.name))
}

fn own(row: &Variable) -> Own {
    let (words, pattern, not) = limits(row.rule);
    // A form sends these words in place of an empty value. A closed list has none of them.
    let mut any_of: Vec<Refused> = not.into_iter().map(|pattern| Refused::Pattern { pattern }).collect();
    if words.is_none() {
        any_of.push(Refused::Words { words: vec!["null", "undefined"] });
    }
    Own {
        kind: "string",
        description: row.description,
        default: row.default,
        not: (!any_of.is_empty()).then_some(Not { any_of }),
        words,
        pattern,
        secret: row.secret,
        rule: row.rule.words(),
        message: row.error.replace("{name}", row.name),
        roles: row.roles,
        required: row.required,
        placement: row.placement.as_str(),
        input: row.input.as_str(),
        user_input: row.user_input(),
        only_when: row.only_when.map(|when| OnlyWhen { variable: when.variable, values: when.words }),
        effect: row.effect.as_str(),
        phase: row.phase,
    }
}

/// What a VM of this role cannot be without. Only what the file's author writes: OpenNebula sets the rest.
fn required_of(role: Role) -> Option<Conditional> {
    let own = TABLE.iter().filter(|row| row.required.contains(&role) && row.required.len() < Role::ALL.len());
    let all_of: Vec<_> = own
        .map(|row| {
            let names = std::iter::once(row.name.to_owned()).chain(prefixed(row));
            let given = |name: String| Given {
                properties: BTreeMap::from([(name.clone(), NotEmpty { least: 1 })]),
                required: [name],
            };
            AnySpelling { any_of: names.map(given).collect() }
        })
        .collect();
    let condition = IsRole {
        required: ["FL_ROLE"],
        properties: BTreeMap::from([("FL_ROLE", Constant { value: role.as_str() })]),
    };
    (!all_of.is_empty()).then_some(Conditional { condition, then: All { all_of } })
}

/// The words of a closed list, else a pattern, and a pattern that must not match.
fn limits(rule: Rule) -> (Option<Vec<&'static str>>, Option<String>, Option<&'static str>) {
    const PARENT: &str = r"(^|/)\.\.(/|$)";
    let whole = |inner: &str| Some(format!("^({inner})?$"));
    let pattern = match rule {
        Rule::Text | Rule::NodeConfig => None,
        Rule::OneOf(words) => {
            return (Some(std::iter::once("").chain(words.iter().copied()).collect()), None, None);
        }
        Rule::OnlyFirstOf(words) => {
            return (Some(std::iter::once("").chain(words.first().copied()).collect()), None, None);
        }
        Rule::YesNo => whole("[Yy][Ee][Ss]|[Nn][Oo]"),
        Rule::Version => whole(r"(0|[1-9][0-9]{0,4})(\.(0|[1-9][0-9]{0,4})){2}"),
        Rule::Count(0) => whole("0|[1-9][0-9]{0,8}"),
        Rule::Count(_) => whole("[1-9][0-9]{0,8}"),
        Rule::Within(_, most) => whole(&format!("[1-9][0-9]{{0,{}}}", most.ilog10())),
        Rule::ZeroOrWithin(_, most) => whole(&format!("0|[1-9][0-9]{{0,{}}}", most.ilog10())),
        Rule::Decimal(Span::Share) => whole(r"(0+|0*1)(\.[0-9]+)?|[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]{1,4}"),
        Rule::Decimal(Span::BelowHalf) => whole(r"0+\.[0-9]+|[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]{1,4}"),
        Rule::Decimal(Span::Positive) => {
            let decimal = r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?";
            return (None, whole(decimal), Some("^[0.]+([eE]|$)"));
        }
        Rule::Decimal(Span::NotNegative) => whole(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?"),
        Rule::MetricsPort => {
            let port = "102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]";
            return (None, whole(port), Some("^909[123]$"));
        }
        Rule::Devices => whole("all|[0-9]{1,3}(,[0-9]{1,3})*"),
        Rule::AbsolutePath => return (None, whole("/[A-Za-z0-9._/-]{1,199}"), Some(PARENT)),
        Rule::RelativePath => {
            return (None, whole("[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}"), Some(PARENT));
        }
        Rule::PrivateKey => return (None, Some(format!("^$|{ARMOUR}")), Some("-----BEGIN CERTIFICATE")),
        Rule::Certificates => return (None, Some(format!("^$|{ARMOUR}")), Some("PRIVATE KEY-----")),
        Rule::Id => whole("0|[1-9][0-9]{0,9}"),
        Rule::Listen => whole(&format!("{HOST}:{PORT}")),
        Rule::Dial => {
            let any = r"^(0\.0\.0\.0|\[::\])(:|$)";
            return (None, whole(&format!("{HOST}(:{PORT})?")), Some(any));
        }
        Rule::SanList => {
            let entry = r"\s*(IP:[0-9A-Fa-f:.]+|DNS:(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)\s*";
            whole(&format!("{entry}(,{entry})*"))
        }
        Rule::Name => whole("[a-z][a-z0-9-]{0,30}"),
        Rule::OneTimeKey => whole("[A-Za-z0-9_-]{32,128}"),
        Rule::Fingerprint => whole("sha256:[0-9A-Fa-f]{64}"),
        Rule::HttpUrl => whole("[Hh][Tt][Tt][Pp][Ss]?://[!-~]+"),
        Rule::Address => {
            let address = r"([0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*";
            return (None, whole(address), Some(r"^(0\.0\.0\.0|::)$"));
        }
        Rule::Image => {
            let host = r"([A-Za-z0-9._-]+(:[0-9]{1,5})?/)?";
            let path = "[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*";
            whole(&format!("{host}{path}(:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}|@sha256:[0-9a-f]{{64}})"))
        }
    };
    (None, pattern, None)
}

#[cfg(test)]
mod tests;
