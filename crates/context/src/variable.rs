//! One row of the variable table, and what a service template says about it.

use crate::problem::Problem;
use crate::role::Role;
use crate::rule::Rule;

/// At which level of a service a variable is set. A variable has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// An input of the service: equal for all of its roles.
    Service,
    /// An input of each role that uses it.
    Role,
    /// No input: written by the template's author, by OpenNebula or by the operator's tool.
    Infrastructure,
}

/// OpenNebula's types of inputs, as far as they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputType {
    /// One line.
    Text,
    /// Text that travels in base64.
    Text64,
    /// A whole number.
    Number,
    /// A decimal number.
    Float,
    /// `YES` or `NO`.
    Boolean,
    /// One word of a closed list.
    List,
    /// One line that is not shown.
    Password,
}

impl Placement {
    /// Its word in the reference.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Role => "role",
            Self::Infrastructure => "infrastructure",
        }
    }
}

impl InputType {
    /// OpenNebula's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Text64 => "text64",
            Self::Number => "number",
            Self::Float => "number-float",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Password => "password",
        }
    }
}

/// Whether a form insists on an answer. The OneFlow server wants a value for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputFlag {
    /// `O`.
    Optional,
    /// `M`.
    Mandatory,
}

/// What onefed does with a variable that a role of it has. Nothing is silently inert: what
/// nobody acts on is mentioned when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It acts.
    Used,
    /// Not used yet, and somebody who sets it expects something: a warning, with what counts instead.
    Later(&'static str),
    /// Not used, and nothing is lost: a remark, with what counts instead.
    Elsewhere(&'static str),
    /// It acts, but not through onefed: OpenNebula or its guest agent reads it.
    Platform,
}

impl Effect {
    /// Its word in the reference.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Later(_) => "not yet",
            Self::Elsewhere(_) => "not used",
            Self::Platform => "platform",
        }
    }
}

/// The value that another variable must have for a variable to matter. The variable's own value is checked all the
/// same: a switch that is turned on later must not bring out an old mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// The other variable.
    pub variable: &'static str,
    /// One of these.
    pub words: &'static [&'static str],
}

impl When {
    /// Whether the other variable, with its default applied, is one of the words. `YES` counts in any case.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let same = |word: &&str| {
            value.is_some_and(|value| *word == value || (*word == "YES" && value.eq_ignore_ascii_case(word)))
        };
        self.words.iter().any(same)
    }
}

/// One variable: everything that is decided about it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name without the `ONEAPP_` prefix.
    pub name: &'static str,
    /// The roles that use it.
    pub roles: &'static [Role],
    /// Where it is set.
    pub placement: Placement,
    /// How forms ask for it.
    pub input: InputType,
    /// What counts where it is not set; none where nothing does.
    pub default: Option<&'static str>,
    /// One line for forms and for the reference.
    pub description: &'static str,
    /// Which values are allowed.
    pub rule: Rule,
    /// The literal message for a refused value; `{value}` stands for it.
    pub error: &'static str,
    /// The roles whose VMs must be given one, whatever else they are given.
    pub required: &'static [Role],
    /// Whether a SuperNode uses it only if its VM has a spoke of its own (`FL_GATEWAY=embedded`).
    pub spoke_only: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// The phase of the older reference that brought it; none for onefed's own and for the platform's.
    pub phase: Option<u8>,
    /// What it acts on together with others, for the reference; empty where it stands alone.
    pub interactions: &'static str,
    /// What another variable must be for it to matter.
    pub only_when: Option<When>,
    /// What onefed does with it.
    pub effect: Effect,
}

impl Variable {
    /// A row with nothing decided; the table's rows start from it.
    pub(crate) const ROW: Self = Self {
        name: "",
        roles: Role::ALL,
        placement: Placement::Role,
        input: InputType::Text,
        default: None,
        description: "",
        rule: Rule::Text,
        error: "Invalid {name}: '{value}'.",
        required: &[],
        spoke_only: false,
        secret: false,
        phase: None,
        interactions: "",
        only_when: None,
        effect: Effect::Used,
    };

    /// Whether a VM of this role uses it. `has_spoke` tells a SuperNode with an embedded gateway from the others.
    pub fn used_by(&self, role: Role, has_spoke: bool) -> bool {
        self.roles.contains(&role) && (has_spoke || role != Role::SuperNode || !self.spoke_only)
    }

    /// Its roles for a reader: `all`, or their words.
    pub fn role_words(&self) -> String {
        if self.roles.len() == Role::ALL.len() {
            return "all".to_owned();
        }
        self.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether a value counts as the default: forms send every default.
    pub fn is_default(&self, value: &str) -> bool {
        let default = self.default.unwrap_or_default();
        value.is_empty()
            || value == default
            || (self.rule == Rule::YesNo && value.eq_ignore_ascii_case(default))
    }

    /// What is to be said about an allowed value that onefed does not act on; none for the default.
    pub fn note(&self, value: &str) -> Option<Problem> {
        if self.is_default(value) {
            return None;
        }
        match self.effect {
            Effect::Later(instead) => {
                let message = format!("{} is not used by onefed yet; {instead}.", self.name);
                Some(Problem::warning("context::not-used-yet", self.name, message))
            }
            Effect::Elsewhere(instead) => {
                let message = format!("{} is not used by onefed; {instead}.", self.name);
                Some(Problem::info("context::not-used", self.name, message))
            }
            Effect::Used | Effect::Platform => None,
        }
    }

    /// OpenNebula's five fields for this input with the table's default, `O|number|…||60`; none for
    /// infrastructure. Always five: a shorter form makes the command line fail on a blank answer.
    pub fn user_input(&self) -> Option<String> {
        self.user_input_as(InputFlag::Optional, self.default.unwrap_or_default())
    }

    /// The same with another flag or default. A default that would break the five fields is left out.
    pub fn user_input_as(&self, flag: InputFlag, default: &str) -> Option<String> {
        if self.placement == Placement::Infrastructure {
            return None;
        }
        let flag = match flag {
            InputFlag::Optional => "O",
            InputFlag::Mandatory => "M",
        };
        let kind = self.input.as_str();
        let options = self.rule.options().map(|words| words.join(",")).unwrap_or_default();
        let default = if default.contains(['|', '\n']) { "" } else { default };
        Some(format!("{flag}|{kind}|{}|{options}|{default}", self.description))
    }

    /// The message for a refused value. A secret's message does not repeat it.
    pub fn refusal(&self, value: &str) -> String {
        let value = if self.secret { "(hidden)" } else { &crate::problem::shown(value) };
        self.error.replace("{name}", self.name).replace("{value}", value)
    }
}
