//! XML-RPC on the wire: calls read, arguments checked, answers written.

use crate::refusal::{API, Refusal};
use onefed_opennebula::xml::{Element, escape};
use onefed_opennebula::xmlrpc::wire::{Value, value};

/// How a call ends if not in a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// `[false, text, code, object, -1]`.
    Refused(Refusal),
    /// `<fault>`.
    Fault(i32, String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A result is a string or an int.
pub(super) enum Outcome {
    Text(String),
    Number(u32),
}

/// The whole answer to a call of `method`.
pub(super) fn answer(method: &str, outcome: Result<Outcome, Failure>) -> String {
    let inner = match outcome {
        Ok(result) => {
            let result = match result {
                Outcome::Text(text) => format!("<string>{}</string>", escape(&text)),
                Outcome::Number(number) => format!("<i4>{number}</i4>"),
            };
            array(&["<boolean>1</boolean>".to_owned(), result, "<i4>0</i4>".to_owned()])
        }
        Err(Failure::Refused(Refusal { text, code, object })) => array(&[
            "<boolean>0</boolean>".to_owned(),
            format!("<string>[{method}] {}</string>", escape(&text)),
            format!("<i4>{code}</i4>"),
            format!("<i4>{object}</i4>"),
            "<i8>-1</i8>".to_owned(),
        ]),
        Err(Failure::Fault(code, text)) => format!(
            "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n<value><i4>{code}</i4></value></member>\r\n\
             <member><name>faultString</name>\r\n<value><string>{}</string></value></member>\r\n</struct></value>\r\n</fault>\r\n",
            escape(&text)
        ),
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n{inner}</methodResponse>\r\n")
}

fn array(values: &[String]) -> String {
    let values: String = values.iter().map(|v| format!("<value>{v}</value>\r\n")).collect();
    format!(
        "<params>\r\n<param><value><array><data>\r\n{values}</data></array></value></param>\r\n</params>\r\n"
    )
}

/// Method and parameters of a call.
pub(super) fn read(body: &[u8]) -> Result<(String, Vec<Value>), Failure> {
    let bad = |why: &str| Failure::Fault(-503, format!("Call XML not a proper XML-RPC call: {why}"));
    let root = Element::parse(body).map_err(|e| bad(&e.to_string()))?;
    let method =
        root.text_of("methodName").filter(|_| root.name == "methodCall").ok_or_else(|| bad("no method"))?;
    let params = root.child("params").into_iter().flat_map(|p| p.all("param"));
    let params = params.map(|p| {
        p.child("value")
            .ok_or_else(|| bad("no value"))
            .and_then(|v| value(v).map_err(|e| bad(&e.to_string())))
    });
    Ok((method.trim().to_owned(), params.collect::<Result<_, _>>()?))
}

/// Arguments, taken in order and checked for their type.
pub(super) struct Arguments<'a> {
    rest: std::slice::Iter<'a, Value>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(values: &'a [Value]) -> Self {
        Self { rest: values.iter() }
    }

    fn fault(kind: &str) -> Failure {
        Failure::Fault(-501, format!("Parameter that is supposed to be {kind} is not"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Failure> {
        match self.rest.next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Self::fault("string")),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, Failure> {
        match self.rest.next() {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(Self::fault("integer")),
        }
    }

    pub(super) fn flag(&mut self) -> Result<bool, Failure> {
        match self.rest.next() {
            Some(Value::Bool(flag)) => Ok(*flag),
            _ => Err(Self::fault("boolean")),
        }
    }

    /// Filter, first and last of a pool.
    pub(super) fn range(&mut self) -> Result<(i64, i64, i64), Failure> {
        let (filter, start, end) = (self.int()?, self.int()?, self.int()?);
        // The lowest that means something is -4, the caller's group.
        if filter < -4 {
            return Err(Refusal::new(API, -1, "Incorrect filter_flag").into());
        }
        Ok((filter, start, end))
    }

    /// A text that may be left out.
    pub(super) fn text_or(&mut self, default: &'a str) -> Result<&'a str, Failure> {
        if self.rest.len() == 0 { Ok(default) } else { self.text() }
    }

    /// An integer that may be left out.
    pub(super) fn int_or(&mut self, default: i64) -> Result<i64, Failure> {
        if self.rest.len() == 0 { Ok(default) } else { self.int() }
    }

    /// A boolean that may be left out, and is false then.
    pub(super) fn flag_or(&mut self) -> Result<bool, Failure> {
        if self.rest.len() == 0 { Ok(false) } else { self.flag() }
    }
}
