//! One row of the variable table, and what a service template says about it.

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
    /// `YES` or `NO`.
    Boolean,
    /// One word of a closed list.
    List,
    /// One line that is not shown.
    Password,
}

/// Whether a form insists on an answer. The OneFlow server wants a value for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputFlag {
    /// `O`.
    Optional,
    /// `M`.
    Mandatory,
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
    /// Whether a VM of a role that uses it must be given one.
    pub required: bool,
    /// Whether a SuperNode uses it only if its VM has a spoke of its own (`FL_GATEWAY=embedded`).
    pub spoke_only: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
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
        required: false,
        spoke_only: false,
        secret: false,
    };

    /// Whether a VM of this role uses it. `has_spoke` tells a SuperNode with an embedded gateway from the others.
    pub fn used_by(&self, role: Role, has_spoke: bool) -> bool {
        self.roles.contains(&role) && (has_spoke || role != Role::SuperNode || !self.spoke_only)
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
        let kind = match self.input {
            InputType::Text => "text",
            InputType::Text64 => "text64",
            InputType::Number => "number",
            InputType::Boolean => "boolean",
            InputType::List => "list",
            InputType::Password => "password",
        };
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
