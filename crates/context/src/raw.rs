//! `context.sh` read as data.
//!
//! The guest agent of OpenNebula sources that file in a shell and passes it on without escaping, so that a value
//! such as `$(id)` runs as root. Here it is only read: quotes are understood, `$` and backquotes are plain letters.

use std::collections::BTreeMap;

use crate::problem::{Problem, Severity};

/// The names and values of a context as they stand in the file.
///
/// An empty value is the same as none: OpenNebula cannot tell the two apart. `ONEAPP_FL_X` is the same variable as
/// `FL_X`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawContext {
    values: BTreeMap<String, String>,
}

impl RawContext {
    /// Reads `context.sh`: lines `KEY='value'` (with `'\''` for a quote, and over several lines), `KEY="value"` and
    /// `KEY=value`, comments, and a leading `export`. Nothing is evaluated. Where a name comes twice, the last one
    /// counts, as in a shell.
    ///
    /// The problems are those of the spelling: lines that cannot be read (errors) and names given twice (warnings).
    pub fn parse(text: &str) -> (Self, Vec<Problem>) {
        let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
        let mut context = Self::default();
        let mut problems = Vec::new();
        while let Some(item) = reader.next_assignment() {
            match item {
                Ok((key, value)) => {
                    let before = context.values.insert(key.to_owned(), value.clone());
                    if before.is_some_and(|before| before != value) {
                        let message =
                            format!("{key} is given twice with different values; the last one counts.");
                        problems.push(Problem::warning("context::twice", key, message));
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        (context, problems)
    }

    /// A context from names and values that come from elsewhere, for instance from a plan.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { values: pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }

    /// The value of a variable; one of Flower's (`FL_…`, `FLOWER_…`) also under its `ONEAPP_` name. Empty counts
    /// as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let prefixed = || self.get_exact(&format!("ONEAPP_{name}"));
        self.get_exact(name).or_else(|| is_flower_name(name).then(prefixed).flatten())
    }

    /// The value under exactly this name. Empty counts as none.
    pub fn get_exact(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Every name and value of the file that is not empty, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(_, value)| !value.is_empty())
    }
}

impl std::fmt::Debug for RawContext {
    /// Only the names: among the values are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Whether a name belongs to this product and to Flower, and not to the platform.
pub(crate) fn is_flower_name(name: &str) -> bool {
    name.starts_with("FL_") || name.starts_with("FLOWER_")
}

/// Walks over the text of a `context.sh`.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next_assignment(&mut self) -> Option<Result<(&'a str, String), Problem>> {
        loop {
            self.skip_while(char::is_whitespace);
            if !self.rest.starts_with('#') {
                break;
            }
            self.skip_line();
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut key = self.take_name();
        if key == "export" && self.rest.starts_with([' ', '\t']) {
            self.skip_while(|c| c == ' ' || c == '\t');
            key = self.take_name();
        }
        let starts_well = key.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
        if !starts_well || !self.rest.starts_with('=') {
            let problem = syntax(format!("Line {} is not of the form KEY='value'.", self.line));
            self.skip_line();
            return Some(Err(problem));
        }
        self.advance(1);
        Some(self.take_value(key).map(|value| (key, value)))
    }

    fn take_value(&mut self, key: &str) -> Result<String, Problem> {
        let started = self.line;
        let mut value = String::new();
        while let Some(c) = self.rest.chars().next() {
            if c.is_whitespace() {
                break;
            }
            self.advance(c.len_utf8());
            match c {
                '\'' => value.push_str(self.take_single().ok_or_else(|| open_quote(key, started))?),
                '"' => self.take_double(&mut value).ok_or_else(|| open_quote(key, started))?,
                '\\' => self.take_escaped(&mut value),
                c => value.push(c),
            }
        }
        self.skip_while(|c| c.is_whitespace() && c != '\n');
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '#']) {
            let message =
                format!("Line {}: text after the value of {key}. Put quotes around the value.", self.line);
            self.skip_line();
            return Err(Problem { variable: Some(key.to_owned()), ..syntax(message) });
        }
        Ok(value)
    }

    /// Up to the next `'`, as it is.
    fn take_single(&mut self) -> Option<&'a str> {
        let Some(end) = self.rest.find('\'') else {
            self.advance(self.rest.len());
            return None;
        };
        let inner = self.rest.get(..end)?;
        self.advance(end + 1);
        Some(inner)
    }

    /// Up to the next unescaped `"`. A backslash protects `"`, `\`, `$`, a backquote and a line break.
    fn take_double(&mut self, value: &mut String) -> Option<()> {
        loop {
            let plain = self.rest.find(['"', '\\']).unwrap_or(self.rest.len());
            value.push_str(self.rest.get(..plain)?);
            self.advance(plain);
            let mark = self.rest.chars().next()?;
            self.advance(1);
            if mark == '"' {
                return Some(());
            }
            if !self.rest.starts_with(['"', '\\', '$', '`', '\n']) {
                value.push('\\');
            }
            self.take_escaped(value);
        }
    }

    /// The letter after a backslash; an escaped line break is nothing.
    fn take_escaped(&mut self, value: &mut String) {
        if let Some(c) = self.rest.chars().next() {
            self.advance(c.len_utf8());
            if c != '\n' {
                value.push(c);
            }
        }
    }

    fn take_name(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    fn skip_line(&mut self) {
        self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        self.advance(self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len()));
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += passed.bytes().filter(|b| *b == b'\n').count();
        self.rest = rest;
    }
}

fn syntax(message: String) -> Problem {
    Problem { severity: Severity::Error, variable: None, code: "context::syntax", message, hint: None }
}

fn open_quote(key: &str, line: usize) -> Problem {
    let message = format!("Line {line}: the quote that opens the value of {key} is never closed.");
    Problem { variable: Some(key.to_owned()), ..syntax(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render_context_sh;
    use proptest::prelude::*;

    fn read(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let (context, problems) = RawContext::parse(text);
        let pairs = context.values.into_iter().collect();
        (pairs, problems.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn reads_every_spelling() {
        let text = "\u{feff}# generated\r\nA='it'\\''s $HOME `id`'\r\n  export B=\"say \\\"hi\\\" \\$x \\n\" # note\n\
                    C=plain\\ word\nD='-----BEGIN\nline\n-----END'\nE=''\nF=\ng_1=a'b'\"c\"\n#C=no";
        let (pairs, problems) = read(text);
        let want = [
            ("A", "it's $HOME `id`"),
            ("B", "say \"hi\" $x \\n"),
            ("C", "plain word"),
            ("D", "-----BEGIN\nline\n-----END"),
            ("E", ""),
            ("F", ""),
            ("g_1", "abc"),
        ];
        assert_eq!(pairs, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn reports_every_line_it_cannot_read() {
        let (pairs, problems) = read("A=1\nnonsense\nB=two words\n1C=x\nD='x'\nD='y'\nE='open\nF=1\n");
        assert_eq!(pairs, [("A", "1"), ("D", "y")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        insta::assert_snapshot!(problems.join("\n"), @r"
        Line 2 is not of the form KEY='value'.
        Line 3: text after the value of B. Put quotes around the value.
        Line 4 is not of the form KEY='value'.
        D is given twice with different values; the last one counts.
        Line 7: the quote that opens the value of E is never closed.
        ");
    }

    #[test]
    fn empty_is_unset_and_the_prefix_is_the_same_variable() {
        let (context, _) = RawContext::parse("FL_SITE=''\nONEAPP_FL_SITE='paris'\nFL_ROLE=''\n");
        assert_eq!(context.get("FL_SITE"), Some("paris"));
        assert_eq!(context.get("FL_ROLE"), None);
        assert_eq!(context.iter().collect::<Vec<_>>(), [("ONEAPP_FL_SITE", "paris")]);
        assert_eq!(format!("{context:?}"), r#"{"FL_ROLE", "FL_SITE", "ONEAPP_FL_SITE"}"#);
    }

    #[test]
    fn a_megabyte_is_no_trouble() {
        let value = "x'\n".repeat(350_000);
        let text = render_context_sh(&BTreeMap::from([("BIG".to_owned(), value.clone())]));
        let (context, problems) = RawContext::parse(&text);
        assert!(problems.is_empty());
        assert_eq!(context.get("BIG"), Some(value.as_str()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).*", quoted in "[A-Z='\"\\\\\n# $]*") {
            let _ = RawContext::parse(&text);
            let _ = RawContext::parse(&quoted);
        }

        #[test]
        fn what_is_rendered_is_read_back(
            variables in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "(?s).*", 0..6),
        ) {
            let (context, problems) = RawContext::parse(&render_context_sh(&variables));
            prop_assert!(problems.is_empty(), "{problems:?}");
            prop_assert_eq!(context.values, variables);
        }
    }
}
