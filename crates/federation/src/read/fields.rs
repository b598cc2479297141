//! Reading the keys of one table: types, unknown keys, missing keys.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Sink;
use crate::model::Reference;

/// A table with its place and its name for messages.
pub(super) struct Fields<'a, 't> {
    table: &'a DeTable<'t>,
    at: Range<usize>,
    what: String,
}

impl<'a, 't> Fields<'a, 't> {
    /// Opens a table and reports every key that is not known.
    pub(super) fn open(
        table: &'a DeTable<'t>,
        at: Range<usize>,
        what: impl Into<String>,
        known: &[&str],
        sink: &mut Sink<'_>,
    ) -> Self {
        let what = what.into();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name: &str = key.get_ref();
            sink.error("plan::unknown-key", key.span(), format!("unknown key `{name}` in {what}")).suggest(
                name,
                known.iter().copied(),
                || Some(format!("known keys: {}", known.join(", "))),
            );
        }
        Self { table, at, what }
    }

    /// The place of the table's header.
    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Its name for messages.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// The key's own place.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or_else(|| self.at(), |(key, _)| key.span())
    }

    /// Reports every key of these that is missing.
    pub(super) fn require(&self, keys: &[&str], sink: &mut Sink<'_>) {
        for key in keys.iter().filter(|key| self.get(key).is_none()) {
            sink.error("plan::missing-key", self.at(), format!("{} needs `{key}`", self.what));
        }
    }

    /// Reports a value of another type than wanted ("a text", "a number").
    pub(super) fn wrong_type(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
        sink: &mut Sink<'_>,
    ) {
        let given = value.get_ref().type_str();
        let message = format!("`{key}` in {} must be {wanted}, not of type {given}", self.what);
        sink.error("plan::wrong-type", value.span(), message);
    }

    pub(super) fn text(&self, key: &str, sink: &mut Sink<'_>) -> Option<Spanned<&'a str>> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a text in quotes", sink);
        }
        text.map(|text| Spanned::new(value.span(), text))
    }

    /// A text that is parsed further; the parser's error is the message.
    pub(super) fn parsed<T>(&self, key: &str, code: &'static str, sink: &mut Sink<'_>) -> Option<Spanned<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(key, sink)?;
        match text.get_ref().parse() {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(error) => {
                sink.error(code, text.span(), format!("`{key}` in {}: {error}", self.what));
                None
            }
        }
    }

    /// A whole number in a range. `code` is that of a number outside of it.
    pub(super) fn number(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
        code: &'static str,
        sink: &mut Sink<'_>,
    ) -> Option<u32> {
        let value = self.get(key)?;
        let DeValue::Integer(_) = value.get_ref() else {
            self.wrong_type(key, value, "a whole number", sink);
            return None;
        };
        let number = integer(value.get_ref()).and_then(|number| u32::try_from(number).ok());
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let message =
                format!("`{key}` in {} must be from {} to {}", self.what, range.start(), range.end());
            sink.error(code, value.span(), message);
        }
        good
    }

    /// An object of a zone: a name in quotes, or an id.
    pub(super) fn reference(&self, key: &str, sink: &mut Sink<'_>) -> Option<Reference> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(Reference::Name(text.to_string())),
            DeValue::Integer(_) => {
                self.number(key, 0..=i32::MAX.cast_unsigned(), "plan::bad-value", sink).map(Reference::Id)
            }
            _ => {
                self.wrong_type(key, value, "a name in quotes or an id", sink);
                None
            }
        }
    }

    /// An address range, `10.10.9.0/24`, without bits behind its prefix.
    pub(super) fn range(&self, key: &str, sink: &mut Sink<'_>) -> Option<Spanned<IpNet>> {
        let text = self.text(key, sink)?;
        match text.get_ref().parse::<IpNet>() {
            Ok(net) if net.trunc() == net => Some(Spanned::new(text.span(), net)),
            Ok(net) => {
                let message =
                    format!("`{key}` in {}: {net} is an address in a range, not a range", self.what);
                sink.error("plan::bad-range", text.span(), message).hint(format!("use \"{}\"", net.trunc()));
                None
            }
            Err(_) => {
                let message =
                    format!("`{key}` in {}: `{}` is not an address range", self.what, text.get_ref());
                sink.error("plan::bad-range", text.span(), message).hint("for instance \"10.10.9.0/24\"");
                None
            }
        }
    }

    /// An inner table.
    pub(super) fn table(
        &self,
        key: &str,
        what: impl Into<String>,
        known: &[&str],
        sink: &mut Sink<'_>,
    ) -> Option<Fields<'a, 't>> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Fields::open(table, value.span(), what, known, sink)),
            None => {
                self.wrong_type(key, value, "a table", sink);
                None
            }
        }
    }

    /// All keys and values of an inner table, whose keys are free.
    pub(super) fn entries(&self, key: &str, sink: &mut Sink<'_>) -> Option<&'a DeTable<'t>> {
        let value = self.get(key)?;
        if value.get_ref().as_table().is_none() {
            self.wrong_type(key, value, "a table", sink);
        }
        value.get_ref().as_table()
    }
}

/// The number that a TOML integer stands for, if it fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
