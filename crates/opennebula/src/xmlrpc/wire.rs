//! The XML-RPC envelope as oned speaks it: calls, success and failure arrays, faults.

use crate::xml::{Element, escape};

/// An argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// `<int>` or `<i4>`.
    Int(i32),
    /// `<string>`.
    Text(String),
    /// `<boolean>`.
    Bool(bool),
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `<int>`, `<i4>` or `<i8>`.
    Int(i64),
    /// `<string>` or bare text.
    Text(String),
    /// `<boolean>`.
    Bool(bool),
    /// `<array>`.
    Array(Vec<Value>),
}

impl Value {
    /// The text of a string value, empty for any other.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
}

/// What a method of oned ended in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `[true, value, ...]`.
    Success(Value),
    /// `[false, text, code, ...]`.
    Failure {
        /// The text, `[one.vm.info] ...`.
        message: String,
        /// OpenNebula's code, such as 1024.
        code: i32,
    },
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The method ran.
    Answer(Outcome),
    /// It did not: unknown method, wrong arguments.
    Fault {
        /// -506, -501, ...
        code: i32,
        /// Text.
        message: String,
    },
}

/// Why bytes are not an answer of oned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not XML.
    #[error(transparent)]
    Xml(#[from] crate::xml::XmlError),
    /// XML of another shape.
    #[error("not XML-RPC as OpenNebula speaks it: {0}")]
    Shape(&'static str),
}

/// The body of a call.
pub fn request<'a>(method: &str, params: impl IntoIterator<Item = &'a Param>) -> String {
    let mut body =
        format!("<?xml version=\"1.0\"?>\n<methodCall><methodName>{}</methodName><params>", escape(method));
    for param in params {
        let value = match param {
            Param::Int(n) => format!("<int>{n}</int>"),
            Param::Bool(b) => format!("<boolean>{}</boolean>", u8::from(*b)),
            Param::Text(text) => format!("<string>{}</string>", escape(text)),
        };
        body.push_str(&format!("<param><value>{value}</value></param>"));
    }
    body.push_str("</params></methodCall>");
    body
}

/// Reads the body of an answer.
///
/// # Errors
/// [`WireError`] for anything that is not a `methodResponse` with a fault or with one array of at least two values.
pub fn parse(body: &[u8]) -> Result<Reply, WireError> {
    let root = Element::parse(body)?;
    if root.name != "methodResponse" {
        return Err(WireError::Shape("no methodResponse"));
    }
    if let Some(fault) = root.child("fault") {
        return Ok(self::fault(fault));
    }
    let value = root.child("params").and_then(|p| p.child("param")).and_then(|p| p.child("value"));
    let Value::Array(items) = value.map(self::value).transpose()?.ok_or(WireError::Shape("no value"))? else {
        return Err(WireError::Shape("not an array"));
    };
    let mut items = items.into_iter();
    match (items.next(), items.next(), items.next()) {
        (Some(Value::Bool(true)), Some(value), _) => Ok(Reply::Answer(Outcome::Success(value))),
        (Some(Value::Bool(false)), Some(Value::Text(message)), code) => {
            let code = if let Some(Value::Int(code)) = code { i32::try_from(code).unwrap_or(0) } else { 0 };
            Ok(Reply::Answer(Outcome::Failure { message, code }))
        }
        _ => Err(WireError::Shape("the array is not [true, value, ...] or [false, text, ...]")),
    }
}

/// Reads one `<value>` element.
///
/// # Errors
/// [`WireError::Shape`] for a type that oned does not use.
pub fn value(element: &Element) -> Result<Value, WireError> {
    let Some(typed) = element.children.first() else { return Ok(Value::Text(element.text.clone())) };
    match typed.name.as_str() {
        "string" => Ok(Value::Text(typed.text.clone())),
        "int" | "i4" | "i8" => {
            typed.text.trim().parse().map(Value::Int).map_err(|_| WireError::Shape("an int that is none"))
        }
        "boolean" => match typed.text.trim() {
            "1" | "true" => Ok(Value::Bool(true)),
            "0" | "false" => Ok(Value::Bool(false)),
            _ => Err(WireError::Shape("a boolean that is none")),
        },
        "array" => {
            let data = typed.child("data").ok_or(WireError::Shape("an array without data"))?;
            Ok(Value::Array(data.all("value").map(value).collect::<Result<_, _>>()?))
        }
        _ => Err(WireError::Shape("a type that OpenNebula does not use")),
    }
}

fn fault(fault: &Element) -> Reply {
    let (mut code, mut message) = (0, String::new());
    let members = fault.child("value").and_then(|v| v.child("struct"));
    for member in members.into_iter().flat_map(|s| s.all("member")) {
        match (member.text_of("name"), member.child("value").and_then(|v| value(v).ok())) {
            (Some("faultCode"), Some(Value::Int(n))) => code = i32::try_from(n).unwrap_or(0),
            (Some("faultString"), Some(Value::Text(text))) => message = text,
            _ => {}
        }
    }
    Reply::Fault { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(values: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><array><data>\r\n\
             {values}</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
        )
    }

    #[test]
    fn success_failure_fault() {
        let ok = answer(
            "<value><boolean>1</boolean></value>\r\n<value><string>7.4.0</string></value>\r\n<value><i4>0</i4></value>",
        );
        assert_eq!(
            parse(ok.as_bytes()).unwrap(),
            Reply::Answer(Outcome::Success(Value::Text("7.4.0".into())))
        );
        let no = answer(
            "<value><boolean>0</boolean></value><value><string>[one.vm.info] Error getting virtual machine [99].</string>\
             </value><value><i4>1024</i4></value><value><i4>99</i4></value><value><i8>-1</i8></value>",
        );
        let Reply::Answer(Outcome::Failure { message, code }) = parse(no.as_bytes()).unwrap() else {
            panic!()
        };
        assert_eq!((code, message.as_str()), (1024, "[one.vm.info] Error getting virtual machine [99]."));
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><i4>-506</i4></value>\
            </member><member><name>faultString</name><value><string>Method 'one.x' not defined</string></value></member>\
            </struct></value></fault></methodResponse>";
        let expected = Reply::Fault { code: -506, message: "Method 'one.x' not defined".into() };
        assert_eq!(parse(fault.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn other_shapes_are_errors() {
        for bad in ["", "<html/>", "<methodResponse/>", &answer(""), &answer("<value><int>x</int></value>")] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_escape() {
        let body =
            request("one.vm.update", &[Param::Text("a:<&>".into()), Param::Int(-1), Param::Bool(true)]);
        assert!(body.contains("<string>a:&lt;&amp;&gt;</string>"));
        assert!(body.contains("<int>-1</int>") && body.contains("<boolean>1</boolean>"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_inside_the_envelope(text in "(</?(value|array|data|i4|i8|string|boolean)>|[0-9a-z&;<-]){0,30}") {
            let _ = parse(answer(&text).as_bytes());
        }
    }
}
