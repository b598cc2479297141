//! Templates without a plan, for those who deploy with OpenNebula's own tools: OneFlow service templates, the documents
//! that instantiate them, and VM templates. They declare the inputs that `apply` would, from the same list.
//!
//! Nobody signs certificates for services that were made by hand. So a coordinator serves with its own CA, or with the
//! certificate of somebody's PKI, and a site has the spoke inside each SuperNode's VM and is told address and CA.

mod documents;
#[cfg(test)]
mod tests;
mod vm;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use onefed_context::{
    InputFlag, Placement, Problem, Role, Severity, TABLE, UnknownWord, Variable, nearest, variable,
};

use crate::objects::inputs::{rows, site_flag};
use crate::read::settings::culprit;

pub use documents::VmTemplates;
pub use vm::Hardware;

/// What a service that is made by hand is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SuperLink and hub.
    Coordinator,
    /// SuperNodes of a zone that the coordinator is not in, or of a service of their own.
    Site,
    /// SuperLink and SuperNodes in one service of one zone.
    Single,
}

/// The templates of one kind of service, with the values that somebody has chosen.
#[derive(Clone)]
pub struct ByHand {
    kind: Kind,
    supernodes: Option<u32>,
    given: BTreeMap<&'static str, String>,
}

/// Variables that are no inputs, and that the author of a template may choose all the same.
const AUTHORS: [&str; 3] = ["FL_FEDERATION", "FL_SITE", "FL_CA_FINGERPRINT"];

impl ByHand {
    /// `supernodes`: how many at the start, 2 if it is not said. `given`: variables and their values, each variable
    /// at most once; an empty value is unset.
    ///
    /// # Errors
    /// Every variable that is unknown or belongs to no VM of this kind, every value that its rule refuses or that
    /// OneFlow does not carry.
    pub fn new(
        kind: Kind,
        supernodes: Option<u32>,
        given: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut hand = Self { kind, supernodes, given: BTreeMap::new() };
        let mut problems = Vec::new();
        for (name, value) in given {
            match hand.take(&name, value) {
                Ok(()) => {}
                Err(problem) => problems.push(*problem),
            }
        }
        if problems.is_empty() { Ok(hand) } else { Err(problems) }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The roles of the service.
    pub fn roles(&self) -> &'static [Role] {
        match self.kind {
            Kind::Coordinator => &[Role::SuperLink],
            Kind::Site => &[Role::SuperNode],
            Kind::Single => &[Role::SuperLink, Role::SuperNode],
        }
    }

    /// The inputs of the service as a whole, `None`, or of one of its roles, in the order of the table.
    pub fn inputs(&self, of: Option<Role>) -> Vec<&'static Variable> {
        match of {
            None => {
                let asked = |row: &Variable| self.roles().iter().any(|role| self.asks(*role, row));
                rows(Placement::Service, asked).collect()
            }
            Some(role) => rows(Placement::Role, |row| self.asks(role, row)).collect(),
        }
    }

    /// Whether the form insists on a value.
    pub fn flag(&self, row: &Variable) -> InputFlag {
        let tls = self.tls();
        match self.kind {
            Kind::Coordinator => InputFlag::Optional,
            Kind::Site => site_flag(row, tls),
            // Nobody knows the CA before the SuperLink's first boot, and believing whoever is first is said by name.
            Kind::Single if row.name == "FL_CA_TRUST" && tls && !self.knows_a_ca() => InputFlag::Mandatory,
            Kind::Single => InputFlag::Optional,
        }
    }

    /// What counts for an input: the value chosen, else the table's default, else nothing.
    pub fn value(&self, row: &Variable) -> &str {
        let default = match self.flag(row) {
            InputFlag::Mandatory => None,
            InputFlag::Optional => row.default,
        };
        self.given.get(row.name).map(String::as_str).or(default).unwrap_or_default()
    }

    fn tls(&self) -> bool {
        !self.given.get("FL_TLS_ENABLED").is_some_and(|value| value.eq_ignore_ascii_case("NO"))
    }

    fn knows_a_ca(&self) -> bool {
        ["FL_SSL_CA_CERTFILE", "FL_CA_FINGERPRINT"].iter().any(|name| self.given.contains_key(name))
    }

    /// Whether a VM of this role uses it here. Every SuperNode has its own spoke.
    fn asks(&self, role: Role, row: &Variable) -> bool {
        let elsewhere = match (self.kind, role) {
            // OneGate, which could name a CA, does not reach the SuperLink's zone.
            (Kind::Site, _) => row.name == "FL_CA_TRUST",
            // Every VM of the service could read the key; `onefed pki` brings a certificate without.
            (Kind::Single, Role::SuperLink) => row.name.starts_with("FL_SSL_"),
            _ => false,
        };
        row.used_by(role, true) && !elsewhere
    }

    /// The CONTEXT that no form asks for.
    fn context(&self, role: Role) -> BTreeMap<&'static str, String> {
        let mut context: BTreeMap<_, _> = [
            ("TOKEN", "YES"),
            ("NETWORK", "YES"),
            // A VM template may say YES; the guest agent would then report READY over the appliance's head.
            ("REPORT_READY", "NO"),
            ("FL_ROLE", role.as_str()),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        context.extend(self.authors(role));
        if self.kind == Kind::Site {
            context.insert("FL_GATEWAY", "embedded".to_owned());
        }
        context
    }

    /// What the author of the template has chosen of CONTEXT.
    fn authors(&self, role: Role) -> BTreeMap<&'static str, String> {
        let names = AUTHORS.into_iter().filter(|name| self.authored(name, &[role]));
        names.filter_map(|name| Some((name, self.given.get(name)?.clone()))).collect()
    }

    /// Whether a variable is for the author of a template for these roles. A coordinator and a single site have no
    /// name of a site, and a SuperLink that makes its own CA is told no fingerprint.
    fn authored(&self, name: &str, roles: &[Role]) -> bool {
        match name {
            "FL_FEDERATION" => true,
            "FL_SITE" => self.kind == Kind::Site,
            "FL_CA_FINGERPRINT" => roles.contains(&Role::SuperNode),
            _ => false,
        }
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Box<Problem>> {
        let (kind, roles) = (self.kind, self.roles());
        let asked = |row: &Variable| match row.placement {
            Placement::Infrastructure => self.authored(row.name, roles),
            _ => roles.iter().any(|role| self.asks(*role, row)),
        };
        let settable = || TABLE.iter().filter(|row| asked(row)).map(|row| row.name);
        let Some(row) = variable(name) else {
            let hint = nearest(name, settable()).map(|near| format!("did you mean {near}?"));
            let message = format!("`{name}` is not a known context variable");
            return Err(Box::new(problem("templates::unknown-variable", name, message, hint)));
        };
        if !asked(row) {
            let message = format!("`{name}` is nothing that templates of kind {kind} leave to choose");
            let hint = "`onefed templates --kind …` without a format lists their inputs".to_owned();
            return Err(Box::new(problem("templates::no-input", name, message, Some(hint))));
        }
        row.check(&value).map_err(Box::new)?;
        if let Some(culprit) = culprit(&value) {
            let message = format!("OneFlow cannot carry the value of `{name}`: it contains {culprit}");
            return Err(Box::new(problem("templates::unsafe-value", name, message, None)));
        }
        if value.is_empty() {
            self.given.remove(row.name);
            return Ok(());
        }
        match self.given.insert(row.name, value) {
            None => Ok(()),
            Some(_) => {
                let message = format!("`{name}` is given twice");
                Err(Box::new(problem("templates::twice", name, message, None)))
            }
        }
    }
}

impl fmt::Debug for ByHand {
    /// Among the values may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.given.keys().collect();
        f.debug_struct("ByHand").field("kind", &self.kind).field("given", &names).finish_non_exhaustive()
    }
}

fn problem(code: &'static str, variable: &str, message: String, hint: Option<String>) -> Problem {
    Problem { severity: Severity::Error, variable: Some(variable.to_owned()), code, message, hint }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Site, Self::Single];

    /// Its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Site => "site",
            Self::Single => "single",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownWord { word: text.to_owned(), options: words() })
    }
}
