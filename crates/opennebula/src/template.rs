//! OpenNebula's own template text, `KEY="value"` per line.

use crate::Error;

/// Writes attributes as template text, one `KEY="value"` a line, ready for `one.vm.update` and its like.
///
/// In a quoted value OpenNebula reads `\"` as a quote and `\\` as a backslash; everything else stands for itself,
/// newlines included.
///
/// # Errors
/// [`Error::BadInput`] for a key that is not `[A-Za-z_][A-Za-z0-9_]*` (a dash breaks OpenNebula's parser) and for
/// control characters, which XML cannot carry.
pub fn attributes(pairs: &[(&str, &str)]) -> Result<String, Error> {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push_str(&pair(key, value)?);
        text.push('\n');
    }
    Ok(text)
}

/// Writes one attribute that holds others, `NAME=[KEY="value",KEY="value"]`, as for `one.vm.updateconf`.
///
/// # Errors
/// [`Error::BadInput`] as for [`attributes`], and for no pairs at all: OpenNebula has no empty vector.
pub fn vector(name: &str, pairs: &[(&str, &str)]) -> Result<String, Error> {
    check_key(name)?;
    if pairs.is_empty() {
        return Err(bad(name, "it has to hold at least one attribute"));
    }
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| pair(key, value)).collect::<Result<_, _>>()?;
    Ok(format!("{name}=[{}]\n", pairs.join(",\n")))
}

fn pair(key: &str, value: &str) -> Result<String, Error> {
    check_key(key)?;
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(bad(key, "its value has control characters: send it in base64"));
    }
    Ok(format!("{key}={}", quote(value)))
}

/// `value` in double quotes, with quotes and backslashes escaped.
pub fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let first = key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err(bad(key, "an attribute name is a letter or '_' and then letters, digits and '_'"))
    }
}

fn bad(key: &str, why: &str) -> Error {
    Error::BadInput { what: format!("attribute '{}'", key.escape_debug()), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_refuses() {
        assert_eq!(
            attributes(&[("A", r#"x"y\z"#), ("B", "1\n2")]).unwrap(),
            "A=\"x\\\"y\\\\z\"\nB=\"1\n2\"\n"
        );
        for key in ["", "A-B", "1A", "A B", "É"] {
            assert!(attributes(&[(key, "x")]).is_err(), "{key:?}");
        }
        assert!(attributes(&[("A", "x\u{1}")]).is_err());
        assert_eq!(vector("C", &[("A", "x\"y"), ("B", "")]).unwrap(), "C=[A=\"x\\\"y\",\nB=\"\"]\n");
        assert!(vector("C", &[]).is_err() && vector("C-D", &[("A", "x")]).is_err());
        assert!(vector("C", &[("A-B", "x")]).is_err());
    }
}
