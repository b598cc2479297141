//! A small XML tree: enough for OpenNebula's answers, and never a panic.

use quick_xml::{Reader, events::Event};

/// Nesting that is taken; OpenNebula's answers stay under ten.
const MAX_DEPTH: usize = 64;

/// An element: its name, the text directly inside it, and its children. Attributes are not kept (OpenNebula uses none).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Tag name.
    pub name: String,
    /// All character data directly inside, CDATA included, entities resolved.
    pub text: String,
    /// Child elements in order.
    pub children: Vec<Element>,
}

/// Why a text is not the XML we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not well-formed XML: {0}")]
pub struct XmlError(String);

impl Element {
    /// Reads a document with one root element.
    ///
    /// # Errors
    /// [`XmlError`] when it is not UTF-8, not well-formed, nested deeper than 64, or uses entities other than the
    /// five predefined ones and character references.
    pub fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        let fail = |why: &dyn std::fmt::Display| XmlError(why.to_string());
        let text = std::str::from_utf8(bytes).map_err(|e| fail(&e))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event().map_err(|e| fail(&e))? {
                Event::Start(start) => {
                    if open.len() == MAX_DEPTH {
                        return Err(fail(&"nested too deep"));
                    }
                    open.push(Element { name: start.name().into_inner().to_owned(), ..Self::default() });
                }
                Event::Empty(start) => {
                    let element = Element { name: start.name().into_inner().to_owned(), ..Self::default() };
                    close(&mut open, &mut root, element)?;
                }
                Event::End(_) => {
                    let element = open.pop().ok_or_else(|| fail(&"an end tag too many"))?;
                    close(&mut open, &mut root, element)?;
                }
                Event::Text(part) => append(&mut open, &part.xml10_content()),
                Event::CData(part) => append(&mut open, &part.xml10_content()),
                Event::GeneralRef(entity) => {
                    let resolved = match entity.resolve_char_ref().map_err(|e| fail(&e))? {
                        Some(c) => c.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&entity)
                            .ok_or_else(|| fail(&"an entity that is not predefined"))?
                            .to_owned(),
                    };
                    append(&mut open, &resolved);
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (open.is_empty(), root) {
            (true, Some(root)) => Ok(root),
            (false, _) => Err(fail(&"an element is not closed")),
            (true, None) => Err(fail(&"no element")),
        }
    }

    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    /// All children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The text of a child, if there is that child.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.as_str())
    }

    /// The child's text as a number.
    pub fn number_of<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text_of(name)?.trim().parse().ok()
    }

    /// The plain children as a map; children with children of their own are left out, the last of a name counts.
    pub fn attributes(&self) -> std::collections::BTreeMap<String, String> {
        let plain = self.children.iter().filter(|c| c.children.is_empty());
        plain.map(|c| (c.name.clone(), c.text.clone())).collect()
    }
}

/// `text` with the characters that mean something to XML escaped.
pub fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn close(open: &mut [Element], root: &mut Option<Element>, mut element: Element) -> Result<(), XmlError> {
    if !element.children.is_empty() && element.text.trim().is_empty() {
        element.text.clear();
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(XmlError("two root elements".into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_text_cdata_and_entities() {
        let e = Element::parse(
            b"<?xml version=\"1.0\"?><A>\n <B>x&amp;y&#233;<![CDATA[<z>]]></B><C/><B>2</B></A>",
        )
        .unwrap();
        assert_eq!(e.text_of("B"), Some("x&yé<z>"));
        assert_eq!(e.all("B").count(), 2);
        assert_eq!(e.text_of("C"), Some(""));
        assert_eq!(e.text, "");
        assert_eq!(e.number_of::<u32>("B"), None);
    }

    #[test]
    fn refuses_what_is_not_one_document() {
        for bad in ["", "x", "<a>", "<a></b>", "<a/><b/>", "</a>", "<a>&nope;</a>", &"<a>".repeat(100)] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Element::parse(&bytes);
        }

        #[test]
        fn never_panics_on_xmlish_text(text in "(<[/!?]?[a-c]?(\\[CDATA\\[)?|/?>|&#?x?[0-9a-f]{0,9};?|\\]\\]>|[a-c ]){0,40}") {
            let _ = Element::parse(text.as_bytes());
        }

        #[test]
        fn escaping_round_trips(text in "[^\\p{C}]{0,60}") {
            let e = Element::parse(format!("<a>{}</a>", escape(&text)).as_bytes()).unwrap();
            prop_assert_eq!(e.text, text);
        }
    }
}
