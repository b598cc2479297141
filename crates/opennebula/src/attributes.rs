//! The attributes of an OpenNebula object: plain ones and vectors of plain ones.

use crate::xml::Element;
use std::collections::BTreeMap;

/// One attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `NAME="value"`.
    Text(String),
    /// `NAME=[KEY="value", ...]`. A key given twice keeps its last value, as in oned.
    Vector(BTreeMap<String, String>),
}

/// A TEMPLATE as oned keeps it: in its order, with names that may repeat (DISK, NIC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// The children of an element. oned nests one level; what is deeper is left out.
    pub fn of(element: &Element) -> Self {
        let one = |child: &Element| {
            let value = if child.children.is_empty() {
                Attribute::Text(child.text.clone())
            } else {
                Attribute::Vector(child.attributes())
            };
            (child.name.clone(), value)
        };
        Self(element.children.iter().map(one).collect())
    }

    /// A plain attribute; the last one of that name counts.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find_map(|(n, value)| match value {
            Attribute::Text(text) if n == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// A vector; the last one of that name counts. An empty one (`<CONTEXT/>`) reads as an empty text, so it is not here.
    pub fn vector(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.0.iter().rev().find_map(|(n, value)| match value {
            Attribute::Vector(map) if n == name => Some(map),
            _ => None,
        })
    }

    /// All vectors of that name in order, such as the DISKs.
    pub fn vectors<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        self.0.iter().filter_map(move |(n, value)| match value {
            Attribute::Vector(map) if n == name => Some(map),
            _ => None,
        })
    }

    /// All attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ones_and_vectors_keep_order_and_number() {
        let xml = b"<T><A>1</A><DISK><IMAGE>a</IMAGE><SIZE>1</SIZE></DISK><A>2</A><DISK><IMAGE>b</IMAGE></DISK><CONTEXT/></T>";
        let it = Attributes::of(&Element::parse(xml).unwrap());
        assert_eq!((it.text("A"), it.text("CONTEXT"), it.text("DISK")), (Some("2"), Some(""), None));
        assert_eq!(it.vectors("DISK").map(|d| d["IMAGE"].as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((it.vector("DISK").unwrap().len(), it.vector("CONTEXT")), (1, None));
        assert_eq!(it.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["A", "DISK", "A", "DISK", "CONTEXT"]);
    }
}
