//! What was answered, and what was expected of it.

use onefed_opennebula::xmlrpc::wire::{self, Outcome, Reply, Value};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) connection: String,
    pub(crate) body: String,
    /// Of an XML-RPC call: what it means.
    pub(crate) reply: Option<Reply>,
}

/// What is expected.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// XML-RPC: success with a text that holds this.
    Text(&'static str),
    /// XML-RPC: refused with this code and a text that holds this.
    Refused(i32, &'static str),
    /// XML-RPC: a fault of this code.
    Fault(i32),
    /// HTTP: this status and exactly this body.
    Exactly(u16, &'static str),
    /// HTTP: this status and a body that holds this.
    Holds(u16, &'static str),
}

impl Heard {
    pub(crate) fn into_rpc(mut self) -> Result<Self, String> {
        if self.status != 200 {
            return Err(format!("HTTP {} where oned always says 200", self.status));
        }
        if !self.connection.eq_ignore_ascii_case("close") {
            return Err(format!("connection: {:?} where oned always closes", self.connection));
        }
        self.reply =
            Some(wire::parse(self.body.as_bytes()).map_err(|why| format!("{why}: {}", self.short()))?);
        Ok(self)
    }

    /// The text of a successful XML-RPC answer.
    pub(crate) fn text(&self) -> Result<&str, String> {
        match &self.reply {
            Some(Reply::Answer(Outcome::Success(Value::Text(text)))) => Ok(text),
            _ => Err(format!("no text: {}", self.short())),
        }
    }

    pub(crate) fn check(&self, want: &Want) -> Result<(), String> {
        let good = match (want, &self.reply) {
            (Want::Text(part), Some(Reply::Answer(Outcome::Success(Value::Text(text))))) => {
                text.contains(part)
            }
            (Want::Refused(code, part), Some(Reply::Answer(Outcome::Failure { message, code: got }))) => {
                code == got && message.contains(part)
            }
            (Want::Fault(code), Some(Reply::Fault { code: got, .. })) => code == got,
            (Want::Exactly(status, text), None) => (self.status, self.body.as_str()) == (*status, *text),
            (Want::Holds(status, part), None) => self.status == *status && self.body.contains(part),
            _ => false,
        };
        if good { Ok(()) } else { Err(format!("wanted {want:?}, heard {}", self.short())) }
    }

    /// A line for a report.
    pub(crate) fn short(&self) -> String {
        let text: String = self.body.chars().take(400).collect();
        match &self.reply {
            Some(reply) => format!("{reply:?}").chars().take(400).collect(),
            None => format!("{} ({}) {text:?}", self.status, self.kind),
        }
    }
}
