//! OpenNebula's template text as the servers read it, and attributes as XML.

use onefed_opennebula::xml::{Element, escape};
use serde_json::{Map, Value};

/// Attributes: a value is a text, or an object of texts (`[A=1,B=2]`), or an array of either when given twice.
pub(crate) type Attributes = Map<String, Value>;

/// Reads template text: `KEY=value` to the end of the line, `KEY="value"` with `\"` and `\\`, `KEY=[A=1,B="2"]`.
/// Names are upper-cased.
///
/// `Err` is the parser's complaint.
pub(crate) fn parse(text: &str) -> Result<Attributes, String> {
    let mut rest = Text(text);
    let mut found = Attributes::new();
    loop {
        rest.skip_blanks();
        if rest.0.is_empty() {
            return Ok(found);
        }
        if rest.0.starts_with('#') {
            rest.until(&['\n']);
            continue;
        }
        let key = rest.name()?;
        let value = match rest.peek() {
            Some('"') => Value::String(rest.quoted()?),
            Some('[') => Value::Object(rest.vector()?),
            _ => {
                let bare = rest.until(&['\n']).trim();
                if bare.contains([',', '[', ']', '"']) {
                    return Err(format!("syntax error, unexpected character in the value of {key}"));
                }
                Value::String(bare.to_owned())
            }
        };
        add(&mut found, key, value);
    }
}

/// Template text, or the same as XML inside a root element of any name, as oned takes either.
///
/// `Err` is the parser's complaint, with oned's words in front.
pub(crate) fn read(text: &str) -> Result<Attributes, String> {
    let bad = |why: String| format!("Parse error: {why}");
    if !text.trim_start().starts_with('<') {
        return parse(text).map_err(bad);
    }
    let root = Element::parse(text.as_bytes()).map_err(|e| bad(e.to_string()))?;
    Ok(children(&root))
}

fn children(element: &Element) -> Attributes {
    let mut found = Attributes::new();
    for child in &element.children {
        let value = match child.children.as_slice() {
            [] => Value::String(child.text.clone()),
            _ => Value::Object(children(child)),
        };
        add(&mut found, child.name.to_ascii_uppercase(), value);
    }
    found
}

/// What is given twice is kept twice.
fn add(found: &mut Attributes, key: String, value: Value) {
    match found.get_mut(&key) {
        Some(Value::Array(items)) => items.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
        None => {
            found.insert(key, value);
        }
    }
}

struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start();
    }

    /// Everything before the first of `ends`, which stays.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let (head, tail) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        self.0 = tail;
        head
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.skip_blanks();
        self.0 = self.0.strip_prefix(wanted).ok_or_else(|| format!("syntax error, expecting '{wanted}'"))?;
        Ok(())
    }

    /// A name and the equals sign after it.
    fn name(&mut self) -> Result<String, String> {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.0.len());
        let (name, tail) = self.0.split_at(end);
        if name.is_empty() {
            return Err("syntax error, expecting a name".to_owned());
        }
        self.0 = tail;
        self.expect('=')?;
        self.0 = self.0.trim_start_matches([' ', '\t']);
        Ok(name.to_ascii_uppercase())
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err("syntax error, a quote is not closed".to_owned())
    }

    fn vector(&mut self) -> Result<Attributes, String> {
        self.expect('[')?;
        let mut found = Attributes::new();
        loop {
            self.skip_blanks();
            let key = self.name()?;
            let value = if self.peek() == Some('"') {
                self.quoted()?
            } else {
                self.until(&[',', ']', '\n']).trim().to_owned()
            };
            found.insert(key, Value::String(value));
            self.skip_blanks();
            match self.peek() {
                Some(',') => self.expect(',')?,
                _ => {
                    self.expect(']')?;
                    return Ok(found);
                }
            }
        }
    }
}

/// Attributes as XML elements with CDATA.
pub(crate) fn xml(attributes: &Attributes) -> String {
    attributes.iter().map(|(key, value)| element(key, value)).collect()
}

fn element(key: &str, value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(|item| element(key, item)).collect(),
        Value::Object(inner) => format!("<{key}>{}</{key}>", xml(inner)),
        other => format!("<{key}>{}</{key}>", cdata(&text(other))),
    }
}

/// A text inside XML.
pub(crate) fn cdata(text: &str) -> String {
    // What CDATA cannot hold is escaped instead.
    if text.contains("]]>") { escape(text) } else { format!("<![CDATA[{text}]]>") }
}

/// A value as OneFlow turns it into text: a list is its first element, objects and null are empty.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Array(items) => items.first().map(text).unwrap_or_default(),
        Value::Object(_) | Value::Null => String::new(),
    }
}

/// Lays `over` on `base`: objects are merged, everything else replaces.
pub(crate) fn merge(base: &mut Attributes, over: &Attributes) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn reading_never_panics(text in "([A-C]=|[\"\\\\\\[\\], \n#=é]|[a-c]){0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn the_clients_quoting_is_read_back(value in "[^\\p{C}]{0,40}") {
            let text = onefed_opennebula::template::attributes(&[("A", &value)]).unwrap();
            prop_assert_eq!(&parse(&text).unwrap()["A"], &json!(value));
        }
    }

    #[test]
    fn reads_the_three_forms() {
        let read = parse("a=x y\nB=\"q\\\"\\\\\nz\" C=[X=1, Y=\"2\"]\n# note\nD=").unwrap();
        assert_eq!(
            Value::Object(read),
            json!({"A": "x y", "B": "q\"\\\nz", "C": {"X": "1", "Y": "2"}, "D": ""})
        );
        for bad in ["A", "A-B=1", "A=x,y", "A=\"x", "A=[X=1", "=x", "A=1\nbare"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn merges_and_renders() {
        let Value::Object(mut base) = json!({"A": "1", "C": {"X": "1", "Y": "2"}}) else { unreachable!() };
        let Value::Object(over) = json!({"C": {"X": "9"}, "N": [{"I": "1"}, {"I": "2"}]}) else {
            unreachable!()
        };
        merge(&mut base, &over);
        assert_eq!(
            xml(&base),
            "<A><![CDATA[1]]></A><C><X><![CDATA[9]]></X><Y><![CDATA[2]]></Y></C><N><I><![CDATA[1]]></I></N><N><I><![CDATA[2]]></I></N>"
        );
    }
}
