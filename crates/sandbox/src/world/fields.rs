//! TOML tables read key by key, with all problems collected.

use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text and what is wrong with it.
pub(super) struct Reader<'t> {
    text: &'t str,
    pub(super) problems: Vec<(usize, String)>,
}

/// One table: where it is, for messages.
pub(super) struct Fields<'r, 't> {
    table: &'r DeTable<'t>,
    place: String,
    at: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Notes a problem at a byte of the text, or beyond its end when it is nowhere in particular.
    pub(super) fn problem(&mut self, at: usize, why: impl Into<String>) {
        self.problems.push((at, why.into()));
    }

    /// All problems in the order of the text, with their lines.
    pub(super) fn said(mut self) -> Vec<String> {
        self.problems.sort();
        let said = |(at, why): &(usize, String)| match self.text.get(..*at) {
            Some(before) => format!("line {}: {why}", before.matches('\n').count() + 1),
            None => why.clone(),
        };
        self.problems.iter().map(said).collect()
    }

    /// Opens a table of which `known` are the keys.
    pub(super) fn table<'r, 'x>(
        &mut self,
        table: &'r Spanned<DeTable<'x>>,
        place: &str,
        known: &[&str],
    ) -> Fields<'r, 'x> {
        self.open(table.get_ref(), table.span().start, place, known)
    }

    fn open<'r, 'x>(
        &mut self,
        table: &'r DeTable<'x>,
        at: usize,
        place: &str,
        known: &[&str],
    ) -> Fields<'r, 'x> {
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let hint = match nearest(word, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                self.problem(key.span().start, format!("{place} has no `{word}`: {hint}"));
            }
        }
        Fields { table, place: place.to_owned(), at }
    }

    fn wrong(&mut self, fields: &Fields<'_, '_>, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        self.problem(value.span().start, format!("{}: `{key}` must be {wanted}", fields.place));
    }

    pub(super) fn text(&mut self, fields: &Fields<'_, '_>, key: &str) -> Option<String> {
        let value = fields.table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => {
                self.wrong(fields, value, key, "a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, fields: &Fields<'_, '_>, key: &str) -> Option<String> {
        if fields.table.get(key).is_none() {
            self.problem(fields.at, format!("{} needs a `{key}`", fields.place));
        }
        self.text(fields, key).filter(|text| {
            let empty = text.is_empty();
            if empty {
                self.problem(fields.at, format!("{}: `{key}` must not be empty", fields.place));
            }
            !empty
        })
    }

    /// A text that `read` understands; `wanted` says what that is.
    pub(super) fn word<T>(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &str,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = fields.table.get(key)?;
        let text = self.text(fields, key)?;
        let found = read(&text);
        if found.is_none() {
            self.wrong(fields, value, key, wanted);
        }
        found
    }

    pub(super) fn flag(&mut self, fields: &Fields<'_, '_>, key: &str) -> Option<bool> {
        let value = fields.table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong(fields, value, key, "true or false");
                None
            }
        }
    }

    pub(super) fn texts(&mut self, fields: &Fields<'_, '_>, key: &str) -> Option<Vec<String>> {
        let value = fields.table.get(key)?;
        let all = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.clone().into_owned()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        if all.is_none() {
            self.wrong(fields, value, key, "a list of texts");
        }
        all
    }

    /// A number, whole or not.
    pub(super) fn number(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = fields.table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            self.wrong(fields, value, key, &wanted);
        }
        good
    }

    pub(super) fn whole(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = fields.table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(fields, value, key, &wanted);
        }
        good
    }

    pub(super) fn seconds(&mut self, fields: &Fields<'_, '_>, key: &str) -> Option<Duration> {
        self.number(fields, key, 0.0..=86400.0).and_then(|s| Duration::try_from_secs_f64(s).ok())
    }

    /// A table in a table.
    pub(super) fn inner<'r, 'x>(
        &mut self,
        fields: &Fields<'r, 'x>,
        key: &str,
        known: &[&str],
    ) -> Option<Fields<'r, 'x>> {
        let value = fields.table.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let place = match fields.place.as_str() {
                    "the world" => key.to_owned(),
                    place => format!("{place}.{key}"),
                };
                Some(self.open(table, value.span().start, &place, known))
            }
            _ => {
                self.wrong(fields, value, key, "a table");
                None
            }
        }
    }

    /// Texts by any name.
    pub(super) fn map(&mut self, fields: &Fields<'_, '_>, key: &str) -> Vec<(String, String)> {
        let Some(value) = fields.table.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(fields, value, key, "a table of texts");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in table {
            match value.get_ref() {
                DeValue::String(text) => {
                    found.push((name.get_ref().clone().into_owned(), text.clone().into_owned()));
                }
                _ => self.wrong(fields, value, name.get_ref(), "a text"),
            }
        }
        found
    }

    /// Tables by any name.
    pub(super) fn named<'r, 'x>(
        &mut self,
        fields: &Fields<'r, 'x>,
        key: &str,
        known: &[&str],
    ) -> Vec<(String, Fields<'r, 'x>)> {
        let Some(value) = fields.table.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(fields, value, key, "a table of tables");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in table {
            let name = name.get_ref().clone().into_owned();
            match value.get_ref() {
                DeValue::Table(table) => {
                    let inner = self.open(table, value.span().start, &format!("{key}.{name}"), known);
                    found.push((name, inner));
                }
                _ => self.wrong(fields, value, &name, "a table"),
            }
        }
        found
    }

    /// A list of tables.
    pub(super) fn list<'r, 'x>(
        &mut self,
        fields: &Fields<'r, 'x>,
        key: &str,
        known: &[&str],
    ) -> Option<Vec<Fields<'r, 'x>>> {
        let value = fields.table.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(fields, value, key, "a list of tables");
            return None;
        };
        let mut found = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let place = match fields.place.as_str() {
                "the world" => format!("{key} {}", at + 1),
                place => format!("{place}, {key} {}", at + 1),
            };
            match item.get_ref() {
                DeValue::Table(table) => found.push(self.open(table, item.span().start, &place, known)),
                _ => self.wrong(fields, item, key, "a list of tables"),
            }
        }
        Some(found)
    }
}

impl Fields<'_, '_> {
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), *k));
    let (distance, near) = scored.min()?;
    (distance <= 1 + word.len() / 4).then_some(near)
}
