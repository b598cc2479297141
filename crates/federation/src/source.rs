//! The text of a plan file, kept for what is found out later: where in it something stands, and whether it is still the
//! same.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Place, Sink};

/// The text of a plan file.
#[derive(Clone)]
pub struct PlanText(Arc<str>);

impl PlanText {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text as it was read.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The place of the value at a path of keys, such as `["zone", "paris", "network"]`; an entry of a list is named by
    /// its `name`. Where the plan does not say it, the nearest table that it would be in.
    pub fn place(&self, path: &[&str]) -> Place {
        let (span, _) = self.find(path);
        Sink::new(&self.0).place(&span)
    }

    /// Whether the plan says something at a path of keys; see [`place`](Self::place).
    pub fn says(&self, path: &[&str]) -> bool {
        self.find(path).1
    }

    /// 64 hexadecimal digits over what the text says. Blanks, remarks, the order of keys and how a value is spelled are
    /// not in it.
    pub fn digest(&self) -> String {
        let (root, _) = DeTable::parse_recoverable(&self.0);
        let mut whole = String::new();
        canonical_table(root.get_ref(), &mut whole);
        let digest = ring::digest::digest(&ring::digest::SHA256, whole.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where a path leads, and whether to its end.
    fn find(&self, path: &[&str]) -> (Range<usize>, bool) {
        let (root, _) = DeTable::parse_recoverable(&self.0);
        let (mut at, mut table) = (0..0, Some(root.get_ref()));
        for (depth, key) in path.iter().enumerate() {
            let Some((name, value)) = table.and_then(|table| table.get_key_value(*key)) else {
                return (at, false);
            };
            // Of a value that is looked for, the value; of a table, its name in the header.
            at = if value.get_ref().as_table().is_none() { value.span() } else { name.span() };
            table = value.get_ref().as_table();
            if let (Some(items), Some(wanted)) = (value.get_ref().as_array(), path.get(depth + 1)) {
                return in_list(items, wanted, &path[depth + 2..]).unwrap_or((name.span(), false));
            }
        }
        (at, true)
    }
}

/// The entry of a list with this name, or the value of a key of it.
fn in_list(items: &[Spanned<DeValue<'_>>], wanted: &str, rest: &[&str]) -> Option<(Range<usize>, bool)> {
    let named =
        |table: &&DeTable<'_>| table.get("name").is_some_and(|name| name.get_ref().as_str() == Some(wanted));
    let table = items.iter().filter_map(|item| item.get_ref().as_table()).find(named)?;
    let value = rest.first().map_or_else(|| table.get("name"), |key| table.get(*key));
    let name = || Some((table.get("name")?.span(), false));
    value.map(|value| (value.span(), true)).or_else(name)
}

impl fmt::Debug for PlanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanText({} bytes)", self.0.len())
    }
}

fn canonical_table(table: &DeTable<'_>, out: &mut String) {
    let mut entries: Vec<(&str, &DeValue<'_>)> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push('{');
    for (key, value) in entries {
        out.push_str(&format!("{key:?}:"));
        canonical(value, out);
        out.push(',');
    }
    out.push('}');
}

fn canonical(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::Table(table) => canonical_table(table, out),
        DeValue::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item.get_ref(), out);
                out.push(',');
            }
            out.push(']');
        }
        DeValue::String(text) => out.push_str(&format!("{text:?}")),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => out.push_str(&number.to_string()),
            Err(_) => out.push_str(number.as_str()),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => out.push_str(&format!("{number:?}")),
            Err(_) => out.push_str(number.as_str()),
        },
        DeValue::Boolean(yes) => out.push_str(if *yes { "true" } else { "false" }),
        DeValue::Datetime(when) => out.push_str(&when.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../../examples/three-zones.toml");

    fn line(path: &[&str]) -> (usize, String) {
        let source = PlanText::new(EXAMPLE);
        let place = source.place(path);
        (place.line, EXAMPLE[place.start..place.end].to_owned())
    }

    #[test]
    fn what_is_said_is_found_and_what_is_not_leads_to_its_table() {
        let text = |path: &[&str]| line(path).1;
        assert_eq!(text(&["zone", "paris", "network"]), "\"private\"");
        assert_eq!(text(&["zone", "paris", "image"]), "paris");
        assert_eq!(text(&["zone", "oslo", "network"]), "zone");
        assert_eq!(text(&["site", "lisbon", "supernodes"]), "2");
        assert_eq!(text(&["site", "lisbon", "gateway"]), "\"lisbon\"");
        assert_eq!(text(&["site", "lisbon"]), "\"lisbon\"");
        let says = |path: &[&str]| PlanText::new(EXAMPLE).says(path);
        assert!(says(&["zone", "paris"]) && says(&["site", "lisbon", "zone"]));
        assert!(!says(&["zone", "paris", "image"]) && !says(&["site", "oslo"]) && !says(&["install"]));
        assert_eq!(text(&["install", "onefed"]), "");
        assert_eq!(line(&["coordinator", "zone"]).1, "\"madrid\"");
        assert!(line(&["zone", "paris", "network"]).0 > line(&["zone", "madrid", "network"]).0);
    }

    #[test]
    fn a_digest_is_of_what_is_said() {
        let digest = |text: &str| PlanText::new(text).digest();
        let one = digest("a = 1\n[t]\nx = \"y\"\nf = 1.50");
        assert_eq!(one, digest("# a remark\nt = { f = 1.5, x = 'y' }\na   = 0x1\n"));
        for other in ["a = 2\n[t]\nx = \"y\"\nf = 1.5", "a = '1'\n[t]\nx = 'y'\nf = 1.5", "[t]\nx = 'y'", ""]
        {
            assert_ne!(one, digest(other));
        }
        assert_ne!(digest("l = [1, 2]"), digest("l = [2, 1]"));
        assert_ne!(digest("a = \"b,c\""), digest("a = \"b\"\nc = 1"));
        assert_eq!(one.len(), 64);
    }

    proptest! {
        #[test]
        fn a_plan_with_anything_changed_does_not_panic(
            cuts in proptest::collection::vec((0usize..EXAMPLE.len(), 0usize..40, "[\\[\\]{}=\"'#.,0-9a-z \n\u{e9}-]{0,6}"), 1..5)
        ) {
            let mut text = EXAMPLE.to_owned();
            for (at, length, with) in cuts {
                let chars: Vec<char> = text.chars().collect();
                let at = at.min(chars.len());
                let end = (at + length).min(chars.len());
                text = chars[..at].iter().chain(&with.chars().collect::<Vec<_>>()).chain(&chars[end..]).collect();
            }
            let checked = crate::check(&text);
            prop_assert!(checked.federation.is_some() || !checked.errors.is_empty());
            for path in [&["zone", "paris", "network"][..], &["site", "lisbon", "zone"], &["coordinator"]] {
                let place = PlanText::new(&text).place(path);
                prop_assert!(text.get(place.start..place.end).is_some());
            }
        }

        #[test]
        fn no_text_panics(text: String, path in proptest::collection::vec("[a-z]{0,4}", 0..4)) {
            let source = PlanText::new(&text);
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let _ = (source.digest(), source.place(&path));
        }

        #[test]
        fn nearly_a_plan_does_not_panic_either(
            text in "((name|zone|site|coordinator|\\[|\\]|=|\"|[a-z]|[0-9]|\\.|\n| |\\{|\\}|#|,){0,60})"
        ) {
            let checked = crate::check(&text);
            prop_assert!(checked.federation.is_some() || !checked.errors.is_empty());
            let _ = (PlanText::new(&text).digest(), PlanText::new(&text).place(&["zone", "a", "network"]));
        }
    }
}
