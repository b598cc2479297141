//! `FL_NODE_CONFIG`: what a SuperNode tells its ClientApp, in the grammar of Flower itself.
//!
//! `flower-supernode --node-config` takes blank-separated `key=value` pairs, rewrites each as a line of TOML and
//! reads that (`flwr/common/config.py`, `parse_config_args`). So a text needs quotes, a quoted text cannot hold its
//! own quote, and a bare word is refused; what Flower's pattern does not match it drops without a word. This
//! parser takes what Flower takes as a scalar, and refuses what Flower would refuse or drop.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The settings of one SuperNode, in the order given. Keys are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfig {
    pairs: Vec<(String, NodeValue)>,
    /// The keys once more, for look-ups that stay quick in a configuration of any length.
    keys: BTreeSet<String>,
}

/// A value that Flower accepts in a node configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a point or an exponent.
    Float(f64),
    /// A text.
    Text(String),
}

/// Why a text is no node configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeConfigError {
    /// No `=`, or a key with other characters than letters, digits, `_`, `-` and `.` between parts.
    #[error("`{0}` is not of the form key=value")]
    Pair(String),
    /// A bare word or an ill-formed number.
    #[error(
        "the value of `{key}` is neither true, false, a number nor a quoted text; a text needs quotes: {key}=\"{value}\""
    )]
    Value {
        /// The key.
        key: String,
        /// What stands after its `=`.
        value: String,
    },
    /// An infinite number or none at all.
    #[error("the value of `{0}` must be a finite number")]
    NotFinite(String),
    /// A quote without its end, a wrong escape or something glued to a closing quote.
    #[error("the quoted value of `{0}` is not well formed")]
    Quotes(String),
    /// A key given twice, or once as a value and once as a table (`a=1 a.b=2`).
    #[error("`{0}` is given twice")]
    Twice(String),
}

impl NodeConfig {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NodeValue)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&NodeValue> {
        self.iter().find(|(have, _)| *have == key).map(|(_, value)| value)
    }

    /// Adds a pair at the end.
    ///
    /// # Errors
    /// [`NodeConfigError::Pair`] for an unusable key, [`NodeConfigError::Twice`] for one that is there already,
    /// [`NodeConfigError::NotFinite`] for a float that is not finite.
    pub fn push(&mut self, key: &str, value: NodeValue) -> Result<(), NodeConfigError> {
        if !is_key(key) {
            return Err(NodeConfigError::Pair(key.to_owned()));
        }
        if matches!(value, NodeValue::Float(float) if !float.is_finite()) {
            return Err(NodeConfigError::NotFinite(key.to_owned()));
        }
        let table = format!("{key}.");
        let inner = self.keys.range(table.clone()..).next().is_some_and(|next| next.starts_with(&table));
        let outer = key
            .match_indices('.')
            .any(|(dot, _)| key.get(..dot).is_some_and(|outer| self.keys.contains(outer)));
        if inner || outer || !self.keys.insert(key.to_owned()) {
            return Err(NodeConfigError::Twice(key.to_owned()));
        }
        self.pairs.push((key.to_owned(), value));
        Ok(())
    }
}

impl fmt::Display for NodeConfig {
    /// Text that Flower reads back as the same values; also what goes on the SuperNode's command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.pairs.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            // `{:?}` always writes a point or an exponent, so that the value stays a float in TOML.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => {
                f.write_str("\"")?;
                for c in value.chars() {
                    match c {
                        // Flower's pattern ends a text at the first quote, escaped or not.
                        '"' => f.write_str("\\u0022")?,
                        '\\' => f.write_str("\\\\")?,
                        c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
        }
    }
}

impl FromStr for NodeConfig {
    type Err = NodeConfigError;

    fn from_str(text: &str) -> Result<Self, NodeConfigError> {
        let mut config = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let word = || rest.split_whitespace().next().unwrap_or_default();
            let pair = || NodeConfigError::Pair(crate::problem::shown(word()));
            let (key, after) = rest.split_once('=').ok_or_else(pair)?;
            if !is_key(key) {
                return Err(pair());
            }
            let (value, tail) = read_value(key, after)?;
            config.push(key, value)?;
            rest = tail.trim_start();
        }
        Ok(config)
    }
}

/// Reads one value from the front of a text; the tail is empty or begins with a blank.
fn read_value<'a>(key: &str, text: &'a str) -> Result<(NodeValue, &'a str), NodeConfigError> {
    let quotes = || NodeConfigError::Quotes(key.to_owned());
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let body = text.get(1..).unwrap_or_default();
        let (inner, tail) = body.split_once(quote).ok_or_else(quotes)?;
        if !tail.is_empty() && !tail.starts_with(char::is_whitespace) {
            return Err(quotes());
        }
        // TOML allows no line break and no control character but the tab inside such a text.
        if inner.chars().any(|c| c.is_control() && c != '\t') {
            return Err(quotes());
        }
        let inner = if quote == '"' { unescape(inner).ok_or_else(quotes)? } else { inner.to_owned() };
        return Ok((NodeValue::Text(inner), tail));
    }
    let (word, tail) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    match read_scalar(word) {
        Some(value) => Ok((value, tail)),
        None => Err(NodeConfigError::Value {
            key: key.to_owned(),
            value: crate::problem::shown(word.trim_matches('"')),
        }),
    }
}

/// A boolean or a finite number as TOML spells them: no leading zeros, `_` between digits, `0x`, `0o`, `0b`.
fn read_scalar(word: &str) -> Option<NodeValue> {
    match word {
        "true" => return Some(NodeValue::Bool(true)),
        "false" => return Some(NodeValue::Bool(false)),
        _ => {}
    }
    if !underscores_are_inside(word) {
        return None;
    }
    let word = &word.replace('_', "");
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = word.strip_prefix(prefix) {
            let plain = rest.chars().all(|c| c.is_digit(radix));
            return plain.then(|| i64::from_str_radix(rest, radix).ok()).flatten().map(NodeValue::Int);
        }
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let plain = digits(whole) && (whole == "0" || !whole.starts_with('0'));
    let exponent_ok = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !plain || !fraction.is_none_or(digits) || !exponent_ok {
        return None;
    }
    if fraction.is_none() && exponent.is_none() {
        return word.parse().ok().map(NodeValue::Int);
    }
    word.parse().ok().filter(|float: &f64| float.is_finite()).map(NodeValue::Float)
}

/// Whether every `_` stands between two digits, hexadecimal ones included.
fn underscores_are_inside(word: &str) -> bool {
    let is_digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let bytes = word.as_bytes();
    let inside = |at: usize| at > 0 && is_digit(bytes.get(at - 1)) && is_digit(bytes.get(at + 1));
    bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || inside(at))
}

/// The escapes of a TOML basic string.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let length = match chars.next()? {
            'b' => {
                out.push('\u{8}');
                continue;
            }
            't' => {
                out.push('\t');
                continue;
            }
            'n' => {
                out.push('\n');
                continue;
            }
            'f' => {
                out.push('\u{c}');
                continue;
            }
            'r' => {
                out.push('\r');
                continue;
            }
            '\\' => {
                out.push('\\');
                continue;
            }
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let mut code = 0u32;
        for _ in 0..length {
            code = code.checked_mul(16)?.checked_add(chars.next()?.to_digit(16)?)?;
        }
        out.push(char::from_u32(code)?);
    }
    Some(out)
}

/// Bare TOML keys, joined by dots.
fn is_key(text: &str) -> bool {
    let bare = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    text.split('.').all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_flower_reads() {
        let text =
            r#"partition-id=0 a.b=-1.5 on=true big=1e3 name="two words" path='C:\x' q="\u0022é\t" n=+3"#;
        let config: NodeConfig = text.parse().unwrap();
        assert_eq!(config.get("partition-id"), Some(&NodeValue::Int(0)));
        assert_eq!(config.get("a.b"), Some(&NodeValue::Float(-1.5)));
        assert_eq!(config.get("on"), Some(&NodeValue::Bool(true)));
        assert_eq!(config.get("big"), Some(&NodeValue::Float(1000.0)));
        assert_eq!(config.get("name"), Some(&NodeValue::Text("two words".into())));
        assert_eq!(config.get("path"), Some(&NodeValue::Text("C:\\x".into())));
        assert_eq!(config.get("q"), Some(&NodeValue::Text("\"é\t".into())));
        assert_eq!(config.get("n"), Some(&NodeValue::Int(3)));
        let other: NodeConfig = "a=1_000 b=0xFF c=1_0.5e1_0".parse().unwrap();
        assert_eq!(other.to_string(), "a=1000 b=255 c=105000000000.0");
        assert_eq!(config.to_string().parse(), Ok(config));
    }

    #[test]
    fn refuses_what_flower_refuses_or_drops() {
        for bad in [
            "site=madrid",
            "site",
            "a=1 b",
            "a=",
            "=1",
            "a = 1",
            "a=1,b=2",
            "a=\"open",
            "a=\"x\"y",
            "a=\"\\q\"",
            "a=007",
            "a=.5",
            "a=5.",
            "a=inf",
            "a=1__0",
            "a=0x_1",
            "a=0x",
            "a=0x-1",
            "a=nan",
            "a=1e999",
            "a=99999999999999999999",
            "a=1 a=2",
            "a=1 a.b=2",
            "a.b=2 a=1",
            "a..b=1",
            "é=1",
            "a=[1]",
            "a={b=1}",
            "conf.toml",
            "a=$(id)",
            "a=\"x\ny\"",
        ] {
            assert!(bad.parse::<NodeConfig>().is_err(), "{bad}");
        }
        let error = "site=madrid".parse::<NodeConfig>().unwrap_err();
        assert!(error.to_string().ends_with(r#"a text needs quotes: site="madrid""#), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<NodeConfig>();
        }

        #[test]
        fn every_value_round_trips(text in any::<String>(), int: i64, float in -1e300f64..1e300, flag: bool) {
            let mut config = NodeConfig::default();
            config.push("t", NodeValue::Text(text)).unwrap();
            config.push("i", NodeValue::Int(int)).unwrap();
            config.push("f", NodeValue::Float(float)).unwrap();
            config.push("b", NodeValue::Bool(flag)).unwrap();
            prop_assert_eq!(config.to_string().parse(), Ok(config));
        }
    }
}
